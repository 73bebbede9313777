/**
 * Search-E1 (arXiv 2605.22511) from the first step to the last file: a warm start, then rounds of plain GRPO and of offline
 * self-distillation, with an evaluation after every stage.
 *
 *     deno task demo
 *     deno task train --config data/presets/demo.toml --out runs/mine
 *
 * @module
 */
import type { Engine } from "../engine/open_engine.ts";
import { evaluate } from "../eval/evaluate.ts";
import type { Evaluation } from "../eval/evaluation.ts";
import { createDetectors } from "../learn/detectors.ts";
import type { WeightedReward } from "../learn/reward.ts";
import { Scorer } from "../learn/scorer.ts";
import type { OptimizerState } from "../learn/trainer.ts";
import type { Policy } from "../model/policy.ts";
import { tasksOf } from "../world/question_set.ts";
import {
  checkpointName,
  latestCheckpoint,
  loadCheckpoint,
  recoverCheckpoints,
  spent,
  type TrainingState,
} from "./checkpoint.ts";
import type { Config } from "./config.ts";
import { firstPolicy } from "./first_policy.ts";
import { grpoStage } from "./grpo_stage.ts";
import { openMetrics, readMetrics } from "./metrics.ts";
import { ofsdStage } from "./ofsd_stage.ts";
import type { ProgressEvent } from "./progress.ts";
import {
  agentOptions,
  disposePolicy,
  Interrupted,
  type Run,
  settleCheckpoint,
  spend,
  throwIfAsked,
  writeCheckpoint,
} from "./run.ts";
import { openRunData, type RunData } from "./run_data.ts";
import {
  describeRun,
  lockRunFolder,
  readEnvironment,
  runPaths,
  writeEvaluation,
  writeStageRollouts,
} from "./run_folder.ts";
import { sftStage } from "./sft_stage.ts";
import { type Stage, stagesOf } from "./stages.ts";
import { openEvents } from "./tensorboard.ts";

/** What a run needs beside its config. */
export interface RunOptions {
  config: Config;
  /** The run folder; it is made when missing. */
  folder: string;
  engine: Engine;
  /** Go on from the newest checkpoint; where there is none yet, start over. */
  resume?: boolean;
  /** Stops the run after the step under way, with a checkpoint. */
  signal?: AbortSignal;
  /** Rewards of your own, added to those of the config. */
  rewards?: readonly WeightedReward[];
  onProgress?: (event: ProgressEvent) => void;
  /** When the process started, by `performance.now()`; for the total time. */
  startedAt?: number;
  /** Seconds of that which went into a download. */
  downloadSeconds?: number;
}

/** How a run ended. */
export interface RunResult {
  evaluation: Evaluation;
  /** False when it was asked to stop; `resume` goes on. */
  finished: boolean;
}

/**
 * Trains through all stages of the config, measures after each, and writes the run folder.
 *
 * @throws {InputError} when a file that the config names is missing or malformed, or another process has the folder.
 *
 * @example
 * ```ts
 * import { openEngine, parseConfig, runSearchE1 } from "@search-e1/kit";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const config = parseConfig(
 *   `
 *   stages = ["sft"]
 *   world = { countries = 12, cities = 16, airports = 16, sft_worlds = 1, rl_worlds = 1, hop_shares = [1, 0, 0] }
 *   model = { hidden_size = 8, layers = 1, heads = 2, kv_heads = 1, intermediate_size = 16 }
 *   agent = { instruction = "{question}\\n", documents = 1, max_turns = 1, max_new_tokens = 8 }
 *   sft = { phases = [{ steps = 2, learning_rate = 1e-2 }], batch = 2, demonstrations = 16 }
 *   evaluate = { n = 2, validation_n = 2, recall_n = 0 }
 *   `,
 *   "example",
 * );
 * const engine = await openEngine({ engine: "cpu" });
 * const folder = await Deno.makeTempDir();
 * const { evaluation, finished } = await runSearchE1({ config, folder, engine });
 * assert(finished);
 * assertEquals(evaluation.rows[0]!.stage, "sft");
 * engine.close();
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function runSearchE1(options: RunOptions): Promise<RunResult> {
  // Data and model first: a file that is missing or malformed leaves no run folder behind.
  const { config, folder, resume } = options;
  const data = await openRunData(config);
  const goesOn = resume && await latestCheckpoint(folder) !== undefined;
  const first = goesOn ? undefined : await firstPolicy(config, data);
  const lock = await lockRunFolder(folder).catch((error) => {
    if (first) disposePolicy(first);
    throw error;
  });
  try {
    const { run, optimizer } = await openRun(options, data, first);
    try {
      await allStages(run, optimizer);
      await finish(run);
      return { evaluation: run.state.evaluation, finished: true };
    } catch (error) {
      if (!(error instanceof Interrupted)) throw error;
      return { evaluation: run.state.evaluation, finished: false };
    } finally {
      run.metrics.close();
      run.events.close();
      run.scorer.dispose();
      disposePolicy(run.policy);
    }
  } finally {
    lock.release();
  }
}

/** The paper's page: SFT, then GRPO and OFSD in turns; after each stage a validation, a gate and a checkpoint. */
async function allStages(run: Run, optimizer: OptimizerState | undefined): Promise<void> {
  const { state } = run;
  const stages = stagesOf(run.config);
  while (state.stageIndex < stages.length) {
    const stage = stages[state.stageIndex]!;
    if (stage.kind === "grpo") state.firstReference ??= state.stageStart;
    // The gate compares with what was there before, also where OFSD is the first stage.
    if (stage.kind === "ofsd") state.validation ??= await validate(run);

    if (stage.kind === "sft") await sftStage(run, stage, optimizer);
    if (stage.kind === "grpo") await grpoStage(run, stage, optimizer);
    if (stage.kind === "ofsd") await ofsdStage(run, stage, optimizer);
    optimizer = undefined;
    spend(run, stage.name);
    // Evaluations change nothing, so a run that is stopped during one goes on from here.
    if (state.stageStep > 0) await writeCheckpoint(run, undefined);

    state.evaluation.compute[stage.name] = spent(state.compute);
    if (stage.kind === "ofsd") await gate(run, stage);
    else state.validation = await validate(run);
    await measureHeldout(run, stage);

    state.stageIndex++;
    state.stageStep = 0;
    state.stageStart = checkpointName(state.step);
    const { em, searches } = state.validation!;
    const better = !state.best || em > state.best.em ||
      (em === state.best.em && searches < state.best.searches);
    if (better) state.best = { checkpoint: state.stageStart, stage: stage.name, em, searches };
    await writeCheckpoint(run, undefined);
  }
}

/** Takes an OFSD stage back when it lowered validation EM by more than `gate_margin`. */
async function gate(run: Run, stage: Stage): Promise<void> {
  const { state } = run;
  const before = state.validation;
  const after = await validate(run);
  if (!before || after.em >= before.em - run.config.ofsd.gate_margin) {
    state.validation = after;
    return;
  }
  run.onProgress({
    kind: "note",
    text:
      `${stage.name}: validation EM fell from ${before.em.toFixed(3)} to ${
        after.em.toFixed(3)
      }, by more than ` +
      `ofsd.gate_margin = ${run.config.ofsd.gate_margin}: the stage is rolled back`,
  });
  const { policy } = await loadCheckpoint(`${run.folder}/checkpoints/${state.stageStart}`);
  disposePolicy(run.policy);
  run.policy = policy;
  state.evaluation.rolled_back.push(stage.name);
}

/** EM and searches on the validation set, which alone decides anything. */
async function validate(run: Run): Promise<{ em: number; searches: number }> {
  const { em, searches } = (await measure(run, run.data.validation, "greedy")).measured;
  return { em, searches };
}

/** One row for every held-out set and decoding. They are reported and choose nothing. */
async function measureHeldout(run: Run, stage: Stage): Promise<void> {
  const rows: Evaluation["rows"] = [];
  for (const set of run.data.heldout) {
    for (
      const decoding of run.config.evaluate.sampled ? ["greedy", "sampled"] as const : ["greedy"] as const
    ) {
      const { measured, trajectories } = await measure(run, set, decoding);
      rows.push({ stage: stage.name, set: set.name, decoding, ...measured });
      if (decoding === "greedy") {
        await writeStageRollouts(run.folder, stage.name, set.name, trajectories, set.questions);
      }
    }
  }
  run.state.evaluation.rows.push(...rows);
  for (const { set, decoding, em, searches } of rows) {
    if (decoding !== "greedy") continue;
    run.onProgress({
      kind: "note",
      text: `${stage.name} · ${set}: EM ${em.toFixed(3)}, ${searches.toFixed(2)} searches`,
    });
  }
  spend(run, "evaluate");
}

async function measure(
  run: Run,
  set: Run["data"]["validation"],
  decoding: "greedy" | "sampled",
  { searchOff = false, n = Infinity }: { searchOff?: boolean; n?: number } = {},
) {
  const { config } = run;
  const name = `${searchOff ? "recall" : "evaluate"} ${set.name} ${decoding}`;
  const result = await evaluate(run.policy, tasksOf(set).slice(0, n), {
    agent: agentOptions(config),
    decoding,
    temperature: config.agent.temperature,
    seed: config.seed,
    searchOff,
    maxBatch: config.engine.rollout_batch,
    onTurn: (done, total) => run.onProgress({ kind: "step", stage: name, done, total }),
  });
  await throwIfAsked(run);
  return result;
}

/** The recall probe and the last files. */
async function finish(run: Run): Promise<void> {
  const { evaluation } = run.state;
  const n = run.config.evaluate.recall_n;
  for (const set of n > 0 ? run.data.heldout : []) {
    const { measured } = await measure(run, set, "greedy", { searchOff: true, n });
    evaluation.recall[set.name] = { n: measured.n, em: measured.em };
  }
  spend(run, "evaluate");
  await writeEvaluation(run.folder, evaluation);
}

/** Opens the run folder at its newest checkpoint, or at the start. */
async function openRun(
  options: RunOptions,
  data: RunData,
  first: Policy | undefined,
): Promise<{ run: Run; optimizer: OptimizerState | undefined }> {
  const { config, folder, engine, resume, downloadSeconds = 0 } = options;
  const began = options.startedAt ?? performance.now();
  const paths = runPaths(folder);
  if (resume) await recoverCheckpoints(folder);
  const newest = resume ? await latestCheckpoint(folder) : undefined;
  const saved = newest ? await loadCheckpoint(`${folder}/checkpoints/${newest}`) : undefined;
  if (saved && first) disposePolicy(first); // a checkpoint came to light that a crash had left half named
  if (!saved) await describeRun(folder, config, await readEnvironment(engine));
  const state = saved?.state ?? firstState(engine);
  const run: Run = {
    config,
    folder,
    engine,
    data,
    policy: saved?.policy ?? first ?? await firstPolicy(config, data),
    state,
    scorer: new Scorer(engine),
    metrics: await openMetrics(paths.metrics, state.metricsBytes),
    events: await openEvents(paths.events, state.eventsBytes),
    detectors: createDetectors(),
    rewards: options.rewards ?? [],
    signal: options.signal,
    onProgress: options.onProgress ?? (() => {}),
    // The download is accounted for apart.
    lastTick: began + 1000 * downloadSeconds,
  };
  state.evaluation.seconds.download = (state.evaluation.seconds.download ?? 0) + downloadSeconds;
  if (saved) {
    for (const row of await readMetrics(paths.metrics)) run.detectors.observe(row);
    run.onProgress({ kind: "note", text: `Goes on from ${newest}` });
    noteOtherEngine(run);
    await settleCheckpoint(run);
  } else {
    state.evaluation.bounds = await data.bounds();
    for (const [set, { naive, efficient }] of Object.entries(state.evaluation.bounds)) {
      run.onProgress({
        kind: "note",
        text:
          `Scripted bounds · ${set}: naive EM ${naive.em.toFixed(3)}, ${
            naive.searches.toFixed(2)
          } searches; ` +
          `efficient EM ${efficient.em.toFixed(3)}, ${efficient.searches.toFixed(2)} searches`,
      });
    }
    await writeCheckpoint(run, undefined);
  }
  spend(run, "setup");
  return { run, optimizer: saved?.optimizer };
}

/** Says when a run goes on with another engine than it began with, since it then rounds differently. */
function noteOtherEngine({ engine, state, onProgress }: Run): void {
  const shown = ({ name, device, threads, version }: Evaluation["engine"]) =>
    `${name} on ${device} with ${threads} threads, ${version}`;
  const [before, now] = [shown(state.evaluation.engine), shown(engine)];
  if (before === now) return;
  const text =
    `Warning: the run began with ${before} and goes on with ${now}; it will equal an uninterrupted one within rounding only`;
  onProgress({ kind: "note", text });
}

function firstState({ name, device, threads, version }: Engine): TrainingState {
  return {
    step: 0,
    stageIndex: 0,
    stageStep: 0,
    stageStart: checkpointName(0),
    firstReference: null,
    tokens: 0,
    metricsBytes: 0,
    eventsBytes: 0,
    compute: { generated: 0, scored: 0, trained: 0 },
    evaluation: {
      rows: [],
      recall: {},
      teacher: [],
      rolled_back: [],
      bounds: {},
      seconds: {},
      compute: {},
      engine: { name, device, threads, version },
    },
    best: null,
    validation: null,
  };
}
