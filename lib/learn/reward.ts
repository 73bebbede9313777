/**
 * Rewards of finished trajectories. A reward is a function of a trajectory and its question; what a group is centred on is
 * the weighted sum of all that apply.
 *
 * @module
 */
import { strip } from "../base/white_space.ts";
import type { Tokenizer } from "../model/policy.ts";
import type { Trajectory } from "../rollout/trajectory.ts";
import {
  exactMatch,
  extractAnswer,
  f1,
  normalizeAnswer,
  substringExactMatch,
} from "../world/answer_metrics.ts";
import type { Question } from "../world/question.ts";

/** Scores one trajectory; NaN says that it does not apply to it. */
export type Reward = (trajectory: Trajectory, question: Question) => number | Promise<number>;

/** A reward by the name that metrics carry, with its weight in the sum. */
export interface WeightedReward {
  name: string;
  score: Reward;
  weight: number;
}

/**
 * 1 when the last answer equals a gold answer after normalisation, else 0 (arXiv 2503.09516, eq. 4).
 *
 * @example
 * ```ts
 * import { exactMatchReward, type Trajectory } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const question = { id: "q", question: "?", answers: ["real"] };
 * const score = exactMatchReward({ answer: "the Real" } as Trajectory, question);
 * assertEquals(await score, 1);
 * ```
 */
export const exactMatchReward: Reward = ({ answer }, { answers }) =>
  answer !== null && exactMatch(answer, answers) ? 1 : 0;

/**
 * Word overlap F1 of the last answer with the nearest gold answer; 0 without an answer.
 *
 * @example
 * ```ts
 * import { f1Reward, type Trajectory } from "@search-e1/kit";
 * import { assertAlmostEquals } from "@std/assert";
 *
 * const question = { id: "q", question: "?", answers: ["real"] };
 * const score = f1Reward({ answer: "Brazilian real" } as Trajectory, question);
 * assertAlmostEquals(await score, 2 / 3);
 * ```
 */
export const f1Reward: Reward = ({ answer }, { answers }) => answer === null ? 0 : f1(answer, answers);

/**
 * 1 when a gold answer stands in the last answer, else 0.
 *
 * @example
 * ```ts
 * import { substringReward, type Trajectory } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const question = { id: "q", question: "?", answers: ["real"] };
 * const score = substringReward({ answer: "it is the real" } as Trajectory, question);
 * assertEquals(await score, 1);
 * ```
 */
export const substringReward: Reward = ({ answer }, { answers }) =>
  answer !== null && substringExactMatch(answer, answers) ? 1 : 0;

/** What Search-R1's format score gives for form alone. */
export interface FormatScores {
  /** A well-formed response with a wrong answer; a right answer in a malformed response loses as much. */
  structure: number;
  /** A malformed response that holds an answer, though a wrong one. */
  final: number;
  /** Added to `structure` when a gold answer stands in what was retrieved. */
  retrieval: number;
}

const defaultScores: FormatScores = { structure: 0.2, final: 0.1, retrieval: 0 };

/**
 * Search-R1's format reward (structure .2, final format .1, retrieval 0), as the difference to the exact match: the sum of
 * `exactMatchReward` and this one is the score of Search-R1's `qa_em_format`.
 *
 * @param tokenizer Turns the trajectory's tokens after the prompt into text.
 *
 * @example
 * ```ts
 * import { searchR1FormatReward, type Tokenizer, type Trajectory } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const tokenizer = { decode: () => "<think>?</think><answer>Rome</answer>" } as unknown as Tokenizer;
 * const reward = searchR1FormatReward(tokenizer);
 * assertEquals(await reward({ tokens: [], promptLength: 0 } as unknown as Trajectory, { id: "q", question: "?", answers: ["Lima"] }), 0.2);
 * ```
 */
export function searchR1FormatReward(tokenizer: Tokenizer, scores: FormatScores = defaultScores): Reward {
  return (trajectory, { answers }) => {
    const response = tokenizer.decode(trajectory.tokens.slice(trajectory.promptLength));
    const answer = extractAnswer(response);
    const matched = answer !== null && exactMatch(answer, answers);
    return searchR1Score(response, answers, scores) - (matched ? 1 : 0);
  };
}

/**
 * Search-R1's score of a response with format: 1 for a right answer in a well-formed response, less for the rest. Only the
 * response counts, whereas Search-R1's own code also reads the prompt's examples.
 *
 * @example
 * ```ts
 * import { searchR1Score } from "@search-e1/kit";
 * import { assertAlmostEquals } from "@std/assert";
 *
 * assertAlmostEquals(searchR1Score("<think>easy</think><answer>Lima</answer>", ["Lima"]), 1);
 * assertAlmostEquals(searchR1Score("<answer>Lima</answer>", ["Lima"]), 0.8);
 * assertAlmostEquals(searchR1Score("<think>easy</think><answer>Rome</answer>", ["Lima"]), 0.2);
 * ```
 */
export function searchR1Score(
  response: string,
  golds: readonly string[],
  scores: FormatScores = defaultScores,
): number {
  const wellFormed = isWellFormed(response);
  const answer = extractAnswer(response);
  if (answer !== null && exactMatch(answer, golds)) return wellFormed ? 1 : 1 - scores.structure;
  if (wellFormed) return scores.structure + (retrieved(response, golds) ? scores.retrieval : 0);
  return answer === null ? 0 : scores.final;
}

const expected: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "<think>": { start: "in think", "after information": "in think" },
  "</think>": { "in think": "after think" },
  "<search>": { "after think": "in search" },
  "</search>": { "in search": "after search" },
  "<information>": { "after search": "in information" },
  "</information>": { "in information": "after information" },
  "<answer>": { "after think": "in answer" },
  "</answer>": { "in answer": "end" },
};

/**
 * Whether a response is think, search, information, think, … , think, answer and nothing between them, as in Search-R1's
 * format check.
 *
 * @example
 * ```ts
 * import { isWellFormed } from "@search-e1/kit";
 * import { assert, assertFalse } from "@std/assert";
 *
 * assert(isWellFormed("<think>?</think>\n<search>Lima</search><information></information><think>!</think><answer>Peru</answer>"));
 * assertFalse(isWellFormed("<think>?</think> so <answer>Peru</answer>"));
 * ```
 */
export function isWellFormed(response: string): boolean {
  let state = "start";
  for (const part of response.split(/(<\/?(?:think|search|information|answer)>)/)) {
    if (strip(part) === "") continue;
    const next = expected[part];
    if (next) {
      if (!next[state]) return false;
      state = next[state]!;
    } else if (!state.startsWith("in ")) {
      return false;
    }
  }
  return state === "end";
}

function retrieved(response: string, golds: readonly string[]): boolean {
  const blocks = [...response.matchAll(/<information>([\s\S]*?)<\/information>/g)];
  return blocks.some((block) => {
    const text = normalizeAnswer(block[1]!);
    return golds.some((gold) => text.includes(normalizeAnswer(gold)));
  });
}

/**
 * Sets `reward` (the weighted sum), `rewards` (the parts) and `correct` (exact match) of every trajectory. A part that is
 * NaN is left out of the sum; where all parts are NaN the reward is NaN, and the trajectory moves nothing.
 *
 * @param questions The trajectories' questions, one each, in their order.
 * @throws {Error} when a question is not that of its trajectory.
 *
 * @example
 * ```ts
 * import { exactMatchReward, rewardTrajectories, searchCount, type Trajectory } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const trajectory = { questionId: "q", answer: "lima", turns: [{ kind: "search" }] } as Trajectory;
 * await rewardTrajectories([trajectory], [{ id: "q", question: "?", answers: ["Lima"] }], [
 *   { name: "exact_match", score: exactMatchReward, weight: 1 },
 *   { name: "searches", score: searchCount, weight: -0.25 },
 * ]);
 * assertEquals([trajectory.reward, trajectory.correct], [0.75, true]);
 * assertEquals(trajectory.rewards, { exact_match: 1, searches: 1 });
 * ```
 */
export async function rewardTrajectories(
  trajectories: readonly Trajectory[],
  questions: readonly Question[],
  rewards: readonly WeightedReward[],
): Promise<void> {
  await Promise.all(trajectories.map(async (trajectory, i) => {
    const question = questions[i];
    if (question?.id !== trajectory.questionId) {
      throw new Error(
        `Cannot reward trajectory ${i}: it answers "${trajectory.questionId}", its question is "${question?.id}"`,
      );
    }
    const parts = await Promise.all(rewards.map(({ score }) => score(trajectory, question)));
    const applicable = rewards.flatMap(({ weight }, k) =>
      Number.isNaN(parts[k]!) ? [] : [weight * parts[k]!]
    );
    trajectory.rewards = Object.fromEntries(rewards.map(({ name }, k) => [name, parts[k]!]));
    trajectory.reward = applicable.length === 0 ? NaN : applicable.reduce((sum, part) => sum + part, 0);
    trajectory.correct = trajectory.answer !== null && exactMatch(trajectory.answer, question.answers);
  }));
}
