/**
 * Checkpoints: a Hugging Face folder (config.json, model.safetensors, tokenizer.json) with the optimiser's moments and the
 * run's position beside it, so that a resumed run goes on bit for bit.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import { exists, writeWhole } from "../base/files.ts";
import { InputError } from "../base/input_error.ts";
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

/** Writes a checkpoint under a temporary name and renames it: a cut-off write leaves nothing that looks like one. */
export async function saveCheckpoint(runFolder: string, name: string, checkpoint: Checkpoint): Promise<void> {
  const folder = `${runFolder}/checkpoints/${name}`;
  const temporary = `${folder}.${Deno.pid}.tmp`;
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
  await Deno.remove(folder, { recursive: true }).catch(ignoreMissing);
  await Deno.rename(temporary, folder);
}

/** Reads a checkpoint of this kit. */
export async function loadCheckpoint(folder: string): Promise<Checkpoint> {
  const state = JSON.parse(await Deno.readTextFile(`${folder}/state.json`)) as TrainingState;
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

/** The name of the newest whole checkpoint of a run, or undefined when there is none yet. */
export async function latestCheckpoint(runFolder: string): Promise<string | undefined> {
  const names = await checkpointNames(runFolder);
  return names.at(-1);
}

/** The names of a run's whole checkpoints, oldest first. */
export async function checkpointNames(runFolder: string): Promise<string[]> {
  const names: string[] = [];
  try {
    for await (const entry of Deno.readDir(`${runFolder}/checkpoints`)) {
      if (entry.isDirectory && /^step_\d{6,}$/.test(entry.name)) names.push(entry.name);
    }
  } catch (error) {
    ignoreMissing(error);
  }
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
  for await (const entry of Deno.readDir(`${runFolder}/checkpoints`)) {
    if (entry.name.endsWith(".tmp") || (names.includes(entry.name) && !kept.has(entry.name))) {
      await Deno.remove(`${runFolder}/checkpoints/${entry.name}`, { recursive: true });
    }
  }
}

/**
 * The folder of the policy that a path means: a run folder's best checkpoint, or the folder itself when it holds a model.
 *
 * @throws {InputError} when it is neither.
 */
export async function policyFolder(path: string): Promise<string> {
  if (await exists(`${path}/config.json`)) return path;
  if (await exists(`${path}/best.json`)) {
    const best = JSON.parse(await Deno.readTextFile(`${path}/best.json`));
    return `${path}/checkpoints/${best.checkpoint}`;
  }
  throw new InputError(
    `Cannot load a policy from ${path}: it holds neither config.json nor best.json; name a checkpoint or a finished run folder`,
  );
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
