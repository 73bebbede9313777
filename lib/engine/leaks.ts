/**
 * A test aid: native memory is invisible to JavaScript's garbage collector, so tensors are counted.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";

/**
 * Runs `body`, asserts that it leaves as many tensors behind as it found, and returns what it returns.
 *
 * @throws if the number of tensors changed.
 *
 * @example
 * ```ts
 * import { assertNoLeak } from "@search-e1/kit";
 * import { assertRejects } from "@std/assert";
 * import * as tf from "@tensorflow/tfjs";
 *
 * await assertNoLeak(() => tf.dispose(tf.zeros([2])));
 * let kept: tf.Tensor | undefined;
 * await assertRejects(() => assertNoLeak(() => void (kept = tf.zeros([2]))), Error, "tensors to be left");
 * tf.dispose(kept!);
 * ```
 */
export async function assertNoLeak<T>(body: () => T | Promise<T>): Promise<T> {
  const before = tf.memory().numTensors;
  const result = await body();
  const after = tf.memory().numTensors;
  if (after !== before) throw new Error(`Expected ${before} tensors to be left, and there are ${after}`);
  return result;
}
