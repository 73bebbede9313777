/**
 * The inner loops of matrix products, as WebAssembly that is written once the heap is known. V8 compares each address with the
 * memory's size, but not one that stands in the code and lies within the memory's first size: so the panel of B has a fixed
 * place, and the loop over its depth is written out. V8 can also join vectors of 128 bits in pairs, where what is made of them
 * is stored side by side and nothing is compared in between: a loop for that has a fixed place for its sums, too.
 *
 * @module
 */

/** Columns of a panel. */
const width = 16;

/** Bytes of a row of a panel. */
const rowBytes = 4 * width;

/** Rows of a tile: its sums fit the 16 registers if these hold 4 numbers each, or if they hold 8. */
const narrowRows = 2, wideRows = 4;

/** Depth of a panel: code for more would not fit what a core that is shared keeps of decoded instructions. */
export const narrowDepth = 32, wideDepth = 64;

/** Bytes of a panel and of a wide tile's sums behind it. */
export const panelBytes = rowBytes * (wideDepth + wideRows);

/** Multiplies `tiles` ≥ 1 tiles by the panel, see `PanelKernels`. */
// deno-fmt-ignore
type MultiplyTiles = (a: number, aPitch: number, tiles: number, deep: number, from: number, fromPitch: number,
  c: number, cPitch: number) => void;

/**
 * The exports of a `panelModule`: c[rows, 16] = from[rows, 16] + a[rows, deep] · panel[deep, 16] for tiles of some rows each.
 * Pointers and distances are bytes; rows of `a`, `from` and `c` lie `aPitch`, `fromPitch` and `cPitch` apart. `deep` is a
 * multiple of 8 up to the panel's depth; `from` and `c` may be the same. Where `from` and `fromPitch` are 0 the sums begin with
 * zeros.
 */
export interface PanelKernels {
  /** Tiles of 2 rows. */
  narrow: MultiplyTiles;
  /** Tiles of 4 rows, the same bits: faster than `narrow` where V8 joins vectors, half as fast where it does not. */
  wide: MultiplyTiles;
}

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
const number = (value: number) => [0x41, ...(value < 64 ? [value & 127] : [value + 128, 0])]; // from -64 to 127
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
/** A vector whose first lane is replaced by itself: two of them V8 can join, whatever they were before. */
const itself = (four: number) => [...get(four), ...get(four), 0xfd, 0x1f, 0, 0xfd, 0x20, 0];

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);

/** The code of a `MultiplyTiles` for tiles of `height` rows; if `joined`, their sums go by the place behind the panel. */
function multiplyTiles(height: number, joined: boolean, panel: number, depth: number): number[] {
  // The function's locals by number, the parameters first.
  const [a, aPitch, tiles, deep, from, fromPitch, c, cPitch] = [0, 1, 2, 3, 4, 5, 6, 7];
  const rows = upTo(height).map((row) => ({
    at: 8 + row,
    four: 8 + height + row, // four numbers of the row of A
    x: 8 + 2 * height + row, // one of them, in all lanes
    sums: upTo(width / 4).map((i) => 8 + 3 * height + row * width / 4 + i),
    place: panel + rowBytes * (wideDepth + row),
  }));
  const columns = 8 + (3 + width / 4) * height;
  const locals = { i32: height, v128: (2 + width / 4) * height + 1 };

  const oneDeep = (d: number) => [
    ...rows.flatMap(({ four, x }) => set(x, spread(four, d % 4))),
    ...upTo(width / 4).flatMap((i) => [
      ...set(columns, load(number(0), panel + rowBytes * d + 16 * i)),
      ...rows.flatMap(({ x, sums }) => set(sums[i]!, multiplyAdd(x, columns, sums[i]!))),
    ]),
  ];
  const fourDeep = (d: number) => [
    ...rows.flatMap(({ at, four }) => set(four, load(get(at), 4 * d))),
    ...upTo(4).flatMap((i) => oneDeep(d + i)),
  ];
  const eightDeep = (d: number) => [
    ...[...fourDeep(d), ...fourDeep(d + 4)],
    ...[...equal(get(deep), number(d + 8)), op.branchIf, 0],
  ];
  // The second half of a pair is stored first: behind the first half V8 stores both, and the first half needlessly.
  const throughMemory = [
    ...rows.flatMap(({ sums, place }) =>
      upTo(width / 4).toReversed().flatMap((i) => store(number(0), place + 16 * i, sums[i]!))
    ),
    ...rows.flatMap(({ sums, place }) => sums.flatMap((sum, i) => set(sum, load(number(0), place + 16 * i)))),
  ];
  const start = rows.flatMap(({ sums }) => [
    ...sums.flatMap((sum, i) => set(sum, load(get(from), 16 * i))),
    ...(joined ? sums.flatMap((sum) => set(sum, itself(sum))) : []),
    ...set(from, add(get(from), get(fromPitch))),
  ]);
  const oneTile = [
    ...rows.flatMap(({ at }) => [...set(at, get(a)), ...set(a, add(get(a), get(aPitch)))]),
    ...[...get(from), op.if, type.none, ...start, op.else],
    ...rows.flatMap(({ sums }) => sums.flatMap((sum) => set(sum, zeros))),
    op.end,
    ...[op.block, type.none],
    ...upTo(depth / 8).flatMap((i) => eightDeep(8 * i)),
    op.end,
    ...(joined ? throughMemory : []),
    ...rows.flatMap(({ sums }) => [
      ...sums.flatMap((sum, i) => store(get(c), 16 * i, sum)),
      ...set(c, add(get(c), get(cPitch))),
    ]),
    ...set(tiles, add(get(tiles), number(-1))),
    ...[...get(tiles), op.branchIf, 0],
  ];
  return [
    ...[2, locals.i32, type.i32, locals.v128, type.v128],
    ...[op.loop, type.none, ...oneTile, op.end],
    op.end,
  ];
}

/**
 * The module whose panel lies at `panel` and is `depth` deep, for a memory of `pages` × 64 KiB or more, which it imports as
 * `env.memory`.
 */
export function panelModule(panel: number, depth: number, pages: number): Uint8Array<ArrayBuffer> {
  const narrow = multiplyTiles(narrowRows, false, panel, depth);
  const wide = multiplyTiles(wideRows, true, panel, depth);
  return Uint8Array.from([
    ...[0, ...new TextEncoder().encode("asm"), 1, 0, 0, 0],
    ...section(1, [1, type.function, ...sized(Array(8).fill(type.i32)), 0]),
    ...section(2, [1, ...text("env"), ...text("memory"), 2, 0, ...unsigned(pages)]),
    ...section(3, [2, 0, 0]),
    ...section(7, [2, ...text("narrow"), 0, 0, ...text("wide"), 0, 1]),
    ...section(10, [2, ...sized(narrow), ...sized(wide)]),
  ]);
}
