/** Comparing two runs. */
import { assertEquals } from "@std/assert";
import { exists } from "../lib/base/files.ts";
import { checkpointNames } from "../lib/run/checkpoint.ts";
import { readMetrics, withoutMeasurements } from "../lib/run/metrics.ts";
import { readEvaluation, runPaths } from "../lib/run/run_folder.ts";

/** Asserts that two runs have the same metrics, times aside, the same evaluation and the same weights, bit for bit. */
export async function assertSameRun(folder: string, expected: string): Promise<void> {
  const metrics = async (run: string) => (await readMetrics(runPaths(run).metrics)).map(withoutMeasurements);
  assertEquals(await metrics(folder), await metrics(expected));
  const evaluation = async (run: string) => {
    const { rows, recall, teacher, rolled_back, compute } = await readEvaluation(run);
    return { rows, recall, teacher, rolled_back, compute };
  };
  assertEquals(await evaluation(folder), await evaluation(expected));
  // A run that was stopped may have kept other checkpoints on its way.
  const [last, expectedLast] = [
    (await checkpointNames(folder)).at(-1),
    (await checkpointNames(expected)).at(-1),
  ];
  assertEquals(last, expectedLast);
  for (const file of ["config.json", "model.safetensors", "adapter/adapter_model.safetensors"]) {
    const [path, expectedPath] = [folder, expected].map((run) => `${run}/checkpoints/${last}/${file}`);
    assertEquals(await exists(path!), await exists(expectedPath!), `${path} is there or missing`);
    if (await exists(path!)) assertEquals(await Deno.readFile(path!), await Deno.readFile(expectedPath!));
  }
}
