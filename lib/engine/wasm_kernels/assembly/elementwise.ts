// deno-lint-ignore-file
// @ts-nocheck AssemblyScript, not TypeScript: built by `deno task build:wasm`.
//
// Arrays of float32 passed through once, four lanes at a time; the last one to three numbers go through the same lanes.

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

/**
 * e^x in four lanes: x = n·ln 2 + r with n whole and |r| ≤ ln 2 / 2; e^r by its Taylor series up to r⁷/7! (the rest is
 * below 6e-9), times 2ⁿ in two steps, so that results below the smallest normal number and overflow come out right.
 * Beyond [−105, 89] the float32 result is 0 or ∞ all the same. NaN stays NaN.
 */
function exp4(value: v128): v128 {
  const x = f32x4.pmax(f32x4.pmin(value, f32x4.splat(89)), f32x4.splat(-105));
  // Adding 1.5·2²³ rounds to a whole number, which then stands in the lowest bits.
  const rounded = f32x4.relaxed_madd(x, f32x4.splat(1.4426950408889634), f32x4.splat(12582912));
  const whole = i32x4.sub(rounded, i32x4.splat(0x4b400000));
  const n = f32x4.sub(rounded, f32x4.splat(12582912));
  // ln 2 in two parts: the first has so few digits that n times it is exact.
  let r = f32x4.relaxed_madd(n, f32x4.splat(-0.693359375), x);
  r = f32x4.relaxed_madd(n, f32x4.splat(0.00021219444005469057), r);
  let sum = f32x4.relaxed_madd(r, f32x4.splat(1.0 / 5040.0), f32x4.splat(1.0 / 720.0));
  sum = f32x4.relaxed_madd(sum, r, f32x4.splat(1.0 / 120.0));
  sum = f32x4.relaxed_madd(sum, r, f32x4.splat(1.0 / 24.0));
  sum = f32x4.relaxed_madd(sum, r, f32x4.splat(1.0 / 6.0));
  sum = f32x4.relaxed_madd(sum, r, f32x4.splat(0.5));
  sum = f32x4.relaxed_madd(sum, r, f32x4.splat(1));
  sum = f32x4.relaxed_madd(sum, r, f32x4.splat(1));
  const half = i32x4.shr_s(whole, 1);
  return f32x4.mul(f32x4.mul(sum, powerOfTwo(half)), powerOfTwo(i32x4.sub(whole, half)));
}

/** 2ⁿ for −126 ≤ n ≤ 127, by its bits. */
function powerOfTwo(n: v128): v128 {
  return i32x4.shl(i32x4.add(n, i32x4.splat(127)), 23);
}
