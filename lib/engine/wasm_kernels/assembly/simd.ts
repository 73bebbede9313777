// deno-lint-ignore-file
// @ts-nocheck AssemblyScript, not TypeScript: built by `deno task build:wasm`.
//
// What kernels are made of; not an entry file, so that nothing of it is exported from the binary.

/**
 * e^x in four lanes: x = n·ln 2 + r with n whole and |r| ≤ ln 2 / 2; e^r by its Taylor series up to r⁷/7! (the rest is
 * below 6e-9), times 2ⁿ in two steps, so that results below the smallest normal number and overflow come out right.
 * Beyond [−105, 89] the float32 result is 0 or ∞ all the same. NaN stays NaN.
 */
export function exp4(value: v128): v128 {
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

/**
 * `count` tiles of 4 × 8: c = (add ? c : 0) + start[·] + Σ_d a[d,·] ⊗ b[d,·], where `start` may be 0 for none; `pitch` is the
 * distance of two rows of c in bytes, `aNext` and `cNext` that of two tiles, which share b and `start`.
 *
 * The four rows are not spread over vectors one by one, since processors spread where they multiply: a is turned by 0 to 3
 * rows instead, and lane l of s_k, turned by k, adds up c[(l + k) mod 4][l].
 */
export function tiles(
  count: i32,
  a: usize,
  aNext: usize,
  b: usize,
  c: usize,
  cNext: usize,
  pitch: usize,
  depth: i32,
  start: usize,
  add: bool,
): void {
  const bytes = <usize> depth << 4;
  for (let i = 0; i < count; i++) {
    let s00 = f32x4.splat(0), s01 = s00;
    if (start != 0) {
      s00 = v128.load(start);
      s01 = v128.load(start, 16);
    }
    let s10 = s00, s11 = s01, s20 = s00, s21 = s01, s30 = s00, s31 = s01;
    let from = a, panel = b;
    for (const end = a + bytes; from < end;) {
      const b0 = v128.load(panel), b1 = v128.load(panel, 16);
      let rows = v128.load(from);
      s00 = f32x4.relaxed_madd(rows, b0, s00);
      s01 = f32x4.relaxed_madd(rows, b1, s01);
      let next = v128.shuffle<i32>(rows, rows, 1, 2, 3, 0);
      s10 = f32x4.relaxed_madd(next, b0, s10);
      s11 = f32x4.relaxed_madd(next, b1, s11);
      rows = v128.shuffle<i32>(rows, rows, 2, 3, 0, 1);
      s20 = f32x4.relaxed_madd(rows, b0, s20);
      s21 = f32x4.relaxed_madd(rows, b1, s21);
      next = v128.shuffle<i32>(rows, rows, 1, 2, 3, 0);
      s30 = f32x4.relaxed_madd(next, b0, s30);
      s31 = f32x4.relaxed_madd(next, b1, s31);
      from += 16;
      panel += 32;
    }
    storeTile(s00, s10, s20, s30, s01, s11, s21, s31, c, pitch, add);
    a += aNext;
    c += cNext;
  }
}

/** Row i of the first four columns of a tile has lane l of s_k, k = (i − l) mod 4; of the other four it has t's. */
function storeTile(
  s0: v128,
  s1: v128,
  s2: v128,
  s3: v128,
  t0: v128,
  t1: v128,
  t2: v128,
  t3: v128,
  c: usize,
  pitch: usize,
  add: bool,
): void {
  let even0 = v128.shuffle<i32>(s0, s2, 0, 1, 6, 7), even2 = v128.shuffle<i32>(s2, s0, 0, 1, 6, 7);
  let odd1 = v128.shuffle<i32>(s1, s3, 0, 1, 6, 7), odd3 = v128.shuffle<i32>(s3, s1, 0, 1, 6, 7);
  const r1 = c + pitch, r2 = r1 + pitch, r3 = r2 + pitch;
  storeFour(v128.shuffle<i32>(even0, odd3, 0, 5, 2, 7), c, add);
  storeFour(v128.shuffle<i32>(odd1, even0, 0, 5, 2, 7), r1, add);
  storeFour(v128.shuffle<i32>(even2, odd1, 0, 5, 2, 7), r2, add);
  storeFour(v128.shuffle<i32>(odd3, even2, 0, 5, 2, 7), r3, add);
  even0 = v128.shuffle<i32>(t0, t2, 0, 1, 6, 7);
  even2 = v128.shuffle<i32>(t2, t0, 0, 1, 6, 7);
  odd1 = v128.shuffle<i32>(t1, t3, 0, 1, 6, 7);
  odd3 = v128.shuffle<i32>(t3, t1, 0, 1, 6, 7);
  storeFour(v128.shuffle<i32>(even0, odd3, 0, 5, 2, 7), c + 16, add);
  storeFour(v128.shuffle<i32>(odd1, even0, 0, 5, 2, 7), r1 + 16, add);
  storeFour(v128.shuffle<i32>(even2, odd1, 0, 5, 2, 7), r2 + 16, add);
  storeFour(v128.shuffle<i32>(odd3, even2, 0, 5, 2, 7), r3 + 16, add);
}

function storeFour(four: v128, c: usize, add: bool): void {
  v128.store(c, add ? f32x4.add(four, v128.load(c)) : four);
}
