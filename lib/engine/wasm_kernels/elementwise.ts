/**
 * Kernels that go over arrays number by number, and sums. tfjs-wasm's `Exp` is scalar, its `Identity` copies, its `Maximum`,
 * `Minimum` and `ClipByValue` drop NaN (which must be seen when training diverges), and its `Cast` to bool is a cut to 8 bits.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import { address, heapKernels, shared, type WasmBackend } from "./heap.ts";

/** Kernel `Exp` of float32. */
export function exp(x: tf.TensorInfo, backend: WasmBackend): tf.TensorInfo {
  const out = backend.makeOutput(x.shape, "float32");
  const count = tf.util.sizeFromShape(x.shape);
  heapKernels(backend).kernels.exp(address(backend, x), address(backend, out), count);
  return out;
}

/** Kernel `ClipByValue` of float32. */
export function clip(
  x: tf.TensorInfo,
  { clipValueMin, clipValueMax }: { clipValueMin: number; clipValueMax: number },
  backend: WasmBackend,
): tf.TensorInfo {
  const out = backend.makeOutput(x.shape, "float32");
  const count = tf.util.sizeFromShape(x.shape);
  heapKernels(backend).kernels.clip(
    address(backend, x),
    address(backend, out),
    count,
    clipValueMin,
    clipValueMax,
  );
  return out;
}

/** Kernels `Maximum` and `Minimum` of float32, shapes broadcast. */
export function extremum(
  which: "maximum" | "minimum",
  a: tf.TensorInfo,
  b: tf.TensorInfo,
  backend: WasmBackend,
): tf.TensorInfo {
  const shape = tf.broadcast_util.assertAndGetBroadcastShape(a.shape, b.shape);
  const wideA = broadcast(a, shape, backend), wideB = broadcast(b, shape, backend);
  const out = backend.makeOutput(shape, "float32");
  heapKernels(backend).kernels[which](
    address(backend, wideA),
    address(backend, wideB),
    address(backend, out),
    tf.util.sizeFromShape(shape),
  );
  backend.disposeData(wideA.dataId);
  backend.disposeData(wideB.dataId);
  return out;
}

/** The tensor repeated to a shape. */
function broadcast(x: tf.TensorInfo, shape: number[], backend: WasmBackend): tf.TensorInfo {
  const own = [...Array<number>(shape.length - x.shape.length).fill(1), ...x.shape];
  const reps = shape.map((size, d) => own[d] === size ? 1 : size);
  if (reps.every((times) => times === 1)) return shared(backend, x, shape);
  const inputs = { x: { ...x, shape: own } };
  return tf.getKernel("Tile", "wasm").kernelFunc({ inputs, attrs: { reps }, backend }) as tf.TensorInfo;
}

/** Kernel `Identity`: the same numbers, not copied. */
export function identity(x: tf.TensorInfo, backend: WasmBackend): tf.TensorInfo {
  return shared(backend, x, x.shape);
}

/** Kernel `Cast`: floats are cut to integers towards zero, and anything but 0 is true. */
export function cast(
  x: tf.TensorInfo,
  dtype: "float32" | "int32" | "bool",
  backend: WasmBackend,
): tf.TensorInfo {
  if (x.dtype === dtype) return shared(backend, x, x.shape);
  const out = backend.makeOutput(x.shape, dtype);
  const from = backend.typedArrayFromHeap(x), to = backend.typedArrayFromHeap(out);
  if (dtype === "bool") {
    for (let i = 0; i < to.length; i++) to[i] = from[i] === 0 ? 0 : 1;
  } else {
    to.set(from);
  }
  return out;
}

/**
 * Kernel `Sum` of float32 over leading or trailing axes, or undefined where the axes are others.
 */
export function sum(
  x: tf.TensorInfo,
  { axis, keepDims }: { axis: number | number[]; keepDims: boolean },
  backend: WasmBackend,
): tf.TensorInfo | undefined {
  const axes = tf.util.parseAxisParam(axis, x.shape).toSorted((a, b) => a - b);
  const rank = x.shape.length;
  const leading = axes.every((at, i) => at === i);
  if (!leading && !axes.every((at, i) => at === rank - axes.length + i)) return undefined;
  const [shape, reduced] = tf.backend_util.computeOutAndReduceShapes(x.shape, axes);
  const out = backend.makeOutput(
    keepDims ? x.shape.map((size, d) => axes.includes(d) ? 1 : size) : shape,
    "float32",
  );
  const kept = tf.util.sizeFromShape(shape), summed = tf.util.sizeFromShape(reduced);
  const { kernels } = heapKernels(backend);
  if (leading && axes.length < rank) {
    kernels.sumColumns(address(backend, x), address(backend, out), summed, kept);
  } else kernels.sumRows(address(backend, x), address(backend, out), kept, summed);
  return out;
}
