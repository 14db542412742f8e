/* gemm.c -- matrix products: oneDNN in f32, plain loops in the f64 twin. All that is oneDNN's stays here.
**
** A product is cut into tiles of c whose borders depend on the sizes alone; each tile is one product of one thread, so
** the bits do not depend on the number of threads, and an epilogue runs while its tile is in the cache. An operand
** that is read across its rows (a transposed, b as it is) is first copied, tile by tile, into a buffer of the thread
** whose rows lie next to each other: oneDNN's own packing of it takes half the time of the product otherwise, more
** where the rows are a multiple of 4 KiB apart. */
#include "cpu.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef DM_REAL

const char *cpu_gemm_library(void) { return "plain loops"; }

dm_status cpu_gemm_then(int ta, int tb, int m, int n, int k, const dm_real *a, int lda, const dm_real *b,
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
  if (then) then(context, 0, 0, m, n);
  return DM_OK;
}

dm_status cpu_gemm_int8(int m, int n, int k, const uint8_t *a, int zero, const int8_t *b, int32_t *c) {
  for (int i = 0; i < m; i++) {
    for (int j = 0; j < n; j++) {
      int32_t sum = 0;
      for (int l = 0; l < k; l++) sum += ((int32_t)a[(size_t)i * k + l] - zero) * b[(size_t)j * k + l];
      c[(size_t)i * n + j] = sum;
    }
  }
  return DM_OK;
}

#else

#include <dnnl.h>
#include <signal.h>

const char *cpu_gemm_library(void) {
  static char text[32];
  const dnnl_version_t *v = dnnl_version();
  snprintf(text, sizeof text, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
  return text;
}

enum {
  HIGH = 512, WIDE = 384,               /* most rows and columns of a tile of c */
  LOW = 80, NARROW = 192,               /* least, where it is cut further: copies of short rows cost too much */
  DEEP = 1024,                          /* terms of a sum between two visits of c: bounds the buffers */
  TILES = 8,                            /* tiles wanted, so that several threads find work */
  SMALLEST = 1 << 22                    /* multiply-adds of a tile below which it is not cut further */
};

typedef struct product {
  int ta, tb, m, n, k, lda, ldb, ldc, beta, high, wide;
  const float *a, *b;
  float *c;
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

static void copy_rows(float *out, int ldo, const float *x, int ldx, int rows, int cols) {
  for (int r = 0; r < rows; r++) memcpy(out + (size_t)r * ldo, x + (size_t)r * ldx, (size_t)cols * sizeof *out);
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

/* A product of few rows does not repay the copy of b, unless b's rows share their place in the cache. */
static int copies_b(const product *p) { return !p->tb && (p->high >= 2 * LOW || p->ldb % 1024 == 0); }

/* Tiles [from, to) of p, counted along the longer way of c, by one thread. The copy of an operand is made anew only
** when the tile before was of another row, or column, of tiles. */
static dnnl_status_t run_tiles(const product *p, int from, int to, cpu_epilogue *then, void *context) {
  int down = pieces(p->m, p->high), across = pieces(p->n, p->wide), copy_b = copies_b(p);
  int deep = p->k > DEEP && (p->ta || copy_b) ? DEEP : p->k, whole = deep == p->k;
  int row_of_a = -1, column_of_b = -1, wa = p->high + 16, wb = p->wide + 16;
  float *ca = NULL, *cb = NULL;
  if (p->ta || copy_b) {
    ca = buffer((size_t)deep * ((p->ta ? wa : 0) + (copy_b ? wb : 0)));
    if (!ca) return dnnl_out_of_memory;
    cb = ca + (p->ta ? (size_t)deep * wa : 0);
  }
  for (int t = from; t < to; t++) {
    int i = down > across ? t % down : t / across, j = down > across ? t / down : t % across;
    int y = i * p->high, x = j * p->wide, h = p->m - y < p->high ? p->m - y : p->high;
    int w = p->n - x < p->wide ? p->n - x : p->wide;
    float *c = p->c + (size_t)y * p->ldc + x;
    for (int l = 0; l < p->k; l += deep) {
      int depth = p->k - l < deep ? p->k - l : deep, lda = p->lda, ldb = p->ldb;
      const float *a = p->ta ? p->a + (size_t)l * lda + y : p->a + (size_t)y * lda + l;
      const float *b = p->tb ? p->b + (size_t)x * ldb + l : p->b + (size_t)l * ldb + x;
      if (p->ta) {
        if (!whole || row_of_a != i) copy_rows(ca, wa, a, lda, depth, h);
        a = ca;
        lda = wa;
      }
      if (copy_b) {
        if (!whole || column_of_b != j) copy_rows(cb, wb, b, ldb, depth, w);
        b = cb;
        ldb = wb;
      }
      row_of_a = i;
      column_of_b = j;
      dnnl_status_t s = undisturbed_sgemm(p->ta ? 'T' : 'N', p->tb ? 'T' : 'N', h, w, depth, a, lda, b, ldb,
                                          l > 0 || p->beta ? 1.0f : 0.0f, c, p->ldc);
      if (s != dnnl_success) return s;
    }
    if (then) then(context, y, x, h, w);
  }
  return dnnl_success;
}

dm_status cpu_gemm_then(int ta, int tb, int m, int n, int k, const dm_real *a, int lda, const dm_real *b,
                        int ldb, int beta, dm_real *c, int ldc, cpu_epilogue *then, void *context) {
  if (m == 0 || n == 0) return DM_OK;
  if (k == 0) {
    for (int i = 0; !beta && i < m; i++) memset(c + (size_t)i * ldc, 0, (size_t)n * sizeof *c);
    if (then) then(context, 0, 0, m, n);
    return DM_OK;
  }
  product p = { ta, tb, m, n, k, lda, ldb, ldc, beta, 0, 0, a, b, c };
  choose_tiles(&p);
  int tiles = pieces(m, p.high) * pieces(n, p.wide), failed = dnnl_success;
#pragma omp parallel if (tiles > 1 && !omp_in_parallel())
  {
    int of = omp_get_num_threads(), me = omp_get_thread_num();
    omp_set_num_threads(1);             /* of this region only: a tile is one thread's also where it is alone */
    dnnl_status_t s = run_tiles(&p, (int)((long)tiles * me / of), (int)((long)tiles * (me + 1) / of), then, context);
    if (s != dnnl_success) {
#pragma omp atomic write
      failed = (int)s;
    }
  }
  if (failed == dnnl_success) return DM_OK;
  return dm_fail(failed == dnnl_out_of_memory ? DM_ENOMEM : DM_EINTERNAL,
                 "gemm: oneDNN status %d for [%d, %d] x [%d, %d]", failed, m, k, k, n);
}

dm_status cpu_gemm_int8(int m, int n, int k, const uint8_t *a, int zero, const int8_t *b, int32_t *c) {
  int32_t none = 0;
  dnnl_status_t s = dnnl_gemm_u8s8s32('N', 'T', 'F', m, n, k, 1.0f, a, k, (uint8_t)zero, b, k, 0, 0.0f, c, n, &none);
  return s == dnnl_success ? DM_OK : s == dnnl_out_of_memory ? DM_ENOMEM : DM_EINTERNAL;
}

#endif

dm_status cpu_gemm(int ta, int tb, int m, int n, int k, const dm_real *a, int lda, const dm_real *b,
                   int ldb, int beta, dm_real *c, int ldc) {
  return cpu_gemm_then(ta, tb, m, n, k, a, lda, b, ldb, beta, c, ldc, NULL, NULL);
}
