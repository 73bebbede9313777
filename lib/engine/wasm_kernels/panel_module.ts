/**
 * The inner loop of matrix products, as WebAssembly that is written once the heap is known. V8 compares each address with the
 * memory's size, but not one that stands in the code and lies within the memory's first size: so the panel of B has a fixed
 * place, and the loop over its depth is written out.
 *
 * @module
 */

/** Columns of a panel, and its depth: code for more would not fit what a core that is shared keeps of decoded instructions. */
const width = 16, depth = 32;

/** Bytes of a panel. */
export const panelBytes = 4 * width * depth;

/** The exports of a `panelModule`. Pointers and distances are bytes. */
export interface PanelKernels {
  /**
   * For each of `pairs` ≥ 1 pairs of rows: c[2, 16] = from[2, 16] + a[2, deep] · panel[deep, 16], rows of `a`, `from` and `c`
   * `aPitch`, `fromPitch` and `cPitch` apart. `deep` is 8, 16, 24 or 32; `from` and `c` may be the same, with the same pitch.
   * Where `from` and `fromPitch` are 0 the sums begin with zeros.
   */
  // deno-fmt-ignore
  multiply(a: number, aPitch: number, pairs: number, deep: number, from: number, fromPitch: number,
    c: number, cPitch: number): void;
}

// The function's locals by number, the parameters first; `sums` is the first of eight.
const [a, aPitch, pairs, deep, from, fromPitch, c, cPitch] = [0, 1, 2, 3, 4, 5, 6, 7];
const [row0, row1, from1, c1] = [8, 9, 10, 11];
const [four0, four1, x0, x1, columns, sums] = [12, 13, 14, 15, 16, 17];
const locals = { i32: 4, v128: 5 + 2 * width / 4 };

// WebAssembly's binary format (https://webassembly.github.io/spec/core/binary).
const op = { block: 0x02, loop: 0x03, if: 0x04, else: 0x05, end: 0x0b, branchIf: 0x0d };
const type = { i32: 0x7f, v128: 0x7b, function: 0x60, none: 0x40 };

/** A whole number in LEB128. */
function unsigned(value: number): number[] {
  return value < 128 ? [value] : [value % 128 + 128, ...unsigned(Math.floor(value / 128))];
}

const sized = (bytes: number[]) => [...unsigned(bytes.length), ...bytes];
const text = (name: string) => sized([...new TextEncoder().encode(name)]);
const section = (id: number, content: number[]) => [id, ...sized(content)];

const get = (local: number) => [0x20, local];
const set = (local: number, value: number[]) => [...value, 0x21, local];
const number = (value: number) => [0x41, value & 127]; // from -64 to 63
const add = (x: number[], y: number[]) => [...x, ...y, 0x6a];
const equal = (x: number[], y: number[]) => [...x, ...y, 0x46];
const load = (at: number[], offset: number) => [...at, 0xfd, 0x00, 0, ...unsigned(offset)];
const store = (
  at: number[],
  offset: number,
  four: number,
) => [...at, ...get(four), 0xfd, 0x0b, 0, ...unsigned(offset)];
const zeros = [0xfd, 0x0c, ...Array(16).fill(0)];
/** One lane of a vector in all four: a shuffle, by the numbers of bytes. */
const spread = (four: number, lane: number) => [
  ...[...get(four), ...get(four), 0xfd, 0x0d],
  ...Array.from({ length: 16 }, (_, byte) => 4 * lane + byte % 4),
];
/** x · y + sum, relaxed: rounded once where the processor can. */
const multiplyAdd = (
  x: number,
  y: number,
  sum: number,
) => [...get(x), ...get(y), ...get(sum), 0xfd, 0x85, 0x02];

/** The module whose panel lies at `panel`, for a memory of `pages` × 64 KiB or more, which it imports as `env.memory`. */
export function panelModule(panel: number, pages: number): Uint8Array<ArrayBuffer> {
  const fours = Array.from({ length: width / 4 }, (_, i) => ({
    offset: 16 * i,
    sum0: sums + i,
    sum1: sums + width / 4 + i,
  }));
  const oneDeep = (d: number) => [
    ...set(x0, spread(four0, d % 4)),
    ...set(x1, spread(four1, d % 4)),
    ...fours.flatMap(({ offset, sum0, sum1 }) => [
      ...set(columns, load(number(0), panel + 4 * width * d + offset)),
      ...set(sum0, multiplyAdd(x0, columns, sum0)),
      ...set(sum1, multiplyAdd(x1, columns, sum1)),
    ]),
  ];
  const eightDeep = (d: number) => [
    ...[d, d + 4].flatMap((four) => [
      ...set(four0, load(get(row0), 0)),
      ...set(four1, load(get(row1), 0)),
      ...set(row0, add(get(row0), number(16))),
      ...set(row1, add(get(row1), number(16))),
      ...[0, 1, 2, 3].flatMap((i) => oneDeep(four + i)),
    ]),
    ...[...equal(get(deep), number(d + 8)), op.branchIf, 0],
  ];
  const onePair = [
    ...set(row0, get(a)),
    ...set(row1, add(get(a), get(aPitch))),
    ...set(from1, add(get(from), get(fromPitch))),
    ...set(c1, add(get(c), get(cPitch))),
    ...[...get(from), op.if, type.none],
    ...fours.flatMap(({ offset, sum0 }) => set(sum0, load(get(from), offset))),
    ...fours.flatMap(({ offset, sum1 }) => set(sum1, load(get(from1), offset))),
    op.else,
    ...fours.flatMap(({ sum0, sum1 }) => [...set(sum0, zeros), ...set(sum1, zeros)]),
    op.end,
    ...[op.block, type.none],
    ...[0, 8, 16, 24].flatMap(eightDeep),
    op.end,
    ...fours.flatMap(({ offset, sum0 }) => store(get(c), offset, sum0)),
    ...fours.flatMap(({ offset, sum1 }) => store(get(c1), offset, sum1)),
    ...set(a, add(add(get(a), get(aPitch)), get(aPitch))),
    ...set(from, add(get(from1), get(fromPitch))),
    ...set(c, add(get(c1), get(cPitch))),
    ...set(pairs, add(get(pairs), number(-1))),
    ...[...get(pairs), op.branchIf, 0],
  ];
  const code = [
    ...[2, locals.i32, type.i32, locals.v128, type.v128],
    ...[op.loop, type.none, ...onePair, op.end],
    op.end,
  ];
  return Uint8Array.from([
    ...[0, ...new TextEncoder().encode("asm"), 1, 0, 0, 0],
    ...section(1, [1, type.function, ...sized(Array(8).fill(type.i32)), 0]),
    ...section(2, [1, ...text("env"), ...text("memory"), 2, 0, ...unsigned(pages)]),
    ...section(3, [1, 0]),
    ...section(7, [1, ...text("multiply"), 0, 0]),
    ...section(10, [1, ...sized(code)]),
  ]);
}
