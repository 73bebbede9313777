/**
 * How an answer is compared with the gold answers: SQuAD's normalisation (arXiv 1606.05250) as Search-R1 applies it
 * (arXiv 2503.09516), exact match, F1, and substring match. Case, word boundaries and white space follow Python's rules,
 * so that non-ASCII answers get the scores that the Python code gives them.
 *
 * @module
 */
import { splitWords, strip } from "../base/white_space.ts";

// Python's string.punctuation.
const punctuation = /[!-/:-@[-`{-~]/g;
// Python's \b lies between \w and the rest, where \w is a letter, a number or "_" of any script.
const articles = /(?<![\p{L}\p{N}_])(?:an?|the)(?![\p{L}\p{N}_])/gu;

/**
 * The answer in lower case, without ASCII punctuation and without the articles a, an and the, words parted by one space.
 *
 * @example
 * ```ts
 * import { normalizeAnswer } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(normalizeAnswer(" The São-Tomé  dobra. "), "sãotomé dobra");
 * ```
 */
export function normalizeAnswer(text: string): string {
  return splitWords(text.toLowerCase().replace(punctuation, "").replace(articles, " ")).join(" ");
}

/**
 * Whether the answer equals one of the gold answers after normalisation.
 *
 * @example
 * ```ts
 * import { exactMatch } from "@search-e1/kit";
 * import { assert } from "@std/assert";
 *
 * assert(exactMatch("the Real", ["Peso", "real"]));
 * ```
 */
export function exactMatch(answer: string, golds: readonly string[]): boolean {
  const normalized = normalizeAnswer(answer);
  return golds.some((gold) => normalizeAnswer(gold) === normalized);
}

/**
 * Whether one of the gold answers stands somewhere in the answer, both normalised.
 *
 * @example
 * ```ts
 * import { substringExactMatch } from "@search-e1/kit";
 * import { assert } from "@std/assert";
 *
 * assert(substringExactMatch("It is Lima, in Peru", ["Lima"]));
 * ```
 */
export function substringExactMatch(answer: string, golds: readonly string[]): boolean {
  const normalized = normalizeAnswer(answer);
  return golds.some((gold) => normalized.includes(normalizeAnswer(gold)));
}

/**
 * SQuAD's F1 over normalised words, in [0, 1]: the harmonic mean of precision and recall, with the best gold answer.
 * Where one side has no word left, it is 1 if both have none and else 0 (SQuAD 2.0, arXiv 1806.03822).
 *
 * @example
 * ```ts
 * import { f1 } from "@search-e1/kit";
 * import { assertAlmostEquals } from "@std/assert";
 *
 * assertAlmostEquals(f1("New York City", ["York", "New York"]), 0.8);
 * ```
 */
export function f1(answer: string, golds: readonly string[]): number {
  const words = normalizeAnswer(answer).split(" ");
  return golds.reduce((best, gold) => Math.max(best, wordF1(words, normalizeAnswer(gold).split(" "))), 0);
}

function wordF1(answer: readonly string[], gold: readonly string[]): number {
  const left = new Map<string, number>();
  for (const word of gold) left.set(word, (left.get(word) ?? 0) + 1);
  let common = 0;
  for (const word of answer) {
    const count = left.get(word) ?? 0;
    if (count === 0) continue;
    left.set(word, count - 1);
    common++;
  }
  // 2PR / (P + R) with P = common / |answer|, R = common / |gold|
  return 2 * common / (answer.length + gold.length);
}

/**
 * The content of the last complete `<answer>…</answer>`, stripped; null when there is none.
 *
 * @param promptAnswers How many answer spans of `text` belong to the prompt and never count. Search-R1 scores prompt and
 * response as one text whose prompt shows one example answer: that is 1.
 *
 * @example
 * ```ts
 * import { extractAnswer } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(extractAnswer("<answer>Rome</answer> no, <answer> Lima </answer>"), "Lima");
 * assertEquals(extractAnswer("<answer> Beijing </answer>", { promptAnswers: 1 }), null);
 * ```
 */
export function extractAnswer(
  text: string,
  { promptAnswers = 0 }: { promptAnswers?: number } = {},
): string | null {
  const spans = [...text.matchAll(/<answer>([\s\S]*?)<\/answer>/g)];
  return spans.length > promptAnswers ? strip(spans.at(-1)![1]!) : null;
}
