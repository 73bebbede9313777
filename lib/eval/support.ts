import { type Document, titleAndText } from "../search/retriever.ts";
import { normalizeAnswer } from "../world/answer_metrics.ts";

/**
 * Whether some document contains the answer, word by word after the normalisation that exact match uses. An answer
 * that no retrieved document supports was guessed or remembered.
 *
 * @example
 * ```ts
 * import { supported } from "@search-e1/kit";
 * import { assert, assertFalse } from "@std/assert";
 *
 * const documents = [{ id: "0", contents: '"Japan"\nThe capital of Japan is Tokyo.' }];
 * assert(supported("tokyo", documents));
 * assertFalse(supported("Kyo", documents));
 * ```
 */
export function supported(answer: string, documents: readonly Document[]): boolean {
  const words = normalizeAnswer(answer);
  if (words === "") return false;
  return documents.some((document) => {
    const { title, text } = titleAndText(document);
    return ` ${normalizeAnswer(`${title} ${text}`)} `.includes(` ${words} `);
  });
}
