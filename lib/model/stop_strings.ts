/** Telling on token ids when generated text completes a stop string. @module */
import type { Tokenizer } from "./policy.ts";

/**
 * A function that says whether the last of a row's new tokens completes one of the strings in their decoded text. Only a
 * token whose own text holds the last character of a stop string can; the others cost a look-up.
 *
 * @throws {RangeError} when a stop string is empty.
 */
export function stopMatcher(
  tokenizer: Tokenizer,
  stopStrings: readonly string[],
): (tokens: readonly number[]) => boolean {
  if (stopStrings.includes("")) throw new RangeError("Cannot stop at an empty stop string; leave it out");
  const lastCharacters = stopStrings.map((text) => text.at(-1)!);
  const completes = new Map<number, boolean>();
  return (tokens) => {
    const id = tokens.at(-1)!;
    let may = completes.get(id);
    if (may === undefined) {
      const text = tokenizer.decode([id]);
      // A token that is part of a character decodes to U+FFFD and may be the end of any but an ASCII one.
      may = text.includes("\uFFFD") || lastCharacters.some((character) => text.includes(character));
      completes.set(id, may);
    }
    if (!may) return false;
    const text = tokenizer.decode(tokens);
    return stopStrings.some((stop) => text.includes(stop));
  };
}
