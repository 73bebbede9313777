// Single-precision matrix products after Goto & van de Geijn, "Anatomy of high-performance matrix multiplication" (2008).
#pragma once
#include "simd.h"

// A matrix by its strides, one of which is 1: element (i, j) stands at data[i·row + j·column]. A transposed one has them
// exchanged.
typedef struct {
  const float *data;
  long row, column;
} Matrix;

// A tile of the result is kept in registers: there are 32 of 16 numbers with AVX-512, 16 of 8 with AVX2, and 16 of 4 in
// WebAssembly.
#if defined(__AVX512F__)
enum { tile_rows = 12, panel_vectors = 2 };
#elif defined(__wasm__)
enum { tile_rows = 4, panel_vectors = 1 };
#else
enum { tile_rows = 6, panel_vectors = 1 };
#endif

// Columns of a packed panel: [depth][panel_width].
enum { panel_width = panel_vectors * lanes };

// c[m, n] = (add ? c : 0) + a[m, k] · b[k, n] + bias[n], the rows of c `pitch` apart; bias may be null. The same numbers
// whatever the number of threads.
void gemm(long m, long n, long k, Matrix a, Matrix b, float *c, long pitch, bool add, const float *bias);

// As gemm, by the calling thread alone.
void gemm_alone(long m, long n, long k, Matrix a, Matrix b, float *c, long pitch, bool add, const float *bias);

// `batch` products of matrices that lie one behind the other, either of them transposed: [m, k] · [k, n] → [m, n].
void gemm_batch(long batch, long m, long n, long k, const float *a, bool transpose_a, const float *b, bool transpose_b,
                float *c, const float *bias);

// Lays `width` ≤ panel_width columns of b[depth, width] out as a panel, zeros beyond.
void pack_panel(Matrix b, long depth, long width, float *panel);

// Memory that is to be prefetched meanwhile.
typedef struct Prefetch Prefetch;

// c[rows ≤ tile_rows, panel_width] = (add ? c : start[panel_width]) + a[rows, depth] · panel; start and prefetch may be null.
// a's columns are next to each other.
void tile_by_rows(int rows, long depth, const float *a, long a_row, const float *panel, float *c, long pitch, bool add,
                  const float *start, Prefetch *prefetch);

// `count` of them side by side, whose panels begin `next` numbers apart: c = a · panels.
void tiles_by_rows(int rows, long depth, const float *a, long a_row, const float *panels, long next, long count, float *c,
                   long pitch);

// c[rows ≤ tile_rows, panel_width] += a · panel, for an a whose rows are next to each other: a[i + d·a_column].
void add_tile_by_columns(int rows, long depth, const float *a, long a_column, const float *panel, float *c, long pitch);
