/**
 * A whole run on the engine webgpu, beside the same one on wasm. A graphics driver in software will do (Debian's
 * mesa-vulkan-drivers); without any adapter the test says so and is skipped.
 */
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { readMetrics } from "../lib/run/metrics.ts";
import { readEvaluation, runPaths } from "../lib/run/run_folder.ts";
import { runTask } from "./task_process.ts";

Deno.test("a run on webgpu goes through all stages, with wasm's losses and gradients", async () => {
  const parent = await Deno.makeTempDir();
  const run = (engine: string) =>
    runTask(
      "train",
      "--config",
      "data/presets/tiny.toml",
      "--engine",
      engine,
      "--out",
      `${parent}/${engine}`,
    );
  const { code, stderr } = await run("webgpu");
  if (code === 2 && stderr.includes("Cannot find a graphics adapter")) {
    console.log(
      "Skipped: this machine has no graphics adapter; install mesa-vulkan-drivers for one in software",
    );
    return;
  }
  assertEquals(code, 0, stderr);
  assertEquals((await run("wasm")).code, 0);

  const [graphics, processor] = await Promise.all(
    ["webgpu", "wasm"].map((engine) => readMetrics(runPaths(`${parent}/${engine}`).metrics)),
  );
  assertEquals(graphics!.map(({ stage }) => stage), processor!.map(({ stage }) => stage));
  // Rounding differs, and grows from step to step: draws part sooner or later, the supervised steps hardly.
  for (const [i, row] of graphics!.entries()) {
    if (row.stage !== "sft") break;
    for (const figure of ["loss", "grad_norm"]) {
      assertAlmostEquals(
        Number(row[figure]),
        Number(processor![i]![figure]),
        0.02,
        `step ${i + 1} ${figure}`,
      );
    }
  }
  assert(graphics!.every(({ loss, grad_norm }) => Number.isFinite(loss) && Number(grad_norm) > 0));
  const { rows } = await readEvaluation(`${parent}/webgpu`);
  assertEquals(rows.length, 16); // four stages, two sets, greedy and sampled
  await Deno.remove(parent, { recursive: true });
});
