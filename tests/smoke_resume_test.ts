/** Acceptance: the smoke preset, killed and resumed, ends in the metrics and weights of a run that was not. */
import { assert, assertEquals } from "@std/assert";
import { exists } from "../lib/base/files.ts";
import { runPaths } from "../lib/run/run_folder.ts";
import { assertSameRun } from "./same_run.ts";
import { runTask } from "./task_process.ts";

const args = ["--config", "data/presets/smoke.toml", "--out"];

Deno.test("deno task train on the smoke preset, killed and resumed, equals the uninterrupted run", async () => {
  const parent = await Deno.makeTempDir();
  const [whole, killed] = [`${parent}/whole`, `${parent}/killed`];
  const { code, stderr } = await runTask("train", ...args, whole);
  assertEquals(code, 0, stderr);

  // Not by way of `deno task`: its child would outlive the kill.
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--no-check", "--allow-read", "--allow-write", "--allow-env", "--allow-ffi", "--allow-sys"],
      ...["--allow-run", "tasks/train.ts", ...args, killed],
    ],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const metrics = runPaths(killed).metrics;
  const reached = async () =>
    await exists(metrics) && (await Deno.readTextFile(metrics)).includes('"stage":"grpo-1"');
  let ended = false;
  child.status.then(() => ended = true);
  while (!ended && !await reached()) await new Promise((resolve) => setTimeout(resolve, 20));
  assert(!ended, "the run ended before it could be killed");
  child.kill("SIGKILL");
  await child.status;
  assertEquals(await exists(runPaths(killed).evaluation), false);

  const resumed = await runTask("train", "--resume", "--out", killed);
  assertEquals(resumed.code, 0, resumed.stderr);
  await assertSameRun(killed, whole);
  await Deno.remove(parent, { recursive: true });
});
