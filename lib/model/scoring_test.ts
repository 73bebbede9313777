import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { onEngines } from "../../tests/engines.ts";
import { randomStream } from "../base/random.ts";
import { assertNoLeak } from "../engine/leaks.ts";
import { tokenEntropies, tokenLogprobs } from "./scoring.ts";

const [B, M, V] = [2, 3, 7];
const uniform = randomStream("scoring_test");
const numbers = (count: number, scale: number) =>
  Array.from({ length: count }, () => scale * (uniform() - 0.5));
const logits = numbers(B * M * V, 12);
const factors = numbers(B * M, 2);
const targets = [0, 6, 3, 3, 1, 5];

/** Value and gradient of the factors' weighted sum of what `of` computes. */
async function evaluated(of: (logits_BMV: tf.Tensor3D) => tf.Tensor) {
  const { value, grad } = tf.tidy(() => {
    const weights = tf.tensor(factors, [B, M]);
    return tf.valueAndGrad((x: tf.Tensor) => tf.sum(tf.mul(of(x as tf.Tensor3D), weights)))(
      tf.tensor3d(logits, [B, M, V]),
    );
  });
  const out = [...await value.data(), ...await grad.data()];
  tf.dispose([value, grad]);
  return out;
}

Deno.test("tokenLogprobs() and tokenEntropies() have the values and gradients of their plain formulas", async () => {
  await onEngines(async () => {
    for (const temperature of [1, 0.6]) {
      const logSoftmax = (x: tf.Tensor) => tf.logSoftmax(tf.div(x, temperature));
      const oneHot = () => tf.cast(tf.oneHot(tf.tensor2d(targets, [B, M], "int32"), V), "float32");
      await assertNoLeak(async () => {
        const pairs: [(x: tf.Tensor3D) => tf.Tensor, (x: tf.Tensor3D) => tf.Tensor][] = [
          [
            (x) => tokenLogprobs(x, tf.tensor2d(targets, [B, M], "int32"), temperature),
            (x) => tf.sum(tf.mul(logSoftmax(x), oneHot()), -1),
          ],
          [
            (x) => tokenEntropies(x, temperature),
            (x) => tf.neg(tf.sum(tf.mul(tf.exp(logSoftmax(x)), logSoftmax(x)), -1)),
          ],
        ];
        for (const [ours, plain] of pairs) {
          const [actual, expected] = [await evaluated(ours), await evaluated(plain)];
          expected.forEach((x, i) => assertAlmostEquals(actual[i]!, x, 1e-5));
        }
      });
    }
  });
});

Deno.test("tokenLogprobs() stays exact where the probability underflows", async () => {
  await onEngines(async () => {
    const logp = tf.tidy(() =>
      tokenLogprobs(tf.tensor3d([[[500, 0]]]), tf.tensor2d([[1]], undefined, "int32"))
    );
    assertEquals((await logp.data())[0], -500);
    logp.dispose();
  });
});

Deno.test("tokenLogprobs() refuses more logits than an index can count", () => {
  const shape = { shape: [2 ** 11, 2 ** 10, 2 ** 10], dtype: "float32" };
  assertThrows(
    () => tokenLogprobs(shape as unknown as tf.Tensor3D, tf.zeros([1, 1], "int32") as tf.Tensor2D),
    RangeError,
    "use smaller batches",
  );
});
