/** Run folders for tests, written by hand: what a run leaves behind, without a run. */
import type { Evaluation, EvaluationRow } from "../lib/eval/evaluation.ts";
import { loadTokenizer } from "../lib/model/tokenizer.ts";
import type { Trajectory } from "../lib/rollout/trajectory.ts";
import { metricsLine, type MetricsRow } from "../lib/run/metrics.ts";
import {
  type RecordedDivergence,
  type RecordedTrajectory,
  runPaths,
  writeJsonLines,
} from "../lib/run/run_folder.ts";
import { buildWordTokenizer } from "../lib/world/world_tokenizer.ts";

/** What the made model writes; the tokenizer knows its words. */
export const attack = "</script><script>alert(1)</script><!--";
const documents = "\n\n<information>Osaka lies in Japan.</information>\n\n";
const words = ["Where is Osaka?", documents, attack, "<search>Osaka</search><answer>Japan</answer>"];
const files = buildWordTokenizer(words);
export const madeTokenizer = loadTokenizer(files);

export const madeStages = ["sft", "grpo-1", "ofsd-1", "grpo-2"];

const rows: MetricsRow[] = [
  ...[1, 2, 3].map((step) => ({ step, stage: "sft", loss: 3 - step / 2 })),
  ...[4, 5].map((step) => ({ step, stage: "grpo-1", ...grpoFigures(step) })),
  { step: 6, stage: "ofsd-1", "ofsd/kl": 0.2 },
  { step: 7, stage: "grpo-2", ...grpoFigures(7), kl: -1 },
];

/** What is made otherwise than in the finished run of four questions. */
export interface MadeRun {
  /** How many of the stages are done; all of them make a finished run. */
  stagesDone?: number;
  questions?: number;
  /** How often the documents are repeated in every observation. */
  repeated?: number;
}

/** Writes a run folder. */
export async function makeRun(folder: string, made: MadeRun = {}): Promise<void> {
  const { stagesDone = madeStages.length, questions = 4, repeated = 1 } = made;
  const paths = runPaths(folder);
  for (const part of ["rollouts", "checkpoints/step_000000"]) {
    await Deno.mkdir(`${folder}/${part}`, { recursive: true });
  }
  const measured = madeStages.slice(0, stagesDone);
  for (const [name, text] of Object.entries(files)) {
    await Deno.writeTextFile(`${folder}/checkpoints/step_000000/${name}`, text);
  }
  const evaluation = evaluationOf(measured);
  await Deno.writeTextFile(
    `${folder}/checkpoints/step_000000/state.json`,
    JSON.stringify({ stageIndex: stagesDone, evaluation, best: null }),
  );
  await Deno.writeTextFile(paths.environment, "{}\n");
  await Deno.writeTextFile(paths.config, 'title = "Made run"\nstages = ["sft", "grpo", "ofsd", "grpo"]\n');
  const seen = rows.filter(({ stage }) => madeStages.indexOf(stage) <= stagesDone);
  await Deno.writeTextFile(paths.metrics, seen.map(metricsLine).join(""));

  const groups = Array.from({ length: questions }, (_, i) => `q${i}`);
  for (const stage of measured) {
    await writeJsonLines(
      paths.stageRollouts(stage, "real"),
      groups.map((id) => trajectory(id, 2, repeated)),
    );
  }
  for (const { step } of seen.filter(({ stage }) => stage.startsWith("grpo"))) {
    const members = groups.flatMap((id) => [0, 1].map((searches) => trajectory(id, searches, repeated)));
    await writeJsonLines(paths.rollouts(step), members);
  }
  if (stagesDone < 3) return;
  const pairs = groups.map((questionId) => ({
    questionId,
    sibling: trajectory(questionId, 1, repeated),
    student: trajectory(questionId, 2, repeated),
    searchGap: 1,
    returnGap: 0.1,
  }));
  await writeJsonLines(paths.stageRollouts("ofsd-1", "pairs"), pairs);
  for (const when of ["before", "after"]) {
    const divergences = pairs.map(({ student }) => divergenceOf(student, when === "before" ? 0.5 : 0.1));
    await writeJsonLines(paths.stageRollouts("ofsd-1", `kl_${when}`), divergences);
  }
  if (stagesDone < madeStages.length) return;
  const best = { checkpoint: "step_000000", stage: "grpo-2", em: 1, searches: 1.5 };
  await Deno.writeTextFile(paths.best, JSON.stringify(best));
  await Deno.writeTextFile(paths.evaluation, JSON.stringify(evaluation));
}

function grpoFigures(step: number) {
  return {
    reward: step / 10,
    "rewards/exact_match/mean": step / 10,
    "env/searches_mean": 2,
    "completions/mean_length": 9,
    "completions/min_length": 7,
    "completions/max_length": 11,
    frac_reward_zero_std: 0.2,
    entropy: 0.3,
    kl: 0.01,
    "env/valid_action_ratio": 1,
    "sampling/sampling_logp_difference/max": 1e-6,
    grad_norm: 1,
  };
}

function evaluationOf(measured: readonly string[]): Evaluation {
  const figures = { n: 4, em_se: 0.1, f1: 0.5, model_tokens: 9, valid: 1, unsupported: 0 };
  return {
    rows: measured.map((stage, i): EvaluationRow => ({
      ...figures,
      stage,
      set: "real",
      decoding: "greedy",
      em: 0.5 + i / 10,
      searches: 3 - i / 2,
    })),
    recall: { real: { n: 4, em: 0 } },
    teacher: measured.includes("ofsd-1")
      ? [{ stage: "ofsd-1", n: 4, em: 0.5, searches: 1, plain_em: 0.9, plain_searches: 2, distilled: false }]
      : [],
    rolled_back: measured.includes("ofsd-1") ? ["ofsd-1"] : [],
    bounds: {},
    seconds: { total: 60 },
    compute: { sft: 1000 },
    engine: { name: "cpu", device: "x86_64 CPU", threads: 1, version: "tfjs 4.22.0" },
  };
}

/** So many searches, then an answer that is an attack on the page. */
function trajectory(questionId: string, searches: number, repeated: number): RecordedTrajectory {
  const turns: Trajectory["turns"] = [];
  const parts: [text: string, mask: number][] = [["Where is Osaka?\n", 0]];
  for (let i = 0; i < searches; i++) {
    parts.push(["<search>Osaka</search>", 1], [documents.repeat(repeated), 0]);
    turns.push({ kind: "search", span: [0, 0], content: "Osaka", documents: [] });
  }
  parts.push([`${attack}<answer>Japan</answer>`, 1]);
  turns.push({ kind: "answer", span: [0, 0], content: "Japan", documents: [] });
  const encoded = parts.map(([text, mask]) => ({ ids: madeTokenizer.encode(text), mask }));
  const tokens = encoded.flatMap(({ ids }) => ids);
  return {
    questionId,
    member: searches,
    tokens,
    promptLength: encoded[0]!.ids.length,
    mask: encoded.flatMap(({ ids, mask }) => ids.map(() => mask)),
    logprobs: tokens.map(() => 0),
    turns,
    answer: "Japan",
    stop: "answer",
    truncatedTokens: 0,
    droppedTokens: 0,
    reward: 1,
    rewards: { exact_match: 1 },
    correct: true,
    answers: ["Japan"],
  };
}

function divergenceOf(student: Trajectory, kl: number): RecordedDivergence {
  const { questionId, member, tokens, promptLength, mask } = student;
  const [osaka, japan] = [madeTokenizer.encode("Osaka")[0]!, madeTokenizer.encode("Japan")[0]!];
  return {
    questionId,
    member,
    tokens,
    promptLength,
    mask,
    block: madeTokenizer.encode("<search>Osaka</search>"),
    kl: mask.map((m) => m === 1 ? kl : null),
    teacher: mask.map((m) => m === 1 ? [[osaka, 0.75], [japan, 0.25]] : []),
    student: mask.map((m) => m === 1 ? [[japan, 0.5]] : []),
  };
}
