/**
 * Log-probs and entropies of the tokens that a batch's mask asks for. Letters: B rows, M model tokens, N = B·M,
 * V vocabulary, D width.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import { fused, hasFusedKernels } from "../engine/fused_kernels.ts";
import { hiddenStates, outputLogits } from "./decoder.ts";
import { gatherRows } from "./layer_ops.ts";
import type { Adapter, ModelConfig, Weights } from "./policy.ts";

/** What of a packed batch the model reads. */
export interface ModelInputs {
  /** [B, T] token ids, int32, right-padded. */
  tokens_BT: tf.Tensor2D;
  /** [B, M] flat position b·T + t − 1 of the hidden state that predicts the token at t, int32. */
  index_BM: tf.Tensor2D;
}

/**
 * The logits that predict each row's model tokens: [B, M, V], float32. Hidden states are picked out before the output
 * layer, so logits of prompt and document tokens are never made. Rows of padding hold some token's logits: mask them.
 *
 * @example
 * ```ts
 * import { batchTensors, initWeights, modelLogits, packBatch } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 * import * as tf from "@tensorflow/tfjs";
 *
 * const config = {
 *   model_type: "llama", vocab_size: 12, hidden_size: 8, intermediate_size: 16, num_hidden_layers: 1,
 *   num_attention_heads: 2, num_key_value_heads: 1, rope_theta: 10000, rms_norm_eps: 1e-6,
 *   tie_word_embeddings: true, max_position_embeddings: 32,
 * } as const;
 * const weights = initWeights(config, 1);
 * const sequence = { tokens: [3, 1, 4], mask: [0, 0, 1] };
 * const batch = batchTensors(packBatch([sequence], { padTokenId: 0, maskBucket: 1 }));
 * const logits_BMV = modelLogits(config, weights, undefined, batch);
 * assertEquals(logits_BMV.shape, [1, 1, 12]);
 * tf.dispose([weights, { ...batch }, logits_BMV]);
 * ```
 */
export function modelLogits(
  config: ModelConfig,
  weights: Weights,
  adapter: Adapter | undefined,
  batch: ModelInputs,
): tf.Tensor3D {
  const hidden_BTD = hiddenStates(config, weights, adapter, batch.tokens_BT);
  const [rows, T, D] = hidden_BTD.shape;
  const [B, M] = batch.index_BM.shape;
  const picked_ND = gatherRows(tf.reshape(hidden_BTD, [rows * T, D]), tf.reshape(batch.index_BM, [B * M]));
  return tf.reshape(outputLogits(config, weights, adapter, picked_ND), [B, M, config.vocab_size]);
}

/**
 * log softmax(logits / temperature) of the target tokens, [B, M], in nats. Its gradient, (one-hot − softmax) /
 * temperature, is written out, so that one array of [B, M, V] is kept for it.
 *
 * @param logits_BMV [B, M, V], float32.
 * @param targets_BM [B, M], int32.
 * @throws {RangeError} when the batch has 2³¹ logits or more.
 *
 * @example
 * ```ts
 * import { tokenLogprobs } from "@search-e1/kit";
 * import { assertAlmostEquals } from "@std/assert";
 * import * as tf from "@tensorflow/tfjs";
 *
 * const logits_BMV = tf.tensor3d([[[0, Math.log(3)]]]);
 * const targets_BM = tf.tensor2d([[1]], [1, 1], "int32");
 * const logp_BM = tokenLogprobs(logits_BMV, targets_BM);
 * assertAlmostEquals((await logp_BM.data())[0]!, Math.log(0.75), 1e-6);
 * tf.dispose([logits_BMV, targets_BM, logp_BM]);
 * ```
 */
export function tokenLogprobs(
  logits_BMV: tf.Tensor3D,
  targets_BM: tf.Tensor2D,
  temperature = 1,
): tf.Tensor2D {
  const [B, M, V] = logits_BMV.shape;
  const N = B * M;
  // Positions in the flat array are int32.
  if (N * V >= 2 ** 31) throw new RangeError(`Cannot score ${N} × ${V} logits at once; use smaller batches`);
  if (hasFusedKernels()) {
    const logp_N = fusedTokenLogprobs(
      tf.reshape(logits_BMV, [N, V]),
      tf.reshape(targets_BM, [N]),
      1 / temperature,
    );
    return tf.reshape(logp_N, [B, M]);
  }
  const compute = tf.customGrad((logits, save) => {
    const scaled_NV = scale(logits as tf.Tensor, temperature);
    const p_NV = tf.softmax(scaled_NV) as tf.Tensor2D;
    const at_N = tf.add(tf.reshape(targets_BM, [N]), tf.range(0, N * V, V, "int32")) as tf.Tensor1D;
    const chosen_N = tf.gather(tf.reshape(scaled_NV, [N * V]), at_N);
    (save as tf.GradSaveFunc)([p_NV, at_N]);
    const gradFunc = (dy_N: tf.Tensor, saved: tf.Tensor[]) => {
      const [p_NV, at_N] = saved as [tf.Tensor, tf.Tensor1D];
      const weight_N = scale(dy_N, temperature);
      // One-hot rows times their weights: one number a row, laid at its target.
      const chosen_NV = tf.reshape(tf.unsortedSegmentSum(weight_N, at_N, N * V), [N, V]);
      return tf.sub(chosen_NV, tf.mul(p_NV, tf.reshape(weight_N, [N, 1])));
    };
    return { value: tf.sub(chosen_N, logNormaliser(scaled_NV, p_NV)), gradFunc };
  });
  return tf.reshape(compute(tf.reshape(logits_BMV, [N, V])), [B, M]);
}

function fusedTokenLogprobs(logits_NV: tf.Tensor, targets_N: tf.Tensor, scale: number): tf.Tensor {
  const compute = tf.customGrad((logits, save) => {
    const inputs = [logits as tf.Tensor, targets_N];
    const [logp_N, logSums_N] = fused("TokenLogprobs", inputs, { scale }) as [tf.Tensor, tf.Tensor];
    (save as tf.GradSaveFunc)([...inputs, logSums_N]);
    const gradFunc = (dy_N: tf.Tensor, saved: tf.Tensor[]) =>
      fused("TokenLogprobsGrad", [dy_N, ...saved], { scale })[0]!;
    return { value: logp_N, gradFunc };
  });
  return compute(logits_NV);
}

/**
 * Entropies of softmax(logits / temperature), [B, M], in nats: H = log Z − Σ p·l. Differentiable: ∂H/∂l = −p·(log p + H).
 *
 * @param logits_BMV [B, M, V], float32.
 *
 * @example
 * ```ts
 * import { tokenEntropies } from "@search-e1/kit";
 * import { assertAlmostEquals } from "@std/assert";
 * import * as tf from "@tensorflow/tfjs";
 *
 * const logits_BMV = tf.zeros<tf.Rank.R3>([1, 1, 4]);
 * const entropy_BM = tokenEntropies(logits_BMV);
 * assertAlmostEquals((await entropy_BM.data())[0]!, Math.log(4), 1e-6);
 * tf.dispose([logits_BMV, entropy_BM]);
 * ```
 */
export function tokenEntropies(logits_BMV: tf.Tensor3D, temperature = 1): tf.Tensor2D {
  const [B, M, V] = logits_BMV.shape;
  const N = B * M;
  if (hasFusedKernels()) {
    return tf.reshape(fusedTokenEntropies(tf.reshape(logits_BMV, [N, V]), 1 / temperature), [B, M]);
  }
  const compute = tf.customGrad((logits, save) => {
    const scaled_NV = scale(logits as tf.Tensor, temperature);
    const p_NV = tf.softmax(scaled_NV) as tf.Tensor2D;
    const mean_N = tf.sum(tf.mul(p_NV, scaled_NV), -1);
    (save as tf.GradSaveFunc)([p_NV, scaled_NV, mean_N]);
    const gradFunc = (dy_N: tf.Tensor, saved: tf.Tensor[]) => {
      const [p_NV, scaled_NV, mean_N] = saved as [tf.Tensor, tf.Tensor, tf.Tensor];
      // log p + H = l − Σ p·l: log Z cancels.
      const weight_N1 = tf.reshape(scale(tf.neg(dy_N), temperature), [N, 1]);
      return tf.mul(tf.mul(p_NV, tf.sub(scaled_NV, tf.reshape(mean_N, [N, 1]))), weight_N1);
    };
    return { value: tf.sub(logNormaliser(scaled_NV, p_NV), mean_N), gradFunc };
  });
  return tf.reshape(compute(tf.reshape(logits_BMV, [N, V])), [B, M]);
}

function fusedTokenEntropies(logits_NV: tf.Tensor, scale: number): tf.Tensor {
  const compute = tf.customGrad((logits, save) => {
    const [entropy_N, logSums_N] = fused("TokenEntropies", [logits as tf.Tensor], { scale }) as [
      tf.Tensor,
      tf.Tensor,
    ];
    (save as tf.GradSaveFunc)([logits as tf.Tensor, entropy_N, logSums_N]);
    const gradFunc = (dy_N: tf.Tensor, saved: tf.Tensor[]) =>
      fused("TokenEntropiesGrad", [dy_N, ...saved], { scale })[0]!;
    return { value: entropy_N, gradFunc };
  });
  return compute(logits_NV);
}

/** log Z [N] = max l − log max p: exact where a small p would underflow, since max p ≥ 1/V. */
function logNormaliser(logits_NV: tf.Tensor, p_NV: tf.Tensor): tf.Tensor {
  return tf.sub(tf.max(logits_NV, -1), tf.log(tf.max(p_NV, -1)));
}

function scale(x: tf.Tensor, temperature: number): tf.Tensor {
  return temperature === 1 ? x : tf.mul(x, 1 / temperature);
}
