/**
 * The graphics adapter behind the engine `webgpu`.
 *
 * @module
 */
import { InputError } from "../base/input_error.ts";
import { silenceLog } from "./quiet_log.ts";

/** The parts of a GPUAdapterInfo that tell hardware from software. */
export interface AdapterInfo {
  description: string;
  vendor: string;
  isFallbackAdapter?: boolean;
}

/**
 * The name of this machine's graphics adapter.
 *
 * @param allowSoftware whether a driver that computes on the processor will do.
 * @throws {InputError} when there is none, or only one in software.
 */
export async function findAdapter(allowSoftware: boolean): Promise<string> {
  const adapter = await requestAdapter();
  if (!adapter) {
    throw new InputError("Cannot find a graphics adapter; install a Vulkan, Metal or DirectX driver");
  }
  const name = adapter.info.description || adapter.info.vendor || "GPU";
  if (!allowSoftware && isSoftware(adapter.info)) {
    throw new InputError(`Cannot gain from ${name}, a graphics driver in software; ask for webgpu to use it`);
  }
  return name;
}

/** What chooses Deno's graphics interface when the first adapter is asked for, for as long as the process lives. */
const chosenInterface = "DENO_WEBGPU_BACKEND";

/**
 * Asks for an adapter; on Linux by Vulkan unless the user chose otherwise, since shaders for OpenGL lose NaN, and without
 * what drivers say about displays that are not there.
 */
export async function requestAdapter(): Promise<GPUAdapter | null | undefined> {
  if (Deno.build.os !== "linux") return await navigator.gpu?.requestAdapter();
  const chosen = Deno.env.get(chosenInterface);
  if (chosen === undefined) Deno.env.set(chosenInterface, "vulkan");
  const speak = silenceLog();
  try {
    return await navigator.gpu?.requestAdapter();
  } finally {
    speak();
    if (chosen === undefined) Deno.env.delete(chosenInterface);
  }
}

/** Whether an adapter is a software driver: slower than the processor's own engines. */
export function isSoftware(info: AdapterInfo): boolean {
  return info.isFallbackAdapter === true ||
    /llvmpipe|lavapipe|swiftshader|softpipe|basic render/i.test(info.description);
}
