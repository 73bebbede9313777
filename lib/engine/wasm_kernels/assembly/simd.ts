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
