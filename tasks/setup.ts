/** `deno task setup`: fetches libtensorflow into the user's cache folder. */
import { downloadProgress } from "../lib/engine/download_progress.ts";
import { installLibtensorflow } from "../lib/engine/install.ts";
import { runTask } from "./command_line.ts";

const flags = {
  gpu: { kind: "switch", about: "Fetch the CUDA build with all it needs (linux x86_64; 3 GB and more)" },
  force: { kind: "switch", about: "Fetch again over what is there" },
} as const;

await runTask(
  "setup",
  "Fetches libtensorflow by Python's pip into the user's cache folder.",
  flags,
  async (given) => {
    const folder = await installLibtensorflow({
      gpu: given.gpu,
      force: given.force,
      progress: downloadProgress(),
    });
    console.log(`libtensorflow is in ${folder}`);
    return 0;
  },
);
