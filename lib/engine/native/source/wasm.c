// The kernels as a module of WebAssembly: what tfjs calls, and what takes the place of threads. It has no data of its own,
// so that it can share the memory of tfjs's module; its stack and its scratch space are given to it.
#include "attention.h"
#include "layers.h"
#include "threads.h"

#define EXPORT(NAME) __attribute__((export_name(#NAME)))
#define IMPORT(NAME) __attribute__((import_module("env"), import_name(#NAME)))

// Where the `number`-th scratch space lies, of so many bytes at least; Math.log.
IMPORT(scratch) void *imported_scratch(int number, long bytes);
IMPORT(log) double imported_log(double x);

void *scratch_of(int number, long bytes) { return imported_scratch(number, bytes); }
float logf(float x) { return (float)imported_log(x); }

void kernel_begins(void) {}
void kernel_ends(void) {}
int idle_threads(void) { return 1; }

void in_parallel(void (*work)(void *, long), void *context, long parts) {
  for (long part = 0; part < parts; part++) work(context, part);
}

EXPORT(rms_norm) void wasm_rms_norm(long N, long D, const float *x, const float *w, float epsilon, float *y) {
  rms_norm(N, D, x, w, epsilon, y);
}

EXPORT(rms_norm_gradient) void wasm_rms_norm_gradient(long N, long D, const float *dy, const float *x, const float *w,
                                                      float epsilon, float *dx, float *dw) {
  rms_norm_gradient(N, D, dy, x, w, epsilon, dx, dw);
}

EXPORT(swi_glu) void wasm_swi_glu(long N, long F, const float *gate_up, float *y) { swi_glu(N, F, gate_up, y); }

EXPORT(swi_glu_gradient) void wasm_swi_glu_gradient(long N, long F, const float *dy, const float *gate_up, float *to) {
  swi_glu_gradient(N, F, dy, gate_up, to);
}

EXPORT(attention) void wasm_attention(long B, long T, long H, long K, long Dh, const float *qkv, const float *cos,
                                      const float *sin, const int32_t *tokens, float *out, float *log_sums) {
  const Heads heads = {B, T, H, K, Dh, qkv, cos, sin, tokens};
  attention(&heads, out, log_sums);
}

EXPORT(attention_gradient) void wasm_attention_gradient(long B, long T, long H, long K, long Dh, const float *dout,
                                                        const float *out, const float *log_sums, const float *qkv,
                                                        const float *cos, const float *sin, const int32_t *tokens,
                                                        float *dqkv) {
  const Heads heads = {B, T, H, K, Dh, qkv, cos, sin, tokens};
  attention_gradient(&heads, dout, out, log_sums, dqkv);
}

EXPORT(token_logprobs) void wasm_token_logprobs(long N, long V, const float *logits, const int32_t *targets, float scale,
                                                float *logp, float *log_sums) {
  token_logprobs(N, V, logits, targets, scale, logp, log_sums);
}

EXPORT(token_logprobs_gradient) void wasm_token_logprobs_gradient(long N, long V, const float *dlogp, const float *logits,
                                                                  const int32_t *targets, const float *log_sums,
                                                                  float scale, float *dlogits) {
  token_logprobs_gradient(N, V, logits, targets, log_sums, dlogp, scale, dlogits);
}

EXPORT(token_entropies) void wasm_token_entropies(long N, long V, const float *logits, float scale, float *entropies,
                                                  float *log_sums) {
  token_entropies(N, V, logits, scale, entropies, log_sums);
}

EXPORT(token_entropies_gradient) void wasm_token_entropies_gradient(long N, long V, const float *dentropies,
                                                                    const float *logits, const float *entropies,
                                                                    const float *log_sums, float scale, float *dlogits) {
  token_entropies_gradient(N, V, logits, entropies, log_sums, dentropies, scale, dlogits);
}

EXPORT(column_sums) void wasm_column_sums(long N, long D, const float *x, float *sums) { column_sums(N, D, x, sums); }

EXPORT(adamw) void wasm_adamw(long count, const float *value, const float *gradient, const float *m, const float *v,
                              const float *scalars, float *new_value, float *new_m, float *new_v) {
  adamw(count, value, gradient, m, v, scalars, new_value, new_m, new_v);
}
