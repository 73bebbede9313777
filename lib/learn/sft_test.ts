import { assertAlmostEquals, assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { evaluateLoss, onEngines } from "../../tests/engines.ts";
import { sftLoss } from "./sft.ts";

Deno.test("sftLoss() is the mean over masked tokens, with a gradient of −1/n on them and 0 elsewhere", async () => {
  await onEngines(async () => {
    const mask = tf.tensor2d([[1, 1, 0], [1, 0, 0]]);
    const logp = tf.tensor2d([[-1, -2, -50], [-3, -50, -50]]);
    const of = (logp: tf.Tensor) => ({ loss: sftLoss(logp as tf.Tensor2D, mask), metrics: {} });
    const { loss, gradients } = await evaluateLoss(of, [logp]);
    assertAlmostEquals(loss, 2, 1e-6);
    [-1, -1, 0, -1, 0, 0].forEach((sign, i) => assertAlmostEquals(gradients[0]![i]!, sign / 3, 1e-6));
    tf.dispose([mask, logp]);
  });
});

Deno.test("sftLoss() of a batch without a masked token is 0", async () => {
  await onEngines(async () => {
    const zeros = tf.zeros<tf.Rank.R2>([2, 2]);
    const { loss } = await evaluateLoss(
      (logp) => ({ loss: sftLoss(logp as tf.Tensor2D, zeros), metrics: {} }),
      [zeros],
    );
    assertEquals(Math.abs(loss), 0);
    zeros.dispose();
  });
});
