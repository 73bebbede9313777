/** `deno task watch`: a live page of a run folder, which may be under way, finished, or not there yet. */
import { InputError } from "../lib/base/input_error.ts";
import { watchRun } from "../lib/report/watch_server.ts";
import { runFolder, runTask } from "./command_line.ts";
import { signals } from "./interruption.ts";

const flags = {
  folder: { kind: "words", value: "FOLDER", about: "The run folder; runs/demo" },
  port: { kind: "text", value: "N", about: "Port on this machine; 8787. 0 takes any free one" },
} as const;

await runTask("watch", "Shows a run live in the browser, on this machine only.", flags, async (given) => {
  const folder = runFolder("watch", given.folder);
  const port = Number(given.port ?? 8787);
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    throw new InputError(`Cannot use --port ${given.port}: give an integer from 0 to 65535`);
  }
  const { promise: interrupted, resolve } = Promise.withResolvers<void>();
  for (const name of signals) Deno.addSignalListener(name, resolve);
  const server = await watchRun(folder, { port });
  console.log(`${folder} is shown at ${server.url}; Ctrl-C ends it`);
  await interrupted;
  await server.close();
  Deno.exit(0); // at once: one Ctrl-C may arrive twice, and a process that winds up its listeners is killed by the second
});
