// deno-lint-ignore-file
// @ts-nocheck AssemblyScript, not TypeScript: built by `deno task build:wasm`.
//
// A packed single-precision matrix product with 128-bit SIMD, after Goto & van de Geijn, "Anatomy of high-performance
// matrix multiplication" (2008): panels of B and A are copied into contiguous, zero-padded strips, and an inner kernel
// keeps a tile of 4 rows × 8 columns of C in registers. Pointers are bytes, counts and strides are elements. No static
// data, no allocation: this module shares tfjs's heap and owns none of it but the scratch space it is given.

import { tiles } from "./simd.ts";

const KC: i32 = 512; // depth of a packed strip: 4 rows of A (8 KB) and 8 columns of B (16 KB) stay in L1
const MC: i32 = 64; // rows of A packed at a time (128 KB)
const NC: i32 = 1024; // columns of B packed at a time (2 MB, L2 or L3): A is packed anew for the next ones
const STRETCH: i32 = 16384; // packed numbers of B that a strip of A meets before the next one does (64 KB)
const LINE: usize = 64; // bytes between strips: pages apart, the lines of one depth would share a place in L1
const PACKED_B: usize = ((<usize> KC << 5) + LINE) * (NC / 8);
const PACKED_A: usize = ((<usize> KC << 4) + LINE) * (MC / 4);
const TILE: usize = 4 * 8 * 4;

/** Bytes of scratch space that `matmul` needs. */
export function scratchBytes(): usize {
  return PACKED_B + PACKED_A + TILE;
}

/**
 * C[M,N] = A[M,K] · B[K,N] + bias[N] for `batch` matrices that lie aBatch, bBatch and M·N elements apart (a stride of 0 repeats
 * one matrix). A transposed operand is one with its two strides exchanged; without a bias its address is 0.
 */
export function matmul(
  a: usize,
  b: usize,
  c: usize,
  batch: i32,
  m: i32,
  n: i32,
  k: i32,
  aBatch: i32,
  aRow: i32,
  aCol: i32,
  bBatch: i32,
  bRow: i32,
  bCol: i32,
  bias: usize,
  scratch: usize,
): void {
  for (let i = 0; i < batch; i++) {
    if (m < 4 || k == 0) {
      productOfFewRows(a, b, c, m, n, k, aRow, aCol, bRow, bCol);
      if (bias != 0) addBias(c, bias, m, n, n);
    } else {
      product(a, b, c, m, n, k, aRow, aCol, bRow, bCol, bias, scratch);
    }
    a += <usize> aBatch << 2;
    b += <usize> bBatch << 2;
    c += (<usize> m * n) << 2;
  }
}

function product(
  a: usize,
  b: usize,
  c: usize,
  m: i32,
  n: i32,
  k: i32,
  aRow: i32,
  aCol: i32,
  bRow: i32,
  bCol: i32,
  bias: usize,
  scratch: usize,
): void {
  const packedB = scratch;
  const packedA = scratch + PACKED_B;
  const edge = packedA + PACKED_A;
  for (let j0 = 0; j0 < n; j0 += NC) {
    const nc = min(NC, n - j0);
    for (let k0 = 0; k0 < k; k0 += KC) {
      const kc = min(KC, k - k0);
      const strip = (<usize> kc << 4) + LINE, panel = (<usize> kc << 5) + LINE;
      const inPieces = bCol == 1 ? nc & -8 : 0;
      packPanels(b + ((<usize> k0 * bRow + j0) << 2), <usize> bRow << 2, packedB, panel, kc, inPieces);
      for (let j = inPieces; j < nc; j += 8) {
        const from = b + ((<usize> k0 * bRow + <usize> (j0 + j) * bCol) << 2);
        const to = packedB + <usize> (j >> 3) * panel;
        packFour(from, to, 32, kc, bCol, bRow, min(4, nc - j));
        packFour(from + (<usize> bCol << 4), to + 16, 32, kc, bCol, bRow, max(0, min(4, nc - j - 4)));
      }
      for (let i0 = 0; i0 < m; i0 += MC) {
        const mc = min(MC, m - i0);
        const whole = aRow == 1 ? mc & -4 : 0;
        packStrips(a + ((<usize> k0 * aCol + i0) << 2), <usize> aCol << 2, packedA, strip, kc, whole);
        for (let i = whole; i < mc; i += 4) {
          const from = a + ((<usize> (i0 + i) * aRow + <usize> k0 * aCol) << 2);
          packFour(from, packedA + <usize> (i >> 2) * strip, 16, kc, aRow, aCol, min(4, mc - i));
        }
        const to = c + ((<usize> i0 * n + j0) << 2), pitch = <usize> n << 2, add = k0 > 0;
        const start = add || bias == 0 ? 0 : bias + (<usize> j0 << 2);
        const down = mc >> 2, across = nc >> 3, panels = max(1, (STRETCH >> 3) / kc);
        for (let j = 0; j < across; j += panels) {
          const count = min(panels, across - j);
          for (let i = 0; i < down; i++) {
            const at = to + <usize> i * 4 * pitch + (<usize> j << 5);
            tiles(
              count,
              packedA + <usize> i * strip,
              0,
              packedB + <usize> j * panel,
              panel,
              at,
              32,
              pitch,
              kc,
              start != 0 ? start + (<usize> j << 5) : 0,
              32,
              add,
            );
          }
        }
        for (let j = 0; j < nc; j += 8) {
          for (let i = nc - j < 8 ? 0 : down << 2; i < mc; i += 4) {
            const rows = packedA + <usize> (i >> 2) * strip, columns = packedB + <usize> (j >> 3) * panel;
            const at = to + <usize> i * pitch + (<usize> j << 2),
              high = min(4, mc - i),
              wide = min(8, nc - j);
            tiles(1, rows, 0, columns, 0, edge, 0, 32, kc, 0, 0, false);
            copyEdge(edge, at, high, wide, n, add);
            if (start != 0) addBias(at, start + (<usize> j << 2), high, wide, n);
          }
        }
      }
    }
  }
}

/**
 * Packs columns of B, a multiple of 8, whose rows lie in one piece, `next` bytes apart, into panels that are `panel` bytes
 * apart: row after row, so that B is read as it lies in memory, where down a panel each number would be of another line of the
 * cache; two rows at once, which are a line of each panel.
 */
function packPanels(b: usize, next: usize, to: usize, panel: usize, depth: i32, columns: i32): void {
  const bytes = <usize> columns << 2;
  let d = 0;
  for (; d + 2 <= depth; d += 2) {
    let at = to;
    for (let from = b, end = b + bytes; from < end; from += 32) {
      v128.store(at, v128.load(from));
      v128.store(at, v128.load(from, 16), 16);
      v128.store(at, v128.load(from + next), 32);
      v128.store(at, v128.load(from + next, 16), 48);
      at += panel;
    }
    b += 2 * next;
    to += 64;
  }
  if (d == depth) return;
  for (let from = b, end = b + bytes; from < end; from += 32) {
    v128.store(to, v128.load(from));
    v128.store(to, v128.load(from, 16), 16);
    to += panel;
  }
}

/** Packs rows of a transposed A, a multiple of 4, in the same way: four of its columns at once are a line of each strip. */
function packStrips(a: usize, next: usize, to: usize, strip: usize, depth: i32, rows: i32): void {
  const bytes = <usize> rows << 2;
  let d = 0;
  for (; d + 4 <= depth; d += 4) {
    let at = to;
    for (let from = a, end = a + bytes; from < end; from += 16) {
      const third = from + 2 * next;
      v128.store(at, v128.load(from));
      v128.store(at, v128.load(from + next), 16);
      v128.store(at, v128.load(third), 32);
      v128.store(at, v128.load(third + next), 48);
      at += strip;
    }
    a += 4 * next;
    to += 64;
  }
  for (; d < depth; d++) {
    let at = to;
    for (let from = a, end = a + bytes; from < end; from += 16) {
      v128.store(at, v128.load(from));
      at += strip;
    }
    a += next;
    to += 16;
  }
}

/**
 * Copies `lanes` ≤ 4 vectors of `depth` numbers side by side: to[d·pitch + lane] = from[lane·laneStride + d·step], zeros
 * beyond; the pitch is in bytes.
 */
function packFour(
  from: usize,
  to: usize,
  pitch: usize,
  depth: i32,
  laneStride: i32,
  step: i32,
  lanes: i32,
): void {
  const lane = <usize> laneStride << 2;
  const next = <usize> step << 2;
  let d = 0;
  if (lanes == 4 && step == 1) {
    let from1 = from + lane, from2 = from1 + lane, from3 = from2 + lane;
    for (; d + 4 <= depth; d += 4) {
      const r0 = v128.load(from), r1 = v128.load(from1), r2 = v128.load(from2), r3 = v128.load(from3);
      const lo01 = v128.shuffle<i32>(r0, r1, 0, 4, 1, 5), hi01 = v128.shuffle<i32>(r0, r1, 2, 6, 3, 7);
      const lo23 = v128.shuffle<i32>(r2, r3, 0, 4, 1, 5), hi23 = v128.shuffle<i32>(r2, r3, 2, 6, 3, 7);
      v128.store(to, v128.shuffle<i64>(lo01, lo23, 0, 2));
      v128.store(to + pitch, v128.shuffle<i64>(lo01, lo23, 1, 3));
      v128.store(to + 2 * pitch, v128.shuffle<i64>(hi01, hi23, 0, 2));
      v128.store(to + 3 * pitch, v128.shuffle<i64>(hi01, hi23, 1, 3));
      from += 16;
      from1 += 16;
      from2 += 16;
      from3 += 16;
      to += 4 * pitch;
    }
  }
  for (; d < depth; d++) {
    let four = f32x4.splat(0);
    if (lanes > 0) four = f32x4.replace_lane(four, 0, load<f32>(from));
    if (lanes > 1) four = f32x4.replace_lane(four, 1, load<f32>(from + lane));
    if (lanes > 2) four = f32x4.replace_lane(four, 2, load<f32>(from + 2 * lane));
    if (lanes > 3) four = f32x4.replace_lane(four, 3, load<f32>(from + 3 * lane));
    v128.store(to, four);
    from += next;
    to += pitch;
  }
}

/** Copies or adds the part of a 4 × 8 tile that lies inside C. */
function copyEdge(edge: usize, c: usize, rows: i32, columns: i32, n: i32, add: bool): void {
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const to = c + ((<usize> i * n + j) << 2);
      const value = load<f32>(edge + (<usize> (i * 8 + j) << 2));
      store<f32>(to, add ? load<f32>(to) + value : value);
    }
  }
}

/** c[rows, columns] += bias, rows of c `n` numbers apart. */
function addBias(c: usize, bias: usize, rows: i32, columns: i32, n: i32): void {
  for (let i = 0; i < rows; i++) {
    for (let j: usize = 0; j < <usize> columns << 2; j += 4) {
      store<f32>(c + j, load<f32>(c + j) + load<f32>(bias + j));
    }
    c += <usize> n << 2;
  }
}

/** One to three rows, where packing B would cost more than the product: dot products if B's columns are contiguous, else sums of its rows. */
function productOfFewRows(
  a: usize,
  b: usize,
  c: usize,
  m: i32,
  n: i32,
  k: i32,
  aRow: i32,
  aCol: i32,
  bRow: i32,
  bCol: i32,
): void {
  for (let i = 0; i < m; i++) {
    const row = a + ((<usize> i * aRow) << 2);
    const out = c + ((<usize> i * n) << 2);
    if (bRow == 1 && aCol == 1) {
      for (let j = 0; j < n; j++) {
        store<f32>(out + (<usize> j << 2), dot(row, b + ((<usize> j * bCol) << 2), k));
      }
    } else {
      sumOfRows(row, b, out, n, k, aCol, bRow, bCol);
    }
  }
}

function dot(a: usize, b: usize, k: i32): f32 {
  let s0 = f32x4.splat(0), s1 = s0;
  let d = 0;
  for (; d + 8 <= k; d += 8) {
    s0 = f32x4.relaxed_madd(v128.load(a), v128.load(b), s0);
    s1 = f32x4.relaxed_madd(v128.load(a, 16), v128.load(b, 16), s1);
    a += 32;
    b += 32;
  }
  s0 = f32x4.add(s0, s1);
  let sum = f32x4.extract_lane(s0, 0) + f32x4.extract_lane(s0, 1) + f32x4.extract_lane(s0, 2) +
    f32x4.extract_lane(s0, 3);
  for (; d < k; d++) {
    sum += load<f32>(a) * load<f32>(b);
    a += 4;
    b += 4;
  }
  return sum;
}

function sumOfRows(
  a: usize,
  b: usize,
  out: usize,
  n: i32,
  k: i32,
  aCol: i32,
  bRow: i32,
  bCol: i32,
): void {
  const next = <usize> bRow << 2;
  const nextA = <usize> aCol << 2;
  let j = 0;
  if (bCol == 1) {
    for (; j + 16 <= n; j += 16) {
      let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
      let from = b + (<usize> j << 2), weight = a;
      for (let d = 0; d < k; d++) {
        const w = v128.load32_splat(weight);
        s0 = f32x4.relaxed_madd(w, v128.load(from), s0);
        s1 = f32x4.relaxed_madd(w, v128.load(from, 16), s1);
        s2 = f32x4.relaxed_madd(w, v128.load(from, 32), s2);
        s3 = f32x4.relaxed_madd(w, v128.load(from, 48), s3);
        from += next;
        weight += nextA;
      }
      const to = out + (<usize> j << 2);
      v128.store(to, s0);
      v128.store(to, s1, 16);
      v128.store(to, s2, 32);
      v128.store(to, s3, 48);
    }
    for (; j + 4 <= n; j += 4) {
      let sum = f32x4.splat(0);
      let from = b + (<usize> j << 2), weight = a;
      for (let d = 0; d < k; d++) {
        sum = f32x4.relaxed_madd(v128.load32_splat(weight), v128.load(from), sum);
        from += next;
        weight += nextA;
      }
      v128.store(out + (<usize> j << 2), sum);
    }
  }
  for (; j < n; j++) {
    let sum: f32 = 0;
    let from = b + ((<usize> j * bCol) << 2), weight = a;
    for (let d = 0; d < k; d++) {
      sum += load<f32>(weight) * load<f32>(from);
      from += next;
      weight += nextA;
    }
    store<f32>(out + (<usize> j << 2), sum);
  }
}
