/** `deno task build:native`: compiles the C kernels of lib/engine/native/source into the checked-in library. */
import { writeWhole } from "../lib/base/files.ts";
import { buildNative, nativePath } from "../lib/engine/native/build.ts";
import { pythonEnvironment } from "./python_environment.ts";

const requirements = decodeURIComponent(
  new URL("../lib/engine/native/source/requirements.txt", import.meta.url).pathname,
);
const bytes = await buildNative(`${await pythonEnvironment("zig", requirements)}/bin/python`);
await writeWhole(nativePath, bytes);
console.log(`${nativePath}: ${bytes.length} bytes`);
