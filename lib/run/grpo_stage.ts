/** GRPO: the policy answers in groups, rewards are centred within the group, and a clipped surrogate is climbed. @module */
import * as tf from "@tensorflow/tfjs";
import { pick, randomStream } from "../base/random.ts";
import { groupAdvantages, mean, standardDeviation } from "../learn/advantage.ts";
import { type BatchTensors, microBatches, modelTokensByRow, packPerToken } from "../learn/batch.ts";
import { groupIdCollisions } from "../learn/detectors.ts";
import { grpoLoss, type GrpoOptions, stopGradient } from "../learn/grpo.ts";
import { rewardTrajectories } from "../learn/reward.ts";
import { learningRate } from "../learn/schedule.ts";
import { type Loss, type OptimizerState, Trainer } from "../learn/trainer.ts";
import { gatherRows } from "../model/layer_ops.ts";
import type { ModelConfig, Policy } from "../model/policy.ts";
import { modelLogits, tokenEntropies, tokenLogprobs } from "../model/scoring.ts";
import { rollout } from "../rollout/rollout.ts";
import { modelTokenCount, type Trajectory } from "../rollout/trajectory.ts";
import type { Task } from "../world/question_set.ts";
import { spent } from "./checkpoint.ts";
import {
  agentOptions,
  finishStep,
  frozenPolicy,
  rewardsOf,
  rolloutMetrics,
  type Run,
  tokensOf,
} from "./run.ts";
import { writeRollouts } from "./run_folder.ts";
import { crossEntropyLoss, drawBatch, packedInputs } from "./sft_stage.ts";
import { type GrpoSettings, grpoSettings, type Stage } from "./stages.ts";

/**
 * The policy loss on a packed batch; inputs: tokens, index, targets, mask, old log-probs, advantages of the sequences, where
 * their model tokens stand, the mask of those [, reference].
 *
 * @param onPolicy The weights are still those that drew the rows: the old log-probs are the policy's own, as constants, and
 * those that come in, the sampler's, are only compared with them.
 */
export function policyLoss(
  config: ModelConfig,
  options: GrpoOptions,
  temperature: number,
  onPolicy = false,
): Loss {
  return ({ weights, adapter }, inputs) => {
    const [tokens_BT, index_BM, targets_BM, mask_BM, old_BM, advantage_S, place_SM, mask_SM, ref_BM] = inputs;
    const batch = { tokens_BT, index_BM, targets_BM, mask_BM } as BatchTensors;
    const bySequence = (x_BM: tf.Tensor) => {
      const picked = gatherRows(tf.reshape(x_BM, [-1, 1]), tf.reshape(place_SM!, [-1]));
      return tf.reshape(picked, place_SM!.shape as [number, number]) as tf.Tensor2D;
    };
    const logits_BMV = modelLogits(config, weights, adapter, batch);
    const logp_BM = tokenLogprobs(logits_BMV, batch.targets_BM, temperature);
    const logp_SM = bySequence(logp_BM);
    const { loss, metrics } = grpoLoss({
      logp_BM: logp_SM,
      oldLogp_BM: onPolicy ? stopGradient(logp_SM) as tf.Tensor2D : bySequence(old_BM!),
      refLogp_BM: ref_BM && bySequence(ref_BM),
      advantage_B: advantage_S as tf.Tensor1D,
      mask_BM: mask_SM as tf.Tensor2D,
      entropy_BM: bySequence(tokenEntropies(logits_BMV, temperature)),
    }, options);
    if (!onPolicy) return { loss, metrics };
    const difference_BM = tf.mul(tf.abs(tf.sub(old_BM!, logp_BM)), mask_BM!);
    return {
      loss,
      metrics: {
        ...metrics,
        [samplingMean]: tf.div(tf.sum(difference_BM), tf.maximum(tf.sum(mask_BM!), 1)) as tf.Scalar,
        [samplingMax]: tf.max(difference_BM) as tf.Scalar,
      },
    };
  };
}

/** |log-prob of the sampler − log-prob of the trainer| over all model tokens, under TRL's names. */
const samplingMean = "sampling/sampling_logp_difference/mean";
const samplingMax = "sampling/sampling_logp_difference/max";

/** Trains until the stage's steps are done, from the position in `run.state` on. */
export async function grpoStage(run: Run, stage: Stage, optimizer?: OptimizerState): Promise<void> {
  const { config, policy, state } = run;
  const settings = grpoSettings(config, stage.occurrence);
  using trainer = new Trainer(run.engine, policy, {
    weightDecay: settings.weight_decay,
    maxGradNorm: settings.max_grad_norm,
    xla: config.engine.xla,
  }, optimizer);
  const referenceName = settings.reset_reference ? state.stageStart : state.firstReference!;
  using reference = settings.beta > 0 ? await frozenPolicy(run, referenceName) : undefined;
  const { temperature } = config.agent;
  const updates = settings.num_iterations * settings.mini_batches;
  const onPolicy = updates === 1;
  const losses = {
    policy: policyLoss(policy.config, lossOptions(run, settings), temperature, onPolicy),
    rehearsal: crossEntropyLoss(policy.config),
  };
  const rehearsals = config.rehearsal.per_step > 0
    ? await run.data.rehearsals(policy.tokenizer, stage.name)
    : [];

  const budget = settings.compute_budget || Infinity;
  while (state.stageStep < settings.steps && spent(state.compute) < budget) {
    const started = performance.now();
    const step = state.stageStep;
    const time = { generate: 0, search: 0, logprobs: 0, train: 0 };

    // 1. Groups of roll-outs with rewards.
    const { trajectories, all, tasks } = await sampleGroups(run, stage, settings, time);

    // 2. Advantages: A = (r − mean) / (std + ε) within the group (arXiv 2402.03300, §4.1.2).
    const { advantages } = groupAdvantages(trajectories, {
      scaleRewards: settings.scale_rewards,
      epsilon: settings.std_epsilon,
    });

    // 3. Log-probs of the drawn tokens under the policy as it is now, and under the reference. Where the first update is the
    // only one, the loss has the policy's own at hand.
    const logprobsStarted = performance.now();
    const batch = config.engine.micro_batch;
    const old = onPolicy
      ? trajectories.map(({ logprobs }) => logprobs)
      : await run.scorer.logprobs(policy, trajectories, { temperature, batch });
    const ref = reference && await run.scorer.logprobs(reference, trajectories, { temperature, batch });
    state.compute.scored += tokensOf(trajectories) * (Number(!onPolicy) + Number(ref !== undefined));
    time.logprobs = performance.now() - logprobsStarted;

    // 4. Optimiser steps.
    const trainStarted = performance.now();
    const rows = trajectories.map((trajectory, i): Row => ({
      tokens: trajectory.tokens,
      // A roll-out that ended without an answer may be left out of the loss altogether.
      mask: settings.mask_truncated && trajectory.stop !== "answer"
        ? trajectory.mask.map(() => 0)
        : trajectory.mask,
      advantage: advantages[i]!,
      old: old[i]!,
      ref: ref?.[i],
    }));
    const figures: Record<string, number>[] = [];
    let rate = 0;
    // Dynamic sampling may leave fewer rows than mini-batches.
    const parts = chunk(rows, Math.min(settings.mini_batches, rows.length));
    for (let update = 0; update < settings.num_iterations * parts.length; update++) {
      const part = parts[update % parts.length]!;
      figures.push(await accumulateRows(trainer, losses.policy, part, settings.aggregation, policy, batch));
      const demonstrations = drawBatch(
        rehearsals,
        step * updates + update,
        config.rehearsal.per_step,
        (epoch) => [config.seed, stage.name, "rehearsal", epoch],
      );
      if (demonstrations.length > 0) {
        const { inputs } = packedInputs(
          demonstrations,
          policy.tokenizer.padTokenId,
          demonstrations.length,
          trainer.xla,
        );
        const { loss } = await trainer.accumulate(
          "rehearsal",
          losses.rehearsal,
          inputs,
          config.rehearsal.coefficient,
        );
        figures.at(-1)!["rehearsal/loss"] = loss!;
        state.compute.trained += demonstrations.reduce((sum, { tokens }) => sum + tokens.length, 0);
      }
      rate = learningRate(step * updates + update, {
        lr: settings.learning_rate,
        warmupRatio: settings.warmup_ratio,
        totalSteps: settings.steps * updates,
        schedule: settings.schedule,
      });
      figures.at(-1)!.grad_norm = await trainer.apply(rate);
    }
    state.compute.trained += tokensOf(trajectories) * settings.num_iterations;
    time.train = performance.now() - trainStarted;

    await writeRollouts(run.folder, state.step + 1, all, tasks.map(({ question }) => question));
    await finishStep(run, stage, settings.steps, trainer.optimizer, {
      ...rewardMetrics(all),
      ...rolloutMetrics(all),
      "env/group_id_collisions": groupIdCollisions(tasks.map(({ question }) => question)),
      ...meanOf(figures),
      ...(onPolicy ? {} : samplingDifference(trajectories, old)),
      learning_rate: rate,
      num_tokens: tokensOf(all),
      "time/generate": time.generate / 1000,
      "time/search": time.search / 1000,
      "time/logprobs": time.logprobs / 1000,
      "time/train": time.train / 1000,
      step_time: (performance.now() - started) / 1000,
    });
  }
}

/** A row of the policy loss. */
export interface Row {
  tokens: readonly number[];
  mask: readonly number[];
  advantage: number;
  old: readonly number[];
  ref: readonly number[] | undefined;
}

/**
 * Samples a step's groups. With dynamic sampling (arXiv 2503.14476, §3.2) groups whose rewards are all equal are dropped
 * and others drawn, three times at most; `all` holds the dropped ones too.
 */
async function sampleGroups(
  run: Run,
  stage: Stage,
  settings: GrpoSettings,
  time: { generate: number; search: number },
): Promise<{ trajectories: Trajectory[]; all: Trajectory[]; tasks: Task[] }> {
  const { config, state } = run;
  const step = state.stageStep;
  const all: Trajectory[] = [];
  const asked: Task[] = [];
  const kept: Trajectory[][] = [];
  for (let attempt = 0; attempt < (settings.dynamic_sampling ? 4 : 1); attempt++) {
    const missing = settings.questions_per_step - kept.length;
    if (missing === 0) break;
    const tasks = attempt === 0
      ? trainTasks(run, stage, step, missing)
      : freshTasks(run, missing, all, randomStream(config.seed, stage.name, "again", step, attempt));
    const groups = await rolloutGroups(run, stage, tasks, settings.group_size, time);
    all.push(...groups.flat());
    asked.push(...tasks);
    const useful = settings.dynamic_sampling
      ? groups.filter((group) => group.some(({ reward }) => reward !== group[0]!.reward))
      : groups;
    kept.push(...useful);
  }
  // Where no group at all tells right from wrong, the step goes on with what there is: its gradient is zero.
  return {
    trajectories: kept.length > 0 ? kept.flat() : all.slice(0, settings.group_size),
    all,
    tasks: asked,
  };
}

/** The tasks of one step, all of them at most: the questions in an order of their own for every stage and epoch. */
export function trainTasks(run: Run, stage: Stage, step: number, count: number): Task[] {
  return drawBatch(
    run.data.train,
    step,
    Math.min(count, run.data.train.length),
    (epoch) => [run.config.seed, stage.name, "questions", epoch],
  );
}

/** Tasks that the step has not asked yet, as many as there are: the same question would be rolled out the same. */
function freshTasks(run: Run, count: number, seen: readonly Trajectory[], random: () => number): Task[] {
  const ids = new Set(seen.map(({ questionId }) => questionId));
  const others = run.data.train.filter(({ question }) => !ids.has(question.id));
  const drawn = new Set<Task>();
  while (drawn.size < Math.min(count, others.length)) drawn.add(pick(others, random));
  return [...drawn];
}

/** Rolls every task out `size` times at the agent's temperature and rewards the trajectories; one list a task. */
export async function rolloutGroups(
  run: Run,
  stage: Stage,
  tasks: readonly Task[],
  size: number,
  time: { generate: number; search: number },
): Promise<Trajectory[][]> {
  const { config, state } = run;
  const step = state.stageStep;
  const requests = tasks.flatMap((task) =>
    Array.from({ length: size }, (_, member) => ({ ...task, member }))
  );
  const trajectories = await rollout(run.policy, requests, {
    agent: agentOptions(config),
    temperature: config.agent.temperature,
    random: (question, member) => randomStream(config.seed, stage.name, "rollout", step, question.id, member),
    maxBatch: config.engine.rollout_batch,
    time,
  });
  state.compute.generated += tokensOf(trajectories);
  await rewardTrajectories(trajectories, requests.map(({ question }) => question), rewardsOf(run));
  return tasks.map((_, i) => trajectories.slice(i * size, (i + 1) * size));
}

/**
 * Adds the gradient of one optimiser step, a micro-batch at a time. Each is weighted by its share of what the aggregation
 * divides by (tokens, or rows), so that the sum equals the loss of the whole.
 */
export async function accumulateRows(
  trainer: Trainer,
  loss: Loss,
  rows: readonly Row[],
  aggregation: GrpoSettings["aggregation"],
  policy: Policy,
  batch: number,
): Promise<Record<string, number>> {
  const size = (part: readonly Row[]) =>
    aggregation === "bnpo" || aggregation === "dapo"
      ? part.reduce((sum, row) => sum + modelTokenCount(row), 0)
      : part.length;
  const figures: Record<string, number> = {};
  for (const indices of microBatches(rows, batch)) {
    const part = indices.map((i) => rows[i]!);
    const share = size(part) / Math.max(1, size(rows));
    const { packed, inputs } = packedInputs(part, policy.tokenizer.padTokenId, part.length, trainer.xla);
    const perToken = (values: (row: Row) => readonly number[]) =>
      tf.tensor2d(packPerToken(packed, part, part.map(values)), [packed.B, packed.M]);
    const { shape, place_SM, mask_SM } = modelTokensByRow(packed, part);
    inputs.push(
      perToken((row) => row.old),
      tf.tensor1d(part.map((row) => row.advantage)),
      tf.tensor2d(place_SM, shape, "int32"),
      tf.tensor2d(mask_SM, shape),
    );
    if (part[0]!.ref) inputs.push(perToken((row) => row.ref!));
    const got = await trainer.accumulate("policy", loss, inputs, share);
    for (const [name, value] of Object.entries(got)) {
      const known = figures[name] ?? 0;
      figures[name] = name === samplingMax ? Math.max(known, value) : known + share * value;
    }
  }
  return figures;
}

function lossOptions({ config }: Run, settings: GrpoSettings): GrpoOptions {
  return {
    aggregation: settings.aggregation,
    importance: settings.importance,
    loss: settings.loss,
    epsilonLow: settings.epsilon_low,
    epsilonHigh: settings.epsilon_high,
    ...(settings.delta > 0 ? { delta: settings.delta } : {}),
    beta: settings.beta,
    entropyCoefficient: settings.entropy_coefficient,
    maxLength: (config.agent.max_turns + 1) * config.agent.max_new_tokens,
  };
}

function rewardMetrics(trajectories: readonly Trajectory[]): Record<string, number> {
  const rewards = trajectories.map(({ reward }) => reward);
  const { fracRewardZeroStd } = groupAdvantages(trajectories, { scaleRewards: "none", epsilon: 0 });
  const parts = Object.keys(trajectories[0]!.rewards).map((name) => [
    `rewards/${name}/mean`,
    mean(trajectories.map(({ rewards }) => rewards[name]!)),
  ]);
  return {
    reward: mean(rewards),
    reward_std: standardDeviation(rewards),
    frac_reward_zero_std: fracRewardZeroStd,
    ...Object.fromEntries(parts),
  };
}

function samplingDifference(
  trajectories: readonly Trajectory[],
  old: readonly number[][],
): Record<string, number> {
  const differences = trajectories.flatMap(({ mask, logprobs }, i) =>
    mask.flatMap((m, t) => m === 1 ? [Math.abs(logprobs[t]! - old[i]![t]!)] : [])
  );
  return {
    [samplingMean]: mean(differences),
    [samplingMax]: differences.reduce((a, b) => Math.max(a, b), 0),
  };
}

/** The items in `parts` runs of nearly equal length. */
export function chunk<T>(items: readonly T[], parts: number): T[][] {
  return Array.from(
    { length: parts },
    (_, i) => items.slice(Math.round(i * items.length / parts), Math.round((i + 1) * items.length / parts)),
  );
}

/** The mean of each figure over the records that have it. */
export function meanOf(records: readonly Record<string, number>[]): Record<string, number> {
  const names = [...new Set(records.flatMap((record) => Object.keys(record)))];
  return Object.fromEntries(names.map((name) => {
    const values = records.filter((record) => name in record).map((record) => record[name]!);
    return [name, values.reduce((a, b) => a + b, 0) / values.length];
  }));
}
