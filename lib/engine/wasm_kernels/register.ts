/**
 * The wasm engine's own kernels, in the place of those of tfjs-wasm that are slow (a packed SIMD matrix product; gather,
 * split, concatenation, exp, sums), wrong or missing (the scatter-add that is gather's gradient), and the fused kernels. They
 * run on tfjs's heap, so that no tensor is copied. A heap that is full becomes an error; tfjs-wasm would write over its own
 * memory.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import { cast, clip, exp, extremum, identity, sum } from "./elementwise.ts";
import { type FusedKernel, fusedKernels, registeredName } from "../fused_kernels.ts";
import { loadKernels, type WasmBackend } from "./heap.ts";
import { layer, loadLayers } from "./layers.ts";
import { batchMatMul, fusedMatMul } from "./matmul.ts";
import { concat, gather, slice, split, unsortedSegmentSum } from "./rows.ts";

type Output = tf.TensorInfo | tf.TensorInfo[];
/** Undefined where the kernel leaves the case to tfjs's own. */
// deno-lint-ignore no-explicit-any
type Kernel = (inputs: any, attributes: any, backend: WasmBackend) => Output | undefined;

const isFloat = ({ dtype }: tf.TensorInfo) => dtype === "float32";
const isString = ({ dtype }: tf.TensorInfo) => dtype === "string";

const kernels: Record<string, Kernel> = {
  BatchMatMul: ({ a, b }, attributes, backend) => batchMatMul(a, b, attributes, backend),
  _FusedMatMul: (inputs, attributes, backend) => fusedMatMul(inputs, attributes, backend),
  UnsortedSegmentSum: ({ x, segmentIds }, { numSegments }, backend) =>
    unsortedSegmentSum(x, segmentIds, numSegments, backend),
  GatherV2: ({ x, indices }, attributes, backend) =>
    isString(x) ? undefined : gather(x, indices, attributes, backend),
  Concat: (inputs, { axis }, backend) => isString(inputs[0]) ? undefined : concat(inputs, axis, backend),
  SplitV: ({ x }, attributes, backend) => isString(x) ? undefined : split(x, attributes, backend),
  Slice: ({ x }, attributes, backend) => isString(x) ? undefined : slice(x, attributes, backend),
  Identity: ({ x }, _, backend) => isString(x) ? undefined : identity(x, backend),
  Cast: ({ x }, { dtype }, backend) => isString(x) ? undefined : cast(x, dtype, backend),
  Exp: ({ x }, _, backend) => isFloat(x) ? exp(x, backend) : undefined,
  ClipByValue: ({ x }, attributes, backend) => isFloat(x) ? clip(x, attributes, backend) : undefined,
  Maximum: ({ a, b }, _, backend) => isFloat(a) ? extremum("maximum", a, b, backend) : undefined,
  Minimum: ({ a, b }, _, backend) => isFloat(a) ? extremum("minimum", a, b, backend) : undefined,
  Sum: ({ x }, attributes, backend) => isFloat(x) ? sum(x, attributes, backend) : undefined,
};

for (const name of Object.keys(fusedKernels) as FusedKernel[]) {
  kernels[registeredName(name)] = (inputs, attributes, backend) => layer(name, inputs, attributes, backend);
}

const registered = new Set<string>();

/**
 * Puts the kit's kernels in the place of tfjs's on the wasm backend. Call it after `tf.setBackend("wasm")`; a second call
 * changes nothing.
 *
 * @throws if tfjs's current backend is another one.
 */
export async function registerWasmKernels(): Promise<void> {
  if (tf.getBackend() !== "wasm") {
    throw new Error(
      `Cannot register wasm kernels on backend "${tf.getBackend()}", call tf.setBackend("wasm") first`,
    );
  }
  await loadKernels(tf.backend() as WasmBackend);
  await loadLayers(tf.backend() as WasmBackend);
  for (const [kernelName, kernel] of Object.entries(kernels)) {
    if (registered.has(kernelName)) continue;
    registered.add(kernelName);
    const original = tf.getKernel(kernelName, "wasm");
    if (original !== undefined) tf.unregisterKernel(kernelName, "wasm");
    tf.registerKernel({
      ...original,
      kernelName,
      backendName: "wasm",
      kernelFunc: (call) =>
        kernel(call.inputs, call.attrs, call.backend as WasmBackend) ?? original!.kernelFunc(call),
    });
  }
}
