// The decoder's small operations and their gradients, a pass over memory each. Letters: N rows, D width, F inner width of
// the feed-forward block, V vocabulary. All shared by rows among the threads that are idle.
#pragma once
#include "simd.h"

// RMSNorm (arXiv 1910.07467, eq. 4): y = x / sqrt(mean(x²) + epsilon) · w. [N, D].
void rms_norm(long N, long D, const float *x, const float *w, float epsilon, float *y);

// Its gradient: dx [N, D] and dw [D].
void rms_norm_gradient(long N, long D, const float *dy, const float *x, const float *w, float epsilon, float *dx,
                       float *dw);

// SwiGLU (arXiv 2002.05202, eq. 6) of rows gate[F], up[F]: y = gate · sigmoid(gate) · up. [N, 2F] → [N, F].
void swi_glu(long N, long F, const float *gate_up, float *y);

// The same of one row.
void swi_glu_row(long F, const float *gate_up, float *y);

// Its gradient, [N, 2F].
void swi_glu_gradient(long N, long F, const float *dy, const float *gate_up, float *d_gate_up);

// log softmax(logits · scale) of each row's target, and the row's log Σ e^(logits · scale). [N, V] → [N], [N].
void token_logprobs(long N, long V, const float *logits, const int32_t *targets, float scale, float *logp,
                    float *log_sums);

// Its gradient, (one-hot − softmax) · scale · dlogp, [N, V].
void token_logprobs_gradient(long N, long V, const float *logits, const int32_t *targets, const float *log_sums,
                             const float *dlogp, float scale, float *dlogits);

// Entropies of softmax(logits · scale), log Z − Σ p·l·scale, and each row's log Z. [N, V] → [N], [N].
void token_entropies(long N, long V, const float *logits, float scale, float *entropies, float *log_sums);

// Their gradient, −p · (log p + H) · scale · dH, [N, V].
void token_entropies_gradient(long N, long V, const float *logits, const float *entropies, const float *log_sums,
                              const float *dentropies, float scale, float *dlogits);

// The sum over rows: [N, D] → [D].
void column_sums(long N, long D, const float *x, float *sums);

// AdamW (arXiv 1711.05101, algorithm 2) as torch.optim.AdamW computes it, of `count` numbers. Scalars: the factor of the
// gradient, β₁, β₂, the root of 1 / (1 − β₂ᵗ), ε, the learning rate by 1 − β₁ᵗ, and the factor of decay, 1 − rate · λ.
void adamw(long count, const float *value, const float *gradient, const float *m, const float *v, const float *scalars,
           float *new_value, float *new_m, float *new_v);
