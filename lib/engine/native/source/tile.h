// Tiles of a product, some rows of A · a panel of B, whose sums stay in registers; for gemm.c alone.
#pragma once
#include "gemm.h"

enum {
  deep = 192,  // from here on it pays to prefetch
};

// Cache lines that will be read: `lines` of a matrix side by side in each of `left` rows (or columns).
struct Prefetch {
  const float *from;
  long lines, line, next, left;
};

static Prefetch prefetch_of(Matrix x, long rows, long columns) {
  const bool by_rows = x.column == 1;
  const long side_by_side = by_rows ? columns : rows;
  const long apart = by_rows ? x.row : x.column, left = side_by_side > 0 ? by_rows ? rows : columns : 0;
  return (Prefetch){x.data, (side_by_side + 15) / 16, 0, apart, left};
}

// Prefetches the next line, if there is one.
INLINE void prefetch_line(Prefetch *prefetch) {
  if (!prefetch || prefetch->left <= 0) return;
  __builtin_prefetch(prefetch->from + 16 * prefetch->line);
  if (++prefetch->line < prefetch->lines) return;
  prefetch->line = 0;
  prefetch->from += prefetch->next;
  prefetch->left--;
}

// Keeps the compiler from computing a pointer in another way than the source does.
#define AS_IT_IS(pointer) __asm__("" : "+r"(pointer))

// sums[rows, panel_width] += a column of A · a row of the panel. A pointer stands for every fourth row of A: the rows between
// are reached from it by an index, and the next columns by an offset, without an addition.
INLINE void add_products(const int rows, const float *const *fourth, long row, long offset, const float *panel,
                         floats (*sums)[panel_vectors]) {
  floats row_of_b[panel_vectors];
#pragma unroll
  for (int j = 0; j < panel_vectors; j++) row_of_b[j] = load(panel + j * lanes);
#pragma unroll
  for (int i = 0; i < rows; i++) {
    const floats x = splat(fourth[i / 4][i % 4 * row + offset]);
#pragma unroll
    for (int j = 0; j < panel_vectors; j++) sums[i][j] = multiply_add(x, row_of_b[j], sums[i][j]);
  }
}

INLINE void point(const int rows, const float **fourth, const float *a, long row) {
#pragma unroll
  for (int i = 0; i < rows; i += 4) {
    fourth[i / 4] = a + i * row;
    AS_IT_IS(fourth[i / 4]);
  }
}

INLINE void advance(const int rows, const float **fourth, long by) {
#pragma unroll
  for (int i = 0; i < rows; i += 4) {
    fourth[i / 4] += by;
    if (tile_rows > 8) AS_IT_IS(fourth[i / 4]);  // there are no registers for a pointer to each of so many rows
  }
}

INLINE void begin_tile(const int rows, floats (*sums)[panel_vectors], const float *start) {
#pragma unroll
  for (int i = 0; i < rows; i++) {
    for (int j = 0; j < panel_vectors; j++) sums[i][j] = start ? load(start + j * lanes) : splat(0);
  }
}

INLINE void prefetch_tile(const int rows, const float *c, long pitch) {
  for (int i = 0; i < rows; i++) {
    for (int j = 0; j < panel_vectors; j++) __builtin_prefetch(c + i * pitch + j * lanes, 1);
  }
}

INLINE void end_tile(const int rows, floats (*sums)[panel_vectors], float *c, long pitch, bool add) {
#pragma unroll
  for (int i = 0; i < rows; i++) {
#pragma unroll
    for (int j = 0; j < panel_vectors; j++) {
      float *to = c + i * pitch + j * lanes;
      store(to, add ? sums[i][j] + load(to) : sums[i][j]);
    }
  }
}

// c[rows, panel_width] = (add ? c : start) + a · panel, whose element (i, d) of a stands at a[i · row + d · column].
INLINE void tile(const int rows, long depth, const float *a, long row, long column, const float *panel, float *c,
                 long pitch, bool add, const float *start, Prefetch *prefetch) {
  floats sums[tile_rows][panel_vectors];
  begin_tile(rows, sums, start);
  const float *fourth[(tile_rows + 3) / 4];
  point(rows, fourth, a, row);
  if (depth >= deep) prefetch_tile(rows, c, pitch);
  long d = 0;
  for (; d + 4 <= depth; d += 4) {
    prefetch_line(prefetch);
#pragma unroll
    for (int i = 0; i < 4; i++) add_products(rows, fourth, row, i * column, panel + i * panel_width, sums);
    advance(rows, fourth, 4 * column);
    panel += 4 * panel_width;
  }
  for (; d < depth; d++, panel += panel_width) {
    add_products(rows, fourth, row, 0, panel, sums);
    advance(rows, fourth, column);
  }
  end_tile(rows, sums, c, pitch, add);
}

// One copy of the loop for every number of rows, so that the sums stay in registers.
#define TILE(N, ROW, COLUMN)                                                                                        \
  case N:                                                                                                           \
    if (N <= tile_rows) tile(N <= tile_rows ? N : 1, depth, a, ROW, COLUMN, panel, c, pitch, add, start, prefetch); \
    break
#define TILES(ROW, COLUMN)                                                                     \
  switch (rows) {                                                                              \
    TILE(1, ROW, COLUMN); TILE(2, ROW, COLUMN); TILE(3, ROW, COLUMN); TILE(4, ROW, COLUMN);    \
    TILE(5, ROW, COLUMN); TILE(6, ROW, COLUMN); TILE(7, ROW, COLUMN); TILE(8, ROW, COLUMN);    \
    TILE(9, ROW, COLUMN); TILE(10, ROW, COLUMN); TILE(11, ROW, COLUMN); TILE(12, ROW, COLUMN); \
  }

static void tile_of_strip(int rows, long depth, const float *a, const float *panel, float *c, long pitch, bool add,
                          const float *start, Prefetch *prefetch) {
  TILES(1, tile_rows)
}

// The next column of A, which goes to its strip, · a row of the panel.
INLINE void pack_and_add_products(const float *column, float *strip, const float *panel, floats (*sums)[panel_vectors]) {
  const float *fourth[(tile_rows + 3) / 4];
  AS_IT_IS(column);
  for (int i = 0; i < tile_rows; i += 4) fourth[i / 4] = column + i;
  __builtin_memcpy(strip, column, 4 * tile_rows);
  add_products(tile_rows, fourth, 1, 0, panel, sums);
}

// As tile, for tile_rows rows of an A whose rows are next to each other, which are packed meanwhile.
static void tile_to_strip(long depth, const float *a, long column, float *strip, const float *panel, float *c, long pitch,
                          bool add, const float *start, Prefetch *prefetch) {
  floats sums[tile_rows][panel_vectors];
  begin_tile(tile_rows, sums, start);
  if (depth >= deep) prefetch_tile(tile_rows, c, pitch);
  long d = 0;
  for (; d + 4 <= depth; d += 4, strip += 4 * tile_rows, panel += 4 * panel_width) {
    prefetch_line(prefetch);
#pragma unroll
    for (int i = 0; i < 4; i++, a += column) pack_and_add_products(a, strip + i * tile_rows, panel + i * panel_width, sums);
  }
  for (; d < depth; d++, a += column, strip += tile_rows, panel += panel_width) pack_and_add_products(a, strip, panel, sums);
  end_tile(tile_rows, sums, c, pitch, add);
}

// As tile, for tile_rows rows and a deep B whose columns are next to each other: panel_width of them are packed meanwhile.
// Out of line, since the compiler lays the other loops out worse beside it.
static __attribute__((noinline)) void tile_to_panel(long depth, const float *a, long row, const float *b, long b_row,
                                                    float *panel, float *c, long pitch, bool add, const float *start,
                                                    Prefetch *prefetch) {
  floats sums[tile_rows][panel_vectors];
  begin_tile(tile_rows, sums, start);
  prefetch_tile(tile_rows, c, pitch);
  const float *fourth[(tile_rows + 3) / 4];
  point(tile_rows, fourth, a, row);
  long d = 0;
  for (; d + 4 <= depth; d += 4, panel += 4 * panel_width) {
    prefetch_line(prefetch);
#pragma unroll
    for (int i = 0; i < 4; i++, b += b_row) {
      AS_IT_IS(b);
#pragma unroll
      for (int j = 0; j < panel_width; j += lanes) store(panel + i * panel_width + j, load(b + j));
      add_products(tile_rows, fourth, row, i, b, sums);
    }
    advance(tile_rows, fourth, 4);
  }
  for (; d < depth; d++, b += b_row, panel += panel_width) {
    for (int j = 0; j < panel_width; j += lanes) store(panel + j, load(b + j));
    add_products(tile_rows, fourth, row, 0, b, sums);
    advance(tile_rows, fourth, 1);
  }
  end_tile(tile_rows, sums, c, pitch, add);
}
