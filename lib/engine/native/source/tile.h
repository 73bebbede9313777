// Tiles of a product, some rows of A · a panel of B, whose sums stay in registers; for gemm.c alone.
#pragma once
#include "gemm.h"

enum {
  deep = 192,  // from here on it pays to prefetch
  // Rows of a transposed A are packed by blocks, in strips [depth][strip_rows] that the first cache holds beside a panel: of all
  // the block's rows with AVX-512, else of a tile's, copied by half a vector that reaches beyond.
  block_rows = tile_rows > 8 ? 48 : 72,
  strip_rows = tile_rows > 8 ? block_rows : tile_rows,
  copied_rows = (strip_rows + 7) / 8 * 8,
};

// Numbers from one strip to the next; the last row reaches beyond its own.
INLINE long strip_size(long depth) { return strip_rows * depth + lanes; }

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

// Rows that are packed, each behind the one before, in strips that lie `apart`.
typedef struct {
  const float *from;
  long next;
  float *to;
  long apart, left;
} Packing;

// Copies `width` numbers, by half vectors where whole ones do not fit.
INLINE void copy_row(const int width, const float *from, float *to) {
  const bool whole = width % lanes == 0;
#pragma unroll
  for (int i = 0; i < width; i += whole ? lanes : 8) {
    if (whole) store(to + i, load(from + i));
    else *(eight_unaligned *)(to + i) = *(const eight_unaligned *)(from + i);
  }
}

// What is packed beside a tile.
enum { nothing, a_panel, a_block };

// Packs the next row, if there is one, and prefetches a later one.
INLINE void pack_row(const int what, Packing *packing) {
  if (packing->left <= 0) return;
  const int width = what == a_block ? block_rows : panel_width, strip = what == a_block ? strip_rows : panel_width;
  const int copied = what == a_block ? copied_rows : panel_width;
#pragma unroll
  for (int i = 0; i < width; i += lanes) __builtin_prefetch(packing->from + 8 * packing->next + i);
#pragma unroll
  for (int i = 0; i < width; i += strip) copy_row(copied, packing->from + i, packing->to + i / strip * packing->apart);
  packing->from += packing->next;
  packing->to += strip;
  packing->left--;
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

// c[rows, panel_width] = (add ? c : start) + a · panel, whose element (i, d) of a stands at a[i · row + d · column]. With every
// fourth step a line is prefetched, or a row packed.
INLINE void tile(const int rows, long depth, const float *a, long row, long column, const float *panel, float *c, long pitch,
                 bool add, const float *start, Prefetch *prefetch, const int packs, Packing *packing) {
  floats sums[tile_rows][panel_vectors];
  begin_tile(rows, sums, start);
  const float *fourth[(tile_rows + 3) / 4];
  point(rows, fourth, a, row);
  if (depth >= deep) prefetch_tile(rows, c, pitch);
  Packing mine = {};
  if (packs != nothing) mine = *packing;
  long d = 0;
  for (; d + 4 <= depth; d += 4) {
    if (packs != nothing) pack_row(packs, &mine);
    else prefetch_line(prefetch);
#pragma unroll
    for (int i = 0; i < 4; i++) add_products(rows, fourth, row, i * column, panel + i * panel_width, sums);
    advance(rows, fourth, 4 * column);
    panel += 4 * panel_width;
  }
  if (packs != nothing) *packing = mine;
  for (; d < depth; d++, panel += panel_width) {
    add_products(rows, fourth, row, 0, panel, sums);
    advance(rows, fourth, column);
  }
  end_tile(rows, sums, c, pitch, add);
}

// One copy of the loop for every number of rows, so that the sums stay in registers.
#define TILE(N, ROW, COLUMN)                                                                                  \
  case N:                                                                                                     \
    if (N <= tile_rows) {                                                                                     \
      tile(N <= tile_rows ? N : 1, depth, a, ROW, COLUMN, panel, c, pitch, add, start, prefetch, nothing, 0); \
    }                                                                                                         \
    break
#define TILES(ROW, COLUMN)                                                                     \
  switch (rows) {                                                                              \
    TILE(1, ROW, COLUMN); TILE(2, ROW, COLUMN); TILE(3, ROW, COLUMN); TILE(4, ROW, COLUMN);    \
    TILE(5, ROW, COLUMN); TILE(6, ROW, COLUMN); TILE(7, ROW, COLUMN); TILE(8, ROW, COLUMN);    \
    TILE(9, ROW, COLUMN); TILE(10, ROW, COLUMN); TILE(11, ROW, COLUMN); TILE(12, ROW, COLUMN); \
  }

static void tile_of_strip(int rows, long depth, const float *a, const float *panel, float *c, long pitch, bool add,
                          const float *start, Prefetch *prefetch) {
  TILES(1, strip_rows)
}

// As tile, for tile_rows rows, of a strip or not, while a panel's rows are packed or, if none are left, a block's. Out of
// line, since there the loops have all registers.
static __attribute__((noinline)) void tile_and_pack(long depth, const float *a, long a_row, bool of_strip, const float *panel,
                                                    float *c, long pitch, bool add, const float *start,
                                                    Packing *panel_ahead, Packing *block_ahead) {
  if (!of_strip) {
    tile(tile_rows, depth, a, a_row, 1, panel, c, pitch, add, start, 0, a_panel, panel_ahead);
  } else if (panel_ahead->left > 0) {
    tile(tile_rows, depth, a, 1, strip_rows, panel, c, pitch, add, start, 0, a_panel, panel_ahead);
  } else {
    tile(tile_rows, depth, a, 1, strip_rows, panel, c, pitch, add, start, 0, a_block, block_ahead);
  }
}
