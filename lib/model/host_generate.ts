/**
 * Generation by the kit's own decoder: rows take slots, enter and leave as they end, and what a slot holds serves the next
 * row, or the next turn, that begins in the same way.
 *
 * @module
 */
import { yieldToEventLoop } from "../base/event_loop.ts";
import type { GenerateOptions, Writer } from "./generate.ts";
import { drawEach, type Drawn, type HostDecoder, type Item } from "./host_decoder.ts";
import { hostSlots, openHostDecoder } from "./open_host_decoder.ts";
import type { Policy } from "./policy.ts";
import { otherWeights, type PrefixCache, stampOf } from "./prefix_cache.ts";

/** A decoder, the weights it was made of, and what its slots hold. */
export interface HostCache {
  decoder: HostDecoder;
  stamp: string;
  slots: Slot[];
}

/** The tokens whose keys and values a slot holds, and when it was taken last. */
interface Slot {
  tokens: number[];
  taken: number;
}

/** A row on its way: behind what its slot holds, `pending` goes through the model next. */
interface Active {
  row: number;
  slot: number;
  pending: readonly number[];
}

/** Milliseconds between two pauses in which timers and signals may run. */
const pauseEvery = 100;

/** When the last pause ended, of all calls: short ones that follow one another need none each. */
let paused = -Infinity;

/**
 * Continues all contexts, and lets the writers have the tokens; false, with nothing done, where tfjs is to generate.
 *
 * @param positions The longest context with all that may be written after it.
 * @param mayEnd Gives [V] 1 for every token that may end a row.
 */
export async function generateOnHost(
  policy: Policy,
  contexts: readonly (readonly number[])[],
  positions: number,
  writers: readonly Writer[],
  mayEnd: () => Uint8Array<ArrayBuffer>,
  { maxBatch = 64, prefixCache, ...sampling }: GenerateOptions,
): Promise<boolean> {
  const cache = await openCache(policy, contexts.length, positions, maxBatch, prefixCache);
  if (!cache) return false;
  const { decoder, slots } = cache;
  try {
    const ends = mayEnd();
    const waiting = [...contexts.keys()];
    let active: Active[] = [];
    while (waiting.length > 0 || active.length > 0) {
      const next = waiting.splice(0, maxBatch - active.length);
      const { leaders, followers } = enter(cache, contexts, next, active);
      active.push(...leaders);
      const drawing: Active[] = [...active, ...followers];
      const items = active.flatMap((row) => itemsOf(row, slots));
      const steps = followers.length > 0 ? 1 : decoder.steps;
      const wishes = drawing.map(({ row }) => writers[row]!.wish(steps));
      let drawn: Drawn[];
      if (followers.length === 0) {
        drawn = decoder.draw(items, wishes, { ...sampling, ends });
      } else {
        const found = decoder.forward(items, sampling.temperature);
        const followed = followers.map(({ leader }) => found[active.indexOf(leader)]!);
        drawn = drawEach([...found, ...followed], wishes, sampling);
      }
      for (const { slot, pending } of active) slots[slot]!.tokens.push(...pending);
      for (const { leader, slot } of followers) {
        const { tokens } = slots[leader.slot]!;
        decoder.copy(leader.slot, slot, tokens.length);
        slots[slot]!.tokens = [...tokens];
      }
      active = drawing.filter((row, i) => {
        const { tokens, p } = drawn[i]!;
        slots[row.slot]!.tokens.push(...tokens.slice(0, -1)); // the last one has not been through the model
        row.pending = [tokens.at(-1)!];
        return tokens.map((token, t) => writers[row.row]!.write(token, p[t]!)).at(-1)!;
      });
      // Steps never leave the microtask queue by themselves; timers and signals run only between macrotasks.
      if (performance.now() - paused > pauseEvery) {
        await yieldToEventLoop();
        paused = performance.now();
      }
    }
  } finally {
    if (!prefixCache) decoder.dispose();
  }
  return true;
}

/** The cache to go on with: that of the earlier calls where it has room, else a new one; undefined where none fits. */
async function openCache(
  policy: Policy,
  rows: number,
  positions: number,
  maxBatch: number,
  prefixCache: PrefixCache | undefined,
): Promise<HostCache | undefined> {
  const stamp = stampOf(policy);
  const known = prefixCache?.host;
  if (known && known.stamp !== stamp) throw otherWeights();
  const needed = Math.min(maxBatch, rows);
  if (known && known.decoder.positions >= positions && known.slots.length >= needed) return known;
  const room = Math.max(positions, prefixCache?.positions ?? 0);
  const count = hostSlots(policy.config, room, rows);
  if (count < needed) return undefined;
  known?.decoder.dispose();
  const decoder = await openHostDecoder(policy, count, room);
  const cache = { decoder, stamp, slots: Array.from({ length: count }, () => ({ tokens: [], taken: 0 })) };
  if (prefixCache) prefixCache.host = cache;
  return cache;
}

/** Gives rows a slot each. Equal contexts go through the model once: the first row leads, the others copy from it. */
function enter(
  { decoder, slots }: HostCache,
  contexts: readonly (readonly number[])[],
  rows: readonly number[],
  active: readonly Active[],
): { leaders: Active[]; followers: (Active & { leader: Active })[] } {
  const busy = new Set(active.map(({ slot }) => slot));
  let now = Math.max(...slots.map(({ taken }) => taken));
  const take = (slot: number) => {
    busy.add(slot);
    slots[slot]!.taken = ++now;
    return slot;
  };
  /** An idle slot: one that holds nothing, or the one that was taken longest ago. */
  const idle = () => {
    let best = -1;
    slots.forEach(({ tokens, taken }, slot) => {
      if (busy.has(slot)) return;
      const age = tokens.length === 0 ? -1 : taken;
      if (best < 0 || age < (slots[best]!.tokens.length === 0 ? -1 : slots[best]!.taken)) best = slot;
    });
    return best;
  };
  const leaders = new Map<string, Active>();
  const followers: (Active & { leader: Active })[] = [];
  for (const row of rows) {
    const context = contexts[row]!;
    const key = context.join();
    const leader = leaders.get(key);
    if (leader) {
      followers.push({ row, slot: take(idle()), pending: [], leader });
      continue;
    }
    const { slot: source, length } = longestPrefix(slots, context, busy);
    const goesOn = !busy.has(source) && length === slots[source]!.tokens.length;
    const slot = take(goesOn && length > 0 ? source : idle());
    if (slot !== source) decoder.copy(source, slot, length);
    slots[slot]!.tokens = context.slice(0, length);
    leaders.set(key, { row, slot, pending: context.slice(length) });
  }
  return { leaders: [...leaders.values()], followers };
}

/** The slot that shares most tokens with the start of a context, an idle one if there are several; at least one token is left. */
function longestPrefix(
  slots: readonly Slot[],
  context: readonly number[],
  busy: ReadonlySet<number>,
): { slot: number; length: number } {
  let best = { slot: 0, length: -1 };
  slots.forEach(({ tokens }, slot) => {
    const most = Math.min(tokens.length, context.length - 1);
    let length = 0;
    while (length < most && tokens[length] === context[length]) length++;
    const better = length > best.length || (length === best.length && busy.has(best.slot) && !busy.has(slot));
    if (better) best = { slot, length };
  });
  return best;
}

/** What a row sends through the model; the distribution after the last token is wanted. */
function itemsOf({ slot, pending }: Active, slots: readonly Slot[]): Item[] {
  const { length } = slots[slot]!.tokens;
  return pending.map((token, i) => ({
    token,
    slot,
    position: length + i,
    wanted: i === pending.length - 1,
  }));
}
