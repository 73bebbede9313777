/**
 * Search in this process: BM25F (Robertson et al. 2004, title and text as weighted fields), for collections of up to
 * some hundred thousand documents.
 *
 * @module
 */
import { type Bm25Weights, invertedIndex } from "./inverted_index.ts";
import type { Document, Retriever } from "./retriever.ts";

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

/**
 * A retriever over `documents`. A query without a known word finds nothing; documents of equal score come in their order
 * in the collection.
 *
 * @throws {RangeError} when `k1`, `b` or `titleWeight` is out of range.
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
  refuseOutOfRange({ k1, b, titleWeight });
  const search = invertedIndex(documents, { k1, b, titleWeight });
  const best = (query: string, topK: number) =>
    search(query, topK).map(([place, score]) => ({ document: documents[place]!, score }));
  return { search: (queries, topK) => Promise.resolve(queries.map((query) => best(query, topK))) };
}

function refuseOutOfRange(weights: Bm25Weights): void {
  for (const [name, value] of Object.entries(weights)) {
    const most = name === "b" ? 1 : Number.MAX_VALUE;
    if (value >= 0 && value <= most) continue;
    const range = name === "b" ? "from 0 to 1" : "of at least 0";
    throw new RangeError(`Cannot search by BM25 with ${name} = ${value}; give a number ${range}`);
  }
}
