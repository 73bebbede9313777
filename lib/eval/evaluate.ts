/** Rolls a policy out on a set of questions and measures what it did. @module */
import { randomStream } from "../base/random.ts";
import type { Policy } from "../model/policy.ts";
import type { AgentOptions } from "../rollout/environment.ts";
import { rollout } from "../rollout/rollout.ts";
import { modelTokenCount, searchCount, type Trajectory } from "../rollout/trajectory.ts";
import type { Question } from "../world/question.ts";
import type { Task } from "../world/question_set.ts";
import { exactMatch, f1 } from "../world/answer_metrics.ts";
import { supported } from "./support.ts";

/** How a set is evaluated. */
export interface EvaluateOptions {
  agent: AgentOptions;
  /** `sampled` draws at the agent's temperature, one roll-out a question. */
  decoding: "greedy" | "sampled";
  temperature?: number;
  seed: number;
  maxBatch?: number;
  /** The recall probe: every search is answered with an empty block. */
  searchOff?: boolean;
  /** Ids put after the prompt of a question: a privileged block. */
  afterPrompt?: (question: Question) => readonly number[];
  onTurn?: (finished: number, total: number) => void;
}

/** What an evaluation measured; means over questions unless said otherwise. */
export interface Measured {
  n: number;
  /** Exact match. */
  em: number;
  /** Standard error of `em`. */
  em_se: number;
  f1: number;
  /** Searches a question. */
  searches: number;
  /** Tokens that the model wrote a question. */
  model_tokens: number;
  /** Share of all turns that held a complete action. */
  valid: number;
  /** Share of the given answers that no retrieved document contains. */
  unsupported: number;
}

/**
 * Rolls a policy out once on every task and measures it; the trajectories come back rewarded by exact match.
 *
 * @example
 * ```ts
 * import { buildWordTokenizer, createBm25, evaluate, initWeights, loadTokenizer } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 * import * as tf from "@tensorflow/tfjs";
 *
 * const tokenizer = loadTokenizer(buildWordTokenizer(["Where is Osaka?"]));
 * const config = {
 *   model_type: "llama", vocab_size: tokenizer.vocabSize, hidden_size: 8, intermediate_size: 16, num_hidden_layers: 1,
 *   num_attention_heads: 2, num_key_value_heads: 1, rope_theta: 10000, rms_norm_eps: 1e-6,
 *   tie_word_embeddings: true, max_position_embeddings: 64,
 * } as const;
 * const policy = { config, weights: initWeights(config, 1), tokenizer };
 * const agent = {
 *   maxTurns: 1, documents: 1, maxObservationTokens: 8, maxContextTokens: 64, maxNewTokens: 4,
 *   instruction: "{question}\n", notice: "\n", chatTemplate: false, useRowPrompts: false,
 * };
 *
 * const task = { question: { id: "q", question: "Where is Osaka?", answers: ["Japan"] }, retriever: createBm25({ documents: [] }) };
 * const { measured, trajectories } = await evaluate(policy, [task], { agent, decoding: "greedy", seed: 1 });
 * assertEquals([measured.n, measured.em], [1, 0]); // these weights know nothing
 * assertEquals(trajectories[0]!.rewards, { exact_match: 0 });
 * tf.dispose(policy.weights);
 * ```
 */
export async function evaluate(
  policy: Policy,
  tasks: readonly Task[],
  options: EvaluateOptions,
): Promise<{ measured: Measured; trajectories: Trajectory[] }> {
  const { afterPrompt } = options;
  const trajectories = await rollout(
    policy,
    tasks.map((task) => ({ ...task, member: 0 })),
    {
      agent: options.agent,
      temperature: options.decoding === "greedy" ? 0 : options.temperature ?? 1,
      random: (question) => randomStream(options.seed, "evaluate", question.id),
      searchOff: options.searchOff ?? false,
      ...(afterPrompt ? { afterPrompt: (question) => afterPrompt(question) } : {}),
      ...(options.maxBatch ? { maxBatch: options.maxBatch } : {}),
      ...(options.onTurn ? { onTurn: options.onTurn } : {}),
    },
  );
  trajectories.forEach((trajectory, i) => {
    const { answers } = tasks[i]!.question;
    trajectory.correct = trajectory.answer !== null && exactMatch(trajectory.answer, answers);
    trajectory.reward = trajectory.correct ? 1 : 0;
    trajectory.rewards = { exact_match: trajectory.reward };
  });
  return { measured: measure(trajectories, tasks.map(({ question }) => question)), trajectories };
}

/**
 * The figures of finished trajectories, one a question, in the questions' order.
 *
 * @example
 * ```ts
 * import { measure, type Trajectory } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const turns = [{ kind: "search", documents: [] }, { kind: "answer", documents: [] }];
 * const trajectory = { turns, answer: "Lima", correct: true, mask: [0, 1, 1] } as unknown as Trajectory;
 * const { em, searches, unsupported } = measure([trajectory], [{ id: "q", question: "?", answers: ["Lima"] }]);
 * assertEquals([em, searches, unsupported], [1, 1, 1]);
 * ```
 */
export function measure(trajectories: readonly Trajectory[], questions: readonly Question[]): Measured {
  const n = trajectories.length;
  const mean = (value: (trajectory: Trajectory, i: number) => number) =>
    trajectories.reduce((sum, trajectory, i) => sum + value(trajectory, i), 0) / n;
  const turns = trajectories.flatMap((trajectory) => trajectory.turns);
  const answered = trajectories.filter((trajectory) => trajectory.answer !== null);
  const em = mean((trajectory) => Number(trajectory.correct));
  return {
    n,
    em,
    em_se: Math.sqrt(em * (1 - em) / n),
    f1: mean((trajectory, i) =>
      trajectory.answer === null ? 0 : f1(trajectory.answer, questions[i]!.answers)
    ),
    searches: mean(searchCount),
    model_tokens: mean(modelTokenCount),
    valid: turns.filter((turn) => turn.kind !== "invalid").length / turns.length,
    unsupported: answered.length === 0
      ? 0
      : answered.filter((trajectory) =>
        !supported(trajectory.answer!, trajectory.turns.flatMap((turn) => turn.documents))
      ).length / answered.length,
  };
}
