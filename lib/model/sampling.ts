/** Choosing a token from a distribution, on the host. @module */

/** Which tokens may be drawn; the kept ones are renormalised. */
export interface SamplingOptions {
  /** 0 takes the likeliest token, the lowest id on ties. */
  temperature: number;
  /** Only the `topK` likeliest tokens; 0 or undefined is no limit. */
  topK?: number | undefined;
  /** After top-k: the fewest likeliest tokens whose share of what is left reaches `topP`. */
  topP?: number | undefined;
}

/**
 * A token drawn by inverse CDF in id order: the first id at which the cumulative probability passes `uniform`.
 *
 * @param probabilities [V] after the temperature.
 * @param uniform In [0, 1); not looked at when the temperature is 0.
 *
 * @example
 * ```ts
 * import { sampleToken } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const probabilities = Float32Array.of(0.25, 0.5, 0.25);
 * assertEquals(sampleToken(probabilities, 0.3, { temperature: 1 }), 1);
 * assertEquals(sampleToken(probabilities, 0.9, { temperature: 1, topK: 1 }), 1);
 * ```
 */
export function sampleToken(
  probabilities: Float32Array,
  uniform: number,
  { temperature, topK = 0, topP = 1 }: SamplingOptions,
): number {
  if (temperature === 0) return likeliest(probabilities);
  const kept = topK > 0 || topP < 1 ? truncated(probabilities, topK, topP) : undefined;
  let total = 0;
  if (kept) { for (const id of kept) total += probabilities[id]!; }
  else for (let id = 0; id < probabilities.length; id++) total += probabilities[id]!;
  const threshold = uniform * total;
  let cumulative = 0;
  let last = -1;
  for (let i = 0; i < (kept ?? probabilities).length; i++) {
    const id = kept ? kept[i]! : i;
    const p = probabilities[id]!;
    if (!(p > 0)) continue;
    cumulative += p;
    last = id;
    if (cumulative > threshold) return id;
  }
  if (last < 0) throw noToken();
  return last;
}

/** What is thrown where a distribution holds nothing to draw. */
export function noToken(): Error {
  return new Error("Cannot draw a token: no probability is above 0; the logits are not finite");
}

/** Ids that top-k and top-p keep, ascending. */
function truncated(probabilities: Float32Array, topK: number, topP: number): number[] {
  const order = Array.from(probabilities, (_, id) => id);
  order.sort((a, b) => probabilities[b]! - probabilities[a]! || a - b);
  if (topK > 0) order.length = Math.min(order.length, topK);
  if (topP < 1) {
    const budget = topP * order.reduce((sum, id) => sum + probabilities[id]!, 0);
    let cumulative = 0;
    const end = order.findIndex((id) => (cumulative += probabilities[id]!) >= budget);
    if (end >= 0) order.length = end + 1;
  }
  return order.sort((a, b) => a - b);
}

function likeliest(probabilities: Float32Array): number {
  let best = 0;
  for (let id = 1; id < probabilities.length; id++) if (probabilities[id]! > probabilities[best]!) best = id;
  if (!(probabilities[best]! > 0)) throw noToken();
  return best;
}
