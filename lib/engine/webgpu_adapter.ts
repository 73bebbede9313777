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
  const adapter = await requestQuietly();
  if (!adapter) {
    throw new InputError("Cannot find a graphics adapter; install a Vulkan, Metal or DirectX driver");
  }
  const name = adapter.info.description || adapter.info.vendor || "GPU";
  if (!allowSoftware && isSoftware(adapter.info)) {
    throw new InputError(`Cannot gain from ${name}, a graphics driver in software; ask for webgpu to use it`);
  }
  return name;
}

/** Asks for an adapter; on Linux without what its drivers say about displays that are not there. */
async function requestQuietly(): Promise<GPUAdapter | null | undefined> {
  const speak = Deno.build.os === "linux" ? silenceLog() : () => {};
  try {
    return await navigator.gpu?.requestAdapter();
  } finally {
    speak();
  }
}

/** Whether an adapter is a software driver: slower than the processor's own engines. */
export function isSoftware(info: AdapterInfo): boolean {
  return info.isFallbackAdapter === true ||
    /llvmpipe|lavapipe|swiftshader|softpipe|basic render/i.test(info.description);
}
