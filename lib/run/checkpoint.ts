/**
 * Checkpoints: a Hugging Face folder (config.json, model.safetensors, tokenizer.json) with the optimiser's moments and the
 * run's position beside it, so that a resumed run goes on bit for bit.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import { exists, writeWhole } from "../base/files.ts";
import { InputError } from "../base/input_error.ts";
import { parseJson } from "../base/json_lines.ts";
import type { Evaluation } from "../eval/evaluation.ts";
import type { OptimizerState } from "../learn/trainer.ts";
import { loadPolicy, savePolicy } from "../model/hf_folder.ts";
import type { Policy, Weights } from "../model/policy.ts";
import { readSafetensors, writeSafetensors } from "../model/safetensors.ts";

/** Where a run stands, as `state.json` holds it. */
export interface TrainingState {
  /** Optimiser steps done since the start, through all stages. */
  step: number;
  /** Which of the config's stages is under way, from 0; the number of stages when all are done. */
  stageIndex: number;
  /** Steps done in that stage. */
  stageStep: number;
  /** The checkpoint at the start of the stage: GRPO's reference policy, OFSD's frozen π₀. */
  stageStart: string;
  /** The checkpoint at the start of the first GRPO stage, once there is one: the reference that is kept on request. */
  firstReference: string | null;
  /** Tokens of all steps so far: what the metric `num_tokens` shows. */
  tokens: number;
  /** Lengths in bytes up to which the append-only files belong to this state. */
  metricsBytes: number;
  eventsBytes: number;
  /** Tokens generated, scored and trained on since the warm start. */
  compute: Compute;
  /** What has been evaluated so far. */
  evaluation: Evaluation;
  /** Best validation EM so far and the checkpoint that has it. */
  best: { checkpoint: string; stage: string; em: number; searches: number } | null;
  /** EM and searches on the validation set at the end of the last stage. */
  validation: { em: number; searches: number } | null;
}

/** Tokens that went through the model: one pass each for generating and scoring, three for training. */
export interface Compute {
  generated: number;
  scored: number;
  trained: number;
}

/** Token passes: what "equal compute" compares. */
export function spent({ generated, scored, trained }: Compute): number {
  return generated + scored + 3 * trained;
}

/** What a checkpoint holds. */
export interface Checkpoint {
  policy: Policy;
  optimizer: OptimizerState | undefined;
  state: TrainingState;
}

/** The name of the checkpoint that is written after so many steps. */
export function checkpointName(step: number): string {
  return `step_${String(step).padStart(6, "0")}`;
}

/** What a checkpoint is called while a new one of its name takes its place. */
const formerSuffix = ".former";

/**
 * Writes a checkpoint under a temporary name and renames it: a cut-off write leaves nothing that looks like one.
 *
 * @example
 * ```ts
 * import { buildWordTokenizer, checkpointNames, initWeights, loadTokenizer, saveCheckpoint, type TrainingState } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 * import * as tf from "@tensorflow/tfjs";
 *
 * const tokenizer = loadTokenizer(buildWordTokenizer(["Osaka lies in Japan."]));
 * const config = {
 *   model_type: "llama", vocab_size: tokenizer.vocabSize, hidden_size: 8, intermediate_size: 16, num_hidden_layers: 1,
 *   num_attention_heads: 2, num_key_value_heads: 1, rope_theta: 10000, rms_norm_eps: 1e-6,
 *   tie_word_embeddings: true, max_position_embeddings: 32,
 * } as const;
 * const policy = { config, weights: initWeights(config, 1), tokenizer };
 *
 * const folder = await Deno.makeTempDir();
 * const state = { step: 3 } as TrainingState;
 * await saveCheckpoint(folder, "step_000003", { policy, optimizer: undefined, state });
 * assertEquals(await checkpointNames(folder), ["step_000003"]);
 * tf.dispose(policy.weights);
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function saveCheckpoint(runFolder: string, name: string, checkpoint: Checkpoint): Promise<void> {
  const folder = `${runFolder}/checkpoints/${name}`;
  const temporary = `${folder}.${Deno.pid}.tmp`;
  await Deno.remove(temporary, { recursive: true }).catch(ignoreMissing);
  await Deno.mkdir(temporary, { recursive: true });
  await savePolicy(temporary, checkpoint.policy);
  if (checkpoint.optimizer) {
    const { m, v, step } = checkpoint.optimizer;
    const tensors: Record<string, { shape: number[]; data: Float32Array }> = {};
    for (const [prefix, moments] of [["m.", m], ["v.", v]] as const) {
      for (const [key, tensor] of Object.entries(moments)) {
        tensors[prefix + key] = { shape: tensor.shape, data: await tensor.data() as Float32Array };
      }
    }
    await writeWhole(`${temporary}/optimizer.safetensors`, writeSafetensors(tensors, { step: String(step) }));
  }
  await writeWhole(`${temporary}/state.json`, JSON.stringify(checkpoint.state, null, 1) + "\n");
  // Removing a folder takes a while, renaming it does not: whatever bears a checkpoint's name is whole.
  await Deno.rename(folder, folder + formerSuffix).catch(ignoreMissing);
  await Deno.rename(temporary, folder);
  await Deno.remove(folder + formerSuffix, { recursive: true }).catch(ignoreMissing);
}

/** Puts back a checkpoint that a kill left without its name, and removes what a kill left of one that was replaced. */
export async function recoverCheckpoints(runFolder: string): Promise<void> {
  for (const entry of await entriesOf(`${runFolder}/checkpoints`)) {
    if (!entry.endsWith(formerSuffix)) continue;
    const former = `${runFolder}/checkpoints/${entry}`;
    const folder = former.slice(0, -formerSuffix.length);
    if (await exists(folder)) await Deno.remove(former, { recursive: true });
    else await Deno.rename(former, folder);
  }
}

/**
 * Reads a checkpoint of this kit.
 *
 * @throws {InputError} when the folder holds no policy.
 *
 * @example
 * ```ts
 * import { buildWordTokenizer, initWeights, loadCheckpoint, loadTokenizer, saveCheckpoint, type TrainingState } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 * import * as tf from "@tensorflow/tfjs";
 *
 * const tokenizer = loadTokenizer(buildWordTokenizer(["Osaka lies in Japan."]));
 * const config = {
 *   model_type: "llama", vocab_size: tokenizer.vocabSize, hidden_size: 8, intermediate_size: 16, num_hidden_layers: 1,
 *   num_attention_heads: 2, num_key_value_heads: 1, rope_theta: 10000, rms_norm_eps: 1e-6,
 *   tie_word_embeddings: true, max_position_embeddings: 32,
 * } as const;
 * const policy = { config, weights: initWeights(config, 1), tokenizer };
 *
 * const folder = await Deno.makeTempDir();
 * const optimizer = { step: 3, m: { a: tf.ones([2]) }, v: { a: tf.zeros([2]) } };
 * await saveCheckpoint(folder, "step_000003", { policy, optimizer, state: { step: 3 } as TrainingState });
 * const loaded = await loadCheckpoint(`${folder}/checkpoints/step_000003`);
 * assertEquals([loaded.state.step, loaded.optimizer!.step], [3, 3]);
 * assertEquals(await loaded.optimizer!.m.a!.array(), [1, 1]);
 * tf.dispose([policy.weights, optimizer.m, optimizer.v]);
 * tf.dispose([loaded.policy.weights, loaded.optimizer!.m, loaded.optimizer!.v]);
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function loadCheckpoint(folder: string): Promise<Checkpoint> {
  const path = `${folder}/state.json`;
  const state = parseJson<TrainingState>(await Deno.readTextFile(path), path);
  const policy = await loadPolicy(folder);
  let optimizer: OptimizerState | undefined;
  if (await exists(`${folder}/optimizer.safetensors`)) {
    const { tensors, metadata } = await readSafetensors(`${folder}/optimizer.safetensors`);
    const moments = (prefix: string): Weights =>
      Object.fromEntries(
        Object.entries(tensors).filter(([name]) => name.startsWith(prefix)).map(([name, { shape, data }]) => [
          name.slice(prefix.length),
          tf.tensor(data as Float32Array, shape, "float32"),
        ]),
      );
    optimizer = { step: Number(metadata.step), m: moments("m."), v: moments("v.") };
  }
  return { policy, optimizer, state };
}

/**
 * The name of the newest whole checkpoint of a run, or undefined when there is none yet.
 *
 * @example
 * ```ts
 * import { latestCheckpoint } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const folder = await Deno.makeTempDir();
 * for (const name of ["step_000020", "step_000010", "step_000030.17.tmp"]) {
 *   await Deno.mkdir(`${folder}/checkpoints/${name}`, { recursive: true });
 * }
 * assertEquals(await latestCheckpoint(folder), "step_000020"); // the last one is half written
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function latestCheckpoint(runFolder: string): Promise<string | undefined> {
  const names = await checkpointNames(runFolder);
  return names.at(-1);
}

/**
 * The names of a run's whole checkpoints, oldest first.
 *
 * @example
 * ```ts
 * import { checkpointNames } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const folder = await Deno.makeTempDir();
 * for (const name of ["step_000020", "step_000010", "step_000030.17.tmp"]) {
 *   await Deno.mkdir(`${folder}/checkpoints/${name}`, { recursive: true });
 * }
 * assertEquals(await checkpointNames(folder), ["step_000010", "step_000020"]); // the last one is half written
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function checkpointNames(runFolder: string): Promise<string[]> {
  const names = (await entriesOf(`${runFolder}/checkpoints`)).filter((name) => /^step_\d{6,}$/.test(name));
  return names.sort((a, b) => Number(a.slice(5)) - Number(b.slice(5)));
}

/** Removes all checkpoints but the newest `keep`, those that `needed` names, and what a cut-off write left behind. */
export async function pruneCheckpoints(
  runFolder: string,
  keep: number,
  needed: readonly string[],
): Promise<void> {
  const names = await checkpointNames(runFolder);
  const kept = new Set([...names.slice(-Math.max(1, keep)), ...needed]);
  for (const entry of await entriesOf(`${runFolder}/checkpoints`)) {
    let path = `${runFolder}/checkpoints/${entry}`;
    if (names.includes(entry) && !kept.has(entry)) {
      await Deno.rename(path, `${path}.tmp`);
      path += ".tmp";
    }
    if (path.endsWith(".tmp")) await Deno.remove(path, { recursive: true });
  }
}

/**
 * The folder of the policy that a path means: a run folder's best checkpoint, or the folder itself when it holds a model.
 *
 * @throws {InputError} when it is neither.
 *
 * @example
 * ```ts
 * import { policyFolder } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const folder = await Deno.makeTempDir();
 * await Deno.writeTextFile(`${folder}/best.json`, '{"checkpoint": "step_000010"}');
 * assertEquals(await policyFolder(folder), `${folder}/checkpoints/step_000010`);
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function policyFolder(path: string): Promise<string> {
  if (await exists(`${path}/config.json`)) return path;
  const best = `${path}/best.json`;
  if (await exists(best)) {
    const { checkpoint } = parseJson<{ checkpoint: string }>(await Deno.readTextFile(best), best);
    return `${path}/checkpoints/${checkpoint}`;
  }
  throw new InputError(
    `Cannot load a policy from ${path}: it holds neither config.json nor best.json; name a checkpoint or a finished run folder`,
  );
}

/** The names in a folder; none when it is missing. */
async function entriesOf(folder: string): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
  } catch (error) {
    ignoreMissing(error);
    return [];
  }
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
