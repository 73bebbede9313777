/**
 * Compiling the kernels in machine code: C by the clang in Zig, which PyPI has as `ziglang`, so that the same bytes come out
 * on every machine.
 *
 * @module
 */
/** Compiled for processors with AVX2 and FMA, and for any Linux with glibc 2.17 or later. */
const target = "-target x86_64-linux-gnu.2.17 -mcpu=x86_64_v3";
const flags =
  `${target} -std=c11 -O3 -ffp-contract=fast -fPIC -fvisibility=hidden -Wall -Wextra -Wno-psabi -g0`;
// The library must stay where it is when a worker that loaded it ends: TensorFlow keeps pointers to its functions.
const linking = "-shared -s -Wl,-z,nodelete";

/** The library that is built: on any machine that of Linux on x86_64. */
const file = "kernels-linux-x86_64.so";

/** Where it is checked in. */
export const nativePath = decodeURIComponent(new URL(file, import.meta.url).pathname);

/**
 * Compiles source/ and returns the library's bytes: those of the checked-in file. `deno task build:native` writes them.
 *
 * @param python A Python with the package `ziglang` of source/requirements.txt.
 * @throws if the source does not compile.
 */
export async function buildNative(python: string): Promise<Uint8Array> {
  const source = decodeURIComponent(new URL("./source/", import.meta.url).pathname);
  const files: string[] = [];
  for await (const { name } of Deno.readDir(source)) if (name.endsWith(".c")) files.push(name);
  const scratch = await Deno.makeTempDir();
  try {
    const out = `${scratch}/${file}`;
    const { success, stderr } = await new Deno.Command(python, {
      args: [
        "-m",
        "ziglang",
        "cc",
        ...`${flags} ${linking} -o`.split(" "),
        out,
        ...files.sort(),
        "-lm",
        "-lpthread",
      ],
      cwd: source,
      env: { ZIG_GLOBAL_CACHE_DIR: `${scratch}/cache`, ZIG_LOCAL_CACHE_DIR: `${scratch}/cache` },
      stdout: "null",
      stderr: "piped",
    }).output();
    const said = new TextDecoder().decode(stderr).trim();
    if (!success || said !== "") throw new Error(`Cannot build ${file}: ${said}`);
    return await Deno.readFile(out);
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
}
