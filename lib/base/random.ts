import seedrandom from "seedrandom";

/**
 * A stream of uniform numbers in [0, 1) that depends on its key alone, so that no draw depends on batch order, thread
 * count or resume point: name a stream by (seed, purpose, step, question, member) and the like.
 *
 * @example
 * ```ts
 * import { randomStream } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(randomStream(1, "rollout", 3)(), randomStream(1, "rollout", 3)());
 * ```
 */
export function randomStream(...key: readonly (string | number)[]): () => number {
  const next = seedrandom(JSON.stringify(key));
  return () => next();
}

/** The items in a random order (Fisher–Yates); the argument is left as it is. */
export function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const out = [...items];
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [out[i], out[j]] = [out[j]!, out[i]!];
  }
  return out;
}

/** One of the items, each as likely as the next. */
export function pick<T>(items: readonly T[], random: () => number): T {
  if (items.length === 0) throw new RangeError("Cannot pick from an empty list");
  return items[Math.floor(random() * items.length)]!;
}
