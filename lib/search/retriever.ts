/** One document of a corpus, as Search-R1 stores it: `contents` is the title line, then the text. */
export interface Document {
  id: string;
  contents: string;
}

/** A document with its score; higher is better. */
export interface Hit {
  document: Document;
  score: number;
}

/** The search tool: for each query the best `topK` documents, best first. */
export interface Retriever {
  search(queries: readonly string[], topK: number): Promise<Hit[][]>;
}

/**
 * The title (the first line of contents as it stands, quotes kept) and the text (the rest) of a document.
 *
 * @example
 * ```ts
 * import { titleAndText } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const document = { id: "0", contents: '"Osaka"\nOsaka lies in Japan.' };
 * assertEquals(titleAndText(document), { title: '"Osaka"', text: "Osaka lies in Japan." });
 * ```
 */
export function titleAndText(document: Document): { title: string; text: string } {
  const end = document.contents.indexOf("\n");
  if (end < 0) return { title: document.contents, text: "" };
  return { title: document.contents.slice(0, end), text: document.contents.slice(end + 1) };
}
