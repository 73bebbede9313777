import * as tf from "@tensorflow/tfjs";

/**
 * Cross-entropy of the tokens that the mask asks for: −Σ m·logp / Σ m, a scalar in nats a token.
 *
 * @param logp_BM Log-probs [B, M] of the demonstrations' tokens, float32.
 * @param mask_BM 1 for a token that counts, float32.
 *
 * @example
 * ```ts
 * import { sftLoss } from "@search-e1/kit";
 * import { assertAlmostEquals } from "@std/assert";
 * import * as tf from "@tensorflow/tfjs";
 *
 * await tf.setBackend("cpu");
 * const [logp, mask] = [tf.tensor2d([[-1, -2, -9]]), tf.tensor2d([[1, 1, 0]])];
 * const loss = sftLoss(logp, mask);
 * assertAlmostEquals((await loss.data())[0]!, 1.5);
 * tf.dispose([logp, mask, loss]);
 * ```
 */
export function sftLoss(logp_BM: tf.Tensor2D, mask_BM: tf.Tensor2D): tf.Scalar {
  return tf.tidy(() => tf.neg(tf.div(tf.sum(tf.mul(logp_BM, mask_BM)), tf.maximum(tf.sum(mask_BM), 1))));
}
