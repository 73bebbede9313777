/** For tests of V8's joining of WebAssembly's vectors. */

/** V8's flag for it. */
export const joinFlag = "--experimental-wasm-revectorize";

/** Whether V8 can join vectors here. */
export async function canJoinVectors(): Promise<boolean> {
  if (Deno.build.os !== "linux") return false;
  const code = `Deno.exit(Deno.readTextFileSync("/proc/cpuinfo").includes("avx2") ? 0 : 1)`;
  const args = ["eval", `--v8-flags=${joinFlag}`, code];
  return (await new Deno.Command(Deno.execPath(), { args, stderr: "null" }).output()).success;
}
