import { assert, assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import "@tensorflow/tfjs-backend-wasm";
import { registerWasmKernels } from "./register.ts";

async function useWasm(): Promise<void> {
  await tf.setBackend("wasm");
  await tf.ready();
  await registerWasmKernels();
}

Deno.test("exp() on wasm is within two units in the last place over the whole range", async () => {
  await useWasm();
  const numbers = Float32Array.from({ length: 40_003 }, (_, i) => -104 + i * (193 / 40_003));
  const out = tf.tidy(() => tf.exp(tf.tensor1d(numbers)).dataSync());
  numbers.forEach((x, i) => {
    const expected = Math.exp(x);
    if (expected > 3.4028235e38) return assertEquals(out[i], Infinity);
    const unit = Math.max(2 ** -149, 2 ** (Math.floor(Math.log2(expected)) - 23));
    assert(Math.abs(out[i]! - expected) <= 2 * unit, `exp(${x}) is ${out[i]} and not ${expected}`);
  });
});

Deno.test("exp() on wasm is exact at 0, infinity and NaN", async () => {
  await useWasm();
  const out = tf.tidy(() => tf.exp(tf.tensor1d([0, -0, Infinity, -Infinity, NaN, 1e30, -1e30])).dataSync());
  assertEquals([...out], [1, 1, Infinity, 0, NaN, Infinity, 0]);
});

Deno.test("cast() on wasm calls every number but 0 true", async () => {
  await useWasm();
  const out = tf.tidy(() => tf.cast(tf.tensor1d([0, -0, 0.5, 256, -3, NaN]), "bool").dataSync());
  assertEquals([...out], [0, 0, 1, 1, 1, 1]);
});

Deno.test("clone() on wasm shares its numbers until the last of both is disposed", async () => {
  await useWasm();
  const before = tf.memory();
  const x = tf.tensor1d([1, 2, 3]);
  const copy = tf.clone(x), whole = tf.slice(x, 0, 3);
  x.dispose();
  assertEquals([...await copy.data(), ...await whole.data()], [1, 2, 3, 1, 2, 3]);
  tf.dispose([copy, whole]);
  assertEquals(tf.memory().numTensors, before.numTensors);
  assertEquals(tf.memory().numBytes, before.numBytes);
});
