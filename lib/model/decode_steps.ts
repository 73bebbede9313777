/**
 * The two model calls of generation: a chunk of context tokens, and one token a row. Letters as in decoder.ts.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import { causalAttention, causalMask } from "./attention.ts";
import {
  type BlockTensors,
  blockTensors,
  decoderBlock,
  headWidth,
  outputName,
  rotationOf,
  type RotationTable,
  rotationTable,
} from "./decoder.ts";
import {
  appendColumns,
  appendKeyValues,
  attentionWithPast,
  type CachedAttention,
  columnsOf,
  disposeCache,
  gatherCache,
  type KeyValues,
  type KvCache,
  stackCaches,
  tidyObject,
} from "./kv_cache.ts";
import { linear, rmsNorm, type Rotation } from "./layer_ops.ts";
import type { ModelConfig, Policy } from "./policy.ts";

/** What generation needs of a policy, made once a call. */
export interface DecoderTensors {
  config: ModelConfig;
  /** [V, D]. */
  embedding: tf.Tensor;
  /** [D]. */
  norm: tf.Tensor;
  /** [V, D]. */
  output: tf.Tensor;
  blocks: BlockTensors[];
  table: RotationTable;
  /** Frees what was made; the policy's own weights stay. */
  dispose(): void;
}

/** Tokens of one context that are to go through the model. */
export interface Chunk {
  tokens: readonly number[];
  /** How many tokens of the context are in the past already: the position of the first. */
  start: number;
  /** The row of the past that holds them. */
  source: number;
}

/** Scores of a prefill, in numbers of float32, above which it is done in parts. */
const maxScores = 2 ** 24;

/** Fuses a policy's projections for generation. */
export function openDecoder({ config, weights, adapter }: Policy, positions: number): DecoderTensors {
  const blocks = tidyObject(() =>
    Array.from(
      { length: config.num_hidden_layers },
      (_, layer) => blockTensors(config, weights, adapter, layer),
    )
  );
  const own = new Set(Object.values(weights));
  return {
    config,
    embedding: weights["model.embed_tokens.weight"]!,
    norm: weights["model.norm.weight"]!,
    output: weights[outputName(config)]!,
    blocks,
    table: rotationTable(config, positions),
    dispose: () =>
      tf.dispose(
        blocks.flatMap((block) => Object.values(block)).filter((tensor) => tensor && !own.has(tensor)),
      ),
  };
}

/**
 * Sends chunks through the model and returns a cache of past and chunk, a row a chunk, and the distribution [B, V] of the
 * token that follows each. Right-padded chunks leave holes in the cache.
 */
export function prefill(
  decoder: DecoderTensors,
  chunks: readonly Chunk[],
  past: KvCache | undefined,
  temperature: number,
): { cache: KvCache; p_BV: tf.Tensor2D } {
  const H = decoder.config.num_attention_heads;
  const parts: { cache: KvCache; p_BV: tf.Tensor2D }[] = [];
  for (let start = 0; start < chunks.length;) {
    const T = Math.max(...chunks.slice(start).map(({ tokens }) => tokens.length));
    const rows = Math.max(1, Math.floor(maxScores / (H * T * (T + (past ? columnsOf(past) : 0)))));
    parts.push(prefillPart(decoder, chunks.slice(start, start + rows), past, temperature));
    start += rows;
  }
  if (parts.length === 1) return parts[0]!;
  const cache = stackCaches(parts.map((part) => part.cache));
  const p_BV = tf.concat(parts.map((part) => part.p_BV), 0) as tf.Tensor2D;
  parts.forEach((part) => {
    disposeCache(part.cache);
    part.p_BV.dispose();
  });
  return { cache, p_BV };
}

function prefillPart(
  decoder: DecoderTensors,
  chunks: readonly Chunk[],
  past: KvCache | undefined,
  temperature: number,
): { cache: KvCache; p_BV: tf.Tensor2D } {
  const B = chunks.length;
  const T = Math.max(...chunks.map(({ tokens }) => tokens.length));
  return tidyObject(() => {
    const ids = new Int32Array(B * T);
    // Without a past all rows stand at the same positions.
    const positions = new Int32Array(past ? B * T : T).map((_, t) => t);
    const holes = new Float32Array(B * T);
    chunks.forEach(({ tokens, start }, row) => {
      ids.set(tokens, row * T);
      if (past) {
        for (let t = 0; t < T; t++) {
          positions[row * T + t] = t < tokens.length ? start + t : start;
        }
      }
      holes.fill(-1e9, row * T + tokens.length, (row + 1) * T);
    });
    const before = past && gatherCache(past, chunks.map(({ source }) => source));
    const causal_TT = causalMask(T);
    const { x_ND, layers } = runBlocks(decoder, ids, positions, [B, T], (layer, newest) => ({
      visible: newest,
      attention: before
        ? attentionWithPast(before.layers[layer]!, before.mask_B11C, causal_TT)
        : (q_BKGD, { k_BKDC, v_BKCD }) =>
          causalAttention(causal_TT)(q_BKGD, tf.transpose(k_BKDC, [0, 1, 3, 2]), v_BKCD),
    }));
    const lastRows = chunks.map(({ tokens }, row) => row * T + tokens.length - 1);
    const last_BD = tf.gather(x_ND, tf.tensor1d(lastRows, "int32"));
    const mask_B11C = tf.tensor(holes, [B, 1, 1, T]);
    return {
      cache: before ? appendColumns(before, layers, mask_B11C) : { layers, mask_B11C },
      p_BV: nextTokens(decoder, last_BD, temperature),
    };
  });
}

/**
 * Sends one token a row through the model and returns the distribution [B, V] of the next and the recent columns with
 * this one appended, as new tensors.
 *
 * @param recent Columns since the cache was last merged, which every row may see.
 */
export function decode(
  decoder: DecoderTensors,
  tokens: readonly number[],
  positions: readonly number[],
  cache: KvCache,
  recent: readonly KeyValues[] | undefined,
  temperature: number,
): { p_BV: tf.Tensor2D; recent: KeyValues[] } {
  return tidyObject(() => {
    const ids = Int32Array.from(tokens);
    const { x_ND, layers } = runBlocks(decoder, ids, positions, [tokens.length, 1], (layer, newest) => ({
      visible: recent ? appendKeyValues(recent[layer]!, newest) : newest,
      attention: attentionWithPast(cache.layers[layer]!, cache.mask_B11C, undefined),
    }));
    return { p_BV: nextTokens(decoder, x_ND, temperature), recent: layers };
  });
}

/** What a block's queries see beside the past, and how they attend to both. */
type Look = (layer: number, newest: KeyValues) => { visible: KeyValues; attention: CachedAttention };

/**
 * All blocks over [B, T] tokens at positions [B, T] or [T]: hidden states [N, D] before the final norm, and each block's
 * visible keys and values.
 */
function runBlocks(
  { config, embedding, blocks, table }: DecoderTensors,
  ids: Int32Array,
  positions: ArrayLike<number>,
  [B, T]: [number, number],
  look: Look,
): { x_ND: tf.Tensor; layers: KeyValues[] } {
  const rotation = rotationAt(table, positions, [positions.length / T, 1, T, headWidth(config)]);
  let x_ND: tf.Tensor = tf.gather(embedding, tf.tensor1d(ids, "int32"));
  const layers: KeyValues[] = [];
  blocks.forEach((block, layer) => {
    const done = tidyObject(() => {
      let visible: KeyValues | undefined;
      const next_ND = decoderBlock(config, block, x_ND, [B, T], rotation, (q_BKGD, k_BKTD, v_BKCD) => {
        const [, K, , Dh] = k_BKTD.shape as [number, number, number, number];
        // With one token a row, swapping its two last axes moves nothing.
        const k_BKDC = T === 1 ? tf.reshape(k_BKTD, [B, K, Dh, 1]) : tf.transpose(k_BKTD, [0, 1, 3, 2]);
        const seen = look(layer, { k_BKDC, v_BKCD });
        visible = seen.visible;
        return seen.attention(q_BKGD, visible);
      });
      return { next_ND, visible: visible! };
    });
    x_ND = done.next_ND;
    layers.push(done.visible);
  });
  return { x_ND, layers };
}

/** softmax(logits / temperature) of hidden states [B, D]: [B, V]. */
function nextTokens(
  { config, norm, output }: DecoderTensors,
  x_BD: tf.Tensor,
  temperature: number,
): tf.Tensor2D {
  const logits_BV = linear(rmsNorm(x_BD, norm, config.rms_norm_eps), output);
  return tf.softmax(
    temperature === 0 || temperature === 1 ? logits_BV : tf.mul(logits_BV, 1 / temperature),
  ) as tf.Tensor2D;
}

/** The rotations of the given positions, in the given shape [B, 1, T, Dh]. */
function rotationAt(table: RotationTable, positions: ArrayLike<number>, shape: number[]): Rotation {
  const Dh = shape[3]!;
  const rows = (values: Float32Array) => {
    const out = new Float32Array(positions.length * Dh);
    for (let i = 0; i < positions.length; i++) {
      out.set(values.subarray(positions[i]! * Dh, (positions[i]! + 1) * Dh), i * Dh);
    }
    return out;
  };
  return rotationOf({ cos: rows(table.cos), sin: rows(table.sin) }, shape);
}
