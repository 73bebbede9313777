/** The kit's own decoder: the numbers of tfjs's, and the same bits in any company. */
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { tinyPolicy } from "../../tests/tiny_policy.ts";
import { randomStream } from "../base/random.ts";
import { setHostThreads } from "../engine/host_threads.ts";
import { nativeLibrary } from "../engine/native/native_library.ts";
import { type Engine, type EngineName, openEngine } from "../engine/open_engine.ts";
import { needsTensorflow } from "../engine/tensorflow_for_tests.ts";
import { initAdapter } from "./adapter.ts";
import { hiddenStates, outputLogits } from "./decoder.ts";
import { generate } from "./generate.ts";
import type { Item } from "./host_decoder.ts";
import { hostSlots, openHostDecoder } from "./open_host_decoder.ts";
import type { ModelConfig, Policy } from "./policy.ts";
import { PrefixCache } from "./prefix_cache.ts";

const tokensOf = (row: number, length: number) => {
  const random = randomStream("host", row);
  return Array.from({ length }, () => Math.floor(random() * 30));
};

/** All tokens of a row in one slot, the distribution after each of them wanted. */
const itemsOf = (slot: number, tokens: readonly number[], from = 0): Item[] =>
  tokens.slice(from).map((token, i) => ({ token, slot, position: from + i, wanted: true }));

/** Weights away from their start, where norms are 1 and biases 0. */
function livelyPolicy(config: Partial<ModelConfig>): Policy {
  const policy = tinyPolicy(2, config);
  for (const [name, weight] of Object.entries(policy.weights)) {
    if (weight.rank !== 1) continue;
    const random = randomStream("lively", name);
    policy.weights[name] = tf.tensor1d(Array.from({ length: weight.size }, () => 0.5 + random()));
    weight.dispose();
  }
  return policy;
}

/** The engines whose decoders are tried: WebAssembly's, and machine code's where there is some. */
const engines: EngineName[] = ["wasm"];
if (!(await needsTensorflow()).ignore && nativeLibrary()) engines.push("tensorflow");

/** Opens an engine whose decoder computes on so many threads; libtensorflow's own are as many as the process began with. */
async function openWithThreads(name: EngineName, threads: number): Promise<Engine> {
  const engine = await openEngine({ engine: name, threads });
  setHostThreads(threads);
  return engine;
}

const models: Record<string, Partial<ModelConfig>> = {
  "qwen2 with biases and grouped heads": {},
  "llama with an output layer of its own": { model_type: "llama", tie_word_embeddings: false },
  "llama with biases": { model_type: "llama", attention_bias: true },
  "heads of other widths, an odd vocabulary": {
    hidden_size: 40,
    num_attention_heads: 3,
    num_key_value_heads: 1,
    head_dim: 20,
    intermediate_size: 44,
    vocab_size: 33,
  },
};

for (
  const [engineName, name, config] of engines.flatMap((e) =>
    Object.entries(models).map((m) => [e, ...m] as const)
  )
) {
  Deno.test(`HostDecoder on ${engineName} gives the distributions of tfjs: ${name}`, async () => {
    const engine = await openWithThreads(engineName, 2);
    for (const adapted of [false, true]) {
      const policy = livelyPolicy(config);
      if (adapted) {
        policy.adapter = initAdapter(policy.config, { rank: 2, alpha: 4 }, 1);
        for (const [name, weight] of Object.entries(policy.adapter.weights)) { // B begins at 0
          policy.adapter.weights[name] = tf.add(weight, 0.1);
          weight.dispose();
        }
      }
      const tokens = tokensOf(1, 21);
      const expected = tf.tidy(() => {
        const { config, weights, adapter } = policy;
        const hidden_BTD = hiddenStates(config, weights, adapter, tf.tensor2d([tokens], undefined, "int32"));
        const hidden_ND = tf.reshape(hidden_BTD, [tokens.length, -1]) as tf.Tensor2D;
        return tf.softmax(tf.div(outputLogits(config, weights, adapter, hidden_ND), 0.7));
      });
      const rows = await expected.array() as number[][];
      const decoder = await openHostDecoder(policy, 3, 32);
      const found = decoder.forward(itemsOf(2, tokens), 0.7);
      assertEquals(found.length, tokens.length);
      found.forEach((p, t) => p.forEach((value, v) => assertAlmostEquals(value, rows[t]![v]!, 2e-5)));
      decoder.dispose();
      tf.dispose([policy.weights, policy.adapter?.weights ?? {}, expected]);
    }
    engine.close();
  });
}

for (const engineName of engines) {
  Deno.test(`HostDecoder on ${engineName} gives a row the same bits in any company, pieces and threads`, async () => {
    const policy = livelyPolicy({ max_position_embeddings: 256 });
    const alone = new Map<number, Float32Array>();
    for (const threads of [1, 3]) {
      const engine = await openWithThreads(engineName, threads);
      const decoder = await openHostDecoder(policy, 9, 256);
      const lengths = [1, 200, 7, 40, 129, 3, 90, 11, 256]; // several steps of 128 items a thread
      const rows = lengths.map((length, slot) => tokensOf(slot, length));
      for (const [slot, tokens] of rows.entries()) {
        const last = decoder.forward(itemsOf(slot, tokens), 1).at(-1)!.slice();
        assertEquals(last, alone.get(slot) ?? last);
        alone.set(slot, last);
      }
      const together = decoder.forward(rows.flatMap((tokens, slot) => itemsOf(slot, tokens)), 1);
      let at = 0;
      for (const [slot, { length }] of rows.entries()) {
        assertEquals(together[(at += length) - 1], alone.get(slot));
      }

      // A row that goes on in another slot, behind a copy of its beginning.
      decoder.copy(1, 0, 150);
      assertEquals(decoder.forward(itemsOf(0, rows[1]!, 150), 1).at(-1), alone.get(1));
      decoder.dispose();
      engine.close();
    }
    tf.dispose(policy.weights);
  });
}

for (const engineName of engines) {
  Deno.test(`generate() on ${engineName} draws the same on any number of threads, with rows that enter as others leave`, async () => {
    const policy = livelyPolicy({});
    // With contexts that are equal, and with more different ones than a thread draws for at a time.
    for (const [count, different] of [[23, 20], [60, 60]] as const) {
      const contexts = Array.from(
        { length: count },
        (_, row) => tokensOf(row % different, 2 + row % different % 30),
      );
      const results = [];
      for (const [threads, maxBatch] of [[1, 64], [3, 5], [2, 64]] as const) {
        const engine = await openWithThreads(engineName, threads);
        const options = { maxNewTokens: 20, temperature: 1, stopStrings: ["Q"], maxBatch };
        results.push(
          await generate(policy, contexts, { ...options, random: (row) => randomStream("row", row) }),
        );
        engine.close();
      }
      assert(new Set(results[0]!.map(({ tokens }) => tokens.length)).size > 3);
      assertEquals(results[1], results[0]);
      assertEquals(results[2], results[0]);
    }
    tf.dispose(policy.weights);
  });
}

for (const engineName of engines) {
  Deno.test(`generate() on ${engineName} sends of a context only what the prefix cache lacks through the model`, async () => {
    const engine = await openWithThreads(engineName, 1);
    const policy = tinyPolicy();
    const prefixCache = new PrefixCache(64);
    const options = { maxNewTokens: 4, temperature: 1, stopStrings: [], prefixCache };
    const random = (row: number) => randomStream("row", row);
    const contexts = [tokensOf(1, 9), tokensOf(1, 9), tokensOf(2, 5)];
    const first = await generate(policy, contexts, { ...options, random });
    const { slots, decoder } = prefixCache.host!;
    assertEquals(slots.map(({ tokens }) => tokens.length).sort(), [12, 12, 8].sort());

    let sent = 0;
    const { draw } = decoder;
    decoder.draw = (items, ...how) => {
      const drawn = draw.call(decoder, items, ...how);
      sent += items.length + drawn.reduce((sum, { tokens }) => sum + tokens.length - 1, 0);
      return drawn;
    };
    const longer = contexts.map((context, row) => [...context, ...first[row]!.tokens, 7, 8, 9]);
    const second = await generate(policy, longer, { ...options, random });
    const written = second.reduce((sum, { tokens }) => sum + tokens.length, 0);
    assertEquals(sent, 3 * 4 + written - 3); // the last token drawn, and three new ones; the last ones are not fed back
    const fresh = await generate(policy, longer, {
      maxNewTokens: 4,
      temperature: 1,
      stopStrings: [],
      random,
    });
    assertEquals(second, fresh);
    prefixCache.close();
    tf.dispose(policy.weights);
    engine.close();
  });
}

for (const engineName of engines) {
  Deno.test(`HostDecoder on ${engineName} is not touched by what an earlier one left in its memory`, async () => {
    const engine = await openWithThreads(engineName, 2);
    const [policy, broken] = [livelyPolicy({}), livelyPolicy({})];
    for (const [name, weight] of Object.entries(broken.weights)) {
      broken.weights[name] = tf.mul(weight, NaN);
      weight.dispose();
    }
    const rows = [5, 30, 17].map((length, slot) => tokensOf(slot, length));
    const through = async (model: Policy, slots: number) => {
      const decoder = await openHostDecoder(model, slots, 32);
      const items = rows.flatMap((tokens, slot) => itemsOf(slot, tokens));
      const found = decoder.forward(items, 1).map((p) => p.slice());
      decoder.dispose();
      return found;
    };
    const expected = await through(policy, 3);
    assert(expected.every((p) => p.every(Number.isFinite)));
    for (const slots of [3, 4]) {
      assert((await through(broken, slots)).some((p) => p.some(Number.isNaN)));
      assertEquals(await through(policy, 3), expected);
    }
    tf.dispose([policy.weights, broken.weights]);
    engine.close();
  });
}

for (const engineName of engines) {
  Deno.test(`generate() on ${engineName} uses a stream's numbers in their order, over calls too`, async () => {
    const engine = await openWithThreads(engineName, 1);
    const policy = livelyPolicy({ eos_token_id: 29 });
    const drawn = async (lengths: number[]) => {
      const stream = randomStream("over calls");
      const tokens = tokensOf(3, 6);
      for (const maxNewTokens of lengths) {
        const options = { maxNewTokens, temperature: 1.3, stopStrings: ["C"], random: () => stream };
        const [row] = await generate(
          { ...policy, tokenizer: { ...policy.tokenizer, eosTokenId: undefined } },
          [tokens],
          options,
        );
        tokens.push(...row!.tokens);
        assert(row!.tokens.length <= maxNewTokens);
      }
      return tokens;
    };
    // Rows end early at "C", behind which numbers may have been taken already.
    const [few, many] = [
      await drawn([40, 40, 3, 17]),
      await drawn([1, ...Array.from({ length: 99 }, () => 1)]),
    ];
    assertEquals(few, many.slice(0, few.length));

    // Rows that share a stream share no number.
    const shared = randomStream("shared");
    const options = { maxNewTokens: 12, temperature: 1.3, stopStrings: [], random: () => shared };
    const together = await generate(policy, Array.from({ length: 8 }, () => tokensOf(3, 6)), options);
    assert(new Set(together.map(({ tokens }) => tokens.join())).size > 4);
    tf.dispose(policy.weights);
    engine.close();
  });
}

Deno.test("generate() on tensorflow takes several calls of the decoder, shorter ones for a large model", {
  ignore: !engines.includes("tensorflow"),
}, async () => {
  const engine = await openWithThreads("tensorflow", 1);
  for (
    const { vocab_size, steps, count } of [
      { vocab_size: 30, steps: 64, count: 100 },
      { vocab_size: 260_000, steps: 16, count: 20 }, // 4.2 million parameters
    ]
  ) {
    const policy = livelyPolicy({ vocab_size });
    policy.tokenizer = { ...policy.tokenizer, eosTokenId: undefined };
    const decoder = await openHostDecoder(policy, 1, 8);
    assertEquals(decoder.steps, steps);
    decoder.dispose();
    const written = async (lengths: number[]) => {
      const stream = randomStream("calls");
      const tokens = tokensOf(3, 6);
      for (const maxNewTokens of lengths) {
        const options = { maxNewTokens, temperature: 1, stopStrings: [], random: () => stream };
        tokens.push(...(await generate(policy, [tokens], options))[0]!.tokens);
      }
      return tokens;
    };
    const expected = await written(Array.from({ length: count }, () => 1));
    assertEquals(expected.length, 6 + count);
    assertEquals(await written([count]), expected);
    tf.dispose(policy.weights);
  }
  engine.close();
});

Deno.test("NativeDecoder refuses what lies outside of its memory", {
  ignore: !engines.includes("tensorflow"),
}, async () => {
  const engine = await openWithThreads("tensorflow", 1);
  const policy = tinyPolicy();
  const decoder = await openHostDecoder(policy, 2, 8);
  const item = { token: 3, slot: 0, position: 0, wanted: true };
  for (const wrong of [{ token: 30 }, { token: -1 }, { slot: 2 }, { position: 8 }]) {
    assertThrows(() => decoder.forward([{ ...item, ...wrong }], 1), RangeError, "through the model: it has");
  }
  const how = { temperature: 1, ends: new Uint8Array(30) };
  const wish = { uniforms: [0.5, 0.5], limit: 2 };
  assertThrows(
    () => decoder.draw([{ ...item, position: 7 }], [wish], how),
    RangeError,
    "would not fit its slot",
  );
  assertThrows(() => decoder.draw([item], [wish, wish], how), RangeError, "1 are wanted");
  assertThrows(() => decoder.copy(0, 2, 1), RangeError, "there are 2 slots");
  decoder.dispose();
  tf.dispose(policy.weights);
  engine.close();
});

Deno.test("hostSlots() leaves to tfjs what is large, of odd widths, or not on the processor", async () => {
  const { config, weights } = tinyPolicy();
  const slots = (change: Partial<ModelConfig>, positions = 64) =>
    hostSlots({ ...config, ...change }, positions, 10);
  const engine = await openEngine({ engine: "wasm", threads: 1 });
  assertEquals(slots({}), 10);
  assertEquals(slots({ hidden_size: 20 }), 0);
  assertEquals(slots({ head_dim: 6 }), 0);
  assertEquals(slots({ vocab_size: 2 ** 21 }), 0);
  assertEquals(slots({}, 2 ** 21), 4); // a slot takes 256 MB
  engine.close();
  const reference = await openEngine({ engine: "cpu" });
  assertEquals(slots({}), 0);
  reference.close();
  tf.dispose(weights);
});
