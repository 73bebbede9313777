/**
 * Every key of a run's TOML file: its type, its range, its default, and one line that says what it does. Defaults are
 * those of the paper (arXiv 2605.22511) and of Search-R1 (arXiv 2503.09516) where they name one; sizes and steps are
 * those of the Atlas demo. `docs/config.md` is generated from this file.
 *
 * A key that may differ between the occurrences of a stage takes one value or a list: `grpo.steps = [10, 6]` gives
 * grpo-1 ten steps, and grpo-2 and all later ones six.
 */
import * as z from "zod";

const count = z.int().min(0);
const atLeast = (least: number) => z.int().min(least);
const share = z.number().min(0).max(1);
const positive = z.number().gt(0);
const notNegative = z.number().min(0);
const text = z.string();
const flag = z.boolean();
const perStage = <T extends z.ZodType>(value: T) => z.union([value, z.array(value).min(1)]);
const section = <T extends z.ZodRawShape>(description: string, shape: T) =>
  z.strictObject(shape).prefault({} as never).describe(description);

/** The kinds of stage a run is made of. */
export const stageKinds = ["sft", "grpo", "ofsd"] as const;

/** Names of the ways a step size goes up and down. */
const schedule = z.enum(["constant", "linear", "cosine"]);
const scheduleDescription =
  "After the warm-up the learning rate stays (constant) or falls to 0 (linear, cosine)";

const defaultInstruction =
  "Answer the question below. Think inside <think> and </think> whenever you learn something new. " +
  "When a fact is missing, call the search engine with <search> query </search>: " +
  "what it finds comes back between <information> and </information>. Search as often as you need, and no more. " +
  "When you know the answer, write it, and nothing else, between <answer> and </answer>, as in <answer> Lisbon </answer>. " +
  "Question: {question}\n";

const defaultNotice =
  "\nMy previous action is invalid. To search, I put the query between <search> and </search>; " +
  "to answer, I put the answer between <answer> and </answer>. Let me try again.\n";

const engine = section("What computes", {
  name: z.enum(["auto", "tensorflow", "webgpu", "wasm", "cpu"]).default("auto")
    .describe(
      "Engine; auto takes the first of tensorflow, webgpu (hardware only), wasm that this machine has",
    ),
  threads: count.default(0).describe("Threads of the engine (on wasm: of generation alone); 0 = all cores"),
  micro_batch: atLeast(1).default(96).describe(
    "Rows that go through the model at once in training and scoring",
  ),
  rollout_batch: atLeast(1).default(300).describe("Roll-outs that run side by side"),
  xla: flag.default(false).describe("Compile training steps with XLA (tensorflow only)"),
});

const world = section("Where questions and documents come from", {
  kind: z.enum(["atlas", "files"]).default("atlas")
    .describe(
      "atlas = real countries, cities and airports, their facts permuted for training; files = your own data",
    ),
  countries: atLeast(8).max(150).default(64).describe("atlas: countries"),
  cities: atLeast(8).max(400).default(120).describe("atlas: cities"),
  airports: atLeast(8).max(400).default(120).describe("atlas: airports, one a city"),
  sft_worlds: atLeast(1).max(300).default(8).describe(
    "atlas: alternate worlds that demonstrations are drawn from",
  ),
  rl_worlds: atLeast(1).max(300).default(4).describe(
    "atlas: alternate worlds that GRPO and OFSD questions are drawn from",
  ),
  two_fact_presence: share.default(0.85)
    .describe("atlas: share of the two-fact documents that exist; the missing ones make a short query fail"),
  sft_two_fact_presence: share.default(0.85)
    .describe(
      "atlas: the same in the worlds of the demonstrations; the fewer, the more often they show how to recover",
    ),
  hop_shares: z.array(share).length(3).default([0.15, 0.4, 0.45])
    .describe("atlas: shares of questions with one, two and three hops; they sum to 1"),
  questions: text.default("").describe(
    "files: training questions, JSON lines or Search-R1 rows (.jsonl, .parquet)",
  ),
  validation: text.default("").describe(
    "files: validation questions; they choose the best checkpoint and roll back OFSD",
  ),
  heldout: z.record(z.string(), text).default({})
    .describe("files: held-out questions by set name, reported once a stage; they choose nothing"),
  corpus: text.default("").describe(
    "files: documents, JSON lines of {id, contents}; needed by the bm25 retriever",
  ),
  demonstrations: text.default("").describe("files: demonstration trajectories for SFT, JSON lines"),
});

const retriever = section("The search tool", {
  kind: z.enum(["bm25", "http"]).default("bm25").describe(
    "bm25 = in this process; http = a server with POST /retrieve",
  ),
  k1: notNegative.default(1.2).describe("bm25: how slowly repeated words saturate"),
  b: share.default(0.2).describe("bm25: how much long documents are penalised"),
  title_weight: notNegative.default(1.5).describe("bm25: weight of a word in the title; in the text it is 1"),
  url: text.default("").describe("http: address of the server, without /retrieve"),
  timeout_seconds: positive.default(10).describe("http: seconds to wait for an answer"),
  retries: count.max(10).default(2).describe("http: how often a failed call is tried again"),
});

const model = section("The policy before the first stage", {
  path: text.default("").describe(
    "Folder in Hugging Face layout to start from; empty = a fresh model of the sizes below",
  ),
  tokenizer: text.default("")
    .describe("Folder with tokenizer.json for a fresh model; empty = whole words built from the world"),
  model_type: z.enum(["qwen2", "llama"]).default("qwen2").describe(
    "Fresh model: qwen2 has q/k/v biases, llama has none",
  ),
  hidden_size: atLeast(2).default(64).describe("Fresh model: width"),
  layers: atLeast(1).default(2).describe("Fresh model: decoder layers"),
  heads: atLeast(1).default(4).describe("Fresh model: attention heads"),
  kv_heads: atLeast(1).default(4).describe("Fresh model: key/value heads; divides heads"),
  intermediate_size: atLeast(1).default(192).describe("Fresh model: width of the feed-forward layer"),
  tie_word_embeddings: flag.default(true).describe("Fresh model: share input and output embeddings"),
  rope_theta: positive.default(10000).describe("Fresh model: base of the rotary position frequencies"),
  rms_norm_eps: positive.default(1e-6).describe("Fresh model: ε of the RMS norms"),
  initializer_range: positive.default(0.02).describe("Fresh model: standard deviation of the first weights"),
  max_position_embeddings: atLeast(16).default(4096).describe(
    "Fresh model: longest sequence it is declared for",
  ),
});

const agent = section("The turn loop, compatible with Search-R1", {
  max_turns: atLeast(1).default(4).describe(
    "Turns with searches; one last generation without documents follows",
  ),
  documents: atLeast(1).default(3).describe("Documents a search returns"),
  max_observation_tokens: atLeast(1).default(500).describe("Longest observation; the rest is cut"),
  max_context_tokens: atLeast(16).default(4096).describe(
    "Longest context with the tokens to be generated; the oldest fall out",
  ),
  max_new_tokens: atLeast(1).default(500).describe("Most tokens generated in one turn"),
  instruction: text.default(defaultInstruction).describe("The prompt; {question} stands for the question"),
  notice: text.default(defaultNotice)
    .describe("What the environment says after a turn with neither search nor answer"),
  chat_template: flag.default(false).describe("Wrap the prompt in the tokenizer's chat template"),
  use_row_prompts: flag.default(false).describe(
    "Use the prompt of a Search-R1 row in place of the instruction",
  ),
  temperature: positive.default(1).describe(
    "Temperature of roll-outs, and of the log-probs that GRPO compares",
  ),
});

const phase = z.strictObject({
  steps: atLeast(1).describe("Steps of the phase"),
  learning_rate: positive.describe("Learning rate of the phase"),
  hinted_share: share.default(0).describe("atlas: share of demonstrations that carry a privileged block"),
});

const sft = section("Supervised warm start on demonstrations", {
  phases: z.array(phase).min(1).default([
    { steps: 500, learning_rate: 5e-3, hinted_share: 0.4 },
    { steps: 350, learning_rate: 4e-3, hinted_share: 0.6 },
  ]).describe("Phases, one after the other"),
  batch: atLeast(1).default(32).describe("Demonstrations a step"),
  demonstrations: atLeast(1).default(6000).describe("atlas: demonstrations written by the scripted policies"),
  warmup_ratio: share.default(0).describe("Share of a phase's steps in which the learning rate rises from 0"),
  schedule: schedule.default("constant").describe(scheduleDescription),
  max_grad_norm: notNegative.default(1).describe("Gradients are scaled down to this norm; 0 = never"),
  weight_decay: notNegative.default(0).describe("AdamW's decoupled weight decay"),
});

const rehearsal = section("Hinted demonstrations mixed into GRPO, so that the teacher keeps reading hints", {
  per_step: count.default(12).describe("Demonstrations an optimiser step of GRPO; 0 = none"),
  coefficient: notNegative.default(1).describe("Weight of their loss"),
});

const grpo = section("Group Relative Policy Optimization (arXiv 2402.03300)", {
  preset: z.enum(["search-r1", "trl"]).default("search-r1")
    .describe("Whose defaults the keys of this section have"),
  steps: perStage(atLeast(1)).default([10, 6]).describe("Steps of the stage"),
  compute_budget: count.default(0).describe(
    "End a GRPO stage, and begin none, when the run has spent this many tokens (generated + scored + 3 × trained); 0 = no limit",
  ),
  questions_per_step: perStage(atLeast(1)).default(24).describe("Questions a step"),
  group_size: atLeast(2).default(5).describe("Roll-outs a question"),
  mini_batches: atLeast(1).default(2).describe("Optimiser steps a batch of roll-outs is split into"),
  learning_rate: perStage(positive).default(1e-6).describe("AdamW's learning rate"),
  warmup_ratio: share.default(0.285).describe(
    "Share of the stage's steps in which the learning rate rises from 0",
  ),
  schedule: schedule.default("constant").describe(scheduleDescription),
  beta: notNegative.default(0.001).describe(
    "Coefficient of the KL term to the reference; 0 = no reference is kept",
  ),
  epsilon_low: share.default(0.2).describe("The ratio is clipped at 1 − this"),
  epsilon_high: notNegative.default(0.2).describe("The ratio is clipped at 1 + this"),
  delta: notNegative.default(0).describe(
    "Two-sided clip: upper bound of the ratio for negative advantages; 0 = off",
  ),
  aggregation: z.enum(["grpo", "bnpo", "dr_grpo", "dapo"]).default("bnpo").describe(
    "How token losses become one number",
  ),
  importance: z.enum(["token", "sequence"]).default("token").describe(
    "Level of the importance ratio (sequence = GSPO)",
  ),
  loss: z.enum(["clip", "cispo"]).default("clip").describe(
    "Clipped surrogate, or CISPO's clipped weight on log-probs",
  ),
  scale_rewards: z.enum(["group", "batch", "none"]).default("group")
    .describe("Standard deviation that advantages are divided by"),
  std_epsilon: positive.default(1e-6).describe("Added to that standard deviation"),
  num_iterations: atLeast(1).default(1).describe("Passes over one batch of roll-outs"),
  mask_truncated: flag.default(false).describe(
    "Leave roll-outs that ended without an answer out of the loss",
  ),
  dynamic_sampling: flag.default(false).describe(
    "Drop groups whose rewards are all equal, and draw others in their place",
  ),
  entropy_coefficient: z.number().default(0.001).describe("Weight of the entropy bonus"),
  max_grad_norm: notNegative.default(1).describe("Gradients are scaled down to this norm; 0 = never"),
  weight_decay: notNegative.default(0).describe("AdamW's decoupled weight decay"),
  reset_reference: flag.default(true).describe(
    "Each GRPO stage starts with its first policy as reference; false = the first stage's",
  ),
});

const reward = section("Weights of the reward's parts", {
  exact_match: notNegative.default(1).describe(
    "1 when the answer equals a gold answer after SQuAD normalisation",
  ),
  f1: notNegative.default(0).describe("Word overlap F1 with the nearest gold answer"),
  substring: notNegative.default(0).describe("1 when a gold answer stands in the answer"),
  format: notNegative.default(0).describe("Search-R1's format reward"),
});

const ofsd = section("Offline self-distillation from the own best roll-outs (arXiv 2605.22511)", {
  arm: z.enum(["ofsd", "shuffled-sibling", "no-privilege", "rejection-sft"]).default("ofsd")
    .describe("The method, or a control: block of another question, no block, SFT on the siblings"),
  questions: perStage(atLeast(1)).default(160).describe("Own training questions rolled out"),
  samples: atLeast(2).default(6).describe("Roll-outs a question"),
  pairs_per_question: atLeast(1).default(3).describe("Most student trajectories kept a question"),
  same_searches_more_tokens: flag.default(false)
    .describe("Also pair correct roll-outs with the sibling's searches and more tokens"),
  block: z.enum(["queries", "full", "no-answer"]).default("queries").describe(
    "What the teacher sees of the sibling",
  ),
  epochs: atLeast(1).default(4).describe("Passes over the pairs"),
  batch: atLeast(1).default(32).describe("Pairs a step"),
  learning_rate: perStage(positive).default(1e-3).describe("AdamW's learning rate"),
  warmup_ratio: share.default(0).describe(
    "Share of the stage's steps in which the learning rate rises from 0",
  ),
  schedule: schedule.default("constant").describe(scheduleDescription),
  max_grad_norm: notNegative.default(1).describe("Gradients are scaled down to this norm; 0 = never"),
  weight_decay: notNegative.default(0).describe("AdamW's decoupled weight decay"),
  direction: z.enum(["forward", "reverse", "jsd"]).default("forward")
    .describe("KL(teacher ‖ student), KL(student ‖ teacher), or generalised Jensen-Shannon"),
  jsd_beta: share.default(0.5).describe("jsd: weight of the teacher in the mixture"),
  clip: z.enum(["off", "entry", "token"]).default("token")
    .describe(
      "What is capped at tau nats: nothing, each vocabulary entry before the sum, each token after it",
    ),
  tau: positive.default(10).describe("The cap, in nats"),
  top_k: count.default(0).describe("Teacher entries kept beside one tail bucket; 0 = the whole vocabulary"),
  tokens: z.enum(["all", "queries"]).default("all").describe(
    "Model tokens in the loss: all, or those of search queries",
  ),
  weighting: z.enum(["uniform", "position", "teacher-entropy", "gap", "return-gap"]).default("uniform")
    .describe(
      "Weights of the tokens: equal, by position, by teacher entropy, by teacher–student gap, by return gap",
    ),
  teacher_temperature: positive.default(1).describe("Temperature of the teacher's distribution"),
  train: z.enum(["full", "lora"]).default("lora").describe(
    "Train all weights, or a LoRA adapter on all linear layers",
  ),
  lora_rank: atLeast(1).default(16).describe("lora: rank"),
  lora_alpha: positive.default(32).describe("lora: the update is scaled by lora_alpha / lora_rank"),
  merge: flag.default(true).describe("lora: merge the adapter into the weights after the stage"),
  teacher_margin: share.default(0.05)
    .describe("Do not distil when the hinted teacher's EM lies this far below its plain EM"),
  gate_margin: share.default(0.1).describe("Roll the stage back when validation EM falls by more than this"),
});

const evaluate = section("What is measured", {
  n: atLeast(1).default(300).describe("Questions of each held-out set, read once a stage"),
  validation_n: atLeast(1).default(150).describe("Questions of the validation set"),
  sampled: flag.default(true).describe("Also evaluate sampled decoding beside greedy"),
  recall_n: count.default(300).describe(
    "Questions of the recall probe (search switched off) on each set; 0 = no probe",
  ),
});

const checkpoint = section("What a run can be resumed from", {
  every_steps: atLeast(1).default(25).describe(
    "Steps between checkpoints; the end of a stage always writes one",
  ),
  keep: atLeast(1).default(2).describe("Newest checkpoints kept, besides the best one"),
});

/** The schema of a run's TOML file. */
export const configSchema = z.strictObject({
  title: text.default("").describe("One line for the report's head"),
  seed: count.default(1).describe("All random draws derive from it"),
  stages: z.array(z.enum(stageKinds)).min(1).default(["sft", "grpo", "ofsd", "grpo"])
    .describe("Stages in order; output names them sft, grpo-1, ofsd-1, grpo-2, …"),
  engine,
  world,
  retriever,
  model,
  agent,
  sft,
  rehearsal,
  grpo,
  reward,
  ofsd,
  evaluate,
  checkpoint,
});

/** What `grpo.preset` gives the keys that the file leaves out: the table in arXiv 2503.09516's appendix, and TRL's defaults. */
export const grpoPresets: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  "search-r1": {},
  trl: {
    group_size: 8,
    mini_batches: 1,
    warmup_ratio: 0,
    schedule: "linear",
    beta: 0,
    aggregation: "dapo",
    std_epsilon: 1e-4,
    entropy_coefficient: 0,
  },
};
