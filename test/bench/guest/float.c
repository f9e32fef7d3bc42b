/* Floating-point and vector kernels. */
#include "bench.h"
#define _MM_MALLOC_H_INCLUDED 1 /* of what the next header includes, it alone needs a library */
#include <emmintrin.h>

/* The Mandelbrot set: iterations over a small picture, in SSE2 doubles ... */
static u64 mandelbrot_sse2(void) {
  u64 sum = 0;
  for (int y = 0; y < 96; y++) {
    for (int x = 0; x < 128; x++) {
      double cr = x * (3.0 / 128) - 2.25, ci = y * (2.5 / 96) - 1.25, zr = 0, zi = 0;
      int n = 0;
      for (; n < 200; n++) {
        double r2 = zr * zr, i2 = zi * zi;
        if (r2 + i2 > 4.0) break;
        zi = 2 * zr * zi + ci;
        zr = r2 - i2 + cr;
      }
      sum = sum * 3 + n;
    }
  }
  return sum;
}

/* ... and in the x87's extended precision. */
static u64 mandelbrot_x87(void) {
  u64 sum = 0;
  for (int y = 0; y < 48; y++) {
    for (int x = 0; x < 64; x++) {
      long double cr = x * (3.0L / 64) - 2.25L, ci = y * (2.5L / 48) - 1.25L, zr = 0, zi = 0;
      int n = 0;
      for (; n < 200; n++) {
        long double r2 = zr * zr, i2 = zi * zi;
        if (r2 + i2 > 4.0L) break;
        zi = 2 * zr * zi + ci;
        zr = r2 - i2 + cr;
      }
      sum = sum * 3 + n;
    }
  }
  return sum;
}

/* Packed integers: sums, products, comparisons, shuffles. */
static u64 sse2_integer(void) {
  __m128i *words = (__m128i *)arena;
  u64 state = 17;
  for (u32 i = 0; i < 4096; i++) words[i] = _mm_set_epi64x(next_random(&state), next_random(&state));
  __m128i sum = _mm_setzero_si128(), bias = _mm_set1_epi16(3);
  for (u32 round = 0; round < 220; round++) {
    for (u32 i = 0; i < 4096; i++) {
      __m128i v = _mm_load_si128(&words[i]);
      __m128i p = _mm_mullo_epi16(v, bias);
      __m128i m = _mm_cmpgt_epi16(p, sum);
      __m128i s = _mm_adds_epu8(_mm_srli_epi16(v, 3), _mm_shuffle_epi32(p, 0x4e));
      __m128i blended = _mm_or_si128(_mm_and_si128(m, s), _mm_andnot_si128(m, p));
      sum = _mm_add_epi32(sum, _mm_unpacklo_epi8(blended, _mm_madd_epi16(v, bias)));
      sum = _mm_add_epi64(sum, _mm_sad_epu8(v, blended));
    }
    bias = _mm_xor_si128(bias, _mm_slli_epi32(sum, 1));
  }
  u64 halves[2];
  _mm_storeu_si128((__m128i *)halves, sum);
  return halves[0] ^ halves[1];
}

const struct kernel float_kernels[] = {
  { "mandelbrot-sse2", 0, mandelbrot_sse2 }, { "mandelbrot-x87", 0, mandelbrot_x87 }, { "sse2-integer", 0, sse2_integer }, { 0, 0, 0 },
};
