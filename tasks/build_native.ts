/** `deno task build:native`: compiles the C kernels of lib/engine/native/source into the checked-in libraries. */
import { writeWhole } from "../lib/base/files.ts";
import { buildNative } from "../lib/engine/native/build.ts";
import { runTask } from "./command_line.ts";
import { pythonEnvironment } from "./python_environment.ts";

const about =
  "Compiles lib/engine/native/source into the checked-in libraries, by zig in a Python environment.";
const requirements = decodeURIComponent(
  new URL("../lib/engine/native/source/requirements.txt", import.meta.url).pathname,
);

await runTask("build:native", about, {}, async () => {
  const python = `${await pythonEnvironment("zig", requirements)}/bin/python`;
  for (const { path, bytes } of await buildNative(python)) {
    await writeWhole(path, bytes);
    console.log(`${path}: ${bytes.length} bytes`);
  }
  return 0;
});
