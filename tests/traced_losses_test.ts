/** A compiled loss equals the same loss run op by op: value, metrics and gradients, for each loss and its forms. */
import { assertAlmostEquals, assertEquals, assertLessOrEqual } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { randomStream } from "../lib/base/random.ts";
import { grpoLoss, grpoLossPresets, type GrpoOptions } from "../lib/learn/grpo.ts";
import { ofsdLoss, type OfsdOptions, teacherTargets } from "../lib/learn/ofsd.ts";
import { sftLoss } from "../lib/learn/sft.ts";
import { tokenEntropies, tokenLogprobs } from "../lib/model/scoring.ts";
import { evaluateLoss, type LossOf, onEngines } from "./engines.ts";

const [B, M, V] = [4, 8, 17];
const base: OfsdOptions = { direction: "forward", jsdBeta: 0.5, clip: "token", tau: 1, weighting: "uniform" };

function random(shape: number[], key: string, scale = 2): tf.Tensor {
  const next = randomStream("traced losses", key);
  const values = Array.from({ length: tf.util.sizeFromShape(shape) }, () => scale * (next() - 0.5));
  return tf.tensor(values, shape);
}

function policyLoss(options: GrpoOptions): LossOf {
  return (logits, targets, mask, noise, advantage) => {
    const logits_BMV = logits as tf.Tensor3D;
    const logp_BM = tokenLogprobs(logits_BMV, targets as tf.Tensor2D, 0.8);
    const old = tf.add(noise!, -2) as tf.Tensor2D;
    return grpoLoss({
      logp_BM,
      oldLogp_BM: old,
      refLogp_BM: tf.mul(old, 1.1) as tf.Tensor2D,
      advantage_B: advantage as tf.Tensor1D,
      mask_BM: mask as tf.Tensor2D,
      entropy_BM: tokenEntropies(logits_BMV, 0.8),
    }, options);
  };
}

function distillation(options: Partial<OfsdOptions>, topK = 0): LossOf {
  return (logits, _targets, mask, noise, _advantage, teacher) =>
    ofsdLoss({
      teacher: teacherTargets(teacher as tf.Tensor3D, { temperature: 0.7, topK }),
      studentLogits_BMV: logits as tf.Tensor3D,
      mask_BM: mask as tf.Tensor2D,
      weights_BM: tf.abs(noise!) as tf.Tensor2D,
    }, { ...base, ...options });
}

const presets = grpoLossPresets;
const losses: Record<string, LossOf> = {
  sft: (logits, targets, mask) => ({
    loss: sftLoss(tokenLogprobs(logits as tf.Tensor3D, targets as tf.Tensor2D), mask as tf.Tensor2D),
    metrics: {},
  }),
  "grpo of search-r1": policyLoss(presets["search-r1"]),
  "grpo of trl": policyLoss(presets.trl),
  "grpo by rows, by sequence, two-sided": policyLoss({
    ...presets["search-r1"],
    aggregation: "grpo",
    importance: "sequence",
    delta: 1.5,
  }),
  "dr_grpo": policyLoss({ ...presets["search-r1"], aggregation: "dr_grpo" }),
  cispo: policyLoss({ ...presets["search-r1"], loss: "cispo", epsilonHigh: 2 }),
  "ofsd forward": distillation({}),
  "ofsd reverse, entry clip": distillation({ direction: "reverse", clip: "entry", tau: 0.2 }),
  "ofsd jsd by teacher entropy": distillation({
    direction: "jsd",
    clip: "off",
    weighting: "teacher-entropy",
  }),
  "ofsd kept entries by gap": distillation({ weighting: "gap" }, 5),
};

Deno.test("compile() gives each loss the value, metrics and gradients that it has eagerly, and leaves nothing behind", async () => {
  await onEngines(async (engine) => {
    const inputs = [
      random([B, M, V], "logits", 6),
      tf.tidy(() => tf.cast(tf.floor(tf.abs(random([B, M], "targets", 2 * V - 1))), "int32")),
      tf.tensor2d(Array.from({ length: B * M }, (_, i) => i % M < 3 + (i / M) ? 1 : 0), [B, M]),
      random([B, M], "noise"),
      random([B], "advantages"),
      random([B, M, V], "teacher", 6),
    ];
    for (const [name, loss] of Object.entries(losses)) {
      const eager = await evaluateLoss(loss, inputs);
      const compiled = await evaluateLoss(loss, inputs, { engine });
      assertAlmostEquals(compiled.loss, eager.loss, 1e-5, `${engine.name}: ${name}`);
      assertEquals(Object.keys(compiled.metrics), Object.keys(eager.metrics));
      for (const [metric, value] of Object.entries(eager.metrics)) {
        assertAlmostEquals(compiled.metrics[metric]!, value, 1e-5, `${engine.name}: ${metric} of ${name}`);
      }
      eager.gradients[0]!.forEach((value, i) => {
        assertAlmostEquals(compiled.gradients[0]![i]!, value, 1e-5, `${engine.name}: ${name}`);
      });
    }
    tf.dispose(inputs);
  });
});

Deno.test("ofsdLoss() without privilege at temperature 1 is exactly 0 eagerly and at most 1e-6 compiled", async () => {
  await onEngines(async (engine) => {
    const logits = random([B, M, V], "same", 20);
    const mask = tf.ones<tf.Rank.R2>([B, M]);
    for (const direction of ["forward", "reverse", "jsd"] as const) {
      for (const topK of [0, 4]) {
        const of: LossOf = (student, teacher, mask_BM) =>
          ofsdLoss({
            teacher: teacherTargets(teacher as tf.Tensor3D, { topK }),
            studentLogits_BMV: student as tf.Tensor3D,
            mask_BM: mask_BM as tf.Tensor2D,
          }, { ...base, direction });
        const name = `${engine.name} ${direction} ${topK}`;
        const eager = await evaluateLoss(of, [logits, logits, mask]);
        assertEquals([eager.loss, eager.metrics["ofsd/kl"], eager.metrics["ofsd/clipped_fraction"]], [
          0,
          0,
          0,
        ], name);
        if (direction === "forward" && topK === 0) {
          assertEquals(eager.gradients[0]!.filter((value) => value !== 0), [], `${name}: gradient`);
        }
        const compiled = await evaluateLoss(of, [logits, logits, mask], { engine });
        assertLessOrEqual(Math.abs(compiled.loss), 1e-6, name);
      }
    }
    tf.dispose([logits, mask]);
  });
});
