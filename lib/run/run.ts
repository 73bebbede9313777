/** What the stages of a run share: its settings, data, policy and position, and what happens after every step. @module */
import * as tf from "@tensorflow/tfjs";
import { yieldToEventLoop } from "../base/event_loop.ts";
import { writeWhole } from "../base/files.ts";
import type { Detectors } from "../learn/detectors.ts";
import type { Engine } from "../engine/open_engine.ts";
import { supported } from "../eval/support.ts";
import {
  exactMatchReward,
  f1Reward,
  searchR1FormatReward,
  substringReward,
  type WeightedReward,
} from "../learn/reward.ts";
import type { Scorer } from "../learn/scorer.ts";
import type { OptimizerState } from "../learn/trainer.ts";
import type { Policy } from "../model/policy.ts";
import type { AgentOptions } from "../rollout/environment.ts";
import { modelTokenCount, type Trajectory } from "../rollout/trajectory.ts";
import {
  checkpointName,
  loadCheckpoint,
  pruneCheckpoints,
  saveCheckpoint,
  type TrainingState,
} from "./checkpoint.ts";
import type { Config } from "./config.ts";
import type { AppendLog } from "./append_log.ts";
import { appendMetrics } from "./metrics.ts";
import type { ProgressEvent } from "./progress.ts";
import type { RunData } from "./run_data.ts";
import { runPaths } from "./run_folder.ts";
import { type Stage, stagesOf } from "./stages.ts";
import { appendEvents } from "./tensorboard.ts";

/** A run under way. */
export interface Run {
  config: Config;
  folder: string;
  engine: Engine;
  data: RunData;
  policy: Policy;
  state: TrainingState;
  scorer: Scorer;
  metrics: AppendLog;
  events: AppendLog;
  detectors: Detectors;
  /** Beside those of the config. */
  rewards: readonly WeightedReward[];
  signal: AbortSignal | undefined;
  onProgress: (event: ProgressEvent) => void;
  /** Until when the time has been accounted for, by `performance.now()`. */
  lastTick: number;
}

/** Thrown when a run was asked to stop and has written its checkpoint. */
export class Interrupted extends Error {
  override name = "Interrupted";
}

/**
 * The agent's options as the config has them.
 *
 * @example
 * ```ts
 * import { agentOptions, parseConfig } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(agentOptions(parseConfig("[agent]\nmax_turns = 2", "run.toml")).maxTurns, 2);
 * ```
 */
export function agentOptions({ agent }: Config): AgentOptions {
  return {
    maxTurns: agent.max_turns,
    documents: agent.documents,
    maxObservationTokens: agent.max_observation_tokens,
    maxContextTokens: agent.max_context_tokens,
    maxNewTokens: agent.max_new_tokens,
    instruction: agent.instruction,
    notice: agent.notice,
    chatTemplate: agent.chat_template,
    useRowPrompts: agent.use_row_prompts,
  };
}

/**
 * Ends a step: counts it, writes its metrics, warns of a collapse, and writes a checkpoint when one is due or the run was
 * asked to stop.
 *
 * @throws {Interrupted} when the run was asked to stop.
 */
export async function finishStep(
  run: Run,
  stage: Stage,
  total: number,
  optimizer: OptimizerState,
  metrics: Record<string, number> & { num_tokens: number },
): Promise<void> {
  const { state } = run;
  state.step++;
  state.stageStep++;
  state.tokens += metrics.num_tokens!;
  const row = { step: state.step, stage: stage.name, ...metrics, num_tokens: state.tokens };
  for (const text of run.detectors.observe(row)) run.onProgress({ kind: "note", text: `Warning: ${text}` });
  await appendMetrics(run.metrics, row);
  await appendEvents(run.events, row);
  run.onProgress({ kind: "step", stage: stage.name, done: state.stageStep, total, figures: metrics });
  if (state.stageStep % run.config.checkpoint.every_steps === 0) await writeCheckpoint(run, optimizer);
  await stopWhenAsked(run, optimizer);
}

/**
 * Lets timers and signals run; when the run was asked to stop, writes a checkpoint and throws. Before the first step of a
 * stage the checkpoint at its start is the one to go on from.
 *
 * @throws {Interrupted} when the run was asked to stop.
 */
export async function stopWhenAsked(run: Run, optimizer: OptimizerState | undefined): Promise<void> {
  if (run.signal?.aborted && run.state.stageStep > 0) await writeCheckpoint(run, optimizer);
  await throwIfAsked(run);
}

/**
 * Throws when the run was asked to stop, where there is nothing to save.
 *
 * @throws {Interrupted} when the run was asked to stop.
 */
export async function throwIfAsked(run: Run): Promise<void> {
  await yieldToEventLoop();
  if (run.signal?.aborted) throw new Interrupted(`Stopped at step ${run.state.step}`);
}

/** Books the time since the last booking under a name, and in the total. */
export function spend(run: Run, name: string): void {
  const now = performance.now();
  const { seconds } = run.state.evaluation;
  for (const key of [name, "total"]) seconds[key] = (seconds[key] ?? 0) + (now - run.lastTick) / 1000;
  run.lastTick = now;
}

/** Writes the checkpoint of the present step, and what follows from it. */
export async function writeCheckpoint(run: Run, optimizer: OptimizerState | undefined): Promise<void> {
  const { state } = run;
  const stage = stagesOf(run.config)[state.stageIndex];
  if (stage) spend(run, state.step === 0 ? "setup" : stage.name);
  await run.metrics.sync();
  await run.events.sync();
  state.metricsBytes = run.metrics.length;
  state.eventsBytes = run.events.length;
  await saveCheckpoint(run.folder, checkpointName(state.step), { policy: run.policy, optimizer, state });
  await settleCheckpoint(run);
}

/** What follows a checkpoint, and is made up for on resume: `best.json` is written, checkpoints that nothing needs go. */
export async function settleCheckpoint({ folder, config, state }: Run): Promise<void> {
  if (state.best) await writeWhole(runPaths(folder).best, JSON.stringify(state.best, null, 2) + "\n");
  const reference = config.grpo.reset_reference ? undefined : state.firstReference;
  const needed = [state.stageStart, reference, state.best?.checkpoint];
  await pruneCheckpoints(folder, config.checkpoint.keep, needed.filter((name) => typeof name === "string"));
}

/** The policy of one of the run's checkpoints, to be scored with and never trained. */
export async function frozenPolicy(run: Run, checkpoint: string): Promise<Policy & Disposable> {
  const { policy, optimizer } = await loadCheckpoint(`${run.folder}/checkpoints/${checkpoint}`);
  if (optimizer) tf.dispose([optimizer.m, optimizer.v]);
  return { ...policy, [Symbol.dispose]: () => disposePolicy(policy) };
}

/** Frees a policy's tensors. */
export function disposePolicy({ weights, adapter }: Policy): void {
  tf.dispose([weights, adapter?.weights ?? {}]);
}

/** The rewards that the config weights above zero, then the caller's own. */
export function rewardsOf(
  { config, policy, rewards }: Pick<Run, "config" | "policy" | "rewards">,
): WeightedReward[] {
  const all = {
    exact_match: exactMatchReward,
    f1: f1Reward,
    substring: substringReward,
    format: searchR1FormatReward(policy.tokenizer),
  };
  const weighted = Object.entries(all)
    .map(([name, score]) => ({ name, score, weight: config.reward[name as keyof typeof all] }))
    .filter(({ weight }) => weight > 0);
  return [...weighted, ...rewards];
}

/** Tokens that a batch of roll-outs put through the model once: all that the model wrote and all that it read. */
export function tokensOf(trajectories: readonly Trajectory[]): number {
  return trajectories.reduce((sum, trajectory) => sum + trajectory.tokens.length, 0);
}

/** Agent metrics of a batch of roll-outs, under the names that TRL and Search-R1 users know. */
export function rolloutMetrics(trajectories: readonly Trajectory[]): Record<string, number> {
  const n = trajectories.length;
  const lengths = trajectories.map(modelTokenCount);
  const turns = trajectories.flatMap((trajectory) => trajectory.turns);
  const searches = turns.filter(({ kind }) => kind === "search");
  const answered = trajectories.filter(({ answer }) => answer !== null);
  const share = (of: readonly unknown[], all: readonly unknown[]) =>
    all.length === 0 ? 0 : of.length / all.length;
  return {
    "completions/mean_length": lengths.reduce((a, b) => a + b, 0) / n,
    "completions/min_length": Math.min(...lengths),
    "completions/max_length": Math.max(...lengths),
    "completions/clipped_ratio": share(trajectories.filter(({ stop }) => stop !== "answer"), trajectories),
    "env/searches_mean": searches.length / n,
    "env/empty_search_ratio": share(searches.filter(({ documents }) => documents.length === 0), searches),
    "env/unsupported_ratio": share(
      answered.filter(({ answer, turns }) =>
        !supported(answer!, turns.flatMap(({ documents }) => documents))
      ),
      answered,
    ),
    "env/valid_action_ratio": share(turns.filter(({ kind }) => kind !== "invalid"), turns),
    "env/finish_ratio": share(trajectories.filter(({ stop }) => stop === "answer"), trajectories),
    "env/truncated_tokens": trajectories.reduce((sum, { truncatedTokens }) => sum + truncatedTokens, 0) / n,
    "env/dropped_tokens": trajectories.reduce((sum, { droppedTokens }) => sum + droppedTokens, 0) / n,
  };
}
