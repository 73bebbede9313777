/**
 * The kit's own kernels in machine code: compiled C (see source/), checked in like the WebAssembly modules and built anew by
 * `deno task build:native`. Where there are none for this machine, everything works without.
 *
 * @module
 */
import { InputError } from "../../base/input_error.ts";
import { libraryComplaint } from "../library_file.ts";

/** Names and signatures for `Deno.dlopen`; source/exports.c, source/decoder.h and source/tensorflow_ops.c say what they do. */
const symbols = {
  native_supported: { parameters: [], result: "i32" },
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
  eager_matmul: {
    parameters: ["u64", "u64", "i32", "i32", "i32", "i32", "i32", "i32", "i32", "pointer"],
    result: "u64",
  },
  register_operations: { parameters: ["pointer", "pointer"], result: "i32" },
} as const;

/** The loaded library. */
export type NativeLibrary = Deno.DynamicLibrary<typeof symbols>["symbols"];

/** The libraries that are checked in, by operating system and processor, and the vectors they use: the widest first. */
const files: Readonly<Record<string, readonly [vectors: string, file: string][]>> = {
  "linux x86_64": [["AVX-512", "kernels-linux-x86_64-v4.so"], ["AVX2", "kernels-linux-x86_64-v3.so"]],
};

/** The library and its vectors, or why none is used. */
type Loaded =
  | { library: NativeLibrary; vectors: string; missing?: undefined }
  | { library?: undefined; vectors?: undefined; missing: string };

let loaded: Loaded | undefined;

/**
 * The kit's kernels in machine code, or why they are not used.
 *
 * @throws {InputError} when SEARCH_E1_NATIVE is none of what it may be.
 */
export function nativeKernels(): Loaded {
  return loaded ??= load();
}

/** The kit's kernels in machine code; undefined where they cannot be used. */
export function nativeLibrary(): NativeLibrary | undefined {
  return nativeKernels().library;
}

function load(): Loaded {
  const known = files[`${Deno.build.os} ${Deno.build.arch}`];
  if (!known) return { missing: `there are none for ${Deno.build.os} on ${Deno.build.arch}` };
  let tried = "";
  try {
    const setting = Deno.env.get("SEARCH_E1_NATIVE");
    if (setting === "off") return { missing: "SEARCH_E1_NATIVE is off" };
    if (setting && setting !== "avx2") {
      throw new InputError(`Cannot use SEARCH_E1_NATIVE="${setting}": it may be off, avx2 or empty`);
    }
    for (const [vectors, name] of known) {
      if (setting === "avx2" && vectors !== "AVX2") continue;
      tried = name;
      const file = new URL(name, import.meta.url);
      const complaint = libraryComplaint(file);
      if (complaint !== undefined) throw new Error(complaint);
      const { symbols: library } = Deno.dlopen(file, symbols);
      if (library.native_supported() !== 0) return { library, vectors };
    }
  } catch (error) {
    if (error instanceof InputError) throw error;
    return { missing: `${tried} cannot be loaded: ${(error as Error).message.split("\n")[0]}` };
  }
  return { missing: "the processor has no AVX2" };
}
