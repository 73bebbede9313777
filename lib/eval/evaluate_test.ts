import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import { makeTrajectory } from "../../tests/make_trajectory.ts";
import { chainPolicy } from "../../tests/word_policies.ts";
import type { AgentOptions } from "../rollout/environment.ts";
import type { Retriever } from "../search/retriever.ts";
import type { Question } from "../world/question.ts";
import { evaluate, measure } from "./evaluate.ts";

await tf.setBackend("cpu");

const asked = (id: string, ...answers: string[]): Question => ({ id, question: "?", answers });
const japan = { id: "1", contents: '"Osaka"\nOsaka lies in Japan.' };

Deno.test("measure() takes means over questions, shares over turns, and support over the answers given", () => {
  const right = makeTrajectory({ searches: 2, correct: true, answer: "Japan" });
  right.turns[1]!.documents = [japan];
  const half = makeTrajectory({ searches: 1, answer: "old Japan", tokensPerTurn: 5 });
  const silent = makeTrajectory({ searches: 0, answer: null });
  silent.turns[0]!.kind = "invalid";
  const wrong = makeTrajectory({ searches: 1, answer: "Peru" });
  wrong.turns[0]!.documents = [japan];
  const questions = ["a", "b", "c", "d"].map((id) => asked(id, "Japan"));
  const measured = measure([right, half, silent, wrong], questions);
  assertEquals(measured.n, 4);
  assertEquals(measured.em, 1 / 4);
  assertAlmostEquals(measured.em_se, Math.sqrt(0.25 * 0.75 / 4), 1e-12);
  assertAlmostEquals(measured.f1, (1 + 2 / 3) / 4, 1e-12);
  assertEquals(measured.searches, (2 + 1 + 0 + 1) / 4);
  assertEquals(measured.model_tokens, (6 + 10 + 2 + 4) / 4);
  assertEquals(measured.valid, 7 / 8);
  assertEquals(measured.unsupported, 2 / 3);
});

Deno.test("measure() of roll-outs that give no answer finds nothing unsupported", () => {
  const silent = makeTrajectory({ answer: null });
  assertEquals(measure([silent], [asked("a", "x")]).unsupported, 0);
});

const agent: AgentOptions = {
  maxTurns: 2,
  documents: 1,
  maxObservationTokens: 40,
  maxContextTokens: 200,
  maxNewTokens: 8,
  instruction: "{question}\n",
  notice: "\nTry again.\n",
  chatTemplate: false,
  useRowPrompts: false,
};

Deno.test("evaluate() rewards by exact match, in the order of the tasks; searchOff and afterPrompt reach the roll-out", async () => {
  const policy = chainPolicy({
    "\n": "<search>",
    "<search>": "Osaka",
    "Osaka": "</search>",
    "\n\n": "<answer>",
    "<hint>": "<answer>",
    "<answer>": "Japan",
    "Japan": "</answer>",
  }, ["Where is Osaka?", "Try again.", 'Doc 1(Title: "Osaka") Osaka lies in Japan.']);
  const retriever: Retriever = {
    search: (queries) => Promise.resolve(queries.map(() => [{ document: japan, score: 1 }])),
  };
  const tasks = [asked("a", "Peru"), asked("b", "the Japan", "Peru")].map((question) => ({
    question,
    retriever,
  }));
  const options = { agent, decoding: "greedy", seed: 1 } as const;

  const { measured, trajectories } = await evaluate(policy, tasks, options);
  assertEquals(
    trajectories.map(({ questionId, correct, reward, rewards }) => [questionId, correct, reward, rewards]),
    [
      ["a", false, 0, { exact_match: 0 }],
      ["b", true, 1, { exact_match: 1 }],
    ],
  );
  const { em, searches, unsupported, model_tokens, valid } = measured;
  assertEquals([em, searches, unsupported, model_tokens, valid], [0.5, 1, 0, 6, 1]);

  const off = await evaluate(policy, tasks, { ...options, searchOff: true });
  assertEquals([off.measured.searches, off.measured.unsupported], [1, 1]);
  const block = policy.tokenizer.encode("<hint>");
  const hinted = await evaluate(policy, tasks, {
    ...options,
    afterPrompt: ({ id }) => id === "a" ? block : [],
  });
  assertEquals(hinted.trajectories.map(({ turns }) => turns.length), [1, 2]);
  assert(hinted.trajectories[0]!.mask.slice(0, hinted.trajectories[0]!.promptLength).every((m) => m === 0));
  tf.dispose(policy.weights);
});

Deno.test("evaluate() samples the same roll-outs for a seed, and others for another", async () => {
  // What follows a line end is left open, so that the answer is drawn.
  const policy = chainPolicy({ "<answer>": "Japan", "Japan": "</answer>" }, [
    "Osaka lies in Peru. Try again.",
  ]);
  const tasks = ["a", "b", "c"].map((id) => ({
    question: asked(id, "Japan"),
    retriever: { search: (queries: readonly string[]) => Promise.resolve(queries.map(() => [])) },
  }));
  const tokens = async (seed: number, temperature: number) => {
    const options = { agent, decoding: "sampled", seed, temperature } as const;
    return (await evaluate(policy, tasks, options)).trajectories.map((trajectory) => trajectory.tokens);
  };
  const first = await tokens(1, 1);
  assertEquals(await tokens(1, 1), first);
  assert((await tokens(2, 1)).join() !== first.join());
  assertEquals(new Set(first.map((row) => row.join())).size, 3);
  tf.dispose(policy.weights);
});
