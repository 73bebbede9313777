import { assert, assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import fc from "fast-check";
import { chainPolicy, randomPolicy } from "../../tests/word_policies.ts";
import { randomStream } from "../base/random.ts";
import { assertNoLeak } from "../engine/leaks.ts";
import { generate } from "../model/generate.ts";
import type { Policy } from "../model/policy.ts";
import type { Document, Retriever } from "../search/retriever.ts";
import { type AgentOptions, observationText, stopStrings } from "./environment.ts";
import { rollout, type RolloutOptions, type RolloutRequest } from "./rollout.ts";
import type { Trajectory } from "./trajectory.ts";

await tf.setBackend("cpu");

const osaka: Document = { id: "1", contents: '"Osaka"\nOsaka lies in Japan.' };
const lima: Document = { id: "2", contents: '"Lima"\nLima lies in Peru.' };
const agent: AgentOptions = {
  maxTurns: 2,
  documents: 1,
  maxObservationTokens: 50,
  maxContextTokens: 200,
  maxNewTokens: 8,
  instruction: "{question}\n",
  notice: "\nTry again.\n",
  chatTemplate: false,
  useRowPrompts: false,
};
const texts = [
  "Where is Osaka? Where is Lima?",
  "Try again.",
  osaka.contents,
  lima.contents,
  observationText([osaka]),
];

/** Always finds the same document, and keeps the queries that it was asked. */
function retrieverOf(...documents: Document[]): Retriever & { asked: string[][] } {
  const asked: string[][] = [];
  return {
    asked,
    search: (queries, topK) => {
      asked.push([...queries]);
      return Promise.resolve(
        queries.map(() => documents.slice(0, topK).map((document) => ({ document, score: 1 }))),
      );
    },
  };
}

const request = (retriever: Retriever, id = "q", question = "Where is Osaka?"): RolloutRequest => ({
  question: { id, question, answers: ["Japan"] },
  retriever,
  member: 0,
});

async function rollOut(
  policy: Policy,
  requests: RolloutRequest[],
  options: Partial<RolloutOptions> = {},
): Promise<Trajectory[]> {
  const random = () => randomStream("unused");
  return await rollout(policy, requests, { agent, temperature: 0, random, ...options });
}

/** The trajectory's text, with what the model wrote in brackets. */
function marked({ tokenizer }: Policy, { tokens, mask }: Trajectory): string {
  let text = "";
  for (let start = 0; start < tokens.length;) {
    let end = start + 1;
    while (end < tokens.length && mask[end] === mask[start]) end++;
    const part = tokenizer.decode(tokens.slice(start, end));
    text += mask[start] === 1 ? `[${part}]` : part;
    start = end;
  }
  return text;
}

const found = '\n\n<information>Doc 1(Title: "Osaka") Osaka lies in Japan.</information>\n\n';

Deno.test("rollout() searches, reads and answers; masks cover what the model wrote and nothing else", async () => {
  const policy = chainPolicy({
    "\n": "<search>",
    "<search>": "Osaka",
    "Osaka": "</search>",
    "\n\n": "<answer>",
    "<answer>": "Japan",
    "Japan": "</answer>",
  }, texts);
  const retriever = retrieverOf(osaka);
  const [trajectory] = await rollOut(policy, [request(retriever)]);
  assertEquals(
    marked(policy, trajectory!),
    `Where is Osaka?\n[<search>Osaka</search>]${found}[<answer>Japan</answer>]`,
  );
  assertEquals(retriever.asked, [["Osaka"]]);
  const { promptLength, turns, answer, stop, mask, tokens } = trajectory!;
  assertEquals(policy.tokenizer.decode(tokens.slice(0, promptLength)), "Where is Osaka?\n");
  assertEquals([answer, stop], ["Japan", "answer"]);
  assertEquals(turns.map(({ kind, content, documents }) => [kind, content, documents]), [
    ["search", "Osaka", [osaka]],
    ["answer", "Japan", []],
  ]);
  assertEquals(turns.map(({ span: [start, end] }) => mask.slice(start, end)), [[1, 1, 1], [1, 1, 1]]);
  tf.dispose(policy.weights);
});

Deno.test("rollout() gives the notice to turns without an action, and ends with the budget", async () => {
  const policy = chainPolicy({ "\n": "Osaka", "Osaka": "Osaka" }, texts);
  const retriever = retrieverOf(osaka);
  const [trajectory] = await rollOut(policy, [request(retriever)], { agent: { ...agent, maxNewTokens: 2 } });
  assertEquals(
    marked(policy, trajectory!),
    "Where is Osaka?\n[Osaka Osaka]\nTry again.\n[Osaka Osaka]\nTry again.\n[Osaka Osaka]",
  );
  assertEquals(trajectory!.turns.map(({ kind }) => kind), ["invalid", "invalid", "invalid"]);
  assertEquals([trajectory!.answer, trajectory!.stop, retriever.asked], [null, "budget", []]);
  tf.dispose(policy.weights);
});

Deno.test("rollout() does not answer a search in the last generation", async () => {
  const policy = chainPolicy({
    "\n": "<search>",
    "<search>": "Osaka",
    "Osaka": "</search>",
    "\n\n": "<search>",
  }, texts);
  const retriever = retrieverOf(osaka);
  const [trajectory] = await rollOut(policy, [request(retriever)]);
  const search = "[<search>Osaka</search>]";
  assertEquals(marked(policy, trajectory!), `Where is Osaka?\n${search}${found}${search}${found}${search}`);
  assertEquals(trajectory!.turns.map(({ kind, documents }) => [kind, documents.length]), [
    ["search", 1],
    ["search", 1],
    ["search", 0],
  ]);
  assertEquals([trajectory!.stop, retriever.asked.length], ["budget", 2]);
  tf.dispose(policy.weights);
});

Deno.test("rollout() cuts a long observation at its end and counts what was cut, and with searchOff shows none", async () => {
  const policy = chainPolicy({ "\n": "<search>", "<search>": "Osaka", "Osaka": "</search>" }, texts);
  const retriever = retrieverOf(osaka, lima);
  const short = { ...agent, maxTurns: 1, maxObservationTokens: 5, documents: 2 };
  const [cut] = await rollOut(policy, [request(retriever)], { agent: short });
  const whole = policy.tokenizer.encode(observationText([osaka, lima]));
  const [{ span: [, end] }, next] = cut!.turns as [Trajectory["turns"][0], Trajectory["turns"][0]];
  assertEquals(cut!.tokens.slice(end, next.span[0]), whole.slice(0, 5));
  assertEquals(cut!.truncatedTokens, whole.length - 5);
  assertEquals(cut!.turns[0]!.documents, [osaka, lima]);

  const before = retriever.asked.length;
  const [off] = await rollOut(policy, [request(retriever)], { searchOff: true });
  assert(marked(policy, off!).includes("</search>]\n\n<information></information>\n\n["));
  assertEquals([off!.turns[0]!.documents, retriever.asked.length], [[], before]);
  tf.dispose(policy.weights);
});

Deno.test("rollout() asks each request's own retriever, once a turn, and keeps the order of the requests", async () => {
  const policy = chainPolicy({ "\n": "<search>", "<search>": "Osaka", "Osaka": "</search>" }, texts);
  const [first, second] = [retrieverOf(osaka), retrieverOf(lima)];
  const trajectories = await rollOut(policy, [
    request(first, "a"),
    request(second, "b", "Where is Lima?"),
    request(first, "c", "Where is Lima? Where is Osaka?"),
  ], { agent: { ...agent, maxTurns: 1 }, maxBatch: 2 });
  assertEquals(trajectories.map(({ questionId }) => questionId), ["a", "b", "c"]);
  assertEquals(trajectories.map(({ turns }) => turns[0]!.documents[0]!.id), ["1", "2", "1"]);
  assertEquals([first.asked, second.asked], [[["Osaka", "Osaka"]], [["Osaka"]]]);
  tf.dispose(policy.weights);
});

Deno.test("rollout() puts afterPrompt behind the prompt, as part of it", async () => {
  const policy = chainPolicy({
    "\n": "Lima",
    "<hint>": "<answer>",
    "<answer>": "Japan",
    "Japan": "</answer>",
  }, texts);
  const block = policy.tokenizer.encode("<hint>");
  const [trajectory] = await rollOut(policy, [request(retrieverOf())], { afterPrompt: () => block });
  assertEquals(marked(policy, trajectory!), "Where is Osaka?\n<hint>[<answer>Japan</answer>]");
  assertEquals(trajectory!.tokens.slice(0, trajectory!.promptLength).at(-1), block[0]);
  tf.dispose(policy.weights);
});

const settings = fc.record({
  seed: fc.nat({ max: 1000 }),
  maxTurns: fc.integer({ min: 1, max: 3 }),
  documents: fc.integer({ min: 1, max: 2 }),
  maxObservationTokens: fc.integer({ min: 1, max: 40 }),
  maxNewTokens: fc.integer({ min: 1, max: 24 }),
  maxContextTokens: fc.integer({ min: 30, max: 120 }),
});

Deno.test("rollout() is prompt, drawn ids and encoded environment text, in order, with masks and counts to match", async () => {
  let differing = 0;
  const kinds = new Set<string>();
  await fc.assert(
    fc.asyncProperty(settings, async ({ seed, ...options }) => {
      const policy = randomPolicy(seed, texts);
      const { tokenizer } = policy;
      const random = (question: { id: string }, member: number) => randomStream(seed, question.id, member);
      const own = { ...agent, ...options };
      const requests = [0, 1, 2].map((member) => ({ ...request(retrieverOf(osaka, lima)), member }));
      const made: Trajectory[] = [];
      await assertNoLeak(async () => {
        made.push(...await rollOut(policy, requests, { agent: own, temperature: 1, random, maxBatch: 2 }));
      });
      for (
        const { tokens, mask, logprobs, promptLength, turns, truncatedTokens, droppedTokens, stop } of made
      ) {
        const expected = tokenizer.encode("Where is Osaka?\n");
        assertEquals(promptLength, expected.length);
        const expectedMask = expected.map(() => 0);
        let cut = 0;
        for (const [i, { kind, span: [start, end], documents, content }] of turns.entries()) {
          kinds.add(kind);
          assertEquals(start, expected.length);
          const drawn = tokens.slice(start, end);
          assert(drawn.length >= 1 && drawn.length <= own.maxNewTokens);
          expected.push(...drawn);
          expectedMask.push(...drawn.map(() => 1));
          const text = tokenizer.decode(drawn);
          if (tokenizer.encode(text).join() !== drawn.join()) differing++;
          if (kind === "invalid") assert(!/<(search|answer)>[^]*<\/\1>/.test(text), text);
          else assert(text.endsWith(`</${kind}>`) && text.includes(content), text);
          const last = i === turns.length - 1;
          assertEquals(last, i === own.maxTurns || kind === "answer");
          if (last) break;
          const said = kind === "search" ? observationText(documents) : own.notice;
          const ids = tokenizer.encode(said);
          const shown = kind === "search" ? ids.slice(0, own.maxObservationTokens) : ids;
          cut += ids.length - shown.length;
          expected.push(...shown);
          expectedMask.push(...shown.map(() => 0));
        }
        assertEquals([tokens, mask, truncatedTokens], [expected, expectedMask, cut]);
        logprobs.forEach((logprob, t) => assert(mask[t] === 1 ? logprob < 0 : logprob === 0));
        const { kind, span: [lastStart] } = turns.at(-1)!;
        assertEquals(stop, kind === "answer" ? "answer" : "budget");
        assertEquals(droppedTokens, Math.max(0, lastStart - (own.maxContextTokens - own.maxNewTokens)));
      }
      tf.dispose(policy.weights);
    }),
    { numRuns: 25, seed: 1 }, // the sums below need these cases
  );
  assert(differing > 0, "no drawn text would have changed by encoding it again");
  assertEquals(kinds.size, 3, `only ${[...kinds]} occurred`);
});

Deno.test("rollout() lets the model see the newest tokens of the whole context, and draws from what it sees", async () => {
  let rolled = 0;
  for (const seed of [1, 2, 3, 4, 5, 6]) {
    const policy = randomPolicy(seed, texts);
    const own = { ...agent, maxTurns: 3, maxContextTokens: 40, maxNewTokens: 16 };
    const room = own.maxContextTokens - own.maxNewTokens;
    const trajectories = await rollOut(policy, [request(retrieverOf(osaka))], { agent: own });
    for (const { tokens, turns, droppedTokens } of trajectories) {
      rolled += Number(droppedTokens > 0);
      for (const { span: [start, end] } of turns) {
        const [again] = await generate(policy, [tokens.slice(0, start).slice(-room)], {
          maxNewTokens: own.maxNewTokens,
          temperature: 0,
          stopStrings,
          random: () => () => 0,
        });
        assertEquals(tokens.slice(start, end), again!.tokens);
      }
    }
    tf.dispose(policy.weights);
  }
  assert(rolled > 0, "no context was long enough to roll");
});
