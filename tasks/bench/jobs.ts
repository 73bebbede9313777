/** What the bench measures: the acceptance rows, their sizes, and the data that both sides compute on. @module */
import { randomStream } from "../../lib/base/random.ts";
import type { ModelConfig } from "../../lib/model/policy.ts";
import type { Unit } from "./measure.ts";
import type { RlRow, WorkData } from "./protocol.ts";

/** One row to come. */
export interface Job {
  /** What the row is called. */
  work: string;
  /** What the processes are asked to do; the work itself, but for growth rows. */
  task: string;
  shape: Record<string, number | string>;
  unit: Unit;
  /** Who computes beside, or null. */
  peer: string | null;
  repetitions: number;
  config?: ModelConfig;
  data: WorkData;
}

/** The peer of a row that compares the kit with itself: on one thread. */
export const onOneThread = "ours on 1 thread";

/** The works of the acceptance rows. */
export const works = [
  "matmul",
  "train",
  "train_rl",
  "generate",
  "rollout",
  "grpo_step",
  "search",
  "demo",
] as const;

/** What is measured on WebAssembly too when nobody chose the engines. */
export const wasmWorks: readonly string[] = ["matmul", "train", "demo"];

/** The model of the acceptance rows: Qwen2-style, 0.9 million parameters. */
export const acceptanceModel: ModelConfig = {
  model_type: "qwen2",
  vocab_size: 1024,
  hidden_size: 128,
  intermediate_size: 352,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  rope_theta: 10000,
  rms_norm_eps: 1e-6,
  tie_word_embeddings: true,
  max_position_embeddings: 512,
};

const torch = "torch eager";

/** The acceptance rows of one work. */
export function jobsOf(work: string, folder: string): Job[] {
  const config = acceptanceModel;
  const base = { work, task: work, config, repetitions: 5 };
  switch (work) {
    case "matmul":
      return matmulJobs();
    case "train":
      return [trainJob(work, { B: 16, T: 256 }, config)];
    case "train_rl": {
      const shape = { rows: 32, longest: 256, masked_in: 0.4 };
      const data = { rows: rlRows(shape.rows, shape.longest, shape.masked_in), old: -Math.log(1024) };
      return [{ ...base, shape, unit: "tok/s", peer: torch, data }];
    }
    case "generate":
      return [{ ...generateJob(work, { B: 64, prompt: 16, new: 128 }, config), repetitions: 9 }];
    case "rollout":
      return [{
        ...base,
        repetitions: 9,
        shape: { questions: 8, group: 8 },
        unit: "tok/s",
        peer: "HF generate",
        data: { folder: `${folder}/policy` },
      }];
    case "grpo_step": {
      const shape = { prompts: 8, group: 8, prompt: 16, new: 64 };
      const data = { rows: randomRows(shape.prompts, shape.prompt, config.vocab_size) };
      return [{ ...base, repetitions: 9, shape, unit: "s", peer: "TRL GRPOTrainer", data }];
    }
    case "search":
      return [searchJob(work, 20_000)];
    case "demo":
      return [{ ...base, shape: {}, unit: "s", peer: null, repetitions: 1, data: {} }];
    default:
      throw new RangeError(`Cannot measure ${work}: it is no acceptance row`);
  }
}

/** A training step with logits at every position. */
export function trainJob(work: string, shape: { B: number; T: number }, config: ModelConfig): Job {
  const data = { rows: randomRows(shape.B, shape.T, config.vocab_size) };
  return { work, task: "train", shape, unit: "tok/s", peer: torch, repetitions: 5, config, data };
}

/** Sampling without a stop. */
export function generateJob(
  work: string,
  shape: { B: number; prompt: number; new: number },
  config: ModelConfig,
): Job {
  const data = { rows: randomRows(shape.B, shape.prompt, config.vocab_size) };
  const about = { work, task: "generate", unit: "tok/s", peer: "HF generate", repetitions: 5 } as const;
  return { ...about, shape, config, data };
}

/** Milliseconds of a query in documents of an Atlas. */
export function searchJob(work: string, documents: number): Job {
  const shape = { documents, queries: 100, topK: 3 };
  const peer = "wink-bm25-text-search";
  return { work, task: "search", shape, unit: "ms", peer, repetitions: 5, data: {} };
}

function matmulJobs(): Job[] {
  const square = { batch: 1, n: 512, k: 512, m: 512, times: 32 };
  return [
    { ...square, a: "N", b: "N" },
    { ...square, a: "N", b: "T" },
    { ...square, a: "T", b: "N" },
    { batch: 64, n: 256, k: 32, m: 256, times: 16, a: "N", b: "N" },
  ].map((shape) => ({
    work: "matmul",
    task: "matmul",
    shape,
    unit: "GFLOP/s",
    peer: torch,
    repetitions: 61,
    data: {},
  }));
}

/** Rows of random tokens; the first few ids are left to special tokens. */
export function randomRows(count: number, length: number, vocabulary: number): number[][] {
  const random = randomStream("bench", "rows", count, length);
  const token = () => 8 + Math.floor(random() * (vocabulary - 8));
  return Array.from({ length: count }, () => Array.from({ length }, token));
}

/** Rows of trajectories: a question of 16 tokens, then turns of the model and of its environment, one after the other. */
export function rlRows(count: number, longest: number, share: number): RlRow[] {
  const random = randomStream("bench", "lengths");
  return randomRows(count, longest, acceptanceModel.vocab_size).map((row, i) => {
    const prompt = 16;
    // The first row is the longest there can be; the others have lengths from a quarter of that on.
    const length = i === 0 ? longest : Math.round(longest * (0.25 + 0.75 * random()));
    const turn = 64;
    const mask = Array.from({ length }, (_, t) => {
      // In every turn the model writes first, so much that its tokens are the wanted share of all, the question's too.
      const start = prompt + Math.floor((t - prompt) / turn) * turn;
      const size = Math.min(turn, length - start);
      return t >= prompt && t - start < Math.round(size * share * length / (length - prompt)) ? 1 : 0;
    });
    return { tokens: row.slice(0, length), mask, prompt, advantage: i % 2 === 0 ? 1 : -1 };
  });
}
