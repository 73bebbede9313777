// What is called from outside; everything else is hidden.
#include "decoder.h"
#include "threads.h"

#define EXPORT __attribute__((visibility("default")))

#if defined(__x86_64__)
#include <cpuid.h>

// Bits of CPUID's leaf 7, register EBX, that processor and operating system both have; without the vector registers that
// may be missing.
__attribute__((target("no-avx"))) static unsigned features(void) {
  unsigned a, b, c, d, low, high;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_FMA)) return 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low & 6) != 6 || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  return (low & 0xe0) == 0xe0 ? b : b & ~(unsigned)bit_AVX512F;
}

// Whether this processor has what the kernels are built for.
EXPORT __attribute__((target("no-avx"))) int native_supported(void) { return (features() & bit_AVX2) != 0; }

// Whether it has vectors of 16 floats too, which libtensorflow's own matrix product uses.
EXPORT __attribute__((target("no-avx"))) int native_has_avx512(void) { return (features() & bit_AVX512F) != 0; }
#else
EXPORT int native_supported(void) { return 1; }
EXPORT int native_has_avx512(void) { return 0; }
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
