/**
 * Kernels that do several of tfjs's operations at once, where the engine has them. An engine registers one with tfjs under
 * the names below; who finds none composes what it needs of tfjs's own operations.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";

/** Each kernel's inputs and attributes, in order, and how many tensors it makes; what it computes stands in native/source/layers.h. */
export const fusedKernels = {
  Linear: { inputs: 3, outputs: 1, attributes: { transpose_a: "bool", transpose_b: "bool" } },
  RmsNorm: { inputs: 2, outputs: 1, attributes: { epsilon: "float" } },
  RmsNormGrad: { inputs: 3, outputs: 2, attributes: { epsilon: "float" } },
  SwiGlu: { inputs: 1, outputs: 1, attributes: {} },
  SwiGluGrad: { inputs: 2, outputs: 1, attributes: {} },
  Attention: { inputs: 4, outputs: 2, attributes: { heads: "int", kv_heads: "int" } },
  AttentionGrad: { inputs: 7, outputs: 1, attributes: { heads: "int", kv_heads: "int" } },
  TokenLogprobs: { inputs: 2, outputs: 2, attributes: { scale: "float" } },
  TokenLogprobsGrad: { inputs: 4, outputs: 1, attributes: { scale: "float" } },
  TokenEntropies: { inputs: 1, outputs: 2, attributes: { scale: "float" } },
  TokenEntropiesGrad: { inputs: 4, outputs: 1, attributes: { scale: "float" } },
  ColumnSums: { inputs: 1, outputs: 1, attributes: {} },
  AdamW: { inputs: 5, outputs: 3, attributes: {} },
} as const;

/** The name of a fused kernel. */
export type FusedKernel = keyof typeof fusedKernels;

/** The name that a fused kernel has in tfjs's registry. */
export function registeredName(kernel: FusedKernel): string {
  return `SearchE1${kernel}`;
}

let suspended = false;

/** Whether kernels that tfjs does not know may run now. */
export function mayFuse(): boolean {
  return !suspended;
}

/** Runs something without fused kernels: what XLA is to compile may hold none. */
export function withoutFusedKernels<T>(run: () => T): T {
  const before = suspended;
  suspended = true;
  try {
    return run();
  } finally {
    suspended = before;
  }
}

/** Whether the open engine has the fused kernels. */
export function hasFusedKernels(): boolean {
  return mayFuse() && tf.getKernel(registeredName("Attention"), tf.getBackend()) !== undefined;
}

/** Runs a fused kernel; to be called inside a `tf.customGrad`, since tfjs knows no gradient of it. */
export function fused(
  kernel: FusedKernel,
  inputs: readonly tf.Tensor[],
  attributes: Record<string, number | boolean> = {},
): tf.Tensor[] {
  const named = Object.fromEntries(inputs.map((tensor, i) => [`input${i}`, tensor]));
  return [tf.engine().runKernel(registeredName(kernel), named, attributes)].flat() as tf.Tensor[];
}
