/**
 * OFSD: the policy rolls out on its own training questions, and its distribution is pulled, token by token, toward what the
 * same policy says when it is shown a more efficient sibling (arXiv 2605.22511).
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import { randomStream } from "../base/random.ts";
import { evaluate } from "../eval/evaluate.ts";
import { mean } from "../learn/advantage.ts";
import { type BatchTensors, packPerToken, type Sequence } from "../learn/batch.ts";
import { hostWeights, ofsdLoss, type OfsdOptions } from "../learn/ofsd.ts";
import { privilegedBlock, privilegedPair, queryMask, shownSiblings } from "../learn/privileged_context.ts";
import { learningRate } from "../learn/schedule.ts";
import { chooseSiblings, type SiblingPair } from "../learn/siblings.ts";
import { tokenDivergence } from "../learn/token_divergence.ts";
import { type Loss, type OptimizerState, Trainer } from "../learn/trainer.ts";
import { initAdapter, mergeAdapter } from "../model/adapter.ts";
import type { ModelConfig, Policy } from "../model/policy.ts";
import { modelLogits } from "../model/scoring.ts";
import { modelTokenCount } from "../rollout/trajectory.ts";
import type { Task } from "../world/question_set.ts";
import { rolloutGroups, trainTasks } from "./grpo_stage.ts";
import { agentOptions, finishStep, frozenPolicy, type Run, stopWhenAsked } from "./run.ts";
import { runPaths, writeJsonLines, writeStageRollouts, writeTokenDivergences } from "./run_folder.ts";
import { crossEntropyLoss, drawBatch, packedInputs } from "./sft_stage.ts";
import { type OfsdSettings, ofsdSettings, type Stage } from "./stages.ts";

/** The distillation loss; inputs: tokens, index, targets, mask of the student, token weights, the teacher's targets. */
export function distillationLoss(config: ModelConfig, options: OfsdOptions): Loss {
  return ({ weights, adapter }, inputs) => {
    const [tokens_BT, index_BM, targets_BM, mask_BM, weights_BM, logp, ids_BMK] = inputs;
    const batch = { tokens_BT, index_BM, targets_BM, mask_BM } as BatchTensors;
    return ofsdLoss({
      studentLogits_BMV: modelLogits(config, weights, adapter, batch),
      teacher: { logp: logp as tf.Tensor3D, ids_BMK: ids_BMK as tf.Tensor3D | undefined },
      mask_BM: batch.mask_BM,
      weights_BM: weights_BM as tf.Tensor2D,
    }, options);
  };
}

/** Rolls out, pairs, measures the teacher, and distils, from the position in `run.state` on. */
export async function ofsdStage(run: Run, stage: Stage, optimizer?: OptimizerState): Promise<void> {
  const { config, state } = run;
  const settings = ofsdSettings(config, stage.occurrence);
  const pairs = await siblingPairs(run, stage, settings);
  await stopWhenAsked(run, optimizer);
  // A block of another question needs another question.
  const questions = new Set(pairs.map(({ questionId }) => questionId)).size;
  if (questions < (settings.arm === "shuffled-sibling" ? 2 : 1)) {
    run.onProgress({
      kind: "note",
      text: `${stage.name}: no question has a sibling and a worse roll-out; nothing to distil`,
    });
    return;
  }
  const blocks = privilegedBlocks(run, stage, settings, pairs);
  if (settings.arm === "ofsd" && !state.evaluation.teacher.some((row) => row.stage === stage.name)) {
    await measureTeacher(run, stage, settings, pairs, blocks);
  }
  const competence = state.evaluation.teacher.find((row) => row.stage === stage.name);
  if (competence && !competence.distilled) return;

  // π₀ is the policy as this stage found it; it stays as it is while the student moves away from it.
  using teacher = await frozenPolicy(run, state.stageStart);
  if (settings.train === "lora" && !run.policy.adapter) {
    run.policy.adapter = initAdapter(
      run.policy.config,
      { rank: settings.lora_rank, alpha: settings.lora_alpha },
      config.seed,
    );
  }
  using trainer = new Trainer(run.engine, run.policy, {
    weightDecay: settings.weight_decay,
    maxGradNorm: settings.max_grad_norm,
    xla: config.engine.xla,
  }, optimizer);
  const examples = settings.arm === "rejection-sft"
    ? [...new Map(pairs.map(({ sibling }) => [sibling.questionId, sibling])).values()]
      .map((sibling) => ({ student: sibling, teacher: sibling, returnGap: 0 }))
    : pairs.map(({ student, returnGap }, i) => {
      const mask = settings.tokens === "queries" ? queryMask(student, run.policy.tokenizer) : student.mask;
      return { ...privilegedPair(student, blocks[i]!, mask), returnGap };
    }).filter(({ student }) => student.mask.includes(1));
  const perEpoch = Math.ceil(examples.length / settings.batch);
  const total = settings.epochs * perEpoch;
  const loss = settings.arm === "rejection-sft"
    ? crossEntropyLoss(run.policy.config)
    : distillationLoss(run.policy.config, lossOptions(settings));
  const record = settings.arm === "rejection-sft"
    ? () => Promise.resolve()
    : (when: "before" | "after") => recordDivergence(run, stage, settings, when, teacher, pairs, blocks);
  if (state.stageStep === 0) await record("before");

  while (state.stageStep < total) {
    const started = performance.now();
    const part = drawBatch(
      examples,
      state.stageStep,
      settings.batch,
      (epoch) => [config.seed, stage.name, "order", epoch],
    );
    const rate = learningRate(state.stageStep, {
      lr: settings.learning_rate,
      warmupRatio: settings.warmup_ratio,
      totalSteps: total,
      schedule: settings.schedule,
    });
    const figures = await accumulateExamples(run, trainer, teacher, loss, part, settings);
    const gradNorm = await trainer.apply(rate);
    await finishStep(run, stage, total, trainer.optimizer, {
      ...figures,
      "ofsd/pairs": pairs.length,
      "ofsd/groups_kept": questions,
      "ofsd/search_gap_mean": mean(pairs.map(({ searchGap }) => searchGap)),
      ...(competence && { "ofsd/teacher_em": competence.em, "ofsd/teacher_searches": competence.searches }),
      grad_norm: gradNorm,
      learning_rate: rate,
      num_tokens: part.reduce((sum, { student }) => sum + student.tokens.length, 0),
      step_time: (performance.now() - started) / 1000,
    });
  }
  await record("after");
  if (run.policy.adapter && settings.merge) {
    const { config: modelConfig, weights, adapter } = run.policy;
    run.policy.weights = mergeAdapter(modelConfig, weights, adapter);
    tf.dispose([weights, adapter.weights]);
    delete run.policy.adapter;
  }
}

/**
 * The pairs of this stage: rolled out and chosen when it begins, and kept in the run folder for a resumed run, whose policy
 * is no longer the one that rolled out.
 */
async function siblingPairs(run: Run, stage: Stage, settings: OfsdSettings): Promise<SiblingPair[]> {
  const path = runPaths(run.folder).stageRollouts(stage.name, "pairs");
  if (run.state.stageStep > 0) {
    const lines = (await Deno.readTextFile(path)).split("\n").filter((line) => line !== "");
    return lines.map((line) => JSON.parse(line));
  }
  const started = performance.now();
  const tasks = trainTasks(run, stage, 0, settings.questions);
  run.onProgress({
    kind: "note",
    text: `${stage.name}: ${tasks.length} questions × ${settings.samples} roll-outs of its own`,
  });
  const groups = await rolloutGroups(run, stage, tasks, settings.samples, { generate: 0, search: 0 });
  const questions = tasks.map(({ question }) => question);
  await writeStageRollouts(run.folder, stage.name, "own", groups.flat(), questions);
  const { pairs, counts } = chooseSiblings(groups, {
    pairsPerQuestion: settings.pairs_per_question,
    sameSearchesMoreTokens: settings.same_searches_more_tokens,
  });
  const answersOf = new Map(questions.map(({ id, answers }) => [id, answers]));
  await writeJsonLines(path, pairs.map((pair) => ({ ...pair, answers: answersOf.get(pair.questionId) })));
  run.onProgress({
    kind: "note",
    text:
      `${stage.name}: ${pairs.length} pairs of ${counts.groupsKept} questions in ${
        ((performance.now() - started) / 1000).toFixed(1)
      } s; left out: ${counts.withoutSibling} questions without a right answer, ${counts.withoutWorse} without a worse ` +
      `roll-out, ${counts.notWorse} roll-outs as good as the sibling, ${counts.overLimit} beyond the limit`,
  });
  return pairs;
}

/** Pairs of a stage whose token-level KL is recorded for people to look at. */
const recordedPairs = 32;

/** Records the token-level KL of some pairs, evenly spread, with the student as it is now. */
async function recordDivergence(
  run: Run,
  stage: Stage,
  settings: OfsdSettings,
  when: "before" | "after",
  teacher: Policy,
  pairs: readonly SiblingPair[],
  blocks: readonly number[][],
): Promise<void> {
  const every = Math.ceil(pairs.length / recordedPairs);
  const shown = pairs.map(({ student }, i) => ({ student, block: blocks[i]! })).filter((_, i) =>
    i % every === 0
  );
  const divergences = await tokenDivergence(
    teacher,
    run.policy,
    shown.map(({ student, block }) => privilegedPair(student, block)),
    {
      direction: settings.direction,
      jsdBeta: settings.jsd_beta,
      teacherTemperature: settings.teacher_temperature,
      batch: Math.min(run.config.engine.micro_batch, recordedPairs),
    },
  );
  await writeTokenDivergences(
    run.folder,
    stage.name,
    when,
    shown.map(({ student: { questionId, member, tokens, promptLength, mask }, block }, i) => ({
      questionId,
      member,
      tokens,
      promptLength,
      mask,
      block,
      ...divergences[i]!,
    })),
  );
}

/** The ids of the block that each pair's teacher reads. */
function privilegedBlocks(
  run: Run,
  stage: Stage,
  settings: OfsdSettings,
  pairs: readonly SiblingPair[],
): number[][] {
  if (settings.arm === "no-privilege") return pairs.map(() => []);
  const control = settings.arm === "shuffled-sibling" ? "shuffled" : "own";
  return shownSiblings(pairs, control, randomStream(run.config.seed, stage.name, "shuffle"))
    .map((sibling) => privilegedBlock(sibling, settings.block, run.policy.tokenizer));
}

/**
 * EM and searches of π₀ with and without the block, greedy, on the questions that have a pair. A teacher that answers worse
 * by more than `teacher_margin` must not be distilled.
 */
async function measureTeacher(
  run: Run,
  stage: Stage,
  settings: OfsdSettings,
  pairs: readonly SiblingPair[],
  blocks: readonly number[][],
): Promise<void> {
  const blockOf = new Map(pairs.map(({ questionId }, i) => [questionId, blocks[i]!]));
  const tasks: Task[] = run.data.train.filter(({ question }) => blockOf.has(question.id));
  const options = { agent: agentOptions(run.config), decoding: "greedy", seed: run.config.seed } as const;
  const plain = (await evaluate(run.policy, tasks, options)).measured;
  const hinted = (await evaluate(run.policy, tasks, {
    ...options,
    afterPrompt: (question) => blockOf.get(question.id)!,
  })).measured;
  const distilled = hinted.em >= plain.em - settings.teacher_margin;
  run.state.evaluation.teacher.push({
    stage: stage.name,
    n: tasks.length,
    em: hinted.em,
    searches: hinted.searches,
    plain_em: plain.em,
    plain_searches: plain.searches,
    distilled,
  });
  const figures = ({ em, searches }: { em: number; searches: number }) =>
    `EM ${em.toFixed(3)}, ${searches.toFixed(2)} searches`;
  run.onProgress({
    kind: "note",
    text:
      `${stage.name}: teacher on ${tasks.length} questions: ${figures(hinted)} with the block, ${
        figures(plain)
      } without` +
      (distilled ? "" : `; too weak (margin ${settings.teacher_margin}): nothing is distilled`),
  });
}

/**
 * Adds the gradient of one step's examples, a micro-batch at a time, each with its share of the tokens' weights. Weights
 * that follow from the distributions (`teacher-entropy`, `gap`) are not known here: they count within a micro-batch.
 */
async function accumulateExamples(
  run: Run,
  trainer: Trainer,
  teacher: Policy,
  loss: Loss,
  examples: readonly { teacher: Sequence; student: Sequence; returnGap: number }[],
  settings: OfsdSettings,
): Promise<Record<string, number>> {
  const { padTokenId } = run.policy.tokenizer;
  const batch = Math.min(run.config.engine.micro_batch, settings.batch);
  const weightsOf = ({ student, returnGap }: typeof examples[number]) =>
    hostWeights(settings.weighting, modelTokenCount(student), returnGap);
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  const total = sum(examples.map(({ student }) => modelTokenCount(student)));
  const totalWeight = sum(examples.flatMap(weightsOf));
  const figures: Record<string, number> = {};
  for (let start = 0; start < examples.length; start += batch) {
    const part = examples.slice(start, start + batch);
    const share = sum(part.map(({ student }) => modelTokenCount(student))) / total;
    const weight = settings.arm === "rejection-sft" ? share : sum(part.flatMap(weightsOf)) / totalWeight;
    const students = part.map(({ student }) => student);
    const { packed, inputs } = packedInputs(students, padTokenId, batch, trainer.xla);
    if (settings.arm !== "rejection-sft") {
      const weights = part.map((example) => {
        const ofModelTokens = weightsOf(example);
        return example.student.mask.map((m) => m === 1 ? ofModelTokens.shift()! : 0);
      });
      inputs.push(tf.tensor2d(packPerToken(packed, students, weights), [packed.B, packed.M]));
      const teachers = part.map(({ teacher }) => teacher);
      const read = packedInputs(teachers, padTokenId, batch, trainer.xla).inputs;
      const targets = run.scorer.teacherTargets(teacher, read, {
        temperature: settings.teacher_temperature,
        topK: settings.top_k,
      });
      inputs.push(targets.logp, ...targets.ids_BMK ? [targets.ids_BMK] : []);
      run.state.compute.scored += teachers.reduce((sum, { tokens }) => sum + tokens.length, 0);
    }
    run.state.compute.trained += part.reduce((sum, { student }) => sum + student.tokens.length, 0);
    const got = await trainer.accumulate("ofsd", loss, inputs, weight);
    for (const [name, value] of Object.entries(got)) {
      figures[name] = (figures[name] ?? 0) + (name === "loss" ? weight : share) * value;
    }
  }
  return figures;
}

function lossOptions(settings: OfsdSettings): OfsdOptions {
  return {
    direction: settings.direction,
    jsdBeta: settings.jsd_beta,
    clip: settings.clip,
    tau: settings.tau,
    weighting: settings.weighting,
  };
}
