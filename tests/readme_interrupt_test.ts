import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { checkpointNames } from "../lib/run/checkpoint.ts";
import { lockRunFolder } from "../lib/run/run_folder.ts";
import { processEnd } from "./task_process.ts";

const root = decodeURIComponent(new URL("../", import.meta.url).pathname);

/** Whether npx is there; without it the README's command cannot be typed. */
async function npxIsThere(): Promise<boolean> {
  try {
    return (await new Deno.Command("npx", { args: ["--version"], stdout: "null", stderr: "null" }).output())
      .success;
  } catch {
    return false;
  }
}

Deno.test("Ctrl-C in the README's command writes a checkpoint, says how to go on, and leaves nothing running", async () => {
  if (Deno.build.os === "windows" || !(await npxIsThere())) {
    return console.log("Skipped: the README's command needs npx and a terminal's signals");
  }
  const folder = `${await Deno.makeTempDir()}/interrupted`;
  // Ctrl-C goes to every process of the terminal's foreground group: npx, its shell, deno task and the run.
  const child = new Deno.Command("npx", {
    args: ["-y", "deno@2.9.6", "task", "demo", "--config", "data/presets/smoke.toml", "--out", folder],
    cwd: root,
    env: { NO_COLOR: "1" },
    detached: true,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const { ended, seen } = processEnd(child);
  assert(await seen("sft · real"), "the first stage ended unseen");
  Deno.kill(-child.pid, "SIGINT");
  const { stdout, stderr } = await ended;
  assertStringIncludes(stdout, "Stopped; go on with: ", stderr);
  assert((await checkpointNames(folder)).length > 0);
  (await lockRunFolder(folder)).release(); // the run has let go of its folder
  let alive = true;
  try {
    Deno.kill(-child.pid, "SIGCONT");
  } catch {
    alive = false;
  }
  assertEquals(alive, false, "a process of the group is still there");
  await Deno.remove(folder, { recursive: true });
});
