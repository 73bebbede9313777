// Tiles of a product, some rows of A · a panel of B, whose sums stay in registers; for gemm.c alone.
#pragma once
#include "gemm.h"

enum {
  deep = 192,  // from here on it pays to prefetch
  // Whether lines are fetched and rows packed while tiles compute. With AVX-512 that saves what either takes alone. With AVX2
  // it takes longer: a tile there has more other instructions for each number that it multiplies.
  works_ahead = tile_rows > 8,
  columns_in_a_round = tile_rows == 6 ? 8 : 4,  // of A, in a tile's loop
  rows_ahead = 8,                               // fetched where rows are packed between tiles
  // Rows of a transposed A are packed by blocks, in strips [depth][strip_rows] that the first cache holds beside a panel: of all
  // the block's rows with AVX-512, else of a tile's, copied by half a vector that reaches beyond.
  block_rows = tile_rows > 8 ? 48 : 72,
  strip_rows = tile_rows > 8 ? block_rows : tile_rows,
  copied_rows = (strip_rows + 7) / 8 * 8,
  strip_reach = tile_rows > 8 ? 4 : tile_rows,  // rows of a strip that one pointer stands for
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
  if (!works_ahead || !prefetch || prefetch->left <= 0) return;
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

// sums[rows, panel_width] += a column of A · a row of the panel. A pointer stands for some rows of A, four or more: those
// behind it are reached by an index, and the next columns by an offset, without an addition.
INLINE void add_products(const int rows, const int reach, const float *const *pointers, long row, long offset,
                         const float *panel, floats (*sums)[panel_vectors]) {
  floats row_of_b[panel_vectors];
#pragma unroll
  for (int j = 0; j < panel_vectors; j++) row_of_b[j] = load(panel + j * lanes);
#pragma unroll
  for (int i = 0; i < rows; i++) {
    const floats x = splat(pointers[i / reach][i % reach * row + offset]);
#pragma unroll
    for (int j = 0; j < panel_vectors; j++) sums[i][j] = multiply_add(x, row_of_b[j], sums[i][j]);
  }
}

INLINE void point(const int rows, const int reach, const float **pointers, const float *a, long row) {
#pragma unroll
  for (int i = 0; i < rows; i += reach) {
    pointers[i / reach] = a + i * row;
    AS_IT_IS(pointers[i / reach]);
  }
}

INLINE void advance(const int rows, const int reach, const float **pointers, long by) {
#pragma unroll
  for (int i = 0; i < rows; i += reach) {
    pointers[i / reach] += by;
    AS_IT_IS(pointers[i / reach]);
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

// c[rows, panel_width] = (add ? c : start) + a · panel, whose element (i, d) of a stands at a[i · row + d · column]. In every
// round a line is prefetched, or a row packed.
INLINE void tile(const int rows, const int reach, long depth, const float *a, long row, long column, const float *panel,
                 float *c, long pitch, bool add, const float *start, Prefetch *prefetch, const int packs, Packing *packing) {
  floats sums[tile_rows][panel_vectors];
  begin_tile(rows, sums, start);
  const float *pointers[tile_rows];
  point(rows, reach, pointers, a, row);
  if (depth >= deep) prefetch_tile(rows, c, pitch);
  Packing mine = {};
  if (packs != nothing) mine = *packing;
  const float *const end = panel + depth / columns_in_a_round * columns_in_a_round * panel_width;
  while (panel != end) {
    if (packs != nothing) pack_row(packs, &mine);
    else prefetch_line(prefetch);
#pragma unroll
    for (int i = 0; i < columns_in_a_round; i++) {
      add_products(rows, reach, pointers, row, i * column, panel + i * panel_width, sums);
    }
    advance(rows, reach, pointers, columns_in_a_round * column);
    panel += columns_in_a_round * panel_width;
    AS_IT_IS(panel);
  }
  if (packs != nothing) *packing = mine;
  for (long left = depth % columns_in_a_round; left > 0; left--, panel += panel_width) {
    add_products(rows, reach, pointers, row, 0, panel, sums);
    advance(rows, reach, pointers, column);
  }
  end_tile(rows, sums, c, pitch, add);
}

// One copy of the loop for every number of rows, so that the sums stay in registers.
#define TILE(N, REACH, ROW, COLUMN)                                                                               \
  case N:                                                                                                         \
    if (N > tile_rows) break;                                                                                     \
    tile(N > tile_rows ? 1 : N, REACH, depth, a, ROW, COLUMN, panel, c, pitch, add, start, prefetch, nothing, 0); \
    break
#define TILES(...)                                                                              \
  switch (rows) {                                                                               \
    TILE(1, __VA_ARGS__); TILE(2, __VA_ARGS__); TILE(3, __VA_ARGS__); TILE(4, __VA_ARGS__);     \
    TILE(5, __VA_ARGS__); TILE(6, __VA_ARGS__); TILE(7, __VA_ARGS__); TILE(8, __VA_ARGS__);     \
    TILE(9, __VA_ARGS__); TILE(10, __VA_ARGS__); TILE(11, __VA_ARGS__); TILE(12, __VA_ARGS__);  \
  }

static void tile_of_strip(int rows, long depth, const float *a, const float *panel, float *c, long pitch, bool add,
                          const float *start, Prefetch *prefetch) {
  TILES(strip_reach, 1, strip_rows)
}

// As tile, for tile_rows rows, of a strip or not. Out of line, since there the loops have all registers.
static __attribute__((noinline)) void whole_tile(long depth, const float *a, long a_row, bool of_strip, const float *panel,
                                                 float *c, long pitch, bool add, const float *start) {
  if (of_strip) tile(tile_rows, strip_reach, depth, a, 1, strip_rows, panel, c, pitch, add, start, 0, nothing, 0);
  else tile(tile_rows, 4, depth, a, a_row, 1, panel, c, pitch, add, start, 0, nothing, 0);
}

// As whole_tile, while a panel's rows are packed or, if none are left, a block's.
static __attribute__((noinline)) void tile_and_pack(long depth, const float *a, long a_row, bool of_strip, const float *panel,
                                                    float *c, long pitch, bool add, const float *start,
                                                    Packing *panel_ahead, Packing *block_ahead) {
  if (!of_strip) {
    tile(tile_rows, 4, depth, a, a_row, 1, panel, c, pitch, add, start, 0, a_panel, panel_ahead);
  } else if (panel_ahead->left > 0) {
    tile(tile_rows, strip_reach, depth, a, 1, strip_rows, panel, c, pitch, add, start, 0, a_panel, panel_ahead);
  } else {
    tile(tile_rows, strip_reach, depth, a, 1, strip_rows, panel, c, pitch, add, start, 0, a_block, block_ahead);
  }
}
