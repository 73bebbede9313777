/** docs/metrics.md explains every name that a run writes, and no other. */
import { assertEquals } from "@std/assert";
import { readMetrics } from "../lib/run/metrics.ts";
import { runPaths } from "../lib/run/run_folder.ts";
import { runTask } from "./task_process.ts";

Deno.test("docs/metrics.md has the names that a run writes", async () => {
  const page = await Deno.readTextFile(new URL("../docs/metrics.md", import.meta.url));
  const explained = [...page.matchAll(/^\| `([^`]+)`/gm)].map((match) => match[1]!);
  assertEquals(explained.length, new Set(explained).size, "a name is explained twice");

  const folder = `${await Deno.makeTempDir()}/run`;
  const { code, stderr } = await runTask("train", "--config", "data/presets/tiny.toml", "--out", folder);
  assertEquals(code, 0, stderr);
  const rows = await readMetrics(runPaths(folder).metrics);
  const written = new Set(rows.flatMap((row) => Object.keys(row)));
  const shown = [...written].map((name) => name.replace(/^rewards\/.+\/mean$/, "rewards/<name>/mean"));
  // Written with `grpo.loss = "cispo"` alone.
  assertEquals([...new Set([...shown, "cispo_clip_ratio"])].sort(), explained.sort());
  await Deno.remove(folder, { recursive: true });
});
