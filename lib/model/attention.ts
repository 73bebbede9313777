/**
 * Causal self-attention for scoring and training. Queries go in blocks, each against no more keys than it may see, so that
 * nearly half of the scores are never computed; and the gradient is written out, which passes over the scores fewer times
 * than automatic differentiation does.
 *
 * Letters as in decoder.ts; N = B·K pairs of a row and a key-value head.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import { fused } from "../engine/fused_kernels.ts";

/**
 * How a block attends: queries [B, K, G·T, Dh] (already scaled; row g·T + t is query t of head g of the group), new keys
 * and values [B, K, T, Dh] → [B, K, G·T, Dh].
 */
export type Attention = (q_BKGD: tf.Tensor, k_BKTD: tf.Tensor, v_BKTD: tf.Tensor) => tf.Tensor;

/** Queries of a block. */
const blockLength = 128;

/**
 * Attention of T tokens to themselves and those before them in their row.
 *
 * @param causal_TT What is added to the scores: 0 where column ≤ row, else −1e9.
 */
export function causalAttention(causal_TT: tf.Tensor2D): Attention {
  const T = causal_TT.shape[0];
  const blocks = Array.from({ length: Math.ceil(T / blockLength) }, (_, i) => ({
    start: i * blockLength,
    end: Math.min(T, (i + 1) * blockLength),
  }));
  return (q_BKGD, k_BKTD, v_BKTD) => {
    const [B, K, GT, Dh] = q_BKGD.shape as [number, number, number, number];
    const [N, G] = [B * K, GT / T];
    /** Rows of a block: [N, G·b, Dh]. */
    const rowsOf = (x_NGTD: tf.Tensor, { start, end }: { start: number; end: number }) =>
      tf.reshape(slice(x_NGTD, 2, start, end), [N, G * (end - start), Dh]);
    /** Blocks side by side again: [N, G, T, Dh]. */
    const together = (parts_NRD: tf.Tensor[]) =>
      tf.concat(
        parts_NRD.map((part, i) => tf.reshape(part, [N, G, blocks[i]!.end - blocks[i]!.start, Dh])),
        2,
      );
    const attend = tf.customGrad((q, k, v, save) => {
      const [q_NGTD, k_NTD, v_NTD] = [q, k, v] as tf.Tensor[] as [tf.Tensor, tf.Tensor, tf.Tensor];
      const probabilities = blocks.map((block) => {
        const { start, end } = block;
        const scores_NRC = tf.matMul(rowsOf(q_NGTD, block), slice(k_NTD, 1, 0, end), false, true);
        const mask_bC = slice(slice(causal_TT, 0, start, end), 1, 0, end);
        const scores = tf.add(tf.reshape(scores_NRC, [N * G, end - start, end]), mask_bC);
        return tf.reshape(tf.softmax(scores), [N, G * (end - start), end]);
      });
      const out_NGTD = together(
        probabilities.map((p_NRC, i) => tf.matMul(p_NRC, slice(v_NTD, 1, 0, blocks[i]!.end))),
      );
      (save as tf.GradSaveFunc)([q_NGTD, k_NTD, v_NTD, out_NGTD, ...probabilities]);
      const gradFunc = (dout: tf.Tensor | tf.Tensor[], saved: tf.Tensor[]) => {
        const dout_NGTD = dout as tf.Tensor;
        const [q_NGTD, k_NTD, v_NTD, out_NGTD, ...probabilities] = saved as [
          tf.Tensor,
          tf.Tensor,
          tf.Tensor,
          tf.Tensor,
          ...tf.Tensor[],
        ];
        // dS = P · (dP − Σ_c P·dP), and Σ_c P·dP = Σ_d dO·O (FlashAttention, arXiv 2205.14135, appendix B.2).
        const shift_NGT1 = tf.sum(tf.mul(dout_NGTD, out_NGTD), -1, true);
        const [dq, dk, dv]: [tf.Tensor[], tf.Tensor[], tf.Tensor[]] = [[], [], []];
        probabilities.forEach((p_NRC, i) => {
          const block = blocks[i]!;
          const { start, end } = block;
          const dout_NRD = rowsOf(dout_NGTD, block);
          const dp_NRC = tf.matMul(dout_NRD, slice(v_NTD, 1, 0, end), false, true);
          const shift_NR1 = tf.reshape(slice(shift_NGT1, 2, start, end), [N, G * (end - start), 1]);
          const ds_NRC = tf.mul(p_NRC, tf.sub(dp_NRC, shift_NR1));
          dq.push(tf.matMul(ds_NRC, slice(k_NTD, 1, 0, end)));
          dk.push(tf.matMul(ds_NRC, rowsOf(q_NGTD, block), true, false));
          dv.push(tf.matMul(p_NRC, dout_NRD, true, false));
        });
        return [together(dq), sumFromStart(dk), sumFromStart(dv)];
      };
      return { value: out_NGTD, gradFunc };
    });
    const out = attend(
      tf.reshape(q_BKGD, [N, G, T, Dh]),
      tf.reshape(k_BKTD, [N, T, Dh]),
      tf.reshape(v_BKTD, [N, T, Dh]),
    );
    return tf.reshape(out, [B, K, GT, Dh]);
  };
}

/**
 * Causal attention by a fused kernel, with the rotation of queries and keys before it.
 *
 * @param qkv_NW What the projections gave, N = B·T rows of q[H·Dh] (already scaled), k[K·Dh], v[K·Dh].
 * @param cos_TR Cosines [T, Dh / 2]; `sin_TR` likewise.
 * @param tokens_BT Token ids, int32, to tell where sequences begin: at a row's first, and at any below 0.
 * @returns [N, H·Dh].
 */
export function fusedAttention(
  qkv_NW: tf.Tensor,
  [cos_TR, sin_TR]: readonly [tf.Tensor, tf.Tensor],
  tokens_BT: tf.Tensor,
  [heads, kv_heads]: readonly [number, number],
): tf.Tensor2D {
  const attributes = { heads, kv_heads };
  const attend = tf.customGrad((qkv, save) => {
    const qkv_NW = qkv as tf.Tensor;
    const [out_ND, logSums_NH] = fused("Attention", [qkv_NW, cos_TR, sin_TR, tokens_BT], attributes) as [
      tf.Tensor,
      tf.Tensor,
    ];
    (save as tf.GradSaveFunc)([out_ND, logSums_NH, qkv_NW, cos_TR, sin_TR, tokens_BT]);
    const gradFunc = (dout_ND: tf.Tensor, saved: tf.Tensor[]) =>
      fused("AttentionGrad", [dout_ND, ...saved], attributes)[0]!;
    return { value: out_ND, gradFunc };
  });
  return attend(qkv_NW) as tf.Tensor2D;
}

/** The sum of tensors [N, 1…T, Dh] that begin at the same position, each longer than the one before. */
function sumFromStart(parts_NCD: readonly tf.Tensor[]): tf.Tensor {
  return parts_NCD.reduce((sum, part) =>
    tf.add(tf.pad(sum as tf.Tensor3D, [[0, 0], [0, part.shape[1]! - sum.shape[1]!], [0, 0]]), part)
  );
}

/** Entries start … end − 1 of an axis. */
function slice(x: tf.Tensor, axis: number, start: number, end: number): tf.Tensor {
  if (start === 0 && end === x.shape[axis]) return x;
  const begin = x.shape.map((_, a) => a === axis ? start : 0);
  const size = x.shape.map((length, a) => a === axis ? end - start : length);
  return tf.slice(x, begin, size);
}

/** 0 where column ≤ row, else −1e9: [T, T], float32. */
export function causalMask(T: number): tf.Tensor2D {
  return tf.tidy(() => {
    const index_T = tf.range(0, T, 1, "float32");
    const later_TT = tf.greater(tf.reshape(index_T, [1, T]), tf.reshape(index_T, [T, 1]));
    return tf.mul(tf.cast(later_TT, "float32"), -1e9) as tf.Tensor2D;
  });
}
