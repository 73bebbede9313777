import type { Document } from "../search/retriever.ts";

/** What happened in one turn of the agent. */
export interface Turn {
  /** `search` and `answer` are complete actions; `invalid` is a turn with neither. */
  kind: "search" | "answer" | "invalid";
  /** Where the model's tokens of this turn lie in `tokens`: [start, end). */
  span: [number, number];
  /** The query or the answer, trimmed; empty for an invalid turn. */
  content: string;
  /** What the search returned; empty for other turns, and for a search in the final turn. */
  documents: Document[];
}

/** Why a trajectory ended: an answer was given, or the turn budget was used up. */
export type StopReason = "answer" | "budget";

/** One roll-out, token in, token out. It serialises to one JSON line. */
export interface Trajectory {
  /** The question's id, which is the group id. */
  questionId: string;
  /** Which member of the group this is, from 0. */
  member: number;
  /** Prompt ids, then sampled ids and the ids of the environment's text, in order. Never decoded and encoded again. */
  tokens: number[];
  /** How many of `tokens` are the prompt. */
  promptLength: number;
  /** 1 where the model wrote the token, 0 for prompt, documents and notices. As long as `tokens`. */
  mask: number[];
  /** Log-prob of each model token under the sampling distribution's policy (temperature applied); 0 where the mask is 0. */
  logprobs: number[];
  turns: Turn[];
  /** The last answer, or null. */
  answer: string | null;
  stop: StopReason;
  /** How many tokens of an over-long observation were dropped. */
  truncatedTokens: number;
  /** How many of the oldest tokens had fallen out of the model's context by the last turn. */
  droppedTokens: number;
  /** Total reward and its named parts, once rewarded. */
  reward: number;
  rewards: Record<string, number>;
  /** Exact match with a gold answer, once rewarded. */
  correct: boolean;
}

/**
 * How many searches the model made (a search in the final turn counts: it was asked for).
 *
 * @example
 * ```ts
 * import { searchCount, type Trajectory } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const trajectory = { turns: [{ kind: "search" }, { kind: "invalid" }, { kind: "answer" }] } as Trajectory;
 * assertEquals(searchCount(trajectory), 1);
 * ```
 */
export function searchCount(trajectory: Trajectory): number {
  return trajectory.turns.filter((turn) => turn.kind === "search").length;
}

/**
 * How many tokens of a trajectory, or of another sequence with a mask, the model wrote.
 *
 * @example
 * ```ts
 * import { modelTokenCount } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(modelTokenCount({ mask: [0, 0, 1, 1, 0, 1] }), 3);
 * ```
 */
export function modelTokenCount({ mask }: { mask: readonly number[] }): number {
  return mask.reduce((sum, m) => sum + m, 0);
}
