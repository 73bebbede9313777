/**
 * Opening an engine: the fastest one that this machine has, or the one that was asked for.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import { InputError, nearestName } from "../base/input_error.ts";
import { type CompiledStep, type Engine, type EngineName, engineNames } from "./engine.ts";
import { loadFirstLibrary } from "./load_library.ts";
import { openTensorflowBackend } from "./tensorflow_backend.ts";
import { plainStep, tracedStep } from "./traced_function.ts";
import { findAdapter } from "./webgpu_adapter.ts";
import { registerWasmKernels } from "./wasm_kernels/register.ts";

export type { CompiledStep, CompileOptions, Engine, EngineName, Step } from "./engine.ts";
export { engineNames } from "./engine.ts";

/** Options of {@linkcode openEngine}. */
export interface OpenEngineOptions {
  /** Which engine; `auto` is the first of tensorflow, webgpu on a hardware adapter, wasm, cpu that can be opened. */
  engine?: EngineName | "auto";
  /** How many threads compute (tensorflow only; all cores when left out). */
  threads?: number;
}

/**
 * Opens an engine and makes it tfjs's global backend.
 *
 * @throws {InputError} when the named engine cannot be opened here; the message says what is missing and the fix.
 *
 * @example
 * ```ts
 * import { openEngine } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const engine = await openEngine({ engine: "cpu" });
 * assertEquals(engine.name, "cpu");
 * engine.close();
 * ```
 */
export async function openEngine(options: OpenEngineOptions = {}): Promise<Engine> {
  const { engine = "auto", threads } = options;
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1 && threads <= 1024)) {
    throw new InputError(`Cannot compute with ${threads} threads; give a whole number from 1 to 1024`);
  }
  if (engine !== "auto") {
    if (!engineNames.includes(engine)) {
      const near = nearestName(engine, [...engineNames, "auto"]);
      const choices = ["auto", ...engineNames].join(", ");
      throw new InputError(
        `Cannot open engine "${engine}"; ${near ? `did you mean "${near}"?` : `choose one of ${choices}`}`,
      );
    }
    return await open(engine, threads, [], true);
  }
  const notes: string[] = [];
  for (const name of engineNames) {
    try {
      return await open(name, threads, notes);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      notes.push(`${name} is not used: ${error.message}`);
    }
  }
  throw new Error("Cannot open any engine"); // cpu always opens
}

async function open(
  name: EngineName,
  threads: number | undefined,
  notes: string[],
  allowSoftware = false,
): Promise<Engine> {
  switch (name) {
    case "tensorflow": {
      const loaded = await loadFirstLibrary();
      const { backend, threads: count } = await openTensorflowBackend(loaded, threads);
      await useBackend(name);
      const device = backend.isUsingGpuDevice ? backend.binding.deviceName : "CPU";
      const version = `libtensorflow ${loaded.version}`;
      return engineOf(name, device, count, version, notes, (...step) => tracedStep(backend, ...step));
    }
    case "webgpu": {
      const device = await findAdapter(allowSoftware);
      await import("@tensorflow/tfjs-backend-webgpu");
      await useBackend(name);
      return engineOf(name, device, 1, `tfjs ${tf.version.tfjs}`, notes, plainStep);
    }
    case "wasm": {
      await import("@tensorflow/tfjs-backend-wasm");
      await useBackend(name);
      await registerWasmKernels();
      return engineOf(name, "CPU", 1, `tfjs ${tf.version.tfjs}`, notes, plainStep);
    }
    case "cpu":
      await useBackend(name);
      return engineOf(name, "CPU", 1, `tfjs ${tf.version.tfjs}`, notes, plainStep);
  }
}

async function useBackend(name: EngineName): Promise<void> {
  if (!await tf.setBackend(name)) {
    throw new InputError(`Cannot open engine "${name}": tfjs could not start it; choose another engine`);
  }
  await tf.ready();
}

function engineOf(
  name: EngineName,
  device: string,
  threads: number,
  version: string,
  notes: readonly string[],
  compile: Engine["compile"],
): Engine {
  const steps = new Set<CompiledStep>();
  return {
    name,
    device,
    threads,
    version,
    report: `Engine ${name} on ${device}, ${threads} ${threads === 1 ? "thread" : "threads"}, ${version}`,
    notes,
    compile(...step) {
      const compiled = compile(...step);
      steps.add(compiled);
      return compiled;
    },
    close() {
      for (const step of steps) step.dispose();
      steps.clear();
    },
  };
}
