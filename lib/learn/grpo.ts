/**
 * The policy loss of Group Relative Policy Optimization (arXiv 2402.03300) and its relatives, with TRL's names and values.
 *
 * Letters: B rows, M model tokens of a row. All tensors are float32; the mask is 1 on tokens that the model wrote. A row
 * whose mask is all 0 adds nothing but counts as a row: so a truncated trajectory is left out, and so rows of padding are
 * not to be passed. Nothing here reads a value back, so a traced step may hold it.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";

/** Settings of the loss. */
export interface GrpoOptions {
  /** `clip`: clipped surrogate. `cispo`: the ratio, cut off and without gradient, weighs the log-prob (arXiv 2506.13585). */
  loss: "clip" | "cispo";
  /**
   * How token losses become one number: `grpo` mean of the rows' token means · `bnpo` mean over the batch's tokens ·
   * `dr_grpo` sum / (B · maxLength) (arXiv 2503.20783) · `dapo` sum / `items` (arXiv 2503.14476).
   */
  aggregation: "grpo" | "bnpo" | "dr_grpo" | "dapo";
  /** Level of the importance ratio; `sequence` is GSPO's geometric mean (arXiv 2507.18071). */
  importance: "token" | "sequence";
  /** The ratio is clipped at 1 − epsilonLow and 1 + epsilonHigh. With cispo, epsilonHigh itself is the ratio's bound. */
  epsilonLow: number;
  epsilonHigh: number;
  /** Two-sided clip (arXiv 2505.07291): bound of the ratio where the other clip has none; off when left out. */
  delta?: number;
  /** Coefficient of the KL term to the reference. */
  beta: number;
  /** Coefficient of the entropy bonus, a mean over tokens. */
  entropyCoefficient: number;
  /** The length that `dr_grpo` divides by: the most tokens that the model can write in a trajectory. */
  maxLength: number;
}

/**
 * The two sets of defaults: Search-R1's (arXiv 2503.09516) and those of TRL's `GRPOConfig`.
 *
 * @example
 * ```ts
 * import { grpoLossPresets } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(grpoLossPresets["search-r1"].aggregation, "bnpo");
 * assertEquals(grpoLossPresets.trl.aggregation, "dapo");
 * ```
 */
export const grpoLossPresets: Readonly<Record<"search-r1" | "trl", GrpoOptions>> = {
  "search-r1": {
    loss: "clip",
    aggregation: "bnpo",
    importance: "token",
    epsilonLow: 0.2,
    epsilonHigh: 0.2,
    beta: 0.001,
    entropyCoefficient: 0.001,
    maxLength: 500,
  },
  trl: {
    loss: "clip",
    aggregation: "dapo",
    importance: "token",
    epsilonLow: 0.2,
    epsilonHigh: 0.2,
    beta: 0,
    entropyCoefficient: 0,
    maxLength: 256,
  },
};

/** What the loss is computed from. */
export interface GrpoInputs {
  /** Log-probs [B, M] of the trajectory's tokens under the policy that is trained. */
  logp_BM: tf.Tensor2D;
  /** The same under the policy that the ratio compares with. */
  oldLogp_BM: tf.Tensor2D;
  /** The same under the reference; needed when beta is not 0. */
  refLogp_BM?: tf.Tensor2D | undefined;
  /** Advantage of each row [B]. */
  advantage_B: tf.Tensor1D;
  /** 1 on model tokens [B, M]. */
  mask_BM: tf.Tensor2D;
  /** Entropies [B, M] of the policy at each token, in nats; needed for the bonus and the metric. */
  entropy_BM?: tf.Tensor2D | undefined;
  /** `dapo`: model tokens of the whole accumulated batch; this batch's when left out. */
  items?: tf.Scalar | undefined;
}

/**
 * The loss and TRL's metrics, all scalars: `kl` (with a reference), `entropy`, and `clip_ratio/{low,high,region}_mean`
 * (shares of tokens, or of rows at sequence level) or `cispo_clip_ratio`.
 *
 * When a batch is split into n micro-batches, weigh each with 1/n, except for `dapo` with `items`: with 1.
 *
 * @throws {Error} when beta is not 0 and there is no reference, or the entropy coefficient is not 0 and there are no entropies.
 *
 * @example
 * ```ts
 * import { grpoLoss, grpoLossPresets } from "@search-e1/kit";
 * import { assertAlmostEquals } from "@std/assert";
 * import * as tf from "@tensorflow/tfjs";
 *
 * await tf.setBackend("cpu");
 * const logp_BM = tf.tensor2d([[-1, -2], [-1, -1]]);
 * const { loss } = grpoLoss({
 *   logp_BM,
 *   oldLogp_BM: logp_BM,
 *   advantage_B: tf.tensor1d([1, -1]),
 *   mask_BM: tf.tensor2d([[1, 1], [1, 0]]),
 * }, grpoLossPresets.trl);
 * assertAlmostEquals((await loss.data())[0]!, -1 / 3, 1e-6); // −(1 + 1 − 1) / 3 tokens
 * ```
 */
export function grpoLoss(
  inputs: GrpoInputs,
  options: GrpoOptions,
): { loss: tf.Scalar; metrics: Record<string, tf.Scalar> } {
  const { beta, entropyCoefficient } = options;
  const { refLogp_BM, entropy_BM } = inputs;
  if (beta !== 0 && !refLogp_BM) {
    throw new Error(`Cannot compute the GRPO loss: beta = ${beta} needs a reference`);
  }
  if (entropyCoefficient !== 0 && !entropy_BM) {
    throw new Error(
      `Cannot compute the GRPO loss: entropyCoefficient = ${entropyCoefficient} needs entropies`,
    );
  }
  return tf.tidy(() => {
    const { logp_BM, advantage_B, mask_BM } = inputs;
    const rows = mask_BM.shape[0];
    const tokens_B1 = tf.maximum(tf.sum(mask_BM, 1, true), 1);
    const tokens = tf.maximum(tf.sum(mask_BM), 1);
    const tokenMean = (x: tf.Tensor) => tf.div(tf.sum(tf.mul(x, mask_BM)), tokens) as tf.Scalar;
    const advantage_B1 = tf.expandDims(advantage_B, 1);

    // ρ = exp(logp − logp_old), or its geometric mean over the row (GSPO, eq. 7); [B, M] or [B, 1]
    const logRatio_BM = tf.mul(tf.sub(logp_BM, inputs.oldLogp_BM), mask_BM);
    const sequenceLevel = options.importance === "sequence";
    const ratio = tf.exp(sequenceLevel ? tf.div(tf.sum(logRatio_BM, 1, true), tokens_B1) : logRatio_BM);
    const weighted = options.loss === "cispo"
      ? cispo(ratio, advantage_B1, logp_BM, options)
      : clippedSurrogate(ratio, advantage_B1, options);

    const metrics: Record<string, tf.Scalar> = {};
    let loss_BM = tf.mul(weighted.loss, mask_BM);
    if (refLogp_BM) {
      // k3 = exp(ref − logp) − (ref − logp) − 1 ≥ 0 (GRPO, eq. 4)
      const difference_BM = tf.mul(tf.sub(refLogp_BM, logp_BM), mask_BM);
      const k3_BM = tf.sub(tf.sub(tf.exp(difference_BM), difference_BM), 1);
      metrics.kl = tokenMean(k3_BM);
      if (beta !== 0) loss_BM = tf.add(loss_BM, tf.mul(beta, k3_BM));
    }

    const sum_B1 = tf.sum(loss_BM, 1, true);
    let loss: tf.Tensor;
    if (options.aggregation === "grpo") {
      loss = tf.div(tf.sum(tf.div(sum_B1, tokens_B1)), rows);
    } else if (options.aggregation === "dr_grpo") {
      loss = tf.div(tf.sum(sum_B1), rows * options.maxLength);
    } else {
      const items = options.aggregation === "dapo" && inputs.items ? tf.maximum(inputs.items, 1) : tokens;
      loss = tf.div(tf.sum(sum_B1), items);
    }
    if (entropy_BM) {
      const entropy = tokenMean(entropy_BM);
      metrics.entropy = entropy;
      if (entropyCoefficient !== 0) loss = tf.sub(loss, tf.mul(entropyCoefficient, entropy));
    }
    for (const [name, clipped] of Object.entries(weighted.clipped)) {
      const flags = tf.cast(clipped, "float32");
      metrics[name] = sequenceLevel ? tf.mean(flags) : tokenMean(flags);
    }
    return { loss: loss as tf.Scalar, metrics };
  });
}

interface TokenLoss {
  /** [B, M] or [B, 1]. */
  loss: tf.Tensor;
  /** Where a clip took the gradient away, by metric name; shaped like the ratio. */
  clipped: Record<string, tf.Tensor>;
}

/** −min(ρA, clip(ρ, 1 − ε_low, 1 + ε_high)A), where the first ρ is at most δ. */
function clippedSurrogate(ratio: tf.Tensor, advantage_B1: tf.Tensor, options: GrpoOptions): TokenLoss {
  const low = 1 - options.epsilonLow;
  const high = 1 + options.epsilonHigh;
  const bounded = options.delta !== undefined ? tf.minimum(ratio, options.delta) : ratio;
  const clipped = tf.clipByValue(ratio, low, high);
  const isLow = tf.logicalAnd(tf.less(bounded, low), tf.less(advantage_B1, 0));
  const isHigh = tf.logicalAnd(tf.greater(bounded, high), tf.greater(advantage_B1, 0));
  return {
    loss: tf.neg(tf.minimum(tf.mul(bounded, advantage_B1), tf.mul(clipped, advantage_B1))),
    clipped: {
      "clip_ratio/low_mean": isLow,
      "clip_ratio/high_mean": isHigh,
      "clip_ratio/region_mean": tf.logicalOr(isLow, isHigh),
    },
  };
}

/** −min(ρ, ε_high) · A · logp, with no gradient through the ratio. */
function cispo(
  ratio: tf.Tensor,
  advantage_B1: tf.Tensor,
  logp_BM: tf.Tensor,
  options: GrpoOptions,
): TokenLoss {
  const weight = stopGradient(tf.minimum(ratio, options.epsilonHigh));
  return {
    loss: tf.neg(tf.mul(tf.mul(weight, advantage_B1), logp_BM)),
    clipped: {
      cispo_clip_ratio: tf.logicalAnd(tf.greater(ratio, options.epsilonHigh), tf.greater(advantage_B1, 0)),
    },
  };
}

/** The tensor itself, as a constant to the gradient. */
export function stopGradient(x: tf.Tensor): tf.Tensor {
  return tf.customGrad((...inputs) => {
    const value = tf.clone(inputs[0] as tf.Tensor);
    return { value, gradFunc: (dy: tf.Tensor) => tf.zerosLike(dy) };
  })(x);
}
