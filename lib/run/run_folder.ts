/**
 * A run on disk:
 *
 *     runs/NAME/config.toml (resolved) · environment.json · metrics.jsonl · tensorboard/ · rollouts/step_000123.jsonl ·
 *     checkpoints/step_000123/ · best.json · evaluation.json · report.html · README.md
 *
 * Whole files are written under a temporary name and renamed; metrics and events grow line by line.
 *
 * @module
 */
import { exists, writeWhole } from "../base/files.ts";
import { InputError } from "../base/input_error.ts";
import { parseJson } from "../base/json_lines.ts";
import type { Evaluation } from "../eval/evaluation.ts";
import type { TokenDivergence } from "../learn/token_divergence.ts";
import type { Trajectory } from "../rollout/trajectory.ts";
import type { Question } from "../world/question.ts";
import { type Config, configToToml, loadConfig } from "./config.ts";
import { eventFileName } from "./tensorboard.ts";

/**
 * Paths inside a run folder.
 *
 * @example
 * ```ts
 * import { runPaths } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(runPaths("runs/demo").rollouts(123), "runs/demo/rollouts/step_000123.jsonl");
 * ```
 */
export function runPaths(folder: string) {
  return {
    config: `${folder}/config.toml`,
    environment: `${folder}/environment.json`,
    metrics: `${folder}/metrics.jsonl`,
    events: `${folder}/tensorboard/${eventFileName}`,
    rollouts: (step: number) => `${folder}/rollouts/step_${String(step).padStart(6, "0")}.jsonl`,
    stageRollouts: (stage: string, what: string) => `${folder}/rollouts/${stage}_${what}.jsonl`,
    best: `${folder}/best.json`,
    evaluation: `${folder}/evaluation.json`,
    report: `${folder}/report.html`,
    readme: `${folder}/README.md`,
  };
}

/** `new`: nothing there. `finished`: all stages are done and measured. */
export type RunState = "new" | "unfinished" | "finished";

/**
 * How far the run in a folder has come.
 *
 * @example
 * ```ts
 * import { runState } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(await runState("runs/no_such_run"), "new");
 * ```
 */
export async function runState(folder: string): Promise<RunState> {
  const paths = runPaths(folder);
  if (!await exists(paths.config)) {
    const foreign = await foreignFile(folder);
    if (foreign) {
      throw new InputError(
        `Cannot use ${folder}: it holds ${foreign} and no run; choose another folder with --out`,
      );
    }
    return "new";
  }
  return await exists(paths.evaluation) ? "finished" : "unfinished";
}

/**
 * The folder for a run with these settings: `wanted` when it is free or holds the same run unfinished, otherwise the first
 * of `wanted-2`, `wanted-3`, … that is.
 */
export async function freeRunFolder(
  wanted: string,
  config: Config,
): Promise<{ folder: string; state: RunState }> {
  for (let number = 1;; number++) {
    const folder = number === 1 ? wanted : `${wanted}-${number}`;
    const state = await runState(folder);
    if (state === "new") return { folder, state };
    if (state === "unfinished" && await differentKey(folder, config) === undefined) return { folder, state };
  }
}

/**
 * The first key in which the settings of a run folder differ from these, or undefined. Checkpointing and the title may
 * differ: they change nothing that is computed.
 */
export async function differentKey(folder: string, config: Config): Promise<string | undefined> {
  const there = await loadConfig(runPaths(folder).config);
  const flat = (value: unknown, path: string): [string, string][] =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.entries(value).flatMap(([key, inner]) => flat(inner, path ? `${path}.${key}` : key))
      : [[path, JSON.stringify(value)]];
  const old = new Map(flat(there, ""));
  const now = new Map(flat(config, ""));
  return [...new Set([...old.keys(), ...now.keys()])].find((key) =>
    old.get(key) !== now.get(key) && key !== "title" && !key.startsWith("checkpoint.")
  );
}

/**
 * Takes a run folder for this process, making it when it is missing. The lock falls with the process, however it ends.
 *
 * @throws {InputError} when another process has it.
 *
 * @example
 * ```ts
 * import { lockRunFolder } from "@search-e1/kit";
 * import { assertRejects } from "@std/assert";
 *
 * const folder = await Deno.makeTempDir();
 * const lock = await lockRunFolder(folder);
 * await assertRejects(() => lockRunFolder(folder), Error, "another process is at it");
 * lock.release();
 * ```
 */
export async function lockRunFolder(folder: string): Promise<{ release(): void }> {
  for (const part of ["checkpoints", "rollouts", "tensorboard"]) {
    await Deno.mkdir(`${folder}/${part}`, { recursive: true });
  }
  const file = await Deno.open(`${folder}/run.lock`, { create: true, write: true });
  if (!await file.tryLock(true)) {
    file.close();
    throw new InputError(
      `Cannot run in ${folder}: another process is at it; wait for it or choose another --out`,
    );
  }
  return { release: () => file.close() };
}

/** Writes what a run is: its settings, and the machine and versions it runs with. */
export async function describeRun(folder: string, config: Config, environment: Environment): Promise<void> {
  const paths = runPaths(folder);
  await writeWhole(paths.environment, JSON.stringify(environment, null, 2) + "\n");
  await writeWhole(paths.config, configToToml(config));
}

/** A line of a file of roll-outs: a trajectory, and the gold answers of its question for those who read it. */
export type RecordedTrajectory = Trajectory & { answers: readonly string[] };

/** Writes the roll-outs of a step, one trajectory a line. */
export async function writeRollouts(
  folder: string,
  step: number,
  trajectories: readonly Trajectory[],
  questions: readonly Question[],
): Promise<void> {
  await writeJsonLines(runPaths(folder).rollouts(step), recorded(trajectories, questions));
}

/** Writes roll-outs of a whole stage, one trajectory a line: of a held-out set by its name, or OFSD's `own`. */
export async function writeStageRollouts(
  folder: string,
  stage: string,
  what: string,
  trajectories: readonly Trajectory[],
  questions: readonly Question[],
): Promise<void> {
  await writeJsonLines(runPaths(folder).stageRollouts(stage, what), recorded(trajectories, questions));
}

function recorded(trajectories: readonly Trajectory[], questions: readonly Question[]): RecordedTrajectory[] {
  const answersOf = new Map(questions.map(({ id, answers }) => [id, answers]));
  return trajectories.map((trajectory) => ({
    ...trajectory,
    answers: answersOf.get(trajectory.questionId) ?? [],
  }));
}

/** Token-level KL over one student trajectory, as `rollouts/STAGE_kl_before.jsonl` and `…_kl_after.jsonl` hold it. */
export interface RecordedDivergence extends TokenDivergence {
  questionId: string;
  member: number;
  tokens: number[];
  promptLength: number;
  mask: number[];
  /** Ids of the privileged block that the teacher read. */
  block: number[];
}

/** Writes the token-level KL of a stage's examples, with the student as the stage found it or left it. */
export async function writeTokenDivergences(
  folder: string,
  stage: string,
  when: "before" | "after",
  divergences: readonly RecordedDivergence[],
): Promise<void> {
  await writeJsonLines(runPaths(folder).stageRollouts(stage, `kl_${when}`), divergences);
}

/** Writes values as JSON lines. */
export async function writeJsonLines(path: string, values: readonly unknown[]): Promise<void> {
  await writeWhole(path, values.map((value) => JSON.stringify(value) + "\n").join(""));
}

/** Writes `evaluation.json`. */
export async function writeEvaluation(folder: string, evaluation: Evaluation): Promise<void> {
  await writeWhole(runPaths(folder).evaluation, JSON.stringify(evaluation, null, 2) + "\n");
}

/**
 * Reads `evaluation.json`.
 *
 * @throws {InputError} when the run is not finished or there is none.
 *
 * @example
 * ```ts
 * import { readEvaluation } from "@search-e1/kit";
 * import { assertRejects } from "@std/assert";
 *
 * await assertRejects(() => readEvaluation("runs/no_such_run"), Error, "there is no such file");
 * ```
 */
export async function readEvaluation(folder: string): Promise<Evaluation> {
  const path = runPaths(folder).evaluation;
  if (!await exists(path)) {
    throw new InputError(
      `Cannot read ${path}: there is no such file; the run is unfinished or the folder holds none`,
    );
  }
  return parseJson(await Deno.readTextFile(path), path);
}

/** Machine and versions, for `environment.json`. */
export interface Environment {
  kit: string;
  deno: string;
  v8: string;
  typescript: string;
  os: string;
  arch: string;
  cores: number;
  engine: { name: string; device: string; threads: number; version: string; report: string };
  /** The commit that the kit's own folder is at, when it is a git checkout. */
  revision: string | null;
  arguments: string[];
}

/** Looks up the machine and the versions. */
export async function readEnvironment(engine: Environment["engine"]): Promise<Environment> {
  const root = new URL("../../", import.meta.url);
  const { version } = JSON.parse(await Deno.readTextFile(new URL("deno.json", root)));
  const { name, device, threads, version: engineVersion, report } = engine;
  return {
    kit: version,
    deno: Deno.version.deno,
    v8: Deno.version.v8,
    typescript: Deno.version.typescript,
    os: `${Deno.build.os} ${Deno.osRelease()}`,
    arch: Deno.build.arch,
    cores: navigator.hardwareConcurrency,
    engine: { name, device, threads, version: engineVersion, report },
    revision: await gitRevision(new URL(".git/", root)),
    arguments: [...Deno.args],
  };
}

/** Reads the commit from git's own files, so that no permission to run git is needed. */
async function gitRevision(git: URL): Promise<string | null> {
  const read = async (name: string) => {
    try {
      return (await Deno.readTextFile(new URL(name, git))).trim();
    } catch {
      return undefined;
    }
  };
  const head = await read("HEAD");
  const reference = head?.match(/^ref: (.+)$/)?.[1];
  if (!reference) return head ?? null;
  const packed = (await read("packed-refs"))?.split("\n").find((line) => line.endsWith(` ${reference}`));
  return await read(reference) ?? packed?.split(" ")[0] ?? null;
}

/** The name of a file that no run has made before it wrote its config. */
async function foreignFile(folder: string): Promise<string | undefined> {
  const own = ["checkpoints", "rollouts", "tensorboard", "run.lock", "environment.json"];
  try {
    for await (const { name } of Deno.readDir(folder)) {
      if (!own.includes(name) && !name.endsWith(".tmp")) return name;
    }
  } catch (error) {
    if (error instanceof Deno.errors.NotADirectory) return "a file of that name";
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return undefined;
}
