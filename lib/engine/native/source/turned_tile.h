// Tiles of four rows for V8, which has 16 registers of 4 numbers. To spread one of A's numbers over a vector takes a unit that
// multiplies, or a load whose bounds V8 checks; here the four rows are a vector, which is turned by 0 to 3 places instead:
// lane l of the k-th sum, turned by k, adds up row (l + k) mod 4. Sums are made in the order of the other tiles.
#pragma once
#include "gemm.h"

typedef float four __attribute__((vector_size(16)));
typedef four four_unaligned __attribute__((aligned(4)));

enum { deepest_turned = 2048 };  // of rows that are turned into columns on the stack (32 KB)

INLINE four load4(const float *from) { return *(const four_unaligned *)from; }
INLINE void store4(float *to, four x) { *(four_unaligned *)to = x; }

// Four columns of a tile; its row i has lane l of the sum (i − l) mod 4.
INLINE void store_turned(const four *sums, float *c, long pitch, bool add) {
  const four even0 = __builtin_shufflevector(sums[0], sums[2], 0, 1, 6, 7);
  const four even2 = __builtin_shufflevector(sums[2], sums[0], 0, 1, 6, 7);
  const four odd1 = __builtin_shufflevector(sums[1], sums[3], 0, 1, 6, 7);
  const four odd3 = __builtin_shufflevector(sums[3], sums[1], 0, 1, 6, 7);
  const four rows[4] = {
      __builtin_shufflevector(even0, odd3, 0, 5, 2, 7), __builtin_shufflevector(odd1, even0, 0, 5, 2, 7),
      __builtin_shufflevector(even2, odd1, 0, 5, 2, 7), __builtin_shufflevector(odd3, even2, 0, 5, 2, 7)};
#pragma unroll
  for (int i = 0; i < 4; i++) store4(c + i * pitch, add ? rows[i] + load4(c + i * pitch) : rows[i]);
}

// c[4, panel_width] = (add ? c : 0) + a · panel, for an a whose rows are next to each other.
static void turned_tile(long depth, const float *a, long column, const float *panel, float *c, long pitch, bool add) {
  for (int j = 0; j < panel_width; j += 8) {
    four left[4] = {}, right[4] = {};
    const float *rows = a, *b = panel + j;
    for (long d = 0; d < depth; d++, rows += column, b += panel_width) {
      const four b0 = load4(b), b1 = load4(b + 4);
      four x = load4(rows);
#pragma unroll
      for (int k = 0; k < 4; k++, x = __builtin_shufflevector(x, x, 1, 2, 3, 0)) {
        left[k] = __builtin_wasm_relaxed_madd_f32x4(x, b0, left[k]);
        right[k] = __builtin_wasm_relaxed_madd_f32x4(x, b1, right[k]);
      }
    }
    store_turned(left, c + j, pitch, add);
    store_turned(right, c + j + 4, pitch, add);
  }
}

// columns[depth][4] of four rows that lie `row` apart.
static void turn_rows(long depth, const float *a, long row, float *columns) {
  long d = 0;
  for (; d + 4 <= depth; d += 4, columns += 16) {
    const four r0 = load4(a + d), r1 = load4(a + row + d), r2 = load4(a + 2 * row + d), r3 = load4(a + 3 * row + d);
    const four low01 = __builtin_shufflevector(r0, r1, 0, 4, 1, 5), high01 = __builtin_shufflevector(r0, r1, 2, 6, 3, 7);
    const four low23 = __builtin_shufflevector(r2, r3, 0, 4, 1, 5), high23 = __builtin_shufflevector(r2, r3, 2, 6, 3, 7);
    store4(columns, __builtin_shufflevector(low01, low23, 0, 1, 4, 5));
    store4(columns + 4, __builtin_shufflevector(low01, low23, 2, 3, 6, 7));
    store4(columns + 8, __builtin_shufflevector(high01, high23, 0, 1, 4, 5));
    store4(columns + 12, __builtin_shufflevector(high01, high23, 2, 3, 6, 7));
  }
  for (; d < depth; d++, columns += 4) {
    for (int i = 0; i < 4; i++) columns[i] = a[i * row + d];
  }
}
