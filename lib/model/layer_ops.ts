/**
 * The decoder's small operations with gradients written out: fewer passes over the activations than automatic
 * differentiation of their parts needs. Letters: N = B·T rows, D width, F inner width of the feed-forward block, V vocabulary.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import { fused, hasFusedKernels } from "../engine/fused_kernels.ts";

/**
 * RMSNorm (arXiv 1910.07467, eq. 4): x / sqrt(mean(x²) + ε) · w.
 *
 * @param x_ND Activations [N, D], float32.
 * @param weight_D The gain [D], float32.
 */
export function rmsNorm(x_ND: tf.Tensor, weight_D: tf.Tensor, epsilon: number): tf.Tensor2D {
  if (hasFusedKernels()) return fusedRmsNorm(x_ND, weight_D, epsilon);
  const norm = tf.customGrad((x, weight, save) => {
    const [x_ND, w_D, keep] = [x as tf.Tensor, weight as tf.Tensor, save as tf.GradSaveFunc];
    const inverse_N1 = tf.rsqrt(tf.add(tf.mean(tf.square(x_ND), -1, true), epsilon));
    const unit_ND = tf.mul(x_ND, inverse_N1);
    keep([unit_ND, inverse_N1, w_D]);
    const gradFunc = (dy_ND: tf.Tensor, saved: tf.Tensor[]) => {
      const [unit_ND, inverse_N1, w_D] = saved as [tf.Tensor, tf.Tensor, tf.Tensor];
      // u = x · i: dx = i · (g − u · mean(g · u)) with g = dy · w, and dw = Σ_N dy · u.
      const scaled_ND = tf.mul(dy_ND, unit_ND);
      const mean_N1 = tf.mean(tf.mul(scaled_ND, w_D), -1, true);
      const dx = tf.mul(tf.sub(tf.mul(dy_ND, w_D), tf.mul(unit_ND, mean_N1)), inverse_N1);
      return [dx, tf.sum(scaled_ND, 0)];
    };
    return { value: tf.mul(unit_ND, w_D), gradFunc };
  });
  return norm(x_ND, weight_D) as tf.Tensor2D;
}

function fusedRmsNorm(x_ND: tf.Tensor, weight_D: tf.Tensor, epsilon: number): tf.Tensor2D {
  const norm = tf.customGrad((x, weight, save) => {
    const inputs = [x as tf.Tensor, weight as tf.Tensor];
    (save as tf.GradSaveFunc)(inputs);
    return {
      value: fused("RmsNorm", inputs, { epsilon })[0]!,
      gradFunc: (dy_ND: tf.Tensor, saved: tf.Tensor[]) =>
        fused("RmsNormGrad", [dy_ND, ...saved], { epsilon }),
    };
  });
  return norm(x_ND, weight_D) as tf.Tensor2D;
}

/** Cosines and sines of a rotary embedding, the sines with the sign that `rotate` wants: [−sin, sin] over the two halves. */
export interface Rotation {
  /** Broadcast to [B, H, T, Dh], float32. */
  cos: tf.Tensor;
  sin: tf.Tensor;
}

/**
 * Rotary position embedding (arXiv 2104.09864, eq. 34) in the half-split order that Hugging Face checkpoints use:
 * element i is paired with element i + Dh/2.
 *
 * @param x_BHTD Queries or keys [B, H, T, Dh], float32.
 */
export function rotate(x_BHTD: tf.Tensor, { cos, sin }: Rotation): tf.Tensor {
  const swapHalves = (x: tf.Tensor) => tf.concat(tf.split(x, 2, -1).reverse(), -1);
  const rotated = tf.customGrad((x, save) => {
    const x_BHTD = x as tf.Tensor;
    (save as tf.GradSaveFunc)([cos, sin]);
    // A rotation's transpose turns the other way: the same tables with the sines' sign flipped.
    const gradFunc = (dy: tf.Tensor, saved: tf.Tensor[]) => {
      const [cos, sin] = saved as [tf.Tensor, tf.Tensor];
      return tf.sub(tf.mul(dy, cos), tf.mul(swapHalves(dy), sin));
    };
    return { value: tf.add(tf.mul(x_BHTD, cos), tf.mul(swapHalves(x_BHTD), sin)), gradFunc };
  });
  return rotated(x_BHTD);
}

/**
 * SwiGLU (arXiv 2002.05202, eq. 6): silu(gate) · up, silu(z) = z · sigmoid(z).
 *
 * @param gate_NF Gate projection [N, F], float32; `up_NF` likewise.
 * @returns [N, F].
 */
export function swiGlu(gate_NF: tf.Tensor, up_NF: tf.Tensor): tf.Tensor2D {
  const activation = tf.customGrad((gate, up, save) => {
    const [gate_NF, up_NF] = [gate as tf.Tensor, up as tf.Tensor];
    const sigmoid_NF = tf.sigmoid(gate_NF);
    const silu_NF = tf.mul(gate_NF, sigmoid_NF);
    (save as tf.GradSaveFunc)([up_NF, sigmoid_NF, silu_NF]);
    const gradFunc = (dy: tf.Tensor | tf.Tensor[], saved: tf.Tensor[]) => {
      const dy_NF = dy as tf.Tensor;
      const [up_NF, sigmoid_NF, silu_NF] = saved as [tf.Tensor, tf.Tensor, tf.Tensor];
      // silu′(z) = σ(z) + silu(z) · (1 − σ(z)).
      const slope_NF = tf.add(sigmoid_NF, tf.mul(silu_NF, tf.sub(1, sigmoid_NF)));
      return [tf.mul(tf.mul(dy_NF, up_NF), slope_NF), tf.mul(dy_NF, silu_NF)];
    };
    return { value: tf.mul(silu_NF, up_NF), gradFunc };
  });
  return activation(gate_NF, up_NF) as tf.Tensor2D;
}

/**
 * SwiGLU by a fused kernel.
 *
 * @param gateUp_N2F Rows gate[F], up[F], float32.
 * @returns [N, F].
 */
export function fusedSwiGlu(gateUp_N2F: tf.Tensor): tf.Tensor2D {
  const activation = tf.customGrad((gateUp, save) => {
    (save as tf.GradSaveFunc)([gateUp as tf.Tensor]);
    return {
      value: fused("SwiGlu", [gateUp as tf.Tensor])[0]!,
      gradFunc: (dy_NF: tf.Tensor, saved: tf.Tensor[]) => fused("SwiGluGrad", [dy_NF, ...saved])[0]!,
    };
  });
  return activation(gateUp_N2F) as tf.Tensor2D;
}

/**
 * Rows of a table; the gradient adds up what each row received.
 *
 * @param table_RD [R, D], float32.
 * @param index_N Row numbers [N], int32.
 * @returns [N, D].
 */
export function gatherRows(table_RD: tf.Tensor, index_N: tf.Tensor1D): tf.Tensor2D {
  const rows = table_RD.shape[0]!;
  const gather = tf.customGrad((table, save) => {
    (save as tf.GradSaveFunc)([index_N]);
    const gradFunc = (dy_ND: tf.Tensor, [index_N]: tf.Tensor[]) =>
      tf.unsortedSegmentSum(dy_ND, index_N as tf.Tensor1D, rows);
    return { value: tf.gather(table as tf.Tensor, index_N), gradFunc };
  });
  return gather(table_RD) as tf.Tensor2D;
}

/**
 * x Wᵀ (+ b).
 *
 * @param x_NI [N, in], float32.
 * @param weight_OI [out, in], as Hugging Face stores it.
 * @param bias_O [out].
 */
export function linear(x_NI: tf.Tensor, weight_OI: tf.Tensor, bias_O?: tf.Tensor): tf.Tensor2D {
  if (bias_O && hasFusedKernels()) return fusedLinear(x_NI, weight_OI, bias_O);
  const y_NO = tf.matMul(x_NI, weight_OI, false, true);
  return (bias_O ? tf.add(y_NO, bias_O) : y_NO) as tf.Tensor2D;
}

function fusedLinear(x_NI: tf.Tensor, weight_OI: tf.Tensor, bias_O: tf.Tensor): tf.Tensor2D {
  const apply = tf.customGrad((x, weight, bias, save) => {
    const [x_NI, weight_OI] = [x as unknown as tf.Tensor2D, weight as tf.Tensor2D];
    (save as tf.GradSaveFunc)([x_NI, weight_OI]);
    const value = fused("Linear", [x_NI, weight_OI, bias as tf.Tensor], {
      transpose_a: false,
      transpose_b: true,
    })[0]!;
    const gradFunc = (dy: tf.Tensor, saved: tf.Tensor[]) => {
      const [x_NI, weight_OI] = saved as [tf.Tensor2D, tf.Tensor2D];
      const dy_NO = dy as tf.Tensor2D;
      return [
        tf.matMul(dy_NO, weight_OI),
        tf.matMul(dy_NO, x_NI, true, false),
        fused("ColumnSums", [dy_NO])[0]!,
      ];
    };
    return { value, gradFunc };
  });
  return apply(x_NI, weight_OI, bias_O) as tf.Tensor2D;
}
