/**
 * The seam between the kit and its tensors: an engine has a name, says in one line what it runs on, and compiles pure
 * training steps.
 *
 * @module
 */
import type * as tf from "@tensorflow/tfjs";

/**
 * The engines, fastest first: libtensorflow, WebGPU, WebAssembly, plain JavaScript.
 *
 * @example
 * ```ts
 * import { engineNames } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(engineNames.at(-1), "cpu"); // it always opens
 * ```
 */
export const engineNames = ["tensorflow", "webgpu", "wasm", "cpu"] as const;

/** The name of an engine. */
export type EngineName = typeof engineNames[number];

/**
 * A pure function of its input tensors: weights, optimiser state, batch and learning rate are inputs, every new value
 * is an output, no `tf.Variable`, random draw or read-back happens inside, and no shape depends on values.
 */
export type Step = (...inputs: tf.Tensor[]) => tf.Tensor[];

/** A step ready to be called many times: inputs stay the caller's, outputs become the caller's. */
export interface CompiledStep {
  (...inputs: tf.Tensor[]): tf.Tensor[];
  /** How many compiled forms are held, one for each list of input shapes seen; 0 where nothing is compiled. */
  readonly cacheSize: number;
  /** Frees the compiled forms; the step cannot be called afterwards. */
  dispose(): void;
}

/** Options of {@linkcode Engine.compile}. */
export interface CompileOptions {
  /** Whether XLA compiles the step (tensorflow only): a slower first call, and on small steps faster ones. */
  xla?: boolean;
}

/** An opened engine; tfjs's global backend is set to it. */
export interface Engine {
  readonly name: EngineName;
  /** What computes: a processor or a graphics card, by name. */
  readonly device: string;
  readonly threads: number;
  /** The version of the library that computes. */
  readonly version: string;
  /** One line: engine, device, threads, library version. */
  readonly report: string;
  /** One line for each faster engine that was passed over, and why; and for what was asked for and cannot be had. */
  readonly notes: readonly string[];
  /** Makes a step ready: one library call on `tensorflow`, the step itself elsewhere. */
  compile(name: string, step: Step, options?: CompileOptions): CompiledStep;
  /** Frees what the engine's compiled steps hold; they cannot be called afterwards. */
  close(): void;
}
