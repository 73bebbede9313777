/**
 * The decoder of Qwen2 and Llama: RMSNorm, rotary positions, grouped-query attention, SwiGLU. Training, scoring and
 * generation go through the same `decoderLayer`; they differ in the attention function that they hand it.
 *
 * Left out on purpose: sliding windows, rope scaling and mixtures of experts (hf_folder.ts refuses them).
 *
 * Letters: B rows, T tokens, N = B·T, D width, H query heads, K key-value heads, G = H/K queries a key-value head,
 * Dh head width, V vocabulary.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import { randomStream } from "../base/random.ts";
import { hostThreads } from "../engine/host_threads.ts";
import { hasFusedKernels } from "../engine/fused_kernels.ts";
import { type Attention, causalAttention, causalMask, fusedAttention } from "./attention.ts";
import { fusedSwiGlu, gatherRows, linear, rmsNorm, rotate, type Rotation, swiGlu } from "./layer_ops.ts";
import type { Adapter, ModelConfig, Weights } from "./policy.ts";

/** The width of one attention head. */
export function headWidth(config: ModelConfig): number {
  return config.head_dim ?? config.hidden_size / config.num_attention_heads;
}

/**
 * Every weight's name and shape, by Hugging Face's names, in the order in which the kit keeps them.
 *
 * @example
 * ```ts
 * import { weightShapes } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const shapes = weightShapes({
 *   model_type: "llama", vocab_size: 10, hidden_size: 8, intermediate_size: 16, num_hidden_layers: 1,
 *   num_attention_heads: 2, num_key_value_heads: 1, rope_theta: 10000, rms_norm_eps: 1e-6,
 *   tie_word_embeddings: true, max_position_embeddings: 32,
 * });
 * assertEquals(shapes["model.layers.0.self_attn.k_proj.weight"], [4, 8]);
 * ```
 */
export function weightShapes(config: ModelConfig): Record<string, number[]> {
  const { vocab_size: V, hidden_size: D, intermediate_size: F } = config;
  const queryWidth = config.num_attention_heads * headWidth(config);
  const keyWidth = config.num_key_value_heads * headWidth(config);
  const shapes: Record<string, number[]> = { "model.embed_tokens.weight": [V, D] };
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const prefix = `model.layers.${layer}.`;
    shapes[`${prefix}input_layernorm.weight`] = [D];
    for (const [name, width] of [["q", queryWidth], ["k", keyWidth], ["v", keyWidth]] as const) {
      shapes[`${prefix}self_attn.${name}_proj.weight`] = [width, D];
      if (hasQkvBias(config)) shapes[`${prefix}self_attn.${name}_proj.bias`] = [width];
    }
    shapes[`${prefix}self_attn.o_proj.weight`] = [D, queryWidth];
    if (hasOutputBias(config)) shapes[`${prefix}self_attn.o_proj.bias`] = [D];
    shapes[`${prefix}post_attention_layernorm.weight`] = [D];
    shapes[`${prefix}mlp.gate_proj.weight`] = [F, D];
    shapes[`${prefix}mlp.up_proj.weight`] = [F, D];
    shapes[`${prefix}mlp.down_proj.weight`] = [D, F];
  }
  shapes["model.norm.weight"] = [D];
  if (!config.tie_word_embeddings) shapes["lm_head.weight"] = [V, D];
  return shapes;
}

/**
 * The names of all linear layers of the decoder blocks, without `.weight`: what an adapter adapts.
 *
 * @example
 * ```ts
 * import { linearNames } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const config = {
 *   model_type: "llama", vocab_size: 12, hidden_size: 8, intermediate_size: 16, num_hidden_layers: 1,
 *   num_attention_heads: 2, num_key_value_heads: 1, rope_theta: 10000, rms_norm_eps: 1e-6,
 *   tie_word_embeddings: true, max_position_embeddings: 32,
 * } as const;
 * assertEquals(linearNames(config).length, 7);
 * ```
 */
export function linearNames(config: ModelConfig): string[] {
  return Object.keys(weightShapes(config)).filter((name) => name.endsWith("_proj.weight")).map((name) =>
    name.slice(0, -".weight".length)
  );
}

/**
 * Fresh weights: matrices from N(0, `initializer_range`²), norms 1, biases 0. Drawn on the host from one stream a weight:
 * equal on every engine.
 *
 * @example
 * ```ts
 * import { initWeights } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 * import * as tf from "@tensorflow/tfjs";
 *
 * const config = {
 *   model_type: "llama", vocab_size: 12, hidden_size: 8, intermediate_size: 16, num_hidden_layers: 1,
 *   num_attention_heads: 2, num_key_value_heads: 1, rope_theta: 10000, rms_norm_eps: 1e-6,
 *   tie_word_embeddings: true, max_position_embeddings: 32,
 * } as const;
 * const weights = initWeights(config, 1);
 * assertEquals(weights["model.embed_tokens.weight"]!.shape, [12, 8]);
 * tf.dispose(weights);
 * ```
 */
export function initWeights(config: ModelConfig, seed: number): Weights {
  const weights: Weights = {};
  for (const [name, shape] of Object.entries(weightShapes(config))) {
    if (shape.length === 2) {
      const next = normalStream(randomStream(seed, "weights", name), config.initializer_range ?? 0.02);
      weights[name] = tf.tensor(Float32Array.from({ length: shape[0]! * shape[1]! }, next), shape, "float32");
    } else {
      weights[name] = name.endsWith(".bias") ? tf.zeros(shape) : tf.ones(shape);
    }
  }
  return weights;
}

/** Normal deviates by the Box–Muller transform, two from each pair of uniforms. */
function normalStream(uniform: () => number, deviation: number): () => number {
  let spare: number | undefined;
  return () => {
    if (spare !== undefined) {
      const value = spare;
      spare = undefined;
      return value;
    }
    const radius = deviation * Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
}

/** The tensors of one block as the block uses them: projections that read the same input are one matrix. */
export interface BlockTensors {
  /** [D]. */
  attentionNorm: tf.Tensor;
  /** [(H + 2K)·Dh, D]: q rows times Dh^-½, then k, then v. */
  qkv: tf.Tensor;
  /** [(H + 2K)·Dh]. */
  qkvBias: tf.Tensor | undefined;
  /** [D, H·Dh]. */
  output: tf.Tensor;
  /** [D]. */
  outputBias: tf.Tensor | undefined;
  /** [D]. */
  feedForwardNorm: tf.Tensor;
  /** [F, D], as `up`. */
  gate: tf.Tensor;
  up: tf.Tensor;
  /** [D, F]. */
  down: tf.Tensor;
}

/**
 * One block's tensors. With an adapter the effective weight W + (alpha/rank)·B A (arXiv 2106.09685, eq. 3) is formed
 * first: a step has many more tokens than a weight has rows, so this is less work than a second path for every token.
 */
export function blockTensors(
  config: ModelConfig,
  weights: Weights,
  adapter: Adapter | undefined,
  layer: number,
): BlockTensors {
  const prefix = `model.layers.${layer}.`;
  const matrix = (name: string) => effectiveWeight(weights, adapter, `${prefix}${name}_proj`);
  const bias = (name: string) => weight(weights, `${prefix}${name}_proj.bias`);
  const qkv = (tensorOf: (name: string) => tf.Tensor) =>
    tf.concat(
      qkvParts(config).map(([name, factor]) =>
        factor === 1 ? tensorOf(name) : tf.mul(tensorOf(name), factor)
      ),
      0,
    );
  return {
    attentionNorm: weight(weights, `${prefix}input_layernorm.weight`),
    qkv: qkv(matrix),
    qkvBias: hasQkvBias(config) ? qkv(bias) : undefined,
    output: matrix("self_attn.o"),
    outputBias: hasOutputBias(config) ? bias("self_attn.o") : undefined,
    feedForwardNorm: weight(weights, `${prefix}post_attention_layernorm.weight`),
    gate: matrix("mlp.gate"),
    up: matrix("mlp.up"),
    down: matrix("mlp.down"),
  };
}

/** The projections that stand one below the other in `qkv`, each with its factor: queries carry the scale of attention. */
export function qkvParts(config: ModelConfig): (readonly [name: string, factor: number])[] {
  return [["self_attn.q", headWidth(config) ** -0.5], ["self_attn.k", 1], ["self_attn.v", 1]];
}

/** W + (alpha/rank)·B A, or W itself where no adapter touches it. [out, in]. */
export function effectiveWeight(
  weights: Weights,
  adapter: Adapter | undefined,
  linearName: string,
): tf.Tensor {
  const base = weight(weights, `${linearName}.weight`);
  const [a, b] = [adapter?.weights[`${linearName}.lora_A`], adapter?.weights[`${linearName}.lora_B`]];
  if (!adapter || !a || !b) return base;
  return tf.add(base, tf.matMul(tf.mul(b, adapter.alpha / adapter.rank), a));
}

/** One block: x + attention(norm(x)), then x + feed-forward(norm(x)). x is [N, D]. */
export function decoderBlock(
  config: ModelConfig,
  block: BlockTensors,
  x_ND: tf.Tensor,
  [B, T]: [number, number],
  rotation: Rotation,
  attention: Attention,
): tf.Tensor2D {
  const [H, K, Dh] = [config.num_attention_heads, config.num_key_value_heads, headWidth(config)];
  const norm_ND = rmsNorm(x_ND, block.attentionNorm, config.rms_norm_eps);
  const qkv = linear(norm_ND, block.qkv, block.qkvBias);
  // With one token a row, swapping the axes of heads and tokens moves nothing.
  const one = T === 1;
  const heads = one
    ? tf.reshape(qkv, [B, H + 2 * K, 1, Dh])
    : tf.transpose(tf.reshape(qkv, [B, T, H + 2 * K, Dh]), [0, 2, 1, 3]);
  const [qk, v_BKTD] = tf.split(heads, [H + K, K], 1) as [tf.Tensor, tf.Tensor];
  const [q, k_BKTD] = tf.split(rotate(qk, rotation), [H, K], 1) as [tf.Tensor, tf.Tensor];
  // Query heads of one group stand next to each other: grouping them is a reshape, and keys are never repeated.
  const grouped = H === K ? q : tf.reshape(q, [B, K, (H / K) * T, Dh]);
  const context = attention(grouped, k_BKTD, v_BKTD);
  const byToken = one ? context : tf.transpose(tf.reshape(context, [B, H, T, Dh]), [0, 2, 1, 3]);
  const attended_ND = linear(tf.reshape(byToken, [B * T, H * Dh]), block.output, block.outputBias);
  const residual_ND = tf.add(x_ND, attended_ND);
  const inner_ND = rmsNorm(residual_ND, block.feedForwardNorm, config.rms_norm_eps);
  const inner_NF = swiGlu(linear(inner_ND, block.gate), linear(inner_ND, block.up));
  return tf.add(residual_ND, linear(inner_NF, block.down));
}

/** `decoderBlock` of whole rows on an engine with fused kernels: no axes are swapped, no scores are kept. */
function fusedBlock(
  config: ModelConfig,
  block: BlockTensors,
  x_ND: tf.Tensor,
  rotation: readonly [tf.Tensor, tf.Tensor],
  tokens_BT: tf.Tensor,
): tf.Tensor2D {
  const heads = [config.num_attention_heads, config.num_key_value_heads] as const;
  const norm_ND = rmsNorm(x_ND, block.attentionNorm, config.rms_norm_eps);
  const context_ND = fusedAttention(linear(norm_ND, block.qkv, block.qkvBias), rotation, tokens_BT, heads);
  const residual_ND = tf.add(x_ND, linear(context_ND, block.output, block.outputBias));
  const inner_ND = rmsNorm(residual_ND, block.feedForwardNorm, config.rms_norm_eps);
  const inner_NF = fusedSwiGlu(linear(inner_ND, tf.concat([block.gate, block.up], 0)));
  return tf.add(residual_ND, linear(inner_NF, block.down));
}

/** Host arrays of a rotation. */
export interface RotationTable {
  cos: Float32Array;
  sin: Float32Array;
}

/** Uploads a table, or a part of one, in the given shape. */
export function rotationOf({ cos, sin }: RotationTable, shape: number[]): Rotation {
  return { cos: tf.tensor(cos, shape, "float32"), sin: tf.tensor(sin, shape, "float32") };
}

/**
 * Cosines and sines of positions 0 … length − 1, [length, Dh] each; rounded to float32 where transformers rounds.
 */
export function rotationTable(config: ModelConfig, length: number): RotationTable {
  const Dh = headWidth(config);
  const half = Dh / 2;
  const [cos, sin] = [new Float32Array(length * Dh), new Float32Array(length * Dh)];
  for (let i = 0; i < half; i++) {
    const frequency = Math.fround(1 / Math.fround(config.rope_theta ** ((2 * i) / Dh)));
    for (let t = 0; t < length; t++) {
      const angle = Math.fround(t * frequency);
      cos[t * Dh + i] = cos[t * Dh + half + i] = Math.cos(angle);
      sin[t * Dh + half + i] = Math.sin(angle);
      sin[t * Dh + i] = -Math.sin(angle);
    }
  }
  return { cos, sin };
}

/** Behind −1 − id, in a row of tokens: a sequence goes on here behind the prefix that it shares with others. */
export const branchMark = 2 ** 30;

/**
 * The hidden states after the final norm, [B, T, D]. Differentiable with respect to weights and adapter weights, and pure:
 * it may be traced.
 *
 * @param adapter Switched off by passing undefined.
 * @param tokens_BT Token ids [B, T], int32, right-padded: attention is causal, so no valid token sees padding. On an engine
 * with fused kernels a row may hold several sequences end to end, as `packBatch` lays them: the first token of each but the
 * first is written as −1 − id, or as −1 − 2³⁰ − id where it goes on behind the last one that was not.
 *
 * @example
 * ```ts
 * import { hiddenStates, initWeights } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 * import * as tf from "@tensorflow/tfjs";
 *
 * const config = {
 *   model_type: "llama", vocab_size: 12, hidden_size: 8, intermediate_size: 16, num_hidden_layers: 1,
 *   num_attention_heads: 2, num_key_value_heads: 1, rope_theta: 10000, rms_norm_eps: 1e-6,
 *   tie_word_embeddings: true, max_position_embeddings: 32,
 * } as const;
 * const weights = initWeights(config, 1);
 * const tokens_BT = tf.tensor2d([[3, 1, 4]], [1, 3], "int32");
 * const hidden_BTD = hiddenStates(config, weights, undefined, tokens_BT);
 * assertEquals(hidden_BTD.shape, [1, 3, 8]);
 * tf.dispose([weights, tokens_BT, hidden_BTD]);
 * ```
 */
export function hiddenStates(
  config: ModelConfig,
  weights: Weights,
  adapter: Adapter | undefined,
  tokens_BT: tf.Tensor2D,
): tf.Tensor3D {
  return tf.tidy(() => {
    const [B, T] = tokens_BT.shape;
    const through = blockFunction(config, T);
    const idsOf = (part_bT: tf.Tensor) =>
      hasFusedKernels()
        ? tf.mod(tf.maximum(part_bT, tf.sub(tf.scalar(-1, "int32"), part_bT)), tf.scalar(branchMark, "int32"))
        : part_bT;
    const blocks = Array.from(
      { length: config.num_hidden_layers },
      (_, layer) => blockTensors(config, weights, adapter, layer),
    );
    const parts_bT = tf.split(tokens_BT, partSizes(B, T), 0) as tf.Tensor2D[];
    const hidden = parts_bT.map((part_bT) => {
      const b = part_bT.shape[0];
      const ids_N = tf.reshape(idsOf(part_bT), [b * T]) as tf.Tensor1D;
      let x_ND = gatherRows(weight(weights, "model.embed_tokens.weight"), ids_N);
      for (const block of blocks) {
        x_ND = tf.tidy(() => through(block, x_ND, part_bT));
      }
      return rmsNorm(x_ND, weight(weights, "model.norm.weight"), config.rms_norm_eps);
    });
    const hidden_ND = hidden.length === 1 ? hidden[0]! : tf.concat(hidden, 0);
    return tf.reshape(hidden_ND, [B, T, config.hidden_size]);
  });
}

/** What sends b rows of T tokens through a block. */
function blockFunction(
  config: ModelConfig,
  T: number,
): (block: BlockTensors, x_ND: tf.Tensor, tokens_bT: tf.Tensor2D) => tf.Tensor2D {
  const table = rotationTable(config, T);
  if (hasFusedKernels()) {
    const { cos, sin } = halfTable(config, table);
    const rotation = [cos, sin].map((values) => tf.tensor(values, [T, headWidth(config) / 2])) as [
      tf.Tensor,
      tf.Tensor,
    ];
    return (block, x_ND, tokens_bT) => fusedBlock(config, block, x_ND, rotation, tokens_bT);
  }
  const rotation = rotationOf(table, [T, headWidth(config)]);
  const attention = causalAttention(causalMask(T));
  return (block, x_ND, { shape: [b] }) => decoderBlock(config, block, x_ND, [b, T], rotation, attention);
}

/** The second halves of a table's rows, where the sines have their own sign: [length, Dh / 2] each. */
export function halfTable(config: ModelConfig, { cos, sin }: RotationTable): RotationTable {
  const Dh = headWidth(config);
  const half = (values: Float32Array) => {
    const kept = new Float32Array(values.length / 2);
    for (let i = 0; i < kept.length; i += Dh / 2) kept.set(values.subarray(2 * i + Dh / 2, 2 * i + Dh), i);
    return kept;
  };
  return { cos: half(cos), sin: half(sin) };
}

/** Tokens of a part of a batch that goes through the blocks for itself: its intermediate values fit a cache. */
const partTokens = 1024;

/**
 * Rows of the parts in which a batch goes through the blocks: on several threads one for each, which a compiled step
 * computes side by side, since many operations are too small to share.
 */
function partSizes(B: number, T: number): number[] {
  const threads = hostThreads();
  const count = Math.min(B, threads > 1 ? threads : threads === 1 ? Math.ceil(B * T / partTokens) : 1);
  return Array.from({ length: count }, (_, i) => Math.round((i + 1) * B / count) - Math.round(i * B / count));
}

/**
 * Logits [N, V] of hidden states [N, D]; the embedding matrix again where embeddings are tied. The output layer is not
 * among those that an adapter adapts, so the adapter changes nothing here.
 *
 * @example
 * ```ts
 * import { initWeights, outputLogits } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 * import * as tf from "@tensorflow/tfjs";
 *
 * const config = {
 *   model_type: "llama", vocab_size: 12, hidden_size: 8, intermediate_size: 16, num_hidden_layers: 1,
 *   num_attention_heads: 2, num_key_value_heads: 1, rope_theta: 10000, rms_norm_eps: 1e-6,
 *   tie_word_embeddings: true, max_position_embeddings: 32,
 * } as const;
 * const weights = initWeights(config, 1);
 * const hidden_ND = tf.ones<tf.Rank.R2>([2, 8]);
 * const logits_NV = outputLogits(config, weights, undefined, hidden_ND);
 * assertEquals(logits_NV.shape, [2, 12]);
 * tf.dispose([weights, hidden_ND, logits_NV]);
 * ```
 */
export function outputLogits(
  config: ModelConfig,
  weights: Weights,
  _adapter: Adapter | undefined,
  hidden_ND: tf.Tensor2D,
): tf.Tensor2D {
  return linear(hidden_ND, weight(weights, outputName(config)));
}

/** The name of the matrix that turns hidden states into logits. */
export function outputName(config: ModelConfig): string {
  return config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
}

/** A weight by its name in Hugging Face layout. */
export function weight(weights: Weights, name: string): tf.Tensor {
  const found = weights[name];
  if (!found) throw new Error(`Cannot run the decoder: weight ${name} is missing`);
  return found;
}

export function hasQkvBias(config: ModelConfig): boolean {
  return config.model_type === "qwen2" || config.attention_bias === true;
}

export function hasOutputBias(config: ModelConfig): boolean {
  return config.model_type === "llama" && config.attention_bias === true;
}
