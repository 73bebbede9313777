/** Reads back what a run recorded in its folder, for those who look into it. @module */
import { InputError } from "../base/input_error.ts";
import { parseJson, readJsonLines } from "../base/json_lines.ts";
import { checkpointNames, type TrainingState } from "./checkpoint.ts";
import { loadConfig } from "./config.ts";
import { type RecordedDivergence, type RecordedTrajectory, runPaths } from "./run_folder.ts";
import { stagesOf } from "./stages.ts";

/**
 * The folder of the checkpoint that a stage of a run ended with.
 *
 * @param stage As {@linkcode stagesOf} names it: `sft`, `grpo-1`, …
 * @throws {InputError} when the run has no such stage, or that checkpoint is not there.
 *
 * @example
 * ```ts
 * import { stageCheckpoint } from "@search-e1/kit";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const folder = await Deno.makeTempDir();
 * await Deno.writeTextFile(`${folder}/config.toml`, 'stages = ["sft", "grpo"]');
 * await Deno.mkdir(`${folder}/checkpoints/step_000010`, { recursive: true });
 * const state = { stageIndex: 1, stageStep: 0 }; // the second stage is next
 * await Deno.writeTextFile(`${folder}/checkpoints/step_000010/state.json`, JSON.stringify(state));
 * assertEquals(await stageCheckpoint(folder, "sft"), `${folder}/checkpoints/step_000010`);
 * await assertRejects(() => stageCheckpoint(folder, "grpo-1"), Error, "checkpoint.keep");
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function stageCheckpoint(runFolder: string, stage: string): Promise<string> {
  const stages = stagesOf(await loadConfig(runPaths(runFolder).config)).map(({ name }) => name);
  if (!stages.includes(stage)) {
    throw new InputError(
      `Cannot find the policy after ${stage} in ${runFolder}: its stages are ${stages.join(", ")}`,
    );
  }
  for (const name of (await checkpointNames(runFolder)).reverse()) {
    const folder = `${runFolder}/checkpoints/${name}`;
    const path = `${folder}/state.json`;
    const state = parseJson<TrainingState>(await Deno.readTextFile(path), path);
    if (state.stageIndex === stages.indexOf(stage) + 1 && state.stageStep === 0) return folder;
  }
  throw new InputError(
    `Cannot find the policy after ${stage} in ${runFolder}: its checkpoint is gone; run with a larger checkpoint.keep`,
  );
}

/**
 * The trajectories of a file of roll-outs, with the gold answers of their questions.
 *
 * @param path As {@linkcode runPaths} names it: `rollouts(step)` or `stageRollouts(stage, set)`.
 * @throws {InputError} when the file is missing or malformed.
 *
 * @example
 * ```ts
 * import { readRollouts } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const path = await Deno.makeTempFile();
 * await Deno.writeTextFile(path, '{"questionId":"q","correct":true,"answers":["Lima"]}\n');
 * assertEquals((await readRollouts(path))[0]!.answers, ["Lima"]);
 * await Deno.remove(path);
 * ```
 */
export async function readRollouts(path: string): Promise<RecordedTrajectory[]> {
  return (await readJsonLines(path)).map(({ value }) => value as unknown as RecordedTrajectory);
}

/**
 * The token-level KL that an OFSD stage recorded on some of its pairs.
 *
 * @param path `stageRollouts(stage, "kl_before")` or `stageRollouts(stage, "kl_after")` of {@linkcode runPaths}.
 * @throws {InputError} when the file is missing or malformed.
 *
 * @example
 * ```ts
 * import { readTokenDivergences } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const path = await Deno.makeTempFile();
 * await Deno.writeTextFile(path, '{"questionId":"q","tokens":[5,6],"mask":[0,1],"kl":[null,0.5]}\n');
 * assertEquals((await readTokenDivergences(path))[0]!.kl, [null, 0.5]);
 * await Deno.remove(path);
 * ```
 */
export async function readTokenDivergences(path: string): Promise<RecordedDivergence[]> {
  return (await readJsonLines(path)).map(({ value }) => value as unknown as RecordedDivergence);
}
