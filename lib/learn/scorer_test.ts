import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { onEngines } from "../../tests/engines.ts";
import { tinyPolicy } from "../../tests/tiny_policy.ts";
import { randomPolicy } from "../../tests/word_policies.ts";
import { randomStream } from "../base/random.ts";
import { assertNoLeak } from "../engine/leaks.ts";
import { initAdapter, mergeAdapter } from "../model/adapter.ts";
import { rollout } from "../rollout/rollout.ts";
import { modelTokenCount, type Trajectory } from "../rollout/trajectory.ts";
import { batchTensors, packBatch, type Sequence } from "./batch.ts";
import { Scorer } from "./scorer.ts";

const documents = [{ id: "1", contents: '"Osaka"\nOsaka lies in Japan.' }];
const notice = "\nTry again.\n";
const retriever = {
  search: (queries: readonly string[]) =>
    Promise.resolve(queries.map(() => documents.map((document) => ({ document, score: 1 })))),
};

function rollOut(
  temperature: number,
): { made: Promise<Trajectory[]>; policy: ReturnType<typeof randomPolicy> } {
  const policy = randomPolicy(7, ["Where is Osaka?", notice, 'Doc 1(Title: "Osaka") Osaka lies in Japan.']);
  const requests = Array.from({ length: 5 }, (_, member) => ({
    question: { id: "q", question: "Where is Osaka?", answers: ["Japan"] },
    retriever,
    member,
  }));
  const agent = {
    maxTurns: 2,
    documents: 1,
    maxObservationTokens: 20,
    maxContextTokens: 200,
    maxNewTokens: 16,
    instruction: "{question}\n",
    notice,
    chatTemplate: false,
    useRowPrompts: false,
  };
  const random = (_: unknown, member: number) => randomStream(member);
  return { made: rollout(policy, requests, { agent, temperature, random, maxBatch: 3 }), policy };
}

Deno.test("Scorer.logprobs() gives the sampler's own log-probs for the ids that it drew", async () => {
  await onEngines(async (engine) => {
    const scorer = new Scorer(engine);
    for (const temperature of [1, 0.7]) {
      const { made, policy } = rollOut(temperature);
      const trajectories = await made;
      assert(trajectories.reduce((sum, trajectory) => sum + modelTokenCount(trajectory), 0) > 50);
      const scored = await scorer.logprobs(policy, trajectories, { temperature, batch: 2 });
      trajectories.forEach(({ mask, logprobs }, row) => {
        assertEquals(scored[row]!.length, mask.length);
        mask.forEach((m, t) => {
          if (m === 0) assertEquals(scored[row]![t], 0);
          else assertAlmostEquals(scored[row]![t]!, logprobs[t]!, 1e-4);
        });
      });
      await assertNoLeak(async () =>
        void await scorer.logprobs(policy, trajectories, { temperature, batch: 2 })
      );
      tf.dispose(policy.weights);
    }
    scorer.dispose();
  });
});

const sequences: Sequence[] = [
  { tokens: [3, 4, 5, 6, 7, 8], mask: [0, 0, 1, 1, 0, 1] },
  { tokens: [9, 10, 11], mask: [0, 1, 0] },
  { tokens: [12, 13, 14, 15], mask: [0, 0, 0, 0] },
];

Deno.test("Scorer.logprobs() does not depend on how rows are put into batches", async () => {
  await onEngines(async (engine) => {
    const policy = tinyPolicy();
    const scorer = new Scorer(engine);
    const whole = await scorer.logprobs(policy, sequences, { batch: 8 });
    for (const batch of [1, 2]) {
      const parts = await scorer.logprobs(policy, sequences, { batch });
      parts.forEach((row, i) => row.forEach((x, t) => assertAlmostEquals(x, whole[i]![t]!, 1e-5)));
    }
    assertEquals(whole.map((row) => row.map((x) => Number(x < 0))), sequences.map(({ mask }) => [...mask]));
    scorer.dispose();
    tf.dispose(policy.weights);
  });
});

Deno.test("Scorer scores each policy that it is given: other weights, an adapter, the adapter merged", async () => {
  await onEngines(async (engine) => {
    const scorer = new Scorer(engine);
    const policy = tinyPolicy(1);
    const other = tinyPolicy(2);
    const adapter = initAdapter(policy.config, { rank: 2, alpha: 4 }, 1);
    for (const name of Object.keys(adapter.weights).filter((name) => name.endsWith("lora_B"))) {
      const zeros = adapter.weights[name]!;
      adapter.weights[name] = tf.fill(zeros.shape, 0.1);
      zeros.dispose();
    }
    const merged = { ...policy, weights: mergeAdapter(policy.config, policy.weights, adapter) };
    const score = async (of: typeof policy) => (await scorer.logprobs(of, sequences, { batch: 4 }))[0]!;
    const plain = await score(policy);
    const adapted = await score({ ...policy, adapter });
    assert(Math.abs(plain[2]! - (await score(other))[2]!) > 1e-3);
    assert(Math.abs(plain[2]! - adapted[2]!) > 1e-3);
    (await score(merged)).forEach((x, t) => assertAlmostEquals(x, adapted[t]!, 1e-4));
    assertEquals(await score(policy), plain);
    scorer.dispose();
    tf.dispose([policy.weights, other.weights, merged.weights, adapter.weights]);
  });
});

Deno.test("Scorer.teacherTargets() are log-softmax at the temperature, whole or top-k with a tail that sums to one", async () => {
  await onEngines(async (engine) => {
    const policy = tinyPolicy();
    const scorer = new Scorer(engine);
    const inputs = () => Object.values(batchTensors(packBatch(sequences, { padTokenId: 0 })));
    const whole = scorer.teacherTargets(policy, inputs(), { temperature: 1, topK: 0 });
    const warm = scorer.teacherTargets(policy, inputs(), { temperature: 2, topK: 0 });
    const top = scorer.teacherTargets(policy, inputs(), { temperature: 1, topK: 3 });
    const [full, soft, kept] = await Promise.all(
      [whole, warm, top].map(async ({ logp }) => await logp.array() as number[][][]),
    );
    const ids = await top.ids_BMK!.array() as number[][][];
    const [logp] = await scorer.logprobs(policy, sequences, { batch: 3 });
    assertAlmostEquals(full![0]![0]![sequences[0]!.tokens[2]!]!, logp![2]!, 1e-5);
    const row = full![0]![0]!;
    assertEquals(ids[0]![0], [...row.keys()].sort((a, b) => row[b]! - row[a]!).slice(0, 3));
    assertEquals(kept![0]![0]!.length, 4);
    assertAlmostEquals(kept![0]![0]!.reduce((sum, x) => sum + Math.exp(x), 0), 1, 1e-5);
    const halved = row.map((x) => x / 2);
    const total = Math.log(halved.reduce((sum, x) => sum + Math.exp(x), 0));
    soft![0]![0]!.forEach((x, i) => assertAlmostEquals(x, halved[i]! - total, 1e-5));
    tf.dispose([whole.logp, warm.logp, top.logp, top.ids_BMK!]);
    scorer.dispose();
    tf.dispose(policy.weights);
  });
});
