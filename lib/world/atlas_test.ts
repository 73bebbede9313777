import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { titleAndText } from "../search/retriever.ts";
import { buildAtlas } from "./atlas.ts";
import { factsIn } from "./sentences.ts";

const real = buildAtlas({ seed: "real" });
const alternate = buildAtlas({ seed: 1 });
const seeds = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

Deno.test("buildAtlas() gives the same atlas twice and another for another seed", () => {
  assertEquals(buildAtlas({ seed: 1 }), alternate);
  assertNotEquals(buildAtlas({ seed: 2 }).documents, alternate.documents);
});

Deno.test("buildAtlas() permutes the objects of every relation among the same subjects", () => {
  const outline = (atlas: typeof real) =>
    atlas.facts.map(({ subject, relation }) => `${subject} ${relation}`);
  const objects = (atlas: typeof real, asked: string) =>
    atlas.facts.filter(({ relation }) => relation === asked).map(({ object }) => object).sort();
  assertEquals(outline(alternate), outline(real));
  for (const relation of ["city", "country", "capital", "currency", "language", "continent"]) {
    assertEquals(objects(alternate, relation), objects(real, relation));
  }
  const kept = real.facts.filter((fact, i) => fact.object === alternate.facts[i]!.object).length;
  assert(kept < 0.1 * real.facts.length, `${kept} of ${real.facts.length} facts are still true`);
});

Deno.test("buildAtlas() writes every fact once in a sentence of its own", () => {
  const told = alternate.documents.map(factsIn).filter((facts) => facts.length === 1).flat();
  const sorted = (facts: typeof told) => facts.map((fact) => JSON.stringify(fact)).sort();
  assertEquals(sorted(told), sorted(alternate.facts));
});

Deno.test("buildAtlas() writes sentences of two facts that hold, a share of them, and none names a thing twice", () => {
  const held = new Set(alternate.facts.map((fact) => JSON.stringify(fact)));
  const pairs = alternate.documents.map(factsIn).filter((facts) => facts.length === 2);
  assert(pairs.flat().every((fact) => held.has(JSON.stringify(fact))));
  for (const [first, second] of pairs) assertNotEquals(first!.subject, second!.object);
  const possible = buildAtlas({ seed: 1, twoFactPresence: 1 }).documents.filter((d) =>
    factsIn(d).length === 2
  );
  const share = pairs.length / possible.length;
  assert(share > 0.8 && share < 0.9, `${share} are present`);
});

Deno.test("buildAtlas() puts nothing near itself", () => {
  for (const seed of seeds) {
    for (const document of buildAtlas({ seed }).documents) {
      const { title, text } = titleAndText(document);
      assert(!text.endsWith(`is near ${title.slice(1, -1)}.`), text);
    }
  }
});

Deno.test("buildAtlas() writes short documents with a quoted title", () => {
  for (const { contents } of real.documents) assert(/^"[^"\n]+"\n[^\n]+\.$/.test(contents), contents);
  const words = real.documents.map((document) => titleAndText(document).text.split(" ").length);
  const mean = words.reduce((sum, count) => sum + count, 0) / words.length;
  assert(mean > 5 && mean < 10, `${mean} words a document`);
  assertEquals(new Set(real.documents.map(({ id }) => id)).size, real.documents.length);
});

Deno.test("factsIn() reads nothing from a sentence beside the point", () => {
  assertEquals(factsIn({ id: "0", contents: '"Osaka"\nAbout 3 million people live in Osaka.' }), []);
});
