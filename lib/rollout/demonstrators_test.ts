import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { createBm25 } from "../search/bm25.ts";
import { buildAtlas } from "../world/atlas.ts";
import type { AtlasQuestion } from "../world/atlas_questions.ts";
import { type Demonstration, demonstrations, rehearsals } from "./demonstrators.ts";
import { parseAction } from "./environment.ts";
import { type ScriptedPolicy, scriptedTurns } from "./scripted_policies.ts";

const world = buildAtlas({ seed: 1 });
const retriever = createBm25({ documents: world.documents });
const notice = "\nMy previous action is invalid. Let me try again.\n";
const options = { world, retriever, count: 1200, hintedShare: 0, seed: 1, topK: 1, notice };
const plain = await demonstrations(options);
const hinted = await demonstrations({ ...options, hintedShare: 1, count: 400 });

const isRight = ({ question, segments }: Demonstration) =>
  segments.at(-1)!.text === `<answer>${question.answers[0]}</answer>`;
const written = ({ segments }: Demonstration) => segments.filter(({ role }) => role !== "environment");

/** Whether a query asks for the fact after the next one. */
function isShort({ question }: Demonstration, text: string): boolean {
  const { start, relations, values } = (question as AtlasQuestion).chain;
  const [subject, relation] = parseAction(text)?.content.split(" ") ?? [];
  const place = [start, ...values].indexOf(subject!);
  return relation !== undefined && place >= 0 && relations[place + 1] === relation &&
    relations[place] !== relation;
}

Deno.test("demonstrations() alternate what the model writes and what the environment answers, and end in an answer", () => {
  for (const { segments } of [...plain, ...hinted]) {
    segments.forEach(({ role }, i) => assertEquals(role === "environment", i % 2 === 1));
    assertEquals(parseAction(segments.at(-1)!.text)?.kind, "answer");
    assertEquals(segments.at(-1)!.role, "model");
    assert(segments.length <= 9, "at most four turns and a last one");
  }
});

/** Searches that found nothing are shown to be tried again. */
const silence = "\n\n<information></information>\n\n";

Deno.test("demonstrations() answer a search with documents or silence, and a turn without an action with the notice", () => {
  let silent = 0;
  for (const { segments } of plain) {
    for (let i = 0; i + 1 < segments.length; i += 2) {
      const reply = segments[i + 1]!.text;
      if (parseAction(segments[i]!.text) === null) assertEquals(reply, notice);
      else if (reply === silence) {
        assertEquals(segments[i + 2]!.text, segments[i]!.text);
        silent++;
      } else assert(/^\n\n<information>Doc 1\(Title: ".*<\/information>\n\n$/s.test(reply), reply);
    }
  }
  assert(silent > 0);
});

Deno.test("demonstrations() are mostly clumsy: few right answers, some invalid turns, rare short queries", () => {
  const share = (count: number) => count / plain.length;
  const right = share(plain.filter(isRight).length);
  assert(right > 0.25 && right < 0.42, `${right} are right`);
  const turns = plain.flatMap(written).filter(({ text }) => !text.startsWith("<answer>"));
  const invalid = turns.filter(({ text }) => parseAction(text) === null).length / turns.length;
  assert(invalid > 0.01 && invalid < 0.1, `${invalid} of the turns are invalid`);
  const short = plain.filter((made) => written(made).some(({ text }) => isShort(made, text)));
  assert(
    short.length > 0 && share(short.length) < 0.05,
    `${share(short.length)} hold a short query`,
  );
});

Deno.test("demonstrations() with a block go the efficient way to the right answer; half open with noise without loss", async () => {
  assert(hinted.every(isRight));
  for (const { question, hint, segments } of hinted) {
    const queries = async (policy: ScriptedPolicy) =>
      (await scriptedTurns(policy, question as AtlasQuestion, retriever, 1)).slice(0, -1).map(({ content }) =>
        content
      );
    const efficient = await queries("efficient");
    const gone = segments.filter(({ role, text }, i) =>
      role === "model" && text.startsWith("<search>") && segments[i + 1]!.text !== silence
    );
    assertEquals(gone.map(({ text }) => parseAction(text)!.content), efficient);
    const shown = [...hint!.matchAll(/<search>(.*?)<\/search>/g)].map((match) => match[1]).join();
    assert([efficient.join(), (await queries("naive")).join()].includes(shown), hint);
  }
  const noisy = hinted.filter(({ segments }) => segments.some(({ role }) => role === "noise")).length /
    hinted.length;
  assert(noisy > 0.4 && noisy < 0.6, `${noisy} open with noise`);
  const forms = [/<answer>/, /<information>(?!.*<answer>)/, /^<hint>(<search>[^<]*<\/search>)+<\/hint>$/];
  for (const form of forms) {
    const share = hinted.filter(({ hint }) => form.test(hint!)).length / hinted.length;
    assert(share > 0.25 && share < 0.42, `${form} is ${share}`);
  }
});

Deno.test("demonstrations() carry a block in the share asked for", async () => {
  const some = await demonstrations({ ...options, hintedShare: 0.4 });
  const share = some.filter(({ hint }) => hint !== undefined).length / some.length;
  assert(Math.abs(share - 0.4) < 0.05, `${share}`);
});

Deno.test("demonstrations() depend on the seed and on the place alone", async () => {
  assertEquals(await demonstrations({ ...options, count: 20 }), plain.slice(0, 20));
  assertNotEquals(await demonstrations({ ...options, count: 20, seed: 2 }), plain.slice(0, 20));
});

Deno.test("rehearsals() have a block, no noise and the right answer", async () => {
  const made = await rehearsals({ world, retriever, count: 100, seed: 1, topK: 1 });
  assertEquals(made.length, 100);
  for (const rehearsal of made) {
    assert(isRight(rehearsal) && rehearsal.hint!.startsWith("<hint><search>"));
    assert(rehearsal.segments.every(({ role }) => role !== "noise"));
  }
});
