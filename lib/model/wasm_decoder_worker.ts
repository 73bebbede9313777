/** A thread of wasm_decoder.ts: waits for its part of a step, runs it, says so. */
import { control, header, instantiate, runPart } from "./wasm_decoder_memory.ts";

const scope = self as unknown as {
  onmessage: (event: MessageEvent) => void;
  postMessage(message: unknown): void;
};

scope.onmessage = ({ data }) => {
  const { module, memory, thread } = data as {
    module: WebAssembly.Module;
    memory: WebAssembly.Memory;
    thread: number;
  };
  const kernels = instantiate(module, memory);
  const words = new Int32Array(memory.buffer, 0, header / 4);
  scope.postMessage("ready");
  for (let seen = 0;;) {
    Atomics.wait(words, control.go, seen);
    seen = Atomics.load(words, control.go);
    if (Atomics.load(words, control.stop) !== 0) return;
    try {
      runPart(kernels, words, thread);
    } catch (error) {
      console.error(error);
      Atomics.store(words, control.failed, 1);
    }
    Atomics.store(words, control.done + thread, seen);
    Atomics.notify(words, control.done + thread);
  }
};
