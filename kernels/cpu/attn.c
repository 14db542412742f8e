/* attn.c -- attention on the CPU: one (row, head) at a time per thread, in buffers that stay in cache.
**
** q, k, v of a head are packed (and k, v transposed where a product needs it) with rows padded to 32, so that every
** product is the same small kernel. Backward recomputes the probabilities from the saved log-sum-exp. */
#include "cpu.h"
#include "simd.h"

#include <math.h>
#include <omp.h>
#include <string.h>

enum { TILE = 32, QUAD = 4 };

static int padded(int n) { return (n + TILE - 1) / TILE * TILE; }

/* c [m, n] = a [m, k] b [k, n]; n is a multiple of TILE. Four rows of c by TILE columns stay in registers. */
static void small_gemm(dm_real *restrict c, int ldc, const dm_real *restrict a, int lda, const dm_real *restrict b,
                       int ldb, int m, int n, int k) {
  int i = 0;
  for (; i + QUAD <= m; i += QUAD) {
    for (int j = 0; j < n; j += TILE) {
      dm_real s0[TILE] = { 0 }, s1[TILE] = { 0 }, s2[TILE] = { 0 }, s3[TILE] = { 0 };
      const dm_real *p = a + (size_t)i * lda;
      for (int l = 0; l < k; l++) {
        const dm_real *row = b + (size_t)l * ldb + j;
        dm_real x0 = p[l], x1 = p[lda + l], x2 = p[2 * lda + l], x3 = p[3 * lda + l];
#pragma omp simd
        for (int t = 0; t < TILE; t++) {
          s0[t] += x0 * row[t];
          s1[t] += x1 * row[t];
          s2[t] += x2 * row[t];
          s3[t] += x3 * row[t];
        }
      }
      dm_real *o = c + (size_t)i * ldc + j;
      memcpy(o, s0, sizeof s0);
      memcpy(o + ldc, s1, sizeof s1);
      memcpy(o + 2 * ldc, s2, sizeof s2);
      memcpy(o + 3 * ldc, s3, sizeof s3);
    }
  }
  for (; i < m; i++) {
    for (int j = 0; j < n; j += TILE) {
      dm_real s[TILE] = { 0 };
      for (int l = 0; l < k; l++) {
        const dm_real *row = b + (size_t)l * ldb + j;
        dm_real x = a[(size_t)i * lda + l];
#pragma omp simd
        for (int t = 0; t < TILE; t++) s[t] += x * row[t];
      }
      memcpy(c + (size_t)i * ldc + j, s, sizeof s);
    }
  }
}

/* out [S, Dp] = the head's slice of x (row stride `stride`), times f; padding is zero. */
static void pack(dm_real *out, const dm_real *x, size_t stride, int S, int D, dm_real f) {
  int Dp = padded(D);
  for (int s = 0; s < S; s++) {
    dm_real *o = out + (size_t)s * Dp;
    const dm_real *v = x + (size_t)s * stride;
    for (int j = 0; j < D; j++) o[j] = f * v[j];
    for (int j = D; j < Dp; j++) o[j] = 0;
  }
}

/* out [D, Sp] = the slice transposed. */
static void pack_transposed(dm_real *out, const dm_real *x, size_t stride, int S, int D) {
  int Sp = padded(S);
  for (int j = 0; j < D; j++) {
    dm_real *o = out + (size_t)j * Sp;
    for (int s = 0; s < S; s++) o[s] = x[(size_t)s * stride + j];
    for (int s = S; s < Sp; s++) o[s] = 0;
  }
}

/* The head's slice of y (row stride `stride`) (+)= v [S, Dp] * f. */
static void unpack(dm_real *y, size_t stride, const dm_real *v, int S, int D, dm_real f, int add) {
  int Dp = padded(D);
  for (int s = 0; s < S; s++) {
    dm_real *o = y + (size_t)s * stride;
    const dm_real *x = v + (size_t)s * Dp;
    for (int j = 0; j < D; j++) o[j] = add ? o[j] + f * x[j] : f * x[j];
  }
}

/* Scores of one query -> probabilities; returns the log-sum-exp, 0 where no key is attended. */
static dm_real softmax(dm_real *p, const int32_t *mask, int S) {
  dm_real top = -INFINITY, sum = 0;
  if (mask) {
    for (int j = 0; j < S; j++) p[j] = mask[j] ? p[j] : -INFINITY;
  }
  for (int j = 0; j < S; j++) top = p[j] > top ? p[j] : top;
  if (top == -INFINITY) {
    for (int j = 0; j < S; j++) p[j] = 0;
    return 0;
  }
#pragma omp simd reduction(+ : sum)
  for (int j = 0; j < S; j++) {
    p[j] = dm_exp(p[j] - top);
    sum += p[j];
  }
  dm_real f = 1 / sum;
#pragma omp simd
  for (int j = 0; j < S; j++) p[j] *= f;
  return top + (dm_real)log(sum);
}

dm_status cpu_attention_fwd(dm_device *d, dm_tensor *y, dm_tensor *stat, const dm_tensor *qkv,
                            const dm_tensor *mask, int32_t heads, float p, uint32_t site) {
  int B = qkv->shape[0], S = qkv->shape[1], C = qkv->shape[2] / 3, D = C / heads, Dp = padded(D), Sp = padded(S);
  size_t each = 2 * (size_t)S * Dp + (size_t)D * Sp + (size_t)S * Sp + (size_t)S * Dp + (size_t)Sp;
  void *scratch;
  dm_status s = dm_scratch(d, (size_t)omp_get_max_threads() * each * sizeof(dm_real), &scratch);
  if (s) return s;
  dm_real f = 1 / (dm_real)sqrt(D);
#pragma omp parallel for schedule(dynamic, 1)
  for (int bh = 0; bh < B * heads; bh++) {
    int b = bh / heads, h = bh % heads;
    dm_real *q = (dm_real *)scratch + (size_t)omp_get_thread_num() * each;
    dm_real *v = q + (size_t)S * Dp, *kt = v + (size_t)S * Dp, *prob = kt + (size_t)D * Sp;
    dm_real *out = prob + (size_t)S * Sp, *keep = out + (size_t)S * Dp;
    const dm_real *x = (const dm_real *)qkv->data + (size_t)b * S * 3 * C + (size_t)h * D;
    const int32_t *m = mask ? (const int32_t *)mask->data + (size_t)b * S : NULL;
    pack(q, x, 3 * (size_t)C, S, D, f);
    pack_transposed(kt, x + C, 3 * (size_t)C, S, D);
    pack(v, x + 2 * C, 3 * (size_t)C, S, D, 1);
    small_gemm(prob, Sp, q, Dp, kt, Sp, S, Sp, D);
    for (int i = 0; i < S; i++) {
      dm_real *row = prob + (size_t)i * Sp;
      ((dm_real *)stat->data)[(size_t)bh * S + i] = softmax(row, m, S);
      if (p > 0) {
        dm_keep_mask(keep, ((size_t)bh * S + i) * S, (size_t)S, p, site, &d->knobs);
#pragma omp simd
        for (int j = 0; j < S; j++) row[j] *= keep[j];
      }
    }
    small_gemm(out, Dp, prob, Sp, v, Dp, S, Dp, S);
    unpack((dm_real *)y->data + (size_t)b * S * C + (size_t)h * D, (size_t)C, out, S, D, 1, 0);
  }
  return DM_OK;
}

/* Row i of the softmax's backward. ds in: dy v^T (of dropped probabilities). Writes column i of pt (dropped
** probabilities) and of dst, and row i of ds. delta = dy . y of the row. */
static void backward_row(dm_real *prob, dm_real *ds, dm_real *pt, dm_real *dst, const dm_real *keep, dm_real lse,
                         dm_real delta, const int32_t *mask, int i, int S, int Sp) {
#pragma omp simd
  for (int j = 0; j < S; j++) {
    dm_real e = dm_exp(prob[j] - lse);
    prob[j] = mask && !mask[j] ? 0 : e;
  }
#pragma omp simd
  for (int j = 0; j < S; j++) ds[j] = prob[j] * ((keep ? ds[j] * keep[j] : ds[j]) - delta);
  for (int j = 0; j < S; j++) {
    pt[(size_t)j * Sp + i] = keep ? prob[j] * keep[j] : prob[j];
    dst[(size_t)j * Sp + i] = ds[j];
  }
}

dm_status cpu_attention_bwd(dm_device *d, dm_tensor *dqkv, const dm_tensor *dy, const dm_tensor *y,
                            const dm_tensor *qkv, const dm_tensor *stat, const dm_tensor *mask,
                            int32_t heads, float p, uint32_t site, uint32_t acc) {
  if (!dqkv) return DM_OK;
  int B = qkv->shape[0], S = qkv->shape[1], C = qkv->shape[2] / 3, D = C / heads, Dp = padded(D), Sp = padded(S);
  size_t each = 4 * (size_t)S * Dp + 2 * (size_t)D * Sp + 4 * (size_t)S * Sp + (size_t)Sp;
  void *scratch;
  dm_status s = dm_scratch(d, (size_t)omp_get_max_threads() * each * sizeof(dm_real), &scratch);
  if (s) return s;
  dm_real f = 1 / (dm_real)sqrt(D);
  int add = acc & 1;
#pragma omp parallel for schedule(dynamic, 1)
  for (int bh = 0; bh < B * heads; bh++) {
    int b = bh / heads, h = bh % heads;
    size_t wide = 3 * (size_t)C, at = (size_t)b * S * wide + (size_t)h * D, at_y = (size_t)b * S * C + (size_t)h * D;
    dm_real *q = (dm_real *)scratch + (size_t)omp_get_thread_num() * each;
    dm_real *k = q + (size_t)S * Dp, *g = k + (size_t)S * Dp, *out = g + (size_t)S * Dp;
    dm_real *kt = out + (size_t)S * Dp, *vt = kt + (size_t)D * Sp, *prob = vt + (size_t)D * Sp;
    dm_real *ds = prob + (size_t)S * Sp, *pt = ds + (size_t)S * Sp, *dst = pt + (size_t)S * Sp;
    dm_real *keep = dst + (size_t)S * Sp;
    const dm_real *x = (const dm_real *)qkv->data + at, *gy = (const dm_real *)dy->data + at_y;
    const dm_real *yy = (const dm_real *)y->data + at_y, *lse = (const dm_real *)stat->data + (size_t)bh * S;
    const int32_t *m = mask ? (const int32_t *)mask->data + (size_t)b * S : NULL;
    pack(q, x, wide, S, D, f);
    pack(k, x + C, wide, S, D, 1);
    pack(g, gy, (size_t)C, S, D, 1);
    pack_transposed(kt, x + C, wide, S, D);
    pack_transposed(vt, x + 2 * C, wide, S, D);
    small_gemm(prob, Sp, q, Dp, kt, Sp, S, Sp, D);
    small_gemm(ds, Sp, g, Dp, vt, Sp, S, Sp, D);
    for (int i = 0; i < S; i++) {
      dm_real delta = 0;
      for (int j = 0; j < D; j++) delta += gy[(size_t)i * C + j] * yy[(size_t)i * C + j];
      if (p > 0) dm_keep_mask(keep, ((size_t)bh * S + i) * S, (size_t)S, p, site, &d->knobs);
      backward_row(prob + (size_t)i * Sp, ds + (size_t)i * Sp, pt, dst, p > 0 ? keep : NULL, lse[i], delta, m, i, S,
                   Sp);
    }
    dm_real *o = (dm_real *)dqkv->data + at;
    small_gemm(out, Dp, ds, Sp, k, Dp, S, Dp, S);
    unpack(o, wide, out, S, D, f, add);
    small_gemm(out, Dp, dst, Sp, q, Dp, S, Dp, S);           /* q carries the factor f */
    unpack(o + C, wide, out, S, D, 1, add);
    small_gemm(out, Dp, pt, Sp, g, Dp, S, Dp, S);
    unpack(o + 2 * C, wide, out, S, D, 1, add);
  }
  return DM_OK;
}
