// deno-lint-ignore-file
// @ts-nocheck AssemblyScript, not TypeScript: built by `deno task build:wasm`.
//
// One step of a Qwen2 or Llama decoder with a KV cache, for generation on the processor: any tokens of any rows in, the
// distribution of the next token out. A token's numbers depend on its row alone, to the last bit: not on what else is in
// the step, nor on the thread. The memory is shared by threads; each works on items and scratch space of its own. Pointers
// are bytes, counts are elements. No static data: lib/model/host_decoder.ts lays the memory out.
//
// Letters: D width, H heads, K key-value heads, Dh head width, F feed-forward width, V vocabulary, L blocks, C cached
// positions of a slot. A strip is a matrix [out, in] as [out / 8][in][8]; a panel is four rows [rows / 4][in][4].

import { exp4, tiles } from "./simd.ts";

// The model's header: 32-bit fields.
const D: usize = 0, H: usize = 4, K: usize = 8, DH: usize = 12, F: usize = 16, V: usize = 20, L: usize = 24;
const C: usize = 28,
  EPSILON: usize = 32,
  EMBEDDING: usize = 36,
  OUTPUT: usize = 40,
  COS: usize = 44,
  SIN: usize = 48;
const CACHE: usize = 52, BLOCKS: usize = 56;
// A block's fields, from BLOCKS on: pointers to strips and biases (0: none).
const QKV: usize = 0,
  QKV_BIAS: usize = 4,
  O: usize = 8,
  O_BIAS: usize = 12,
  GATE_UP: usize = 16,
  DOWN: usize = 20;
const BLOCK_BYTES: usize = 24;
// An item's fields: a token of the row in `slot` at `position`; whether the distribution after it is wanted.
const SLOT: usize = 4, POSITION: usize = 8, WANTED: usize = 12, ITEM_BYTES: usize = 16;

function roundUp(n: i32, multiple: i32): i32 {
  return (n + multiple - 1) / multiple * multiple;
}

function largestInput(m: usize): i32 {
  return max(max(load<i32>(m, D), load<i32>(m, H) * load<i32>(m, DH)), load<i32>(m, F));
}

function largestOutput(m: usize): i32 {
  const qkv = (load<i32>(m, H) + 2 * load<i32>(m, K)) * load<i32>(m, DH);
  return roundUp(max(qkv, 2 * load<i32>(m, F)), 8);
}

/** Bytes of scratch space for a step of `count` items. */
export function scratchBytes(m: usize, count: i32): usize {
  const rows = roundUp(count, 4);
  const floats = rows * (load<i32>(m, D) + largestInput(m) + largestOutput(m)) +
    rows * load<i32>(m, H) * load<i32>(m, DH) + roundUp(load<i32>(m, C), 8);
  return <usize> floats << 2;
}

/** Bytes of one slot of the cache: for every block and key-value head C keys, and C values. */
export function slotBytes(m: usize): usize {
  return (<usize> (2 * load<i32>(m, L) * load<i32>(m, K)) * load<i32>(m, C) * load<i32>(m, DH)) << 2;
}

/** Lays the matrix from[out, in], each input times scale[in] (0: not scaled), out as strips; missing rows are zeros. */
export function packStrips(from: usize, to: usize, out: i32, width: i32, scale: usize): void {
  for (let o = 0; o < out; o += 8) {
    for (let d = 0; d < width; d++) {
      const factor: f32 = scale == 0 ? 1 : load<f32>(scale + (<usize> d << 2));
      for (let i = 0; i < 8; i++) {
        const at = from + ((<usize> (o + i) * width + d) << 2);
        store<f32>(to, o + i < out ? load<f32>(at) * factor : 0);
        to += 4;
      }
    }
  }
}

/** Copies the first `count` positions of a slot into another. */
export function copySlot(m: usize, from: i32, to: i32, count: i32): void {
  const bytes = slotBytes(m);
  const pitch = (<usize> load<i32>(m, C) * load<i32>(m, DH)) << 2;
  const used = (<usize> count * load<i32>(m, DH)) << 2;
  const source = load<usize>(m, CACHE) + bytes * from, target = load<usize>(m, CACHE) + bytes * to;
  for (let i = 0; i < 2 * load<i32>(m, L) * load<i32>(m, K); i++) {
    memory.copy(target + pitch * i, source + pitch * i, used);
  }
}

/**
 * Sends items through the model. Items of one slot come in the order of their positions, and all that stand before the
 * first of them are in the cache. For the n-th wanted item, softmax(logits · scale) is row n of `p`, whose pitch is V
 * rounded up to 8.
 */
export function forward(m: usize, items: usize, count: i32, scratch: usize, p: usize, scale: f32): void {
  const d = load<i32>(m, D), h = load<i32>(m, H), k = load<i32>(m, K), dh = load<i32>(m, DH);
  const f = load<i32>(m, F), v = load<i32>(m, V), a = h * dh, q = (h + 2 * k) * dh;
  const epsilon = load<f32>(m, EPSILON);
  const rows = roundUp(count, 4), pitch = largestOutput(m);
  const x = scratch;
  const panels = x + (<usize> (rows * d) << 2);
  const wide = panels + (<usize> (rows * largestInput(m)) << 2);
  const attended = wide + (<usize> (rows * pitch) << 2);
  const scores = attended + (<usize> (rows * a) << 2);

  memory.fill(x, 0, <usize> (rows * d) << 2);
  for (let i = 0; i < count; i++) {
    const token = load<i32>(items + ITEM_BYTES * i);
    memory.copy(
      x + (<usize> (i * d) << 2),
      load<usize>(m, EMBEDDING) + (<usize> (token * d) << 2),
      <usize> d << 2,
    );
  }
  for (let l = 0; l < load<i32>(m, L); l++) {
    const block = m + BLOCKS + BLOCK_BYTES * l;
    packNormed(x, panels, rows, d, epsilon);
    product(panels, load<usize>(block, QKV), load<usize>(block, QKV_BIAS), wide, pitch, rows, q, d, false);
    for (let i = 0; i < count; i++) {
      rotateAndStore(m, items + ITEM_BYTES * i, wide + (<usize> (i * pitch) << 2), l);
    }
    for (let i = 0; i < count; i++) {
      attend(
        m,
        items + ITEM_BYTES * i,
        wide + (<usize> (i * pitch) << 2),
        l,
        scores,
        attended + (<usize> (i * a) << 2),
      );
    }
    packRows(attended, panels, rows, a);
    product(panels, load<usize>(block, O), load<usize>(block, O_BIAS), x, d, rows, d, a, true);
    packNormed(x, panels, rows, d, epsilon);
    product(panels, load<usize>(block, GATE_UP), 0, wide, pitch, rows, 2 * f, d, false);
    packGated(wide, pitch, panels, rows, f);
    product(panels, load<usize>(block, DOWN), 0, x, d, rows, d, f, true);
  }

  let wanted = 0;
  for (let i = 0; i < count; i++) {
    if (load<i32>(items + ITEM_BYTES * i, WANTED) == 0) continue;
    if (i != wanted) memory.copy(x + (<usize> (wanted * d) << 2), x + (<usize> (i * d) << 2), <usize> d << 2);
    wanted++;
  }
  const wantedRows = roundUp(wanted, 4), logits = roundUp(v, 8);
  packNormed(x, panels, wantedRows, d, epsilon);
  product(panels, load<usize>(m, OUTPUT), 0, p, logits, wantedRows, v, d, false);
  for (let i = 0; i < wanted; i++) softmax(p + (<usize> (i * logits) << 2), v, scale);
}

/** Panels of x / rms(x): the norm's weights are in the matrix that follows. */
function packNormed(x: usize, to: usize, rows: i32, width: i32, epsilon: f32): void {
  const pitch = <usize> width << 2;
  for (let i = 0; i < rows; i += 4) {
    packFour(
      x,
      pitch,
      to,
      width,
      inverseRms(x, width, epsilon),
      inverseRms(x + pitch, width, epsilon),
      inverseRms(x + 2 * pitch, width, epsilon),
      inverseRms(x + 3 * pitch, width, epsilon),
    );
    x += 4 * pitch;
    to += 4 * pitch;
  }
}

function inverseRms(x: usize, width: i32, epsilon: f32): f32 {
  let s0 = f32x4.splat(0), s1 = s0;
  for (let d = 0; d < width; d += 8) {
    const a = v128.load(x), b = v128.load(x, 16);
    s0 = f32x4.relaxed_madd(a, a, s0);
    s1 = f32x4.relaxed_madd(b, b, s1);
    x += 32;
  }
  return 1 / sqrt<f32>(sumOf(f32x4.add(s0, s1)) / <f32> width + epsilon);
}

function sumOf(x: v128): f32 {
  return (f32x4.extract_lane(x, 0) + f32x4.extract_lane(x, 1)) +
    (f32x4.extract_lane(x, 2) + f32x4.extract_lane(x, 3));
}

function packRows(x: usize, to: usize, rows: i32, width: i32): void {
  const pitch = <usize> width << 2;
  for (let i = 0; i < rows; i += 4) {
    packFour(x, pitch, to, width, 1, 1, 1, 1);
    x += 4 * pitch;
    to += 4 * pitch;
  }
}

function packFour(x: usize, pitch: usize, to: usize, width: i32, f0: f32, f1: f32, f2: f32, f3: f32): void {
  const s0 = f32x4.splat(f0), s1 = f32x4.splat(f1), s2 = f32x4.splat(f2), s3 = f32x4.splat(f3);
  for (let d = 0; d < width; d += 4) {
    storeColumns(
      to,
      f32x4.mul(v128.load(x), s0),
      f32x4.mul(v128.load(x + pitch), s1),
      f32x4.mul(v128.load(x + 2 * pitch), s2),
      f32x4.mul(v128.load(x + 3 * pitch), s3),
    );
    x += 16;
    to += 64;
  }
}

/** Stores the transpose of four rows of four. */
function storeColumns(to: usize, r0: v128, r1: v128, r2: v128, r3: v128): void {
  const lo01 = v128.shuffle<i32>(r0, r1, 0, 4, 1, 5), hi01 = v128.shuffle<i32>(r0, r1, 2, 6, 3, 7);
  const lo23 = v128.shuffle<i32>(r2, r3, 0, 4, 1, 5), hi23 = v128.shuffle<i32>(r2, r3, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<i64>(lo01, lo23, 0, 2));
  v128.store(to, v128.shuffle<i64>(lo01, lo23, 1, 3), 16);
  v128.store(to, v128.shuffle<i64>(hi01, hi23, 0, 2), 32);
  v128.store(to, v128.shuffle<i64>(hi01, hi23, 1, 3), 48);
}

/** Panels of silu(gate) · up = gate / (1 + e^−gate) · up; a row of `wide` is gate[F], up[F]. */
function packGated(wide: usize, pitch: i32, to: usize, rows: i32, width: i32): void {
  const next = <usize> pitch << 2, up = <usize> width << 2;
  for (let i = 0; i < rows; i += 4) {
    let at = wide + next * i;
    for (let d = 0; d < width; d += 4) {
      const r1 = at + next, r2 = r1 + next, r3 = r2 + next;
      storeColumns(
        to,
        gated(v128.load(at), v128.load(at + up)),
        gated(v128.load(r1), v128.load(r1 + up)),
        gated(v128.load(r2), v128.load(r2 + up)),
        gated(v128.load(r3), v128.load(r3 + up)),
      );
      at += 16;
      to += 64;
    }
  }
}

function gated(gate: v128, up: v128): v128 {
  return f32x4.div(f32x4.mul(gate, up), f32x4.add(f32x4.splat(1), exp4(f32x4.neg(gate))));
}

/** out[rows, n] = (add ? out : 0) + panels · stripsᵀ + bias; `pitch` is the distance of two rows of out. */
function product(
  panels: usize,
  strips: usize,
  bias: usize,
  out: usize,
  pitch: i32,
  rows: i32,
  n: i32,
  depth: i32,
  add: bool,
): void {
  const panelBytes = <usize> depth << 4, next = <usize> pitch << 2;
  for (let j = 0; j < n; j += 8) {
    tiles(
      rows >> 2,
      panels,
      panelBytes,
      strips,
      out + (<usize> j << 2),
      4 * next,
      next,
      depth,
      bias != 0 ? bias + (<usize> j << 2) : 0,
      add,
    );
    strips += 2 * panelBytes;
  }
}

/** Where a slot's keys of a key-value head stand; its values stand K heads further. */
function keysAt(m: usize, slot: i32, l: i32, head: i32): usize {
  const heads = load<i32>(m, K), bytes = (<usize> load<i32>(m, C) * load<i32>(m, DH)) << 2;
  return load<usize>(m, CACHE) + slotBytes(m) * slot + bytes * (2 * l * heads + head);
}

/** Rotates an item's queries and keys (rotary positions, arXiv 2104.09864, halves as Llama has them), and caches its keys and values. */
function rotateAndStore(m: usize, item: usize, qkv: usize, l: i32): void {
  const h = load<i32>(m, H), k = load<i32>(m, K), dh = load<i32>(m, DH), half = dh >> 1;
  const position = load<i32>(item, POSITION), bytes = <usize> dh << 2;
  const angles = <usize> (position * half) << 2, far = <usize> half << 2;
  const cos = load<usize>(m, COS) + angles, sin = load<usize>(m, SIN) + angles;
  let head = qkv;
  for (let i = 0; i < h + k; i++) {
    for (let j: usize = 0; j < far; j += 4) {
      const first = load<f32>(head + j), second = load<f32>(head + far + j);
      const c = load<f32>(cos + j), s = load<f32>(sin + j);
      store<f32>(head + j, first * c - second * s);
      store<f32>(head + far + j, second * c + first * s);
    }
    head += bytes;
  }
  const between = (<usize> (k * load<i32>(m, C)) * dh) << 2;
  for (let i = 0; i < k; i++) {
    const to = keysAt(m, load<i32>(item, SLOT), l, i) + bytes * position;
    memory.copy(to, qkv + bytes * (h + i), bytes);
    memory.copy(to + between, qkv + bytes * (h + k + i), bytes);
  }
}

/** Attention of one item to all positions of its slot up to its own; queries are scaled already. */
function attend(m: usize, item: usize, qkv: usize, l: i32, scores: usize, out: usize): void {
  const h = load<i32>(m, H), k = load<i32>(m, K), dh = load<i32>(m, DH), group = h / k;
  const count = load<i32>(item, POSITION) + 1, bytes = <usize> dh << 2;
  const between = (<usize> (k * load<i32>(m, C)) * dh) << 2;
  for (let i = 0; i < h; i++) {
    const keys = keysAt(m, load<i32>(item, SLOT), l, i / group);
    scoreKeys(qkv + bytes * i, keys, dh, count, scores);
    const total = exponentials(scores, count);
    sumValues(scores, keys + between, dh, count, 1 / total, out + bytes * i);
  }
}

/** scores[c] = q · key[c], eight at a time; those beyond `count`, up to a multiple of 8, become very small. */
function scoreKeys(q: usize, keys: usize, width: i32, count: i32, scores: usize): void {
  const next = <usize> width << 2;
  for (let c = 0; c < count; c += 8) {
    let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
    const k1 = keys + next, k2 = k1 + next, k3 = k2 + next, k4 = k3 + next, k5 = k4 + next, k6 = k5 + next;
    const k7 = k6 + next;
    for (let d: usize = 0; d < next; d += 16) {
      const part = v128.load(q + d);
      s0 = f32x4.relaxed_madd(part, v128.load(keys + d), s0);
      s1 = f32x4.relaxed_madd(part, v128.load(k1 + d), s1);
      s2 = f32x4.relaxed_madd(part, v128.load(k2 + d), s2);
      s3 = f32x4.relaxed_madd(part, v128.load(k3 + d), s3);
      s4 = f32x4.relaxed_madd(part, v128.load(k4 + d), s4);
      s5 = f32x4.relaxed_madd(part, v128.load(k5 + d), s5);
      s6 = f32x4.relaxed_madd(part, v128.load(k6 + d), s6);
      s7 = f32x4.relaxed_madd(part, v128.load(k7 + d), s7);
    }
    v128.store(scores + (<usize> c << 2), sumsOf(s0, s1, s2, s3));
    v128.store(scores + (<usize> c << 2), sumsOf(s4, s5, s6, s7), 16);
    keys = k7 + next;
  }
  for (let c = count; (c & 7) != 0; c++) store<f32>(scores + (<usize> c << 2), -1e30);
}

/** The sums of four vectors' lanes. */
function sumsOf(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.add(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<i64>(ab, cd, 0, 2), v128.shuffle<i64>(ab, cd, 1, 3));
}

/** scores = e^(scores − max), up to a multiple of 8; returns their sum. */
function exponentials(scores: usize, count: i32): f32 {
  let top = f32x4.splat(-1e30);
  for (let c = 0; c < count; c += 4) top = f32x4.max(top, v128.load(scores + (<usize> c << 2)));
  const highest = f32x4.splat(highestOf(top));
  let sum = f32x4.splat(0);
  for (let c = 0; c < count; c += 4) {
    const e = exp4(f32x4.sub(v128.load(scores + (<usize> c << 2)), highest));
    v128.store(scores + (<usize> c << 2), e);
    sum = f32x4.add(sum, e);
  }
  return sumOf(sum);
}

function highestOf(x: v128): f32 {
  return max(
    max(f32x4.extract_lane(x, 0), f32x4.extract_lane(x, 1)),
    max(f32x4.extract_lane(x, 2), f32x4.extract_lane(x, 3)),
  );
}

/** out = factor · Σ_c weights[c] · value[c]: sixteen lanes of two positions at a time, then what is left in fours. */
function sumValues(weights: usize, values: usize, width: i32, count: i32, factor: f32, out: usize): void {
  const next = <usize> width << 2, scale = f32x4.splat(factor);
  let d = 0;
  for (; d + 16 <= width; d += 16) {
    let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0, t0 = s0, t1 = s0, t2 = s0, t3 = s0;
    let weight = weights, value = values + (<usize> d << 2);
    let c = 0;
    for (; c + 2 <= count; c += 2) {
      const w = v128.load32_splat(weight), u = v128.load32_splat(weight, 4);
      const second = value + next;
      s0 = f32x4.relaxed_madd(w, v128.load(value), s0);
      s1 = f32x4.relaxed_madd(w, v128.load(value, 16), s1);
      s2 = f32x4.relaxed_madd(w, v128.load(value, 32), s2);
      s3 = f32x4.relaxed_madd(w, v128.load(value, 48), s3);
      t0 = f32x4.relaxed_madd(u, v128.load(second), t0);
      t1 = f32x4.relaxed_madd(u, v128.load(second, 16), t1);
      t2 = f32x4.relaxed_madd(u, v128.load(second, 32), t2);
      t3 = f32x4.relaxed_madd(u, v128.load(second, 48), t3);
      weight += 8;
      value = second + next;
    }
    if (c < count) {
      const w = v128.load32_splat(weight);
      s0 = f32x4.relaxed_madd(w, v128.load(value), s0);
      s1 = f32x4.relaxed_madd(w, v128.load(value, 16), s1);
      s2 = f32x4.relaxed_madd(w, v128.load(value, 32), s2);
      s3 = f32x4.relaxed_madd(w, v128.load(value, 48), s3);
    }
    const to = out + (<usize> d << 2);
    v128.store(to, f32x4.mul(f32x4.add(s0, t0), scale));
    v128.store(to, f32x4.mul(f32x4.add(s1, t1), scale), 16);
    v128.store(to, f32x4.mul(f32x4.add(s2, t2), scale), 32);
    v128.store(to, f32x4.mul(f32x4.add(s3, t3), scale), 48);
  }
  for (; d < width; d += 4) {
    let sum = f32x4.splat(0);
    let value = values + (<usize> d << 2);
    for (let c = 0; c < count; c++) {
      sum = f32x4.relaxed_madd(v128.load32_splat(weights + (<usize> c << 2)), v128.load(value), sum);
      value += next;
    }
    v128.store(out + (<usize> d << 2), f32x4.mul(sum, scale));
  }
}

/** A row's logits become softmax(logits · scale); lanes beyond `count`, up to a multiple of 4, become 0. */
function softmax(row: usize, count: i32, scale: f32): void {
  const factor = f32x4.splat(scale);
  for (let c = count; (c & 3) != 0; c++) store<f32>(row + (<usize> c << 2), -1e30);
  for (let c = 0; c < count; c += 4) {
    const at = row + (<usize> c << 2);
    v128.store(at, f32x4.mul(v128.load(at), factor));
  }
  const share = f32x4.splat(1 / exponentials(row, count));
  for (let c = 0; c < count; c += 4) {
    const at = row + (<usize> c << 2);
    v128.store(at, f32x4.mul(v128.load(at), share));
  }
}
