/**
 * Compiling the kernels that are written in C, by the clang in Zig, which PyPI has as `ziglang`, so that the same bytes come
 * out on every machine.
 *
 * @module
 */
const language = "-std=c11 -O3 -ffp-contract=fast -fvisibility=hidden -Wall -Wextra -Wno-psabi -g0 -s";
/**
 * For any Linux with glibc 2.17 or later; it stays where it is when a worker that loaded it ends: TensorFlow points to it.
 * Loops begin with a line of the cache: where they happen to begin made products up to 5 % slower or faster with AVX2.
 */
const linux = "-target x86_64-linux-gnu.2.17 -fPIC -shared -Wl,-z,nodelete -lm -lpthread " +
  "-falign-functions=64 -falign-loops=64";
/** A module that imports its memory and lets its stack be put where there is room. */
const wasm = "-target wasm32-freestanding -mcpu=generic+simd128+relaxed_simd+bulk_memory -nostdlib " +
  "-Wl,--no-entry -Wl,--import-memory";
/** What it exports beside what wasm.c says. */
const exported = "__stack_pointer rms_norm rms_norm_gradient swi_glu swi_glu_gradient token_logprobs " +
  "token_entropies column_sums adamw";

const kernels = ["attention.c", "gemm.c", "layers.c"];
const library = [...kernels, "decoder.c", "exports.c", "tensorflow_ops.c", "threads.c"];

/** What is built, on any machine: for processors with AVX-512, for those with AVX2 and FMA, and for WebAssembly. */
const targets: Readonly<Record<string, { sources: string[]; options: string }>> = {
  "kernels-linux-x86_64-v4.so": {
    sources: library,
    options: `${linux} -mcpu=x86_64_v4 -mprefer-vector-width=512`,
  },
  "kernels-linux-x86_64-v3.so": { sources: library, options: `${linux} -mcpu=x86_64_v3` },
  "../wasm_kernels/layers.wasm": {
    sources: [...kernels, "wasm.c"],
    options: `${wasm} ${exported.split(" ").map((name) => `-Wl,--export=${name}`).join(" ")}`,
  },
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
  const scratch = await Deno.makeTempDir();
  try {
    const built: BuiltLibrary[] = [];
    for (const [file, { sources, options }] of Object.entries(targets)) {
      const out = `${scratch}/built`;
      const { success, stderr } = await new Deno.Command(python, {
        args: ["-m", "ziglang", "cc", ...`${language} ${options} -o ${out}`.split(" "), ...sources],
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
