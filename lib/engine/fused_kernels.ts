/**
 * Kernels that do several of tfjs's operations at once, where the engine has them. An engine registers one with tfjs under
 * the names below; who finds none composes what it needs of tfjs's own operations.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";

type Shape = readonly number[];
type Attributes = Record<string, unknown>;

/** What there is to know of a kernel outside of it. */
interface KernelDefinition {
  /** Its attributes' types, in order. */
  attributes: Readonly<Record<string, "bool" | "int" | "float">>;
  /** The shapes of what it makes, of its inputs' shapes. */
  outputs(inputs: Shape[], attributes: Attributes): Shape[];
}

/** Of logits [N, V]: two numbers a row. */
const perRow = ([logits]: Shape[]): Shape[] => [[logits![0]!], [logits![0]!]];
const like = (input: number) => (inputs: Shape[]): Shape[] => [inputs[input]!];

/** Of matrices, either of them transposed, or of as many matrices of both. */
function product([a, b]: Shape[], { transpose_a, transpose_b }: Attributes): Shape[] {
  const [left, right] = [a!.at(transpose_a ? -2 : -1)!, b!.at(transpose_b ? -1 : -2)!];
  if (left !== right) {
    throw new Error(`Cannot multiply [${a}] by [${b}]: inner sizes ${left} and ${right} differ`);
  }
  return [[...a!.slice(0, -2), a!.at(transpose_a ? -1 : -2)!, b!.at(transpose_b ? -2 : -1)!]];
}

const transposes = { transpose_a: "bool", transpose_b: "bool" } as const;
const heads = { heads: "int", kv_heads: "int" } as const;

/** The kernels; native/source/tensorflow_ops.c lists their inputs, layers.h and attention.h there say what they compute. */
export const fusedKernels = {
  Linear: { attributes: transposes, outputs: product },
  RmsNorm: { attributes: { epsilon: "float" }, outputs: like(0) },
  RmsNormGrad: { attributes: { epsilon: "float" }, outputs: ([dy, _, w]) => [dy!, w!] },
  SwiGlu: { attributes: {}, outputs: ([gateUp]) => [[gateUp![0]!, gateUp![1]! / 2]] },
  SwiGluGrad: { attributes: {}, outputs: like(1) },
  Attention: {
    attributes: heads,
    outputs: ([qkv, cos], { heads }) => [[qkv![0]!, Number(heads) * 2 * cos![1]!], [qkv![0]!, Number(heads)]],
  },
  AttentionGrad: { attributes: heads, outputs: like(3) },
  TokenLogprobs: { attributes: { scale: "float" }, outputs: perRow },
  TokenLogprobsGrad: { attributes: { scale: "float" }, outputs: like(1) },
  TokenEntropies: { attributes: { scale: "float" }, outputs: perRow },
  TokenEntropiesGrad: { attributes: { scale: "float" }, outputs: like(1) },
  ColumnSums: { attributes: {}, outputs: ([x]) => [[x![1]!]] },
  AdamW: { attributes: {}, outputs: ([value]) => [value!, value!, value!] },
} as const satisfies Record<string, KernelDefinition>;

/** The name of a fused kernel. */
export type FusedKernel = keyof typeof fusedKernels;

/** The name that a fused kernel has in tfjs's registry, and as an operation of libtensorflow. */
export function registeredName(kernel: FusedKernel): string {
  return `SearchE1${kernel}`;
}

/** The operation of libtensorflow that is the kit's matrix product. */
export const matMulName = "SearchE1MatMul";

const operations: Readonly<Record<string, KernelDefinition["outputs"]>> = {
  [matMulName]: product,
  ...Object.fromEntries(
    Object.entries(fusedKernels).map(([name, { outputs }]) => [registeredName(name as FusedKernel), outputs]),
  ),
};

/** The shapes of what an operation of the kit's makes; undefined for any other. */
export function outputShapes(
  operation: string,
  inputs: Shape[],
  attributes: Attributes,
): Shape[] | undefined {
  return operations[operation]?.(inputs, attributes);
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
