// deno-lint-ignore-file
// @ts-nocheck AssemblyScript, not TypeScript: built by `deno task build:wasm`.
//
// Arrays of float32 passed through once, four lanes at a time; the last one to three numbers go through the same lanes.

import { exp4 } from "./simd.ts";

/** to[i] = e^from[i]. */
export function exp(from: usize, to: usize, count: i32): void {
  let i = 0;
  for (; i + 4 <= count; i += 4) v128.store(to + (<usize> i << 2), exp4(v128.load(from + (<usize> i << 2))));
  for (; i < count; i++) {
    store<f32>(
      to + (<usize> i << 2),
      f32x4.extract_lane(exp4(v128.load32_splat(from + (<usize> i << 2))), 0),
    );
  }
}

/** out[i] = the larger of a[i] and b[i], NaN where either is. */
export function maximum(a: usize, b: usize, out: usize, count: i32): void {
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const at = <usize> i << 2;
    v128.store(out + at, f32x4.max(v128.load(a + at), v128.load(b + at)));
  }
  for (; i < count; i++) {
    const at = <usize> i << 2;
    store<f32>(out + at, max<f32>(load<f32>(a + at), load<f32>(b + at)));
  }
}

/** out[i] = the smaller of a[i] and b[i], NaN where either is. */
export function minimum(a: usize, b: usize, out: usize, count: i32): void {
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const at = <usize> i << 2;
    v128.store(out + at, f32x4.min(v128.load(a + at), v128.load(b + at)));
  }
  for (; i < count; i++) {
    const at = <usize> i << 2;
    store<f32>(out + at, min<f32>(load<f32>(a + at), load<f32>(b + at)));
  }
}

/** to[i] = from[i] kept between low and high, NaN where it is NaN. */
export function clip(from: usize, to: usize, count: i32, low: f32, high: f32): void {
  const lows = f32x4.splat(low), highs = f32x4.splat(high);
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const at = <usize> i << 2;
    v128.store(to + at, f32x4.min(f32x4.max(v128.load(from + at), lows), highs));
  }
  for (; i < count; i++) {
    const at = <usize> i << 2;
    store<f32>(to + at, min<f32>(max<f32>(load<f32>(from + at), low), high));
  }
}

/** out[r] = Σ_c x[r,c]; x is [rows, columns]. */
export function sumRows(x: usize, out: usize, rows: i32, columns: i32): void {
  for (let r = 0; r < rows; r++) {
    let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
    let c = 0;
    for (; c + 16 <= columns; c += 16) {
      s0 = f32x4.add(s0, v128.load(x));
      s1 = f32x4.add(s1, v128.load(x, 16));
      s2 = f32x4.add(s2, v128.load(x, 32));
      s3 = f32x4.add(s3, v128.load(x, 48));
      x += 64;
    }
    s0 = f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3));
    let sum = (f32x4.extract_lane(s0, 0) + f32x4.extract_lane(s0, 1)) +
      (f32x4.extract_lane(s0, 2) + f32x4.extract_lane(s0, 3));
    for (; c < columns; c++) {
      sum += load<f32>(x);
      x += 4;
    }
    store<f32>(out + (<usize> r << 2), sum);
  }
}

/** out[c] = Σ_r x[r,c]; x is [rows, columns]. */
export function sumColumns(x: usize, out: usize, rows: i32, columns: i32): void {
  memory.fill(out, 0, <usize> columns << 2);
  for (let r = 0; r < rows; r++) {
    let c = 0;
    for (; c + 4 <= columns; c += 4) {
      const to = out + (<usize> c << 2);
      v128.store(to, f32x4.add(v128.load(to), v128.load(x)));
      x += 16;
    }
    for (; c < columns; c++) {
      const to = out + (<usize> c << 2);
      store<f32>(to, load<f32>(to) + load<f32>(x));
      x += 4;
    }
  }
}
