/* gemm.c -- matrix products: oneDNN in f32 and, built a second time, of bf16 with sums in f32; plain loops in the f64
** twin. All that is oneDNN's stays here and in bf16.c.
**
** A product is cut into tiles of c whose borders depend on the sizes alone; each tile is one product of one thread, so
** the bits do not depend on the number of threads, and an epilogue runs while its tile is in the cache. An operand
** that is read across its rows (a transposed, b as it is) is first copied, tile by tile, into a buffer of the thread
** whose rows lie next to each other: oneDNN's own packing of it takes half the time of the product otherwise, more
** where the rows are a multiple of 4 KiB apart.
**
** Of bf16 a tile is one product of bf16.c. DATAMUX_BF16=emulated, for tests and to see what bf16 does to learning on
** any processor: the operands of a tile are widened and multiplied in f32, the same terms and sums, slowly. */
#include "cpu.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef DM_REAL

const char *cpu_gemm_library(void) { return "plain loops"; }

dm_status cpu_gemm_then(int ta, int tb, int m, int n, int k, const dm_store *a, int lda, const dm_store *b,
                        int ldb, int beta, dm_real *c, int ldc, cpu_epilogue *then, void *context) {
#pragma omp parallel for schedule(static)
  for (int i = 0; i < m; i++) {
    dm_real *row = c + (size_t)i * ldc;
    if (!beta) memset(row, 0, (size_t)n * sizeof *row);
    for (int l = 0; l < k; l++) {
      dm_real x = ta ? a[(size_t)l * lda + i] : a[(size_t)i * lda + l];
      if (tb) {
        for (int j = 0; j < n; j++) row[j] += x * b[(size_t)j * ldb + l];
      } else {
        const dm_real *q = b + (size_t)l * ldb;
        for (int j = 0; j < n; j++) row[j] += x * q[j];
      }
    }
  }
  if (then) then(context, c, ldc, 0, 0, m, n);
  return DM_OK;
}

#else

#include <dnnl.h>
#include <signal.h>

enum {
  HIGH = 512, WIDE = 384,               /* most rows and columns of a tile of c */
  LOW = 80, NARROW = 192,               /* least, where it is cut further: copies of short rows cost too much */
  DEEP = 1024,                          /* terms of a sum between two visits of c: bounds the buffers */
  TILES = 8,                            /* tiles wanted, so that several threads find work */
  SMALLEST = 1 << 22,                   /* multiply-adds of a tile below which it is not cut further */
  FEW = 4,                              /* columns of c that are dot products */
  APART = 16                            /* values between rows of a copy, lest they share their place in the cache */
};

typedef struct product {
  int ta, tb, m, n, k, lda, ldb, ldc, beta, high, wide;
  const dm_store *a, *b;
  float *c;                             /* NULL: each tile in a buffer, for `then` */
} product;

static int pieces(int n, int size) { return (n + size - 1) / size; }

/* n in `parts` equal pieces, rounded up to what oneDNN's kernel for AVX2 takes at once: 24 columns, 4 rows. */
static int cut(int n, int parts, int unit) { return pieces(pieces(n, parts), unit) * unit; }

static void choose_tiles(product *p) {
  p->high = cut(p->m, pieces(p->m, HIGH), 16);
  p->wide = cut(p->n, pieces(p->n, WIDE), 48);
  while (pieces(p->m, p->high) * pieces(p->n, p->wide) < TILES && (double)p->high * p->wide * p->k > 2.0 * SMALLEST) {
    if (p->wide >= 2 * NARROW) p->wide = cut(p->wide, 2, 48);
    else if (p->high >= 2 * LOW) p->high = cut(p->high, 2, 16);
    else break;
  }
}

/* The thread's buffer of at least n reals: grown as needed, kept for the thread's life; NULL where memory is short. */
static float *buffer(size_t n) {
  static _Thread_local float *room;
  static _Thread_local size_t size;
  if (n > size) {
    free(room);
    size = n;
    room = aligned_alloc(256, (n * sizeof *room + 255) / 256 * 256);
    if (!room) size = 0;
  }
  return room;
}

static void copy_rows(float *out, int ldo, const dm_store *x, int ldx, int rows, int cols) {
  for (int r = 0; r < rows; r++) {
    float *o = out + (size_t)r * ldo;
    const float *v = dm_read(x + (size_t)r * ldx, o, (size_t)cols);
    if (v != o) memcpy(o, v, (size_t)cols * sizeof *o);
  }
}

/* dnnl_sgemm with signals held back in this thread. Kernels of oneDNN 2 for AVX and AVX2 (jit_avx_gemm_f32) point the
** stack at their work space on the heap for sums of more than some 128 terms: the frame of a signal that came then would
** be written over what lies below that block. Two system calls, less than a microsecond. */
static dnnl_status_t undisturbed_sgemm(char ta, char tb, int m, int n, int k, const float *a, int lda, const float *b,
                                       int ldb, float beta, float *c, int ldc) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  dnnl_status_t s = dnnl_sgemm(ta, tb, m, n, k, 1.0f, a, lda, b, ldb, beta, c, ldc);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return s;
}

/* Tile t of p, counted along the longer way of c: its row and column of tiles, its place and size in c. */
typedef struct tile { int i, j, y, x, h, w; } tile;

static tile tile_of(const product *p, int t) {
  int down = pieces(p->m, p->high), across = pieces(p->n, p->wide);
  tile q = { .i = down > across ? t % down : t / across, .j = down > across ? t / down : t % across };
  q.y = q.i * p->high;
  q.x = q.j * p->wide;
  q.h = p->m - q.y < p->high ? p->m - q.y : p->high;
  q.w = p->n - q.x < p->wide ? p->n - q.x : p->wide;
  return q;
}

static const dm_store *a_at(const product *p, int y, int l) {
  return p->ta ? p->a + (size_t)l * p->lda + y : p->a + (size_t)y * p->lda + l;
}

static const dm_store *b_at(const product *p, int x, int l) {
  return p->tb ? p->b + (size_t)x * p->ldb + l : p->b + (size_t)l * p->ldb + x;
}

/* A product of few rows does not repay the copy of b, unless b's rows share their place in the cache. */
static int copies_b(const product *p) { return !p->tb && (p->high >= 2 * LOW || p->ldb % 1024 == 0); }

/* Tiles [from, to) of p, by one thread, in f32. The copy of an operand is made anew only when the tile before was of
** another row, or column, of tiles; of bf16 both are copied. */
static dnnl_status_t run_tiles(const product *p, int from, int to, cpu_epilogue *then, void *context) {
  int copy_a = p->ta || DM_NARROW, copy_b = copies_b(p) || DM_NARROW;
  int deep = p->k > DEEP && (copy_a || copy_b) ? DEEP : p->k, whole = deep == p->k;
  int row_of_a = -1, column_of_b = -1;
  int wa = (p->ta ? p->high : deep) + APART, wb = (p->tb ? deep : p->wide) + APART;
  size_t for_a = copy_a ? (size_t)(p->ta ? deep : p->high) * wa : 0;
  size_t for_b = copy_b ? (size_t)(p->tb ? p->wide : deep) * wb : 0;
  size_t for_c = p->c ? 0 : (size_t)p->high * p->wide;
  float *ca = NULL, *cb = NULL, *c = NULL;
  if (for_a + for_b + for_c) {
    ca = buffer(for_a + for_b + for_c);
    if (!ca) return dnnl_out_of_memory;
    cb = ca + for_a;
    c = cb + for_b;
  }
  for (int t = from; t < to; t++) {
    tile q = tile_of(p, t);
    int ldc = p->c ? p->ldc : p->wide;
    if (p->c) c = p->c + (size_t)q.y * ldc + q.x;
    else if (!p->k) memset(c, 0, for_c * sizeof *c);
    for (int l = 0; l < p->k; l += deep) {
      int depth = p->k - l < deep ? p->k - l : deep;
      const dm_store *a = a_at(p, q.y, l), *b = b_at(p, q.x, l);
      if (copy_a && (!whole || row_of_a != q.i)) {
        copy_rows(ca, wa, a, p->lda, p->ta ? depth : q.h, p->ta ? q.h : depth);
      }
      if (copy_b && (!whole || column_of_b != q.j)) {
        copy_rows(cb, wb, b, p->ldb, p->tb ? q.w : depth, p->tb ? depth : q.w);
      }
      row_of_a = q.i;
      column_of_b = q.j;
      dnnl_status_t s = undisturbed_sgemm(p->ta ? 'T' : 'N', p->tb ? 'T' : 'N', q.h, q.w, depth,
                                          copy_a ? ca : (const float *)a, copy_a ? wa : p->lda,
                                          copy_b ? cb : (const float *)b, copy_b ? wb : p->ldb,
                                          l > 0 || p->beta ? 1.0f : 0.0f, c, ldc);
      if (s != dnnl_success) return s;
    }
    if (then) then(context, c, ldc, q.y, q.x, q.h, q.w);
  }
  return dnnl_success;
}

#ifdef DM_STORE_BF16

/* The same through the processor's instructions for bf16: oneDNN arranges the operands. */
static dnnl_status_t run_tiles_bf16(const product *p, int from, int to, cpu_epilogue *then, void *context) {
  int ldc = p->c ? p->ldc : p->wide;
  float *c = p->c ? NULL : buffer((size_t)p->high * p->wide);
  if (!p->c && !c) return dnnl_out_of_memory;
  for (int t = from; t < to; t++) {
    tile q = tile_of(p, t);
    if (p->c) c = p->c + (size_t)q.y * ldc + q.x;
    int s = cpu_bf16_product(p->ta, p->tb, q.h, q.w, p->k, a_at(p, q.y, 0), p->lda, b_at(p, q.x, 0), p->ldb,
                             p->beta, c, ldc);
    if (s) return (dnnl_status_t)s;
    if (then) then(context, c, ldc, q.y, q.x, q.h, q.w);
  }
  return dnnl_success;
}

#endif

/* c = a b^T of a few columns, the answers of a head. oneDNN works for 30 ms before its first product, which a model in int8
** needs for nothing else, and packs more than it multiplies. */
static void few_columns(int m, int n, int k, const dm_store *a, int lda, const dm_store *b, int ldb, float *c, int ldc) {
#pragma omp parallel for schedule(static) if ((double)m * n * k > SMALLEST && !omp_in_parallel())
  for (int i = 0; i < m; i++) {
    const dm_store *u = a + (size_t)i * lda;
    for (int j = 0; j < n; j++) {
      const dm_store *v = b + (size_t)j * ldb;
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int l = 0; l < k; l++) sum += dm_load(u[l]) * dm_load(v[l]);
      c[(size_t)i * ldc + j] = sum;
    }
  }
}

dm_status cpu_gemm_then(int ta, int tb, int m, int n, int k, const dm_store *a, int lda, const dm_store *b,
                        int ldb, int beta, dm_real *c, int ldc, cpu_epilogue *then, void *context) {
  if (m == 0 || n == 0) return DM_OK;
  if (k == 0 && c) {
    for (int i = 0; !beta && i < m; i++) memset(c + (size_t)i * ldc, 0, (size_t)n * sizeof *c);
    if (then) then(context, c, ldc, 0, 0, m, n);
    return DM_OK;
  }
  if (n <= FEW && tb && !ta && !beta && c) {
    few_columns(m, n, k, a, lda, b, ldb, c, ldc);
    if (then) then(context, c, ldc, 0, 0, m, n);
    return DM_OK;
  }
  product p = { ta, tb, m, n, k, lda, ldb, ldc, beta, 0, 0, a, b, c };
  choose_tiles(&p);
  dnnl_status_t (*run)(const product *, int, int, cpu_epilogue *, void *) = run_tiles;
#ifdef DM_STORE_BF16
  if (!cpu_bf16_emulated() && k) run = run_tiles_bf16;
#endif
  int tiles = pieces(m, p.high) * pieces(n, p.wide), failed = dnnl_success;
#pragma omp parallel if (tiles > 1 && !omp_in_parallel())
  {
    int of = omp_get_num_threads(), me = omp_get_thread_num();
    omp_set_num_threads(1);             /* of this region only: a tile is one thread's also where it is alone */
    dnnl_status_t s = run(&p, (int)((long)tiles * me / of), (int)((long)tiles * (me + 1) / of), then, context);
    if (s != dnnl_success) {
#pragma omp atomic write
      failed = (int)s;
    }
  }
  if (failed == dnnl_success) return DM_OK;
  return dm_fail(failed == dnnl_out_of_memory ? DM_ENOMEM : DM_EINTERNAL,
                 "gemm: oneDNN status %d for [%d, %d] x [%d, %d]", failed, m, k, k, n);
}

#ifndef DM_STORE_BF16

const char *cpu_gemm_library(void) {
  static char text[32];
  const dnnl_version_t *v = dnnl_version();
  snprintf(text, sizeof text, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
  return text;
}

#endif

#endif

dm_status cpu_gemm(int ta, int tb, int m, int n, int k, const dm_store *a, int lda, const dm_store *b,
                   int ldb, int beta, dm_real *c, int ldc) {
  return cpu_gemm_then(ta, tb, m, n, k, a, lda, b, ldb, beta, c, ldc, NULL, NULL);
}

typedef struct rounded { dm_store *c; int ldc, add; } rounded;

static void round_tile(void *context, dm_real *t, int stride, int row, int column, int rows, int columns) {
  const rounded *o = context;
  for (int r = 0; r < rows; r++) {
    const dm_real *v = t + (size_t)r * stride;
    dm_store *c = o->c + (size_t)(row + r) * o->ldc + column;
    if (o->add) {
#pragma omp simd
      for (int j = 0; j < columns; j++) c[j] = dm_put(dm_load(c[j]) + v[j]);
    } else {
      dm_settle(c, v, (size_t)columns);
    }
  }
}

dm_status cpu_gemm_into(int ta, int tb, int m, int n, int k, const dm_store *a, int lda, const dm_store *b,
                        int ldb, int beta, void *c, int ldc, int dtype) {
  if (!DM_NARROW || dtype == DM_F32) return cpu_gemm(ta, tb, m, n, k, a, lda, b, ldb, beta, c, ldc);
  rounded o = { c, ldc, beta };
  return cpu_gemm_then(ta, tb, m, n, k, a, lda, b, ldb, 0, NULL, ldc, round_tile, &o);
}
