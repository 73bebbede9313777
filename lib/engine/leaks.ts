/**
 * A test aid: native memory is invisible to JavaScript's garbage collector, so tensors are counted.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";

/**
 * Runs `body` and asserts that it leaves as many tensors behind as it found.
 *
 * @throws if the number of tensors changed.
 */
export async function assertNoLeak(body: () => void | Promise<void>): Promise<void> {
  const before = tf.memory().numTensors;
  await body();
  const after = tf.memory().numTensors;
  if (after !== before) throw new Error(`Expected ${before} tensors to be left, and there are ${after}`);
}
