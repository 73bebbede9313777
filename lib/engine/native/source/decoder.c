#include "decoder.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "gemm.h"
#include "layers.h"
#include "threads.h"

// Memory of a cache: in large pages where the system has them, since it is read from end to end in every step.
typedef struct {
  float *numbers;
  long size;
} Memory;

// A matrix in panels of panel_width of its rows, and its bias, padded alike.
typedef struct {
  long out, in;
  float *panels, *bias;
} Packed;

typedef struct {
  Packed qkv, output, gate_up, down;
} Block;

struct Decoder {
  DecoderShape shape;
  float epsilon;
  // Rows that are drawn for together, step after step: few, so that their keys and values stay in the cache meanwhile, or
  // many where weights come from memory each time.
  long together;
  float *embedding, *cos, *sin;
  // For each slot, block and key-value head: keys as [positions / lanes][Dh][lanes], then values as [positions][Dh]. What
  // was not written yet may be read, and is not used.
  Memory cache;
  Packed logits;
  Block blocks[];
};

enum {
  items_at_once = 96,
  blocks_at_once = 6,        // of keys, whose scores are summed side by side
  few_rows = 2 * tile_rows,  // that are drawn for together where all weights stay in the third cache,
  few_weights = 16 << 20,    // as so many bytes of them do
  most_spare = 128 << 20,    // bytes of a closed decoder's cache that are kept
};

static long room(const DecoderShape *s) { return round_up(s->positions, lanes); }

static long slot_size(const DecoderShape *s) { return 2L * s->L * s->K * room(s) * s->Dh; }

static float *keys_of(const Decoder *d, int slot, long layer, long head) {
  const DecoderShape *s = &d->shape;
  return d->cache.numbers + slot_size(s) * slot + 2 * (layer * s->K + head) * room(s) * s->Dh;
}

static float *copied(const float *from, long count) {
  float *to = aligned_alloc(64, round_up(4 * count, 64));
  if (to) memcpy(to, from, 4 * count);
  return to;
}

// That of the decoder that was closed last, for the next one: fetching its pages anew takes as long as several steps.
static Memory spare;
static pthread_mutex_t spare_lock = PTHREAD_MUTEX_INITIALIZER;

static Memory exchange_spare(Memory new) {
  pthread_mutex_lock(&spare_lock);
  const Memory old = spare;
  spare = new;
  pthread_mutex_unlock(&spare_lock);
  return old;
}

static Memory take_memory(long bytes) {
  const long page = 1L << 21, size = round_up(bytes, page);
  const Memory known = exchange_spare((Memory){0, 0});
  if (known.size >= size && known.size <= 2 * size) return known;
  free(known.numbers);
  float *numbers = aligned_alloc(page, size);
#if defined(MADV_HUGEPAGE)
  if (numbers) madvise(numbers, size, MADV_HUGEPAGE);
#endif
  return (Memory){numbers, size};
}

static void give_memory(Memory memory) {
  const bool small = memory.size <= most_spare;
  const Memory old = small ? exchange_spare(memory) : memory;
  free(old.numbers);
}

Decoder *decoder_open(const DecoderShape *shape, float epsilon, const float *embedding, const float *cos,
                      const float *sin) {
  Decoder *d = calloc(1, sizeof(Decoder) + shape->L * sizeof(Block));
  if (!d) return 0;
  d->shape = *shape;
  d->epsilon = epsilon;
  const long block = (2L * shape->D + 2 * shape->K * shape->Dh) * shape->D + 3L * shape->F * shape->D;
  d->together = 4 * (shape->L * block + (long)shape->V * shape->D) > few_weights ? items_at_once : few_rows;
  d->embedding = copied(embedding, (long)shape->V * shape->D);
  d->cos = copied(cos, (long)shape->positions * shape->Dh / 2);
  d->sin = copied(sin, (long)shape->positions * shape->Dh / 2);
  d->cache = take_memory(4 * slot_size(shape) * shape->slots);
  if (d->embedding && d->cos && d->sin && d->cache.numbers) return d;
  decoder_close(d);
  return 0;
}

static void free_packed(Packed *packed) {
  free(packed->panels);
  free(packed->bias);
}

void decoder_close(Decoder *d) {
  for (int l = 0; l < d->shape.L; l++) {
    free_packed(&d->blocks[l].qkv);
    free_packed(&d->blocks[l].output);
    free_packed(&d->blocks[l].gate_up);
    free_packed(&d->blocks[l].down);
  }
  free_packed(&d->logits);
  free(d->embedding);
  free(d->cos);
  free(d->sin);
  give_memory(d->cache);
  free(d);
}

void decoder_matrix(Decoder *d, int layer, int which, const float *matrix, const float *norm, const float *bias) {
  const DecoderShape *s = &d->shape;
  const long query_width = (long)s->H * s->Dh;
  Block *block = &d->blocks[layer];
  const struct {
    Packed *to;
    long out, in;
  } places[] = {
      [matrix_qkv] = {&block->qkv, query_width + 2L * s->K * s->Dh, s->D},
      [matrix_output] = {&block->output, s->D, query_width},
      [matrix_gate_up] = {&block->gate_up, 2L * s->F, s->D},
      [matrix_down] = {&block->down, s->D, s->F},
      [matrix_logits] = {&d->logits, s->V, s->D},
  };
  Packed *to = places[which].to;
  const long out = places[which].out, in = places[which].in, padded = round_up(out, panel_width);
  to->out = out;
  to->in = in;
  to->panels = aligned_alloc(64, 4 * padded * in);
  to->bias = aligned_alloc(64, 4 * padded);
  if (!to->panels || !to->bias) abort();
  for (long o = 0; o < padded; o++) to->bias[o] = bias && o < out ? bias[o] : 0;
  for (long o = 0; o < out; o += panel_width) {
    float *panel = to->panels + o * in;
    pack_panel((Matrix){matrix + o * in, 1, in}, in, least(panel_width, out - o), panel);
    for (long i = 0; norm && i < in; i++) {
      for (int j = 0; j < panel_width; j++) panel[i * panel_width + j] *= norm[i];
    }
  }
}

void decoder_copy(Decoder *d, int from, int to, int count) {
  const DecoderShape *s = &d->shape;
  const long used = round_up(count, lanes) * s->Dh;
  for (long l = 0; l < s->L; l++) {
    for (long k = 0; k < s->K; k++) {
      const float *source = keys_of(d, from, l, k);
      float *target = keys_of(d, to, l, k);
      memcpy(target, source, 4 * used);
      memcpy(target + room(s) * s->Dh, source + room(s) * s->Dh, 4 * used);
    }
  }
}

// out[rows, …] = (add ? out : 0) + a[rows, in] · matrixᵀ + bias, out's rows `pitch` apart, a multiple of panel_width.
static void product(const Packed *matrix, long rows, const float *a, float *out, long pitch, bool add) {
  for (long o = 0; o < matrix->out; o += panel_width) {
    for (long i = 0; i < rows; i += tile_rows) {
      tile_by_rows((int)least(tile_rows, rows - i), matrix->in, a + i * matrix->in, matrix->in,
                   matrix->panels + o * matrix->in, out + i * pitch + o, pitch, add, matrix->bias + o, 0);
    }
  }
}

// Rows of x / rms(x): the norm's weights are in the matrix that follows.
static void normalise(long rows, long D, const float *x, long pitch, float epsilon, float *to) {
  for (long i = 0; i < rows; i++) {
    const float *from = x + i * pitch;
    floats squares = splat(0);
    for (long d = 0; d < D; d += lanes) {
      const floats part = load_some(from + d, D - d, 0);
      squares += part * part;
    }
    const floats inverse = splat(1 / __builtin_sqrtf(sum_of(squares) / (float)D + epsilon));
    for (long d = 0; d < D; d += lanes) store_some(to + i * D + d, D - d, load_some(from + d, D - d, 0) * inverse);
  }
}

// Rotates an item's queries and keys (arXiv 2104.09864, halves as Llama has them), and caches its keys and values.
static void rotate_and_store(const Decoder *d, const DecoderItem *item, long layer, float *qkv) {
  const DecoderShape *s = &d->shape;
  const long half = s->Dh / 2;
  const float *cos = d->cos + item->position * half, *sin = d->sin + item->position * half;
  for (long head = 0; head < s->H + s->K; head++) {
    float *x = qkv + head * s->Dh;
    for (long j = 0; j < half; j++) {
      const float first = x[j], second = x[half + j];
      x[j] = first * cos[j] - second * sin[j];
      x[half + j] = second * cos[j] + first * sin[j];
    }
  }
  for (long k = 0; k < s->K; k++) {
    const float *key = qkv + (s->H + k) * s->Dh, *value = key + s->K * s->Dh;
    float *keys = keys_of(d, item->slot, layer, k), *values = keys + room(s) * s->Dh;
    float *to = keys + item->position / lanes * lanes * s->Dh + item->position % lanes;
    for (long i = 0; i < s->Dh; i++) to[lanes * i] = key[i];
    memcpy(values + item->position * s->Dh, value, 4 * s->Dh);
  }
}

// scores[c] = q · key c, `lanes` · count of them.
INLINE void score_blocks(const int count, const float *q, const float *keys, long Dh, float *scores,
                         const float *ahead) {
  floats sums[blocks_at_once];
  for (int i = 0; i < count; i++) sums[i] = splat(0);
  for (long d = 0; d < Dh; d++) {
    const floats x = splat(q[d]);
#pragma unroll
    for (int i = 0; i < count; i++) __builtin_prefetch(ahead + lanes * (count * d + i));
#pragma unroll
    for (int i = 0; i < count; i++) sums[i] += x * load(keys + lanes * (i * Dh + d));
  }
  for (int i = 0; i < count; i++) store(scores + lanes * i, sums[i]);
}

// The same for any count: several blocks at a time, so that the sums need not wait for each other.
static void score_all(long blocks, const float *q, const float *keys, long Dh, float *scores, const float *ahead) {
  const long step = lanes * blocks_at_once;
  for (; blocks > blocks_at_once; blocks -= blocks_at_once, keys += step * Dh, scores += step, ahead += step * Dh) {
    score_blocks(blocks_at_once, q, keys, Dh, scores, ahead);
  }
  switch (blocks) {
    case 6: score_blocks(6, q, keys, Dh, scores, ahead); break;
    case 5: score_blocks(5, q, keys, Dh, scores, ahead); break;
    case 4: score_blocks(4, q, keys, Dh, scores, ahead); break;
    case 3: score_blocks(3, q, keys, Dh, scores, ahead); break;
    case 2: score_blocks(2, q, keys, Dh, scores, ahead); break;
    default: score_blocks(1, q, keys, Dh, scores, ahead); break;
  }
}

// to[wide] = Σ_c weights[c] · values[c][wide] · factor, for `wide` numbers of Dh, a multiple of `lanes` up to 32.
INLINE void sum_values(const int wide, const float *weights, long count, const float *values, long Dh, float factor,
                       float *to, const float *ahead) {
  floats sums[2][2];
  for (int i = 0; i < wide / lanes; i++) sums[0][i] = sums[1][i] = splat(0);
  long c = 0;
  for (; c + 2 <= count; c += 2) {
    const floats w = splat(weights[c]), u = splat(weights[c + 1]);
#pragma unroll
    for (int i = 0; i < wide / lanes; i++) {
      __builtin_prefetch(ahead + c * Dh + lanes * i);
      __builtin_prefetch(ahead + (c + 1) * Dh + lanes * i);
      sums[0][i] += w * load(values + c * Dh + lanes * i);
      sums[1][i] += u * load(values + (c + 1) * Dh + lanes * i);
    }
  }
  if (c < count) {
    for (int i = 0; i < wide / lanes; i++) sums[0][i] += splat(weights[c]) * load(values + c * Dh + lanes * i);
  }
  for (int i = 0; i < wide / lanes; i++) store(to + lanes * i, (sums[0][i] + sums[1][i]) * splat(factor));
}

// Attention of one item to all positions of its slot up to its own; queries are scaled already.
// What is read next, from this item or the one behind it, is fetched meanwhile.
static void attend(const Decoder *d, const DecoderItem *item, const DecoderItem *behind, long layer, const float *qkv,
                   float *scores, float *out) {
  const DecoderShape *s = &d->shape;
  const long count = item->position + 1, Dh = s->Dh;
  for (long head = 0; head < s->H; head++) {
    const float *keys = keys_of(d, item->slot, layer, head / (s->H / s->K)), *q = qkv + head * Dh;
    const float *values = keys + room(s) * Dh;
    score_all((count + lanes - 1) / lanes, q, keys, Dh, scores, values);
    floats top = splat(-__builtin_inff());
    for (long c = 0; c < count; c += lanes) top = maximum(top, load_first(scores + c, count - c, -__builtin_inff()));
    const floats highest = splat(highest_of(top));
    floats total = splat(0);
    for (long c = 0; c < count; c += lanes) {
      const floats e = vector_exp(load_first(scores + c, count - c, -__builtin_inff()) - highest);
      store(scores + c, e);
      total += e;
    }
    const float factor = 1 / sum_of(total);
    const float *ahead = head + 1 < s->H ? keys_of(d, item->slot, layer, (head + 1) / (s->H / s->K))
                                         : keys_of(d, behind->slot, layer, 0);
    float *to = out + head * Dh;
    long i = 0;
    for (; i + 32 <= Dh; i += 32) sum_values(32, scores, count, values + i, Dh, factor, to + i, ahead + i);
    for (; i + lanes <= Dh; i += lanes) sum_values(lanes, scores, count, values + i, Dh, factor, to + i, ahead + i);
    for (; i < Dh; i++) {
      float sum = 0;
      for (long c = 0; c < count; c++) sum += scores[c] * values[c * Dh + i];
      to[i] = sum * factor;
    }
  }
}

// silu(gate) · up of rows gate[F], up[F], `pitch` apart: [rows, F].
static void gate_rows(long rows, long F, const float *wide, long pitch, float *to) {
  for (long i = 0; i < rows; i++) swi_glu_row(F, wide + i * pitch, to + i * F);
}

// p = softmax(logits · scale).
static void softmax(long V, const float *logits, float scale, float *p) {
  floats top = splat(-__builtin_inff());
  for (long v = 0; v < V; v += lanes) top = maximum(top, load_some(logits + v, V - v, -__builtin_inff()) * splat(scale));
  const floats highest = splat(highest_of(top));
  floats total = splat(0);
  for (long v = 0; v < V; v += lanes) {
    const floats e = vector_exp(load_some(logits + v, V - v, -__builtin_inff()) * splat(scale) - highest);
    store_some(p + v, V - v, e);
    total += e;
  }
  const floats share = splat(1 / sum_of(total));
  for (long v = 0; v < V; v += lanes) store_some(p + v, V - v, load_some(p + v, V - v, 0) * share);
}

static int32_t likeliest(long V, const float *p) {
  long best = 0;
  for (long v = 1; v < V; v++) best = p[v] > p[best] ? v : best;
  return p[best] > 0 ? (int32_t)best : -1;
}

static int32_t drawn(long V, const float *p, double uniform) {
  double total = 0;
  for (long v = 0; v < V; v += lanes) total += sum_of(load_some(p + v, V - v, 0));
  const double threshold = uniform * total;
  if (!(total > 0)) return -1;
  double before = 0;
  long last = -1;
  for (long v = 0; v < V; v += lanes) {
    const double with = before + sum_of(load_some(p + v, V - v, 0));
    if (with > threshold) {
      double sum = before;
      for (long i = v; i < least(V, v + lanes); i++) {
        if (!(p[i] > 0)) continue;
        sum += p[i];
        last = i;
        if (sum > threshold) return (int32_t)i;
      }
      if (last >= v) return (int32_t)last;  // the same sum, in another order, was a little larger
    }
    before = with;
  }
  for (long v = V - 1; v >= 0; v--) {
    if (p[v] > 0) return (int32_t)v;
  }
  return -1;
}

// What becomes of the distribution after the n-th wanted item: p = softmax(logits · scale) is written to `p`, or a token is
// drawn from it.
typedef struct {
  float scale;
  float *p;
  const double *uniforms;
  int32_t *tokens;
} Wish;

static void step_alone(const Decoder *d, const DecoderItem *items, long count, const Wish *wish) {
  const DecoderShape *s = &d->shape;
  const long D = s->D, F = s->F, attended_width = (long)s->H * s->Dh, pitch = round_up(D, panel_width);
  const long qkv_width = round_up(attended_width + 2L * s->K * s->Dh, panel_width);
  const long gated_width = round_up(2 * F, panel_width), logits_width = round_up(s->V, panel_width);
  const long widest_in = attended_width > F ? attended_width : F;
  const long widest_out = qkv_width > gated_width ? qkv_width : gated_width;
  float *x = scratch(4 * (count * (pitch + (D > widest_in ? D : widest_in) +
                                   (widest_out > logits_width ? widest_out : logits_width)) + room(s)));
  float *inner = x + count * pitch;
  float *wide = inner + count * (D > widest_in ? D : widest_in);
  float *scores = wide + count * (widest_out > logits_width ? widest_out : logits_width);

  for (long i = 0; i < count; i++) memcpy(x + i * pitch, d->embedding + (long)items[i].token * D, 4 * D);
  for (long l = 0; l < s->L; l++) {
    const Block *block = &d->blocks[l];
    normalise(count, D, x, pitch, d->epsilon, inner);
    product(&block->qkv, count, inner, wide, qkv_width, false);
    for (long i = 0; i < count; i++) rotate_and_store(d, items + i, l, wide + i * qkv_width);
    for (long i = 0; i < count; i++) {
      const DecoderItem *behind = items + least(i + 1, count - 1);
      attend(d, items + i, behind, l, wide + i * qkv_width, scores, inner + i * attended_width);
    }
    product(&block->output, count, inner, x, pitch, true);
    normalise(count, D, x, pitch, d->epsilon, inner);
    product(&block->gate_up, count, inner, wide, gated_width, false);
    gate_rows(count, F, wide, gated_width, inner);
    product(&block->down, count, inner, x, pitch, true);
  }
  long wanted = 0;
  for (long i = 0; i < count; i++) {
    if (!items[i].wanted) continue;
    if (wanted != i) memcpy(x + wanted * pitch, x + i * pitch, 4 * D);
    wanted++;
  }
  normalise(wanted, D, x, pitch, d->epsilon, inner);
  product(&d->logits, wanted, inner, wide, logits_width, false);
  for (long i = 0; i < wanted; i++) {
    float *logits = wide + i * logits_width;
    if (!wish->uniforms) {
      softmax(s->V, logits, wish->scale, wish->p + i * s->V);
      continue;
    }
    softmax(s->V, logits, wish->scale, logits);
    const int32_t token = wish->uniforms[i] < 0 ? likeliest(s->V, logits) : drawn(s->V, logits, wish->uniforms[i]);
    wish->tokens[i] = token;
    wish->p[i] = token < 0 ? 0 : logits[token];
  }
}

// Items in steps of a size that fits the scratch space; `advance` is what a wanted item takes of p.
static void step_all(const Decoder *d, const DecoderItem *items, long count, Wish wish, long advance) {
  while (count > 0) {
    const long now = least(items_at_once, count);
    step_alone(d, items, now, &wish);
    for (long i = 0; i < now; i++) {
      if (!items[i].wanted) continue;
      wish.p += advance;
      if (!wish.uniforms) continue;
      wish.uniforms++;
      wish.tokens++;
    }
    items += now;
    count -= now;
  }
}

typedef struct {
  const Decoder *decoder;
  const DecoderItem *items;
  long count, rows, parts, large;  // the first parts are large, the others half as large
  float scale;
  float *p;
  const DecoderDraw *draw;
} Step;

static long wanted_in(const DecoderItem *items, long count) {
  long wanted = 0;
  for (long i = 0; i < count; i++) wanted += items[i].wanted != 0;
  return wanted;
}

// The first item of a part: none of a slot's items are in another part, and a row that is drawn for goes through the model
// as often as tokens are drawn.
static long first_of(const Step *step, long part) {
  const long more = step->draw ? step->draw->steps - 1 : 0;
  const long halves = part + least(part, step->large), all = step->parts + step->large;
  const long start = halves * (step->count + more * step->rows) / all;
  long at = 0;
  for (long work = 0; at < step->count && work < start; at++) work += 1 + (step->items[at].wanted ? more : 0);
  while (at > 0 && at < step->count && step->items[at].slot == step->items[at - 1].slot) at++;
  return at;
}

static void step_part(void *context, long part) {
  const Step *step = context;
  const long from = first_of(step, part), count = first_of(step, part + 1) - from;
  float *p = step->p + wanted_in(step->items, from) * step->decoder->shape.V;
  if (count > 0) step_all(step->decoder, step->items + from, count, (Wish){step->scale, p, 0, 0}, step->decoder->shape.V);
}

// Draws for `rows` rows, the first of which has the number `first`, until fewer than half of them go on.
static void draw_together(const Step *step, const DecoderItem *items, long count, long first, long rows) {
  const DecoderDraw *draw = step->draw;
  double uniforms[items_at_once];
  int32_t tokens[items_at_once], who[items_at_once];
  float p[items_at_once];
  DecoderItem next[items_at_once];
  long live = 0;
  for (long i = 0; i < count; i++) {
    if (!items[i].wanted) continue;
    next[live] = items[i];
    who[live] = (int32_t)(first + live);
    live++;
  }
  for (long at = 0; at < draw->steps && live > 0 && (at == 0 || 2 * live >= rows); at++) {
    for (long i = 0; i < live; i++) uniforms[i] = draw->uniforms[who[i] * draw->steps + at];
    if (at == 0) step_all(step->decoder, items, count, (Wish){draw->scale, p, uniforms, tokens}, 1);
    else step_all(step->decoder, next, live, (Wish){draw->scale, p, uniforms, tokens}, 1);
    long staying = 0;
    for (long i = 0; i < live; i++) {
      const long row = who[i];
      draw->tokens[row * draw->steps + at] = tokens[i];
      draw->p[row * draw->steps + at] = p[i];
      draw->counts[row] = (int32_t)at + 1;
      if (tokens[i] < 0 || draw->ends[tokens[i]] || at + 1 >= draw->limits[row]) continue;
      who[staying] = who[i];
      next[staying++] = (DecoderItem){tokens[i], next[i].slot, next[i].position + 1, 1};
    }
    live = staying;
  }
}

static void draw_part(void *context, long part) {
  const Step *step = context;
  const long end = first_of(step, part + 1);
  long from = first_of(step, part), first = wanted_in(step->items, from);
  const long rows = wanted_in(step->items + from, end - from);
  const long together = step->decoder->together, groups = (rows + together - 1) / together;
  for (long group = 0; group < groups; group++) {
    const long share = (group + 1) * rows / groups - group * rows / groups;
    long count = 0;
    for (long seen = 0; seen < share; count++) seen += step->items[from + count].wanted != 0;
    draw_together(step, step->items + from, count, first, share);
    from += count;
    first += share;
  }
}

static void run(const Decoder *d, const DecoderItem *items, int count, float scale, float *p, const DecoderDraw *draw) {
  kernel_begins();
  const long threads = idle_threads();
  // Where several tokens a row are drawn a part takes long: threads take more than one, and small ones in the end, since they
  // wait for one another.
  const long rows = wanted_in(items, count);
  const long groups = draw && draw->steps > 1 ? (rows / threads + d->together - 1) / d->together : 1;
  const long large = groups > 1 && threads > 1 ? threads * (groups - 1) : 0;
  const long parts = large > 0 ? large + 2 * threads : least(count, threads * (groups > 0 ? groups : 1));
  Step step = {d, items, count, rows, parts, large, scale, p, draw};
  in_parallel(draw ? draw_part : step_part, &step, parts);
  kernel_ends();
}

void decoder_step(Decoder *decoder, const DecoderItem *items, int count, float scale, float *p) {
  run(decoder, items, count, scale, p, 0);
}

void decoder_draw(Decoder *decoder, const DecoderItem *items, int count, const DecoderDraw *draw) {
  run(decoder, items, count, draw->scale, 0, draw);
}
