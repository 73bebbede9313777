/** Trajectories for tests: finished ones, without a policy. */
import type { Trajectory, Turn } from "../lib/rollout/trajectory.ts";

/** What a test says about a trajectory; the rest is made up. */
export interface Made {
  questionId?: string;
  member?: number;
  correct?: boolean;
  searches?: number;
  /** Model tokens of each turn. */
  tokensPerTurn?: number;
  answer?: string | null;
  reward?: number;
}

/** A trajectory of `searches` searches and one answer: 3 prompt tokens, then turns, each search with 4 document tokens. */
export function makeTrajectory(made: Made = {}): Trajectory {
  const { searches = 1, tokensPerTurn = 2, correct = false, answer = "x" } = made;
  const tokens = [1, 2, 3];
  const mask = [0, 0, 0];
  const turns: Turn[] = [];
  for (let turn = 0; turn <= searches; turn++) {
    const start = tokens.length;
    for (let i = 0; i < tokensPerTurn; i++) [tokens[tokens.length], mask[mask.length]] = [100 + turn, 1];
    const kind = turn < searches ? "search" : "answer";
    turns.push({ kind, span: [start, tokens.length], content: `${kind} ${turn}`, documents: [] });
    if (kind === "search") tokens.push(50, 51, 52, 53), mask.push(0, 0, 0, 0);
  }
  return {
    questionId: made.questionId ?? "q",
    member: made.member ?? 0,
    tokens,
    promptLength: 3,
    mask,
    logprobs: tokens.map(() => 0),
    turns,
    answer,
    stop: answer === null ? "budget" : "answer",
    truncatedTokens: 0,
    droppedTokens: 0,
    reward: made.reward ?? Number(correct),
    rewards: {},
    correct,
  };
}
