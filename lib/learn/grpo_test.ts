import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import fc from "fast-check";
import { evaluateLoss } from "../../tests/engines.ts";
import { grpoLoss, grpoLossPresets, type GrpoOptions } from "./grpo.ts";

await tf.setBackend("cpu");
const [B, M] = [3, 4];
const trl = grpoLossPresets.trl;

async function lossOf(
  { logp, old, mask, advantage }: { logp: number[]; old: number[]; mask: number[]; advantage: number[] },
  options: GrpoOptions,
) {
  const tensors = [logp, old, mask].map((values) => tf.tensor2d(values, [mask.length / M, M]));
  const advantage_B = tf.tensor1d(advantage);
  const out = await evaluateLoss((logp_BM) =>
    grpoLoss({
      logp_BM: logp_BM as tf.Tensor2D,
      oldLogp_BM: tensors[1]!,
      refLogp_BM: tensors[1]!,
      advantage_B,
      mask_BM: tensors[2]!,
    }, options), [tensors[0]!]);
  tf.dispose([...tensors, advantage_B]);
  return out;
}

const number = fc.double({ min: -3, max: 0, noNaN: true });
const cells = <T>(value: fc.Arbitrary<T>) => fc.array(value, { minLength: B * M, maxLength: B * M });
const batch = fc.record({
  logp: cells(number),
  old: cells(number),
  mask: cells(fc.constantFrom(0, 1)),
  advantage: fc.array(fc.double({ min: -2, max: 2, noNaN: true }), { minLength: B, maxLength: B }),
});
const options = fc.record({
  loss: fc.constantFrom("clip" as const, "cispo" as const),
  aggregation: fc.constantFrom("grpo" as const, "bnpo" as const, "dr_grpo" as const, "dapo" as const),
  importance: fc.constantFrom("token" as const, "sequence" as const),
  beta: fc.constantFrom(0, 0.1),
}).map((some) => ({ ...trl, ...some }));

Deno.test("grpoLoss() does not look at masked tokens: neither value nor gradient depends on them", async () => {
  await fc.assert(
    fc.asyncProperty(batch, options, cells(number), async (batch, options, other) => {
      const changed = batch.logp.map((value, i) => batch.mask[i] === 1 ? value : other[i]!);
      const [a, b] = [await lossOf(batch, options), await lossOf({ ...batch, logp: changed }, options)];
      assertEquals(a, b);
      a.gradients[0]!.forEach((value, i) => batch.mask[i] === 0 && assertEquals(Math.abs(value), 0));
    }),
    { numRuns: 40 },
  );
});

Deno.test("grpoLoss() on policy has the policy gradient −A / n and clips nothing", async () => {
  const out = await lossOf({
    logp: Array(B * M).fill(-1),
    old: Array(B * M).fill(-1),
    mask: [1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 0],
    advantage: [1, -2, 0.5],
  }, trl);
  [1, 1, 1, 1, -2, -2, 0, 0, 0, 0.5, 0.5, 0].forEach((a, i) =>
    assertAlmostEquals(out.gradients[0]![i]!, -a / 8, 1e-6)
  );
  assertEquals(out.metrics["clip_ratio/region_mean"], 0);
  assertEquals(out.metrics.kl, 0);
});

Deno.test("grpoLoss() of two micro-batches with items sums to the loss of the whole", async () => {
  const whole = {
    logp: [-1, -2, -1, -3, -1, -1, -1, -1],
    old: Array(8).fill(-1.1),
    mask: [1, 1, 1, 1, 1, 0, 0, 0],
    advantage: [1, -1],
  };
  const items = tf.scalar(5);
  const parts = await Promise.all([0, 1].map((row) => {
    const cut = (values: number[]) => tf.tensor2d(values.slice(row * M, (row + 1) * M), [1, M]);
    return grpoLoss({
      logp_BM: cut(whole.logp),
      oldLogp_BM: cut(whole.old),
      advantage_B: tf.tensor1d([whole.advantage[row]!]),
      mask_BM: cut(whole.mask),
      items,
    }, trl).loss.data();
  }));
  assertAlmostEquals(parts[0]![0]! + parts[1]![0]!, (await lossOf(whole, trl)).loss, 1e-6);
});

Deno.test("grpoLoss() refuses a KL term without a reference and a bonus without entropies", () => {
  const logp_BM = tf.zeros<tf.Rank.R2>([1, 1]);
  const inputs = { logp_BM, oldLogp_BM: logp_BM, advantage_B: tf.tensor1d([1]), mask_BM: logp_BM };
  assertThrows(() => grpoLoss(inputs, { ...trl, beta: 0.1 }), Error, "beta = 0.1 needs a reference");
  assertThrows(
    () => grpoLoss(inputs, { ...trl, entropyCoefficient: 0.01 }),
    Error,
    "entropyCoefficient = 0.01 needs entropies",
  );
});
