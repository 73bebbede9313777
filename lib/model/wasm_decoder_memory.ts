/**
 * What the threads of wasm_decoder.ts share: decoder.wasm, and control words at the start of its memory. It imports
 * nothing, so that a thread starts quickly.
 *
 * @module
 */

/** The exports of decoder.wasm; see lib/engine/wasm_kernels/assembly/decoder.ts. */
export interface DecoderKernels {
  scratchBytes(model: number, count: number): number;
  slotBytes(model: number): number;
  packStrips(from: number, to: number, out: number, width: number, scale: number): void;
  copySlot(model: number, from: number, to: number, count: number): void;
  // deno-fmt-ignore
  forward(model: number, items: number, count: number, scratch: number, p: number, scale: number): void;
}

/** Control words at the start of the memory, 32 bits each: a worker's part of a step begins when `go` changes. */
export const control = { go: 0, stop: 1, failed: 2, done: 16, parts: 64, partWords: 8 } as const;

/** Where the model's header begins: behind the control words of 32 threads. */
export const header = 4 * (control.parts + 32 * control.partWords);

/** Runs a thread's part of a step, as the control words say. */
export function runPart(kernels: DecoderKernels, words: Int32Array, thread: number): void {
  const at = control.parts + thread * control.partWords;
  const [items, count, scratch, p] = words.subarray(at, at + 4) as unknown as [
    number,
    number,
    number,
    number,
  ];
  if (count === 0) return;
  const scale = new Float32Array(words.buffer, 4 * (at + 4), 1)[0]!;
  kernels.forward(header, items >>> 0, count, scratch >>> 0, p >>> 0, scale);
}

/** An instance of decoder.wasm on a memory. */
export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): DecoderKernels {
  return new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as DecoderKernels;
}
