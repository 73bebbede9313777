import asc from "assemblyscript/asc";

/** The checked-in modules: what each is built from, and the memory that it imports. */
const modules = {
  "kernels.wasm": { sources: ["elementwise.ts", "matmul.ts", "rows.ts"], memory: "--initialMemory 1" },
  "decoder.wasm": {
    sources: ["decoder.ts"],
    memory: "--enable threads --sharedMemory --initialMemory 1 --maximumMemory 65536",
  },
};

/** The name of a checked-in module. */
export type ModuleName = keyof typeof modules;

/** The names of all of them. */
export const moduleNames = Object.keys(modules) as ModuleName[];

/**
 * Compiles AssemblyScript kernels in `assembly/` and returns the module's bytes, the same on every machine: those of the
 * checked-in file. `deno task build:wasm` writes them.
 *
 * @throws if the source does not compile.
 */
export async function buildKernels(name: ModuleName): Promise<Uint8Array> {
  const folder = new URL("./assembly/", import.meta.url);
  const { sources, memory } = modules[name];
  const texts = new Map<string, string>();
  for (const source of [...sources, "simd.ts"]) {
    texts.set(source, await Deno.readTextFile(new URL(source, folder)));
  }
  let binary: Uint8Array | undefined;
  const flags = `--optimizeLevel 3 --noAssert --runtime stub --importMemory --noExportMemory ${memory} ` +
    `--enable simd --enable relaxed-simd --outFile ${name}`;
  const { error, stderr } = await asc.main([...sources, ...flags.split(" ")], {
    readFile: (path) => texts.get(path.replace(/\.ts\.ts$/, ".ts")) ?? null, // asc adds an ending of its own
    writeFile: (path, bytes) => {
      if (path === name && typeof bytes !== "string") binary = new Uint8Array(bytes);
    },
    listFiles: () => [],
  });
  if (error !== null || binary === undefined) {
    throw new Error(`Cannot build ${name}: ${error}\n${stderr}`);
  }
  return binary;
}
