#include "attention.h"
#include "gemm.h"
#include "threads.h"

// Letters: C keys that a block of queries may see, P = softmax(scores), S scores. The scores of a block of queries are
// made, used and forgotten, forwards and again backwards (FlashAttention, arXiv 2205.14135): memory grows with T.

enum {
  block_rows = 48,                   // queries at a time in the gradient, a multiple of tile_rows
  first_of_branch = -1 - (1 << 30),  // tokens up to here begin a branch
};

// Rotary embedding (arXiv 2104.09864, eq. 34), element i paired with i + Dh / 2; `turn` −1 turns back.
static void rotate(const float *restrict from, const float *restrict cos, const float *restrict sin, long Dh, float turn,
                   float *restrict to) {
  const long half = Dh / 2;
  for (long j = 0; j < half; j++) {
    const float first = from[j], second = from[half + j], s = sin[j] * turn;
    to[j] = first * cos[j] - second * s;
    to[half + j] = second * cos[j] + first * s;
  }
}

// The tokens of a sequence: `length` from `start` on, and before them `shared` of a prefix's from `prefix` on.
typedef struct {
  long start, length, prefix, shared;
} Span;

// A prefix and the branches that go on behind it: `count` spans, the prefix first. A sequence for itself is a prefix alone.
typedef struct {
  long first, count;
} Tree;

static long row_of(const Span *s, long t) { return t < s->shared ? s->prefix + t : s->start + t - s->shared; }

// Asks for rows of a head before they are read: they lie too far apart for the processor to guess the next.
static void prefetch_rows(const float *from, long pitch, const Span *s, long first, long Dh) {
  for (long t = first; t < s->shared + s->length; t++) {
    for (long d = 0; d < Dh; d += lanes) __builtin_prefetch(from + row_of(s, t) * pitch + d, 0, 2);
  }
}

// A head's rows of qkv, from the sequence's token `first` on, rotated: [T, Dh], rows of zeros up to `padded`.
static void take_rotated(const Heads *h, const Span *s, long first, long head, long padded, float *to) {
  const long width = (h->H + 2 * h->K) * h->Dh, half = h->Dh / 2, T = s->shared + s->length;
  prefetch_rows(h->qkv + head * h->Dh, width, s, first, h->Dh);
  for (long t = first; t < T; t++) {
    const float *from = h->qkv + row_of(s, t) * width + head * h->Dh;
    rotate(from, h->cos + t * half, h->sin + t * half, h->Dh, 1, to + t * h->Dh);
  }
  for (long i = T * h->Dh; i < padded * h->Dh; i++) to[i] = 0;
}

static void take(const float *restrict from, long pitch, const Span *s, long first, long Dh, long padded,
                 float *restrict to) {
  const long T = s->shared + s->length;
  prefetch_rows(from, pitch, s, first, Dh);
  for (long t = first; t < T; t++) {
    const float *row = from + row_of(s, t) * pitch;
    for (long d = 0; d < Dh; d++) to[t * Dh + d] = row[d];
  }
  for (long i = T * Dh; i < padded * Dh; i++) to[i] = 0;
}

// Panels of x[rows, Dh]ᵀ: one for every panel_width rows.
static void pack_transposed(const float *x, long rows, long Dh, float *panels) {
  for (long c = 0; c < rows; c += panel_width) {
    pack_panel((Matrix){x + c * Dh, 1, Dh}, Dh, panel_width, panels + c * Dh);
  }
}

// Panels of x[rows, Dh]: one for every panel_width columns.
static void pack_plain(const float *x, long rows, long Dh, float *panels) {
  for (long d = 0; d < Dh; d += panel_width) {
    pack_panel((Matrix){x + d, Dh, 1}, rows, least(panel_width, Dh - d), panels + d * rows);
  }
}

typedef struct {
  const Heads *heads;
  const Span *spans;
  const Tree *trees;
  float *out, *log_sums;
  const float *dout, *known_out, *known_sums;
  float *dqkv;
} Work;

// Up to tile_rows queries · keys: scores [rows, columns], columns a multiple of panel_width.
static void score(int rows, const float *q, const float *key_panels, long Dh, long columns, float *scores, long pitch) {
  tiles_by_rows(rows, Dh, q, Dh, key_panels, Dh * panel_width, columns / panel_width, scores, pitch);
}

// to[rows, Dh] = weights[rows, depth] · the rows that were packed plain with `packed` rows.
static void weigh(int rows, long depth, const float *weights, long pitch, const float *panels, long packed, long Dh,
                  float *to, long to_pitch) {
  const long whole = Dh / panel_width * panel_width;
  tiles_by_rows(rows, depth, weights, pitch, panels, packed * panel_width, whole / panel_width, to, to_pitch);
  if (whole == Dh) return;
  float edge[tile_rows * panel_width];
  tile_by_rows(rows, depth, weights, pitch, panels + whole * packed, edge, panel_width, false, 0, 0);
  for (int r = 0; r < rows; r++) {
    for (long i = whole; i < Dh; i++) to[r * to_pitch + i] = edge[r * panel_width + i - whole];
  }
}

// Tokens of a tree's longest sequence.
static long longest_of(const Work *w, const Tree *tree) {
  long longest = 0;
  for (long i = 0; i < tree->count; i++) {
    const Span *s = w->spans + tree->first + i;
    if (s->shared + s->length > longest) longest = s->shared + s->length;
  }
  return longest;
}

static void forward_span(const Work *w, const Span *span, long kv, float *rows, long most) {
  const Heads *h = w->heads;
  const long T = span->shared + span->length, first = span->shared, Dh = h->Dh, group = h->H / h->K;
  const long padded = round_up(T, panel_width), rounded = round_up(Dh, panel_width);
  float *q = rows + most * Dh, *key_panels = q + most * Dh, *value_panels = key_panels + most * Dh;
  float *scores = value_panels + most * rounded;
  const long width = (h->H + 2 * h->K) * Dh;

  take_rotated(h, span, 0, h->H + kv, padded, rows);
  pack_transposed(rows, padded, Dh, key_panels);
  take(h->qkv + (h->H + h->K + kv) * Dh, width, span, 0, Dh, padded, rows);
  pack_plain(rows, padded, Dh, value_panels);
  for (long head = kv * group; head < (kv + 1) * group; head++) {
    take_rotated(h, span, first, head, padded, q);
    for (long t = first; t < T; t += tile_rows) {
      const int count = (int)least(tile_rows, T - t);
      const long columns = round_up(t + count, panel_width), row0 = row_of(span, t);
      score(count, q + t * Dh, key_panels, Dh, columns, scores, padded);
      float inverse[tile_rows];
      for (int i = 0; i < count; i++) {
        float *row = scores + i * padded;
        const long seen = t + i + 1;
        floats top = splat(-__builtin_inff());
        for (long c = 0; c < seen; c += lanes) top = maximum(top, load_first(row + c, seen - c, -__builtin_inff()));
        const floats highest = splat(highest_of(top));
        floats sum = splat(0);
        long c = 0;
        for (; c < seen; c += lanes) {
          const floats p = vector_exp(load_first(row + c, seen - c, -__builtin_inff()) - highest);
          store(row + c, p);
          sum += p;
        }
        for (; c < columns; c += lanes) store(row + c, splat(0));
        const float total = sum_of(sum);
        w->log_sums[(row0 + i) * h->H + head] = highest[0] + __builtin_logf(total);
        inverse[i] = 1 / total;
      }
      float *to = w->out + row0 * h->H * Dh + head * Dh;
      weigh(count, t + count, scores, padded, value_panels, padded, Dh, to, h->H * Dh);
      for (int i = 0; i < count; i++) {
        for (long d = 0; d < Dh; d++) to[i * h->H * Dh + d] *= inverse[i];
      }
    }
  }
}

static void forward_head(void *context, long part) {
  const Work *w = context;
  const Heads *h = w->heads;
  const Tree *tree = w->trees + part / h->K;
  const long most = round_up(longest_of(w, tree), panel_width), rounded = round_up(h->Dh, panel_width);
  float *rows = scratch_of(1, 4 * (most * (2 * h->Dh + h->Dh + rounded) + tile_rows * most));
  for (long i = 0; i < tree->count; i++) forward_span(w, w->spans + tree->first + i, part % h->K, rows, most);
}

// Where sequences begin and how long they are, and which go on behind which; returns how many trees there are. The lists are
// in this thread's scratch space.
static long find_trees(const Heads *h, Work *work) {
  const long N = h->B * h->T;
  Span *spans = scratch_of(2, N * (long)(sizeof(Span) + sizeof(Tree)));
  Tree *trees = (Tree *)(spans + N);
  long count = 0, found = 0;
  for (long i = 0; i < N; i++) {
    const bool row_begins = i % h->T == 0;
    if (!row_begins && h->tokens[i] <= first_of_branch) {
      const Span *prefix = spans + trees[count - 1].first;
      spans[found++] = (Span){i, 0, prefix->start, prefix->length};
      trees[count - 1].count++;
    } else if (row_begins || h->tokens[i] < 0) {
      trees[count++] = (Tree){found, 1};
      spans[found++] = (Span){i, 0, i, 0};
    }
    spans[found - 1].length++;
  }
  work->spans = spans;
  work->trees = trees;
  return count;
}

void attention(const Heads *heads, float *out, float *log_sums) {
  Work work = {.heads = heads, .out = out, .log_sums = log_sums};
  const long count = find_trees(heads, &work);
  in_parallel(forward_head, &work, count * heads->K);
}

// sums[keys, Dh] += weightsᵀ[keys, rows] · packed rows [rows, Dh]; row r has weights of the keys up to seen + r only.
static void add_transposed(long keys, long rows, long seen, const float *weights, long pitch, const float *panels, long Dh,
                           float *sums, long sums_pitch) {
  for (long d = 0; d < Dh; d += panel_width) {
    for (long c = 0; c < keys; c += tile_rows) {
      const long from = c > seen ? c - seen : 0;
      add_tile_by_columns((int)least(tile_rows, keys - c), rows - from, weights + from * pitch + c, pitch,
                          panels + d * block_rows + from * panel_width, sums + c * sums_pitch + d, sums_pitch);
    }
  }
}

// What a span receives of dk and dv beyond its own rows is its prefix's, and stands in the first rows for the next span.
static void backward_span(const Work *w, const Span *span, long kv, float *next, long most) {
  const Heads *h = w->heads;
  const long T = span->shared + span->length, first = span->shared;
  const long Dh = h->Dh, group = h->H / h->K, half = Dh / 2;
  const long padded = round_up(T, panel_width), rounded = round_up(Dh, panel_width);
  const long width = (h->H + 2 * h->K) * Dh, out_width = h->H * Dh;
  float *dk = next; next += most * rounded;
  float *dv = next; next += most * rounded;
  float *rows = next; next += padded * Dh;
  float *q = next; next += padded * Dh;
  float *dout = next; next += padded * Dh;
  float *deltas = next; next += padded;
  float *key_panels = next; next += padded * Dh;    // of keysᵀ, for the scores
  float *value_panels = next; next += padded * Dh;  // of valuesᵀ, for dP
  float *key_rows = next; next += padded * rounded;  // of keys, for dq
  float *q_panels = next; next += block_rows * rounded;
  float *dout_panels = next; next += block_rows * rounded;
  float *p = next; next += block_rows * padded;
  float *ds = next; next += block_rows * padded;
  float *dq = next;

  take(h->qkv + (h->H + h->K + kv) * Dh, width, span, 0, Dh, padded, rows);
  pack_transposed(rows, padded, Dh, value_panels);
  take_rotated(h, span, 0, h->H + kv, padded, rows);
  pack_transposed(rows, padded, Dh, key_panels);
  pack_plain(rows, padded, Dh, key_rows);

  for (long head = kv * group; head < (kv + 1) * group; head++) {
    take_rotated(h, span, first, head, padded, q);
    take(w->dout + head * Dh, out_width, span, first, Dh, padded, dout);
    // Σ_c P·dP = Σ_d dO·O (appendix B.2), of all queries at once, lest each wait for its row of O.
    for (long t = first; t < T; t++) {
      const float *o = w->known_out + row_of(span, t) * out_width + head * Dh, *go = dout + t * Dh;
      floats dot = splat(0);
      for (long d = 0; d < Dh; d += lanes) dot += load_some(o + d, Dh - d, 0) * load_some(go + d, Dh - d, 0);
      deltas[t] = sum_of(dot);
    }
    for (long t = first; t < T; t += block_rows) {
      const long count = least(block_rows, T - t), columns = round_up(t + count, panel_width), row0 = row_of(span, t);
      for (long r = 0; r < count; r += tile_rows) {
        const int n = (int)least(tile_rows, count - r);
        const long visible = round_up(t + r + n, panel_width);  // columns that these rows may see
        score(n, q + (t + r) * Dh, key_panels, Dh, visible, p + r * padded, padded);
        score(n, dout + (t + r) * Dh, value_panels, Dh, visible, ds + r * padded, padded);
        for (int i = 0; i < n; i++) {
          const long at = row0 + r + i, seen = t + r + i + 1;
          const floats log_sum = splat(w->known_sums[at * h->H + head]), delta = splat(deltas[t + r + i]);
          float *p_row = p + (r + i) * padded, *ds_row = ds + (r + i) * padded;
          long c = 0;
          for (; c < seen; c += lanes) {
            const floats share = vector_exp(load_first(p_row + c, seen - c, -__builtin_inff()) - log_sum);
            store(p_row + c, share);
            store(ds_row + c, share * (load(ds_row + c) - delta));  // dS = P · (dP − Σ_c P·dP)
          }
          for (; c < columns; c += lanes) {
            store(p_row + c, splat(0));
            store(ds_row + c, splat(0));
          }
        }
        weigh(n, t + r + n, ds + r * padded, padded, key_rows, padded, Dh, dq + r * Dh, Dh);
      }
      for (long r = 0; r < count; r++) {
        float *to = w->dqkv + (row0 + r) * width + head * Dh;
        rotate(dq + r * Dh, h->cos + (t + r) * half, h->sin + (t + r) * half, Dh, -1, to);
      }
      for (long d = 0; d < Dh; d += panel_width) {
        const long wide = least(panel_width, Dh - d);
        pack_panel((Matrix){q + t * Dh + d, Dh, 1}, count, wide, q_panels + d * block_rows);
        pack_panel((Matrix){dout + t * Dh + d, Dh, 1}, count, wide, dout_panels + d * block_rows);
      }
      add_transposed(t + count, count, t, ds, padded, q_panels, Dh, dk, rounded);
      add_transposed(t + count, count, t, p, padded, dout_panels, Dh, dv, rounded);
    }
  }
  for (long t = first; t < T; t++) {
    float *to = w->dqkv + row_of(span, t) * width + (h->H + kv) * Dh;
    rotate(dk + t * rounded, h->cos + t * half, h->sin + t * half, Dh, -1, to);
    for (long d = 0; d < Dh; d++) to[h->K * Dh + d] = dv[t * rounded + d];
  }
}

static void backward_head(void *context, long part) {
  const Work *w = context;
  const Heads *h = w->heads;
  const Tree *tree = w->trees + part / h->K;
  const long Dh = h->Dh, most = round_up(longest_of(w, tree), panel_width), rounded = round_up(Dh, panel_width);
  float *memory = scratch_of(1, 4 * (most * (4 * Dh + Dh + Dh + rounded + 2 * rounded + 1) + 2 * block_rows * rounded +
                                     2 * block_rows * most + block_rows * Dh + 64));
  float *dk = memory, *dv = memory + most * rounded;
  for (long i = 0; i < most * rounded; i++) dk[i] = dv[i] = 0;
  // The prefix last, when all its branches have added to what it receives.
  for (long i = tree->count; i-- > 0;) {
    const Span *span = w->spans + tree->first + i;
    backward_span(w, span, part % h->K, memory, most);
    if (i == 0) break;
    const long own = span->shared * rounded;
    for (long z = own; z < most * rounded; z++) dk[z] = dv[z] = 0;
  }
}

void attention_gradient(const Heads *heads, const float *dout, const float *out, const float *log_sums, float *dqkv) {
  Work work = {.heads = heads, .dout = dout, .known_out = out, .known_sums = log_sums, .dqkv = dqkv};
  const long count = find_trees(heads, &work);
  in_parallel(backward_head, &work, count * heads->K);
}
