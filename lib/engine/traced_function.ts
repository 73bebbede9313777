import * as tf from "@tensorflow/tfjs";
import type { CompiledStep, Step } from "./engine.ts";

/**
 * A step that runs as it stands, for engines that compile nothing: its intermediate tensors are freed, and an output
 * that is an input, or that comes twice, becomes a tensor of its own.
 */
export function plainStep(name: string, step: Step): CompiledStep {
  const run = (...inputs: tf.Tensor[]): tf.Tensor[] =>
    tf.tidy(() => {
      const seen = new Set<tf.Tensor>(inputs);
      return step(...inputs).map((output) => {
        if (seen.has(output)) return tf.clone(output);
        seen.add(output);
        return output;
      });
    });
  void name;
  return Object.assign(run, { cacheSize: 0, dispose: () => {} });
}
