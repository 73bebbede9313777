/**
 * Batched multi-turn roll-outs, token in, token out: a trajectory holds the ids that were sampled and the ids of the
 * environment's text; it is never decoded and encoded again.
 *
 * @module
 */
import { generate } from "../model/generate.ts";
import type { Policy } from "../model/policy.ts";
import { PrefixCache } from "../model/prefix_cache.ts";
import type { Question } from "../world/question.ts";
import type { Task } from "../world/question_set.ts";
import { type AgentOptions, observationText, parseAction, stopStrings } from "./environment.ts";
import { promptTokens } from "./prompt.ts";
import type { Trajectory } from "./trajectory.ts";

/** How roll-outs are sampled. */
export interface RolloutOptions {
  agent: AgentOptions;
  /** 0 is greedy. */
  temperature: number;
  topP?: number;
  topK?: number;
  /** The stream of uniform numbers of one member; it is asked once a trajectory and lives through its turns. */
  random: (question: Question, member: number) => () => number;
  /** Ids put after a question's prompt before the model goes on: a privileged block, say. */
  afterPrompt?: (question: Question, member: number) => readonly number[];
  /** Rows generated together at most. */
  maxBatch?: number;
  /** Search is answered with an empty block (the recall probe). */
  searchOff?: boolean;
  /** Called after every turn with the number of trajectories that have ended. */
  onTurn?: (finished: number, total: number) => void;
  /** Milliseconds spent are added here. */
  time?: { generate: number; search: number };
}

/** A task and which member of its group this roll-out is. */
export interface RolloutRequest extends Task {
  member: number;
}

/**
 * Rolls out every request to its end and returns the trajectories in the same order. Rewards are not set here.
 *
 * A turn: the model writes until `</search>`, `</answer>`, end of sequence or `maxNewTokens`; the first complete
 * action decides. A search is answered with documents, a turn without an action with the notice. After `maxTurns` turns
 * there is a last generation in which a search is not answered.
 *
 * @example
 * ```ts
 * import { buildWordTokenizer, createBm25, initWeights, loadTokenizer, randomStream, rollout } from "@search-e1/kit";
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
 * const [trajectory] = await rollout(policy, [{ ...task, member: 0 }], {
 *   agent,
 *   temperature: 1,
 *   random: ({ id }, member) => randomStream(1, "example", id, member),
 * });
 * assertEquals(trajectory!.mask.length, trajectory!.tokens.length);
 * assertEquals(trajectory!.turns[0]!.span[0], trajectory!.promptLength);
 * tf.dispose(policy.weights);
 * ```
 */
export async function rollout(
  policy: Policy,
  requests: readonly RolloutRequest[],
  options: RolloutOptions,
): Promise<Trajectory[]> {
  const { agent } = options;
  const { tokenizer } = policy;
  const noticeIds = tokenizer.encode(agent.notice);
  const streams = requests.map(({ question, member }) => options.random(question, member));
  const trajectories = requests.map(({ question, member }): Trajectory => {
    const tokens = promptTokens(question, tokenizer, agent);
    tokens.push(...options.afterPrompt?.(question, member) ?? []);
    return {
      questionId: question.id,
      member,
      promptLength: tokens.length,
      mask: tokens.map(() => 0),
      logprobs: tokens.map(() => 0),
      tokens,
      turns: [],
      answer: null,
      stop: "budget",
      truncatedTokens: 0,
      droppedTokens: 0,
      reward: NaN,
      rewards: {},
      correct: false,
    };
  });

  // A turn goes on from what the last one left in the KV cache.
  const prefixCache = new PrefixCache(agent.maxContextTokens);
  try {
    let active = trajectories.map((_, row) => row);
    for (let turn = 0; turn <= agent.maxTurns && active.length > 0; turn++) {
      const finalTurn = turn === agent.maxTurns;
      const room = agent.maxContextTokens - agent.maxNewTokens;
      const contexts = active.map((row) => {
        const { tokens } = trajectories[row]!;
        trajectories[row]!.droppedTokens = Math.max(0, tokens.length - room);
        return tokens.slice(-room);
      });
      const rows = active;
      const started = performance.now();
      const generated = await generate(policy, contexts, {
        maxNewTokens: agent.maxNewTokens,
        temperature: options.temperature,
        ...(options.topP === undefined ? {} : { topP: options.topP }),
        ...(options.topK === undefined ? {} : { topK: options.topK }),
        ...(options.maxBatch === undefined ? {} : { maxBatch: options.maxBatch }),
        stopStrings: [...stopStrings],
        random: (i) => streams[rows[i]!]!,
        prefixCache,
      });
      if (options.time) options.time.generate += performance.now() - started;

      const searching: number[] = [];
      const goingOn: number[] = [];
      active.forEach((row, i) => {
        const trajectory = trajectories[row]!;
        const { tokens, logprobs } = generated[i]!;
        const action = parseAction(tokenizer.decode(tokens));
        const start = trajectory.tokens.length;
        append(trajectory, tokens, 1, logprobs);
        trajectory.turns.push({
          kind: action?.kind ?? "invalid",
          span: [start, trajectory.tokens.length],
          content: action?.content ?? "",
          documents: [],
        });
        if (action?.kind === "answer") {
          trajectory.answer = action.content;
          trajectory.stop = "answer";
        } else if (!finalTurn) {
          goingOn.push(row);
          if (action) searching.push(row);
          else append(trajectory, noticeIds, 0);
        }
      });

      if (searching.length > 0) {
        const startedSearch = performance.now();
        for (const [retriever, asking] of Map.groupBy(searching, (row) => requests[row]!.retriever)) {
          const queries = asking.map((row) => trajectories[row]!.turns.at(-1)!.content);
          const found = options.searchOff
            ? queries.map(() => [])
            : await retriever.search(queries, agent.documents);
          asking.forEach((row, i) => {
            const trajectory = trajectories[row]!;
            const documents = found[i]!.map((hit) => hit.document);
            trajectory.turns.at(-1)!.documents = documents;
            const ids = tokenizer.encode(observationText(documents));
            trajectory.truncatedTokens += Math.max(0, ids.length - agent.maxObservationTokens);
            append(trajectory, ids.slice(0, agent.maxObservationTokens), 0);
          });
        }
        if (options.time) options.time.search += performance.now() - startedSearch;
      }
      active = goingOn;
      options.onTurn?.(trajectories.length - active.length, trajectories.length);
    }
  } finally {
    prefixCache.close();
  }
  return trajectories;
}

function append(
  trajectory: Trajectory,
  tokens: readonly number[],
  mask: 0 | 1,
  logprobs?: readonly number[],
): void {
  for (let i = 0; i < tokens.length; i++) {
    trajectory.tokens.push(tokens[i]!);
    trajectory.mask.push(mask);
    trajectory.logprobs.push(logprobs?.[i] ?? 0);
  }
}
