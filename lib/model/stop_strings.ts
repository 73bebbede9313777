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
  const known = mayStopOf(tokenizer, stopStrings);
  return (tokens) => {
    if (!known(tokens.at(-1)!)) return false;
    const text = tokenizer.decode(tokens);
    return stopStrings.some((stop) => text.includes(stop));
  };
}

/** [V] 1 for every token that may complete one of the strings. The array is kept: do not change it. */
export function tokensThatMayStop(
  tokenizer: Tokenizer,
  stopStrings: readonly string[],
  vocabulary: number,
): Uint8Array<ArrayBuffer> {
  const key = JSON.stringify([stopStrings, vocabulary]);
  let tables = tablesOf.get(tokenizer);
  if (!tables) tablesOf.set(tokenizer, tables = new Map());
  let table = tables.get(key);
  if (!table) {
    const known = mayStopOf(tokenizer, stopStrings);
    table = Uint8Array.from({ length: vocabulary }, (_, id) => Number(known(id)));
    tables.set(key, table);
  }
  return table;
}

const tablesOf = new WeakMap<Tokenizer, Map<string, Uint8Array<ArrayBuffer>>>();

/** Whether a token's own text may hold the last character of one of the strings; each token is decoded once. */
function mayStopOf(tokenizer: Tokenizer, stopStrings: readonly string[]): (id: number) => boolean {
  if (stopStrings.length === 0) return () => false;
  const key = JSON.stringify(stopStrings);
  let knowing = knownOf.get(tokenizer);
  if (!knowing) knownOf.set(tokenizer, knowing = new Map());
  let known = knowing.get(key);
  if (!known) knowing.set(key, known = new Map());
  const lastCharacters = stopStrings.map((text) => text.at(-1)!);
  return (id) => {
    let may = known.get(id);
    if (may === undefined) {
      const text = tokenizer.decode([id]);
      // A token that is part of a character decodes to U+FFFD and may be the end of any but an ASCII one.
      may = text.includes("\uFFFD") || lastCharacters.some((character) => text.includes(character));
      known.set(id, may);
    }
    return may;
  };
}

const knownOf = new WeakMap<Tokenizer, Map<string, Map<number, boolean>>>();
