/**
 * Keys and values of tokens that a row has been through. All rows of a cache have the same columns; a row whose context
 * is shorter has holes, which its mask shuts out. Letters as in decoder.ts, and C cached columns.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";

/** Keys (stored transposed: the product with the queries then runs along rows of memory) and values of one block. */
export interface KeyValues {
  /** [B, K, Dh, C], float32. */
  k_BKDC: tf.Tensor;
  /** [B, K, C, Dh], float32. */
  v_BKCD: tf.Tensor;
}

/** Attention of queries [B, K, G·T, Dh] to keys and values that are kept: [B, K, G·T, Dh]. */
export type CachedAttention = (q_BKGD: tf.Tensor, visible: KeyValues) => tf.Tensor;

/** Keys and values of all blocks, and which columns each row may see. */
export interface KvCache {
  layers: KeyValues[];
  /** [B, 1, 1, C], float32: 0 for a token of the row, −1e9 for a hole. */
  mask_B11C: tf.Tensor;
}

/** The given rows of a cache, in the given order, as new tensors. */
export function gatherCache(cache: KvCache, rows: readonly number[]): KvCache {
  return tidyObject(() => {
    const index = tf.tensor1d([...rows], "int32");
    return {
      layers: cache.layers.map(({ k_BKDC, v_BKCD }) => ({
        k_BKDC: tf.gather(k_BKDC, index),
        v_BKCD: tf.gather(v_BKCD, index),
      })),
      mask_B11C: tf.gather(cache.mask_B11C, index),
    };
  });
}

/** A cache with more columns, as new tensors. */
export function appendColumns(cache: KvCache, layers: readonly KeyValues[], mask_B11C: tf.Tensor): KvCache {
  return tidyObject(() => ({
    layers: cache.layers.map((layer, i) => appendKeyValues(layer, layers[i]!)),
    mask_B11C: tf.concat([cache.mask_B11C, mask_B11C], 3),
  }));
}

/** One block's keys and values with more columns. */
export function appendKeyValues(layer: KeyValues, more: KeyValues): KeyValues {
  return {
    k_BKDC: tf.concat([layer.k_BKDC, more.k_BKDC], 3),
    v_BKCD: tf.concat([layer.v_BKCD, more.v_BKCD], 2),
  };
}

/** The rows of several caches one after another; shorter ones get holes. New tensors. */
export function stackCaches(caches: readonly KvCache[]): KvCache {
  return tidyObject(() => {
    const columns = Math.max(...caches.map(columnsOf));
    const padded = caches.map((cache) => {
      const holes = columns - columnsOf(cache);
      const pad = (x: tf.Tensor, axis: number, value = 0) =>
        holes === 0
          ? x
          : tf.pad(x, [0, 1, 2, 3].map((a) => [0, a === axis ? holes : 0]) as [number, number][], value);
      return {
        layers: cache.layers.map(({ k_BKDC, v_BKCD }) => ({
          k_BKDC: pad(k_BKDC, 3),
          v_BKCD: pad(v_BKCD, 2),
        })),
        mask_B11C: pad(cache.mask_B11C, 3, -1e9),
      };
    });
    return {
      layers: padded[0]!.layers.map((_, i) => ({
        k_BKDC: tf.concat(padded.map(({ layers }) => layers[i]!.k_BKDC), 0),
        v_BKCD: tf.concat(padded.map(({ layers }) => layers[i]!.v_BKCD), 0),
      })),
      mask_B11C: tf.concat(padded.map(({ mask_B11C }) => mask_B11C), 0),
    };
  });
}

/** How many columns a cache has. */
export function columnsOf(cache: KvCache): number {
  return cache.mask_B11C.shape[3]!;
}

/** Frees keys and values. */
export function disposeLayers(layers: readonly KeyValues[]): void {
  tf.dispose(layers.flatMap(({ k_BKDC, v_BKCD }) => [k_BKDC, v_BKCD]));
}

/** Frees a cache. */
export function disposeCache(cache: KvCache): void {
  cache.mask_B11C.dispose();
  disposeLayers(cache.layers);
}

/**
 * Attention of new tokens to a cached past and to the new keys and values.
 *
 * @param causal_TT Added to the scores of new against new; undefined when every query may see all of them.
 */
export function attentionWithPast(
  past: KeyValues,
  mask_B11C: tf.Tensor,
  causal_TT: tf.Tensor | undefined,
): CachedAttention {
  return (q_BKGD, { k_BKDC: k_BKDT, v_BKCD: v_BKTD }) => {
    const [columns, n] = [past.k_BKDC.shape[3]!, k_BKDT.shape[3]!];
    const [B, K, GT] = q_BKGD.shape as [number, number, number];
    const pastScores = tf.add(tf.matMul(q_BKGD, past.k_BKDC), mask_B11C);
    let newScores: tf.Tensor = tf.matMul(q_BKGD, k_BKDT);
    if (causal_TT) {
      newScores = tf.reshape(tf.add(tf.reshape(newScores, [B, K * GT / n, n, n]), causal_TT), [B, K, GT, n]);
    }
    const probabilities = tf.softmax(tf.concat([pastScores, newScores], 3));
    const [toPast, toNew] = tf.split(probabilities, [columns, n], 3) as [tf.Tensor, tf.Tensor];
    return tf.add(tf.matMul(toPast, past.v_BKCD), tf.matMul(toNew, v_BKTD));
  };
}

/** `tf.tidy` for functions that return plain objects of tensors, whose types have no index signature. */
export function tidyObject<T extends object>(make: () => T): T {
  return tf.tidy(make as () => tf.TensorContainerObject) as T;
}
