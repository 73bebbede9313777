/**
 * Kernels that move rows about: gather, scatter-add, concatenation, split and slice. tfjs-wasm's move them one by one in
 * JavaScript, and its gather is wrong for batchDims.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import { address, heapKernels, shared, type WasmBackend } from "./heap.ts";

/** Kernel `GatherV2`: x's slices along an axis by number. Throws on a number outside the axis. */
export function gather(
  x: tf.TensorInfo,
  indices: tf.TensorInfo,
  { axis, batchDims }: { axis: number; batchDims: number },
  backend: WasmBackend,
): tf.TensorInfo {
  const along = tf.util.parseAxisParam(axis, x.shape)[0]!;
  const { batchSize, outerSize, dimSize, sliceSize, outputShape } = tf.backend_util.segment_util
    .collectGatherOpShapeInfo(x as tf.Tensor, indices as tf.Tensor, along, batchDims);
  const out = backend.makeOutput(outputShape, x.dtype);
  const wrong = heapKernels(backend).kernels.gather(
    address(backend, x),
    address(backend, indices),
    address(backend, out),
    batchSize,
    outerSize,
    dimSize,
    tf.util.sizeFromShape(indices.shape) / Math.max(1, batchSize),
    sliceSize * tf.util.bytesPerElement(x.dtype),
  );
  if (wrong >= 0) {
    backend.disposeData(out.dataId);
    throw new Error(`Cannot gather from ${dimSize} rows: index ${wrong} of the indices lies outside`);
  }
  return out;
}

/**
 * Kernel `UnsortedSegmentSum` (scatter-add, the gradient of `tf.gather`): out[s,…] = Σ over i with segmentIds[i] = s of
 * x[i,…]. x is float32 and its leading dimensions are those of segmentIds; ids outside 0 … numSegments − 1 are dropped.
 */
export function unsortedSegmentSum(
  x: tf.TensorInfo,
  segmentIds: tf.TensorInfo,
  numSegments: number,
  backend: WasmBackend,
): tf.TensorInfo {
  if (x.dtype !== "float32") throw new Error(`Cannot sum segments of ${x.dtype} on wasm, cast to float32`);
  const shape = x.shape.slice(segmentIds.shape.length);
  const out = backend.makeOutput([numSegments, ...shape], "float32");
  heapKernels(backend).kernels.segmentSum(
    address(backend, x),
    address(backend, segmentIds),
    address(backend, out),
    tf.util.sizeFromShape(segmentIds.shape),
    tf.util.sizeFromShape(shape),
    numSegments,
  );
  return out;
}

/** Kernel `Concat`: tensors side by side along an axis. */
export function concat(inputs: tf.TensorInfo[], axis: number, backend: WasmBackend): tf.TensorInfo {
  const shapes = inputs.map(({ shape }) => shape);
  const along = tf.util.parseAxisParam(axis, shapes[0]!)[0]!;
  tf.backend_util.assertParamsConsistent(shapes, along);
  const { dtype } = inputs[0]!;
  const out = backend.makeOutput(tf.backend_util.computeOutShape(shapes, along), dtype);
  const { kernels } = heapKernels(backend);
  const outPitch = blockBytes(out.shape, along, dtype);
  let to = address(backend, out);
  for (const input of inputs) {
    const bytes = blockBytes(input.shape, along, dtype);
    const count = tf.util.sizeFromShape(input.shape.slice(0, along));
    kernels.copyBlocks(address(backend, input), bytes, to, outPitch, bytes, count);
    to += bytes;
  }
  return out;
}

/** Kernel `SplitV`: a tensor cut along an axis into equal parts or parts of given sizes. */
export function split(
  x: tf.TensorInfo,
  { numOrSizeSplits, axis }: { numOrSizeSplits: number | number[]; axis: number },
  backend: WasmBackend,
): tf.TensorInfo[] {
  const along = tf.util.parseAxisParam(axis, x.shape)[0]!;
  const sizes = tf.backend_util.prepareSplitSize(x as tf.Tensor, numOrSizeSplits, along);
  const begin = x.shape.map(() => 0);
  return sizes.map((size) => {
    const part = slice(x, { begin, size: x.shape.map((own, d) => d === along ? size : own) }, backend);
    begin[along]! += size;
    return part;
  });
}

/** Kernel `Slice`: the box of the given size that begins at the given place. */
export function slice(
  x: tf.TensorInfo,
  attributes: { begin: number | number[]; size: number | number[] },
  backend: WasmBackend,
): tf.TensorInfo {
  const [begin, size] = tf.slice_util.parseSliceParams(
    x as tf.Tensor,
    attributes.begin,
    attributes.size,
  ) as number[][];
  if (size!.every((length, d) => length === x.shape[d])) return shared(backend, x, x.shape);
  return box(x, begin!, size!, backend);
}

function box(x: tf.TensorInfo, begin: number[], size: number[], backend: WasmBackend): tf.TensorInfo {
  const out = backend.makeOutput(size, x.dtype);
  if (tf.util.sizeFromShape(size) === 0) return out;
  const { kernels } = heapKernels(backend);
  // A block is contiguous from the last axis that is cut on; the whole axes before it repeat blocks at an equal pitch.
  const cut = size.findLastIndex((length, d) => length !== x.shape[d]);
  const whole = size.findLastIndex((length, d) => d < cut && length !== x.shape[d]) + 1;
  const bytes = blockBytes(size, cut, x.dtype), pitch = blockBytes(x.shape, cut, x.dtype);
  const count = tf.util.sizeFromShape(size.slice(whole, cut));
  const strides = size.map((_, d) => blockBytes(x.shape, d + 1, x.dtype));
  let to = address(backend, out);
  const copyFrom = (from: number, axis: number): void => {
    if (axis === whole) {
      kernels.copyBlocks(from, pitch, to, bytes, bytes, count);
      to += bytes * count;
    } else {
      for (let i = 0; i < size[axis]!; i++) copyFrom(from + i * strides[axis]!, axis + 1);
    }
  };
  copyFrom(begin.reduce((from, at, d) => from + at * strides[d]!, address(backend, x)), 0);
  return out;
}

/** The bytes that one place on all axes before `axis` spans. */
function blockBytes(shape: number[], axis: number, dtype: tf.DataType): number {
  return tf.util.sizeFromShape(shape.slice(axis)) * tf.util.bytesPerElement(dtype);
}
