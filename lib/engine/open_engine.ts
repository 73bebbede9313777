/**
 * Opening an engine: the fastest one that this machine has, or the one that was asked for.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import { InputError, nearestName } from "../base/input_error.ts";
import { type CompiledStep, type Engine, type EngineName, engineNames } from "./engine.ts";
import { setHostThreads } from "./host_threads.ts";
import { loadFirstLibrary } from "./load_library.ts";
import { openTensorflowBackend } from "./tensorflow_backend.ts";
import { plainStep, tracedStep } from "./traced_function.ts";
import { findAdapter } from "./webgpu_adapter.ts";
import { heapKernels, type WasmBackend } from "./wasm_kernels/heap.ts";
import { registerWasmKernels } from "./wasm_kernels/register.ts";

export type { CompiledStep, CompileOptions, Engine, EngineName, Step } from "./engine.ts";
export { engineNames } from "./engine.ts";

/** Options of {@linkcode openEngine}. */
export interface OpenEngineOptions {
  /** Which engine; `auto` is the first of tensorflow, webgpu on a hardware adapter, wasm, cpu that can be opened. */
  engine?: EngineName | "auto";
  /**
   * How many threads compute: on tensorflow all operations, where the first engine of a process decides; on wasm
   * generation alone. 0, the default, is all cores.
   */
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
  const { engine = "auto", threads: asked = 0 } = options;
  if (!(Number.isInteger(asked) && asked >= 0 && asked <= 1024)) {
    throw new InputError(
      `Cannot compute with ${asked} threads; give a whole number from 1 to 1024, or 0 for all cores`,
    );
  }
  const threads = asked === 0 ? undefined : asked;
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

const processor = `${Deno.build.arch} CPU`;

async function open(
  name: EngineName,
  threads: number | undefined,
  notes: string[],
  allowSoftware = false,
): Promise<Engine> {
  switch (name) {
    case "tensorflow": {
      const loaded = await loadFirstLibrary();
      const { backend, threads: count, ownKernels } = await openTensorflowBackend(loaded, threads);
      await useBackend(name);
      if (threads !== undefined && count !== threads) {
        notes.push(`${threads} threads are not used: this process computes with ${count} already`);
      }
      setHostThreads(backend.isUsingGpuDevice ? 0 : count);
      const device = backend.isUsingGpuDevice ? backend.binding.deviceName.split("device:")[1]! : processor;
      const version = `libtensorflow ${loaded.version}${ownKernels ? " and own kernels" : ""}`;
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
      const count = threads ?? navigator.hardwareConcurrency;
      setHostThreads(count);
      const version = `tfjs ${tf.version.tfjs}${
        heapKernels(tf.backend() as WasmBackend).wide ? " and 256-bit vectors" : ""
      }`;
      return engineOf(name, processor, count, version, notes, plainStep);
    }
    case "cpu":
      await useBackend(name);
      // tfjs's first use of this backend prints an advertisement for another.
      Object.assign(tf.backend(), { firstUse: false });
      return engineOf(name, processor, 1, `tfjs ${tf.version.tfjs}`, notes, plainStep);
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
    report: `${name} on ${device}, ${threads} ${threads === 1 ? "thread" : "threads"}, ${version}`,
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
