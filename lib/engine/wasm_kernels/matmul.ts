import * as tf from "@tensorflow/tfjs";
import { address, heapKernels, type WasmBackend } from "./heap.ts";

interface MatMulAttributes {
  transposeA: boolean;
  transposeB: boolean;
}

interface FusedAttributes extends MatMulAttributes {
  activation: tf.fused.Activation;
  leakyreluAlpha?: number;
}

/**
 * Kernel `BatchMatMul`: out[…,M,N] = a[…,M,K] · b[…,K,N] (+ bias[N]) in float32, either operand transposed or not, batch
 * dimensions broadcast.
 */
export function batchMatMul(
  a: tf.TensorInfo,
  b: tf.TensorInfo,
  attributes: MatMulAttributes,
  backend: WasmBackend,
  bias?: tf.TensorInfo,
): tf.TensorInfo {
  if (a.dtype !== "float32" || b.dtype !== "float32") {
    throw new Error(`Cannot multiply matrices of ${a.dtype} and ${b.dtype} on wasm, cast both to float32`);
  }
  const { transposeA, transposeB } = attributes;
  const [aRows, aColumns] = a.shape.slice(-2) as [number, number];
  const [bRows, bColumns] = b.shape.slice(-2) as [number, number];
  const [m, k] = transposeA ? [aColumns, aRows] : [aRows, aColumns];
  const [kOfB, n] = transposeB ? [bColumns, bRows] : [bRows, bColumns];
  if (k !== kOfB) {
    throw new Error(`Cannot multiply [${a.shape}] by [${b.shape}]: inner sizes ${k} and ${kOfB} differ`);
  }
  const aBatch = a.shape.slice(0, -2), bBatch = b.shape.slice(0, -2);
  const batch = tf.broadcast_util.assertAndGetBroadcastShape(aBatch, bBatch);
  const out = backend.makeOutput([...batch, m, n], "float32");

  const { kernels, scratch } = heapKernels(backend);
  const run = (
    aIndex: number,
    bIndex: number,
    outIndex: number,
    count: number,
    aStride: number,
    bStride: number,
  ) =>
    // deno-fmt-ignore
    kernels.matmul(
      address(backend, a) + 4 * aIndex * m * k, address(backend, b) + 4 * bIndex * k * n,
      address(backend, out) + 4 * outIndex * m * n,
      count, m, n, k,
      aStride, transposeA ? 1 : k, transposeA ? m : 1,
      bStride, transposeB ? 1 : n, transposeB ? k : 1,
      bias ? address(backend, bias) : 0, scratch,
    );
  const count = tf.util.sizeFromShape(batch);
  const aCount = tf.util.sizeFromShape(aBatch), bCount = tf.util.sizeFromShape(bBatch);
  if ((aCount === count || aCount === 1) && (bCount === count || bCount === 1)) {
    run(0, 0, 0, count, aCount === 1 ? 0 : m * k, bCount === 1 ? 0 : k * n);
  } else {
    for (let i = 0; i < count; i++) {
      run(sourceIndex(i, batch, aBatch), sourceIndex(i, batch, bBatch), i, 1, 0, 0);
    }
  }
  return out;
}

/** The index, among the matrices of `shape`, of the one that broadcasting puts at `index` of `batch`. */
function sourceIndex(index: number, batch: number[], shape: number[]): number {
  let source = 0, stride = 1;
  for (let d = 1; d <= shape.length; d++) {
    const size = batch.at(-d)!, own = shape.at(-d)!;
    if (own > 1) source += stride * (index % size);
    stride *= own;
    index = Math.floor(index / size);
  }
  return source;
}

const activationKernels: Partial<Record<tf.fused.Activation, string>> = {
  relu: "Relu",
  relu6: "Relu6",
  elu: "Elu",
  sigmoid: "Sigmoid",
  leakyrelu: "LeakyRelu",
  prelu: "Prelu",
};

/**
 * Kernel `_FusedMatMul`: activation(a · b + bias), composed of the kernels that do each, but that a bias of one number a
 * column is added inside the product.
 */
export function fusedMatMul(
  inputs: {
    a: tf.TensorInfo;
    b: tf.TensorInfo;
    bias?: tf.TensorInfo;
    preluActivationWeights?: tf.TensorInfo;
  },
  attributes: FusedAttributes,
  backend: WasmBackend,
): tf.TensorInfo {
  const { a, b, bias, preluActivationWeights: alpha } = inputs;
  const { activation, leakyreluAlpha } = attributes;
  const kernel = activationKernels[activation];
  if (kernel === undefined && activation !== "linear") {
    throw new Error(`Cannot fuse activation "${activation}" into a matrix product on wasm`);
  }
  const adds = bias != null && bias.dtype === "float32" && bias.shape.length === 1 &&
    bias.shape[0] === b.shape.at(attributes.transposeB ? -2 : -1);
  let out = batchMatMul(a, b, attributes, backend, adds ? bias : undefined);
  const replaceOut = (name: string, operands: Record<string, tf.TensorInfo>, attrs = {}) => {
    const made = tf.getKernel(name, "wasm").kernelFunc({ inputs: operands, attrs, backend }) as tf.TensorInfo;
    backend.disposeData(out.dataId);
    out = made;
  };
  if (bias != null && !adds) replaceOut("Add", { a: out, b: bias });
  if (kernel !== undefined) {
    replaceOut(kernel, alpha == null ? { x: out } : { x: out, alpha }, { alpha: leakyreluAlpha });
  }
  return out;
}
