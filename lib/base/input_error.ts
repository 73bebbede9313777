/**
 * Bad input from the user: one line that names the file, row or key, the value, and the fix. Tasks print it and exit with code 2.
 *
 * @example
 * ```ts
 * import { InputError, parseConfig } from "@search-e1/kit";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(() => parseConfig("sed = 7", "run.toml"), InputError, "did you mean seed?");
 * ```
 */
export class InputError extends Error {
  override name = "InputError";
}

/**
 * The candidate nearest to `name` by edit distance, when it is near enough to be what was meant.
 *
 * @example
 * ```ts
 * import { nearestName } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(nearestName("learning_rat", ["learning_rate", "seed"]), "learning_rate");
 * ```
 */
export function nearestName(name: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(name.length / 2)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(name, candidate);
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      row.push(
        Math.min(previous[j]! + 1, row[j - 1]! + 1, previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)),
      );
    }
    previous = row;
  }
  return previous[b.length]!;
}
