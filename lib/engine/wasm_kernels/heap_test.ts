import { assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import "@tensorflow/tfjs-backend-wasm";
import { address, type WasmBackend } from "./heap.ts";
import { registerWasmKernels } from "./register.ts";

Deno.test("registerWasmKernels() lets tensors begin with a line of the cache, and their memory is used again", async () => {
  await tf.setBackend("wasm");
  await registerWasmKernels();
  const backend = tf.backend() as WasmBackend;
  const heap = () => backend.wasm.asm.memory.buffer.byteLength;
  const addresses = () => {
    const tensors = [0, 1, 3, 64, 1000].map((size) => tf.ones([size]));
    const found = tensors.map((tensor) => address(backend, tensor));
    for (const [i, tensor] of tensors.entries()) {
      assertEquals(tensor.dataSync().length, [0, 1, 3, 64, 1000][i]);
    }
    tf.dispose(tensors);
    return found;
  };
  const first = addresses();
  assertEquals(first.map((at) => at % 64), [0, 0, 0, 0, 0]);
  assertEquals(new Set(first).size, 5);

  // 8 GB in all, twice what a heap can hold.
  tf.ones([1 << 20]).dispose();
  const before = heap();
  for (let i = 0; i < 2000; i++) tf.zeros([1 << 20]).dispose();
  assertEquals(heap(), before);
});
