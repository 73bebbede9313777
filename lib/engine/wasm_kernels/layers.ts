/**
 * The fused kernels on tfjs's heap: layers.wasm, compiled of the C that the engine tensorflow computes by too (see
 * ../native/source). A module of its own, since it has a stack.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import { type FusedKernel, fusedKernels } from "../fused_kernels.ts";
import { address, type WasmBackend } from "./heap.ts";
import { fusedMatMul } from "./matmul.ts";

type Shape = readonly number[];
type Attributes = Record<string, number>;

/** The function of layers.wasm, and the sizes that it is told, of the inputs' shapes. */
interface Layer {
  name: string;
  sizes(shapes: Shape[], attributes: Attributes): Shape;
}

const first = ([shape]: Shape[]) => shape!;
const second = ([_, shape]: Shape[]) => shape!;

/** B, T, H, K and Dh of the shapes of qkv and of the cosines. */
function headSizes([N]: Shape, [T, halfWidth]: Shape, { heads, kv_heads }: Attributes): Shape {
  return [N! / T!, T!, heads!, kv_heads!, 2 * halfWidth!];
}

/** Inputs as native/source/tensorflow_ops.c lists them; `Linear` is a product of matmul.ts. */
const layers: Record<Exclude<FusedKernel, "Linear">, Layer> = {
  RmsNorm: { name: "rms_norm", sizes: first },
  RmsNormGrad: { name: "rms_norm_gradient", sizes: first },
  SwiGlu: { name: "swi_glu", sizes: ([gateUp]) => [gateUp![0]!, gateUp![1]! / 2] },
  SwiGluGrad: { name: "swi_glu_gradient", sizes: first },
  Attention: {
    name: "attention",
    sizes: ([qkv, cos], attributes) => headSizes(qkv!, cos!, attributes),
  },
  AttentionGrad: {
    name: "attention_gradient",
    sizes: (shapes, attributes) => headSizes(shapes[3]!, shapes[4]!, attributes),
  },
  TokenLogprobs: { name: "token_logprobs", sizes: first },
  TokenLogprobsGrad: { name: "token_logprobs_gradient", sizes: second },
  TokenEntropies: { name: "token_entropies", sizes: first },
  TokenEntropiesGrad: { name: "token_entropies_gradient", sizes: second },
  ColumnSums: { name: "column_sums", sizes: first },
  AdamW: { name: "adamw", sizes: ([value]) => [tf.util.sizeFromShape([...value!])] },
};

interface Exports {
  __stack_pointer: WebAssembly.Global;
  [name: string]: WebAssembly.Global | ((...numbers: number[]) => void);
}

/** The module on a backend's heap, and where its stack begins. */
interface Instance {
  exports: Exports;
  stack: number;
}

const stackBytes = 1 << 16;

const instances = new WeakMap<tf.KernelBackend, Instance>();

/**
 * Instantiates layers.wasm on the heap of tfjs's wasm backend, once a backend; its stack and scratch spaces are of tfjs's
 * allocator, and live as long as the backend.
 */
export async function loadLayers(backend: WasmBackend): Promise<void> {
  if (instances.has(backend)) return;
  const { wasm } = backend;
  const spaces: ({ at: number; bytes: number } | undefined)[] = [];
  const scratch = (number: number, bytes: number): number => {
    const known = spaces[number];
    if (known !== undefined && known.bytes >= bytes) return known.at;
    if (known !== undefined) wasm._free(known.at);
    spaces[number] = undefined; // nothing is there where the next call fails
    const space = { at: wasm._malloc(bytes + (bytes >> 2)), bytes: bytes + (bytes >> 2) };
    spaces[number] = space;
    return space.at;
  };
  const code = await Deno.readFile(new URL("./layers.wasm", import.meta.url));
  const env = { memory: wasm.asm.memory, scratch, log: Math.log };
  const { instance } = await WebAssembly.instantiate(code, { env });
  const exports = instance.exports as unknown as Exports;
  instances.set(backend, { exports, stack: wasm._malloc(stackBytes) + stackBytes });
}

/** Computes a fused kernel; the inputs are named `input0` and so on. */
export function layer(
  kernel: FusedKernel,
  inputs: Record<string, tf.TensorInfo>,
  attributes: Attributes,
  backend: WasmBackend,
): tf.TensorInfo[] {
  const tensors = Object.values(inputs);
  if (kernel === "Linear") {
    const [a, b, bias] = tensors as [tf.TensorInfo, tf.TensorInfo, tf.TensorInfo];
    const { transpose_a, transpose_b } = attributes as unknown as Record<string, boolean>;
    const product = { transposeA: transpose_a!, transposeB: transpose_b!, activation: "linear" as const };
    return [fusedMatMul({ a, b, bias }, product, backend)];
  }
  if (kernel === "TokenLogprobs") checkTargets(tensors[0]!, tensors[1]!, backend);
  const { name, sizes } = layers[kernel];
  const shapes = tensors.map(({ shape }) => shape);
  const made = fusedKernels[kernel].outputs(shapes, attributes).map((shape) =>
    backend.makeOutput([...shape], "float32")
  );
  const real = attributes.epsilon ?? attributes.scale;
  const { exports, stack } = instances.get(backend)!;
  exports.__stack_pointer.value = stack; // a call that was broken off by an exception has not put it back
  try {
    (exports[name] as (...numbers: number[]) => void)(
      ...sizes(shapes, attributes),
      ...tensors.map((tensor) => address(backend, tensor)),
      ...(real === undefined ? [] : [real]),
      ...made.map((tensor) => address(backend, tensor)),
    );
  } catch (error) { // no scratch space
    for (const { dataId } of made) backend.disposeData(dataId);
    throw error;
  }
  return made;
}

function checkTargets(logits: tf.TensorInfo, targets: tf.TensorInfo, backend: WasmBackend): void {
  const V = logits.shape[1]!;
  const wrong = backend.typedArrayFromHeap(targets).find((target) => target < 0 || target >= V);
  if (wrong !== undefined) {
    throw new Error(`SearchE1TokenLogprobs failed: a target is not in the vocabulary: ${wrong} of ${V}`);
  }
}
