/** Measures one work: ours and the peer's turn about, medians, and the ratio. @module */
import type { Answer, PrepareRequest, WorkData } from "./protocol.ts";
import { waitForQuiet } from "./quiet.ts";

/** In what a work is measured; of the first two more is better, of the others less. */
export type Unit = "GFLOP/s" | "tok/s" | "s" | "ms" | "GiB";

/** One line of bench.json. */
export interface BenchRow {
  work: string;
  engine: string;
  threads: number;
  shape: Record<string, number | string>;
  ours: number;
  unit: Unit;
  /** Who was measured beside, or null. */
  peer: string | null;
  peer_value: number | null;
  /** Above 1 means that ours is faster (for GiB: smaller), whatever the unit. */
  ratio: number | null;
  /** Every repetition's figure, in the order in which they were taken. */
  ours_all: number[];
  peer_all: number[];
  /** The most cores that other programs kept busy before a repetition: above .2 the figures are not to be trusted. */
  busy_cores: number;
}

/** Every repetition's figures of both sides. */
export type Figures = Pick<BenchRow, "ours_all" | "peer_all" | "busy_cores">;

/** Seconds that a row with a peer waits at most, in all, for other programs to finish. */
const patience = 60;

/** What can be asked to prepare and repeat; a `Worker`. */
export interface Side {
  prepare(request: Omit<PrepareRequest, "do">): Promise<Answer>;
  repeat(): Promise<{ seconds: number; amount: number }>;
}

/** The middle value; the mean of the two middle ones of an even number. */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError("Cannot take the median of no values");
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length / 2;
  return sorted.length % 2 === 1 ? sorted[Math.floor(half)]! : (sorted[half - 1]! + sorted[half]!) / 2;
}

/** How many times better ours is: above 1 means that ours is faster, whatever the unit. */
export function ratioOf(unit: Unit, ours: number, peer: number): number {
  return moreIsBetter(unit) ? ours / peer : peer / ours;
}

/** A repetition's figure: work a second, milliseconds of a piece of work, or seconds of the whole repetition. */
export function figure(unit: Unit, { seconds, amount }: { seconds: number; amount: number }): number {
  if (moreIsBetter(unit)) return amount / seconds;
  return unit === "ms" ? 1000 * seconds / amount : seconds;
}

function moreIsBetter(unit: Unit): boolean {
  return unit.endsWith("/s");
}

/**
 * Repetitions of ours and the peer's after both have warmed up; only one side computes at a time. The side that began a pair
 * ends the next one, and each begins when the machine is quiet: after a wait of a few milliseconds products run up to 5 %
 * slower, and beside PyTorch's threads, which look for work for a while after it is done, a quarter slower.
 */
export async function interleaved(
  unit: Unit,
  request: Omit<PrepareRequest, "do">,
  ours: Side,
  peer: Side | undefined,
  repetitions: number,
): Promise<Figures> {
  const { turns } = await ours.prepare(request);
  const data: WorkData = turns ? { ...request.data, turns } : request.data;
  await peer?.prepare({ ...request, data });
  const [ours_all, peer_all]: [number[], number[]] = [[], []];
  let busy_cores = 0;
  const repeat = async (side: Side, all: number[]) => {
    busy_cores = Math.max(busy_cores, await waitForQuiet(peer ? patience / (2 * repetitions) : 0));
    all.push(figure(unit, await side.repeat()));
  };
  for (let i = 0; i < repetitions; i++) {
    if (peer && i % 2 === 1) await repeat(peer, peer_all);
    await repeat(ours, ours_all);
    if (peer && i % 2 === 0) await repeat(peer, peer_all);
  }
  return { ours_all, peer_all, busy_cores };
}

/** The row of figures that were taken. */
export function benchRow(
  about: Pick<BenchRow, "work" | "engine" | "threads" | "shape" | "unit" | "peer">,
  { ours_all, peer_all, busy_cores }: Figures,
): BenchRow {
  const { work, engine, threads, shape, unit } = about;
  const ours = median(ours_all);
  const peer_value = peer_all.length > 0 ? median(peer_all) : null;
  return {
    work,
    engine,
    threads,
    shape,
    ours,
    unit,
    peer: peer_value === null ? null : about.peer,
    peer_value,
    ratio: peer_value === null ? null : ratioOf(unit, ours, peer_value),
    ours_all,
    peer_all,
    busy_cores,
  };
}
