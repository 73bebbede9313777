/**
 * Compiling the kernels in machine code: C by the clang in Zig, which PyPI has as `ziglang`, so that the same bytes come out
 * on every machine.
 *
 * @module
 */
/** For any Linux with glibc 2.17 or later. */
const flags = "-target x86_64-linux-gnu.2.17 -std=c11 -O3 -ffp-contract=fast -fPIC -fvisibility=hidden " +
  "-Wall -Wextra -Wno-psabi -g0";
// The library must stay where it is when a worker that loaded it ends: TensorFlow keeps pointers to its functions.
const linking = "-shared -s -Wl,-z,nodelete";

/** The libraries that are built, on any machine those of Linux on x86_64, and what for: AVX-512, and AVX2 with FMA. */
const processors: Readonly<Record<string, string>> = {
  "kernels-linux-x86_64-v4.so": "-mcpu=x86_64_v4 -mprefer-vector-width=512",
  "kernels-linux-x86_64-v3.so": "-mcpu=x86_64_v3",
};

/** A library that is checked in: where, and its bytes. */
export type BuiltLibrary = { path: string; bytes: Uint8Array };

/**
 * Compiles source/, once for each kind of processor. `deno task build:native` writes what comes out.
 *
 * @param python A Python with the package `ziglang` of source/requirements.txt.
 * @throws if the source does not compile.
 */
export async function buildNative(python: string): Promise<BuiltLibrary[]> {
  const source = decodeURIComponent(new URL("./source/", import.meta.url).pathname);
  const sources: string[] = [];
  for await (const { name } of Deno.readDir(source)) if (name.endsWith(".c")) sources.push(name);
  const scratch = await Deno.makeTempDir();
  try {
    const built: BuiltLibrary[] = [];
    for (const [file, processor] of Object.entries(processors)) {
      const out = `${scratch}/${file}`;
      const options = `${flags} ${processor} ${linking} -o ${out}`.split(" ");
      const { success, stderr } = await new Deno.Command(python, {
        args: ["-m", "ziglang", "cc", ...options, ...sources.sort(), "-lm", "-lpthread"],
        cwd: source,
        env: { ZIG_GLOBAL_CACHE_DIR: `${scratch}/cache`, ZIG_LOCAL_CACHE_DIR: `${scratch}/cache` },
        stdout: "null",
        stderr: "piped",
      }).output();
      const said = new TextDecoder().decode(stderr).trim();
      if (!success || said !== "") throw new Error(`Cannot build ${file}: ${said}`);
      const path = decodeURIComponent(new URL(file, import.meta.url).pathname);
      built.push({ path, bytes: await Deno.readFile(out) });
    }
    return built;
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
}
