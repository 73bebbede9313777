// Vectors of 16 floats, and what all kernels need. Written for clang's vector extensions, so that hardly anything names an
// instruction; `deno task build:native` compiles it for processors with AVX-512, for those with AVX2 and FMA, where a vector
// takes two registers, and for WebAssembly, where it takes four. Sums are made in the same order everywhere.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { lanes = 16 };

typedef float floats __attribute__((ext_vector_type(lanes)));
typedef int32_t ints __attribute__((ext_vector_type(lanes)));
typedef floats unaligned __attribute__((aligned(4)));

// Half a vector, where numbers are moved.
typedef float eight __attribute__((vector_size(32)));
typedef eight eight_unaligned __attribute__((aligned(4)));

#define INLINE static inline __attribute__((always_inline))

INLINE floats load(const float *from) { return *(const unaligned *)from; }
INLINE void store(float *to, floats x) { *(unaligned *)to = x; }
INLINE floats splat(float x) { return (floats)x; }
INLINE floats maximum(floats a, floats b) { return a > b ? a : b; }
INLINE floats minimum(floats a, floats b) { return a < b ? a : b; }
INLINE floats vector_sqrt(floats x) { return __builtin_elementwise_sqrt(x); }

// A number that a loop uses in every round. V8 makes a vector that WebAssembly spells out anew each time, which takes as long
// as a multiplication or two; of one that the compiler cannot see through, it is spread before the loop.
INLINE floats constant(float x) {
#if defined(__wasm__)
  __asm__("" : "+r"(x));
#endif
  return splat(x);
}

// a · b + c, rounded once where the processor can.
#if defined(__wasm_relaxed_simd__)
INLINE floats multiply_add(floats a, floats b, floats c) {
  typedef float four __attribute__((vector_size(16)));
  typedef struct {
    four part[lanes / 4];
  } Fours;
  const Fours x = __builtin_bit_cast(Fours, a), y = __builtin_bit_cast(Fours, b), z = __builtin_bit_cast(Fours, c);
  Fours sum;
#pragma unroll
  for (int i = 0; i < lanes / 4; i++) sum.part[i] = __builtin_wasm_relaxed_madd_f32x4(x.part[i], y.part[i], z.part[i]);
  return __builtin_bit_cast(floats, sum);
}
#else
INLINE floats multiply_add(floats a, floats b, floats c) { return a * b + c; }
#endif

// The lanes of x from the given ones on, in its first places.
#define LATER(x, ...) __builtin_shufflevector(x, x, __VA_ARGS__)
// OF over all lanes: of the vector's halves, then of the result's, to the last two.
#define OVER_LANES(x, OF)                                                                              \
  x = OF(x, LATER(x, 8, 9, 10, 11, 12, 13, 14, 15, -1, -1, -1, -1, -1, -1, -1, -1));                   \
  x = OF(x, LATER(x, 4, 5, 6, 7, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1));                     \
  x = OF(x, LATER(x, 2, 3, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1));                   \
  x = OF(x, LATER(x, 1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1));                  \
  return x[0]

INLINE floats plus(floats a, floats b) { return a + b; }
INLINE float sum_of(floats x) { OVER_LANES(x, plus); }
INLINE float highest_of(floats x) { OVER_LANES(x, maximum); }

// e^x: x = n·ln 2 + r with n whole and |r| ≤ ln 2 / 2; e^r by its Taylor series up to r⁷/7! (the rest is below 6e-9),
// times 2ⁿ, whose exponent bits are those of 0 for n = −127 and of infinity for n = 128: below −126.5·ln 2 the result is 0,
// above 127.5·ln 2 infinity. NaN stays NaN, since a comparison with it is false.
INLINE floats vector_exp(floats x) {
  const floats y = minimum(constant(89), maximum(constant(-88), x));
  // Adding 1.5·2²³ rounds to a whole number, which then stands in the lowest bits.
  const floats rounded = multiply_add(y, constant(1.4426950408889634f), constant(12582912.f));
  const ints whole = (ints)rounded - 0x4b400000;
  const floats n = rounded - constant(12582912.f);
  // ln 2 in two parts: the first has so few digits that n times it is exact.
  floats r = multiply_add(n, constant(-0.693359375f), y);
  r = multiply_add(n, constant(0.00021219444005469057f), r);
  floats sum = multiply_add(r, constant(1.f / 5040), constant(1.f / 720));
  sum = multiply_add(sum, r, constant(1.f / 120));
  sum = multiply_add(sum, r, constant(1.f / 24));
  sum = multiply_add(sum, r, constant(1.f / 6));
  sum = multiply_add(sum, r, constant(.5f));
  sum = multiply_add(sum, r, constant(1));
  sum = multiply_add(sum, r, constant(1));
  return sum * (floats)((whole + 127) << 23);
}

// Loads the first `count` numbers, at most as many as there are lanes, `rest` in the other lanes.
INLINE floats load_some(const float *from, long count, float rest) {
  if (count >= lanes) return load(from);
  floats x = splat(rest);
  for (long i = 0; i < count; i++) x[i] = from[i];
  return x;
}

// The same where as many numbers as lanes may be read, whatever stands beyond.
INLINE floats load_first(const float *from, long count, float rest) {
  if (count >= lanes) return load(from);
  const ints number = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return number < (int32_t)count ? load(from) : splat(rest);
}

INLINE void store_some(float *to, long count, floats x) {
  if (count >= lanes) store(to, x);
  else for (long i = 0; i < count; i++) to[i] = x[i];
}

INLINE long least(long a, long b) { return a < b ? a : b; }
INLINE long round_up(long n, long multiple) { return (n + multiple - 1) / multiple * multiple; }
