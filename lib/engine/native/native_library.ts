/**
 * The kit's own kernels in machine code: compiled C (see source/), checked in like the WebAssembly modules and built anew by
 * `deno task build:native`. Where there are none for this machine, everything works without.
 *
 * @module
 */
import { libraryComplaint } from "../library_file.ts";

/** Names and signatures for `Deno.dlopen`; source/exports.c, source/decoder.h and source/tensorflow_ops.c say what they do. */
const symbols = {
  native_supported: { parameters: [], result: "i32" },
  native_has_avx512: { parameters: [], result: "i32" },
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
  eager_matmul: { parameters: ["u64", "u64", "i32", "i32", "pointer"], result: "u64" },
  register_operations: { parameters: ["pointer", "pointer"], result: "i32" },
} as const;

/** The loaded library. */
export type NativeLibrary = Deno.DynamicLibrary<typeof symbols>["symbols"];

/** The libraries that are checked in, by operating system and processor. */
const files: Record<string, string> = { "linux x86_64": "kernels-linux-x86_64.so" };

/** The library for this machine, or undefined. */
export const nativeFile = files[`${Deno.build.os} ${Deno.build.arch}`];

/** The library, or why it is not used. */
type Loaded = { library: NativeLibrary; missing?: undefined } | { library?: undefined; missing: string };

let loaded: Loaded | undefined;

/** The kit's kernels in machine code; undefined where they cannot be used. */
export function nativeLibrary(): NativeLibrary | undefined {
  return (loaded ??= load()).library;
}

/** Why there are no kernels in machine code here; undefined where there are. */
export function whyNoNativeLibrary(): string | undefined {
  return (loaded ??= load()).missing;
}

function load(): Loaded {
  if (nativeFile === undefined) {
    return { missing: `there are none for ${Deno.build.os} on ${Deno.build.arch}` };
  }
  try {
    if (Deno.env.get("SEARCH_E1_NATIVE") === "off") return { missing: "SEARCH_E1_NATIVE is off" };
    const file = new URL(nativeFile, import.meta.url);
    const complaint = libraryComplaint(file);
    if (complaint !== undefined) return { missing: `${nativeFile} cannot be loaded: ${complaint}` };
    const { symbols: library } = Deno.dlopen(file, symbols);
    return library.native_supported() === 0 ? { missing: "the processor has no AVX2" } : { library };
  } catch (error) {
    return { missing: `${nativeFile} cannot be loaded: ${(error as Error).message.split("\n")[0]}` };
  }
}
