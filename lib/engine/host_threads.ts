/**
 * How many threads the kit's own WebAssembly may use beside tfjs. tfjs has one backend at a time for the whole process, so
 * this is a fact of the process too.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";

let of = { backend: "", threads: 0 };

/** Says that the engine which is open now computes on the processor, with so many threads; 0 where it does not. */
export function setHostThreads(threads: number): void {
  of = { backend: tf.getBackend(), threads };
}

/** The threads of the open engine; 0 on a graphics card, on the reference engine `cpu`, and where none was opened. */
export function hostThreads(): number {
  return tf.getBackend() === of.backend ? of.threads : 0;
}
