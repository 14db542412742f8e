/* attn.c -- attention on the CPU: each thread takes one (row, head) at a time, in buffers of its own.
**
** q, k, v of a head are packed (k, v transposed where a product needs it) with rows padded to whole vectors, so that
** every product is the same small kernel. Scores exist for a block of queries at a time, which stays in cache. The keys
** that pad a row are never attended. Backward recomputes the probabilities from the saved log-sum-exp. */
#include "cpu.h"
#include "simd.h"
#include "vector.h"

#include <math.h>
#include <omp.h>

typedef dm_real four __attribute__((vector_size(4 * sizeof(dm_real)), aligned(sizeof(dm_real)), may_alias));

enum {
#ifdef __AVX512F__
  VECS = 4,                             /* vectors side by side in a tile: ROWS x VECS sums, and what they need, are in */
#else                                   /* registers */
  VECS = 2,
#endif
  ROWS = 6,
  BLOCK = 8 * ROWS                      /* queries whose scores exist at the same time */
};

static int padded(int n) { return (n + LANES - 1) / LANES * LANES; }

/* -- products --------------------------------------------------------------------------------------------------- */

/* A matrix that is read value by value: row i, column l is at[i * down + l * right]. */
typedef struct operand { const dm_real *at; size_t down, right; } operand;

static inline __attribute__((always_inline)) void tile(dm_real *c, size_t ldc, operand a, const dm_real *b, size_t ldb,
                                                       int k, int add, const int rows, const int vecs) {
  vec sum[ROWS][VECS] = { 0 };
  for (int l = 0; l < k; l++, a.at += a.right, b += ldb) {
    vec x[VECS];
#pragma GCC unroll 4
    for (int v = 0; v < vecs; v++) x[v] = *(const loose *)(b + v * LANES);
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
      for (int v = 0; v < vecs; v++) sum[r][v] += a.at[r * a.down] * x[v];
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
    for (int v = 0; v < vecs; v++) {
      loose *o = (loose *)(c + r * ldc + v * LANES);
      if (add) sum[r][v] += *o;
      *o = sum[r][v];
    }
  }
}

/* Columns of c, `vecs` vectors of them: tiles share its rows evenly. */
static inline __attribute__((always_inline)) void strip(dm_real *c, size_t ldc, operand a, const dm_real *b, size_t ldb,
                                                        int m, int k, int add, const int vecs) {
  int tiles = (m + ROWS - 1) / ROWS;
  for (int t = 0; t < tiles; t++) {
    int rows = (int)((long)m * (t + 1) / tiles - (long)m * t / tiles);
    switch (rows) {
    case 1: tile(c, ldc, a, b, ldb, k, add, 1, vecs); break;
    case 2: tile(c, ldc, a, b, ldb, k, add, 2, vecs); break;
    case 3: tile(c, ldc, a, b, ldb, k, add, 3, vecs); break;
    case 4: tile(c, ldc, a, b, ldb, k, add, 4, vecs); break;
    case 5: tile(c, ldc, a, b, ldb, k, add, 5, vecs); break;
    default: tile(c, ldc, a, b, ldb, k, add, ROWS, vecs);
    }
    c += rows * ldc;
    a.at += rows * a.down;
  }
}

/* c [m, n] (+)= a [m, k] b [k, n]; n is of whole vectors. */
static void product(dm_real *c, size_t ldc, operand a, const dm_real *b, size_t ldb, int m, int n, int k, int add) {
  for (int left = n / LANES; left > 0; left -= VECS, c += VECS * LANES, b += VECS * LANES) {
    switch (left) {
    case 1: strip(c, ldc, a, b, ldb, m, k, add, 1); break;
    case 2: strip(c, ldc, a, b, ldb, m, k, add, 2); break;
    case 3: strip(c, ldc, a, b, ldb, m, k, add, VECS < 3 ? VECS : 3); break;
    default: strip(c, ldc, a, b, ldb, m, k, add, VECS);
    }
  }
}

/* -- a head's slices -------------------------------------------------------------------------------------------- */

/* Where the slice of bh, a row and a head of it, begins in a tensor [B, S, stride]. */
static size_t slice(int bh, int heads, int S, size_t stride, int D) {
  return (size_t)(bh / heads) * S * stride + (size_t)(bh % heads) * D;
}

/* Asks for n values that the next head needs: rows of a slice lie too far apart for the processor to foresee them, and
** waiting for them would take as long as the products. */
static void fetch(const dm_store *x, int n) {
  for (int j = 0; j < n; j += 64 / (int)sizeof *x) __builtin_prefetch(x + j, 0, 2);
}

/* out [Sp, Dp] = the head's slice of x [S, D] (row stride `stride`), times f; padding is zero. */
static void pack(dm_real *out, const dm_store *x, size_t stride, int S, int D, dm_real f) {
  int Sp = padded(S), Dp = padded(D);
  for (int s = 0; s < S; s++, out += Dp, x += stride) {
#pragma omp simd
    for (int j = 0; j < D; j++) out[j] = f * dm_load(x[j]);
    for (int j = D; j < Dp; j++) out[j] = 0;
  }
  memset(out, 0, (size_t)(Sp - S) * Dp * sizeof *out);
}

/* out [Dp, Sp] = packed x transposed. */
static void transpose(dm_real *out, const dm_real *x, int Sp, int Dp) {
  for (int s = 0; s < Sp; s += 4, x += 4 * Dp) {
    for (int j = 0; j < Dp; j++) {
      *(four *)(out + (size_t)j * Sp + s) = (four){ x[j], x[Dp + j], x[2 * Dp + j], x[3 * Dp + j] };
    }
  }
}

/* The head's slice of y (row stride `stride`) (+)= v [S, Dp] * f. */
static void unpack(dm_store *y, size_t stride, const dm_real *v, int S, int D, dm_real f, int add) {
  int Dp = padded(D);
  for (int s = 0; s < S; s++, y += stride, v += Dp) {
    if (add) {
#pragma omp simd
      for (int j = 0; j < D; j++) y[j] = dm_put(dm_load(y[j]) + f * v[j]);
    } else {
#pragma omp simd
      for (int j = 0; j < D; j++) y[j] = dm_put(f * v[j]);
    }
  }
}

/* attended [Sp] = whether a query of this row of the batch attends to each key; returns 1 if there is one. */
static int keys(int32_t *attended, const int32_t *mask, int S) {
  int any = 0;
  for (int j = 0; j < S; j++) any |= attended[j] = mask ? mask[j] != 0 : 1;
  memset(attended + S, 0, (size_t)(padded(S) - S) * sizeof *attended);
  return any;
}

/* -- forward ---------------------------------------------------------------------------------------------------- */

/* Scores of one query, which has a key, -> probabilities times their sum, which is returned, then dropped if keep is
** not NULL; *lse = the log-sum-exp. A score that is not a number makes the sum so. keep has S values; what lies after
** them is multiplied with padding, which nothing reads. */
static dm_real softmax(dm_real *p, dm_real *lse, const int32_t *attended, const dm_real *keep, int Sp) {
  dm_real top = -INFINITY, sum = 0;
#pragma omp simd reduction(max : top)
  for (int j = 0; j < Sp; j++) {
    p[j] = attended[j] ? p[j] : -INFINITY;
    top = p[j] > top ? p[j] : top;
  }
  if (keep) {
#pragma omp simd reduction(+ : sum)
    for (int j = 0; j < Sp; j++) {
      dm_real e = dm_exp(p[j] - top);
      sum += e;
      p[j] = e * keep[j];
    }
  } else {
#pragma omp simd reduction(+ : sum)
    for (int j = 0; j < Sp; j++) sum += p[j] = dm_exp(p[j] - top);
  }
  *lse = top + (dm_real)log(sum);
  return sum;
}

dm_status cpu_attention_fwd(dm_device *d, dm_tensor *y, dm_tensor *stat, const dm_tensor *qkv,
                            const dm_tensor *mask, int32_t heads, float p, uint32_t site) {
  int B = qkv->shape[0], S = qkv->shape[1], C = qkv->shape[2] / 3, D = C / heads;
  int Dp = padded(D), Sp = padded(S);
  size_t tall = (size_t)Sp * Dp, block = (size_t)BLOCK * Sp, wide = 3 * (size_t)C;
  size_t each = 3 * tall + 2 * block + (size_t)BLOCK * Dp + Sp;
  void *scratch;
  dm_status s = dm_scratch(d, (size_t)omp_get_max_threads() * each * sizeof(dm_real), &scratch);
  if (s) return s;
  dm_real f = 1 / (dm_real)sqrt(D);
#pragma omp parallel for schedule(static)
  for (int bh = 0; bh < B * heads; bh++) {
    int next = bh + 1 < B * heads ? bh + 1 : bh;
    dm_real *q = (dm_real *)scratch + (size_t)omp_get_thread_num() * each;
    dm_real *v = q + tall, *kt = v + tall, *prob = kt + tall, *keep = prob + block, *out = keep + block;
    dm_real *lse = (dm_real *)stat->data + (size_t)bh * S;
    dm_store *o = (dm_store *)y->data + slice(bh, heads, S, C, D);
    const dm_store *x = (const dm_store *)qkv->data + slice(bh, heads, S, wide, D);
    const dm_store *next_x = (const dm_store *)qkv->data + slice(next, heads, S, wide, D);
    const dm_store *next_y = (const dm_store *)y->data + slice(next, heads, S, C, D);
    int32_t *attended = (int32_t *)(out + (size_t)BLOCK * Dp);
    int any = keys(attended, mask ? (const int32_t *)mask->data + (size_t)(bh / heads) * S : NULL, S);
    pack(v, x + C, wide, S, D, 1);
    transpose(kt, v, Sp, Dp);
    pack(q, x, wide, S, D, f);
    pack(v, x + 2 * C, wide, S, D, 1);
    for (int i = 0; i < S; i += BLOCK) {
      int n = S - i < BLOCK ? S - i : BLOCK;
      product(prob, Sp, (operand){ q + (size_t)i * Dp, Dp, 1 }, kt, Sp, n, Sp, D, 0);
      if (p > 0) dm_keep_mask(keep, ((size_t)bh * S + i) * S, (size_t)n * S, p, site, &d->knobs);
      dm_real sum[BLOCK];
      for (int r = 0; r < n; r++) {
        dm_real *row = prob + (size_t)r * Sp;
        for (int part = 0; part < 3; part++) fetch(next_x + (i + r) * wide + part * C, D);
        fetch(next_y + (size_t)(i + r) * C, D);
        if (any) {
          sum[r] = softmax(row, &lse[i + r], attended, p > 0 ? keep + (size_t)r * S : NULL, Sp);
        } else {
          memset(row, 0, (size_t)Sp * sizeof *row);
          sum[r] = 1;
          lse[i + r] = 0;
        }
      }
      product(out, Dp, (operand){ prob, Sp, 1 }, v, Dp, n, Dp, S, 0);
      for (int r = 0; r < n; r++) unpack(o + (size_t)(i + r) * C, C, out + (size_t)r * Dp, 1, D, 1 / sum[r], 0);
    }
  }
  return DM_OK;
}

/* -- backward --------------------------------------------------------------------------------------------------- */

typedef struct head {                   /* one head in a thread's scratch */
  int S, D, Sp, Dp;
  dm_real *q, *k, *g, *dk, *dv;         /* [Sp, Dp]; q times 1/sqrt(D), g = dy */
  dm_real *kt, *vt;                     /* [Dp, Sp] */
  dm_real *prob, *ds, *keep;            /* [BLOCK, Sp]; keep [BLOCK, S] */
  dm_real *out;                         /* [BLOCK, Dp] */
  int32_t *attended;                    /* [Sp] */
} head;

/* Reals of scratch for one thread. */
static size_t head_size(int S, int D) {
  size_t Sp = padded(S), Dp = padded(D);
  return 7 * Sp * Dp + BLOCK * (3 * Sp + Dp) + Sp;
}

static head head_at(dm_real *at, int S, int D) {
  head t = { .S = S, .D = D, .Sp = padded(S), .Dp = padded(D) };
  size_t tall = (size_t)t.Sp * t.Dp, block = (size_t)BLOCK * t.Sp;
  t.q = at;
  t.k = t.q + tall;
  t.g = t.k + tall;
  t.dk = t.g + tall;
  t.dv = t.dk + tall;
  t.kt = t.dv + tall;
  t.vt = t.kt + tall;
  t.prob = t.vt + tall;
  t.ds = t.prob + block;
  t.keep = t.ds + block;
  t.out = t.keep + block;
  t.attended = (int32_t *)(t.out + (size_t)BLOCK * t.Dp);
  return t;
}

/* Row r of a block of the softmax's backward: scores in prob and dy v^T in ds become dropped probabilities and
** d scores. delta = dy . y. */
static void backward_row(const head *t, int r, dm_real lse, dm_real delta, int dropped) {
  dm_real *prob = t->prob + (size_t)r * t->Sp, *ds = t->ds + (size_t)r * t->Sp;
  const dm_real *keep = t->keep + (size_t)r * t->S;     /* and what lies after, for padding: see softmax */
  const int32_t *attended = t->attended;
#pragma omp simd
  for (int j = 0; j < t->Sp; j++) {
    dm_real e = dm_exp(prob[j] - lse);
    prob[j] = attended[j] ? e : 0;
  }
  if (dropped) {
#pragma omp simd
    for (int j = 0; j < t->Sp; j++) {
      dm_real e = prob[j];
      ds[j] = e * (ds[j] * keep[j] - delta);
      prob[j] = e * keep[j];
    }
  } else {
#pragma omp simd
    for (int j = 0; j < t->Sp; j++) ds[j] = prob[j] * (ds[j] - delta);
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
#pragma omp parallel for schedule(static)
  for (int bh = 0; bh < B * heads; bh++) {
    size_t at = slice(bh, heads, S, wide, D), at_y = slice(bh, heads, S, C, D);
    int next = bh + 1 < B * heads ? bh + 1 : bh;
    size_t next_at = slice(next, heads, S, wide, D), next_y = slice(next, heads, S, C, D);
    head t = head_at((dm_real *)scratch + (size_t)omp_get_thread_num() * each, S, D);
    const dm_store *x = (const dm_store *)qkv->data + at, *gy = (const dm_store *)dy->data + at_y;
    const dm_store *yy = (const dm_store *)y->data + at_y;
    const dm_real *lse = (const dm_real *)stat->data + (size_t)bh * S;
    dm_store *o = (dm_store *)dqkv->data + at;
    keys(t.attended, mask ? (const int32_t *)mask->data + (size_t)(bh / heads) * S : NULL, S);
    pack(t.dv, x + 2 * C, wide, S, D, 1);
    transpose(t.vt, t.dv, t.Sp, t.Dp);
    pack(t.k, x + C, wide, S, D, 1);
    transpose(t.kt, t.k, t.Sp, t.Dp);
    pack(t.q, x, wide, S, D, f);
    pack(t.g, gy, (size_t)C, S, D, 1);
    for (int i = 0; i < S; i += BLOCK) {
      int n = S - i < BLOCK ? S - i : BLOCK;
      const dm_real *q = t.q + (size_t)i * t.Dp, *g = t.g + (size_t)i * t.Dp;
      product(t.prob, t.Sp, (operand){ q, t.Dp, 1 }, t.kt, t.Sp, n, t.Sp, D, 0);
      product(t.ds, t.Sp, (operand){ g, t.Dp, 1 }, t.vt, t.Sp, n, t.Sp, D, 0);
      if (p > 0) dm_keep_mask(t.keep, ((size_t)bh * S + i) * S, (size_t)n * S, p, site, &d->knobs);
      for (int r = 0; r < n; r++) {
        const dm_store *v = yy + (size_t)(i + r) * C;
        const dm_real *u = g + (size_t)r * t.Dp;
        dm_real delta = 0;
        for (int part = 0; part < 3; part++) {
          fetch((const dm_store *)qkv->data + next_at + (i + r) * wide + part * C, D);
          fetch((const dm_store *)dqkv->data + next_at + (i + r) * wide + part * C, D);
        }
        fetch((const dm_store *)dy->data + next_y + (size_t)(i + r) * C, D);
        fetch((const dm_store *)y->data + next_y + (size_t)(i + r) * C, D);
#pragma omp simd reduction(+ : delta)
        for (int j = 0; j < D; j++) delta += u[j] * dm_load(v[j]);
        backward_row(&t, r, lse[i + r], delta, p > 0);
      }
      product(t.out, t.Dp, (operand){ t.ds, t.Sp, 1 }, t.k, t.Dp, n, t.Dp, S, 0);
      unpack(o + (size_t)i * wide, wide, t.out, n, D, f, add);
      product(t.dk, t.Dp, (operand){ t.ds, 1, t.Sp }, q, t.Dp, S, t.Dp, n, i > 0);    /* q has the factor f */
      product(t.dv, t.Dp, (operand){ t.prob, 1, t.Sp }, g, t.Dp, S, t.Dp, n, i > 0);
    }
    unpack(o + C, wide, t.dk, S, D, 1, add);
    unpack(o + 2 * C, wide, t.dv, S, D, 1, add);
  }
  return DM_OK;
}
