/** `deno task build:native`: compiles the C kernels of lib/engine/native/source into the checked-in libraries. */
import { writeWhole } from "../lib/base/files.ts";
import { buildNative } from "../lib/engine/native/build.ts";
import { pythonEnvironment } from "./python_environment.ts";

const requirements = decodeURIComponent(
  new URL("../lib/engine/native/source/requirements.txt", import.meta.url).pathname,
);
const python = `${await pythonEnvironment("zig", requirements)}/bin/python`;
for (const { path, bytes } of await buildNative(python)) {
  await writeWhole(path, bytes);
  console.log(`${path}: ${bytes.length} bytes`);
}
