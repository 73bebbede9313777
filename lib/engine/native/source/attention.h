// Causal self-attention of packed rows, with rotary positions, and its gradient.
#pragma once
#include "simd.h"

// B rows of T tokens; a row holds one sequence or several, end to end: a token below 0, and a row's first, begins one. A token
// below −2³⁰ begins a branch: a sequence whose first tokens are those of the last sequence that is none. H query heads, K
// key-value heads, Dh their width. A token's row of qkv is q[H·Dh] (scaled already), k[K·Dh], v[K·Dh]. Cosines and sines are
// [T, Dh / 2], by the position in the sequence.
typedef struct {
  long B, T, H, K, Dh;
  const float *qkv, *cos, *sin;
  const int32_t *tokens;
} Heads;

// out [B·T, H·Dh], and for every query log Σ e^score, [B·T, H]: all that the gradient needs of the scores.
void attention(const Heads *heads, float *out, float *log_sums);

// dqkv of dout, as qkv lies.
void attention_gradient(const Heads *heads, const float *dout, const float *out, const float *log_sums, float *dqkv);
