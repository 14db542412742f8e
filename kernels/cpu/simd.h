/* simd.h -- transcendental functions and dropout factors written so that the compiler vectorises the loops that
** call them: no branches, no calls. f32: relative error below 2e-7 (exp, tanh), absolute below 4e-7 (erf); the
** double build of the test twin uses libm. */
#ifndef DM_SIMD_H
#define DM_SIMD_H

#include "cpu.h"
#include "../../src/philox.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif
#include <math.h>
#include <string.h>

#ifdef DM_REAL

static inline dm_real dm_exp(dm_real x) { return exp(x); }
static inline dm_real dm_erf(dm_real x) { return erf(x); }
static inline dm_real dm_tanh_(dm_real x) { return tanh(x); }

#else

/* 2^k e^r with |r| <= ln 2 / 2, a degree-6 minimax polynomial (Cephes). Clamped to the finite range; below it 0. */
static inline float dm_exp(float x) {
  float c = x > 88.3f ? 88.3f : x;
  c = c < -87.3f ? -87.3f : c;
  float k = c * 1.44269504088896341f + 12582912.0f;      /* round to nearest by adding 1.5 * 2^23 */
  int32_t bits;
  memcpy(&bits, &k, 4);
  k -= 12582912.0f;
  float r = c - k * 0.693359375f + k * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  int32_t scale = (int32_t)((uint32_t)(bits - 0x4b400000 + 127) << 23);
  float s;
  memcpy(&s, &scale, 4);
  return x < -87.3f ? 0.0f : p * s;
}

/* tanh(x) = 1 - 2 / (e^2x + 1); near 0 its odd series, where that form cancels. */
static inline float dm_tanh_(float x) {
  float e = dm_exp(2.0f * x), far = 1.0f - 2.0f / (e + 1.0f), q = x * x;
  float near = x * (1.0f + q * (-0.333333333f + q * (0.133333333f + q * (-0.0539682540f + q * 0.0218694885f))));
  return q < 0.09f ? near : far;
}

/* The lesser of |x| and top, found in the bits, where numbers above 0 are in the order of integers: a comparison of reals
** would become masks and moves. Not a number becomes top. */
static inline float dm_within(float x, float top) {
  int32_t a, b;
  memcpy(&a, &x, 4);
  memcpy(&b, &top, 4);
  a &= 0x7fffffff;
  a = a < b ? a : b;
  memcpy(&x, &a, 4);
  return x;
}

/* x >= 0 with the sign of s. */
static inline float dm_signed(float x, float s) {
  uint32_t a, b;
  memcpy(&a, &x, 4);
  memcpy(&b, &s, 4);
  a |= b & 0x80000000u;
  memcpy(&x, &a, 4);
  return x;
}

/* erf(x) = x P(x^2) / Q(x^2), where P and Q, of degree 5 each, were fitted to erf on |x| <= 3.92 by least squares of the
** relative error, reweighted until its peaks were equal (Lawson's method): 1.9e-8; the rest is rounding. Beyond, erf is 1
** to f32's last digit, and the fraction grows past 1: at 4.1 by ten times what rounding may take from it. 1 or -1 where x
** is not a number. */
static inline float dm_erf(float x) {
  float a = dm_within(x, 4.1f), q = a * a;
  float p = 2.0500910978e-6f;
  p = p * q + 2.8488205862e-4f;
  p = p * q + 3.7655890919e-3f;
  p = p * q + 5.2748635411e-2f;
  p = p * q + 1.9040583074e-1f;
  p = p * q + 1.1283791065f;
  float r = 3.8091719034e-5f;
  r = r * q + 1.1625287589e-3f;
  r = r * q + 1.4969159849e-2f;
  r = r * q + 1.1410884559e-1f;
  r = r * q + 5.0207549333e-1f;
  r = r * q + 1.0f;
  return dm_signed(dm_within(a * p / r, 1.0f), x);
}

#endif

/* x Phi(x) and its derivative Phi(x) + x phi(x). */
static inline dm_real dm_gelu(dm_real x) {
  return (dm_real)0.5 * x * (1 + dm_erf(x * (dm_real)0.70710678118654752));
}

static inline dm_real dm_gelu_grad(dm_real x) {
  dm_real phi = (dm_real)0.39894228040143268 * dm_exp((dm_real)-0.5 * x * x);
  return (dm_real)0.5 * (1 + dm_erf(x * (dm_real)0.70710678118654752)) + x * phi;
}

static inline dm_real dm_act(dm_real x, int act) {
  return act == DM_GELU ? dm_gelu(x) : act == DM_RELU ? (x < 0 ? 0 : x) : act == DM_TANH ? dm_tanh_(x) : x;
}

static inline dm_real dm_act_grad(dm_real x, int act) {
  if (act == DM_TANH) {
    dm_real t = dm_tanh_(x);
    return 1 - t * t;
  }
  return act == DM_GELU ? dm_gelu_grad(x) : act == DM_RELU ? (dm_real)!(x <= 0) : 1;
}

/* y = act(x), and y = dy * act'(x), over n elements: one loop per activation so that each vectorises. */
static inline void dm_act_span(dm_real *y, const dm_real *x, size_t n, int act) {
  if (act == DM_GELU) {
#pragma omp simd
    for (size_t i = 0; i < n; i++) y[i] = dm_gelu(x[i]);
  } else if (act == DM_RELU) {
#pragma omp simd
    for (size_t i = 0; i < n; i++) y[i] = x[i] < 0 ? 0 : x[i];
  } else if (act == DM_TANH) {
#pragma omp simd
    for (size_t i = 0; i < n; i++) y[i] = dm_tanh_(x[i]);
  } else if (y != x) {
    memcpy(y, x, n * sizeof *y);
  }
}

static inline void dm_act_grad_span(dm_real *y, const dm_real *dy, const dm_real *x, size_t n, int act) {
  if (act == DM_GELU) {
#pragma omp simd
    for (size_t i = 0; i < n; i++) y[i] = dy[i] * dm_gelu_grad(x[i]);
  } else if (act == DM_RELU) {
#pragma omp simd
    for (size_t i = 0; i < n; i++) y[i] = x[i] <= 0 ? 0 : dy[i];
  } else if (act == DM_TANH) {
#pragma omp simd
    for (size_t i = 0; i < n; i++) y[i] = dy[i] * dm_act_grad(x[i], DM_TANH);
  } else if (y != dy) {
    memcpy(y, dy, n * sizeof *y);
  }
}

enum { DM_BLOCK = 256 };                /* values that are widened on the stack */

/* g = dy act'(pre), n values. */
static inline void dm_act_grad_rows(dm_real *g, const dm_store *dy, const dm_store *pre, size_t n, int act) {
  dm_real u[DM_BLOCK], v[DM_BLOCK];
  size_t step = DM_NARROW ? DM_BLOCK : n;
  for (size_t i = 0; i < n; i += step) {
    size_t m = n - i < step ? n - i : step;
    dm_act_grad_span(g + i, dm_read(dy + i, u, m), act == DM_NONE ? NULL : dm_read(pre + i, v, m), m, act);
  }
}

/* The end of a row of a product: pre = v where it is kept, y = act(v). v may be worked on; where store is real it is
** the row of pre, or of y where pre is not kept. */
static inline void dm_finish(dm_store *y, dm_store *pre, dm_real *v, size_t n, int act) {
  if (pre) dm_settle(pre, v, n);
  dm_real *o = dm_work(y, v);
  dm_act_span(o, v, n, act);
  dm_settle(y, o, n);
}

#if defined __AVX512F__

/* Factors of 64 elements from element 64 g on: eight counters in a register, each in the low half of 64 bits (what is
** in the high half does not matter), two registers side by side. Same bits as the plain form below: u / 2^24 < p where
** u < 2^24 p. */
static inline void dm_keep_group(float out[64], uint64_t g, float p, float scale, uint32_t site, const dm_knobs *k) {
  enum { SIDE = 2, XOR3 = 0x96 };
  const __m512i m0 = _mm512_set1_epi64(0xD2511F53), m1 = _mm512_set1_epi64(0xCD9E8D57);
  const __m512i limit = _mm512_set1_epi32((int)((uint32_t)ceilf(p * 16777216.0f) << 8));
  const __m512i turn = _mm512_set_epi64(11, 3, 10, 2, 9, 1, 8, 0);
  __m512i c0[SIDE], c1[SIDE], c2[SIDE], c3[SIDE];
  uint32_t k0 = k->seed[0], k1 = k->seed[1];
  for (int i = 0; i < SIDE; i++) {
    uint64_t block = 16 * g + 8 * (uint64_t)i;                       /* the 16 differ in their low four bits alone */
    c0[i] = _mm512_set1_epi64((int64_t)(block & 0xffffffff));
    c0[i] = _mm512_add_epi64(c0[i], _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0));
    c1[i] = _mm512_set1_epi64((int64_t)(block >> 32));
    c2[i] = _mm512_set1_epi64(site);
    c3[i] = _mm512_set1_epi64(k->step);
  }
  for (int round = 0; round < 10; round++) {
    const __m512i key0 = _mm512_set1_epi64(k0), key1 = _mm512_set1_epi64(k1);
    for (int i = 0; i < SIDE; i++) {
      __m512i p0 = _mm512_mul_epu32(c0[i], m0), p1 = _mm512_mul_epu32(c2[i], m1);
      c0[i] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p1, 32), c1[i], key0, XOR3);
      c2[i] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p0, 32), c3[i], key1, XOR3);
      c1[i] = p1;
      c3[i] = p0;
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  for (int i = 0; i < SIDE; i++) {
    __m512i a = _mm512_mask_blend_epi32(0xAAAA, c0[i], _mm512_slli_epi64(c1[i], 32));    /* words 0, 1 of a counter */
    __m512i b = _mm512_mask_blend_epi32(0xAAAA, c2[i], _mm512_slli_epi64(c3[i], 32));    /* words 2, 3 */
    for (int h = 0; h < 2; h++) {
      __m512i v = _mm512_permutex2var_epi64(a, h ? _mm512_add_epi64(turn, _mm512_set1_epi64(4)) : turn, b);
      __m512 f = _mm512_maskz_mov_ps(_mm512_cmpge_epu32_mask(v, limit), _mm512_set1_ps(scale));
      _mm512_storeu_ps(out + 32 * i + 16 * h, f);
    }
  }
}

#elif defined __AVX2__

/* Factors of 64 elements from element 64 g on: four counters in a register, each in the low half of 64 bits (what is in
** the high half does not matter), two registers in turn. Same bits as the plain form below. */
static inline void dm_keep_group(float out[64], uint64_t g, float p, float scale, uint32_t site, const dm_knobs *k) {
  enum { TURN = 2 };
  const __m256i m0 = _mm256_set1_epi64x(0xD2511F53), m1 = _mm256_set1_epi64x(0xCD9E8D57);
  const __m256 unit = _mm256_set1_ps(1.0f / 16777216.0f), limit = _mm256_set1_ps(p), kept = _mm256_set1_ps(scale);
  for (int from = 0; from < 4; from += TURN, out += 16 * TURN) {
    __m256i c0[TURN], c1[TURN], c2[TURN], c3[TURN];
    uint32_t k0 = k->seed[0], k1 = k->seed[1];
    for (int i = 0; i < TURN; i++) {
      uint64_t block = 16 * g + 4 * (uint64_t)(from + i);            /* the 16 differ in their low four bits alone */
      c0[i] = _mm256_add_epi64(_mm256_set1_epi64x((int64_t)(block & 0xffffffff)), _mm256_set_epi64x(3, 2, 1, 0));
      c1[i] = _mm256_set1_epi64x((int64_t)(block >> 32));
      c2[i] = _mm256_set1_epi64x(site);
      c3[i] = _mm256_set1_epi64x(k->step);
    }
    for (int round = 0; round < 10; round++) {
      const __m256i key0 = _mm256_set1_epi64x(k0), key1 = _mm256_set1_epi64x(k1);
      for (int i = 0; i < TURN; i++) {
        __m256i p0 = _mm256_mul_epu32(c0[i], m0), p1 = _mm256_mul_epu32(c2[i], m1);
        c0[i] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p1, 32), c1[i]), key0);
        c2[i] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p0, 32), c3[i]), key1);
        c1[i] = p1;
        c3[i] = p0;
      }
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    for (int i = 0; i < TURN; i++) {
      __m256i a = _mm256_blend_epi32(c0[i], _mm256_slli_epi64(c1[i], 32), 0xAA);    /* words 0, 1 of four counters */
      __m256i b = _mm256_blend_epi32(c2[i], _mm256_slli_epi64(c3[i], 32), 0xAA);    /* words 2, 3 */
      __m256i even = _mm256_unpacklo_epi64(a, b), odd = _mm256_unpackhi_epi64(a, b);
      __m256i v[2] = { _mm256_permute2x128_si256(even, odd, 0x20), _mm256_permute2x128_si256(even, odd, 0x31) };
      for (int h = 0; h < 2; h++) {
        __m256 u = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_srli_epi32(v[h], 8)), unit);
        _mm256_storeu_ps(out + 16 * i + 8 * h, _mm256_andnot_ps(_mm256_cmp_ps(u, limit, _CMP_LT_OQ), kept));
      }
    }
  }
}

#else

/* Factors of 64 elements from element 64 g on: 16 counters side by side. */
static inline void dm_keep_group(float out[64], uint64_t g, float p, float scale, uint32_t site, const dm_knobs *k) {
  uint32_t c0[16], c1[16], c2[16], c3[16];
  for (int i = 0; i < 16; i++) {
    uint64_t block = 16 * g + (uint64_t)i;
    c0[i] = (uint32_t)block;
    c1[i] = (uint32_t)(block >> 32);
    c2[i] = site;
    c3[i] = k->step;
  }
  uint32_t k0 = k->seed[0], k1 = k->seed[1];
  for (int round = 0; round < 10; round++) {
#pragma omp simd
    for (int i = 0; i < 16; i++) {
      uint64_t p0 = (uint64_t)0xD2511F53u * c0[i], p1 = (uint64_t)0xCD9E8D57u * c2[i];
      uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1[i] ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3[i] ^ k1;
      c1[i] = (uint32_t)p1;
      c3[i] = (uint32_t)p0;
      c0[i] = n0;
      c2[i] = n2;
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  for (int i = 0; i < 16; i++) {
    out[4 * i] = dm_uniform(c0[i]) < p ? 0 : scale;
    out[4 * i + 1] = dm_uniform(c1[i]) < p ? 0 : scale;
    out[4 * i + 2] = dm_uniform(c2[i]) < p ? 0 : scale;
    out[4 * i + 3] = dm_uniform(c3[i]) < p ? 0 : scale;
  }
}

#endif

/* out[0..n) = dropout factors, 0 or 1 / (1 - p), of elements e0 .. e0 + n of stream `site` in this step. */
static inline void dm_keep_mask(dm_real *out, size_t e0, size_t n, float p, uint32_t site, const dm_knobs *k) {
  dm_real scale = 1 / (1 - (dm_real)p);
  float group[64];
  for (size_t e = e0; e < e0 + n;) {
    size_t g = e / 64, from = e % 64, take = 64 - from;
    if (take > e0 + n - e) take = e0 + n - e;
    if (take == 64 && sizeof(dm_real) == sizeof(float)) {
      dm_keep_group((float *)(out + (e - e0)), g, p, (float)scale, site, k);
    } else {
      dm_keep_group(group, g, p, 1.0f, site, k);
      for (size_t i = 0; i < take; i++) out[e - e0 + i] = group[from + i] * scale;
    }
    e += take;
  }
}

#endif
