import { assertAlmostEquals, assertEquals, assertLess } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { tinyPolicy } from "../../tests/tiny_policy.ts";
import { assertNoLeak } from "../engine/leaks.ts";
import { modelLogits } from "../model/scoring.ts";
import { batchTensors, packBatch } from "./batch.ts";
import { ofsdLoss, teacherTargets } from "./ofsd.ts";
import { privilegedPair } from "./privileged_context.ts";
import { tokenDivergence } from "./token_divergence.ts";

await tf.setBackend("cpu");

const trajectories = [
  { tokens: [3, 7, 9, 11, 4, 6], promptLength: 2, mask: [0, 0, 1, 0, 1, 1] },
  { tokens: [5, 8, 2, 12], promptLength: 1, mask: [0, 1, 0, 1] },
  { tokens: [6, 6, 6, 6, 6], promptLength: 3, mask: [0, 0, 0, 1, 0] },
];
const pairs = trajectories.map((trajectory) => privilegedPair(trajectory, [13, 14]));

Deno.test("tokenDivergence() has ofsdLoss()'s KL as its mean, whatever the batch, and leaks nothing", async () => {
  const [teacher, student] = [tinyPolicy(1), tinyPolicy(2)];
  const pack = (which: "teacher" | "student") =>
    batchTensors(packBatch(pairs.map((pair) => pair[which]), { padTokenId: 0 }));
  const metrics = tf.tidy(() => {
    const [t, s] = [pack("teacher"), pack("student")];
    return ofsdLoss({
      teacher: teacherTargets(modelLogits(teacher.config, teacher.weights, undefined, t)),
      studentLogits_BMV: modelLogits(student.config, student.weights, undefined, s),
      mask_BM: s.mask_BM,
    }, { direction: "forward", jsdBeta: 0.5, clip: "off", tau: 10, weighting: "uniform" }).metrics;
  });
  const mean = (await metrics["ofsd/kl"]!.data())[0]!;
  tf.dispose(metrics);
  for (const batch of [1, 2, 3]) {
    const found = await assertNoLeak(() => tokenDivergence(teacher, student, pairs, { batch }));
    const values = found.flatMap(({ kl }) => kl).filter((value) => value !== null);
    assertEquals(values.length, 6);
    assertAlmostEquals(values.reduce((a, b) => a + b) / 6, mean, 1e-5);
  }
  tf.dispose([teacher.weights, student.weights]);
});

Deno.test("tokenDivergence() is null where the mask is 0, and lists falling probabilities elsewhere", async () => {
  const policy = tinyPolicy(1);
  const found = await tokenDivergence(policy, policy, pairs, { alternatives: 3 });
  found.forEach(({ kl, teacher, student }, row) => {
    trajectories[row]!.mask.forEach((m, t) => {
      assertEquals(kl[t] === null, m === 0);
      for (const list of [teacher[t]!, student[t]!]) {
        assertEquals(list.length, m === 0 ? 0 : 3);
        for (let k = 1; k < list.length; k++) assertLess(list[k]![1], list[k - 1]![1]);
      }
    });
  });
  tf.dispose(policy.weights);
});
