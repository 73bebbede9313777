#include "layers.h"
#include "threads.h"

enum { rows_of_a_part = 64 };

INLINE long parts_of(long rows) { return (rows + rows_of_a_part - 1) / rows_of_a_part; }

// Loops over a row a vector at a time; `d` is the first number, `count` how many are left.
#define VECTORS(D, d, count) for (long d = 0, count = (D); d < (D); d += lanes, count -= lanes)

INLINE float inverse_rms(long D, const float *x, float epsilon) {
  floats squares = splat(0);
  VECTORS(D, d, count) {
    const floats value = load_some(x + d, count, 0);
    squares += value * value;
  }
  return 1 / __builtin_sqrtf(sum_of(squares) / (float)D + epsilon);
}

typedef struct {
  long N, D;
  const float *dy, *x, *w;
  float epsilon;
  float *y, *dw;
} Norm;

static void norm_rows(void *context, long part) {
  const Norm *n = context;
  const long D = n->D;
  for (long i = part * rows_of_a_part; i < least(n->N, (part + 1) * rows_of_a_part); i++) {
    const float *x = n->x + i * D;
    const floats inverse = splat(inverse_rms(D, x, n->epsilon));
    VECTORS(D, d, count) {
      store_some(n->y + i * D + d, count, load_some(x + d, count, 0) * inverse * load_some(n->w + d, count, 0));
    }
  }
}

void rms_norm(long N, long D, const float *x, const float *w, float epsilon, float *y) {
  Norm norm = {N, D, 0, x, w, epsilon, y, 0};
  in_parallel(norm_rows, &norm, parts_of(N));
}

// With u = x · i, i = 1 / rms and g = dy · w: dx = i · (g − u · mean(g · u)), dw = Σ_N dy · u, the latter a part's own sum.
static void norm_gradient_rows(void *context, long part) {
  const Norm *n = context;
  const long D = n->D;
  float *dw = n->dw + part * D;
  VECTORS(D, d, count) store_some(dw + d, count, splat(0));
  for (long i = part * rows_of_a_part; i < least(n->N, (part + 1) * rows_of_a_part); i++) {
    const float *x = n->x + i * D, *dy = n->dy + i * D;
    const float inverse = inverse_rms(D, x, n->epsilon);
    floats dot = splat(0);
    VECTORS(D, d, count) {
      const floats g_u = load_some(dy + d, count, 0) * load_some(x + d, count, 0) * splat(inverse);
      dot += g_u * load_some(n->w + d, count, 0);
      store_some(dw + d, count, load_some(dw + d, count, 0) + g_u);
    }
    const floats mean = splat(sum_of(dot) / (float)D * inverse);
    VECTORS(D, d, count) {
      const floats g = load_some(dy + d, count, 0) * load_some(n->w + d, count, 0);
      store_some(n->y + i * D + d, count, splat(inverse) * (g - mean * load_some(x + d, count, 0)));
    }
  }
}

void rms_norm_gradient(long N, long D, const float *dy, const float *x, const float *w, float epsilon, float *dx,
                       float *dw) {
  const long parts = parts_of(N);
  float *sums = scratch(4 * parts * D);
  Norm norm = {N, D, dy, x, w, epsilon, dx, sums};
  in_parallel(norm_gradient_rows, &norm, parts);
  for (long d = 0; d < D; d++) dw[d] = 0;
  for (long part = 0; part < parts; part++) {
    for (long d = 0; d < D; d++) dw[d] += sums[part * D + d];
  }
}

typedef struct {
  long N, F;
  const float *dy, *gate_up;
  float *out;
} Gated;

INLINE floats vector_sigmoid(floats x) { return constant(1) / (constant(1) + vector_exp(-x)); }

void swi_glu_row(long F, const float *gate_up, float *y) {
  VECTORS(F, d, count) {
    const floats gate = load_some(gate_up + d, count, 0), up = load_some(gate_up + F + d, count, 0);
    store_some(y + d, count, gate * vector_sigmoid(gate) * up);
  }
}

static void gated_rows(void *context, long part) {
  const Gated *g = context;
  for (long i = part * rows_of_a_part; i < least(g->N, (part + 1) * rows_of_a_part); i++) {
    swi_glu_row(g->F, g->gate_up + 2 * i * g->F, g->out + i * g->F);
  }
}

void swi_glu(long N, long F, const float *gate_up, float *y) {
  Gated gated = {N, F, 0, gate_up, y};
  in_parallel(gated_rows, &gated, parts_of(N));
}

// silu′(z) = σ(z) + silu(z) · (1 − σ(z)).
static void gated_gradient_rows(void *context, long part) {
  const Gated *g = context;
  const long F = g->F;
  for (long i = part * rows_of_a_part; i < least(g->N, (part + 1) * rows_of_a_part); i++) {
    const float *row = g->gate_up + 2 * i * F, *dy_row = g->dy + i * F;
    float *to = g->out + 2 * i * F;
    VECTORS(F, d, count) {
      const floats gate = load_some(row + d, count, 0), up = load_some(row + F + d, count, 0);
      const floats dy = load_some(dy_row + d, count, 0);
      const floats sigmoid = vector_sigmoid(gate), silu = gate * sigmoid;
      store_some(to + d, count, dy * up * (sigmoid + silu * (splat(1) - sigmoid)));
      store_some(to + F + d, count, dy * silu);
    }
  }
}

void swi_glu_gradient(long N, long F, const float *dy, const float *gate_up, float *d_gate_up) {
  Gated gated = {N, F, dy, gate_up, d_gate_up};
  in_parallel(gated_gradient_rows, &gated, parts_of(N));
}

typedef struct {
  long N, V;
  const float *logits;
  const int32_t *targets;
  float scale;
  float *logp, *log_sums;
  const float *dlogp, *known_sums;
  float *dlogits;
} Tokens;

static float log_sum_exp(const float *x, long count, float scale) {
  floats top = splat(-__builtin_inff());
  VECTORS(count, v, left) top = maximum(top, load_some(x + v, left, -__builtin_inff()));
  const float highest = highest_of(top) * scale;
  floats sum = splat(0);
  VECTORS(count, v, left) sum += vector_exp(load_some(x + v, left, -__builtin_inff()) * splat(scale) - splat(highest));
  return highest + __builtin_logf(sum_of(sum));
}

static void token_rows(void *context, long part) {
  const Tokens *t = context;
  for (long i = part * rows_of_a_part; i < least(t->N, (part + 1) * rows_of_a_part); i++) {
    const float *row = t->logits + i * t->V;
    t->log_sums[i] = log_sum_exp(row, t->V, t->scale);
    t->logp[i] = row[t->targets[i]] * t->scale - t->log_sums[i];
  }
}

void token_logprobs(long N, long V, const float *logits, const int32_t *targets, float scale, float *logp,
                    float *log_sums) {
  Tokens tokens = {N, V, logits, targets, scale, logp, log_sums, 0, 0, 0};
  in_parallel(token_rows, &tokens, parts_of(N));
}

static void token_gradient_rows(void *context, long part) {
  const Tokens *t = context;
  for (long i = part * rows_of_a_part; i < least(t->N, (part + 1) * rows_of_a_part); i++) {
    const float *row = t->logits + i * t->V;
    float *to = t->dlogits + i * t->V;
    const float weight = t->dlogp[i] * t->scale;
    if (weight == 0) {  // a padded or masked position
      VECTORS(t->V, v, count) store_some(to + v, count, splat(0));
      continue;
    }
    VECTORS(t->V, v, count) {
      const floats p = vector_exp(load_some(row + v, count, 0) * splat(t->scale) - splat(t->known_sums[i]));
      store_some(to + v, count, p * splat(-weight));
    }
    to[t->targets[i]] += weight;
  }
}

void token_logprobs_gradient(long N, long V, const float *logits, const int32_t *targets, const float *log_sums,
                             const float *dlogp, float scale, float *dlogits) {
  Tokens tokens = {N, V, logits, targets, scale, 0, 0, dlogp, log_sums, dlogits};
  in_parallel(token_gradient_rows, &tokens, parts_of(N));
}

typedef struct {
  long N, V;
  const float *logits;
  float scale;
  float *entropies, *log_sums;
  const float *dentropies, *known, *known_sums;
  float *dlogits;
} Entropies;

static void entropy_rows(void *context, long part) {
  const Entropies *e = context;
  const floats scale = splat(e->scale);
  for (long i = part * rows_of_a_part; i < least(e->N, (part + 1) * rows_of_a_part); i++) {
    const float *row = e->logits + i * e->V;
    const float log_sum = log_sum_exp(row, e->V, e->scale);
    floats mean = splat(0);  // of log p, which keeps more digits than the mean of the logits
    VECTORS(e->V, v, count) {
      // Lanes beyond the row have p = 0 and a finite log p.
      const floats log_p = load_some(row + v, count, -1e30f) * scale - splat(log_sum);
      mean += vector_exp(log_p) * log_p;
    }
    e->log_sums[i] = log_sum;
    e->entropies[i] = -sum_of(mean);
  }
}

void token_entropies(long N, long V, const float *logits, float scale, float *entropies, float *log_sums) {
  Entropies work = {.N = N, .V = V, .logits = logits, .scale = scale, .entropies = entropies, .log_sums = log_sums};
  in_parallel(entropy_rows, &work, parts_of(N));
}

static void entropy_gradient_rows(void *context, long part) {
  const Entropies *e = context;
  for (long i = part * rows_of_a_part; i < least(e->N, (part + 1) * rows_of_a_part); i++) {
    const floats weight = splat(-e->dentropies[i] * e->scale), entropy = splat(e->known[i]), log_sum = splat(e->known_sums[i]);
    VECTORS(e->V, v, count) {
      const floats log_p = load_some(e->logits + i * e->V + v, count, 0) * splat(e->scale) - log_sum;
      store_some(e->dlogits + i * e->V + v, count, vector_exp(log_p) * (log_p + entropy) * weight);
    }
  }
}

void token_entropies_gradient(long N, long V, const float *logits, const float *entropies, const float *log_sums,
                              const float *dentropies, float scale, float *dlogits) {
  Entropies work = {.N = N, .V = V, .logits = logits, .scale = scale, .dentropies = dentropies, .known = entropies,
                    .known_sums = log_sums, .dlogits = dlogits};
  in_parallel(entropy_gradient_rows, &work, parts_of(N));
}

void column_sums(long N, long D, const float *x, float *sums) {
  for (long d = 0; d < D; d++) sums[d] = 0;
  for (long i = 0; i < N; i++) {
    for (long d = 0; d < D; d++) sums[d] += x[i * D + d];
  }
}

enum { numbers_of_a_part = 1 << 16 };

typedef struct {
  long count;
  const float *value, *gradient, *m, *v, *scalars;
  float *new_value, *new_m, *new_v;
} Step;

static void adamw_part(void *context, long part) {
  const Step *s = context;
  const floats clip = splat(s->scalars[0]), beta1 = splat(s->scalars[1]), beta2 = splat(s->scalars[2]);
  const floats root = splat(s->scalars[3]), epsilon = splat(s->scalars[4]), rate = splat(s->scalars[5]);
  const floats keep = splat(s->scalars[6]), one = splat(1);
  const long from = part * numbers_of_a_part, count = least(numbers_of_a_part, s->count - from);
  VECTORS(count, i, left) {
    const long at = from + i;
    const floats g = load_some(s->gradient + at, left, 0) * clip;
    const floats m = load_some(s->m + at, left, 0) * beta1 + g * (one - beta1);
    const floats v = load_some(s->v + at, left, 0) * beta2 + g * g * (one - beta2);
    const floats change = m / (vector_sqrt(v) * root + epsilon) * rate;
    store_some(s->new_m + at, left, m);
    store_some(s->new_v + at, left, v);
    store_some(s->new_value + at, left, load_some(s->value + at, left, 0) * keep - change);
  }
}

void adamw(long count, const float *value, const float *gradient, const float *m, const float *v, const float *scalars,
           float *new_value, float *new_m, float *new_v) {
  Step step = {count, value, gradient, m, v, scalars, new_value, new_m, new_v};
  in_parallel(adamw_part, &step, (count + numbers_of_a_part - 1) / numbers_of_a_part);
}
