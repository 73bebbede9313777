import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../base/input_error.ts";
import { buildAtlas } from "./atlas.ts";
import { sampleQuestions } from "./atlas_questions.ts";

const atlas = buildAtlas({ seed: "real" });

Deno.test("allQuestions() asks each question once, with the answer that its chain leads to", () => {
  assertEquals(new Set(atlas.questions.map(({ question }) => question)).size, atlas.questions.length);
  const object = new Map(atlas.facts.map((fact) => [`${fact.subject} ${fact.relation}`, fact.object]));
  for (const { chain: { start, relations, values }, answers, hops } of atlas.questions) {
    assertEquals(relations.length, hops);
    assertEquals(answers, [values.at(-1)!]);
    [start, ...values.slice(0, -1)].forEach((subject, i) =>
      assertEquals(object.get(`${subject} ${relations[i]}`), values[i])
    );
  }
});

Deno.test("allQuestions() asks in plain English", () => {
  const asked = new Set(atlas.questions.map(({ question }) => question));
  for (
    const question of [
      "Which city does the airport FCO serve?",
      "In which country does Osaka lie?",
      "What is the capital of Japan?",
      "In which country does the airport KIX lie?",
      "Which currency is used in the country where Osaka lies?",
      "On which continent is the country where the airport KIX lies?",
    ]
  ) assert(asked.has(question), question);
  for (const question of asked) assert(question.replace("?", " ?").split(" ").length <= 17, question);
});

Deno.test("allQuestions() leaves out questions that name their answer", () => {
  for (const { question, answers } of atlas.questions) {
    assert(!question.split(/[ ?]/).includes(answers[0]!), `${question} ${answers[0]}`);
  }
});

Deno.test("sampleQuestions() draws by hops, without repeating one, the same for the same arguments", () => {
  const drawn = sampleQuestions(atlas, 600, 1, { split: "test" });
  assertEquals(drawn, sampleQuestions(atlas, 600, 1, { split: "test" }));
  assertEquals(new Set(drawn.map(({ id }) => id)).size, 600);
  assert(drawn.every(({ id }) => /^atlas-real\/test\/\d+$/.test(id)));
  const shares = [1, 2, 3].map((hops) => drawn.filter((question) => question.hops === hops).length / 600);
  [0.15, 0.4, 0.45].forEach((share, i) => assert(Math.abs(shares[i]! - share) < 0.06, shares.join(" ")));
});

Deno.test("sampleQuestions() draws other questions for another seed or split", () => {
  const ids = (seed: number, split: string) =>
    sampleQuestions(atlas, 50, seed, { split }).map(({ id }) => id.slice(id.lastIndexOf("/"))).join();
  assert(new Set([ids(1, "a"), ids(2, "a"), ids(1, "b")]).size === 3);
});

Deno.test("sampleQuestions() keeps to the hops asked for and refuses more questions than there are", () => {
  assert(sampleQuestions(atlas, 30, 1, { hopShares: [0, 1, 0] }).every(({ hops }) => hops === 2));
  assertThrows(
    () => sampleQuestions(atlas, 2000, 1),
    InputError,
    "Cannot draw 2000 questions from atlas real",
  );
});
