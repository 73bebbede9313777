/** GRPO's loss, gradients and metrics against TRL's own code; see tests/fixtures/make_trl_fixtures.py. */
import { assertAlmostEquals, assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { groupAdvantages } from "../lib/learn/advantage.ts";
import { grpoLoss, type GrpoOptions } from "../lib/learn/grpo.ts";
import { evaluateLoss, onEngines } from "./engines.ts";
import fixture from "./fixtures/trl_grpo.json" with { type: "json" };

const { B, M } = fixture;

function optionsOf(each: typeof fixture.cases[number]): GrpoOptions {
  return {
    loss: each.loss_type === "cispo" ? "cispo" : "clip",
    aggregation: (each.loss_type === "cispo" ? "dapo" : each.loss_type) as GrpoOptions["aggregation"],
    importance: each.importance as GrpoOptions["importance"],
    epsilonLow: each.epsilon_low,
    epsilonHigh: each.epsilon_high,
    ...(each.delta === null ? {} : { delta: each.delta }),
    beta: each.beta,
    entropyCoefficient: each.entropy_coefficient,
    maxLength: fixture.max_length,
  };
}

Deno.test("grpoLoss() equals TRL's loss, gradients and metrics within 1e-5 in all settings", async () => {
  assertEquals(fixture.cases.length, 144);
  await onEngines(async () => {
    const tensor = (values: number[]) => tf.tensor2d(values, [B, M]);
    const [logp, entropy, old, ref, mask] = [
      fixture.logp,
      fixture.entropy,
      fixture.old,
      fixture.ref,
      fixture.mask,
    ].map(tensor);
    const advantage = tf.tensor1d(fixture.advantages);
    const items = tf.scalar(fixture.items);
    for (const each of fixture.cases) {
      const name = JSON.stringify({ ...each, gradient: 0, entropy_gradient: 0, metrics: 0 });
      const got = await evaluateLoss(
        (logp_BM, entropy_BM) =>
          grpoLoss({
            logp_BM: logp_BM as tf.Tensor2D,
            entropy_BM: entropy_BM as tf.Tensor2D,
            oldLogp_BM: old!,
            refLogp_BM: each.beta === 0 ? undefined : ref,
            advantage_B: advantage,
            mask_BM: mask!,
            items,
          }, optionsOf(each)),
        [logp!, entropy!],
        { wrt: each.entropy_coefficient === 0 ? 1 : 2 },
      );
      assertAlmostEquals(got.loss, each.loss, 1e-5, name);
      each.gradient.forEach((value, i) =>
        assertAlmostEquals(got.gradients[0]![i]!, value, 1e-5, `${name} at ${i}`)
      );
      each.entropy_gradient?.forEach((value, i) =>
        assertAlmostEquals(got.gradients[1]![i]!, value, 1e-5, name)
      );
      assertEquals(Object.keys(got.metrics).sort(), Object.keys(each.metrics).sort());
      for (const [metric, value] of Object.entries(each.metrics)) {
        assertAlmostEquals(got.metrics[metric]!, value, 1e-5, `${metric} of ${name}`);
      }
    }
    tf.dispose([logp!, entropy!, old!, ref!, mask!, advantage, items]);
  });
});

Deno.test("groupAdvantages() divides by TRL's standard deviations and gives an unscorable trajectory 0", () => {
  const trajectories = fixture.groups.flatMap((group, i) =>
    group.map((reward) => ({ questionId: `${i}`, reward: reward ?? NaN }))
  );
  for (const scaleRewards of ["group", "batch", "none"] as const) {
    const { advantages, fracRewardZeroStd } = groupAdvantages(trajectories, { scaleRewards, epsilon: 1e-4 });
    assertEquals(fracRewardZeroStd, 0.25);
    fixture.groups.forEach((group, g) => {
      const present = group.filter((reward) => reward !== null);
      const mean = present.reduce((sum, reward) => sum + reward, 0) / present.length;
      const divisor =
        { group: fixture.group_std[g]! + 1e-4, batch: fixture.batch_std + 1e-4, none: 1 }[scaleRewards];
      group.forEach((reward, i) => {
        const expected = reward === null ? 0 : (reward - mean) / divisor;
        assertAlmostEquals(advantages[4 * g + i]!, expected, 1e-6);
      });
    });
  }
});
