import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import bm25 from "wink-bm25-text-search";
import { pick, randomStream } from "../base/random.ts";
import { buildAtlas } from "../world/atlas.ts";
import { type Bm25Options, createBm25 } from "./bm25.ts";
import { type Document, type Retriever, titleAndText } from "./retriever.ts";

const documents: Document[] = [
  { id: "capital", contents: '"Japan"\nThe capital of Japan is Tokyo.' },
  { id: "osaka", contents: '"Osaka"\nOsaka lies in the country Japan.' },
  { id: "lodz", contents: '"Łódź"\nŁódź lies in the country Poland.' },
  { id: "turkey", contents: '"Türkiye"\nThe capital of Türkiye is Ankara.' },
];

async function ids(retriever: Retriever, query: string, topK = 3): Promise<string[]> {
  const [hits] = await retriever.search([query], topK);
  return hits!.map(({ document }) => document.id);
}

Deno.test("createBm25() puts the document with title and word first", async () => {
  const retriever = createBm25({ documents });
  assertEquals((await ids(retriever, "Japan capital"))[0], "capital");
  assertEquals((await ids(retriever, "Osaka country"))[0], "osaka");
  assertEquals((await ids(retriever, "japan")).slice(0, 2), ["capital", "osaka"]);
});

Deno.test("createBm25() scores by BM25F", async () => {
  const pair = [{ id: "a", contents: "x\ny" }, { id: "b", contents: "z\ny y" }, {
    id: "c",
    contents: "z\nz",
  }];
  const [hits] = await createBm25({ documents: pair, k1: 1.2, b: 0.5, titleWeight: 2 }).search(["x"], 1);
  // "x" stands in 1 of 3 documents, in the title, which counts 2; lengths are 2+1, 2+2 and 2+1.
  const idf = Math.log((3 - 1 + 0.5) / (1 + 0.5) + 1);
  const lengthNorm = 1 - 0.5 + 0.5 * (3 / (10 / 3));
  assertAlmostEquals(hits![0]!.score, idf * (2 * 2.2) / (1.2 * lengthNorm + 2), 1e-8);
});

Deno.test("createBm25() reads letters of any script, without regard to case or composition", async () => {
  const retriever = createBm25({ documents });
  assertEquals(await ids(retriever, "ŁÓDŹ"), ["lodz"]);
  assertEquals(await ids(retriever, "Tu\u0308rkiye"), ["turkey"]);
});

Deno.test("createBm25() finds nothing for a query without a known word", async () => {
  const retriever = createBm25({ documents });
  for (const query of ["", "  ", "?!", "Zork", "__proto__", "constructor"]) {
    assertEquals(await ids(retriever, query), []);
  }
  assertEquals(await ids(retriever, "Japan", 0), []);
});

Deno.test("createBm25() answers several queries in their order", async () => {
  const answers = await createBm25({ documents }).search(["Osaka country", "", "Türkiye"], 1);
  assertEquals(answers.map((hits) => hits.map(({ document }) => document.id)), [["osaka"], [], ["turkey"]]);
});

Deno.test("createBm25() takes collections of no or one document, and repeated ids", async () => {
  assertEquals(await ids(createBm25({ documents: [] }), "Japan"), []);
  assertEquals(await ids(createBm25({ documents: documents.slice(0, 1) }), "Japan"), ["capital"]);
  const twice = createBm25({ documents: [documents[0]!, documents[0]!] });
  assertEquals(await ids(twice, "Japan"), ["capital", "capital"]);
  assertEquals(await ids(twice, ""), []);
});

Deno.test("createBm25() leaves titles out of account at weight 0", async () => {
  const retriever = createBm25({ documents: [{ id: "a", contents: "Japan\nTokyo" }], titleWeight: 0 });
  assertEquals(await ids(retriever, "Japan"), []);
  assertEquals(await ids(retriever, "Tokyo"), ["a"]);
});

Deno.test("createBm25() orders by score, then by place in the collection", async () => {
  const word = fc.constantFrom("a", "b", "c", "d");
  const contents = fc.tuple(word, fc.array(word, { maxLength: 4 })).map(([title, text]) =>
    `${title}\n${text.join(" ")}`
  );
  await fc.assert(
    fc.asyncProperty(fc.array(contents, { maxLength: 12 }), word, word, async (all, one, other) => {
      const collection = all.map((contents, i) => ({ id: String(i), contents }));
      const [hits] = await createBm25({ documents: collection }).search([`${one} ${other}`], 5);
      assert(hits!.length <= 5);
      for (let i = 1; i < hits!.length; i++) {
        const [better, worse] = [hits![i - 1]!, hits![i]!];
        const inOrder = better.score === worse.score &&
          Number(better.document.id) < Number(worse.document.id);
        assert(better.score > worse.score || inOrder);
      }
    }),
  );
});

Deno.test("createBm25() refuses weights out of range", () => {
  const message = "Cannot search by BM25 with";
  assertThrows(
    () => createBm25({ documents, b: 2 }),
    RangeError,
    `${message} b = 2; give a number from 0 to 1`,
  );
  for (const value of [-1, NaN, Infinity]) {
    for (const name of ["k1", "titleWeight"]) {
      const complaint = `${message} ${name} = ${value}; give a number of at least 0`;
      assertThrows(() => createBm25({ documents, [name]: value }), RangeError, complaint);
    }
  }
});

interface Wink {
  defineConfig(config: {
    fldWeights: Record<string, number>;
    bm25Params: { k1: number; b: number; k: number };
  }): void;
  definePrepTasks(tasks: ((text: string) => string[])[]): void;
  addDoc(fields: Record<string, string>, id: number): void;
  consolidate(digits: number): void;
  search(text: string, limit: number): [id: string, score: number][];
}

/** The same search by wink-bm25-text-search, which leaves the order of equal scores open; here it is by place. */
function searchByWink({ documents, k1 = 1.2, b = 0.2, titleWeight = 1.5 }: Bm25Options) {
  const index = (bm25 as unknown as () => Wink)();
  // A field of weight 0 is refused, and one that is left out is ignored.
  const fldWeights: Record<string, number> = titleWeight > 0 ? { title: titleWeight, text: 1 } : { text: 1 };
  index.defineConfig({ fldWeights, bm25Params: { k1, b, k: 1 } });
  index.definePrepTasks([(text) => text.normalize("NFC").toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? []]);
  documents.forEach((document, i) => index.addDoc(titleAndText(document), i));
  index.consolidate(9);
  return (query: string, topK: number) =>
    index.search(query, documents.length)
      .map(([id, score]) => ({ place: Number(id), score }))
      .sort((a, b) => b.score - a.score || a.place - b.place)
      .slice(0, topK)
      .map(({ place, score }) => ({ document: documents[place]!, score }));
}

/** Random documents, and queries with words that some, many or no documents have, now and then twice. */
function randomWorld(size: number, vocabulary: number) {
  const random = randomStream("bm25", size, vocabulary);
  // Low numbers are frequent, as words are (Zipf).
  const word = () => `w${Math.floor((vocabulary + 1) ** random()) - 1}`;
  const some = (most: number) => Array.from({ length: Math.floor(random() * (most + 1)) }, word);
  const documents = Array.from({ length: size }, (_, i) => ({
    id: String(i),
    contents: `"${some(3).join(" ")}"\n${some(12).join(" ")}.`,
  }));
  const query = () => [...some(5), ...random() < 0.1 ? ["zork"] : []].join(" ");
  return { documents, queries: Array.from({ length: 500 }, query) };
}

for (
  const [size, vocabulary, weights] of [
    [3, 3, {}],
    [10, 2, {}],
    [40, 5, { k1: 0, b: 1 }],
    [200, 4, { k1: 2, b: 0, titleWeight: 0.1 }],
    [200, 300, { b: 1, titleWeight: 0 }],
    [1500, 30, {}],
    [3000, 6000, { k1: 0.9, b: 0.4, titleWeight: 1 / 3 }],
  ] as const
) {
  Deno.test(`createBm25() gives wink's hits, scores and order, ${size} documents of ${vocabulary} words`, async () => {
    const { documents, queries } = randomWorld(size, vocabulary);
    const options = { documents, ...weights };
    const wink = searchByWink(options);
    const retriever = createBm25(options);
    let [hits, ties] = [0, 0];
    for (const topK of [1, 3, 10, size + 5]) {
      const answers = await retriever.search(queries, topK);
      for (const [i, answer] of answers.entries()) {
        const expected = wink(queries[i]!, topK);
        // The documents are the very objects of the collection; to compare them in depth would take long.
        assertEquals(answer.map(({ score }) => score), expected.map(({ score }) => score), queries[i]!);
        assert(answer.every(({ document }, rank) => document === expected[rank]!.document), queries[i]!);
        hits += answer.length;
        ties += answer.filter(({ score }, rank) => rank > 0 && score === answer[rank - 1]!.score).length;
      }
    }
    assert(hits > 1000 && (size < 40 || ties > 100), `${hits} hits, ${ties} ties`);
    assertEquals(await retriever.search(queries, 3), await createBm25(options).search(queries, 3));
  });
}

Deno.test("createBm25() gives wink's hits, scores and order in an atlas", async () => {
  const { documents } = buildAtlas({ seed: 1 });
  const random = randomStream("bm25", "atlas");
  const retriever = createBm25({ documents });
  const wink = searchByWink({ documents });
  for (let i = 0; i < 1000; i++) {
    const query = [1, 2].map(() => pick(pick(documents, random).contents.split(/\s/), random)).join(" ");
    const [hits] = await retriever.search([query], 3);
    assertEquals(hits, wink(query, 3), query);
  }
});
