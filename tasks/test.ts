/** `deno task test`: fetches what the engine needs, then runs all tests; arguments go to `deno test`. */
import { ensureLibtensorflow } from "../lib/engine/install.ts";
import { forwardSignals } from "./interruption.ts";

/** Tests start Python and the tasks themselves, serve on this machine, and load libtensorflow. */
const permissions = ["read", "write", "env", "ffi", "sys", "run", "net"].map((name) => `--allow-${name}`);

if (Deno.args.includes("--help")) {
  console.log(
    "deno task test\n\nRuns all tests; paths and flags, such as --filter TEXT, are handed to deno test.",
  );
  Deno.exit(0);
}
console.log((await ensureLibtensorflow()).note);
const child = new Deno.Command(Deno.execPath(), {
  args: ["test", "--no-prompt", ...permissions, ...Deno.args],
  stdin: "null",
}).spawn();
const stop = forwardSignals(child);
const { code } = await child.status;
stop();
Deno.exit(code);
