/** `deno task build:wasm`: compiles the AssemblyScript kernels of lib/engine/wasm_kernels into the checked-in modules. */
import { writeWhole } from "../lib/base/files.ts";
import { buildKernels, moduleNames } from "../lib/engine/wasm_kernels/build.ts";
import { runTask } from "./command_line.ts";

const about = "Compiles lib/engine/wasm_kernels/assembly into the checked-in modules.";

await runTask("build:wasm", about, {}, async () => {
  for (const name of moduleNames) {
    const bytes = await buildKernels(name);
    await writeWhole(
      decodeURIComponent(new URL(`../lib/engine/wasm_kernels/${name}`, import.meta.url).pathname),
      bytes,
    );
    console.log(`lib/engine/wasm_kernels/${name}: ${bytes.length} bytes`);
  }
  return 0;
});
