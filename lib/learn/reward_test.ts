import { assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import type { Tokenizer } from "../model/policy.ts";
import { makeTrajectory } from "../../tests/make_trajectory.ts";
import {
  exactMatchReward,
  f1Reward,
  rewardTrajectories,
  searchR1FormatReward,
  substringReward,
} from "./reward.ts";

const question = { id: "q", question: "?", answers: ["Lima", "Ciudad de los Reyes"] };

/** One id a UTF-16 unit. */
const characters: Tokenizer = {
  vocabSize: 65536,
  eosTokenId: undefined,
  padTokenId: 0,
  encode: (text) => [...text].map((character) => character.charCodeAt(0)),
  decode: (ids) => String.fromCharCode(...ids),
  files: {},
};

Deno.test("rewards score the last answer, and its absence with 0", async () => {
  const scores = async (answer: string | null) => {
    const trajectory = makeTrajectory({ answer });
    return await Promise.all(
      [exactMatchReward, f1Reward, substringReward].map((score) => score(trajectory, question)),
    );
  };
  assertEquals(await scores("the LIMA."), [1, 1, 1]);
  assertEquals(await scores("in Lima"), [0, 2 / 3, 1]);
  assertEquals(await scores(null), [0, 0, 0]);
});

Deno.test("rewardTrajectories() sums with weights, waits for promises and leaves NaN parts out", async () => {
  const trajectories = [makeTrajectory({ answer: "Lima" }), makeTrajectory({ answer: "Rome" })];
  await rewardTrajectories(trajectories, [question, question], [
    { name: "exact_match", score: exactMatchReward, weight: 1 },
    { name: "late", score: () => Promise.resolve(0.5), weight: 2 },
    { name: "never", score: () => NaN, weight: 3 },
  ]);
  assertEquals(trajectories.map(({ reward }) => reward), [2, 1]);
  assertEquals(trajectories.map(({ correct }) => correct), [true, false]);
  assertEquals(trajectories[0]!.rewards, { exact_match: 1, late: 0.5, never: NaN });
});

Deno.test("rewardTrajectories() gives NaN where no part applies", async () => {
  const trajectory = makeTrajectory();
  await rewardTrajectories([trajectory], [question], [{ name: "never", score: () => NaN, weight: 1 }]);
  assertEquals(trajectory.reward, NaN);
});

Deno.test("rewardTrajectories() refuses a question of another trajectory", async () => {
  await assertRejects(
    () => rewardTrajectories([makeTrajectory({ questionId: "r" })], [question], []),
    Error,
    'it answers "r", its question is "q"',
  );
});

Deno.test("searchR1FormatReward() is what Search-R1's score adds to exact match", async () => {
  const score = async (response: string) => {
    const tokens = [1, ...characters.encode(response)];
    return await searchR1FormatReward(characters)({ ...makeTrajectory(), tokens, promptLength: 1 }, question);
  };
  assertAlmostEquals(await score("<think>?</think><answer>Lima</answer>"), 0);
  assertAlmostEquals(await score("<answer>Lima</answer>"), -0.2);
  assertAlmostEquals(await score("<think>?</think><answer>Rome</answer>"), 0.2);
  assertAlmostEquals(await score("<answer>Rome</answer>"), 0.1);
  assertAlmostEquals(await score("<think>?</think>"), 0);
});
