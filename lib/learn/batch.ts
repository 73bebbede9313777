/**
 * Sequences packed for one training or scoring call.
 *
 * Letters: B rows, T tokens of a row, M model tokens of a row (those the mask asks for). Rows are right-padded, so with
 * causal attention no valid token ever sees padding. Only the M positions that predict a model token go through the
 * output layer: logits are [B, M, V], never [B, T, V]. Where all model tokens are one row, B is 1 and M their number, and
 * hardly any of it is padding.
 */
import * as tf from "@tensorflow/tfjs";
import { hasFusedKernels } from "../engine/fused_kernels.ts";
import { hostThreads } from "../engine/host_threads.ts";
import { branchMark } from "../model/decoder.ts";
import { modelTokenCount } from "../rollout/trajectory.ts";

/**
 * Splits sequences into micro-batches of at most `rows`: the indices of each, neighbours in length together, so that little
 * is padded.
 */
export function microBatches(sequences: readonly Sequence[], rows: number): number[][] {
  const lengthOf = (i: number) => sequences[i]!.tokens.length;
  const order = [...sequences.keys()].sort((a, b) => lengthOf(b) - lengthOf(a) || a - b);
  return Array.from(
    { length: Math.ceil(order.length / rows) },
    (_, i) => order.slice(i * rows, (i + 1) * rows),
  );
}

/** One row before packing: token ids and, beside each, whether it is to be scored. */
export interface Sequence {
  tokens: readonly number[];
  mask: readonly number[];
}

/** Host arrays of a packed batch; `batchTensors` uploads them. */
export interface PackedBatch {
  /** Rows of model tokens: one for each sequence, those that are padding included, or a single one for all. */
  B: number;
  /** Rows of tokens: one for each sequence, or fewer where sequences lie end to end. */
  rows: number;
  T: number;
  M: number;
  /** For each sequence, where its model tokens begin in the flat arrays of [B, M]. */
  starts: number[];
  /**
   * [rows, T] token ids, padded with `padTokenId`; −1 − id where a sequence begins behind another. Where sequences lie end to
   * end, what several of them begin with may stand there once, and each of them behind it, from −1 − 2³⁰ − id on.
   */
  tokens_BT: Int32Array;
  /** [B, M] flat position in tokens_BT of the token before the one that is predicted; 0 where padded. */
  index_BM: Int32Array;
  /** [B, M] the ids predicted; 0 where padded. */
  targets_BM: Int32Array;
  /** [B, M] 1 for a real model token, 0 for padding. */
  mask_BM: Float32Array;
}

/** The tensors of a packed batch, in the order in which steps take them. */
export interface BatchTensors {
  tokens_BT: tf.Tensor2D;
  index_BM: tf.Tensor2D;
  targets_BM: tf.Tensor2D;
  mask_BM: tf.Tensor2D;
}

/** How sequences are padded. */
export interface PackOptions {
  padTokenId: number;
  /** T is rounded up to a multiple of this: few different shapes, few compilations. 16 when left out. */
  lengthBucket?: number;
  /** M is rounded up to a multiple of this. 8 when left out. */
  maskBucket?: number;
  /** All model tokens in one row, B = 1: so short sequences beside long ones leave nothing to padding. */
  together?: boolean;
  /** Rows of the batch; missing ones are padding. As many as there are sequences when left out. */
  rows?: number;
  /**
   * Lay sequences end to end in so many rows of tokens, or fewer where they are few, so that little is padded, and what they
   * begin with in common, as the members of a group do, only once. Only where {@linkcode mayLieEndToEnd} says that the engine
   * can tell them apart.
   */
  endToEnd?: number;
}

/** Tokens of the shortest and the longest row in which sequences lie end to end, about, where there are several a thread. */
const shortRow = 640, longRow = 1536;

/** What the length of such rows is rounded up to. */
const rowBucket = 64;

/**
 * In how many rows sequences may lie end to end, for `endToEnd` of `packBatch`: one for every thread, or several where a
 * thread's would be long, then as many as leave least to padding; undefined where the engine's attention cannot tell
 * sequences of a row apart, as on all but `tensorflow` with the kit's kernels.
 *
 * @example
 * ```ts
 * import { mayLieEndToEnd, openEngine } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const engine = await openEngine({ engine: "cpu" });
 * assertEquals(mayLieEndToEnd([{ tokens: [1, 2], mask: [0, 1] }]), undefined);
 * engine.close();
 * ```
 */
export function mayLieEndToEnd(sequences: readonly Sequence[]): number | undefined {
  if (!hasFusedKernels()) return undefined;
  return rowsEndToEnd(sequences, Math.max(1, hostThreads()));
}

/** A multiple of `threads`. Of two that leave as much to padding the larger one: parts of shorter rows fit the cache. */
export function rowsEndToEnd(sequences: readonly Sequence[], threads: number): number {
  const share = sequences.reduce((sum, { tokens }) => sum + tokens.length, 0) / threads;
  const fewest = Math.max(1, Math.ceil(share / longRow)),
    most = Math.max(fewest, Math.floor(share / shortRow));
  const padded = (rows: number) => {
    const { filled } = placesEndToEnd(sequences, rows);
    return filled.length * Math.ceil(Math.max(...filled) / rowBucket);
  };
  let best = threads * fewest, least = Infinity;
  for (let rows = best; fewest < most && rows <= threads * most; rows += threads) {
    const tokens = padded(rows);
    if (tokens <= least) [best, least] = [rows, tokens];
  }
  return best;
}

/**
 * Packs sequences into one batch. `mask[t] = 1` asks for the token at t, which the hidden state at t − 1 predicts.
 *
 * @throws {RangeError} when a mask is not as long as its tokens, holds something else than 0 and 1, or asks for the
 * first token, and when there are more sequences than rows.
 *
 * @example
 * ```ts
 * import { packBatch } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const packed = packBatch([{ tokens: [7, 8, 9], mask: [0, 1, 1] }], { padTokenId: 0, lengthBucket: 4, maskBucket: 1 });
 * assertEquals([...packed.tokens_BT], [7, 8, 9, 0]);
 * assertEquals([...packed.index_BM], [0, 1]);
 * assertEquals([...packed.targets_BM], [8, 9]);
 *
 * const two = [{ tokens: [7, 8, 9], mask: [0, 1, 1] }, { tokens: [5, 6], mask: [0, 1] }];
 * const { B, M, starts } = packBatch(two, { padTokenId: 0, maskBucket: 1, together: true });
 * assertEquals({ B, M, starts }, { B: 1, M: 3, starts: [0, 2] });
 * ```
 */
export function packBatch(
  sequences: readonly Sequence[],
  options: PackOptions,
): PackedBatch {
  const { padTokenId, lengthBucket = 16, maskBucket = 8, together = false, endToEnd } = options;
  const most = options.rows ?? sequences.length;
  if (sequences.length > most) {
    throw new RangeError(`Cannot pack ${sequences.length} sequences into ${most} rows; split them first`);
  }
  sequences.forEach(checkMask);
  const longest = (values: number[], bucket: number) =>
    Math.max(1, Math.ceil(Math.max(0, ...values) / bucket)) * bucket;
  const lengths = sequences.map(({ tokens }) => tokens.length);
  const places = endToEnd === undefined ? undefined : placesEndToEnd(sequences, endToEnd);
  const rows = places?.filled.length ?? most;
  const T = longest(places?.filled ?? lengths, lengthBucket);
  const counts = sequences.map(modelTokenCount);
  const B = together ? 1 : most;
  const M = longest(together ? [counts.reduce((sum, count) => sum + count, 0)] : counts, maskBucket);
  let end = 0;
  const packed: PackedBatch = {
    B,
    rows,
    T,
    M,
    starts: counts.map((count, b) => together ? (end += count) - count : b * M),
    tokens_BT: new Int32Array(rows * T).fill(padTokenId),
    index_BM: new Int32Array(B * M),
    targets_BM: new Int32Array(B * M),
    mask_BM: new Float32Array(B * M),
  };
  sequences.forEach(({ tokens, mask }, b) => {
    const { row, prefix, shared, start } = places?.of[b] ?? { row: b, prefix: 0, shared: 0, start: 0 };
    const place = (t: number) => row * T + (t < shared ? prefix + t : start + t - shared);
    tokens.forEach((token, t) => packed.tokens_BT[place(t)] = token);
    if (prefix > 0 && tokens.length > 0) packed.tokens_BT[place(0)] = -1 - tokens[0]!;
    if (shared > 0) packed.tokens_BT[place(shared)] = -1 - branchMark - tokens[shared]!;
    let at = packed.starts[b]!;
    for (let t = 1; t < tokens.length; t++) {
      if (mask[t] !== 1) continue;
      packed.index_BM[at] = place(t - 1);
      packed.targets_BM[at] = tokens[t]!;
      packed.mask_BM[at++] = 1;
    }
  });
  // Padding behind sequences is one more.
  places?.filled.forEach((end, row) => {
    if (end > 0 && end < T) packed.tokens_BT[row * T + end] = -1 - padTokenId;
  });
  return packed;
}

/** Sequences that lie next to each other, and before them their shared prefix, once. */
interface Group {
  shared: number;
  members: number[];
  tokens: number;
}

/** Tokens that two sequences share at least where they lie in a group. */
const leastShared = 8;

/** Groups of sequences, no longer than `most` tokens where there are several in one. */
function groupsOf(sequences: readonly Sequence[], most: number): Group[] {
  const tokensOf = (i: number) => sequences[i]!.tokens;
  const alike = (a: number, b: number) => {
    const [x, y] = [tokensOf(a), tokensOf(b)];
    let t = 0;
    while (t < x.length && t < y.length && x[t] === y[t]) t++;
    return t;
  };
  const order = [...sequences.keys()].sort((a, b) => {
    const t = alike(a, b);
    return (tokensOf(a)[t] ?? -1) - (tokensOf(b)[t] ?? -1) || a - b;
  });
  const groups: Group[] = [];
  for (const i of order) {
    const group = groups.at(-1), { length } = tokensOf(i);
    if (group) {
      const { members } = group;
      const before = members.length === 1 ? tokensOf(members[0]!).length - 1 : group.shared;
      const shared = Math.min(before, alike(members[0]!, i), length - 1); // some tokens of each are its own
      const tokens = group.tokens + length + group.shared * (members.length - 1) - shared * members.length;
      const saves = shared * members.length > group.shared * (members.length - 1);
      if (shared >= leastShared && saves && tokens <= most) {
        groups[groups.length - 1] = { shared, members: [...members, i], tokens };
        continue;
      }
    }
    groups.push({ shared: 0, members: [i], tokens: length });
  }
  return groups;
}

/** Where in its row a sequence lies: the `shared` tokens of its prefix from `prefix` on, the others from `start` on. */
interface Place {
  row: number;
  prefix: number;
  shared: number;
  start: number;
}

/** Puts groups into at most `rows` rows, the longest first, each where least is: rows of about the same length. */
function placesEndToEnd(sequences: readonly Sequence[], rows: number): { of: Place[]; filled: number[] } {
  const lengths = sequences.map(({ tokens }) => tokens.length);
  const total = lengths.reduce((sum, length) => sum + length, 0);
  const fitting = Math.floor(total / Math.max(1, ...lengths)); // more rows would be shorter than the longest sequence
  const filled = Array.from({ length: Math.max(1, Math.min(rows, fitting)) }, () => 0);
  // Long groups would leave rows of different lengths.
  const groups = groupsOf(sequences, filled.length === 1 ? Infinity : total / filled.length / 2);
  const of: Place[] = [];
  for (const { shared, members, tokens } of groups.toSorted((a, b) => b.tokens - a.tokens)) {
    const row = filled.indexOf(Math.min(...filled));
    const prefix = filled[row]!;
    let start = prefix + shared;
    for (const i of members) {
      of[i] = { row, prefix, shared, start };
      start += lengths[i]! - shared;
    }
    filled[row]! += tokens;
  }
  return { of, filled };
}

/**
 * Packs sequences as suits the open engine: end to end where it can tell them apart and `padded` does not forbid it, else a
 * row each; all model tokens in one row but for `padded`; lengths rounded so that there are few different shapes.
 */
export function packForEngine(
  sequences: readonly Sequence[],
  { padTokenId, rows, padded = false }: { padTokenId: number; rows: number; padded?: boolean },
): PackedBatch {
  if (padded) return packBatch(sequences, { padTokenId, rows, maskBucket: 16 });
  const count = sequences.reduce((sum, sequence) => sum + modelTokenCount(sequence), 0);
  const maskBucket = Math.max(16, 2 ** (Math.floor(Math.log2(Math.max(1, count))) - 2)); // at most a quarter is padding
  const endToEnd = mayLieEndToEnd(sequences);
  const options = { padTokenId, rows, maskBucket, together: true };
  return packBatch(
    sequences,
    endToEnd === undefined ? options : { ...options, lengthBucket: rowBucket, endToEnd },
  );
}

/** Where the model tokens of every sequence stand in the flat arrays of a packed batch. */
export interface ModelTokensByRow {
  /** [S, M]: sequences, and the most model tokens of one, rounded up to a power of two. */
  shape: [number, number];
  /** [S, M] the place of each in the flat arrays of [B, M]; 0 where padded. */
  place_SM: Int32Array;
  /** [S, M] 1 where there is one. */
  mask_SM: Float32Array;
}

/** The model tokens of a packed batch, each sequence's in a row of its own, as losses need them that sum over rows. */
export function modelTokensByRow(packed: PackedBatch, sequences: readonly Sequence[]): ModelTokensByRow {
  const counts = sequences.map(modelTokenCount);
  const M = 2 ** Math.ceil(Math.log2(Math.max(1, ...counts)));
  const place_SM = new Int32Array(counts.length * M), mask_SM = new Float32Array(counts.length * M);
  counts.forEach((count, s) => {
    for (let m = 0; m < count; m++) {
      place_SM[s * M + m] = packed.starts[s]! + m;
      mask_SM[s * M + m] = 1;
    }
  });
  return { shape: [counts.length, M], place_SM, mask_SM };
}

/**
 * Lays one number a token beside the packed model tokens: [B, M], 0 where padded.
 *
 * @param values For each sequence as many numbers as it has tokens; those where the mask is 0 are left out.
 * @throws {RangeError} when a row of values is not as long as its sequence.
 *
 * @example
 * ```ts
 * import { packBatch, packPerToken } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const sequences = [{ tokens: [7, 8, 9], mask: [0, 0, 1] }];
 * const packed = packBatch(sequences, { padTokenId: 0, maskBucket: 2 });
 * assertEquals([...packPerToken(packed, sequences, [[0.1, 0.2, 0.5]])], [0.5, 0]);
 * ```
 */
export function packPerToken(
  packed: PackedBatch,
  sequences: readonly Sequence[],
  values: readonly (readonly number[])[],
): Float32Array {
  const out = new Float32Array(packed.B * packed.M);
  sequences.forEach(({ tokens, mask }, row) => {
    if (values[row]?.length !== tokens.length) {
      throw new RangeError(
        `Cannot pack values of row ${row}: there are ${values[row]?.length ?? 0} for ${tokens.length} tokens`,
      );
    }
    let at = packed.starts[row]!;
    for (let t = 1; t < tokens.length; t++) if (mask[t] === 1) out[at++] = values[row]![t]!;
  });
  return out;
}

/**
 * Uploads a packed batch; the caller disposes the tensors.
 *
 * @example
 * ```ts
 * import { batchTensors, packBatch } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const { tokens_BT } = batchTensors(packBatch([{ tokens: [7, 8], mask: [0, 1] }], { padTokenId: 0 }));
 * assertEquals(tokens_BT.shape, [1, 16]);
 * ```
 */
export function batchTensors(
  { B, rows, T, M, tokens_BT, index_BM, targets_BM, mask_BM }: PackedBatch,
): BatchTensors {
  return {
    tokens_BT: tf.tensor2d(tokens_BT, [rows, T], "int32"),
    index_BM: tf.tensor2d(index_BM, [B, M], "int32"),
    targets_BM: tf.tensor2d(targets_BM, [B, M], "int32"),
    mask_BM: tf.tensor2d(mask_BM, [B, M], "float32"),
  };
}

function checkMask({ tokens, mask }: Sequence, row: number): void {
  if (mask.length !== tokens.length) {
    throw new RangeError(
      `Cannot pack row ${row}: its mask has ${mask.length} entries for ${tokens.length} tokens`,
    );
  }
  const wrong = mask.findIndex((m) => m !== 0 && m !== 1);
  if (wrong >= 0) {
    throw new RangeError(`Cannot pack row ${row}: mask[${wrong}] is ${mask[wrong]}, not 0 or 1`);
  }
  if (mask[0] === 1) {
    throw new RangeError(`Cannot pack row ${row}: its mask asks for the first token, which nothing predicts`);
  }
}
