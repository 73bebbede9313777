/**
 * A user's own data, small enough to be learnt by heart in seconds, and runs on it in this process: a policy warmed up on it
 * answers most questions, now with one search and now with two, so that groups differ in reward and OFSD finds pairs.
 */
import type { Engine } from "../lib/engine/open_engine.ts";
import type { Evaluation } from "../lib/eval/evaluation.ts";
import { checkpointNames } from "../lib/run/checkpoint.ts";
import { type Config, parseConfig } from "../lib/run/config.ts";
import { type MetricsRow, readMetrics } from "../lib/run/metrics.ts";
import type { ProgressEvent } from "../lib/run/progress.ts";
import { runPaths } from "../lib/run/run_folder.ts";
import { runSearchE1 } from "../lib/run/search_e1.ts";

const places = [
  ["Osaka", "Japan", "Tokyo"],
  ["Lyon", "France", "Paris"],
  ["Porto", "Portugal", "Lisbon"],
  ["Cusco", "Peru", "Lima"],
  ["Gdansk", "Poland", "Warsaw"],
  ["Bergen", "Norway", "Oslo"],
] as const;

const question = (city: string) => `What is the capital of the country where ${city} lies?`;

/** Questions, corpus and demonstrations as JSON lines; every question is shown with one search and with two. */
export async function writeSmallWorld(folder: string): Promise<void> {
  const lines = (name: string, rows: unknown[]) =>
    Deno.writeTextFile(`${folder}/${name}.jsonl`, rows.map((row) => JSON.stringify(row) + "\n").join(""));
  const questions = places.map(([city, , capital]) => ({ question: question(city), answers: [capital] }));
  for (const name of ["train", "validation", "heldout"]) await lines(name, questions);
  const documents = places.flatMap(([city, country, capital]) => [
    `"${city}"\n${city} lies in ${country}.`,
    `"${country}"\nThe capital of ${country} is ${capital}.`,
    `"Capital of ${city}"\n${city} lies in ${country}, and its capital is ${capital}.`,
  ]);
  await lines("corpus", documents.map((contents, id) => ({ id: String(id), contents })));
  const demonstrations = places.flatMap(([city, country, capital]) =>
    [
      [{ search: `capital ${city}` }, { answer: capital }],
      [{ search: city }, { search: `capital ${country}` }, { answer: capital }],
    ].map((turns) => ({ question: question(city), answers: [capital], turns }))
  );
  await lines("demonstrations", demonstrations);
}

/** Settings of a run on the files of `folder`; `sets` are overrides as on the command line. */
export function smallConfig(folder: string, sets: readonly string[] = []): Config {
  const toml = `
[world]
kind = "files"
questions = "${folder}/train.jsonl"
validation = "${folder}/validation.jsonl"
heldout = { cities = "${folder}/heldout.jsonl" }
corpus = "${folder}/corpus.jsonl"
demonstrations = "${folder}/demonstrations.jsonl"

[model]
model_type = "llama"
hidden_size = 32
layers = 1
heads = 2
kv_heads = 1
intermediate_size = 64
initializer_range = 0.2
max_position_embeddings = 128

[agent]
instruction = "{question}\\n"
documents = 1
max_turns = 3
max_new_tokens = 12
max_observation_tokens = 32
max_context_tokens = 128

[sft]
phases = [{ steps = 25, learning_rate = 1e-2 }]
batch = 12

[rehearsal]
per_step = 2

[grpo]
steps = 2
questions_per_step = 4
group_size = 4
learning_rate = 1e-4
warmup_ratio = 0

[ofsd]
questions = 6
samples = 6
epochs = 1
batch = 4
teacher_margin = 1
gate_margin = 1

[evaluate]
sampled = false
recall_n = 0
`;
  return parseConfig(toml, "small world", sets);
}

/** What a run left. */
export interface Ran {
  evaluation: Evaluation;
  finished: boolean;
  metrics: MetricsRow[];
  notes: string[];
  /** The folder of the newest checkpoint. */
  checkpoint: string;
}

/** Runs in this process; with `stopAfter` it is asked to stop when that step of that stage has been done. */
export async function runHere(
  engine: Engine,
  config: Config,
  folder: string,
  { stopAfter, resume = false, onProgress }: {
    stopAfter?: { stage: string; step: number };
    resume?: boolean;
    onProgress?: (event: ProgressEvent) => void;
  } = {},
): Promise<Ran> {
  const stop = new AbortController();
  const notes: string[] = [];
  const { evaluation, finished } = await runSearchE1({
    config,
    folder,
    engine,
    resume,
    signal: stop.signal,
    onProgress: (event) => {
      onProgress?.(event);
      if (event.kind === "note") notes.push(event.text);
      else if (event.stage === stopAfter?.stage && event.done === stopAfter.step) stop.abort();
    },
  });
  const newest = (await checkpointNames(folder)).at(-1)!;
  return {
    evaluation,
    finished,
    notes,
    metrics: await readMetrics(runPaths(folder).metrics),
    checkpoint: `${folder}/checkpoints/${newest}`,
  };
}

/** Gives `body` a folder with the small world in it and a policy that was warmed up there. */
export async function withWarmPolicy(
  engine: Engine,
  body: (world: { folder: string; warm: Ran; fromWarm: (...sets: string[]) => Config }) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await writeSmallWorld(folder);
    const warm = await runHere(engine, smallConfig(folder, ['stages=["sft"]']), `${folder}/warm`);
    await body({
      folder,
      warm,
      fromWarm: (...sets) => smallConfig(folder, [`model.path="${warm.checkpoint}"`, ...sets]),
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
