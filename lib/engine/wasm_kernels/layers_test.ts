/** What layers.wasm may not have, and what it leaves behind; its numbers are tested beside machine code's. */
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import "@tensorflow/tfjs-backend-wasm";
import { fused } from "../fused_kernels.ts";
import type { WasmBackend } from "./heap.ts";
import { registerWasmKernels } from "./register.ts";

/** The numbers of a module's sections, in their order. */
function sections(module: Uint8Array): number[] {
  const found: number[] = [];
  for (let at = 8; at < module.length;) {
    found.push(module[at++]!);
    let size = 0, shift = 0, byte: number;
    do {
      byte = module[at++]!;
      size |= (byte & 127) << shift;
      shift += 7;
    } while (byte > 127);
    at += size;
  }
  return found;
}

Deno.test("layers.wasm has no data of its own: it would lie over tfjs's", async () => {
  const found = sections(await Deno.readFile(new URL("./layers.wasm", import.meta.url)));
  const [code, data] = [10, 11];
  assert(found.includes(code));
  assert(!found.includes(data));
});

Deno.test("attention on wasm is right for sequences longer than its stack holds", async () => {
  await tf.setBackend("wasm");
  await registerWasmKernels();
  // Equal scores: token t sees the mean of the values 0 … t.
  const [T, Dh] = [2056, 16];
  const positions = tf.range(0, T), values = tf.tile(tf.expandDims(positions, 1), [1, Dh]);
  const qkv = tf.concat([tf.zeros([T, 2 * Dh]), values], 1);
  const cos = tf.ones([T, Dh / 2]), sin = tf.zeros([T, Dh / 2]), tokens = tf.zeros([1, T], "int32");
  const made = fused("Attention", [qkv, cos, sin, tokens], { heads: 1, kv_heads: 1 });
  const out = await made[0]!.data();
  for (const [i, value] of out.entries()) assertAlmostEquals(value, Math.floor(i / Dh) / 2, 0.01);
  tf.dispose([positions, values, qkv, cos, sin, tokens, made]);
});

Deno.test("fused kernels on wasm use their memory again, and refuse a bias or a target that is none", async () => {
  await tf.setBackend("wasm");
  await registerWasmKernels();
  const backend = tf.backend() as WasmBackend;
  const qkv = tf.ones([4096, 3 * 32]), table = tf.ones([2048, 16]), tokens = tf.zeros([2, 2048], "int32");
  const attend = () =>
    tf.dispose(fused("Attention", [qkv, table, table, tokens], { heads: 1, kv_heads: 1 }) as tf.Tensor[]);
  attend();
  const before = [tf.memory().numTensors, backend.wasm.asm.memory.buffer.byteLength];
  for (let i = 0; i < 20; i++) attend();
  assertEquals([tf.memory().numTensors, backend.wasm.asm.memory.buffer.byteLength], before);

  const [x, weight, bias] = [tf.ones([4, 2]), tf.ones([3, 2]), tf.ones([2])];
  assertThrows(() => fused("Linear", [x, weight, bias], { transpose_a: false, transpose_b: true }));

  const logits = tf.ones([2, 3]);
  for (const wrong of [-1, 3]) {
    const targets = tf.tensor1d([0, wrong], "int32");
    assertThrows(
      () => fused("TokenLogprobs", [logits, targets], { scale: 1 }),
      Error,
      `a target is not in the vocabulary: ${wrong} of 3`,
    );
    targets.dispose();
  }
  tf.dispose([qkv, table, tokens, x, weight, bias, logits]);
});
