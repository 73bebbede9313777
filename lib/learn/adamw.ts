/**
 * AdamW (arXiv 1711.05101, algorithm 2) as `torch.optim.AdamW` computes it, after clipping by the global norm as
 * `torch.nn.utils.clip_grad_norm_` does. A pure function of tensors: it may be traced.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import { fused, hasFusedKernels } from "../engine/fused_kernels.ts";

/** AdamW's settings. */
export interface AdamwOptions {
  /** Decoupled decay λ of every parameter; 0 when left out. */
  weightDecay?: number;
  /** Decay rates of the two moments; [.9, .999] when left out. */
  betas?: readonly [number, number];
  /** Added to the root of the second moment; 1e-8 when left out. */
  epsilon?: number;
  /** Gradients are scaled down to this global norm; 0, the default, is no limit. */
  maxGradNorm?: number;
}

/** What changes from step to step, as float32 scalars, so that a traced step stays the same. */
export interface AdamwScalars {
  learningRate: tf.Scalar;
  /** The number of this step, from 1. */
  step: tf.Scalar;
}

/** New values, in the order of the arguments; the caller owns them. */
export interface AdamwResult {
  params: tf.Tensor[];
  m: tf.Tensor[];
  v: tf.Tensor[];
  /** Global norm of the gradients before clipping. */
  gradNorm: tf.Scalar;
}

/**
 * One AdamW step. Nothing is changed in place.
 *
 * @param params Parameters, any shapes, float32; `grads`, `m` and `v` are in the same order and of the same shapes.
 *
 * @example
 * ```ts
 * import { adamwStep } from "@search-e1/kit";
 * import { assertAlmostEquals } from "@std/assert";
 * import * as tf from "@tensorflow/tfjs";
 *
 * const zero = tf.zeros([1]);
 * const scalars = { learningRate: tf.scalar(0.1), step: tf.scalar(1) };
 * const { params } = adamwStep([tf.tensor([1])], [tf.tensor([3])], [zero], [zero], scalars);
 * assertAlmostEquals((await params[0]!.data())[0]!, 0.9, 1e-6);
 * ```
 */
export function adamwStep(
  params: readonly tf.Tensor[],
  grads: readonly tf.Tensor[],
  m: readonly tf.Tensor[],
  v: readonly tf.Tensor[],
  scalars: AdamwScalars,
  options: AdamwOptions = {},
): AdamwResult {
  return tf.tidy(() => {
    const gradNorm = globalNorm(grads);
    const figures_7 = adamwFigures(gradNorm, scalars, options);
    const out: AdamwResult = { params: [], m: [], v: [], gradNorm };
    params.forEach((parameter, i) => {
      // A scope of its own: what is passed through for one parameter is freed before the next.
      const [next, first, second] = tf.tidy(() =>
        adamwParameter([parameter, grads[i]!, m[i]!, v[i]!, figures_7], options)
      );
      out.params.push(next!);
      out.m.push(first!);
      out.v.push(second!);
    });
    return out as AdamwResult & tf.TensorContainerObject;
  });
}

/** What a step has for all parameters, [7]: the gradient's factor, β₁, β₂, √(1 / (1 − β₂ᵗ)), ε, the rate by 1 − β₁ᵗ, 1 − rate · λ. */
export function adamwFigures(
  gradNorm: tf.Scalar,
  { learningRate, step }: AdamwScalars,
  { weightDecay = 0, betas: [beta1, beta2] = defaultBetas, epsilon = 1e-8, maxGradNorm = 0 }: AdamwOptions,
): tf.Tensor1D {
  return tf.tidy(() => {
    const clip = maxGradNorm > 0 ? tf.minimum(tf.div(maxGradNorm, tf.add(gradNorm, 1e-6)), 1) : 1;
    // 1 − βᵗ = −expm1(t · ln β), which keeps its digits in float32.
    const correction1 = tf.neg(tf.expm1(tf.mul(step, Math.log(beta1))));
    const correction2 = tf.neg(tf.expm1(tf.mul(step, Math.log(beta2))));
    const keep = tf.sub(1, tf.mul(learningRate, weightDecay));
    const figures = [
      clip,
      beta1,
      beta2,
      tf.rsqrt(correction2),
      epsilon,
      tf.div(learningRate, correction1),
      keep,
    ];
    return tf.stack(figures as tf.Scalar[]) as tf.Tensor1D;
  });
}

const defaultBetas = [0.9, 0.999] as const;

/** One parameter's new value and moments, of its value, gradient, moments and the step's figures. */
export function adamwParameter(
  [parameter, gradient, m, v, figures_7]: readonly [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor],
  { weightDecay = 0, betas: [beta1, beta2] = defaultBetas, epsilon = 1e-8, maxGradNorm = 0 }: AdamwOptions,
): tf.Tensor[] {
  if (hasFusedKernels()) return fused("AdamW", [parameter, gradient, m, v, figures_7]);
  const [clip, , , inverseRoot, , stepSize, keep] = tf.unstack(figures_7) as tf.Scalar[];
  const clipped = maxGradNorm > 0 ? tf.mul(gradient, clip!) : gradient;
  const first = tf.add(tf.mul(m, beta1), tf.mul(clipped, 1 - beta1));
  const second = tf.add(tf.mul(v, beta2), tf.mul(tf.square(clipped), 1 - beta2));
  const denominator = tf.add(tf.mul(tf.sqrt(second), inverseRoot!), epsilon);
  const decayed = weightDecay === 0 ? parameter : tf.mul(parameter, keep!);
  return [tf.sub(decayed, tf.mul(tf.div(first, denominator), stepSize!)), first, second];
}

/**
 * The square root of the sum of all squares, a scalar.
 *
 * @example
 * ```ts
 * import { globalNorm } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 * import * as tf from "@tensorflow/tfjs";
 *
 * const norm = globalNorm([tf.tensor([3]), tf.tensor([4])]);
 * assertEquals((await norm.data())[0], 5);
 * ```
 */
export function globalNorm(tensors: readonly tf.Tensor[]): tf.Scalar {
  // Stacked, since the WebGPU kernel of tfjs 4.22 that adds many tensors at once fails, silently, for more than seven.
  return tf.tidy(() =>
    tf.sqrt(tf.sum(tf.stack(tensors.map((tensor) => tf.sum(tf.square(tensor))))))
  ) as tf.Scalar;
}
