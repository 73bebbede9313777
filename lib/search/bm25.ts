/**
 * Search in this process: BM25F (Robertson et al. 2004, title and text as weighted fields) by wink-bm25-text-search,
 * for collections of up to some twenty thousand documents.
 *
 * @module
 */
import bm25 from "wink-bm25-text-search";
import { type Document, type Hit, type Retriever, titleAndText } from "./retriever.ts";

/** What is searched, and how words count. */
export interface Bm25Options {
  documents: readonly Document[];
  /** How slowly repeated words saturate. */
  k1?: number;
  /** How much long documents are penalised, 0 to 1. */
  b?: number;
  /** What a word in the title counts; in the text it counts 1. */
  titleWeight?: number;
}

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

/** wink refuses to search in fewer documents. */
const fewestDocuments = 3;

/**
 * A retriever over `documents`. A query without a known word finds nothing; documents of equal score come in their order
 * in the collection.
 *
 * @example
 * ```ts
 * import { createBm25 } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const documents = [
 *   { id: "a", contents: '"Japan"\nThe capital of Japan is Tokyo.' },
 *   { id: "b", contents: '"Osaka"\nOsaka lies in Japan.' },
 * ];
 * const [hits] = await createBm25({ documents }).search(["japan capital"], 1);
 * assertEquals(hits!.map(({ document }) => document.id), ["a"]);
 * ```
 */
export function createBm25(options: Bm25Options): Retriever {
  const { documents, k1 = 1.2, b = 0.2, titleWeight = 1.5 } = options;
  const index = (bm25 as unknown as () => Wink)();
  // A field of weight 0 is refused, and one that is left out is ignored.
  const fldWeights: Record<string, number> = titleWeight > 0 ? { title: titleWeight, text: 1 } : { text: 1 };
  index.defineConfig({ fldWeights, bm25Params: { k1, b, k: 1 } });
  index.definePrepTasks([words]);
  documents.forEach((document, i) => index.addDoc(titleAndText(document), i));
  for (let i = documents.length; i < fewestDocuments; i++) index.addDoc({ title: "", text: "" }, i);
  index.consolidate(9);

  function best(query: string, topK: number): Hit[] {
    if (topK < 1) return [];
    return index.search(query, Math.max(documents.length, 1))
      .map(([id, score]) => ({ place: Number(id), score }))
      .sort((a, b) => b.score - a.score || a.place - b.place)
      .slice(0, topK)
      .map(({ place, score }) => ({ document: documents[place]!, score }));
  }
  return { search: (queries, topK) => Promise.resolve(queries.map((query) => best(query, topK))) };
}

/** Runs of letters and digits of any script, in lower case; accents count. */
function words(text: string): string[] {
  return text.normalize("NFC").toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];
}
