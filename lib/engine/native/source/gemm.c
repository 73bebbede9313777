#include "gemm.h"
#include "threads.h"
#include "tile.h"
#if defined(__wasm__)
#include "turned_tile.h"
#endif

enum {
  depth_at_once = 512,                 // a panel of B comes from the second cache, but ends in a sum and a jump less often
  packed_depth_at_once = 256,          // the same beside a packed block of A; up to 383, so that passes are deep
  columns_at_once = 1024,              // packed columns of B (2 MB)
  rows_at_once = 48,                   // rows of A (96 KB) stay in the second cache beside all of a small B
  many_rows_at_once = 96,              // the same where B is read from the third cache: it is read less often
  // Packed numbers of B that stay in the second cache: 512 KB of the 1 MB or more that there are with AVX-512, else 256 KB.
  small_b = tile_rows > 8 ? 1 << 17 : 1 << 16,
  stretch = 24576,    // numbers of B in panels that are not deep and lie side by side (96 KB)
  very_deep = 385,    // from here on a panel fills the first cache, and packed B should stay in the second
  small_a = 1 << 20,  // numbers of A that stay in the third cache, so that they may be read more often (4 MB)
};

void tile_by_rows(int rows, long depth, const float *a, long a_row, const float *panel, float *c, long pitch, bool add,
                  const float *start, Prefetch *prefetch) {
  TILES(4, a_row, 1)
}

void tiles_by_rows(int rows, long depth, const float *a, long a_row, const float *panels, long next, long count, float *c,
                   long pitch) {
#if defined(__wasm__)
  if (rows == 4 && depth <= deepest_turned) {
    float columns[4 * deepest_turned];
    turn_rows(depth, a, a_row, columns);
    for (long j = 0; j < count; j++) {
      turned_tile(depth, columns, 4, panels + j * next, c + j * panel_width, pitch, false);
    }
    return;
  }
#endif
  for (long j = 0; j < count; j++) {
    tile_by_rows(rows, depth, a, a_row, panels + j * next, c + j * panel_width, pitch, false, 0, 0);
  }
}

void add_tile_by_columns(int rows, long depth, const float *a, long a_column, const float *panel, float *c, long pitch) {
#if defined(__wasm__)
  if (rows == 4) {
    turned_tile(depth, a, a_column, panel, c, pitch, true);
    return;
  }
#endif
  const bool add = true;
  const float *start = 0;
  Prefetch *prefetch = 0;
  TILES(4, 1, a_column)
}

// to[j · panel_width + i] = from[i · pitch + j] for i, j < 8.
static void transpose8(const float *from, long pitch, float *to) {
  eight r[8], t[8];
  for (int i = 0; i < 8; i++) r[i] = *(const eight_unaligned *)(from + i * pitch);
  for (int i = 0; i < 8; i += 2) {
    t[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
    t[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int j = i; j < i + 2; j++) {
      r[j] = __builtin_shufflevector(t[j], t[j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      r[j + 2] = __builtin_shufflevector(t[j], t[j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
  for (int j = 0; j < 4; j++) {
    *(eight_unaligned *)(to + j * panel_width) = __builtin_shufflevector(r[j], r[j + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    *(eight_unaligned *)(to + (j + 4) * panel_width) =
        __builtin_shufflevector(r[j], r[j + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

void pack_panel(Matrix b, long depth, long width, float *panel) {
  long d = 0;
  if (width == panel_width && b.column == 1) {
    for (; d < depth; d++) {
      if (!works_ahead) __builtin_prefetch(b.data + (d + rows_ahead) * b.row);
      for (int j = 0; j < panel_width; j += lanes) store(panel + d * panel_width + j, load(b.data + d * b.row + j));
    }
  } else if (width == panel_width && b.row == 1) {
    // Sixteen at a time, a line of the cache: rows that lie pages apart share places there, and would be gone before the next.
    for (long end; d + 8 <= depth; d = end) {
      end = least(d + 16, depth / 8 * 8);
      for (int j = 0; j < panel_width; j += 8) {
        for (long e = d; e < end; e += 8) transpose8(b.data + j * b.column + e, b.column, panel + e * panel_width + j);
      }
    }
  }
  for (; d < depth; d++) {
    for (long j = 0; j < panel_width; j++) {
      panel[d * panel_width + j] = j < width ? b.data[d * b.row + j * b.column] : 0;
    }
  }
}

// Rows of a transposed A as strips that lie `apart`.
static void pack_block(Matrix a, long depth, long rows, float *block, long apart) {
  const int step = strip_rows % lanes == 0 ? lanes : copied_rows;
  for (long d = 0; d < depth; d++) {
    for (long i = 0; !works_ahead && i < rows; i += lanes) __builtin_prefetch(a.data + (d + rows_ahead) * a.column + i);
    for (long i = 0; i < rows; i += strip_rows) {
      const float *from = a.data + d * a.column + i;
      float *to = block + i / strip_rows * apart + d * strip_rows;
      long r = 0;
      for (; r < strip_rows && i + r + step <= rows; r += step) copy_row(step, from + r, to + r);
      for (; r < strip_rows && i + r < rows; r++) to[r] = from[r];
    }
  }
}

static void clear(long m, long n, float *c, long pitch, const float *bias) {
  for (long i = 0; i < m; i++) {
    for (long j = 0; j < n; j++) c[i * pitch + j] = bias ? bias[j] : 0;
  }
}

// What is packed for later while tiles compute: rows of a panel of B and of a block of A.
typedef struct {
  Packing panel, block;
} Ahead;

// m rows of the result and the columns of a whole panel, one tile below the other; `a` is a block where it was packed.
static __attribute__((noinline)) void tiles_of_panel(long m, long depth, const float *a, long a_row, bool of_strip,
                                                     const float *panel, float *c, long pitch, bool add, const float *start) {
  const long next = of_strip ? strip_size(depth) : tile_rows * a_row;
  for (; m >= tile_rows; m -= tile_rows, a += next, c += tile_rows * pitch) {
    whole_tile(depth, a, a_row, of_strip, panel, c, pitch, add, start);
  }
  if (m > 0 && of_strip) tile_of_strip((int)m, depth, a, panel, c, pitch, add, start, 0);
  else if (m > 0) tile_by_rows((int)m, depth, a, a_row, panel, c, pitch, add, start, 0);
}

// m rows and n columns of the result, those of some panels. A is read from its block where it was packed.
static void tiles_of_panels(long m, long n, long depth, Matrix a, const float *block, const float *panels, float *c, long pitch,
                            bool add, const float *bias, Prefetch *prefetch, Ahead *ahead) {
  if (!works_ahead && n == panel_width) {
    tiles_of_panel(m, depth, block ? block : a.data, a.row, block, panels, c, pitch, add, bias);
    return;
  }
  float edge[tile_rows * panel_width], padded[panel_width] = {};
  for (long i = 0; i < m; i += tile_rows) {
    const int rows = (int)least(tile_rows, m - i);
    const long in_strip = i % strip_rows;
    const float *these = block ? block + i / strip_rows * strip_size(depth) + in_strip : a.data + i * a.row;
    for (long j = 0; j < n; j += panel_width) {
      const long width = least(panel_width, n - j);
      const bool whole = width == panel_width;
      const float *panel = panels + j * depth, *start = bias ? bias + j : 0;
      float *to = c + i * pitch + j, *out = whole ? to : edge;
      const long out_pitch = whole ? pitch : panel_width;
      if (start && !whole) {
        for (long q = 0; q < width; q++) padded[q] = start[q];
        start = padded;
      }
      const bool adds = whole && add;
      if (works_ahead && rows == tile_rows && (ahead->panel.left > 0 || ahead->block.left > 0)) {
        tile_and_pack(depth, these, a.row, block, panel, out, out_pitch, adds, start, &ahead->panel, &ahead->block);
      } else if (block) {
        tile_of_strip(rows, depth, these, panel, out, out_pitch, adds, start, prefetch);
      } else {
        tile_by_rows(rows, depth, these, a.row, panel, out, out_pitch, adds, start, prefetch);
      }
      if (whole) continue;
      for (int r = 0; r < rows; r++) {
        for (long q = 0; q < width; q++) {
          const float value = edge[r * panel_width + q];
          to[r * pitch + q] = add ? to[r * pitch + q] + value : value;
        }
      }
    }
  }
}

void gemm_alone(long m, long n, long k, Matrix a, Matrix b, float *c, long pitch, bool add, const float *bias) {
  if (k == 0) {
    if (!add) clear(m, n, c, pitch, bias);
    return;
  }
  const bool packs_a = a.column != 1;
  const long most = packs_a ? packed_depth_at_once : depth_at_once;
  long steps = (k + most - 1) / most;
  if (packs_a && k >= deep) steps = least(steps, k / deep);
  const long deepest = (k + steps - 1) / steps;
  const bool few = ((packs_a && works_ahead) || deepest >= very_deep) && m * k <= small_a;
  const long fit = few ? small_b / deepest / panel_width * panel_width : columns_at_once;
  const long columns = least(round_up(n, panel_width), fit);
  // The next panel of a transposed B is fetched beside the first rows' tiles: few rows would not have time for all of it. (With
  // AVX2, whose tiles have fewer rows, they have, and more rows only crowd the caches.)
  const bool fetches = works_ahead && !packs_a && b.column != 1 && deepest >= deep;
  const bool many = fetches || columns * deepest > small_b;
  const long rows = packs_a ? block_rows : many ? many_rows_at_once : rows_at_once;
  const long block_size = packs_a ? block_rows / strip_rows * strip_size(deepest) : 0;
  float *panels = scratch(4 * (columns * deepest + 2 * block_size));
  float *block = packs_a ? panels + columns * deepest : 0, *next_block = packs_a ? block + block_size : 0;
  Ahead ahead = {};
  bool has_panel = false, has_block = false;  // whether the next ones are packed ahead
  for (long j0 = 0; j0 < n; j0 += columns) {
    const long nc = least(columns, n - j0);
    for (long k0 = 0; k0 < k; k0 += deepest) {
      const long kc = least(deepest, k - k0);
      const bool packs_ahead = works_ahead && kc >= deep;
      for (long i0 = 0; i0 < m; i0 += rows) {
        const long mc = least(rows, m - i0);
        const Matrix these_rows = {a.data + i0 * a.row + k0 * a.column, a.row, a.column};
        if (packs_a && !has_block) pack_block(these_rows, kc, mc, block, strip_size(kc));
        // Where the next rows of A begin, or the first ones of the next columns of A or B.
        const bool last = i0 + mc == m, deeper = k0 + kc < k;
        const long next_i = last ? 0 : i0 + mc, next_k = !last ? k0 : deeper ? k0 + kc : 0;
        const long next_j = last && !deeper ? j0 + nc : j0, next_kc = least(deepest, k - next_k);
        const long next_mc = next_j < n ? least(rows, m - next_i) : 0;
        const Matrix next_rows = {a.data + next_i * a.row + next_k * a.column, a.row, a.column};
        Prefetch next_lines = prefetch_of(next_rows, packs_a ? 0 : next_mc, next_kc);
        // A whole block is packed, whatever stands beside its rows, but for its last column, behind which nothing may stand.
        has_block = packs_ahead && packs_a && next_mc > 0 && a.column >= block_rows + copied_rows - strip_rows;
        if (has_block) ahead.block = (Packing){next_rows.data, a.column, next_block, strip_size(next_kc), next_kc - 1};
        // The panels that a strip of A meets before the next one does: one deep one, or several that are not, so that rows of
        // the result are written in longer pieces.
        const long across = panel_width * (kc < deep ? (stretch / panel_width + kc - 1) / kc : 1);
        for (long j = 0; j < nc; j += across) {
          const long width = least(across, nc - j), beyond = nc - j - width;
          float *these = panels + j * kc;
          const Matrix from = {b.data + k0 * b.row + (j0 + j) * b.column, b.row, b.column};
          const Matrix next = {from.data + width * b.column, b.row, b.column};
          Prefetch next_panel = {};
          if (i0 == 0) {
            // Panels are packed when they are first needed, or before, beside deep tiles: where their rows lie in lines.
            for (long q = 0; q < width && !has_panel; q += panel_width) {
              const Matrix panel = {from.data + q * b.column, b.row, b.column};
              pack_panel(panel, kc, least(panel_width, width - q), these + q * kc);
            }
            while (ahead.panel.left > 0) pack_row(a_panel, &ahead.panel);
            has_panel = packs_ahead && b.column == 1 && beyond >= panel_width;
            if (has_panel) ahead.panel = (Packing){next.data, b.row, these + width * kc, 0, kc};
            else if (packs_ahead) next_panel = prefetch_of(next, kc, least(panel_width, beyond));
          } else if (packs_ahead && last && j == across && next_kc >= deep && next_kc <= kc && b.column == 1 &&
                     n - next_j >= panel_width) {
            // The first one has been used for the last time: its place is free.
            has_panel = true;
            ahead.panel = (Packing){b.data + next_k * b.row + next_j, b.row, panels, 0, next_kc};
          }
          const bool first = k0 == 0;
          tiles_of_panels(mc, width, kc, these_rows, block, these, c + i0 * pitch + j0 + j, pitch, add || !first,
                          bias && first ? bias + j0 + j : 0, next_panel.left > 0 ? &next_panel : &next_lines, &ahead);
        }
        if (has_block) {
          while (ahead.block.left > 0) pack_row(a_block, &ahead.block);
          pack_block((Matrix){ahead.block.from, a.row, a.column}, 1, next_mc, ahead.block.to, ahead.block.apart);
          float *packed = next_block;
          next_block = block;
          block = packed;
        }
      }
    }
  }
}

typedef struct {
  long m, n, k;
  Matrix a, b;
  float *c;
  long pitch;
  bool add;
  const float *bias;
  long share;
} Product;

static void rows_of(void *context, long part) {
  const Product *p = context;
  const long from = part * p->share, rows = least(p->share, p->m - from);
  if (rows <= 0) return;
  const Matrix a = {p->a.data + from * p->a.row, p->a.row, p->a.column};
  gemm_alone(rows, p->n, p->k, a, p->b, p->c + from * p->pitch, p->pitch, p->add, p->bias);
}

static void columns_of(void *context, long part) {
  const Product *p = context;
  const long from = part * p->share, columns = least(p->share, p->n - from);
  if (columns <= 0) return;
  const Matrix b = {p->b.data + from * p->b.column, p->b.row, p->b.column};
  gemm_alone(p->m, columns, p->k, p->a, b, p->c + from, p->pitch, p->add, p->bias ? p->bias + from : 0);
}

void gemm(long m, long n, long k, Matrix a, Matrix b, float *c, long pitch, bool add, const float *bias) {
  const double operations = 2. * (double)m * (double)n * (double)k;
  const int parts = operations < 2e6 ? 1 : idle_threads();
  Product product = {m, n, k, a, b, c, pitch, add, bias, 0};
  // Threads that share rows each pack all of B; those that share columns each read all of A, and pack it where it has to be.
  if (a.column == 1 ? m > 2 * n : m > n) {
    product.share = round_up((m + parts - 1) / parts, tile_rows);
    in_parallel(rows_of, &product, parts);
  } else {
    product.share = round_up((n + parts - 1) / parts, panel_width);
    in_parallel(columns_of, &product, parts);
  }
}

typedef struct {
  long m, n, k;
  const float *a, *b;
  bool transpose_a, transpose_b;
  float *c;
  const float *bias;
} Batch;

static void one_of(void *context, long i) {
  const Batch *p = context;
  const Matrix a = {p->a + i * p->m * p->k, p->transpose_a ? 1 : p->k, p->transpose_a ? p->m : 1};
  const Matrix b = {p->b + i * p->k * p->n, p->transpose_b ? 1 : p->n, p->transpose_b ? p->k : 1};
  float *c = p->c + i * p->m * p->n;
  gemm_alone(p->m, p->n, p->k, a, b, c, p->n, false, p->bias);
}

void gemm_batch(long batch, long m, long n, long k, const float *a, bool transpose_a, const float *b, bool transpose_b,
                float *c, const float *bias) {
  Batch products = {m, n, k, a, b, transpose_a, transpose_b, c, bias};
  if (batch > 1) {
    in_parallel(one_of, &products, batch);
  } else if (batch == 1) {
    const Matrix left = {a, transpose_a ? 1 : k, transpose_a ? m : 1};
    const Matrix right = {b, transpose_b ? 1 : n, transpose_b ? k : 1};
    gemm(m, n, k, left, right, c, n, false, bias);
  }
}
