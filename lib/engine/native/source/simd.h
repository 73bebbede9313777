// Vectors of eight floats, and what all kernels need. Written for clang's vector extensions, so that nothing names an
// instruction; built for processors with AVX2 and FMA by `deno task build:native`.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef float f8 __attribute__((vector_size(32)));
typedef int32_t i8 __attribute__((vector_size(32)));
typedef f8 f8_unaligned __attribute__((aligned(4)));

#define INLINE static inline __attribute__((always_inline))

INLINE f8 load8(const float *from) { return *(const f8_unaligned *)from; }
INLINE void store8(float *to, f8 x) { *(f8_unaligned *)to = x; }
INLINE f8 all8(float x) { return (f8){x, x, x, x, x, x, x, x}; }
INLINE f8 max8(f8 a, f8 b) { return __builtin_elementwise_max(a, b); }
// a where the mask, the result of a comparison, is set; else b.
INLINE f8 choose8(i8 mask, f8 a, f8 b) { return (f8)((mask & (i8)a) | (~mask & (i8)b)); }
INLINE f8 sqrt8(f8 x) { return __builtin_elementwise_sqrt(x); }

INLINE float sum_of(f8 x) { return ((x[0] + x[4]) + (x[1] + x[5])) + ((x[2] + x[6]) + (x[3] + x[7])); }

INLINE float highest_of(f8 x) {
  float top = x[0];
  for (int i = 1; i < 8; i++) top = x[i] > top ? x[i] : top;
  return top;
}

// e^x: x = n·ln 2 + r with n whole and |r| ≤ ln 2 / 2; e^r by its Taylor series up to r⁷/7! (the rest is below 6e-9),
// times 2ⁿ. Below −87.3, where the result is no normal number any more, 0; above 88.7 infinity; NaN stays NaN.
INLINE f8 exp8(f8 x) {
  const f8 low = all8(-87.3f), high = all8(88.7f);
  const f8 y = __builtin_elementwise_min(__builtin_elementwise_max(x, low), high);
  // Adding 1.5·2²³ rounds to a whole number, which then stands in the lowest bits.
  const f8 rounded = y * all8(1.4426950408889634f) + all8(12582912.f);
  const i8 whole = (i8)rounded - 0x4b400000;
  const f8 n = rounded - all8(12582912.f);
  // ln 2 in two parts: the first has so few digits that n times it is exact.
  f8 r = n * all8(-0.693359375f) + y;
  r = n * all8(0.00021219444005469057f) + r;
  f8 sum = r * all8(1.f / 5040) + all8(1.f / 720);
  sum = sum * r + all8(1.f / 120);
  sum = sum * r + all8(1.f / 24);
  sum = sum * r + all8(1.f / 6);
  sum = sum * r + all8(.5f);
  sum = sum * r + all8(1);
  sum = sum * r + all8(1);
  const f8 power = (f8)((whole + 127) << 23);
  const f8 result = sum * power;
  const f8 in_range = choose8(x < low, all8(0), choose8(x > high, all8(__builtin_inff()), result));
  return choose8(x != x, x, in_range);
}

// Loads the first `count` ≤ 8 numbers, `rest` in the other lanes.
INLINE f8 load_some(const float *from, long count, float rest) {
  if (count >= 8) return load8(from);
  f8 x = all8(rest);
  for (long i = 0; i < count; i++) x[i] = from[i];
  return x;
}

// The same where eight numbers may be read, whatever stands beyond.
INLINE f8 load_first(const float *from, long count, float rest) {
  const i8 lanes = {0, 1, 2, 3, 4, 5, 6, 7}, limit = (i8){} + (int32_t)(count < 8 ? count : 8);
  return choose8(lanes < limit, load8(from), all8(rest));
}

INLINE void store_some(float *to, long count, f8 x) {
  if (count >= 8) store8(to, x);
  else for (long i = 0; i < count; i++) to[i] = x[i];
}

INLINE long least(long a, long b) { return a < b ? a : b; }
INLINE long round_up(long n, long multiple) { return (n + multiple - 1) / multiple * multiple; }
