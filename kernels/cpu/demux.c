/* demux.c -- the demultiplexers for listed (index, position) pairs on the CPU: split weights, and unbinding. */
#include "segment.h"
#include "simd.h"

#include <omp.h>

enum { ROWS = 128 };                    /* pairs that a thread takes at a time: their operands stay in its cache */

static int chunks_of(int rows) { return (rows + ROWS - 1) / ROWS; }

dm_status cpu_demux_fwd(dm_device *d, dm_tensor *y, dm_tensor *pre, const dm_tensor *u,
                        const dm_tensor *v, const dm_tensor *iu, const dm_tensor *iv, int32_t act) {
  int R = y->shape[0], n = y->shape[1];
  const int32_t *a = iu->data, *b = iv->data;
  void *rooms;
  dm_status status = dm_scratch(d, dm_rooms(n) * sizeof(dm_real), &rooms);
  if (status) return status;
#pragma omp parallel for schedule(static)
  for (int r = 0; r < R; r++) {
    dm_store *o = (dm_store *)y->data + (size_t)r * n, *kept = pre ? (dm_store *)pre->data + (size_t)r * n : NULL;
    const dm_store *p = (const dm_store *)u->data + (size_t)a[r] * n;
    const dm_store *q = (const dm_store *)v->data + (size_t)b[r] * n;
    dm_real *s = dm_work(kept ? kept : o, (dm_real *)rooms + (size_t)omp_get_thread_num() * n);
#pragma omp simd
    for (int j = 0; j < n; j++) s[j] = dm_load(p[j]) + dm_load(q[j]);
    dm_finish(o, kept, s, (size_t)n, act);
  }
  return DM_OK;
}

static void activation_grad(dm_real *g, const dm_tensor *dy, const dm_tensor *pre, int32_t act) {
  int R = dy->shape[0], n = dy->shape[1];
#pragma omp parallel for schedule(static)
  for (int r = 0; r < R; r++) {
    size_t at = (size_t)r * n;
    dm_act_grad_rows(g + at, (const dm_store *)dy->data + at, act ? (const dm_store *)pre->data + at : NULL, (size_t)n,
                     act);
  }
}

typedef struct real_rows { const dm_real *x; int n; } real_rows;

static void real_row(void *context, dm_real *acc, int row, int chunk) {
  const real_rows *s = context;
  const dm_real *v = s->x + (size_t)row * s->n;
  (void)chunk;
#pragma omp simd
  for (int j = 0; j < s->n; j++) acc[j] += v[j];
}

/* out (+)= rows of g summed by target. */
static void sum_rows(dm_tensor *out, const dm_real *g, int rows, const dm_tensor *target, const dm_tensor *order,
                     int add, dm_real *edge) {
  real_rows context = { g, dm_cols(out) };
  segment_sum(out, add, order->data, target->data, rows, edge, real_row, &context);
}

dm_status cpu_demux_bwd(dm_device *d, dm_tensor *du, dm_tensor *dv, const dm_tensor *dy,
                        const dm_tensor *pre, const dm_tensor *iu, const dm_tensor *iv,
                        const dm_tensor *ou, const dm_tensor *ov, int32_t act, uint32_t acc) {
  int R = dy->shape[0], n = dy->shape[1];
  void *scratch;
  dm_status s = dm_scratch(d, ((size_t)R * n + segment_scratch(R, n)) * sizeof(dm_real), &scratch);
  if (s) return s;
  dm_real *g = scratch, *edge = g + (size_t)R * n;
  activation_grad(g, dy, pre, act);
  if (du) sum_rows(du, g, R, iu, ou, acc & 1, edge);
  if (dv) sum_rows(dv, g, R, iv, ov, acc >> 1 & 1, edge);
  return DM_OK;
}

/* -- unbinding ------------------------------------------------------------------------------------------ */

/* o [rows, C] = key[ik[r]] * h[ih[r]] for pairs from `first` on. */
static void bound_rows(dm_store *o, const dm_tensor *key, const dm_tensor *h, const int32_t *ik, const int32_t *ih,
                       int first, int rows) {
  int C = dm_cols(h);
  for (int r = 0; r < rows; r++) {
    const dm_store *k = (const dm_store *)key->data + (size_t)ik[first + r] * C;
    const dm_store *v = (const dm_store *)h->data + (size_t)ih[first + r] * C;
    dm_store *w = o + (size_t)r * C;
#pragma omp simd
    for (int j = 0; j < C; j++) w[j] = dm_put(dm_load(k[j]) * dm_load(v[j]));
  }
}

/* Each thread binds a few pairs, multiplies them and finishes them while they are in its cache. */
dm_status cpu_unbind_fwd(dm_device *d, dm_tensor *y, dm_tensor *pre, const dm_tensor *key,
                         const dm_tensor *h, const dm_tensor *hb, const dm_tensor *a,
                         const dm_tensor *ik, const dm_tensor *ih, int32_t act) {
  int R = y->shape[0], D = y->shape[1], C = dm_cols(h), failed = DM_OK;
  const int32_t *at = ih->data;
  void *scratch;
  size_t for_x = dm_reals((size_t)ROWS * C), each = for_x + (DM_NARROW ? (size_t)ROWS * D : 0);
  dm_status s = dm_scratch(d, (size_t)omp_get_max_threads() * each * sizeof(dm_real), &scratch);
  if (s) return s;
#pragma omp parallel for schedule(static)
  for (int c = 0; c < chunks_of(R); c++) {
    int first = c * ROWS, rows = R - first < ROWS ? R - first : ROWS;
    dm_real *own = (dm_real *)scratch + (size_t)omp_get_thread_num() * each;
    dm_store *x = (dm_store *)own, *out = (dm_store *)y->data + (size_t)first * D;
    dm_store *kept = pre ? (dm_store *)pre->data + (size_t)first * D : NULL;
    dm_real *sum = dm_work(kept ? kept : out, own + for_x);
    bound_rows(x, key, h, ik->data, at, first, rows);
    dm_status one = cpu_gemm(0, 1, rows, D, C, x, C, a->data, C, 0, sum, D);
    if (one) {
#pragma omp atomic write
      failed = one;
      continue;
    }
    for (int r = 0; r < rows; r++) {
      dm_real *v = sum + (size_t)r * D;
      const dm_store *b = (const dm_store *)hb->data + (size_t)at[first + r] * D;
#pragma omp simd
      for (int j = 0; j < D; j++) v[j] += dm_load(b[j]);
      dm_finish(out + (size_t)r * D, kept ? kept + (size_t)r * D : NULL, v, (size_t)D, act);
    }
  }
  return failed ? dm_fail(failed, "unbind: a product of [%d, %d] x [%d, %d] failed", ROWS, C, C, D) : DM_OK;
}

typedef struct unbound {                /* rows of dx times the other factor of key * h */
  const dm_real *dx;
  const dm_store *other;
  const int32_t *index;
  int n;
} unbound;

static void unbound_row(void *context, dm_real *acc, int row, int chunk) {
  const unbound *u = context;
  const dm_real *g = u->dx + (size_t)row * u->n;
  const dm_store *v = u->other + (size_t)u->index[row] * u->n;
  (void)chunk;
#pragma omp simd
  for (int j = 0; j < u->n; j++) acc[j] += g[j] * dm_load(v[j]);
}

dm_status cpu_unbind_bwd(dm_device *d, dm_tensor *dkey, dm_tensor *dh, dm_tensor *dhb,
                         dm_tensor *da, const dm_tensor *dy, const dm_tensor *pre,
                         const dm_tensor *key, const dm_tensor *h, const dm_tensor *a,
                         const dm_tensor *ik, const dm_tensor *ih, const dm_tensor *ok,
                         const dm_tensor *oh, int32_t act, uint32_t acc) {
  int R = dy->shape[0], D = dy->shape[1], C = dm_cols(h);
  int wide = C > D ? C : D;
  size_t for_g = (size_t)R * D, for_x = (size_t)R * C, for_edge = segment_scratch(R, wide);
  size_t for_rounded = DM_NARROW ? dm_reals(for_g) : 0;
  void *scratch;
  dm_status s = dm_scratch(d, (for_g + for_x + for_edge + for_rounded) * sizeof(dm_real), &scratch);
  if (s) return s;
  dm_real *g = scratch, *x = g + for_g, *edge = x + for_x;
  dm_store *bound = (dm_store *)x, *factor = DM_NARROW ? (dm_store *)(edge + for_edge) : (dm_store *)g;
  activation_grad(g, dy, pre, act);
  dm_settle(factor, g, for_g);
  if (dhb) sum_rows(dhb, g, R, ih, oh, acc >> 2 & 1, edge);
  if (da) {
#pragma omp parallel for schedule(static)
    for (int c = 0; c < chunks_of(R); c++) {
      int first = c * ROWS, rows = R - first < ROWS ? R - first : ROWS;
      bound_rows(bound + (size_t)first * C, key, h, ik->data, ih->data, first, rows);
    }
    s = cpu_gemm(1, 0, D, C, R, factor, D, bound, C, acc >> 3 & 1, da->data, C);
    if (s) return s;
  }
  if (!dh && !dkey) return DM_OK;
  s = cpu_gemm(0, 0, R, C, D, factor, D, a->data, C, 0, x, C);
  if (s) return s;
  if (dh) {
    unbound u = { x, key->data, ik->data, C };
    segment_sum(dh, acc >> 1 & 1, oh->data, ih->data, R, edge, unbound_row, &u);
  }
  if (dkey) {
    unbound u = { x, h->data, ih->data, C };
    segment_sum(dkey, acc & 1, ok->data, ik->data, R, edge, unbound_row, &u);
  }
  return DM_OK;
}
