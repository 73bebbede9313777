/** Answers for `search`: the kit's BM25, or with the argument `wink` that of wink-bm25-text-search. */
import bm25 from "wink-bm25-text-search";
import { pick, randomStream } from "../../lib/base/random.ts";
import { createBm25 } from "../../lib/search/bm25.ts";
import { type Document, titleAndText } from "../../lib/search/retriever.ts";
import { type Atlas, buildAtlas } from "../../lib/world/atlas.ts";
import { serve } from "./protocol.ts";

interface Wink {
  defineConfig(config: {
    fldWeights: Record<string, number>;
    bm25Params: { k1: number; b: number; k: number };
  }): void;
  definePrepTasks(tasks: ((text: string) => string[])[]): void;
  addDoc(fields: Record<string, string>, id: number): void;
  consolidate(digits: number): void;
  search(text: string, limit: number): unknown[];
}

/** Documents of one alternate atlas after the other, and questions as an agent words them. */
function collection(size: number, count: number): { documents: Document[]; queries: string[] } {
  const atlases: Atlas[] = [];
  for (let seed = 1, made = 0; made < size; seed++) {
    const atlas = buildAtlas({ seed });
    atlases.push(atlas);
    made += atlas.documents.length;
  }
  const random = randomStream("bench", "search");
  const queries = Array.from({ length: count }, () => {
    const { subject, relation } = pick(pick(atlases, random).facts, random);
    return `${subject} ${relation}`;
  });
  return { documents: atlases.flatMap(({ documents }) => documents).slice(0, size), queries };
}

function winkSearch(documents: readonly Document[]): (query: string, topK: number) => unknown {
  const index = (bm25 as unknown as () => Wink)();
  index.defineConfig({ fldWeights: { title: 1.5, text: 1 }, bm25Params: { k1: 1.2, b: 0.2, k: 1 } });
  index.definePrepTasks([(text) => text.normalize("NFC").toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? []]);
  documents.forEach((document, i) => index.addDoc(titleAndText(document), i));
  index.consolidate(9);
  return (query, topK) => index.search(query, topK);
}

await serve(({ shape }) => {
  const { documents, queries } = collection(Number(shape.documents), Number(shape.queries));
  const topK = Number(shape.topK);
  const wink = Deno.args[0] === "wink" ? winkSearch(documents) : undefined;
  const retriever = wink ? undefined : createBm25({ documents });
  const repeat = async () => {
    for (const query of queries) await (wink ? wink(query, topK) : retriever!.search([query], topK));
    return queries.length;
  };
  return Promise.resolve({ repeat, dispose: () => {} });
});
