/**
 * Batched sampling with a KV cache. A row's tokens depend on its context, its stream of uniforms and the weights alone,
 * up to float rounding: rows are padded, put in batches and taken out of them without a trace.
 *
 * Letters as in decoder.ts; U different contexts of a batch, V vocabulary.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import { yieldToEventLoop } from "../base/event_loop.ts";
import { InputError } from "../base/input_error.ts";
import { decode, type DecoderTensors, openDecoder, prefill } from "./decode_steps.ts";
import {
  appendColumns,
  disposeCache,
  disposeLayers,
  gatherCache,
  type KeyValues,
  type KvCache,
  tidyObject,
} from "./kv_cache.ts";
import type { DrawWish } from "./host_decoder.ts";
import { generateOnHost } from "./host_generate.ts";
import type { Policy } from "./policy.ts";
import { type CachedContexts, differentChunks, planBatches, type PrefixCache } from "./prefix_cache.ts";
import { sampleToken } from "./sampling.ts";
import { stopMatcher, tokensThatMayStop } from "./stop_strings.ts";

/** How text is generated. */
export interface GenerateOptions {
  maxNewTokens: number;
  /** 0 is greedy. */
  temperature: number;
  topP?: number;
  topK?: number;
  /** A row ends with the token that completes one of these in the text of its new tokens. */
  stopStrings: readonly string[];
  /**
   * The stream of uniforms in [0, 1) of a row: one is used for every token, none when greedy. A few may be drawn before it is
   * known whether they are needed; the next row that is given the same stream uses them.
   */
  random: (row: number) => () => number;
  /** Rows that go through the model together at most; 64 when left out. Another row enters where one has ended. */
  maxBatch?: number;
  /** Keeps what the contexts left in the KV cache, for a later call whose contexts begin with them. */
  prefixCache?: PrefixCache;
  /** Called for every new token. */
  onToken?: (row: number, token: number) => void;
}

/** What one row wrote. */
export interface Generated {
  /** The new token ids, the one that ended the row included. */
  tokens: number[];
  /** Log-prob of each under softmax(logits / temperature) (temperature 1 when greedy), before top-k and top-p. */
  logprobs: number[];
  /** A stop string, an end-of-sequence token, or `maxNewTokens`. */
  stopped: "stop" | "eos" | "length";
}

/** Columns that are gathered apart before they are merged with the rest of the cache: merging copies all of it. */
const mergeEvery = 16;

/**
 * Lets a policy continue every context, and returns the new tokens in the order of the contexts.
 *
 * @param contexts Token ids; of any lengths, none empty.
 * @throws {InputError} when a context with its new tokens does not fit into the model's positions.
 * @throws {RangeError} when a context is empty.
 *
 * @example
 * ```ts
 * import { buildWordTokenizer, generate, initWeights, loadTokenizer, randomStream } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 * import * as tf from "@tensorflow/tfjs";
 *
 * const tokenizer = loadTokenizer(buildWordTokenizer(["Osaka lies in Japan."]));
 * const config = {
 *   model_type: "llama", vocab_size: tokenizer.vocabSize, hidden_size: 8, intermediate_size: 16, num_hidden_layers: 1,
 *   num_attention_heads: 2, num_key_value_heads: 1, rope_theta: 10000, rms_norm_eps: 1e-6,
 *   tie_word_embeddings: true, max_position_embeddings: 32,
 * } as const;
 * const policy = { config, weights: initWeights(config, 1), tokenizer };
 *
 * const [row] = await generate(policy, [tokenizer.encode("Osaka lies in")], {
 *   maxNewTokens: 3,
 *   temperature: 1,
 *   stopStrings: ["</search>"],
 *   random: (row) => randomStream(1, "example", row),
 * });
 * assertEquals(row!.logprobs.length, row!.tokens.length);
 * tf.dispose(policy.weights);
 * ```
 */
export async function generate(
  policy: Policy,
  contexts: readonly (readonly number[])[],
  options: GenerateOptions,
): Promise<Generated[]> {
  checkContexts(policy, contexts, options);
  const results = contexts.map((): Generated => ({ tokens: [], logprobs: [], stopped: "length" }));
  if (options.maxNewTokens === 0 || contexts.length === 0) return results;
  const { maxBatch = 64, prefixCache, temperature } = options;
  const longest = Math.max(...contexts.map((context) => context.length));
  const completesStop = stopMatcher(policy.tokenizer, options.stopStrings);
  const writers = results.map((result, row) => writerOf(policy, result, row, completesStop, options));
  const positions = longest + options.maxNewTokens;
  const ends = () => mayEnd(policy, options.stopStrings);
  if (await generateOnHost(policy, contexts, positions, writers, ends, options)) return results;
  const decoder = openDecoder(policy, positions);
  const seen: CachedContexts[] = [];
  try {
    for (const { rows, past } of planBatches(policy, contexts, maxBatch, prefixCache)) {
      const { chunks, places, contexts: different } = differentChunks(rows, contexts, past);
      const first = prefill(decoder, chunks, past?.cache, temperature);
      seen.push({ cache: first.cache, contexts: different });
      const p_UV = await first.p_BV.data() as Float32Array;
      first.p_BV.dispose();
      const cache = gatherCache(first.cache, places);
      if (!prefixCache) disposeCache(seen.pop()!.cache);
      await continueRows(decoder, { cache, p_UV, places }, rows, contexts, results, writers, options);
    }
    prefixCache?.replace(policy, seen.splice(0));
  } finally {
    seen.forEach(({ cache }) => disposeCache(cache));
    decoder.dispose();
  }
  return results;
}

/** What a row writes: its draws, and what becomes of a token. */
export interface Writer {
  /** What it may have of so many tokens, and the numbers to draw them with. */
  wish(tokens: number): DrawWish;
  /** Notes a token with its probability; false when it ended the row. */
  write(token: number, probability: number): boolean;
}

/** Numbers of a stream that were taken by rows which ended before they needed them; the next row that uses it finds them. */
const leftOver = new WeakMap<() => number, number[]>();

function writerOf(
  policy: Policy,
  result: Generated,
  row: number,
  completesStop: (tokens: readonly number[]) => boolean,
  options: GenerateOptions,
): Writer {
  const endTokens = endTokensOf(policy);
  const stream = options.random(row);
  const left = leftOver.get(stream) ?? [];
  leftOver.set(stream, left);
  const ahead: number[] = []; // taken for this row
  const goesOn = (token: number) => {
    if (endTokens.includes(token)) result.stopped = "eos";
    else if (completesStop(result.tokens)) result.stopped = "stop";
    else return result.tokens.length < options.maxNewTokens;
    return false;
  };
  return {
    wish(tokens) {
      const limit = Math.min(tokens, options.maxNewTokens - result.tokens.length);
      if (options.temperature === 0) return { limit, uniforms: [] };
      while (ahead.length < limit) ahead.push(left.shift() ?? stream());
      return { limit, uniforms: ahead.slice(0, limit) };
    },
    write(token, probability) {
      ahead.shift();
      result.tokens.push(token);
      result.logprobs.push(Math.log(probability));
      options.onToken?.(row, token);
      if (goesOn(token)) return true;
      left.unshift(...ahead.splice(0));
      return false;
    },
  };
}

function endTokensOf({ config, tokenizer }: Policy): number[] {
  return [config.eos_token_id ?? [], tokenizer.eosTokenId ?? []].flat();
}

/** [V] 1 for every token that may end a row, alone or behind others. */
function mayEnd(policy: Policy, stopStrings: readonly string[]): Uint8Array<ArrayBuffer> {
  const ends = tokensThatMayStop(policy.tokenizer, stopStrings, policy.config.vocab_size).slice();
  for (const token of endTokensOf(policy)) ends[token] = 1;
  return ends;
}

/** Samples a token for every row, feeds it back, and so on until all have ended. Owns and frees the cache. */
async function continueRows(
  decoder: DecoderTensors,
  start: { cache: KvCache; p_UV: Float32Array; places: readonly number[] },
  rows: readonly number[],
  contexts: readonly (readonly number[])[],
  results: Generated[],
  writers: readonly Writer[],
  options: GenerateOptions,
): Promise<void> {
  const { temperature } = options;
  const V = decoder.config.vocab_size;
  const live = new Set(rows);
  let inBatch = [...rows];
  let { cache } = start;
  let recent: KeyValues[] | undefined;
  let p = start.p_UV;
  let distribution: (i: number) => number = (i) => start.places[i]!;

  const merge = () => {
    if (!recent) return;
    const merged = tidyObject(() =>
      appendColumns(cache, recent!, tf.zeros([inBatch.length, 1, 1, recent![0]!.v_BKCD.shape[2]!]))
    );
    disposeLayers(recent);
    disposeCache(cache);
    [cache, recent] = [merged, undefined];
  };

  try {
    for (let count = 1;; count++) {
      inBatch.forEach((row, i) => {
        if (!live.has(row)) return;
        const of = p.subarray(distribution(i) * V, (distribution(i) + 1) * V);
        const token = sampleToken(of, writers[row]!.wish(1).uniforms[0] ?? 0, options);
        if (!writers[row]!.write(token, of[token]!)) live.delete(row);
      });
      if (live.size === 0) return;
      // Engines may answer without leaving the microtask queue; timers and signals run only between macrotasks.
      if (count % mergeEvery === 1) await yieldToEventLoop();
      if (count % mergeEvery === 0 || live.size <= 0.75 * inBatch.length) merge();
      if (live.size <= 0.75 * inBatch.length) {
        const staying = inBatch.flatMap((row, i) => live.has(row) ? [i] : []);
        const gathered = gatherCache(cache, staying);
        disposeCache(cache);
        cache = gathered;
        inBatch = staying.map((i) => inBatch[i]!);
      }
      const step = decode(
        decoder,
        inBatch.map((row) => results[row]!.tokens.at(-1)!),
        inBatch.map((row) => contexts[row]!.length + results[row]!.tokens.length - 1),
        cache,
        recent,
        temperature,
      );
      if (recent) disposeLayers(recent);
      recent = step.recent;
      p = await step.p_BV.data() as Float32Array;
      step.p_BV.dispose();
      distribution = (i) => i;
    }
  } finally {
    disposeCache(cache);
    if (recent) disposeLayers(recent);
  }
}

function checkContexts(
  { config }: Policy,
  contexts: readonly (readonly number[])[],
  { maxNewTokens }: GenerateOptions,
): void {
  contexts.forEach((context, row) => {
    if (context.length === 0) throw new RangeError(`Cannot generate from context ${row}: it is empty`);
    if (context.length + maxNewTokens > config.max_position_embeddings) {
      throw new InputError(
        `Cannot generate ${maxNewTokens} tokens after the ${context.length} of context ${row}: the model has ` +
          `${config.max_position_embeddings} positions (max_position_embeddings); shorten the context or ask for fewer tokens`,
      );
    }
  });
}
