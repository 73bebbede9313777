/**
 * A small training step with all that a real one has, for tests of compiled steps.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import { randomStream } from "../base/random.ts";
import type { CompileOptions, Engine, Step } from "./engine.ts";

function normal(key: string, ...shape: number[]): tf.Tensor {
  const random = randomStream("traced_function_test", key, ...shape);
  return tf.tensor(
    Float32Array.from({ length: tf.util.sizeFromShape(shape) }, () => 2 * random() - 1),
    shape,
  );
}

/**
 * One AdamW step (Loshchilov & Hutter, arXiv 1711.05101, Algorithm 2) on a two-layer perceptron with a softmax loss:
 * inputs lr, step, x_BD, labels_B, then parameters, first and second moments; outputs the loss, then the new ones.
 */
export const perceptronStep: Step = (...inputs) => {
  const [lr, count, x_BD, labels_B] = inputs as [tf.Scalar, tf.Scalar, tf.Tensor2D, tf.Tensor1D];
  const state = inputs.slice(4);
  const [w, m, v] = [state.slice(0, 4), state.slice(4, 8), state.slice(8, 12)];
  const { value, grads } = tf.valueAndGrads((...parameters: tf.Tensor[]) => {
    const [w1, b1, w2, b2] = parameters as [tf.Tensor2D, tf.Tensor1D, tf.Tensor2D, tf.Tensor1D];
    const hidden = tf.relu(tf.add(tf.matMul(x_BD, w1), b1));
    const logits = tf.add(tf.matMul(hidden as tf.Tensor2D, w2), b2);
    const targets = tf.oneHot(labels_B, logits.shape.at(-1)!);
    return tf.neg(tf.mean(tf.sum(tf.mul(tf.logSoftmax(logits), targets), -1))) as tf.Scalar;
  })(w);
  const m1 = m.map((m, i) => tf.add(tf.mul(m, 0.9), tf.mul(grads[i]!, 0.1)));
  const v1 = v.map((v, i) => tf.add(tf.mul(v, 0.999), tf.mul(tf.square(grads[i]!), 0.001)));
  const w1 = w.map((w, i) => {
    const mHat = tf.div(m1[i]!, tf.sub(1, tf.pow(0.9, count)));
    const vHat = tf.div(v1[i]!, tf.sub(1, tf.pow(0.999, count)));
    return tf.sub(w, tf.mul(lr, tf.add(tf.div(mHat, tf.add(tf.sqrt(vHat), 1e-8)), tf.mul(w, 0.01))));
  });
  return [value, ...w1, ...m1, ...v1];
};

/** Inputs of a first step on `rows` rows, at the given step count. */
export function perceptronInputs(rows: number, step: number): tf.Tensor[] {
  const shapes = [[6, 16], [16], [16, 3], [3]];
  const labels = tf.tensor1d(Array.from({ length: rows }, (_, i) => i % 3), "int32");
  const zeros = () => shapes.map((shape) => tf.zeros(shape));
  return [
    tf.scalar(0.01),
    tf.scalar(step),
    normal("x", rows, 6),
    labels,
    ...shapes.map((shape, i) => normal(`w${i}`, ...shape)),
    ...zeros(),
    ...zeros(),
  ];
}

/** The largest difference between the compiled step's state and the eager one's after ten steps of each. */
export async function tracedMinusEager(engine: Engine, options: CompileOptions): Promise<number> {
  const compiled = engine.compile("perceptron", perceptronStep, options);
  const [traced, eager] = [perceptronInputs(8, 1), perceptronInputs(8, 1)];
  try {
    for (let step = 1; step <= 10; step++) {
      for (const state of [traced, eager]) {
        state.splice(1, 1, tf.scalar(step))[0]!.dispose();
        const out = state === traced ? compiled(...state) : tf.tidy(() => perceptronStep(...state));
        tf.dispose(state.splice(4));
        state.push(...out.slice(1));
        out[0]!.dispose();
      }
    }
    const largest = tf.tidy(() => {
      const differences = traced.map((x, i) => tf.max(tf.abs(tf.cast(tf.sub(x, eager[i]!), "float32"))));
      return tf.max(tf.stack(differences));
    });
    const [difference] = await largest.data();
    largest.dispose();
    return difference!;
  } finally {
    tf.dispose([traced, eager]);
  }
}
