import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { onEngines } from "../../tests/engines.ts";
import { letters, tinyPolicy } from "../../tests/tiny_policy.ts";
import { InputError } from "../base/input_error.ts";
import { randomStream, shuffled } from "../base/random.ts";
import { assertNoLeak } from "../engine/leaks.ts";
import { batchTensors, packBatch } from "../learn/batch.ts";
import { initAdapter } from "./adapter.ts";
import { generate, type Generated, type GenerateOptions } from "./generate.ts";
import type { Policy } from "./policy.ts";
import { PrefixCache } from "./prefix_cache.ts";
import { modelLogits, tokenLogprobs } from "./scoring.ts";

/** Contexts of 1 to 13 tokens, two of them the same. */
const uniform = randomStream("generate_test");
const contexts = Array.from(
  { length: 9 },
  (_, i) => Array.from({ length: 1 + (5 * i) % 13 }, () => Math.floor(uniform() * 30)),
);
contexts.push(contexts[4]!);

const options: GenerateOptions = {
  maxNewTokens: 36,
  temperature: 0.8,
  stopStrings: ["Q", "RS"],
  random: (row) => randomStream("row", row),
};

function assertSameRows(
  actual: readonly Generated[],
  expected: readonly Generated[],
  tolerance: number,
): void {
  assertEquals(actual.map(({ tokens }) => tokens), expected.map(({ tokens }) => tokens));
  assertEquals(actual.map(({ stopped }) => stopped), expected.map(({ stopped }) => stopped));
  actual.forEach(({ logprobs }, row) =>
    logprobs.forEach((logp, i) => assertAlmostEquals(logp, expected[row]!.logprobs[i]!, tolerance))
  );
}

async function oneByOne(policy: Policy, rows: number[][], given: GenerateOptions): Promise<Generated[]> {
  const out: Generated[] = [];
  for (const [row, context] of rows.entries()) {
    out.push(...await generate(policy, [context], { ...given, random: () => given.random(row) }));
  }
  return out;
}

Deno.test("generate() gives a row the same tokens in any batch and order", async () => {
  await onEngines(async () => {
    await assertNoLeak(async () => {
      const policy = tinyPolicy();
      const expected = await oneByOne(policy, contexts, options);
      assert(new Set(expected.map(({ stopped }) => stopped)).size > 1);
      for (const maxBatch of [64, 4]) {
        assertSameRows(await generate(policy, contexts, { ...options, maxBatch }), expected, 1e-5);
      }
      const order = shuffled([...contexts.keys()], randomStream("order"));
      const reordered = await generate(policy, order.map((row) => contexts[row]!), {
        ...options,
        random: (i) => options.random(order[i]!),
      });
      assertSameRows(reordered, order.map((row) => expected[row]!), 1e-5);
      tf.dispose(policy.weights);
    });
  });
});

Deno.test("generate() returns the log-probs that scoring gives the same tokens", async () => {
  await onEngines(async () => {
    const policy = tinyPolicy(3, { model_type: "llama", tie_word_embeddings: false });
    policy.adapter = initAdapter(policy.config, { rank: 2, alpha: 4 }, 1);
    const { config, weights, adapter } = policy;
    for (const temperature of [1, 0.7, 0]) {
      const rows = await generate(policy, contexts, { ...options, temperature, stopStrings: [] });
      const sequences = rows.map(({ tokens }, row) => ({
        tokens: [...contexts[row]!, ...tokens],
        mask: [...contexts[row]!.map(() => 0), ...tokens.map(() => 1)],
      }));
      const packed = packBatch(sequences, { padTokenId: 0 });
      const logp = tf.tidy(() => {
        const batch = batchTensors(packed);
        return tokenLogprobs(
          modelLogits(config, weights, adapter, batch),
          batch.targets_BM,
          temperature || 1,
        );
      });
      const values = await logp.data();
      rows.forEach(({ logprobs }, row) =>
        logprobs.forEach((value, i) => assertAlmostEquals(value, values[row * packed.M + i]!, 1e-4))
      );
      logp.dispose();
    }
    tf.dispose([weights, adapter!.weights]);
  });
});

Deno.test("generate() with a prefix cache goes on as without, over several turns", async () => {
  await onEngines(async () => {
    await assertNoLeak(async () => {
      const policy = tinyPolicy(2);
      const prefixCache = new PrefixCache();
      let rows = contexts;
      for (let turn = 0; turn < 3; turn++) {
        const random = (row: number) => randomStream("row", turn, row);
        const given = { ...options, maxNewTokens: 12, random, maxBatch: 6 };
        const expected = await generate(policy, rows, given);
        assertSameRows(await generate(policy, rows, { ...given, prefixCache }), expected, 1e-5);
        // Every second row goes on after an observation; the others have ended, but for a fresh one.
        rows = rows.flatMap((row, i) =>
          i % 2 ? [] : [[...row, ...expected[i]!.tokens, ...[2, 3, 4].slice(i % 3)]]
        );
        if (turn === 0) rows.push([9, 9, 9]);
      }
      prefixCache.close();
      tf.dispose(policy.weights);
    });
  });
});

Deno.test("generate() refuses a prefix cache of other weights", async () => {
  await tf.setBackend("cpu");
  const [one, other] = [tinyPolicy(1), tinyPolicy(2)];
  const prefixCache = new PrefixCache();
  await generate(one, contexts, { ...options, prefixCache });
  await assertRejects(
    () => generate(other, contexts, { ...options, prefixCache }),
    Error,
    "it was made with other weights",
  );
  prefixCache.close();
  await generate(other, contexts, { ...options, prefixCache });
  prefixCache.close();
  tf.dispose([one.weights, other.weights]);
});

Deno.test("generate() ends rows at stop strings, end tokens and maxNewTokens", async () => {
  await tf.setBackend("cpu");
  const policy = tinyPolicy();
  const rows = await generate(policy, contexts, { ...options, maxNewTokens: 8 });
  const seen = new Set<string>();
  for (const { tokens, stopped } of rows) {
    seen.add(stopped);
    const text = letters.decode(tokens);
    assertEquals(stopped === "eos", text.endsWith("B"));
    assertEquals(stopped === "stop", text.endsWith("Q") || text.endsWith("RS"));
    assert(!/Q|RS|B/.test(letters.decode(tokens.slice(0, -1))));
    if (stopped === "length") assertEquals(tokens.length, 8);
  }
  assertEquals([...seen].sort(), ["eos", "length", "stop"]);
  const endless = { ...policy, tokenizer: { ...letters, eosTokenId: undefined } };
  const ends = { ...endless, config: { ...policy.config, eos_token_id: [1, 5] } };
  const given = { ...options, stopStrings: [] };
  assert(
    (await generate(endless, contexts, given)).every(({ tokens }) => tokens.length === options.maxNewTokens),
  );
  const ended = await generate(ends, contexts, given);
  assert(ended.some(({ tokens, stopped }) => tokens.at(-1) === 5 && stopped === "eos"));
  tf.dispose(policy.weights);
});

Deno.test("generate() draws one uniform a token, none when greedy, and reports every token", async () => {
  await tf.setBackend("cpu");
  const policy = tinyPolicy();
  for (const temperature of [0.8, 0]) {
    const drawn = contexts.map(() => 0);
    const told: number[][] = contexts.map(() => []);
    const rows = await generate(policy, contexts, {
      ...options,
      temperature,
      onToken: (row, token) => told[row]!.push(token),
      random: (row) => {
        const next = options.random(row);
        return () => (drawn[row]!++, next());
      },
    });
    assertEquals(drawn, rows.map(({ tokens }) => temperature === 0 ? 0 : tokens.length));
    assertEquals(told, rows.map(({ tokens }) => tokens));
  }
  tf.dispose(policy.weights);
});

Deno.test("generate() lets timers run", async () => {
  await tf.setBackend("cpu");
  const policy = tinyPolicy();
  let ticks = 0;
  const timer = setInterval(() => ticks++, 0);
  await generate(policy, [[1]], { ...options, maxNewTokens: 100, temperature: 0, stopStrings: [] });
  clearInterval(timer);
  assert(ticks > 0);
  tf.dispose(policy.weights);
});

Deno.test("generate() refuses what it cannot continue and leaves nothing behind", async () => {
  await tf.setBackend("cpu");
  await assertNoLeak(async () => {
    const policy = tinyPolicy();
    await assertRejects(() => generate(policy, [[1], []], options), RangeError, "context 1: it is empty");
    const long = [Array.from({ length: 100 }, () => 2)];
    await assertRejects(() => generate(policy, long, options), InputError, "the model has 128 positions");
    const random = () => () => {
      throw new Error("no more numbers");
    };
    await assertRejects(() => generate(policy, contexts, { ...options, random }), Error, "no more numbers");
    assertEquals(await generate(policy, [], options), []);
    assertEquals((await generate(policy, contexts, { ...options, maxNewTokens: 0 }))[0]!.tokens, []);
    tf.dispose(policy.weights);
  });
});
