import { assertAlmostEquals, assertEquals, assertGreaterOrEqual, assertLess } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import fc from "fast-check";
import { evaluateLoss } from "../../tests/engines.ts";
import { hostWeights, ofsdLoss, type OfsdOptions, teacherTargets, tokenWeights } from "./ofsd.ts";

await tf.setBackend("cpu");
const [B, M, V] = [2, 3, 5];
const forward: OfsdOptions = {
  direction: "forward",
  jsdBeta: 0.5,
  clip: "off",
  tau: 10,
  weighting: "uniform",
};

async function lossOf(teacher: number[], student: number[], mask: number[], options: OfsdOptions, topK = 0) {
  const inputs = [tf.tensor3d(student, [B, M, V]), tf.tensor3d(teacher, [B, M, V])];
  const mask_BM = tf.tensor2d(mask, [B, M]);
  const out = await evaluateLoss((studentLogits, teacherLogits) =>
    ofsdLoss({
      teacher: teacherTargets(teacherLogits as tf.Tensor3D, { topK }),
      studentLogits_BMV: studentLogits as tf.Tensor3D,
      mask_BM,
    }, options), inputs);
  tf.dispose([...inputs, mask_BM]);
  return out;
}

const logits = fc.array(fc.double({ min: -8, max: 8, noNaN: true }), {
  minLength: B * M * V,
  maxLength: B * M * V,
});
const masks = fc.array(fc.constantFrom(0, 1), { minLength: B * M, maxLength: B * M });
const options = fc.record({
  direction: fc.constantFrom("forward" as const, "reverse" as const, "jsd" as const),
  weighting: fc.constantFrom("uniform" as const, "teacher-entropy" as const, "gap" as const),
  clip: fc.constantFrom("off" as const, "token" as const),
}).map((some) => ({ ...forward, tau: 2, ...some }));
const topK = fc.constantFrom(0, 2);

Deno.test("ofsdLoss() is at least 0, does not look at masked tokens, and its gradient sums to 0 over the vocabulary", async () => {
  await fc.assert(
    fc.asyncProperty(
      logits,
      logits,
      masks,
      options,
      topK,
      logits,
      async (teacher, student, mask, options, topK, other) => {
        const out = await lossOf(teacher, student, mask, options, topK);
        assertGreaterOrEqual(out.loss, -1e-6);
        const hidden = (values: number[]) =>
          values.map((value, i) => mask[Math.floor(i / V)] === 1 ? value : other[i]!);
        assertEquals(await lossOf(hidden(teacher), hidden(student), mask, options, topK), out);
        for (let t = 0; t < B * M; t++) {
          const gradient = out.gradients[0]!.slice(t * V, (t + 1) * V);
          assertAlmostEquals(gradient.reduce((a, b) => a + b, 0), 0, 1e-5);
          if (mask[t] === 0) assertEquals(gradient.map(Math.abs), gradient.map(() => 0));
        }
      },
    ),
    { numRuns: 40 },
  );
});

Deno.test("ofsdLoss() can be negative with the entry clip", async () => {
  const teacher = Array.from({ length: B * M * V }, (_, i) => i % V === 0 ? 1 : 0);
  const student = Array.from({ length: B * M * V }, (_, i) => i % V === 0 ? -9 : 0);
  const out = await lossOf(teacher, student, Array(B * M).fill(1), { ...forward, clip: "entry", tau: 0.1 });
  assertLess(out.loss, -0.01);
  assertEquals(out.metrics["ofsd/clipped_fraction"], 1);
});

Deno.test("ofsdLoss() holds a token at tau and takes its gradient away", async () => {
  const teacher = Array.from({ length: B * M * V }, (_, i) => i % V === 0 ? 20 : 0);
  const student = Array.from({ length: B * M * V }, (_, i) => i % V === 1 ? 20 : 0);
  const out = await lossOf(teacher, student, Array(B * M).fill(1), { ...forward, clip: "token", tau: 3 });
  assertAlmostEquals(out.loss, 3, 1e-6);
  assertAlmostEquals(out.metrics["ofsd/kl"]!, 20, 1e-3);
  assertEquals(out.gradients[0]!.map(Math.abs), teacher.map(() => 0));
});

Deno.test("teacherTargets() keeps the likeliest entries and the tail as one: probabilities sum to 1", async () => {
  const logits = tf.tensor3d([[[3, 1, 2, 0, -1]]]);
  const targets = teacherTargets(logits, { topK: 2 });
  assertEquals([...await targets.ids_BMK!.data()], [0, 2]);
  const p = [...await targets.logp.data()].map(Math.exp);
  assertAlmostEquals(p.reduce((a, b) => a + b, 0), 1, 1e-6);
  assertEquals(teacherTargets(logits, { topK: 5 }).ids_BMK, undefined);
});

Deno.test("hostWeights() is 1 for what the distributions weigh, and never 0", () => {
  assertEquals(hostWeights("gap", 2, 0.3), [1, 1]);
  assertEquals(hostWeights("return-gap", 1, 0), [0.1]);
});

Deno.test("tokenWeights() are what ofsdLoss() weighs its tokens by", async () => {
  const teacher = teacherTargets(tf.log(tf.tensor3d([[[0.9, 0.1], [0.6, 0.4]]])));
  const studentLogits_BMV = tf.zeros<tf.Rank.R3>([1, 2, 2]);
  const mask_BM = tf.ones<tf.Rank.R2>([1, 2]);
  const weights_BM = tf.tensor2d([[1, 0.5]]);
  for (const weighting of ["position", "teacher-entropy", "gap"] as const) {
    const inputs = { teacher, studentLogits_BMV, mask_BM, weights_BM };
    const [a, b] = await tokenWeights(inputs, { ...forward, weighting }).data();
    const kl = (p: number) => p * Math.log(2 * p) + (1 - p) * Math.log(2 * (1 - p));
    const loss = await ofsdLoss(inputs, { ...forward, weighting }).loss.data();
    assertAlmostEquals(loss[0]!, (a! * kl(0.9) + b! * kl(0.6)) / (a! + b!), 1e-6);
  }
});
