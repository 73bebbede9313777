import { assert, assertAlmostEquals, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { onEngines } from "../../tests/engines.ts";
import { letters, tinyConfig, tinyPolicy } from "../../tests/tiny_policy.ts";
import { assertNoLeak } from "../engine/leaks.ts";
import { initAdapter } from "../model/adapter.ts";
import type { Policy, Weights } from "../model/policy.ts";
import { modelLogits, tokenLogprobs } from "../model/scoring.ts";
import { adamwFigures, adamwParameter } from "./adamw.ts";
import { batchTensors, packBatch, type Sequence } from "./batch.ts";
import { sftLoss } from "./sft.ts";
import { type Loss, type OptimizerState, Trainer } from "./trainer.ts";

const options = { weightDecay: 0.01, maxGradNorm: 1 };
const sequences: Sequence[] = [
  { tokens: [3, 4, 5, 6, 7, 8], mask: [0, 0, 1, 1, 0, 1] },
  { tokens: [9, 10, 11], mask: [0, 1, 0] },
  { tokens: [12, 13, 14, 15], mask: [0, 1, 1, 1] },
];
const modelTokens = (of: readonly Sequence[]) => of.flatMap(({ mask }) => [...mask]).reduce((a, b) => a + b);

function crossEntropy({ config }: Policy): Loss {
  return ({ weights, adapter }, inputs) => {
    const [tokens_BT, index_BM, targets_BM, mask_BM] = inputs as tf.Tensor2D[];
    const batch = { tokens_BT: tokens_BT!, index_BM: index_BM!, targets_BM: targets_BM!, mask_BM: mask_BM! };
    const logp_BM = tokenLogprobs(modelLogits(config, weights, adapter, batch), batch.targets_BM);
    return { loss: sftLoss(logp_BM, batch.mask_BM), metrics: { tokens: tf.sum(batch.mask_BM) as tf.Scalar } };
  };
}

const inputsOf = (of: readonly Sequence[]): tf.Tensor[] =>
  Object.values(batchTensors(packBatch(of, { padTokenId: 0 })));

async function values(weights: Weights): Promise<Record<string, number[]>> {
  const out: Record<string, number[]> = {};
  for (const [name, tensor] of Object.entries(weights)) out[name] = [...await tensor.data()];
  return out;
}

function assertClose(
  actual: Record<string, number[]>,
  expected: Record<string, number[]>,
  tolerance: number,
) {
  assertEquals(Object.keys(actual), Object.keys(expected));
  for (const [name, row] of Object.entries(expected)) {
    row.forEach((x, i) => assertAlmostEquals(actual[name]![i]!, x, tolerance, `${name}[${i}]`));
  }
}

function withAdapter(policy: Policy): Policy {
  policy.adapter = initAdapter(policy.config, { rank: 2, alpha: 4 }, 1);
  return policy;
}

function dispose({ weights, adapter }: Policy): void {
  tf.dispose([weights, adapter?.weights ?? {}]);
}

/** The moments' values: what the optimiser saw, without the step that divides small by small. */
async function gradientsAfter(trainer: Trainer): Promise<Record<string, number[]>> {
  return await values(trainer.optimizer.m);
}

for (const prepare of [(policy: Policy) => policy, withAdapter]) {
  const what = prepare === withAdapter ? "an adapter" : "all weights";

  Deno.test(`Trainer: gradients of weighted micro-batches sum to those of the whole batch, for ${what}`, async () => {
    await onEngines(async (engine) => {
      const [whole, parts] = [prepare(tinyPolicy()), prepare(tinyPolicy())];
      const [one, many] = [whole, parts].map((policy) => new Trainer(engine, policy, options));
      const total = modelTokens(sequences);
      const { loss, tokens } = await one!.accumulate("ce", crossEntropy(whole), inputsOf(sequences));
      assertEquals(tokens, total);
      let sum = 0;
      for (const part of [sequences.slice(0, 2), sequences.slice(2)]) {
        const share = modelTokens(part) / total;
        const got = await many!.accumulate("ce", crossEntropy(parts), inputsOf(part), share);
        sum += share * got.loss!;
      }
      assertAlmostEquals(sum, loss!, 1e-5);
      const norms = [await one!.apply(1e-3), await many!.apply(1e-3)];
      assertAlmostEquals(norms[1]!, norms[0]!, 1e-5);
      assert(norms[0]! > 1e-3);
      assertClose(await gradientsAfter(many!), await gradientsAfter(one!), 1e-5);
      [one!, many!].forEach((trainer) => trainer.dispose());
      [whole, parts].forEach(dispose);
    });
  });

  Deno.test(`Trainer: steps learn, leave no tensor behind, and go on from a saved state bit for bit, for ${what}`, async () => {
    await onEngines(async (engine) => {
      const policy = prepare(tinyPolicy());
      const frozen = prepare === withAdapter ? await values(policy.weights) : undefined;
      const trained = () => policy.adapter?.weights ?? policy.weights;
      const start = await values(trained());
      const losses: number[] = [];
      const step = async (trainer: Trainer) => {
        losses.push((await trainer.accumulate("ce", crossEntropy(policy), inputsOf(sequences))).loss!);
        await trainer.apply(0.01);
      };
      const first = new Trainer(engine, policy, options);
      await step(first);
      await assertNoLeak(() => step(first));
      await step(first);
      assert(losses[2]! < losses[0]!, losses.join());
      assertNotEquals(await values(trained()), start);
      if (frozen) assertEquals(await values(policy.weights), frozen);

      // The same step from copies of weights and moments.
      const copy = (weights: Weights): Weights =>
        Object.fromEntries(Object.entries(weights).map(([name, w]) => [name, tf.clone(w)]));
      const { step: count, m, v } = first.optimizer;
      assertEquals(count, 3);
      const saved: OptimizerState = { step: count, m: copy(m), v: copy(v) };
      const twin: Policy = { ...policy, weights: copy(policy.weights) };
      if (policy.adapter) twin.adapter = { ...policy.adapter, weights: copy(policy.adapter.weights) };
      await step(first);
      const second = new Trainer(engine, twin, options, saved);
      await second.accumulate("ce", crossEntropy(twin), inputsOf(sequences));
      await second.apply(0.01);
      assertEquals(await values(twin.adapter?.weights ?? twin.weights), await values(trained()));
      assertEquals(await values(second.optimizer.v), await values(first.optimizer.v));

      [first, second].forEach((trainer) => trainer.dispose());
      [policy, twin].forEach(dispose);
      assertEquals(tf.memory().numTensors, 0);
    });
  });
}

Deno.test("Trainer.apply() clips the norm of the sum, reports it unclipped, and needs a gradient", async () => {
  await onEngines(async (engine) => {
    const norms: number[] = [];
    const moments: number[] = [];
    for (const [maxGradNorm, weight] of [[0, 1], [0, 3], [0.5, 3]] as const) {
      const policy = tinyPolicy();
      const trainer = new Trainer(engine, policy, { weightDecay: 0, maxGradNorm });
      await assertRejects(() => trainer.apply(0.1), Error, "no gradient was accumulated");
      await trainer.accumulate("ce", crossEntropy(policy), inputsOf(sequences), weight);
      norms.push(await trainer.apply(1e-3));
      const m = Object.values(await values(trainer.optimizer.m)).flat();
      moments.push(Math.hypot(...m) / 0.1); // m = (1 − β₁) g after one step, β₁ = .9
      await assertRejects(() => trainer.apply(0.1), Error, "no gradient was accumulated");
      trainer.dispose();
      dispose(policy);
    }
    assertAlmostEquals(norms[1]!, 3 * norms[0]!, 1e-4);
    assertAlmostEquals(norms[2]!, norms[1]!, 1e-5);
    assertAlmostEquals(moments[0]!, norms[0]!, 1e-4);
    assertAlmostEquals(moments[2]!, 0.5, 1e-4);
  });
});

Deno.test("Trainer updates parameters of any size as AdamW does each, and leaves nothing behind", async () => {
  const shapes = [[3], [2 ** 20 + 1], [2 ** 19], [5], [2 ** 19 + 8], [2 ** 19 - 8]]; // at once: 4, 1 and 1
  const options = { weightDecay: 0.1, maxGradNorm: 0 };
  await onEngines(async (engine) => {
    await assertNoLeak(async () => {
      const weights = Object.fromEntries(shapes.map((shape, i) => [`w${i}`, tf.fill(shape, i + 1)]));
      const policy = { config: tinyConfig, tokenizer: letters, weights };
      const trainer = new Trainer(engine, policy, options);
      const loss: Loss = ({ weights }) => ({
        loss: tf.addN(Object.values(weights).map((w, i) => tf.mul(tf.sum(w), i))) as tf.Scalar,
        metrics: {},
      });
      for (const weight of [1, 2]) await trainer.accumulate("sum", loss, [], weight);
      await trainer.apply(0.5);
      for (const [i, m] of Object.values(trainer.optimizer.m).entries()) {
        assertAlmostEquals((await m.data()).at(-1)!, 0.1 * 3 * i, 1e-6, `m of w${i}`);
      }
      for (const [i, updated] of Object.values(policy.weights).entries()) {
        const expected = tf.tidy(() => {
          const gradient = tf.fill(shapes[i]!, 3 * i), zero = tf.zeros(shapes[i]!);
          const figures = { learningRate: tf.scalar(0.5), step: tf.scalar(1) };
          const figures_7 = adamwFigures(tf.scalar(0), figures, options);
          return adamwParameter([tf.fill(shapes[i]!, i + 1), gradient, zero, zero, figures_7], options)[0]!;
        });
        assertEquals((await updated.data()).at(-1), (await expected.data())[0], `w${i}`);
        expected.dispose();
      }
      trainer.dispose();
      dispose(policy);
    });
  });
});
