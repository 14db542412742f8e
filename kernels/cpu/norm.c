/* norm.c -- layer norm with residual and dropout on the CPU: one pass each way, statistics in two. */
#include "cpu.h"
#include "simd.h"

#include <omp.h>

enum { ROWS = 32 };                     /* rows per chunk of the backward sums: borders depend on sizes only */

/* v = x + drop(r) for row `row` of n; returns its sum. */
static dm_real sum_row(dm_real *v, const dm_store *x, const dm_store *r, size_t row, int n, float p, uint32_t site,
                       const dm_knobs *k) {
  dm_real sum = 0;
  if (!r) {
#pragma omp simd reduction(+ : sum)
    for (int j = 0; j < n; j++) sum += v[j] = dm_load(x[j]);
  } else if (p > 0) {
    dm_keep_mask(v, row * (size_t)n, (size_t)n, p, site, k);
#pragma omp simd reduction(+ : sum)
    for (int j = 0; j < n; j++) sum += v[j] = dm_load(x[j]) + dm_load(r[j]) * v[j];
  } else {
#pragma omp simd reduction(+ : sum)
    for (int j = 0; j < n; j++) sum += v[j] = dm_load(x[j]) + dm_load(r[j]);
  }
  return sum;
}

dm_status cpu_layernorm_fwd(dm_device *d, dm_tensor *y, dm_tensor *stat, const dm_tensor *x,
                            const dm_tensor *r, const dm_tensor *w, const dm_tensor *b, float p,
                            uint32_t site, float eps) {
  int rows = dm_rows(x), n = dm_cols(x);
  const dm_store *scale = w->data, *shift = b->data;
  void *rooms;
  dm_status s = dm_scratch(d, dm_rooms(n) * sizeof(dm_real), &rooms);
  if (s) return s;
#pragma omp parallel for schedule(static)
  for (int i = 0; i < rows; i++) {
    size_t at = (size_t)i * n;
    dm_store *o = (dm_store *)y->data + at;
    dm_real *v = dm_work(o, (dm_real *)rooms + (size_t)omp_get_thread_num() * n);
    dm_real *st = (dm_real *)stat->data + 2 * (size_t)i;
    dm_real mean = sum_row(v, (const dm_store *)x->data + at, r ? (const dm_store *)r->data + at : NULL, (size_t)i, n,
                           p, site, &d->knobs) / n, square = 0;
#pragma omp simd reduction(+ : square)
    for (int j = 0; j < n; j++) square += (v[j] - mean) * (v[j] - mean);
    dm_real rstd = 1 / (dm_real)sqrt(square / n + eps);
    st[0] = mean;
    st[1] = rstd;
#pragma omp simd
    for (int j = 0; j < n; j++) v[j] = (v[j] - mean) * rstd * dm_load(scale[j]) + dm_load(shift[j]);
    dm_settle(o, v, (size_t)n);
  }
  return DM_OK;
}

/* One row: adds to sums of dw, db where wanted, leaves d(x + drop(r)) in g. h: room for the normalised row. */
static void backward_row(dm_real *g, dm_real *h, dm_real *dw, dm_real *db, const dm_store *dy, const dm_store *w,
                         const dm_real *st, int n) {
  dm_real mean = st[0], rstd = st[1], a = 0, b = 0;
#pragma omp simd reduction(+ : a, b)
  for (int j = 0; j < n; j++) {
    h[j] = (h[j] - mean) * rstd;
    g[j] = dm_load(dy[j]) * dm_load(w[j]);
    a += g[j];
    b += g[j] * h[j];
  }
  if (dw) {
#pragma omp simd
    for (int j = 0; j < n; j++) dw[j] += dm_load(dy[j]) * h[j];
  }
  if (db) {
#pragma omp simd
    for (int j = 0; j < n; j++) db[j] += dm_load(dy[j]);
  }
  a /= n;
  b /= n;
#pragma omp simd
  for (int j = 0; j < n; j++) g[j] = (g[j] - a - h[j] * b) * rstd;
}

static void put_row(dm_store *out, const dm_real *g, int n, int add) {
  if (add) {
#pragma omp simd
    for (int j = 0; j < n; j++) out[j] = dm_put(dm_load(out[j]) + g[j]);
  } else {
    dm_settle(out, g, (size_t)n);
  }
}

dm_status cpu_layernorm_bwd(dm_device *d, dm_tensor *dx, dm_tensor *dr, dm_tensor *dw,
                            dm_tensor *db, const dm_tensor *dy, const dm_tensor *x,
                            const dm_tensor *r, const dm_tensor *w, const dm_tensor *stat, float p,
                            uint32_t site, uint32_t acc) {
  int rows = dm_rows(x), n = dm_cols(x), chunks = (rows + ROWS - 1) / ROWS;
  size_t each = 4 * (size_t)n;                               /* dw, db, and two rows to work in */
  void *scratch;
  dm_status s = dm_scratch(d, (size_t)chunks * each * sizeof(dm_real), &scratch);
  if (s) return s;
  dm_real *part = scratch;
#pragma omp parallel for schedule(static)
  for (int c = 0; c < chunks; c++) {
    dm_real *sw = part + (size_t)c * each, *sb = sw + n, *g = sb + n, *h = g + n;
    memset(sw, 0, 2 * (size_t)n * sizeof *sw);
    for (int i = c * ROWS; i < rows && i < (c + 1) * ROWS; i++) {
      size_t at = (size_t)i * n;
      sum_row(h, (const dm_store *)x->data + at, r ? (const dm_store *)r->data + at : NULL, (size_t)i, n, p, site,
              &d->knobs);
      backward_row(g, h, dw ? sw : NULL, db ? sb : NULL, (const dm_store *)dy->data + at, w->data,
                   (const dm_real *)stat->data + 2 * (size_t)i, n);
      if (dx) put_row((dm_store *)dx->data + at, g, n, acc & 1);
      if (!dr) continue;
      if (p > 0) {
        dm_keep_mask(h, at, (size_t)n, p, site, &d->knobs);
#pragma omp simd
        for (int j = 0; j < n; j++) g[j] *= h[j];
      }
      put_row((dm_store *)dr->data + at, g, n, acc >> 1 & 1);
    }
  }
  dm_tensor *out[2] = { dw, db };
  for (int k = 0; k < 2; k++) {
    if (!out[k]) continue;
    dm_real *o = out[k]->data;
    if (!(acc >> (2 + k) & 1)) memset(o, 0, (size_t)n * sizeof *o);
    for (int c = 0; c < chunks; c++) {
      const dm_real *v = part + (size_t)c * each + (size_t)k * n;
#pragma omp simd
      for (int j = 0; j < n; j++) o[j] += v[j];
    }
  }
  return DM_OK;
}
