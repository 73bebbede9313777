/** What tests of tensor code share: the engines of this machine, and gradients and leaks of a loss. */
import { assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { InputError } from "../lib/base/input_error.ts";
import { type Engine, type EngineName, openEngine } from "../lib/engine/open_engine.ts";

/** Runs `body` on every engine of the list that opens here; says which do not, and why. */
export async function onEngines(
  body: (engine: Engine) => Promise<void>,
  names: EngineName[] = ["cpu", "wasm", "tensorflow"],
) {
  for (const name of names) {
    let engine: Engine;
    try {
      engine = await openEngine({ engine: name, threads: 1 });
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      console.log(`skipped ${name}: ${error.message}`);
      continue;
    }
    try {
      await body(engine);
    } finally {
      engine.close();
    }
  }
}

/** A loss with metrics, as a function of the tensors that its gradient is taken with respect to. */
export type LossOf = (...inputs: tf.Tensor[]) => { loss: tf.Scalar; metrics: Record<string, tf.Scalar> };

/** Loss, metrics and gradients of a loss, on the host. */
export interface Evaluated {
  loss: number;
  metrics: Record<string, number>;
  gradients: number[][];
}

/** A step [loss, gradients…, metrics…] and the metrics' names, which are known after its first run. */
export function lossStep(
  of: LossOf,
  wrt: number,
): { step: (...inputs: tf.Tensor[]) => tf.Tensor[]; names: string[] } {
  const names: string[] = [];
  const step = (...inputs: tf.Tensor[]) => {
    let metrics: tf.Tensor[] = [];
    const { value, grads } = tf.valueAndGrads((...parameters: tf.Tensor[]) => {
      const out = of(...parameters, ...inputs.slice(wrt));
      names.splice(0, names.length, ...Object.keys(out.metrics));
      metrics = Object.values(out.metrics).map((metric) => tf.keep(metric));
      return out.loss;
    })(inputs.slice(0, wrt));
    return [value, ...grads, ...metrics];
  };
  return { step, names };
}

/** Evaluates a loss through the engine, compiled or not, and asserts that nothing stays behind. */
export async function evaluateLoss(
  of: LossOf,
  inputs: tf.Tensor[],
  { wrt = 1, engine }: { wrt?: number; engine?: Engine } = {},
): Promise<Evaluated> {
  const { step, names } = lossStep(of, wrt);
  const run = engine ? engine.compile("loss", step) : step;
  const before = tf.memory().numTensors;
  const outputs = run(...inputs);
  const values = await Promise.all(outputs.map(async (output) => [...await output.data()]));
  tf.dispose(outputs);
  if (!engine) assertEquals(tf.memory().numTensors, before, "a tensor was left behind");
  else (run as ReturnType<Engine["compile"]>).dispose();
  return {
    loss: values[0]![0]!,
    gradients: values.slice(1, 1 + wrt),
    metrics: Object.fromEntries(names.map((name, i) => [name, values[1 + wrt + i]![0]!])),
  };
}
