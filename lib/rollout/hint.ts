/** The privileged block: a solved roll-out of the same question, shown to the teacher in front of the student's own. */

/** How much of the sibling the block shows: all of it, all but its answer, or its search queries only. */
export type HintMode = "full" | "no-answer" | "queries";

/** One turn of the sibling. */
export interface HintTurn {
  kind: "search" | "answer";
  /** The query or the answer. */
  content: string;
  /** The documents as the model read them, without the tags around; empty for an answer. */
  informationText: string;
}

/**
 * The block `<hint>…</hint>`, tags included, in the form that demonstrations and OFSD (arXiv 2605.22511) share.
 *
 * @example
 * ```ts
 * import { hintText } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const turns = [
 *   { kind: "search" as const, content: "Osaka capital", informationText: "Doc 1(Title: …) …" },
 *   { kind: "answer" as const, content: "Tokyo", informationText: "" },
 * ];
 * assertEquals(hintText(turns, "queries"), "<hint><search>Osaka capital</search></hint>");
 * assertEquals(
 *   hintText(turns, "no-answer"),
 *   "<hint><search>Osaka capital</search><information>Doc 1(Title: …) …</information></hint>",
 * );
 * ```
 */
export function hintText(turns: readonly HintTurn[], mode: HintMode): string {
  const shown = turns.map(({ kind, content, informationText }) => {
    if (kind === "answer") return mode === "full" ? `<answer>${content}</answer>` : "";
    const query = `<search>${content}</search>`;
    return mode === "queries" ? query : `${query}<information>${informationText}</information>`;
  });
  return `<hint>${shown.join("")}</hint>`;
}
