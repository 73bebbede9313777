// The kernels as a module of WebAssembly: what takes the place of threads, and those functions whose arguments are others than
// the kernel's inputs in their order. It has no data of its own, so that it can share the memory of tfjs's module; its stack
// and its scratch space are given to it.
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

EXPORT(token_logprobs_gradient) void wasm_token_logprobs_gradient(long N, long V, const float *dlogp, const float *logits,
                                                                  const int32_t *targets, const float *log_sums,
                                                                  float scale, float *dlogits) {
  token_logprobs_gradient(N, V, logits, targets, log_sums, dlogp, scale, dlogits);
}

EXPORT(token_entropies_gradient) void wasm_token_entropies_gradient(long N, long V, const float *dentropies,
                                                                    const float *logits, const float *entropies,
                                                                    const float *log_sums, float scale, float *dlogits) {
  token_entropies_gradient(N, V, logits, entropies, log_sums, dentropies, scale, dlogits);
}
