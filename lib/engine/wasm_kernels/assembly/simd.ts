// deno-lint-ignore-file
// @ts-nocheck AssemblyScript, not TypeScript: built by `deno task build:wasm`.
//
// What several modules need; not an entry file, so that nothing of it is exported from the binary.

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

/** A tile of 4 × 8: c = (add ? c : 0) + start + Σ_d a[d,·] ⊗ b[d,·]; `pitch` is the distance of two rows of c in bytes. */
export function tile(
  a: usize,
  b: usize,
  c: usize,
  pitch: usize,
  depth: i32,
  start0: v128,
  start1: v128,
  add: bool,
): void {
  let c00 = start0, c01 = start1, c10 = start0, c11 = start1;
  let c20 = start0, c21 = start1, c30 = start0, c31 = start1;
  for (let d = 0; d < depth; d++) {
    const b0 = v128.load(b), b1 = v128.load(b, 16), rows = v128.load(a);
    let row = v128.shuffle<i32>(rows, rows, 0, 0, 0, 0);
    c00 = f32x4.relaxed_madd(row, b0, c00);
    c01 = f32x4.relaxed_madd(row, b1, c01);
    row = v128.shuffle<i32>(rows, rows, 1, 1, 1, 1);
    c10 = f32x4.relaxed_madd(row, b0, c10);
    c11 = f32x4.relaxed_madd(row, b1, c11);
    row = v128.shuffle<i32>(rows, rows, 2, 2, 2, 2);
    c20 = f32x4.relaxed_madd(row, b0, c20);
    c21 = f32x4.relaxed_madd(row, b1, c21);
    row = v128.shuffle<i32>(rows, rows, 3, 3, 3, 3);
    c30 = f32x4.relaxed_madd(row, b0, c30);
    c31 = f32x4.relaxed_madd(row, b1, c31);
    a += 16;
    b += 32;
  }
  const r1 = c + pitch, r2 = r1 + pitch, r3 = r2 + pitch;
  if (add) {
    c00 = f32x4.add(c00, v128.load(c));
    c01 = f32x4.add(c01, v128.load(c, 16));
    c10 = f32x4.add(c10, v128.load(r1));
    c11 = f32x4.add(c11, v128.load(r1, 16));
    c20 = f32x4.add(c20, v128.load(r2));
    c21 = f32x4.add(c21, v128.load(r2, 16));
    c30 = f32x4.add(c30, v128.load(r3));
    c31 = f32x4.add(c31, v128.load(r3, 16));
  }
  v128.store(c, c00);
  v128.store(c, c01, 16);
  v128.store(r1, c10);
  v128.store(r1, c11, 16);
  v128.store(r2, c20);
  v128.store(r2, c21, 16);
  v128.store(r3, c30);
  v128.store(r3, c31, 16);
}
