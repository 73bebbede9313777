/**
 * Opening an engine: the fastest one that this machine has, or the one that was asked for.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import { InputError, nearestName } from "../base/input_error.ts";
import { type Engine, type EngineName, engineNames } from "./engine.ts";
import { loadFirstLibrary } from "./load_library.ts";
import { openTensorflowBackend } from "./tensorflow_backend.ts";
import { plainStep } from "./traced_function.ts";
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
    return await open(engine, threads, []);
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

async function open(name: EngineName, threads: number | undefined, notes: string[]): Promise<Engine> {
  const openers = { tensorflow: openTensorflow, webgpu: openTensorflow, wasm: openWasm, cpu: openCpu };
  return await openers[name](threads, notes);
}

async function openTensorflow(threads: number | undefined, notes: string[]): Promise<Engine> {
  const loaded = await loadFirstLibrary();
  const { backend, threads: count } = await openTensorflowBackend(loaded, threads);
  await use("tensorflow");
  const device = backend.isUsingGpuDevice ? backend.binding.deviceName : "CPU";
  return engineOf("tensorflow", device, count, loaded.version, notes);
}

async function openWasm(_threads: number | undefined, notes: string[]): Promise<Engine> {
  const wasm = await import("@tensorflow/tfjs-backend-wasm");
  await use("wasm");
  await registerWasmKernels();
  return engineOf("wasm", "CPU", 1, wasm.version_wasm, notes);
}

async function openCpu(_threads: number | undefined, notes: string[]): Promise<Engine> {
  await use("cpu");
  return engineOf("cpu", "CPU", 1, tf.version.tfjs, notes);
}

async function use(name: EngineName): Promise<void> {
  if (!await tf.setBackend(name)) throw new InputError(`Cannot open engine "${name}"`);
  await tf.ready();
}

function engineOf(
  name: EngineName,
  device: string,
  threads: number,
  version: string,
  notes: string[],
): Engine {
  const report = `engine ${name} on ${device}, ${threads} threads, version ${version}`;
  return { name, device, threads, version, report, notes, compile: plainStep, close: () => {} };
}
