/**
 * The loss of offline self-distillation (Search-E1, arXiv 2605.22511): token by token, the student's distribution in the
 * plain context is drawn to the teacher's in the privileged one.
 *
 * Letters: B rows, M model tokens of a row, V vocabulary, K the teacher's kept entries. All is float32 and in nats; the mask
 * is 1 on tokens that are distilled. p is the teacher's probability, q the student's.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import { divergence, keptEntries } from "./divergence.ts";

/** Settings of the loss. */
export interface OfsdOptions {
  /** `forward` KL(p ‖ q) · `reverse` KL(q ‖ p) · `jsd` generalised Jensen–Shannon (arXiv 2306.13649, eq. 1). */
  direction: "forward" | "reverse" | "jsd";
  /** `jsd`: weight of the teacher in the mixture, between 0 and 1. */
  jsdBeta: number;
  /**
   * What is capped at tau: nothing, each vocabulary entry before the sum, or each token after it. With `entry` the loss can be
   * negative: large positive entries are cut, negative ones are not.
   */
  clip: "off" | "entry" | "token";
  /** The cap, in nats. */
  tau: number;
  /**
   * Weights that follow from the distributions, without gradient: `teacher-entropy` 1 − H(p) / log V, so that a sure teacher
   * counts more · `gap` the total variation ½ Σ |p − q|. The other weightings are numbers from the host: see `hostWeights`.
   */
  weighting: "uniform" | "position" | "return-gap" | "teacher-entropy" | "gap";
}

/** The teacher's distributions, without gradient. */
export interface TeacherTargets {
  /** Log-probs: [B, M, V], or [B, M, K + 1] where `ids_BMK` is given; the last entry is then the tail. */
  logp: tf.Tensor3D;
  /** The teacher's K likeliest ids [B, M, K], int32. */
  ids_BMK?: tf.Tensor3D | undefined;
}

/** What the loss is computed from. */
export interface OfsdInputs {
  teacher: TeacherTargets;
  /** Logits of the student in the plain context [B, M, V]; its temperature is 1. */
  studentLogits_BMV: tf.Tensor3D;
  mask_BM: tf.Tensor2D;
  /** Weights from the host [B, M]; 1 when left out. */
  weights_BM?: tf.Tensor2D | undefined;
}

/**
 * The teacher's targets from its logits: log softmax(logits / temperature), or the K likeliest of it and the log-prob of the
 * tail, which take K + 1 numbers a token instead of V.
 *
 * @param options.topK Entries kept; 0 keeps the whole vocabulary.
 *
 * @example
 * ```ts
 * import { teacherTargets } from "@search-e1/kit";
 * import { assertAlmostEquals, assertEquals } from "@std/assert";
 * import * as tf from "@tensorflow/tfjs";
 *
 * await tf.setBackend("cpu");
 * const { logp, ids_BMK } = teacherTargets(tf.tensor3d([[[0, Math.log(2), 0]]]), { topK: 1 });
 * assertEquals([...await ids_BMK!.data()], [1]);
 * assertAlmostEquals(Math.exp((await logp.data())[1]!), 0.5, 1e-6); // the tail
 * ```
 */
export function teacherTargets(
  logits_BMV: tf.Tensor3D,
  { temperature = 1, topK = 0 }: { temperature?: number; topK?: number } = {},
): TeacherTargets {
  const V = logits_BMV.shape[2];
  if (topK === 0 || topK >= V) return { logp: tf.tidy(() => logSoftmax(logits_BMV, temperature)) };
  const [logp, ids_BMK] = tf.tidy(() => {
    const logp_BMV = logSoftmax(logits_BMV, temperature);
    const ids_BMK = tf.topk(logp_BMV, topK).indices as tf.Tensor3D;
    return [keptEntries(logp_BMV, ids_BMK).logq, ids_BMK] as [tf.Tensor3D, tf.Tensor3D];
  });
  return { logp, ids_BMK };
}

/**
 * L = Σ m·w·D(p, q) / Σ m·w, a scalar, and the metrics `ofsd/kl` (the mean divergence before clip and weights) and
 * `ofsd/clipped_fraction` (the share of tokens that a clip changed). Without privilege and at teacher temperature 1 the loss
 * is exactly 0.
 *
 * @example
 * ```ts
 * import { ofsdLoss, teacherTargets } from "@search-e1/kit";
 * import { assertAlmostEquals, assertEquals } from "@std/assert";
 * import * as tf from "@tensorflow/tfjs";
 *
 * await tf.setBackend("cpu");
 * const options = { direction: "forward", jsdBeta: 0.5, clip: "token", tau: 10, weighting: "uniform" } as const;
 * const student = tf.tensor3d([[[0, 0]]]);
 * const mask_BM = tf.tensor2d([[1]]);
 * const same = ofsdLoss({ teacher: teacherTargets(student), studentLogits_BMV: student, mask_BM }, options);
 * assertEquals((await same.loss.data())[0], 0);
 * const sure = teacherTargets(tf.tensor3d([[[30, 0]]]));
 * const { loss } = ofsdLoss({ teacher: sure, studentLogits_BMV: student, mask_BM }, options);
 * assertAlmostEquals((await loss.data())[0]!, Math.log(2), 1e-6);
 * ```
 */
export function ofsdLoss(
  inputs: OfsdInputs,
  options: OfsdOptions,
): { loss: tf.Scalar; metrics: Record<string, tf.Scalar> } {
  return tf.tidy(() => {
    const { teacher, mask_BM } = inputs;
    const { clipped_BM, raw_BM, flag_BM, variation_BM } = divergence(
      teacher,
      inputs.studentLogits_BMV,
      options,
    );
    const weight_BM = weightsOf(inputs, variation_BM, options.weighting);
    const tokens = tf.maximum(tf.sum(mask_BM), 1);
    const mean = (x_BM: tf.Tensor) => tf.div(tf.sum(tf.mul(x_BM, mask_BM)), tokens) as tf.Scalar;
    // Where nothing weighs anything (no gap at all) the loss is 0, not 0 / 0.
    const total = tf.maximum(tf.sum(weight_BM), 1e-20);
    return {
      loss: tf.div(tf.sum(tf.mul(weight_BM, clipped_BM)), total) as tf.Scalar,
      metrics: { "ofsd/kl": mean(raw_BM), "ofsd/clipped_fraction": mean(flag_BM) },
    };
  });
}

/**
 * How much every token counts in {@linkcode ofsdLoss} [B, M]: the mask, times the weights from the host, times what follows
 * from the distributions.
 *
 * @example
 * ```ts
 * import { teacherTargets, tokenWeights } from "@search-e1/kit";
 * import { assertAlmostEquals } from "@std/assert";
 * import * as tf from "@tensorflow/tfjs";
 *
 * await tf.setBackend("cpu");
 * const teacher = teacherTargets(tf.log(tf.tensor3d([[[0.9, 0.1], [0.5, 0.5]]])));
 * const studentLogits_BMV = tf.zeros<tf.Rank.R3>([1, 2, 2]);
 * const options = { direction: "forward", jsdBeta: 0.5, clip: "off", tau: 10, weighting: "gap" } as const;
 * const weights_BM = tokenWeights({ teacher, studentLogits_BMV, mask_BM: tf.ones([1, 2]) }, options);
 * const [apart, equal] = await weights_BM.data();
 * assertAlmostEquals(apart!, 0.4, 1e-6);
 * assertAlmostEquals(equal!, 0, 1e-6);
 * ```
 */
export function tokenWeights(inputs: OfsdInputs, options: OfsdOptions): tf.Tensor2D {
  return tf.tidy(() => {
    const { variation_BM } = divergence(inputs.teacher, inputs.studentLogits_BMV, options);
    return weightsOf(inputs, variation_BM, options.weighting).clone() as tf.Tensor2D;
  });
}

function weightsOf(
  { teacher, mask_BM, weights_BM }: OfsdInputs,
  variation_BM: tf.Tensor,
  weighting: OfsdOptions["weighting"],
): tf.Tensor {
  const weight_BM = weights_BM ? tf.mul(mask_BM, weights_BM) : mask_BM;
  if (weighting === "gap") return tf.mul(weight_BM, variation_BM);
  if (weighting !== "teacher-entropy") return weight_BM;
  const sureness_BM = tf.sub(1, tf.div(entropy(teacher.logp), Math.log(teacher.logp.shape[2])));
  return tf.mul(weight_BM, sureness_BM);
}

/** H = −Σ p log p over the last axis, in nats. */
function entropy(logp: tf.Tensor): tf.Tensor {
  return tf.neg(tf.sum(tf.mul(tf.exp(logp), logp), -1));
}

function logSoftmax(logits_BMV: tf.Tensor3D, temperature: number): tf.Tensor3D {
  return tf.logSoftmax(temperature === 1 ? logits_BMV : tf.div(logits_BMV, temperature)) as tf.Tensor3D;
}

/**
 * The weights of one trajectory's distilled tokens that the host knows: `position` falls linearly from 1 on the first token
 * to 1/n on the last, `return-gap` is the pair's return gap, at least that of one search. Other weightings give ones.
 *
 * @param count How many tokens of the trajectory are distilled.
 *
 * @example
 * ```ts
 * import { hostWeights } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(hostWeights("position", 4, 1), [1, 0.75, 0.5, 0.25]);
 * assertEquals(hostWeights("return-gap", 2, 0.2), [0.2, 0.2]);
 * ```
 */
export function hostWeights(weighting: OfsdOptions["weighting"], count: number, returnGap: number): number[] {
  return Array.from({ length: count }, (_, i) => {
    if (weighting === "position") return 1 - i / count;
    return weighting === "return-gap" ? Math.max(returnGap, 0.1) : 1;
  });
}
