/**
 * Divergences between a teacher and the student's logits with their gradients written out, so that only the student's
 * logits and the teacher's log-probs are kept for the way back.
 *
 * Each divergence is a sum over entries v of f(p_v, q_v). With q = softmax(l) and w_v = q_v · ∂f/∂q_v,
 *
 *     ∂ Σ_v f / ∂l_j = w_j − q_j Σ_v w_v
 *
 * and an entry that a clip holds at tau has w_v = 0. Where the teacher is K entries and a tail, the student's tail is one
 * entry too, and its w is shared among the tail's tokens in proportion to their q.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import type { OfsdOptions, TeacherTargets } from "./ofsd.ts";

/** Divergences [B, M] in nats; only the first has a gradient. */
export interface Divergence {
  clipped_BM: tf.Tensor;
  raw_BM: tf.Tensor;
  /** 1 where the clip changed the token. */
  flag_BM: tf.Tensor;
  /** Total variation ½ Σ |p − q|. */
  variation_BM: tf.Tensor;
}

type Options = Pick<OfsdOptions, "direction" | "jsdBeta" | "clip" | "tau">;

/**
 * The divergence of every token, differentiable with respect to the student's logits.
 *
 * @param studentLogits_BMV [B, M, V], float32.
 */
export function divergence(
  teacher: TeacherTargets,
  studentLogits_BMV: tf.Tensor3D,
  options: Options,
): Divergence {
  const compute = tf.customGrad((logits, save) => {
    const value = tf.tidy(() => {
      const { logq } = keptEntries(tf.logSoftmax(logits as tf.Tensor3D), teacher.ids_BMK);
      const entries = entriesOf(teacher.logp, logq, options);
      const raw_BM = tf.sum(entries, -1);
      const token_BM = options.clip === "token" ? tf.minimum(raw_BM, options.tau) : raw_BM;
      const clipped_BM = options.clip === "entry" ? tf.sum(tf.minimum(entries, options.tau), -1) : token_BM;
      const flag_BM = tf.cast(tf.notEqual(clipped_BM, raw_BM), "float32");
      const variation_BM = tf.mul(0.5, tf.sum(tf.abs(tf.sub(tf.exp(teacher.logp), tf.exp(logq))), -1));
      return tf.stack([clipped_BM, raw_BM, flag_BM, variation_BM]);
    });
    (save as tf.GradSaveFunc)([
      logits as tf.Tensor,
      teacher.logp,
      value,
      ...(teacher.ids_BMK ? [teacher.ids_BMK] : []),
    ]);
    const gradFunc = (dy: tf.Tensor, [logits, logp, value, ids]: tf.Tensor[]) =>
      tf.tidy(() => {
        const channel_BM1 = (x: tf.Tensor, at: number) =>
          tf.expandDims(tf.squeeze(tf.slice(x, at, 1), [0]), -1);
        const gradient = logitGradient(logits as tf.Tensor3D, logp!, ids as tf.Tensor3D | undefined, options);
        const scale_BM1 = channel_BM1(dy, 0);
        if (options.clip !== "token") return tf.mul(gradient, scale_BM1);
        const free_BM1 = tf.cast(tf.lessEqual(channel_BM1(value!, 1), options.tau), "float32");
        return tf.mul(gradient, tf.mul(scale_BM1, free_BM1));
      });
    return { value, gradFunc };
  });
  const [clipped_BM, raw_BM, flag_BM, variation_BM] = tf.unstack(compute(studentLogits_BMV)) as [
    tf.Tensor,
    tf.Tensor,
    tf.Tensor,
    tf.Tensor,
  ];
  return { clipped_BM, raw_BM, flag_BM, variation_BM };
}

/** f of every entry. */
function entriesOf(logp: tf.Tensor, logq: tf.Tensor, { direction, jsdBeta }: Options): tf.Tensor {
  if (direction === "forward") return tf.mul(tf.exp(logp), tf.sub(logp, logq)); // p (log p − log q)
  if (direction === "reverse") return tf.mul(tf.exp(logq), tf.sub(logq, logp)); // q (log q − log p)
  // β p (log p − log m) + (1 − β) q (log q − log m), m = β p + (1 − β) q (arXiv 2306.13649, eq. 1)
  const logm = logMixture(logp, logq, jsdBeta);
  const ofTeacher = tf.mul(tf.mul(jsdBeta, tf.exp(logp)), tf.sub(logp, logm));
  return tf.add(ofTeacher, tf.mul(tf.mul(1 - jsdBeta, tf.exp(logq)), tf.sub(logq, logm)));
}

/** w = q · ∂f/∂q of every entry. */
function slopesOf(logp: tf.Tensor, logq: tf.Tensor, { direction, jsdBeta }: Options): tf.Tensor {
  if (direction === "forward") return tf.neg(tf.exp(logp));
  if (direction === "reverse") return tf.mul(tf.exp(logq), tf.add(tf.sub(logq, logp), 1));
  return tf.mul(tf.mul(1 - jsdBeta, tf.exp(logq)), tf.sub(logq, logMixture(logp, logq, jsdBeta)));
}

/** log(β p + (1 − β) q), from the larger of the two so that nothing underflows; exactly log p where p = q. */
function logMixture(logp: tf.Tensor, logq: tf.Tensor, beta: number): tf.Tensor {
  const top = tf.maximum(logp, logq);
  const ofTeacher = tf.mul(beta, tf.exp(tf.sub(logp, top)));
  return tf.add(top, tf.log(tf.add(ofTeacher, tf.mul(1 - beta, tf.exp(tf.sub(logq, top))))));
}

/** Log-probs in the teacher's entries, and what else the gradient needs. */
export interface KeptEntries {
  /** [B, M, V], or [B, M, K + 1] with the tail last. */
  logq: tf.Tensor3D;
  /** With a tail: the probabilities [B, M, V] of the tail's tokens, 0 elsewhere, and their sum [B, M, 1]. */
  tail?: { q_BMV: tf.Tensor; sum_BM1: tf.Tensor };
}

/** A tail's probability is at least this, so that its logarithm is finite. */
const smallestTail = 1e-30;

/**
 * Picks the kept ids out of log-probs over the vocabulary and sums up the rest as the tail.
 *
 * @param ids_BMK The kept ids; the whole vocabulary when left out.
 */
export function keptEntries(logq_BMV: tf.Tensor3D, ids_BMK: tf.Tensor3D | undefined): KeptEntries {
  if (!ids_BMK) return { logq: logq_BMV };
  const [B, M, K] = ids_BMK.shape;
  const V = logq_BMV.shape[2];
  const at = entryIndices(ids_BMK);
  const logq_BMK = tf.reshape(tf.gatherND(tf.reshape(logq_BMV, [B * M, V]), at), [B, M, K]);
  const kept_BMV = tf.reshape(tf.scatterND(at, tf.ones([B * M * K]), [B * M, V]), [B, M, V]);
  const q_BMV = tf.mul(tf.exp(logq_BMV), tf.sub(1, kept_BMV));
  const sum_BM1 = tf.maximum(tf.sum(q_BMV, -1, true), smallestTail);
  return { logq: tf.concat([logq_BMK, tf.log(sum_BM1)], -1) as tf.Tensor3D, tail: { q_BMV, sum_BM1 } };
}

/** ∂ Σ f / ∂ logits [B, M, V]. */
function logitGradient(
  logits_BMV: tf.Tensor3D,
  logp: tf.Tensor,
  ids_BMK: tf.Tensor3D | undefined,
  options: Options,
): tf.Tensor {
  const logq_BMV = tf.logSoftmax(logits_BMV);
  const { logq, tail } = keptEntries(logq_BMV, ids_BMK);
  let slopes = slopesOf(logp, logq, options);
  if (options.clip === "entry") {
    const free = tf.lessEqual(entriesOf(logp, logq, options), options.tau);
    slopes = tf.mul(slopes, tf.cast(free, "float32"));
  }
  // Unclipped forward KL: Σ w = −Σ p = −1, so the gradient is q − p, exactly 0 where they are equal.
  const isPlainForward = options.direction === "forward" && options.clip !== "entry";
  const sum_BM1 = isPlainForward ? tf.scalar(-1) : tf.sum(slopes, -1, true);
  const common_BMV = tf.mul(tf.exp(logq_BMV), sum_BM1);
  if (!ids_BMK || !tail) return tf.sub(slopes, common_BMV);
  const [B, M, K] = ids_BMK.shape;
  const V = logits_BMV.shape[2];
  const slopes_BMK = tf.slice(slopes, [0, 0, 0], [B, M, K]);
  const kept = tf.scatterND(entryIndices(ids_BMK), tf.reshape(slopes_BMK, [B * M * K]), [B * M, V]);
  const tail_BMV = tf.mul(tail.q_BMV, tf.div(tf.slice(slopes, [0, 0, K], [B, M, 1]), tail.sum_BM1));
  return tf.sub(tf.add(tf.reshape(kept, [B, M, V]), tail_BMV), common_BMV);
}

/** Row and column of every kept entry in [B·M, V]: [B·M·K, 2], int32. */
function entryIndices(ids_BMK: tf.Tensor3D): tf.Tensor2D {
  const [B, M, K] = ids_BMK.shape;
  const rows = tf.mul(tf.reshape(tf.range(0, B * M, 1, "int32"), [B * M, 1]), tf.ones([1, K], "int32"));
  return tf.stack([tf.reshape(rows, [B * M * K]), tf.reshape(ids_BMK, [B * M * K])], 1) as tf.Tensor2D;
}
