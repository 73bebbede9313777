import asc from "assemblyscript/asc";

const sources = ["elementwise.ts", "matmul.ts", "rows.ts"];

/**
 * Compiles the AssemblyScript kernels in `assembly/` and returns the module's bytes, the same on every machine: those of
 * the checked-in `kernels.wasm`. `deno task build:wasm` writes them.
 *
 * @throws if the source does not compile.
 */
export async function buildKernels(): Promise<Uint8Array> {
  const folder = new URL("./assembly/", import.meta.url);
  const texts = new Map<string, string>();
  for (const name of sources) texts.set(name, await Deno.readTextFile(new URL(name, folder)));
  let binary: Uint8Array | undefined;
  const flags =
    "--optimizeLevel 3 --noAssert --runtime stub --importMemory --noExportMemory --initialMemory 0 " +
    "--enable simd --enable relaxed-simd --outFile kernels.wasm";
  const { error, stderr } = await asc.main([...sources, ...flags.split(" ")], {
    readFile: (name) => texts.get(name) ?? null,
    writeFile: (name, bytes) => {
      if (name === "kernels.wasm" && typeof bytes !== "string") binary = new Uint8Array(bytes);
    },
    listFiles: () => [],
  });
  if (error !== null || binary === undefined) {
    throw new Error(`Cannot build the wasm kernels: ${error}\n${stderr}`);
  }
  return binary;
}
