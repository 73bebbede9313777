/**
 * White space as Python's `str.strip()` and `str.split()` see it. JavaScript's `trim()` and `\s` differ: they leave out
 * U+001C–U+001F and U+0085 and take in U+FEFF. Text that is compared with Search-R1's goes through these.
 *
 * @module
 */
const space = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]";
const ends = new RegExp(`^${space}+|${space}+$`, "g");
const runs = new RegExp(`${space}+`);

/**
 * The text without white space at its ends.
 *
 * @example
 * ```ts
 * import { strip } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(strip("\x85 Lisbon\n"), "Lisbon");
 * ```
 */
export function strip(text: string): string {
  return text.replace(ends, "");
}

/**
 * The words of a text: what stands between runs of white space.
 *
 * @example
 * ```ts
 * import { splitWords } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(splitWords(" New\u3000York\n"), ["New", "York"]);
 * ```
 */
export function splitWords(text: string): string[] {
  const stripped = strip(text);
  return stripped === "" ? [] : stripped.split(runs);
}
