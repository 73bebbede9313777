/** What a run measured: the content of `evaluation.json`. @module */
import type { Measured } from "./evaluate.ts";

/** One held-out set after one stage. */
export interface EvaluationRow extends Measured {
  /** `sft`, `grpo-1`, `ofsd-1`, … */
  stage: string;
  set: string;
  decoding: "greedy" | "sampled";
}

/** The teacher's competence before an OFSD stage, on questions that have a pair. */
export interface TeacherRow {
  stage: string;
  n: number;
  /** EM and searches with the privileged block. */
  em: number;
  searches: number;
  /** EM and searches without it. */
  plain_em: number;
  plain_searches: number;
  /** False when the teacher was too weak, and nothing was distilled. */
  distilled: boolean;
}

/** EM and searches of a scripted policy on one set. */
export interface Bound {
  em: number;
  searches: number;
}

/** Everything a run measured; rows stand in stage order. */
export interface Evaluation {
  rows: EvaluationRow[];
  /** Exact match with search switched off, by set. */
  recall: Record<string, { n: number; em: number }>;
  teacher: TeacherRow[];
  /** Names of the OFSD stages that the validation gate took back. */
  rolled_back: string[];
  /** What the scripted policies reach, by set; empty for worlds without them. */
  bounds: Record<string, { naive: Bound; efficient: Bound }>;
  /** Seconds by stage; `total` is from process start to the last file, less `download`. */
  seconds: Record<string, number>;
  /** Tokens generated + scored + 3 × trained since the start, by the end of each stage: what equal compute means. */
  compute: Record<string, number>;
  engine: { name: string; device: string; threads: number; version: string };
}
