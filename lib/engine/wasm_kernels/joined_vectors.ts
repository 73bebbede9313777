/**
 * Vectors of 256 bits in WebAssembly, which itself has 128: V8 can join pairs of them on x64 with AVX2. It does so only if a
 * flag says so when the process starts, and does not tell; the tasks in deno.json set it by the environment.
 *
 * @module
 */

/** The environment variable that holds V8's flags, and the flag. */
const variable = "DENO_V8_FLAGS", flag = "--experimental-wasm-revectorize";

/** Whether V8 joins vectors in this process, as far as the environment tells: not by `--v8-flags`. */
export function joinsVectors(): boolean {
  if (Deno.permissions.querySync({ name: "env", variable }).state !== "granted") return false;
  return Deno.env.get(variable)?.split(",").includes(flag) ?? false;
}
