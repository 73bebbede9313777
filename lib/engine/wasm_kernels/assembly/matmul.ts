// deno-lint-ignore-file
// @ts-nocheck AssemblyScript, not TypeScript: built by `deno task build:wasm`.
//
// A single-precision matrix product with 128-bit SIMD, in blocks after Goto & van de Geijn, "Anatomy of high-performance matrix
// multiplication" (2008): B is packed in panels, 16 columns wide and DEPTH deep, each of which is then copied to one place,
// where an inner kernel multiplies it by two or four rows of A at a time, whose sums stay in registers. Rows of A are read as
// they lie; those of a transposed A are packed, what is left of a depth that is no multiple of 8, and what meets many panels in
// wide tiles. Pointers are bytes, counts and strides are elements. No static data, no allocation: this module shares tfjs's
// heap and owns none of it but the scratch space it is given.

// Imported, see ../panel_module.ts: the panel's place and its depth, the inner kernels, and whether tiles are wide.
declare const PANEL: usize;
declare const DEPTH: i32;
declare const WIDE: bool;
declare function narrow(
  a: usize,
  aPitch: usize,
  tiles: i32,
  deep: i32,
  from: usize,
  fromPitch: usize,
  c: usize,
  cPitch: usize,
): void;
declare function wide(
  a: usize,
  aPitch: usize,
  tiles: i32,
  deep: i32,
  from: usize,
  fromPitch: usize,
  c: usize,
  cPitch: usize,
): void;

const WIDTH: i32 = 16; // columns of a panel
const MC: i32 = 256; // rows of A that meet a panel
const KC: i32 = 256; // depth of these rows, which stay in L2 meanwhile (256 KB)
const NC: i32 = 1024; // columns of B that are packed at a time (1 MB)
const ROW: usize = 4 * WIDTH; // bytes of a panel's row
const SUMS: usize = ROW * MC;
const LINE: usize = 64; // bytes between the panels of 16 columns and the next: powers of 2 apart, lines would share a place in L1
const PACKED_B: usize = (ROW * KC + LINE) * (NC / WIDTH);
const PACKED_A: usize = 4 * MC * KC;

/** Bytes of scratch space that `matmul` needs. */
export function scratchBytes(): usize {
  return SUMS + PACKED_A + PACKED_B;
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
      if (bias != 0) addBias(c, bias, m, n);
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
  const sums = scratch, packedA = sums + SUMS, packedB = packedA + PACKED_A;
  const pitch = <usize> n << 2;
  for (let k0 = 0; k0 < k; k0 += KC) {
    const kc = min(KC, k - k0);
    for (let j0 = 0; j0 < n; j0 += NC) {
      const nc = min(NC, n - j0), next = ROW * padded(kc) + LINE;
      packPanels(b + ((<usize> k0 * bRow + <usize> j0 * bCol) << 2), bRow, bCol, packedB, next, kc, nc);
      for (let i0 = 0; i0 < m; i0 += MC) {
        const mc = min(MC, m - i0);
        const rows = a + ((<usize> i0 * aRow + <usize> k0 * aCol) << 2);
        // So many numbers of each row are read as they lie: none of a transposed A or where wide tiles meet many panels, else
        // all but a last piece that is no multiple of 8.
        const lying = aCol != 1 || (WIDE && n > 256) ? 0 : kc & 7 ? kc & -DEPTH : kc;
        packRows(
          rows + (<usize> (lying * aCol) << 2),
          aRow,
          aCol,
          packedA + (<usize> (lying * mc) << 2),
          mc,
          kc - lying,
        );
        for (let j = 0; j < nc; j += WIDTH) {
          const columns = min(WIDTH, nc - j), to = c + <usize> i0 * pitch + (<usize> (j0 + j) << 2);
          let from = k0 > 0 ? to : bias != 0 ? bias + (<usize> (j0 + j) << 2) : 0,
            fromPitch = k0 > 0 ? pitch : 0;
          if (columns < WIDTH && from != 0) {
            copyRows(from, fromPitch, sums, ROW, mc, columns);
            from = sums;
            fromPitch = ROW;
          }
          let panel = packedB + <usize> (j / WIDTH) * next;
          for (let d = 0; d < kc; d += DEPTH) {
            const deep = padded(min(DEPTH, kc - d)), ends = d + DEPTH >= kc && columns == WIDTH;
            memory.copy(PANEL, panel, ROW * deep);
            const at = ends ? to : sums, atPitch = ends ? pitch : ROW;
            const here = d < lying ? rows + (<usize> d << 2) : packedA + (<usize> (d * mc) << 2);
            const herePitch = d < lying ? <usize> aRow << 2 : 4 * DEPTH;
            timesPanel(here, herePitch, mc, deep, from, fromPitch, at, atPitch);
            from = sums;
            fromPitch = ROW;
            panel += ROW * DEPTH;
          }
          if (columns < WIDTH) copyRows(sums, ROW, to, pitch, mc, columns);
        }
      }
    }
  }
}

/** c[rows, 16] = from[rows, 16] + a[rows, deep] · panel[deep, 16], see `PanelKernels`. */
function timesPanel(
  a: usize,
  aPitch: usize,
  rows: i32,
  deep: i32,
  from: usize,
  fromPitch: usize,
  c: usize,
  pitch: usize,
): void {
  if (WIDE && rows >= 4) {
    wide(a, aPitch, rows >> 2, deep, from, fromPitch, c, pitch);
    const before = <usize> (rows & -4);
    a += before * aPitch;
    from += before * fromPitch;
    c += before * pitch;
    rows &= 3;
  }
  if (rows >= 2) narrow(a, aPitch, rows >> 1, deep, from, fromPitch, c, pitch);
  if (rows & 1) { // the last row alone is both of a tile
    const before = <usize> (rows - 1);
    narrow(a + before * aPitch, 0, 1, deep, from + before * fromPitch, 0, c + before * pitch, 0);
  }
}

/**
 * Packs B in panels: those of the same columns one after the other, those of the next 16 `next` bytes further; zeros stand
 * beyond the last column, and below the last row to the next multiple of 8. Rows that lie in one piece are read from end to
 * end.
 */
function packPanels(b: usize, bRow: i32, bCol: i32, to: usize, next: usize, depth: i32, columns: i32): void {
  const whole = bCol == 1 ? columns & -WIDTH : 0;
  for (let d = 0; d < depth; d++) {
    let from = b + ((<usize> d * bRow) << 2), at = to + <usize> d * ROW;
    for (let j = 0; j < whole; j += WIDTH) {
      v128.store(at, v128.load(from));
      v128.store(at, v128.load(from, 16), 16);
      v128.store(at, v128.load(from, 32), 32);
      v128.store(at, v128.load(from, 48), 48);
      from += ROW;
      at += next;
    }
  }
  for (let j = 0; j < columns; j += WIDTH) {
    const panel = to + <usize> (j / WIDTH) * next;
    for (let i = j < whole ? WIDTH : 0; i < WIDTH; i += 4) {
      const from = b + ((<usize> (j + i) * bCol) << 2);
      packFour(from, panel + (<usize> i << 2), ROW, depth, bCol, bRow, min(4, columns - j - i));
    }
    memory.fill(panel + <usize> depth * ROW, 0, ROW * (-depth & 7));
  }
}

/** Packs rows of A, DEPTH numbers of each, then the next DEPTH; zeros are behind the last to the next multiple of 8. */
function packRows(a: usize, aRow: i32, aCol: i32, to: usize, rows: i32, depth: i32): void {
  for (let d0 = 0; d0 < depth; d0 += DEPTH) {
    const deep = min(DEPTH, depth - d0);
    for (let d = 0; d < padded(deep); d += 4) {
      const from = a + ((<usize> (d0 + d) * aCol) << 2);
      packFour(from, to + (<usize> d << 2), 4 * DEPTH, rows, aCol, aRow, min(4, deep - d));
    }
    to += 4 * DEPTH * rows;
  }
}

/** The next multiple of 8. */
function padded(depth: i32): i32 {
  return (depth + 7) & -8;
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
  if (lanes == 4 && laneStride == 1) {
    for (; d < depth; d++) {
      v128.store(to, v128.load(from));
      from += next;
      to += pitch;
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

/** Copies `wide` numbers of each row, rows `fromPitch` and `pitch` bytes apart. */
function copyRows(from: usize, fromPitch: usize, to: usize, pitch: usize, rows: i32, wide: i32): void {
  for (let i = 0; i < rows; i++) {
    for (let j: usize = 0; j < <usize> wide << 2; j += 4) store<f32>(to + j, load<f32>(from + j));
    from += fromPitch;
    to += pitch;
  }
}

/** c[rows, n] += bias[n]. */
function addBias(c: usize, bias: usize, rows: i32, n: i32): void {
  for (let i = 0; i < rows; i++) {
    for (let j: usize = 0; j < <usize> n << 2; j += 4) {
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
