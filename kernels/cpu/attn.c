/* attn.c -- attention on the CPU: each thread takes one (row, head) at a time, in buffers of its own.
**
** q, k, v of a head are packed (k, v transposed where a product needs it) with rows padded to TILE, so
** that every product is the same small kernel. Scores exist for a block of 32 queries at a time, which
** stays in cache. Backward recomputes the probabilities from the saved log-sum-exp. */
#include "cpu.h"
#include "simd.h"

#include <math.h>
#include <omp.h>

#ifdef __AVX512F__
enum { TILE = 32 };                     /* columns of a product that are computed together: with QUAD rows, */
#else                                   /* half of the registers */
enum { TILE = 16 };
#endif

enum {
  QUAD = 4,                             /* rows of a product that are computed together */
  ROWS = 32                             /* queries whose scores exist at the same time */
};

static int padded(int n) { return (n + TILE - 1) / TILE * TILE; }

/* c [m, n] (+)= a [m, k] b [k, n]; n is a multiple of TILE. Four rows of c by TILE columns stay in
** registers. */
static void small_gemm(dm_real *restrict c, int ldc, const dm_real *restrict a, int lda,
                       const dm_real *restrict b, int ldb, int m, int n, int k, int add) {
  int i = 0;
  for (; i + QUAD <= m; i += QUAD) {
    for (int j = 0; j < n; j += TILE) {
      dm_real s0[TILE] = { 0 }, s1[TILE] = { 0 }, s2[TILE] = { 0 }, s3[TILE] = { 0 };
      const dm_real *p = a + (size_t)i * lda;
      dm_real *o = c + (size_t)i * ldc + j;
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
      if (add) {
#pragma omp simd
        for (int t = 0; t < TILE; t++) {
          s0[t] += o[t];
          s1[t] += o[ldc + t];
          s2[t] += o[2 * ldc + t];
          s3[t] += o[3 * ldc + t];
        }
      }
      memcpy(o, s0, sizeof s0);
      memcpy(o + ldc, s1, sizeof s1);
      memcpy(o + 2 * ldc, s2, sizeof s2);
      memcpy(o + 3 * ldc, s3, sizeof s3);
    }
  }
  for (; i < m; i++) {
    for (int j = 0; j < n; j += TILE) {
      dm_real s[TILE] = { 0 }, *o = c + (size_t)i * ldc + j;
      for (int l = 0; l < k; l++) {
        const dm_real *row = b + (size_t)l * ldb + j;
        dm_real x = a[(size_t)i * lda + l];
#pragma omp simd
        for (int t = 0; t < TILE; t++) s[t] += x * row[t];
      }
#pragma omp simd
      for (int t = 0; t < TILE; t++) o[t] = add ? o[t] + s[t] : s[t];
    }
  }
}

/* out [S, Dp] = the head's slice of x (row stride `stride`), times f; padding is zero. */
static void pack(dm_real *out, const dm_store *x, size_t stride, int S, int D, dm_real f) {
  int Dp = padded(D);
  for (int s = 0; s < S; s++) {
    dm_real *o = out + (size_t)s * Dp;
    const dm_store *v = x + (size_t)s * stride;
    for (int j = 0; j < D; j++) o[j] = f * dm_load(v[j]);
    for (int j = D; j < Dp; j++) o[j] = 0;
  }
}

/* out [D, Sp] = the slice transposed. */
static void pack_transposed(dm_real *out, const dm_store *x, size_t stride, int S, int D) {
  int Sp = padded(S);
  for (int j = 0; j < D; j++) {
    dm_real *o = out + (size_t)j * Sp;
    for (int s = 0; s < S; s++) o[s] = dm_load(x[(size_t)s * stride + j]);
    for (int s = S; s < Sp; s++) o[s] = 0;
  }
}

/* The head's slice of y (row stride `stride`) (+)= v [S, Dp] * f. */
static void unpack(dm_store *y, size_t stride, const dm_real *v, int S, int D, dm_real f, int add) {
  int Dp = padded(D);
  for (int s = 0; s < S; s++) {
    dm_store *o = y + (size_t)s * stride;
    const dm_real *x = v + (size_t)s * Dp;
    for (int j = 0; j < D; j++) o[j] = dm_put(add ? dm_load(o[j]) + f * x[j] : f * x[j]);
  }
}

/* 1 if a query of this row of the batch has a key to attend to. */
static int any_key(const int32_t *mask, int S) {
  if (!mask) return S > 0;
  for (int j = 0; j < S; j++) {
    if (mask[j]) return 1;
  }
  return 0;
}

/* Scores of one query, which has a key, -> probabilities; returns the log-sum-exp. A score that is
** not a number makes the whole row so. */
static dm_real softmax(dm_real *p, const int32_t *mask, int S) {
  dm_real top = -INFINITY, sum = 0;
  if (mask) {
#pragma omp simd
    for (int j = 0; j < S; j++) p[j] = mask[j] ? p[j] : -INFINITY;
  }
#pragma omp simd reduction(max : top)
  for (int j = 0; j < S; j++) top = p[j] > top ? p[j] : top;
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
  int B = qkv->shape[0], S = qkv->shape[1], C = qkv->shape[2] / 3, D = C / heads;
  int Dp = padded(D), Sp = padded(S);
  size_t tall = (size_t)S * Dp, across = (size_t)D * Sp, block = (size_t)ROWS * Sp;
  size_t each = 2 * tall + across + 2 * block + (size_t)ROWS * Dp, wide = 3 * (size_t)C;
  void *scratch;
  dm_status s = dm_scratch(d, (size_t)omp_get_max_threads() * each * sizeof(dm_real), &scratch);
  if (s) return s;
  dm_real f = 1 / (dm_real)sqrt(D);
#pragma omp parallel for schedule(dynamic, 1)
  for (int bh = 0; bh < B * heads; bh++) {
    int b = bh / heads, h = bh % heads;
    dm_real *q = (dm_real *)scratch + (size_t)omp_get_thread_num() * each;
    dm_real *v = q + tall, *kt = v + tall, *prob = kt + across, *keep = prob + block;
    dm_real *out = keep + block, *lse = (dm_real *)stat->data + (size_t)bh * S;
    dm_store *o = (dm_store *)y->data + (size_t)b * S * C + (size_t)h * D;
    const dm_store *x = (const dm_store *)qkv->data + (size_t)b * S * wide + (size_t)h * D;
    const int32_t *m = mask ? (const int32_t *)mask->data + (size_t)b * S : NULL;
    int keys = any_key(m, S);
    pack(q, x, wide, S, D, f);
    pack_transposed(kt, x + C, wide, S, D);
    pack(v, x + 2 * C, wide, S, D, 1);
    for (int i = 0; i < S; i += ROWS) {
      int n = S - i < ROWS ? S - i : ROWS;
      small_gemm(prob, Sp, q + (size_t)i * Dp, Dp, kt, Sp, n, Sp, D, 0);
      if (p > 0) {
        dm_keep_mask(keep, ((size_t)bh * S + i) * S, (size_t)n * S, p, site, &d->knobs);
      }
      for (int r = 0; r < n; r++) {
        dm_real *row = prob + (size_t)r * Sp;
        lse[i + r] = keys ? softmax(row, m, S) : 0;
        if (!keys) memset(row, 0, (size_t)S * sizeof *row);
        if (p > 0) {
          const dm_real *factor = keep + (size_t)r * S;
#pragma omp simd
          for (int j = 0; j < S; j++) row[j] *= factor[j];
        }
      }
      small_gemm(out, Dp, prob, Sp, v, Dp, n, Dp, S, 0);
      unpack(o + (size_t)i * C, (size_t)C, out, n, D, 1, 0);
    }
  }
  return DM_OK;
}

/* -- backward --------------------------------------------------------------------------------- */

typedef struct head {                   /* one head in a thread's scratch */
  int S, D, Sp, Dp;
  dm_real *q, *k, *g, *dk, *dv;         /* [S, Dp]; q times 1/sqrt(D), g = dy */
  dm_real *kt, *vt;                     /* [D, Sp] */
  dm_real *prob, *ds, *keep;            /* [ROWS, Sp]; keep [ROWS, S] */
  dm_real *pt, *dst;                    /* [S, ROWS] */
  dm_real *out;                         /* [ROWS, Dp] */
} head;

/* Reals of scratch for one thread. */
static size_t head_size(int S, int D) {
  size_t tall = (size_t)S * padded(D), across = (size_t)D * padded(S);
  return 5 * tall + 2 * across + (size_t)ROWS * (3 * padded(S) + 2 * (size_t)S + padded(D));
}

static head head_at(dm_real *at, int S, int D) {
  head t = { .S = S, .D = D, .Sp = padded(S), .Dp = padded(D) };
  size_t tall = (size_t)S * t.Dp, across = (size_t)D * t.Sp, block = (size_t)ROWS * t.Sp;
  t.q = at;
  t.k = t.q + tall;
  t.g = t.k + tall;
  t.dk = t.g + tall;
  t.dv = t.dk + tall;
  t.kt = t.dv + tall;
  t.vt = t.kt + across;
  t.prob = t.vt + across;
  t.ds = t.prob + block;
  t.keep = t.ds + block;
  t.pt = t.keep + block;
  t.dst = t.pt + (size_t)S * ROWS;
  t.out = t.dst + (size_t)S * ROWS;
  return t;
}

/* Row r of a block of the softmax's backward: scores in prob and dy v^T in ds become dropped
** probabilities in column r of pt, and d scores in ds and column r of dst. delta = dy . y. */
static void backward_row(const head *t, int r, const int32_t *mask, dm_real lse, dm_real delta,
                         int dropped) {
  int S = t->S;
  dm_real *prob = t->prob + (size_t)r * t->Sp, *ds = t->ds + (size_t)r * t->Sp;
  const dm_real *keep = t->keep + (size_t)r * S;
#pragma omp simd
  for (int j = 0; j < S; j++) prob[j] = dm_exp(prob[j] - lse);
  if (mask) {
#pragma omp simd
    for (int j = 0; j < S; j++) prob[j] = mask[j] ? prob[j] : 0;
  }
  if (dropped) {
#pragma omp simd
    for (int j = 0; j < S; j++) {
      dm_real e = prob[j];
      ds[j] = e * (ds[j] * keep[j] - delta);
      prob[j] = e * keep[j];
    }
  } else {
#pragma omp simd
    for (int j = 0; j < S; j++) ds[j] = prob[j] * (ds[j] - delta);
  }
  for (int j = 0; j < S; j++) {
    t->pt[(size_t)j * ROWS + r] = prob[j];
    t->dst[(size_t)j * ROWS + r] = ds[j];
  }
}

dm_status cpu_attention_bwd(dm_device *d, dm_tensor *dqkv, const dm_tensor *dy, const dm_tensor *y,
                            const dm_tensor *qkv, const dm_tensor *stat, const dm_tensor *mask,
                            int32_t heads, float p, uint32_t site, uint32_t acc) {
  if (!dqkv) return DM_OK;
  int B = qkv->shape[0], S = qkv->shape[1], C = qkv->shape[2] / 3, D = C / heads, add = acc & 1;
  size_t each = head_size(S, D), wide = 3 * (size_t)C;
  void *scratch;
  dm_status s = dm_scratch(d, (size_t)omp_get_max_threads() * each * sizeof(dm_real), &scratch);
  if (s) return s;
  dm_real f = 1 / (dm_real)sqrt(D);
#pragma omp parallel for schedule(dynamic, 1)
  for (int bh = 0; bh < B * heads; bh++) {
    size_t b = (size_t)(bh / heads), at = b * S * wide + (size_t)(bh % heads) * D;
    size_t at_y = b * S * C + (size_t)(bh % heads) * D;
    head t = head_at((dm_real *)scratch + (size_t)omp_get_thread_num() * each, S, D);
    const dm_store *x = (const dm_store *)qkv->data + at, *gy = (const dm_store *)dy->data + at_y;
    const dm_store *yy = (const dm_store *)y->data + at_y;
    const dm_real *lse = (const dm_real *)stat->data + (size_t)bh * S;
    const int32_t *m = mask ? (const int32_t *)mask->data + b * S : NULL;
    dm_store *o = (dm_store *)dqkv->data + at;
    pack(t.q, x, wide, S, D, f);
    pack(t.k, x + C, wide, S, D, 1);
    pack(t.g, gy, (size_t)C, S, D, 1);
    pack_transposed(t.kt, x + C, wide, S, D);
    pack_transposed(t.vt, x + 2 * C, wide, S, D);
    for (int i = 0; i < S; i += ROWS) {
      int n = S - i < ROWS ? S - i : ROWS;
      const dm_real *q = t.q + (size_t)i * t.Dp, *g = t.g + (size_t)i * t.Dp;
      small_gemm(t.prob, t.Sp, q, t.Dp, t.kt, t.Sp, n, t.Sp, D, 0);
      small_gemm(t.ds, t.Sp, g, t.Dp, t.vt, t.Sp, n, t.Sp, D, 0);
      if (p > 0) {
        dm_keep_mask(t.keep, ((size_t)bh * S + i) * S, (size_t)n * S, p, site, &d->knobs);
      }
      for (int r = 0; r < n; r++) {
        const dm_store *v = yy + (size_t)(i + r) * C;
        const dm_real *u = g + (size_t)r * t.Dp;
        dm_real delta = 0;
#pragma omp simd reduction(+ : delta)
        for (int j = 0; j < D; j++) delta += u[j] * dm_load(v[j]);
        backward_row(&t, r, m, lse[i + r], delta, p > 0);
      }
      small_gemm(t.out, t.Dp, t.ds, t.Sp, t.k, t.Dp, n, t.Dp, S, 0);
      unpack(o + (size_t)i * wide, wide, t.out, n, D, f, add);
      small_gemm(t.dk, t.Dp, t.dst, ROWS, q, t.Dp, S, t.Dp, n, i > 0);   /* q has the factor f */
      small_gemm(t.dv, t.Dp, t.pt, ROWS, g, t.Dp, S, t.Dp, n, i > 0);
    }
    unpack(o + C, wide, t.dk, S, D, 1, add);
    unpack(o + 2 * C, wide, t.dv, S, D, 1, add);
  }
  return DM_OK;
}
