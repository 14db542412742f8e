/* attn.c -- attention on the CPU: each thread takes one (row, head) at a time, in buffers of its own.
**
** q, k, v of a head are packed (k, v transposed where a product needs it) with rows padded to whole vectors, so that
** every product is the same small kernel. Scores exist for a block of queries at a time, which stays in cache. The keys
** that pad a row are never attended. Backward recomputes the probabilities from the saved log-sum-exp.
**
** What products take, factors, are reals, or bf16 where that is stored and the processor multiplies it: it then takes
** two at a time of the dimension that is summed over, so those lie side by side. */
#include "cpu.h"
#include "simd.h"
#include "vector.h"

#include <math.h>
#include <omp.h>

#if defined DM_STORE_BF16 && defined __AVX512BF16__

enum { PAIR = 2 };                      /* factors that are multiplied and summed at a time: */
typedef dm_bf16 factor;
typedef uint32_t unit;                  /* so many as one value, to be moved */
static inline factor factor_of(dm_store v) { return v; }
static inline factor rounded(dm_real v) { return dm_put(v); }

static inline vec step(vec sum, const factor *a, vec b) {
  int32_t two;
  memcpy(&two, a, sizeof two);
  return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(two), (__m512bh)b);
}

#else

enum { PAIR = 1 };
typedef dm_real factor, unit;
static inline factor factor_of(dm_store v) { return dm_load(v); }
static inline factor rounded(dm_real v) { return v; }
static inline vec step(vec sum, const factor *a, vec b) { return sum + *a * b; }

#endif

typedef unit four __attribute__((vector_size(4 * sizeof(unit)), aligned(sizeof(unit)), may_alias));

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

/* A matrix that is read a pair at a time: that of row i, columns l PAIR .. is at[i * down + l * right]. */
typedef struct operand { const factor *at; size_t down, right; } operand;

static operand rows_of(const factor *at, int pitch) { return (operand){ at, (size_t)pitch, PAIR }; }

/* The transpose of a matrix that `paired` has laid out. */
static operand columns_of(const factor *at, int pitch) { return (operand){ at, PAIR, (size_t)pitch * PAIR }; }

static inline __attribute__((always_inline)) void tile(dm_real *c, size_t ldc, operand a, const factor *b, size_t ldb,
                                                       int pairs, int add, const int rows, const int vecs) {
  vec sum[ROWS][VECS] = { 0 };
  for (int l = 0; l < pairs; l++, a.at += a.right, b += ldb * PAIR) {
    vec x[VECS];
#pragma GCC unroll 4
    for (int v = 0; v < vecs; v++) x[v] = *(const loose *)(b + v * LANES * PAIR);
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
      for (int v = 0; v < vecs; v++) sum[r][v] = step(sum[r][v], a.at + r * a.down, x[v]);
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
static inline __attribute__((always_inline)) void strip(dm_real *c, size_t ldc, operand a, const factor *b, size_t ldb,
                                                        int m, int pairs, int add, const int vecs) {
  int tiles = (m + ROWS - 1) / ROWS;
  for (int t = 0; t < tiles; t++) {
    int rows = (int)((long)m * (t + 1) / tiles - (long)m * t / tiles);
    switch (rows) {
    case 1: tile(c, ldc, a, b, ldb, pairs, add, 1, vecs); break;
    case 2: tile(c, ldc, a, b, ldb, pairs, add, 2, vecs); break;
    case 3: tile(c, ldc, a, b, ldb, pairs, add, 3, vecs); break;
    case 4: tile(c, ldc, a, b, ldb, pairs, add, 4, vecs); break;
    case 5: tile(c, ldc, a, b, ldb, pairs, add, 5, vecs); break;
    default: tile(c, ldc, a, b, ldb, pairs, add, ROWS, vecs);
    }
    c += rows * ldc;
    a.at += rows * a.down;
  }
}

/* c [m, n] (+)= a [m, k] b [k, n], b as `paired` lays it out; n is of whole vectors, and what k lacks to whole pairs is
** zero in both. */
static void product(dm_real *c, size_t ldc, operand a, const factor *b, size_t ldb, int m, int n, int k, int add) {
  int pairs = (k + PAIR - 1) / PAIR;
  for (int left = n / LANES; left > 0; left -= VECS, c += VECS * LANES, b += VECS * LANES * PAIR) {
    switch (left) {
    case 1: strip(c, ldc, a, b, ldb, m, pairs, add, 1); break;
    case 2: strip(c, ldc, a, b, ldb, m, pairs, add, 2); break;
    case 3: strip(c, ldc, a, b, ldb, m, pairs, add, VECS < 3 ? VECS : 3); break;
    default: strip(c, ldc, a, b, ldb, m, pairs, add, VECS);
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

/* out [Sp, Dp] = the head's slice of x [S, D] (row stride `stride`); padding is zero. */
static void pack(factor *out, const dm_store *x, size_t stride, int S, int D) {
  int Sp = padded(S), Dp = padded(D);
  for (int s = 0; s < S; s++, out += Dp, x += stride) {
#pragma omp simd
    for (int j = 0; j < D; j++) out[j] = factor_of(x[j]);
    if (D < Dp) memset(out + D, 0, (size_t)(Dp - D) * sizeof *out);
  }
  memset(out, 0, (size_t)(Sp - S) * Dp * sizeof *out);
}

/* out [m / PAIR, n, PAIR] = x [m, n], so that pairs of a column lie side by side; m is even. The matrix itself where
** factors are taken one at a time. */
static const factor *paired(factor *out, const factor *x, int m, int n) {
  if (PAIR == 1) return x;
  uint32_t *o = (uint32_t *)out;
  const uint16_t *v = (const uint16_t *)x;
  for (int i = 0; i < m; i += 2, o += n, v += 2 * n) {
#pragma omp simd
    for (int j = 0; j < n; j++) o[j] = v[j] | (uint32_t)v[n + j] << 16;
  }
  return out;
}

/* out [n, m] = x [m, n] transposed, pairs of a row as they are; m and n are multiples of 4. */
static void transpose(unit *out, const unit *x, int m, int n) {
  typedef dm_bits order __attribute__((vector_size(4 * sizeof(dm_bits))));
  const order low = { 0, 4, 1, 5 }, high = { 2, 6, 3, 7 }, first = { 0, 1, 4, 5 }, second = { 2, 3, 6, 7 };
  for (int i = 0; i < m; i += 4) {
    for (int j = 0; j < n; j += 4) {
      const unit *at = x + (size_t)i * n + j;
      four row[4];
      for (int r = 0; r < 4; r++) row[r] = *(const four *)(at + (size_t)r * n);
      four a = __builtin_shuffle(row[0], row[1], low), b = __builtin_shuffle(row[0], row[1], high);
      four c = __builtin_shuffle(row[2], row[3], low), d = __builtin_shuffle(row[2], row[3], high);
      unit *o = out + (size_t)j * m + i;
      *(four *)o = __builtin_shuffle(a, c, first);
      *(four *)(o + m) = __builtin_shuffle(a, c, second);
      *(four *)(o + 2 * (size_t)m) = __builtin_shuffle(b, d, first);
      *(four *)(o + 3 * (size_t)m) = __builtin_shuffle(b, d, second);
    }
  }
}

/* out [Dp / PAIR, Sp, PAIR] = x [Sp, Dp] transposed and paired. */
static void turn(factor *out, const factor *x, int Sp, int Dp) {
  transpose((unit *)out, (const unit *)x, Sp, Dp / PAIR);
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

/* The n reals as factors: themselves, or rounded into out. */
static const factor *factors(factor *out, const dm_real *x, size_t n) {
  if (PAIR == 1) return (const factor *)x;
#pragma omp simd
  for (size_t i = 0; i < n; i++) out[i] = rounded(x[i]);
  return out;
}

/* What falls to a block of n queries and S keys is kept or dropped by keep [n, S], and the rest of a row by what follows
** it: zeros after the last. */
static void keep_of(dm_real *keep, size_t first, int n, int S, float p, uint32_t site, const dm_knobs *knobs) {
  dm_keep_mask(keep, first * S, (size_t)n * S, p, site, knobs);
  memset(keep + (size_t)n * S, 0, (size_t)(padded(S) - S) * sizeof *keep);
}

/* -- forward ---------------------------------------------------------------------------------------------------- */

/* Products q k of one query, which has a key, -> probabilities times their sum, which is returned, then dropped if keep
** is not NULL; *lse = the log-sum-exp, unless lse is NULL. f: the factor of the products. A score that is not a number
** makes the sum so. */
static dm_real softmax(dm_real *p, dm_real *lse, const int32_t *attended, const dm_real *keep, int Sp, dm_real f) {
  dm_real top = -INFINITY, sum = 0;
#pragma omp simd reduction(max : top)
  for (int j = 0; j < Sp; j++) {
    p[j] = attended[j] ? f * p[j] : -INFINITY;
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
  if (lse) *lse = top + (dm_real)log(sum);
  return sum;
}

dm_status cpu_attention_fwd(dm_device *d, dm_tensor *y, dm_tensor *stat, const dm_tensor *qkv,
                            const dm_tensor *mask, int32_t heads, float p, uint32_t site) {
  int B = qkv->shape[0], S = qkv->shape[1], C = qkv->shape[2] / 3, D = C / heads;
  int Dp = padded(D), Sp = padded(S);
  size_t tall = (size_t)Sp * Dp, block = (size_t)BLOCK * Sp, wide = 3 * (size_t)C;
  size_t each = 4 * tall + 3 * block + (size_t)BLOCK * Dp + Sp;
  void *scratch;
  dm_status s = dm_scratch(d, (size_t)omp_get_max_threads() * each * sizeof(dm_real), &scratch);
  if (s) return s;
  dm_real f = 1 / (dm_real)sqrt(D);
#pragma omp parallel for schedule(static)
  for (int bh = 0; bh < B * heads; bh++) {
    int next = bh + 1 < B * heads ? bh + 1 : bh;
    dm_real *score = (dm_real *)scratch + (size_t)omp_get_thread_num() * each, *keep = score + block;
    dm_real *out = keep + block;
    factor *q = (factor *)(out + (size_t)BLOCK * Dp), *x = q + tall, *kt = x + tall, *pairs = kt + tall;
    factor *prob = pairs + tall;
    int32_t *attended = (int32_t *)(prob + block);
    dm_real *lse = stat ? (dm_real *)stat->data + (size_t)bh * S : NULL;
    dm_store *o = (dm_store *)y->data + slice(bh, heads, S, C, D);
    const dm_store *own = (const dm_store *)qkv->data + slice(bh, heads, S, wide, D);
    const dm_store *next_x = (const dm_store *)qkv->data + slice(next, heads, S, wide, D);
    const dm_store *next_y = (const dm_store *)y->data + slice(next, heads, S, C, D);
    int any = keys(attended, mask ? (const int32_t *)mask->data + (size_t)(bh / heads) * S : NULL, S);
    pack(x, own + C, wide, S, D);
    turn(kt, x, Sp, Dp);
    pack(q, own, wide, S, D);
    pack(x, own + 2 * C, wide, S, D);
    const factor *v = paired(pairs, x, Sp, Dp);
    for (int i = 0; i < S; i += BLOCK) {
      int n = S - i < BLOCK ? S - i : BLOCK;
      product(score, Sp, rows_of(q + (size_t)i * Dp, Dp), kt, Sp, n, Sp, D, 0);
      if (p > 0) keep_of(keep, (size_t)bh * S + i, n, S, p, site, &d->knobs);
      dm_real sum[BLOCK];
      for (int r = 0; r < n; r++) {
        dm_real *row = score + (size_t)r * Sp;
        for (int part = 0; part < 3; part++) fetch(next_x + (i + r) * wide + part * C, D);
        fetch(next_y + (size_t)(i + r) * C, D);
        if (any) {
          sum[r] = softmax(row, lse ? lse + i + r : NULL, attended, p > 0 ? keep + (size_t)r * S : NULL, Sp, f);
        } else {
          memset(row, 0, (size_t)Sp * sizeof *row);
          sum[r] = 1;
          if (lse) lse[i + r] = 0;
        }
      }
      product(out, Dp, rows_of(factors(prob, score, (size_t)n * Sp), Sp), v, Dp, n, Dp, S, 0);
      for (int r = 0; r < n; r++) unpack(o + (size_t)(i + r) * C, C, out + (size_t)r * Dp, 1, D, 1 / sum[r], 0);
    }
  }
  return DM_OK;
}

/* -- backward --------------------------------------------------------------------------------------------------- */

typedef struct head {                   /* one head in a thread's scratch */
  int S, D, Sp, Dp;
  dm_real *dk, *dv;                     /* [Sp, Dp] */
  dm_real *prob, *ds, *keep;            /* [BLOCK, Sp]; keep [BLOCK, S] */
  dm_real *out;                         /* [BLOCK, Dp] */
  factor *q, *k, *g;                    /* [Sp, Dp]; g = dy */
  factor *q_pairs, *k_pairs, *g_pairs;  /* the same, paired */
  factor *kt, *vt;                      /* [Dp, Sp], paired */
  factor *w, *w_pairs;                  /* [BLOCK, Sp], of prob and ds in turn */
  int32_t *attended;                    /* [Sp] */
} head;

/* Reals of scratch for one thread. */
static size_t head_size(int S, int D) {
  size_t Sp = padded(S), Dp = padded(D);
  return 10 * Sp * Dp + BLOCK * (5 * Sp + Dp) + Sp;
}

static head head_at(dm_real *at, int S, int D) {
  head t = { .S = S, .D = D, .Sp = padded(S), .Dp = padded(D) };
  size_t tall = (size_t)t.Sp * t.Dp, block = (size_t)BLOCK * t.Sp;
  t.dk = at;
  t.dv = t.dk + tall;
  t.prob = t.dv + tall;
  t.ds = t.prob + block;
  t.keep = t.ds + block;
  t.out = t.keep + block;
  t.q = (factor *)(t.out + (size_t)BLOCK * t.Dp);
  t.k = t.q + tall;
  t.g = t.k + tall;
  t.q_pairs = t.g + tall;
  t.k_pairs = t.q_pairs + tall;
  t.g_pairs = t.k_pairs + tall;
  t.kt = t.g_pairs + tall;
  t.vt = t.kt + tall;
  t.w = t.vt + tall;
  t.w_pairs = t.w + block;
  t.attended = (int32_t *)(t.w_pairs + block);
  return t;
}

/* Row r of a block of the softmax's backward: products q k in prob and dy v in ds become dropped probabilities and
** d scores. delta = dy . y. */
static void backward_row(const head *t, int r, dm_real lse, dm_real delta, int dropped, dm_real f) {
  dm_real *prob = t->prob + (size_t)r * t->Sp, *ds = t->ds + (size_t)r * t->Sp;
  const dm_real *keep = t->keep + (size_t)r * t->S;
  const int32_t *attended = t->attended;
#pragma omp simd
  for (int j = 0; j < t->Sp; j++) {
    dm_real e = dm_exp(f * prob[j] - lse);
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

/* dx [S, Dp] (+)= w^T x of a block's n rows of w [BLOCK, Sp], and of x, paired. */
static void backward_product(const head *t, dm_real *dx, const factor *w, const factor *x, int n, int add) {
  operand turned = columns_of(paired(t->w_pairs, w, n + n % PAIR, t->Sp), t->Sp);
  product(dx, t->Dp, turned, x, t->Dp, t->S, t->Dp, n, add);
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
    pack(t.k, x + 2 * C, wide, S, D);
    turn(t.vt, t.k, t.Sp, t.Dp);
    pack(t.k, x + C, wide, S, D);
    turn(t.kt, t.k, t.Sp, t.Dp);
    pack(t.q, x, wide, S, D);
    pack(t.g, gy, (size_t)C, S, D);
    const factor *k = paired(t.k_pairs, t.k, t.Sp, t.Dp), *q = paired(t.q_pairs, t.q, t.Sp, t.Dp);
    const factor *g = paired(t.g_pairs, t.g, t.Sp, t.Dp);
    for (int i = 0; i < S; i += BLOCK) {
      int n = S - i < BLOCK ? S - i : BLOCK;
      size_t from = (size_t)i * t.Dp, whole = (size_t)(n + n % PAIR) * t.Sp;
      product(t.prob, t.Sp, rows_of(t.q + from, t.Dp), t.kt, t.Sp, n, t.Sp, D, 0);
      product(t.ds, t.Sp, rows_of(t.g + from, t.Dp), t.vt, t.Sp, n, t.Sp, D, 0);
      if (p > 0) keep_of(t.keep, (size_t)bh * S + i, n, S, p, site, &d->knobs);
      for (int r = 0; r < n; r++) {
        const dm_store *v = yy + (size_t)(i + r) * C, *u = gy + (size_t)(i + r) * C;
        dm_real delta = 0;
        for (int part = 0; part < 3; part++) {
          fetch((const dm_store *)qkv->data + next_at + (i + r) * wide + part * C, D);
          fetch((const dm_store *)dqkv->data + next_at + (i + r) * wide + part * C, D);
        }
        fetch((const dm_store *)dy->data + next_y + (size_t)(i + r) * C, D);
        fetch((const dm_store *)y->data + next_y + (size_t)(i + r) * C, D);
#pragma omp simd reduction(+ : delta)
        for (int j = 0; j < D; j++) delta += dm_load(u[j]) * dm_load(v[j]);
        backward_row(&t, r, lse[i + r], delta, p > 0, f);
      }
      for (int r = n; r < n + n % PAIR; r++) {
        memset(t.prob + (size_t)r * t.Sp, 0, (size_t)t.Sp * sizeof(dm_real));
        memset(t.ds + (size_t)r * t.Sp, 0, (size_t)t.Sp * sizeof(dm_real));
      }
      const factor *prob = factors(t.w, t.prob, whole);
      backward_product(&t, t.dv, prob, g + from, n, i > 0);
      const factor *ds = factors(t.w, t.ds, whole);
      product(t.out, t.Dp, rows_of(ds, t.Sp), k, t.Dp, n, t.Dp, S, 0);
      unpack(o + (size_t)i * wide, wide, t.out, n, D, f, add);
      backward_product(&t, t.dk, ds, q + from, n, i > 0);
    }
    unpack(o + C, wide, t.dk, S, D, f, add);
    unpack(o + 2 * C, wide, t.dv, S, D, 1, add);
  }
  return DM_OK;
}
