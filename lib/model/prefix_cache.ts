/**
 * What generation need not send through the model again: the same context of several rows (a group's prompt), and the
 * part of a context that an earlier call has been through (an agent's earlier turns).
 *
 * @module
 */
import type { Chunk } from "./decode_steps.ts";
import type { HostCache } from "./host_generate.ts";
import { disposeCache, type KvCache } from "./kv_cache.ts";
import type { Policy } from "./policy.ts";

/** A KV cache and the context that each of its rows has been through. */
export interface CachedContexts {
  cache: KvCache;
  contexts: readonly (readonly number[])[];
}

/** A cached context that another one begins with. */
interface Prefix {
  entry: CachedContexts;
  row: number;
  length: number;
}

/**
 * Keys and values of the last call's contexts. Open one for the turns of a batch of roll-outs and close it after them: it
 * holds for the weights that it was made with only.
 *
 * @example
 * ```ts
 * import { buildWordTokenizer, generate, initWeights, loadTokenizer, PrefixCache, randomStream } from "@search-e1/kit";
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
 * const prefixCache = new PrefixCache();
 * const options = { maxNewTokens: 2, temperature: 1, stopStrings: [], random: () => randomStream(1, "example") };
 * const context = tokenizer.encode("Osaka lies");
 * await generate(policy, [context], { ...options, prefixCache });
 * const longer = [[...context, ...tokenizer.encode("in Japan")]];
 * const [[cached], [fresh]] = [
 *   await generate(policy, longer, { ...options, prefixCache }), // only the new tokens go through the model
 *   await generate(policy, longer, options),
 * ];
 * assertEquals(cached!.tokens, fresh!.tokens);
 * prefixCache.close();
 * tf.dispose(policy.weights);
 * ```
 */
export class PrefixCache {
  /** What the kit's own decoder keeps, where it generates. */
  host: HostCache | undefined;
  #entries: CachedContexts[] = [];
  #stamp = "";

  /** @param positions The longest context that is to come, with what is written after it, in tokens. */
  constructor(readonly positions = 0) {}

  /** For each context the longest cached one that it goes beyond, if there is one. */
  find(policy: Policy, contexts: readonly (readonly number[])[]): (Prefix | undefined)[] {
    if (this.#entries.length > 0 && this.#stamp !== stampOf(policy)) {
      throw otherWeights();
    }
    return contexts.map((context) => this.#longest(context));
  }

  #longest(context: readonly number[]): Prefix | undefined {
    let best: Prefix | undefined;
    for (const entry of this.#entries) {
      entry.contexts.forEach((cached, row) => {
        const longer = cached.length < context.length && cached.length > (best?.length ?? 0);
        if (longer && cached.every((token, t) => token === context[t])) {
          best = { entry, row, length: cached.length };
        }
      });
    }
    return best;
  }

  /** Takes over new entries and frees the old ones. */
  replace(policy: Policy, entries: CachedContexts[]): void {
    this.close();
    this.#entries = entries;
    this.#stamp = stampOf(policy);
  }

  /** Frees all. */
  close(): void {
    this.#entries.forEach(({ cache }) => disposeCache(cache));
    this.#entries = [];
    this.host?.decoder.dispose();
    this.host = undefined;
  }
}

/** Rows that go through the model together, and the past that all of them continue. */
export interface Batch {
  rows: number[];
  past: { cache: KvCache; prefixOf: (row: number) => Prefix } | undefined;
}

/** Splits rows by the cache that holds their past, then by length into batches: neighbours in length need least padding. */
export function planBatches(
  policy: Policy,
  contexts: readonly (readonly number[])[],
  maxBatch: number,
  prefixCache: PrefixCache | undefined,
): Batch[] {
  const prefixes = prefixCache?.find(policy, contexts) ?? [];
  const byEntry = Map.groupBy(contexts.keys(), (row) => prefixes[row]?.entry);
  return [...byEntry].flatMap(([entry, rows]) => {
    const byLength = [...rows].sort((a, b) => contexts[b]!.length - contexts[a]!.length || a - b);
    const past = entry && { cache: entry.cache, prefixOf: (row: number) => prefixes[row]! };
    return Array.from(
      { length: Math.ceil(rows.length / maxBatch) },
      (_, i): Batch => ({ rows: byLength.slice(i * maxBatch, (i + 1) * maxBatch), past }),
    );
  });
}

/** What a batch has to send through the model: each different context once, the longest chunk first. */
export function differentChunks(
  rows: readonly number[],
  contexts: readonly (readonly number[])[],
  past: Batch["past"],
): { chunks: Chunk[]; places: number[]; contexts: (readonly number[])[] } {
  const keyOf = new Map(rows.map((row) => [row, contexts[row]!.join()]));
  const rowOf = new Map(rows.map((row) => [keyOf.get(row)!, row]));
  const found = [...rowOf].map(([key, row]) => {
    const { row: source, length: start } = past?.prefixOf(row) ?? { row: 0, length: 0 };
    return { key, context: contexts[row]!, chunk: { tokens: contexts[row]!.slice(start), start, source } };
  }).sort((a, b) => b.chunk.tokens.length - a.chunk.tokens.length);
  const placeOf = new Map(found.map(({ key }, place) => [key, place]));
  return {
    chunks: found.map(({ chunk }) => chunk),
    places: rows.map((row) => placeOf.get(keyOf.get(row)!)!),
    contexts: found.map(({ context }) => context),
  };
}

/** Says that a cache does not fit the policy. */
export function otherWeights(): Error {
  return new Error(
    "Cannot use this prefix cache: it was made with other weights; close it and open a new one",
  );
}

/** Tells weights from later ones: training replaces every tensor that it trains. */
export function stampOf({ weights, adapter }: Policy): string {
  return [weights, adapter?.weights ?? {}].map((record) => Object.values(record).map(({ id }) => id).join())
    .join("|");
}
