/** OFSD's loss and gradients against TRL's GKD and torch; see tests/fixtures/make_distillation_fixtures.py. */
import { assertAlmostEquals, assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { ofsdLoss, type OfsdOptions, teacherTargets } from "../lib/learn/ofsd.ts";
import { evaluateLoss, onEngines } from "./engines.ts";
import fixture from "./fixtures/distillation.json" with { type: "json" };

const { B, M, V } = fixture;
const plain: OfsdOptions = { direction: "forward", jsdBeta: 0.5, clip: "off", tau: 10, weighting: "uniform" };

/** The fixture's logits and masks on the present engine. */
function tensors() {
  return {
    teacher: tf.tensor3d(fixture.teacher, [B, M, V]),
    student: tf.tensor3d(fixture.student, [B, M, V]),
    mask: tf.tensor2d(fixture.mask, [B, M]),
    weights: tf.tensor2d(fixture.weights, [B, M]),
  };
}

function assertClose(actual: readonly number[], expected: readonly number[], name: string) {
  assertEquals(actual.length, expected.length);
  expected.forEach((value, i) => assertAlmostEquals(actual[i]!, value, 1e-5, `${name} at ${i}`));
}

Deno.test("ofsdLoss() equals TRL's generalized_jsd_loss and its gradient within 1e-5", async () => {
  await onEngines(async () => {
    const { teacher, student, mask, weights } = tensors();
    for (const { beta, loss, gradient } of fixture.jsd) {
      const direction = beta === 0 ? "forward" : beta === 1 ? "reverse" : "jsd";
      const got = await evaluateLoss((logits, teacherLogits) => {
        const targets = teacherTargets(teacherLogits as tf.Tensor3D);
        return ofsdLoss({ teacher: targets, studentLogits_BMV: logits as tf.Tensor3D, mask_BM: mask }, {
          ...plain,
          direction,
          jsdBeta: beta,
        });
      }, [student, teacher]);
      assertAlmostEquals(got.loss, loss, 1e-5, `beta ${beta}`);
      assertClose(got.gradients[0]!, gradient, `beta ${beta}`);
    }
    tf.dispose([teacher, student, mask, weights]);
  });
});

Deno.test("ofsdLoss() equals torch's KL with clips, kept entries, temperature and weights within 1e-5", async () => {
  assertEquals(fixture.kl.length, 72);
  await onEngines(async () => {
    const { teacher, student, mask, weights } = tensors();
    for (const each of fixture.kl) {
      const name = JSON.stringify({ ...each, gradient: 0 });
      const got = await evaluateLoss((logits, teacherLogits) => {
        const targets = teacherTargets(teacherLogits as tf.Tensor3D, {
          temperature: each.temperature,
          topK: each.top_k,
        });
        return ofsdLoss({
          teacher: targets,
          studentLogits_BMV: logits as tf.Tensor3D,
          mask_BM: mask,
          weights_BM: each.weighting === "host" ? weights : undefined,
        }, {
          direction: each.direction as OfsdOptions["direction"],
          jsdBeta: fixture.jsd_beta,
          clip: each.clip as OfsdOptions["clip"],
          tau: each.tau,
          weighting: each.weighting === "host" ? "position" : each.weighting as OfsdOptions["weighting"],
        });
      }, [student, teacher]);
      assertAlmostEquals(got.loss, each.loss, 1e-5, name);
      assertAlmostEquals(got.metrics["ofsd/kl"]!, each.kl, 1e-5, name);
      assertAlmostEquals(got.metrics["ofsd/clipped_fraction"]!, each.clipped_fraction, 1e-6, name);
      assertClose(got.gradients[0]!, each.gradient, name);
    }
    tf.dispose([teacher, student, mask, weights]);
  });
});
