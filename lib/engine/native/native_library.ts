/**
 * The kit's own kernels in machine code: compiled C (see source/), checked in like the WebAssembly modules and built anew by
 * `deno task build:native`. Where there are none for this machine, everything works without.
 *
 * @module
 */

/** Names and signatures for `Deno.dlopen`; source/exports.c, source/decoder.h and source/tensorflow_ops.c say what they do. */
const symbols = {
  native_supported: { parameters: [], result: "i32" },
  native_has_avx512: { parameters: [], result: "i32" },
  native_keep_memory: { parameters: [], result: "void" },
  native_set_threads: { parameters: ["i32"], result: "void" },
  native_decoder_open: { parameters: ["buffer", "f32", "buffer", "buffer", "buffer"], result: "pointer" },
  native_decoder_matrix: {
    parameters: ["pointer", "i32", "i32", "buffer", "buffer", "buffer"],
    result: "void",
  },
  native_decoder_copy: { parameters: ["pointer", "i32", "i32", "i32"], result: "void" },
  native_decoder_step: { parameters: ["pointer", "buffer", "i32", "f32", "buffer"], result: "void" },
  native_decoder_draw: {
    parameters: [
      "pointer", // decoder
      "buffer", // items
      "i32",
      "i32", // steps
      "f32", // scale
      "buffer", // uniforms
      "buffer", // limits
      "buffer", // ends
      "buffer", // tokens
      "buffer", // counts
      "buffer", // p
    ],
    result: "void",
  },
  native_decoder_close: { parameters: ["pointer"], result: "void" },
  register_operations: { parameters: ["pointer", "pointer"], result: "i32" },
} as const;

/** The loaded library. */
export type NativeLibrary = Deno.DynamicLibrary<typeof symbols>["symbols"];

/** The library for this machine, among those that are checked in. */
export const nativeFile = `kernels-${Deno.build.os}-${Deno.build.arch}.so`;

let loaded: { library: NativeLibrary | undefined } | undefined;

/**
 * The kit's kernels in machine code; undefined where there are none for this machine, where it lacks AVX2, without
 * `--allow-ffi`, and where SEARCH_E1_NATIVE is `off`.
 */
export function nativeLibrary(): NativeLibrary | undefined {
  return (loaded ??= { library: load() }).library;
}

function load(): NativeLibrary | undefined {
  try {
    if (Deno.env.get("SEARCH_E1_NATIVE") === "off") return undefined;
    const { symbols: library } = Deno.dlopen(new URL(nativeFile, import.meta.url), symbols);
    return library.native_supported() === 0 ? undefined : library;
  } catch {
    return undefined;
  }
}
