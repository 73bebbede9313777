import type * as tf from "@tensorflow/tfjs";
import { joinsVectors } from "./joined_vectors.ts";
import { narrowDepth, panelBytes, panelModule, wideDepth } from "./panel_module.ts";

/** What the kernels use of tfjs's wasm backend: its heap, its allocator, its table of tensors. */
export interface WasmBackend extends tf.KernelBackend {
  wasm: { asm: { memory: WebAssembly.Memory }; _malloc(bytes: number): number; _free(at: number): void };
  dataIdMap: { get(dataId: object): { memoryOffset: number } };
  makeOutput(shape: number[], dtype: tf.DataType): tf.TensorInfo;
  typedArrayFromHeap(tensor: tf.TensorInfo): Float32Array | Int32Array | Uint8Array;
  incRef(dataId: object): void;
}

/** The exports of kernels.wasm (assembly/*.ts): pointers are bytes in tfjs's heap, counts and strides are elements. */
export interface WasmKernels {
  scratchBytes(): number;
  // deno-fmt-ignore
  matmul(a: number, b: number, c: number, batch: number, m: number, n: number, k: number, aBatch: number,
    aRow: number, aCol: number, bBatch: number, bRow: number, bCol: number, bias: number, scratch: number): void;
  segmentSum(x: number, ids: number, out: number, rows: number, width: number, segments: number): void;
  // deno-fmt-ignore
  gather(x: number, ids: number, out: number, batch: number, outer: number, size: number, count: number,
    bytes: number): number;
  // deno-fmt-ignore
  copyBlocks(from: number, fromPitch: number, to: number, toPitch: number, bytes: number, count: number): void;
  exp(from: number, to: number, count: number): void;
  maximum(a: number, b: number, out: number, count: number): void;
  minimum(a: number, b: number, out: number, count: number): void;
  clip(from: number, to: number, count: number, low: number, high: number): void;
  sumRows(x: number, out: number, rows: number, columns: number): void;
  sumColumns(x: number, out: number, rows: number, columns: number): void;
}

/** One backend's instance of kernels.wasm with its scratch space, which tfjs's allocator gave and which lives as long as the backend. */
export interface HeapKernels {
  kernels: WasmKernels;
  /** Whether products have wide tiles. */
  wide: boolean;
  scratch: number;
}

/** Bytes. tfjs's allocator knows multiples of 8 only. */
const cacheLine = 64;

const instances = new WeakMap<tf.KernelBackend, HeapKernels>();

/** Instantiates kernels.wasm on the heap of tfjs's wasm backend, once a backend. */
export async function loadKernels(backend: WasmBackend): Promise<void> {
  if (instances.has(backend)) return;
  alignAllocations(backend.wasm);
  const wide = joinsVectors(), kernels = await instantiateKernels(backend, wide);
  instances.set(backend, { kernels, wide, scratch: backend.wasm._malloc(kernels.scratchBytes()) });
}

/** An instance whose products have wide tiles, for vectors that V8 joins, or narrow ones: the same results to the last bit. */
export async function instantiateKernels(backend: WasmBackend, wide: boolean): Promise<WasmKernels> {
  const env = { memory: backend.wasm.asm.memory };
  const PANEL = backend.wasm._malloc(panelBytes), DEPTH = wide ? wideDepth : narrowDepth;
  const module = panelModule(PANEL, DEPTH, env.memory.buffer.byteLength / 2 ** 16);
  const panel = await WebAssembly.instantiate(module, { env });
  const bytes = await Deno.readFile(new URL("./kernels.wasm", import.meta.url));
  const imports = { env, matmul: { PANEL, DEPTH, WIDE: Number(wide), ...panel.instance.exports } };
  return (await WebAssembly.instantiate(bytes, imports)).instance.exports as unknown as WasmKernels;
}

/**
 * Gives out addresses that are multiples of `cacheLine`, where vectors lie in one line of the cache each, and refuses what the
 * heap cannot hold: tfjs writes to whatever address its allocator returns, also to the 0 that says that it is full.
 */
function alignAllocations(wasm: WasmBackend["wasm"]): void {
  wasm._free(wasm._malloc(1)); // the first calls put the exports in the place of Emscripten's stubs
  const allocate = wasm._malloc, free = wasm._free;
  const given = new Map<number, number>();
  wasm._malloc = (bytes) => {
    const space = bytes < 2 ** 32 - cacheLine ? allocate(bytes + cacheLine) >>> 0 : 0;
    if (space === 0) {
      throw new Error(
        `Cannot allocate ${bytes} bytes: the wasm heap holds 4 GB at most, use smaller batches or engine "tensorflow"`,
      );
    }
    const at = Math.ceil(space / cacheLine) * cacheLine;
    given.set(at, space);
    return at;
  };
  // What kernels of tfjs's own allocated is not in the table, nor is what was given out before this.
  wasm._free = (at) => {
    free(given.get(at) ?? at);
    given.delete(at);
  };
}

/** The instance that `loadKernels` made for this backend. */
export function heapKernels(backend: WasmBackend): HeapKernels {
  const instance = instances.get(backend);
  if (instance === undefined) {
    throw new Error(
      "Cannot run a kernel on a wasm backend without registerWasmKernels(), call it after tf.setBackend",
    );
  }
  return instance;
}

/** Where a tensor lies on the heap, in bytes. */
export function address(backend: WasmBackend, tensor: tf.TensorInfo): number {
  return backend.dataIdMap.get(tensor.dataId).memoryOffset;
}

/** The same numbers under another shape: nothing is copied, tfjs counts who holds them. */
export function shared(backend: WasmBackend, tensor: tf.TensorInfo, shape: number[]): tf.TensorInfo {
  backend.incRef(tensor.dataId);
  return { dataId: tensor.dataId, shape, dtype: tensor.dtype };
}
