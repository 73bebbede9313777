import { assert, assertEquals } from "@std/assert";
import { createBm25 } from "../search/bm25.ts";
import { buildAtlas } from "../world/atlas.ts";
import { sampleQuestions } from "../world/atlas_questions.ts";
import { ChainReader, type ScriptedPolicy, scriptedRollout, scriptedTurns } from "./scripted_policies.ts";

/** Exact match and mean searches of a scripted policy on 400 questions of an atlas. */
async function measured(seed: number | "real", policy: ScriptedPolicy) {
  const atlas = buildAtlas({ seed });
  const retriever = createBm25({ documents: atlas.documents });
  const questions = sampleQuestions(atlas, 400, 1, { split: "test" });
  let [right, searches] = [0, 0];
  for (const question of questions) {
    const result = await scriptedRollout(policy, question, retriever, 1);
    right += Number(question.answers.includes(result.answer));
    searches += result.searches;
  }
  return { em: right / questions.length, searches: searches / questions.length };
}

for (const seed of ["real", 1_000_000, 1, 2] as const) {
  Deno.test(`scriptedRollout() bounds what a policy can reach, atlas ${seed}`, async () => {
    const naive = await measured(seed, "naive");
    const efficient = await measured(seed, "efficient");
    assert(naive.em >= 0.99 && naive.searches >= 2.2, JSON.stringify(naive));
    assert(efficient.em >= 0.99 && efficient.searches <= 1.7, JSON.stringify(efficient));
  });
}

const atlas = buildAtlas({ seed: 1 });
const retriever = createBm25({ documents: atlas.documents });
const threeHops = sampleQuestions(atlas, 60, 1, { hopShares: [0, 0, 1] });

Deno.test("scriptedTurns() of the naive policy looks up each fact of the chain in turn", async () => {
  const [question] = threeHops;
  const { start, relations, values } = question!.chain;
  const turns = await scriptedTurns("naive", question!, retriever, 1);
  assertEquals(turns.map(({ kind, content }) => `${kind} ${content}`), [
    `search ${start} ${relations[0]}`,
    `search ${values[0]} ${relations[1]}`,
    `search ${values[1]} ${relations[2]}`,
    `answer ${values[2]}`,
  ]);
});

Deno.test("scriptedTurns() of the efficient policy asks for two facts and falls back on one", async () => {
  let fellBack = 0;
  for (const question of threeHops) {
    const turns = await scriptedTurns("efficient", question, retriever, 1);
    assertEquals(turns[0]!.content, `${question.chain.start} country`);
    assertEquals(turns.at(-1)!.content, question.answers[0]);
    fellBack += Number(turns.length > 3);
  }
  assert(fellBack > 0 && fellBack < 0.3 * threeHops.length, `${fellBack} of ${threeHops.length} fell back`);
});

Deno.test("scriptedTurns() answers with the last thing found out when search finds nothing", async () => {
  const nothing = createBm25({ documents: [] });
  for (const policy of ["naive", "efficient"] as const) {
    const turns = await scriptedTurns(policy, threeHops[0]!, nothing, 1);
    assertEquals(turns.at(-1)!.content, threeHops[0]!.chain.start);
    assert(turns.length <= 5);
  }
});

Deno.test("ChainReader.read() takes in only what the documents tell, and only what was asked where told so", () => {
  const [question] = threeHops;
  const { start, values } = question!.chain;
  const both = {
    id: "0",
    contents: `"${start}"\n${start} serves ${values[0]}, which lies in the country ${values[1]}.`,
  };
  const whole = new ChainReader(question!);
  whole.read([both]);
  assertEquals([whole.current, whole.open.length], [values[1], 1]);
  const asked = new ChainReader(question!);
  asked.read([both], "city");
  assertEquals([asked.current, asked.open.length], [values[0], 2]);
});
