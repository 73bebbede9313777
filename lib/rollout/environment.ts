/**
 * The text protocol of the search agent, as in Search-R1 (arXiv 2503.09516): the model writes `<search>query</search>` or
 * `<answer>…</answer>`, the environment answers a search with `<information>…</information>` and anything else with a
 * notice.
 *
 * @module
 */
import { strip } from "../base/white_space.ts";
import { type Document, titleAndText } from "../search/retriever.ts";

/** How the agent acts: budget of turns and tokens, documents a search, and the texts around the question. */
export interface AgentOptions {
  /** Turns in which a search is answered; after them comes one last generation in which it is not. */
  maxTurns: number;
  /** Documents a search returns. */
  documents: number;
  /** Tokens of one observation; what is longer is cut off at the end. */
  maxObservationTokens: number;
  /** Tokens that the model sees at most, new ones included; older ones fall out of the context. */
  maxContextTokens: number;
  /** Tokens that the model may write in one turn. */
  maxNewTokens: number;
  /** The prompt, with `{question}` in it. */
  instruction: string;
  /** What the environment says to a turn without an action. */
  notice: string;
  /** Wrap the prompt in the tokenizer's chat template. */
  chatTemplate: boolean;
  /** Use the messages of a Search-R1 row as the prompt, where a question has them. */
  useRowPrompts: boolean;
}

/**
 * What the model may end a turn with.
 *
 * @example
 * ```ts
 * import { parseAction, stopStrings } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const actions = stopStrings.map((end) => parseAction(`${end.replace("/", "")}Lima${end}`));
 * assertEquals(actions.map((action) => action?.kind), ["search", "answer"]);
 * ```
 */
export const stopStrings: readonly string[] = ["</search>", "</answer>"];

/** A complete action. */
export interface Action {
  kind: "search" | "answer";
  content: string;
}

/**
 * The first complete `<search>…</search>` or `<answer>…</answer>` of a model's turn, content trimmed; null when there is
 * none.
 *
 * @example
 * ```ts
 * import { parseAction } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(parseAction("I look it up. <search> Parnaíba </search>"), { kind: "search", content: "Parnaíba" });
 * assertEquals(parseAction("<search>Parnaíba"), null);
 * ```
 */
export function parseAction(text: string): Action | null {
  const match = /<(search|answer)>([\s\S]*?)<\/\1>/.exec(text);
  return match ? { kind: match[1] as Action["kind"], content: strip(match[2]!) } : null;
}

/**
 * Documents as the model reads them: `Doc {i}(Title: {title}) {text}` a line, the block trimmed.
 *
 * @example
 * ```ts
 * import { formatDocuments } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const document = { id: "1", contents: '"Parnaíba"\nParnaíba lies in Brazil.' };
 * assertEquals(formatDocuments([document]), 'Doc 1(Title: "Parnaíba") Parnaíba lies in Brazil.');
 * ```
 */
export function formatDocuments(documents: readonly Document[]): string {
  const lines = documents.map((document, i) => {
    const { title, text } = titleAndText(document);
    return `Doc ${i + 1}(Title: ${title}) ${text}\n`;
  });
  return strip(lines.join(""));
}

/**
 * What the environment appends after a search.
 *
 * @example
 * ```ts
 * import { observationText } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(observationText([]), "\n\n<information></information>\n\n");
 * ```
 */
export function observationText(documents: readonly Document[]): string {
  return `\n\n<information>${formatDocuments(documents)}</information>\n\n`;
}
