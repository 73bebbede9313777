// A Qwen2 or Llama decoder with a KV cache, for generation: any tokens of any rows in, distributions of the next token out.
#pragma once
#include "simd.h"

// Letters: D width, H heads, K key-value heads, Dh head width, F feed-forward width, V vocabulary, L blocks.
typedef struct {
  int32_t D, H, K, Dh, F, V, L, slots, positions;
} DecoderShape;

typedef struct Decoder Decoder;

// What decoder_matrix is given.
enum { matrix_qkv, matrix_output, matrix_gate_up, matrix_down, matrix_logits };

// A token of the row in `slot` at `position`; whether the distribution after it is wanted.
typedef struct {
  int32_t token, slot, position, wanted;
} DecoderItem;

// A decoder without weights, or null where memory is short. `embedding` is [V, D], cosines and sines [positions, Dh / 2].
Decoder *decoder_open(const DecoderShape *shape, float epsilon, const float *embedding, const float *cos, const float *sin);

// Copies a matrix [out, in] of a block, each input times norm[in], the weights of the norm before it, and its bias[out];
// either may be null.
void decoder_matrix(Decoder *decoder, int layer, int which, const float *matrix, const float *norm, const float *bias);

// Copies the first `count` positions of a slot into another.
void decoder_copy(Decoder *decoder, int from, int to, int count);

// Sends items through the model. Items of one slot come together, in the order of their positions, and all that stand
// before the first of them are in the cache. For the n-th wanted item, softmax(logits · scale) is row n of `p`, [V] each.
// An item's numbers depend on its own row alone, to the last bit.
void decoder_step(Decoder *decoder, const DecoderItem *items, int count, float scale, float *p);

// Draws tokens from the distributions after the wanted items, one a row, the last of its slot, and sends them through the
// model in their turn: row n gets at most limits[n] ≤ `steps` tokens, none after one that `ends`[V] marks. The tokens and
// their probabilities are tokens[n][steps] and p[n][steps], and counts[n] says how many. A token is the first id, in their
// order, at which the cumulative probability passes uniforms[n][i] of the total; for a uniform below 0 the likeliest; −1
// where the distribution holds a number that is none.
typedef struct {
  int32_t steps;
  float scale;
  const double *uniforms;
  const int32_t *limits;
  const uint8_t *ends;
  int32_t *tokens, *counts;
  float *p;
} DecoderDraw;

void decoder_draw(Decoder *decoder, const DecoderItem *items, int count, const DecoderDraw *draw);

void decoder_close(Decoder *decoder);
