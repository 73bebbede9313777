import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { loadTokenizer } from "../model/tokenizer.ts";
import { buildAtlas } from "./atlas.ts";
import { atlasTexts, buildWordTokenizer } from "./world_tokenizer.ts";

const atlas = buildAtlas({ seed: "real" });
const files = buildWordTokenizer(atlasTexts(atlas));
const tokenizer = loadTokenizer(files);

Deno.test("buildWordTokenizer() gives back every text of the world", () => {
  for (const text of atlasTexts(atlas)) assertEquals(tokenizer.decode(tokenizer.encode(text)), text);
});

Deno.test("buildWordTokenizer() makes one token of a name wherever it stands", () => {
  const { cities, countries } = {
    cities: new Set(
      atlas.facts.filter(({ relation }) => relation === "country").map(({ subject }) => subject),
    ),
    countries: new Set(
      atlas.facts.filter(({ relation }) => relation === "capital").map(({ subject }) => subject),
    ),
  };
  const names = [...cities, ...countries, ...atlas.facts.map(({ object }) => object)];
  for (const name of names) {
    const [id, ...more] = tokenizer.encode(name);
    assertEquals(more, [], name);
    for (
      const text of [
        `<search>${name} city</search>`,
        `(Title: "${name}")`,
        `in ${name}.`,
        `${name}?`,
        `\n${name}`,
      ]
    ) {
      assert(tokenizer.encode(text).includes(id!), text);
    }
  }
});

Deno.test("buildWordTokenizer() has pieces for newlines, tags, punctuation, Doc and (Title:", () => {
  const text =
    '\n\n<information>Doc 1(Title: "Osaka") Osaka lies in Japan.</information>\n\n<answer>Japan</answer>';
  const pieces = tokenizer.encode(text).map((id) => tokenizer.decode([id]));
  assertEquals(pieces, [
    ..."\n\n|<information>|Doc|1|(Title:".split("|"),
    ...'"|Osaka|"|)|Osaka|lies|in|Japan|.|</information>|\n\n|<answer>|Japan|</answer>'.split("|"),
  ]);
});

Deno.test("buildWordTokenizer() is the same for every atlas of the same sizes", () => {
  assertEquals(buildWordTokenizer(atlasTexts(buildAtlas({ seed: 5 }))), files);
});

Deno.test("buildWordTokenizer() reads an unknown word as <unk>", () => {
  assertEquals(tokenizer.decode(tokenizer.encode("Which city is Zork?")), "Which city is <unk>?");
});

Deno.test("buildWordTokenizer() gives every vocabulary entry a place of its own, padding first", () => {
  const { vocab } = JSON.parse(files["tokenizer.json"]!).model;
  assertEquals(Object.values<number>(vocab).sort((a, b) => a - b), Object.keys(vocab).map((_, i) => i));
  assertEquals([tokenizer.padTokenId, tokenizer.eosTokenId], [0, 1]);
  assertEquals(tokenizer.vocabSize, Object.keys(vocab).length);
});

Deno.test("buildWordTokenizer() takes pieces of one's own", () => {
  const { encode } = loadTokenizer(buildWordTokenizer(["a b"], { specialPieces: ["<tool>", "[["] }));
  assertEquals(encode("<tool>a[[b").length, 4);
  assertThrows(
    () => buildWordTokenizer([], { specialPieces: ["tool>"] }),
    Error,
    "begins or ends with a letter",
  );
});

Deno.test("buildWordTokenizer() gives back any text that it was built from", () => {
  const piece = fc.constantFrom(
    ..." |  |\n|\n\n|\t|.|,|:|;|!|?|(|)|\"|'|’|-|%|$|<|>|/|#|##|_|a|B|é|e\u0301|ß|日本|3|42|(Title:|(Title: |<search>|</answer>|Doc"
      .split("|"),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }).map((pieces) => pieces.join("")), (text) => {
      if (text === "") return;
      const built = loadTokenizer(buildWordTokenizer([text]));
      assertEquals(built.decode(built.encode(text)), text);
    }),
    { numRuns: 500 },
  );
});
