/** What the report and the live page show of a run: plain JSON, made by the kit and drawn in the browser. @module */
import type { Spec } from "vega";
import type { Author } from "./transcript.ts";

/** A chart: a compiled Vega spec whose data set `values` is empty, and that data. */
export interface Chart {
  /** Stays the same while a run goes on, so that the page can put new values into a chart that it has drawn. */
  id: string;
  title: string;
  /** One sentence: what is seen, and in which direction it is good. */
  about: string;
  spec: Spec;
  values: Record<string, unknown>[];
}

/** A trajectory as people read it. */
export interface Transcript {
  /** `sft`, `grpo-1`, …: the stage after which (held-out) or in which (`set` is `train`) it was rolled out. */
  stage: string;
  /** A held-out set's name, or `train`. */
  set: string;
  questionId: string;
  /** Gold answers. */
  gold: string[];
  parts: [author: Author, text: string][];
  answer: string | null;
  correct: boolean;
  searches: number;
  /** Tokens that the model wrote. */
  tokens: number;
  reward: number;
}

/** A student trajectory beside the sibling that its teacher was shown. */
export interface TranscriptPair {
  stage: string;
  questionId: string;
  sibling: Transcript;
  student: Transcript;
}

/** One token that the model wrote, with what teacher and student would have said there. */
export interface HeatmapToken {
  text: string;
  author: Author;
  /** Divergence in nats; null on tokens that the model did not write. */
  kl: number | null;
  /** Likeliest tokens with probabilities, falling; empty where `kl` is null. */
  teacher: [text: string, probability: number][];
  student: [text: string, probability: number][];
}

/** The token-level KL over one student trajectory. */
export interface Heatmap {
  /** The OFSD stage. */
  stage: string;
  /** With the student as the stage found it, or as it left it. */
  when: "before" | "after";
  questionId: string;
  /** The privileged block that the teacher read. */
  block: string;
  tokens: HeatmapToken[];
}

/** A stage of a run. */
export interface StageProgress {
  name: string;
  /** Steps in metrics.jsonl. */
  steps: number;
  state: "done" | "running" | "waiting";
}

/** All that the page shows. */
export interface PageData {
  title: string;
  /** The run folder's last path component. */
  name: string;
  /** `new` while the folder holds no run yet. */
  state: "new" | "unfinished" | "finished";
  stages: StageProgress[];
  /** Steps so far. */
  step: number;
  /** When metrics.jsonl last grew, ISO 8601; null before. */
  updated: string | null;
  /** The figures to look at first. */
  headline: { label: string; value: string; note: string }[];
  /** Result tables with a head row; of the run and of those compared with. */
  tables: { title: string; rows: string[][] }[];
  /** Lines that frame the tables: bounds, recall probe, teacher, time. */
  notes: string[];
  warnings: string[];
  charts: Chart[];
  transcripts: Transcript[];
  pairs: TranscriptPair[];
  heatmaps: Heatmap[];
  /** What was left out to keep the page small, in words. */
  leftOut: string[];
  /** config.toml and environment.json as they stand. */
  config: string;
  environment: string;
}
