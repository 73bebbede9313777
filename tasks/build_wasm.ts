/** `deno task build:wasm`: compiles the AssemblyScript kernels of lib/engine/wasm_kernels into the checked-in kernels.wasm. */
import { writeWhole } from "../lib/base/files.ts";
import { buildKernels } from "../lib/engine/wasm_kernels/build.ts";

const bytes = await buildKernels();
await writeWhole(new URL("../lib/engine/wasm_kernels/kernels.wasm", import.meta.url).pathname, bytes);
console.log(`lib/engine/wasm_kernels/kernels.wasm: ${bytes.length} bytes`);
