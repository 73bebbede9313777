/** Trajectories, pairs and token-level KL of a run as people read them, as many as a page of its size can hold. @module */
import type { Tokenizer } from "../model/policy.ts";
import type { SiblingPair } from "../learn/siblings.ts";
import { modelTokenCount, searchCount, type Trajectory } from "../rollout/trajectory.ts";
import { type RecordedDivergence, type RecordedTrajectory, runPaths } from "../run/run_folder.ts";
import type { Heatmap, HeatmapToken, Transcript, TranscriptPair } from "./page_data.ts";
import { type FileCache, namesIn, type RunRecord } from "./run_record.ts";
import { stretches } from "./transcript.ts";

/** How much of one kind is shown: so many, and at most about so many bytes of JSON in all. */
export interface Limit {
  count: number;
  bytes: number;
}

/** What of a run is shown, with what was left out in words. */
export interface Shown<T> {
  shown: T[];
  leftOut: string[];
}

/** The greedy trajectories after every measured stage: in every stage the same questions, evenly spread over the set. */
export async function heldOutTranscripts(
  run: RunRecord,
  set: string,
  files: FileCache,
  limit: Limit,
): Promise<Shown<Transcript>> {
  const { tokenizer } = run;
  if (!tokenizer) return { shown: [], leftOut: [] };
  const transcript = (stage: string) => (line: string) =>
    transcriptOf(stage, set, JSON.parse(line) as RecordedTrajectory, tokenizer);
  const shown: Transcript[] = [];
  let places: number[] | undefined;
  let total = 0;
  for (const stage of measuredStages(run)) {
    const found = await files.read(runPaths(run.folder).stageRollouts(stage, set), "transcripts", (text) => {
      const lines = linesOf(text);
      places ??= spread(lines, limit, run.stages.length, transcript(stage));
      return {
        total: lines.length,
        places,
        transcripts: places.filter((i) => i < lines.length).map((i) => transcript(stage)(lines[i]!)),
      };
    });
    places ??= found?.places;
    total ||= found?.total ?? 0;
    shown.push(...found?.transcripts ?? []);
  }
  return { shown, leftOut: kept(`questions of ${set}`, places?.length ?? 0, total) };
}

/** How often the model searched, by measured stage. */
export async function heldOutSearches(
  run: RunRecord,
  set: string,
  files: FileCache,
): Promise<{ name: string; searches: number[] }[]> {
  const out: { name: string; searches: number[] }[] = [];
  for (const name of measuredStages(run)) {
    const path = runPaths(run.folder).stageRollouts(name, set);
    const searches = await files.read(
      path,
      "searches",
      (text) => linesOf(text).map((line) => searchCount(JSON.parse(line) as Trajectory)),
    );
    if (searches) out.push({ name, searches });
  }
  return out;
}

/** Rewards of the roll-outs of the first and of the newest GRPO step. */
export async function firstAndLastRewards(
  run: RunRecord,
  files: FileCache,
): Promise<{ name: string; rewards: number[] }[]> {
  const steps = await rolloutSteps(run);
  const out: { name: string; rewards: number[] }[] = [];
  for (const step of new Set([...steps.slice(0, 1), ...steps.slice(-1)])) {
    const rewards = await files.read(
      runPaths(run.folder).rollouts(step),
      "rewards",
      (text) => linesOf(text).map((line) => (JSON.parse(line) as Trajectory).reward),
    );
    if (rewards) out.push({ name: `step ${step} (${stageAt(run, step)})`, rewards });
  }
  return out;
}

/** The roll-outs of the newest GRPO step as the set `train`: whole groups, evenly spread. */
export async function newestRollouts(
  run: RunRecord,
  files: FileCache,
  limit: Limit,
): Promise<Shown<Transcript>> {
  const { tokenizer } = run;
  const step = (await rolloutSteps(run)).at(-1);
  if (!tokenizer || step === undefined) return { shown: [], leftOut: [] };
  const found = await files.read(runPaths(run.folder).rollouts(step), "transcripts", (text) => {
    const trajectories = linesOf(text).map((line) => JSON.parse(line) as RecordedTrajectory);
    const groups = [...Map.groupBy(trajectories, ({ questionId }) => questionId).values()];
    const size = trajectories.length / groups.length;
    const stage = stageAt(run, step);
    const transcripts = (group: RecordedTrajectory[]) =>
      group.map((trajectory) => transcriptOf(stage, "train", trajectory, tokenizer));
    const places = spread(groups, { ...limit, count: limit.count / size }, 1, transcripts);
    return { total: trajectories.length, transcripts: places.flatMap((i) => transcripts(groups[i]!)) };
  });
  if (!found) return { shown: [], leftOut: [] };
  const { total, transcripts } = found;
  return { shown: transcripts, leftOut: kept(`roll-outs of step ${step}`, transcripts.length, total) };
}

/** The pairs of every OFSD stage, evenly spread. */
export async function siblingPairs(
  run: RunRecord,
  files: FileCache,
  limit: Limit,
): Promise<Shown<TranscriptPair>> {
  const { tokenizer } = run;
  const out: Shown<TranscriptPair> = { shown: [], leftOut: [] };
  const stages = ofsdStages(run);
  for (const stage of tokenizer ? stages : []) {
    const found = await files.read(runPaths(run.folder).stageRollouts(stage, "pairs"), "pairs", (text) => {
      const lines = linesOf(text);
      const pair = (line: string): TranscriptPair => {
        const { questionId, sibling, student, answers } = JSON.parse(line) as SiblingPair & {
          answers?: string[];
        };
        const read = (trajectory: Trajectory) =>
          transcriptOf(stage, "train", { ...trajectory, answers: answers ?? [] }, tokenizer!);
        return { stage, questionId, sibling: read(sibling), student: read(student) };
      };
      const places = spread(lines, limit, stages.length, pair);
      return { total: lines.length, pairs: places.map((i) => pair(lines[i]!)) };
    });
    out.shown.push(...found?.pairs ?? []);
    out.leftOut.push(...kept(`pairs of ${stage}`, found?.pairs.length ?? 0, found?.total ?? 0));
  }
  return out;
}

/** The divergence of every token of every recorded example, before and after each OFSD stage. */
export async function recordedDivergence(
  run: RunRecord,
  files: FileCache,
): Promise<{ name: string; kl: (number | null)[][] }[]> {
  const out: { name: string; kl: (number | null)[][] }[] = [];
  for (const stage of ofsdStages(run)) {
    for (const when of ["before", "after"]) {
      const kl = await files.read(
        runPaths(run.folder).stageRollouts(stage, `kl_${when}`),
        "kl",
        (text) => linesOf(text).map((line) => (JSON.parse(line) as RecordedDivergence).kl),
      );
      if (kl) out.push({ name: `${when} ${stage}`, kl });
    }
  }
  return out;
}

/** The token-level KL of some examples, before and after each OFSD stage. */
export async function heatmaps(run: RunRecord, files: FileCache, limit: Limit): Promise<Shown<Heatmap>> {
  const { tokenizer } = run;
  const out: Shown<Heatmap> = { shown: [], leftOut: [] };
  const stages = ofsdStages(run);
  for (const stage of tokenizer ? stages : []) {
    let places: number[] | undefined;
    for (const when of ["before", "after"] as const) {
      const path = runPaths(run.folder).stageRollouts(stage, `kl_${when}`);
      const found = await files.read(path, "heatmaps", (text) => {
        const lines = linesOf(text);
        const map = (line: string) =>
          heatmapOf(stage, when, JSON.parse(line) as RecordedDivergence, tokenizer!);
        places ??= spread(lines, limit, 2 * stages.length, map);
        return {
          total: lines.length,
          places,
          maps: places.filter((i) => i < lines.length).map((i) => map(lines[i]!)),
        };
      });
      places ??= found?.places;
      out.shown.push(...found?.maps ?? []);
      if (when === "before") {
        out.leftOut.push(...kept(`heat maps of ${stage}`, places?.length ?? 0, found?.total ?? 0));
      }
    }
  }
  return out;
}

/** A trajectory as the page shows it. */
export function transcriptOf(
  stage: string,
  set: string,
  trajectory: Trajectory & { answers?: readonly string[] },
  tokenizer: Pick<Tokenizer, "decode">,
): Transcript {
  const { questionId, answers = [], answer, correct, reward } = trajectory;
  return {
    stage,
    set,
    questionId,
    gold: [...answers],
    parts: stretches(trajectory, tokenizer).map(({ author, text }) => [author, text]),
    answer,
    correct,
    searches: searchCount(trajectory),
    tokens: modelTokenCount(trajectory),
    reward,
  };
}

/**
 * What a heat map shows of a recorded token-level KL: every token's text, and the alternatives of teacher and student as
 * they would stand in its place.
 *
 * @example
 * ```ts
 * import { heatmapOf } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const words = ["Who? ", "Ada", "Bob"];
 * const tokenizer = { decode: (ids: readonly number[]) => ids.map((id) => words[id]).join("") };
 * const { tokens } = heatmapOf("ofsd-1", "before", {
 *   questionId: "q", member: 0, tokens: [0, 1], promptLength: 1, mask: [0, 1], block: [], kl: [null, 0.5],
 *   teacher: [[], [[2, 0.9]]], student: [[], [[1, 0.8]]],
 * }, tokenizer);
 * assertEquals(tokens[1], { text: "Ada", author: "model", kl: 0.5, teacher: [["Bob", 0.9]], student: [["Ada", 0.8]] });
 * ```
 */
export function heatmapOf(
  stage: string,
  when: "before" | "after",
  { questionId, block, tokens, promptLength, mask, kl, teacher, student }: RecordedDivergence,
  tokenizer: Pick<Tokenizer, "decode">,
): Heatmap {
  const texts = tokenTexts(tokens, tokenizer);
  const alternatives = (i: number, listed: readonly [number, number][]): [string, number][] => {
    const before = tokens.slice(Math.max(0, i - 3), i);
    const said = tokenizer.decode(before);
    return listed.map(([id, probability]) => {
      const text = tokenizer.decode([...before, id]);
      return [
        text.startsWith(said) ? text.slice(said.length) : tokenizer.decode([id]),
        Number(probability.toFixed(4)),
      ];
    });
  };
  return {
    stage,
    when,
    questionId,
    block: tokenizer.decode(block),
    tokens: tokens.map((_, i): HeatmapToken => ({
      text: texts[i]!,
      author: i < promptLength ? "prompt" : mask[i] ? "model" : "environment",
      kl: kl[i] === null || kl[i] === undefined ? null : Number(kl[i]!.toPrecision(4)),
      teacher: alternatives(i, teacher[i] ?? []),
      student: alternatives(i, student[i] ?? []),
    })),
  };
}

/**
 * The text that every token adds to those before it, spaces included, as tokenizers write a token by its place. Of a
 * character of several tokens, the last one has it.
 */
export function tokenTexts(tokens: readonly number[], tokenizer: Pick<Tokenizer, "decode">): string[] {
  let start = 0;
  let said = "";
  return tokens.map((_, i) => {
    const text = tokenizer.decode(tokens.slice(start, i + 1));
    if (text.endsWith("\uFFFD")) return "";
    const added = text.slice(said.length);
    said = text;
    // A window keeps long trajectories linear; a few tokens decide on the next one's space.
    if (i - start >= 16) {
      start = i - 3;
      said = tokenizer.decode(tokens.slice(start, i + 1));
    }
    return added;
  });
}

/** Stages with held-out figures, in order. */
function measuredStages({ evaluation }: RunRecord): string[] {
  return [...new Set(evaluation?.rows.map(({ stage }) => stage))];
}

function ofsdStages({ stages }: RunRecord): string[] {
  return stages.filter(({ kind }) => kind === "ofsd").map(({ name }) => name);
}

/** Steps with a file of roll-outs; one that is ahead of the metrics is of a step under way or of a run cut back. */
async function rolloutSteps({ folder, rows }: RunRecord): Promise<number[]> {
  const last = rows.at(-1)?.step ?? 0;
  return (await namesIn(`${folder}/rollouts`))
    .map((name) => Number(name.match(/^step_(\d+)\.jsonl$/)?.[1]))
    .filter((step) => step <= last)
    .sort((a, b) => a - b);
}

function stageAt({ rows }: RunRecord, step: number): string {
  return rows.find((row) => row.step === step)?.stage ?? "";
}

/**
 * Places of those to show, evenly spread: as many as the limit allows when each of them is shown `times` times at the mean
 * size of a few.
 */
function spread<T>(all: readonly T[], limit: Limit, times: number, shown: (one: T) => unknown): number[] {
  if (all.length === 0) return [];
  const evenly = (count: number) =>
    Array.from({ length: count }, (_, i) => Math.floor(i * all.length / count));
  const sample = evenly(Math.min(8, all.length));
  const bytes = sample.reduce((sum, i) => sum + JSON.stringify(shown(all[i]!)).length, 0) / sample.length;
  const fitting = Math.floor(limit.bytes / (times * bytes));
  return evenly(Math.min(all.length, Math.max(1, Math.min(Math.floor(limit.count), fitting))));
}

function kept(what: string, count: number, total: number): string[] {
  return count < total ? [`Shown are ${count} of ${total} ${what}, evenly spread`] : [];
}

/** The lines of a file of JSON lines. */
function linesOf(text: string): string[] {
  return text.split("\n").filter((line) => line !== "");
}
