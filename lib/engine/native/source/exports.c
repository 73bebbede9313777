// What is called from outside; everything else is hidden.
#include "decoder.h"
#include "threads.h"

#define EXPORT __attribute__((visibility("default")))

// Whether this processor, and its operating system, have what the library is built for; asked without vector registers,
// which may be missing.
#if defined(__x86_64__)
#include <cpuid.h>

EXPORT __attribute__((target("no-avx"))) int native_supported(void) {
  unsigned a, b, c, d, low, high;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_FMA)) return 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
#if defined(__AVX512F__)
  const unsigned wanted = bit_AVX512F | bit_AVX512DQ | bit_AVX512CD | bit_AVX512BW | bit_AVX512VL, registers = 0xe6;
#else
  const unsigned wanted = bit_AVX2 | bit_BMI | bit_BMI2, registers = 6;
#endif
  return (low & registers) == registers && (b & wanted) == wanted;
}
#else
EXPORT int native_supported(void) { return 1; }
#endif

EXPORT void native_set_threads(int count) { set_threads(count); }

EXPORT Decoder *native_decoder_open(const DecoderShape *shape, float epsilon, const float *embedding, const float *cos,
                                    const float *sin) {
  return decoder_open(shape, epsilon, embedding, cos, sin);
}

EXPORT void native_decoder_matrix(Decoder *decoder, int layer, int which, const float *matrix, const float *norm,
                                  const float *bias) {
  decoder_matrix(decoder, layer, which, matrix, norm, bias);
}

EXPORT void native_decoder_copy(Decoder *decoder, int from, int to, int count) { decoder_copy(decoder, from, to, count); }

EXPORT void native_decoder_step(Decoder *decoder, const DecoderItem *items, int count, float scale, float *p) {
  decoder_step(decoder, items, count, scale, p);
}

EXPORT void native_decoder_draw(Decoder *decoder, const DecoderItem *items, int count, int steps, float scale,
                                const double *uniforms, const int32_t *limits, const uint8_t *ends, int32_t *tokens,
                                int32_t *counts, float *p) {
  const DecoderDraw draw = {steps, scale, uniforms, limits, ends, tokens, counts, p};
  decoder_draw(decoder, items, count, &draw);
}

EXPORT void native_decoder_close(Decoder *decoder) { decoder_close(decoder); }
