import { assertAlmostEquals, assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { openEngine } from "../engine/open_engine.ts";
import { batchTensors, modelTokensByRow, packBatch, packPerToken } from "../learn/batch.ts";
import { randomPolicy } from "../../tests/word_policies.ts";
import { grpoLossPresets } from "../learn/grpo.ts";
import { policyLoss } from "./grpo_stage.ts";

Deno.test("policyLoss() has the same loss, metrics and gradient however model tokens are laid out", async () => {
  const engine = await openEngine({ engine: "wasm" });
  const { config, weights } = randomPolicy(1, ["Osaka lies in Japan."]);
  const names = Object.keys(weights);
  // Rows of different lengths, one of which the model wrote nothing of.
  const rows = [
    { tokens: [3, 1, 4, 1, 5, 9, 2, 6], mask: [0, 0, 1, 1, 0, 1, 1, 1], advantage: 1 },
    { tokens: [2, 7, 1, 8], mask: [0, 0, 0, 1], advantage: -0.5 },
    { tokens: [5, 5], mask: [0, 0], advantage: 2 },
  ];
  const old = rows.map(({ tokens }) => tokens.map((_, t) => -2 - 0.1 * t));
  const ref = rows.map(({ tokens }) => tokens.map((_, t) => -2.5 + 0.1 * t));
  const options = {
    ...grpoLossPresets["search-r1"],
    aggregation: "grpo",
    importance: "sequence",
    beta: 0.1,
  } as const;
  const leaked = tf.memory().numTensors;
  const computed = [false, true].flatMap((onPolicy) =>
    [false, true].map((together) =>
      tf.tidy(() => {
        const packed = packBatch(rows, { padTokenId: 0, together });
        const perToken = (values: number[][]) =>
          tf.tensor2d(packPerToken(packed, rows, values), [packed.B, packed.M]);
        const { shape, place_SM, mask_SM } = modelTokensByRow(packed, rows);
        const inputs = [
          ...Object.values(batchTensors(packed)),
          perToken(old),
          tf.tensor1d(rows.map(({ advantage }) => advantage)),
          tf.tensor2d(place_SM, shape, "int32"),
          tf.tensor2d(mask_SM, shape),
          perToken(ref),
        ];
        const loss = policyLoss(config, options, 0.7, onPolicy);
        let metrics: Record<string, number> = {};
        const { value, grads } = tf.valueAndGrads((...parameters: tf.Tensor[]) => {
          const byName = Object.fromEntries(names.map((name, i) => [name, parameters[i]!]));
          const out = loss({ weights: byName, adapter: undefined }, inputs);
          metrics = Object.fromEntries(
            Object.entries(out.metrics).map(([name, x]) => [name, x.dataSync()[0]!]),
          );
          return out.loss;
        })(Object.values(weights));
        return {
          ...metrics,
          loss: value.dataSync()[0]!,
          gradient: grads.flatMap((grad) => [...grad.dataSync()]),
        };
      })
    )
  );
  for (const [apart, together] of [computed.slice(0, 2), computed.slice(2)]) {
    const { gradient, ...figures } = apart!;
    assertEquals(Object.keys(together!), Object.keys(apart!));
    for (const [name, value] of Object.entries(figures)) {
      assertAlmostEquals((together as unknown as Record<string, number>)[name]!, value, 1e-5, name);
    }
    gradient.forEach((value, i) => assertAlmostEquals(together!.gradient[i]!, value, 1e-6));
    assertEquals(gradient.some((value) => Math.abs(value) > 1e-3), true);
  }
  assertEquals(tf.memory().numTensors, leaked);
  tf.dispose(weights);
  engine.close();
});
