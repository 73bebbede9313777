import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import { createBm25 } from "./bm25.ts";
import type { Document, Retriever } from "./retriever.ts";

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

Deno.test("createBm25() takes collections that are too small for wink, and repeated ids", async () => {
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
