/** What stands in a run folder so far, read so that nothing is amiss while a run writes there. @module */
import { InputError } from "../base/input_error.ts";
import { parseJson } from "../base/json_lines.ts";
import type { Evaluation } from "../eval/evaluation.ts";
import type { Tokenizer } from "../model/policy.ts";
import { loadTokenizer } from "../model/tokenizer.ts";
import { checkpointNames, type TrainingState } from "../run/checkpoint.ts";
import { type Config, parseConfig } from "../run/config.ts";
import { type MetricsRow, readMetrics } from "../run/metrics.ts";
import { runPaths, type RunState } from "../run/run_folder.ts";
import { type Stage, stagesOf } from "../run/stages.ts";

/** A run folder as it is now. */
export interface RunRecord {
  folder: string;
  /** The folder's last path component. */
  name: string;
  state: RunState;
  config?: Config;
  /** `config.toml` and `environment.json` as they stand; empty while they are missing. */
  configText: string;
  environmentText: string;
  stages: readonly Stage[];
  /** How many of the stages are done and measured. */
  stagesDone: number;
  rows: readonly MetricsRow[];
  /** When metrics.jsonl last grew. */
  updated?: Date;
  /** What is measured so far; of an unfinished run as its newest checkpoint has it. */
  evaluation?: Evaluation;
  best?: NonNullable<TrainingState["best"]>;
  tokenizer?: Pick<Tokenizer, "decode">;
}

/** Reads a run folder, also one that is unfinished, half written or not there yet. */
export async function readRun(folder: string, files: FileCache): Promise<RunRecord> {
  const paths = runPaths(folder);
  const configText = await textOf(paths.config);
  const name = folder.split("/").filter((part) => part !== "").at(-1) ?? folder;
  if (configText === undefined) {
    const nothing = { configText: "", environmentText: "", stages: [], stagesDone: 0, rows: [] };
    return { folder, name, state: "new", ...nothing };
  }
  const config = parseConfig(configText, paths.config);
  const stages = stagesOf(config);
  const finished = await jsonOf<Evaluation>(paths.evaluation);
  const state = await newestState(folder);
  const evaluation = finished ?? state?.evaluation;
  const best = await jsonOf<RunRecord["best"]>(paths.best) ?? state?.best;
  const metrics = await stampOf(paths.metrics);
  const tokenizer = await readTokenizer(folder, files);
  return {
    folder,
    name,
    state: finished ? "finished" : "unfinished",
    config,
    configText,
    environmentText: await textOf(paths.environment) ?? "",
    stages,
    stagesDone: finished ? stages.length : state?.stageIndex ?? 0,
    rows: metrics ? await readMetrics(paths.metrics) : [],
    ...(metrics?.mtime && { updated: metrics.mtime }),
    ...(evaluation && { evaluation }),
    ...(best && { best }),
    ...(tokenizer && { tokenizer }),
  };
}

/** Remembers what was made of a file for as long as the file stays the same. */
export class FileCache {
  #now = new Map<string, { stamp: string; value: unknown }>();
  #before = new Map<string, { stamp: string; value: unknown }>();

  /** Begins a new look at the folder; what the last one did not ask for is forgotten. */
  begin(): void {
    this.#before = this.#now;
    this.#now = new Map();
  }

  /**
   * What `derive` makes of a file's text; undefined while there is no such file.
   *
   * @param purpose Tells apart what is made of the same file.
   * @throws {InputError} when the text is not the JSON that `derive` takes it for.
   */
  async read<T>(path: string, purpose: string, derive: (text: string) => T): Promise<T | undefined> {
    const info = await stampOf(path);
    if (!info) return undefined;
    const key = `${purpose} ${path}`;
    const stamp = `${info.ino} ${info.size} ${info.mtime?.getTime()}`;
    const known = this.#now.get(key) ?? this.#before.get(key);
    if (known?.stamp === stamp) {
      this.#now.set(key, known);
      return known.value as T;
    }
    const text = await textOf(path);
    if (text === undefined) return undefined;
    const value = parsed(path, text, derive);
    this.#now.set(key, { stamp, value });
    return value;
  }
}

/** The position of the newest checkpoint that can be read; one that is being replaced is passed over. */
async function newestState(folder: string): Promise<TrainingState | undefined> {
  for (const name of (await checkpointNames(folder)).reverse()) {
    const state = await jsonOf<TrainingState>(`${folder}/checkpoints/${name}/state.json`);
    if (state) return state;
  }
  return undefined;
}

/** The tokenizer of the oldest checkpoint, which stays the longest; all of a run have the same. */
async function readTokenizer(folder: string, files: FileCache): Promise<RunRecord["tokenizer"]> {
  for (const name of await checkpointNames(folder)) {
    const checkpoint = `${folder}/checkpoints/${name}`;
    const config = await textOf(`${checkpoint}/tokenizer_config.json`);
    if (config === undefined) continue;
    const load = (json: string) =>
      loadTokenizer({ "tokenizer.json": json, "tokenizer_config.json": config }, checkpoint);
    const tokenizer = await files.read(`${checkpoint}/tokenizer.json`, "tokenizer", load);
    if (tokenizer) return tokenizer;
  }
  return undefined;
}

/** Size and times of a file or folder; undefined when it is missing. */
export async function stampOf(path: string): Promise<Deno.FileInfo | undefined> {
  return await unlessMissing(Deno.stat(path));
}

/** The names in a folder; none when it is missing. */
export async function namesIn(folder: string): Promise<string[]> {
  return (await unlessMissing(Array.fromAsync(Deno.readDir(folder))) ?? []).map(({ name }) => name);
}

async function textOf(path: string): Promise<string | undefined> {
  return await unlessMissing(Deno.readTextFile(path));
}

async function jsonOf<T>(path: string): Promise<T | undefined> {
  const text = await textOf(path);
  return text === undefined ? undefined : parseJson<T>(text, path);
}

/** What `derive` makes of a file of JSON lines, or of another text; the error names the file and the row that is not JSON. */
function parsed<T>(path: string, text: string, derive: (text: string) => T): T {
  try {
    return derive(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    const row = path.endsWith(".jsonl") ? ` row ${text.split("\n").findIndex(isBroken) + 1}` : "";
    throw new InputError(
      `Cannot parse ${path}${row}: it is cut off or not JSON; restore the file, or remove it and do without`,
    );
  }
}

function isBroken(line: string): boolean {
  try {
    return line !== "" && JSON.parse(line) === undefined;
  } catch {
    return true;
  }
}

async function unlessMissing<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return undefined;
    throw error;
  }
}
