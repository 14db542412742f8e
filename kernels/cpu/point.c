/* point.c -- add, scale, act, dropout on the CPU: one pass over memory, in parallel where it is worth it. */
#include "cpu.h"
#include "simd.h"

enum { SPAN = 16384 };                  /* elements per chunk; a multiple of the 64 of a dropout group */

/* for each chunk [i, i + m) of n elements, in parallel */
static size_t spans(size_t n) { return (n + SPAN - 1) / SPAN; }
static size_t span_length(size_t n, size_t c) { return n - c * SPAN < SPAN ? n - c * SPAN : SPAN; }

dm_status cpu_add_fwd(dm_device *d, dm_tensor *y, const dm_tensor *a, const dm_tensor *b) {
  (void)d;
  size_t n = dm_numel(y);
#pragma omp parallel for schedule(static) if (n > SPAN)
  for (size_t c = 0; c < spans(n); c++) {
    dm_store *o = (dm_store *)y->data + c * SPAN;
    const dm_store *u = (const dm_store *)a->data + c * SPAN, *v = (const dm_store *)b->data + c * SPAN;
    size_t m = span_length(n, c);
#pragma omp simd
    for (size_t i = 0; i < m; i++) o[i] = dm_put(dm_load(u[i]) + dm_load(v[i]));
  }
  return DM_OK;
}

/* out (+)= s x */
static void scaled(dm_tensor *out, const dm_tensor *x, dm_real s, int add) {
  size_t n = dm_numel(x);
#pragma omp parallel for schedule(static) if (n > SPAN)
  for (size_t c = 0; c < spans(n); c++) {
    dm_store *o = (dm_store *)out->data + c * SPAN;
    const dm_store *u = (const dm_store *)x->data + c * SPAN;
    size_t m = span_length(n, c);
    if (add) {
#pragma omp simd
      for (size_t i = 0; i < m; i++) o[i] = dm_put(dm_load(o[i]) + s * dm_load(u[i]));
    } else {
#pragma omp simd
      for (size_t i = 0; i < m; i++) o[i] = dm_put(s * dm_load(u[i]));
    }
  }
}

dm_status cpu_add_bwd(dm_device *d, dm_tensor *da, dm_tensor *db, const dm_tensor *dy,
                      uint32_t acc) {
  (void)d;
  if (da) scaled(da, dy, 1, acc & 1);
  if (db) scaled(db, dy, 1, acc >> 1 & 1);
  return DM_OK;
}

dm_status cpu_scale_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, float s) {
  (void)d;
  scaled(y, x, s, 0);
  return DM_OK;
}

dm_status cpu_scale_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dy, float s, uint32_t acc) {
  (void)d;
  if (dx) scaled(dx, dy, s, acc & 1);
  return DM_OK;
}

/* out (+)= v */
static void put_block(dm_store *o, const dm_real *v, size_t m, int add) {
  if (add) {
#pragma omp simd
    for (size_t i = 0; i < m; i++) o[i] = dm_put(dm_load(o[i]) + v[i]);
  } else {
    dm_settle(o, v, m);
  }
}

/* Passes in blocks small enough for the stack. */
static size_t blocks(size_t n) { return (n + DM_BLOCK - 1) / DM_BLOCK; }
static size_t block_length(size_t n, size_t at) { return n - at < DM_BLOCK ? n - at : DM_BLOCK; }

dm_status cpu_act_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, int32_t act) {
  (void)d;
  size_t n = dm_numel(x);
#pragma omp parallel for schedule(static) if (n > SPAN)
  for (size_t b = 0; b < blocks(n); b++) {
    size_t at = b * DM_BLOCK, m = block_length(n, at);
    dm_real u[DM_BLOCK], v[DM_BLOCK];
    dm_store *o = (dm_store *)y->data + at;
    dm_real *w = dm_work(o, v);
    dm_act_span(w, dm_read((const dm_store *)x->data + at, u, m), m, act);
    dm_settle(o, w, m);
  }
  return DM_OK;
}

dm_status cpu_act_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dy, const dm_tensor *x,
                      int32_t act, uint32_t acc) {
  (void)d;
  if (!dx) return DM_OK;
  size_t n = dm_numel(x);
#pragma omp parallel for schedule(static) if (n > SPAN)
  for (size_t b = 0; b < blocks(n); b++) {
    size_t at = b * DM_BLOCK, m = block_length(n, at);
    dm_real v[DM_BLOCK];
    dm_act_grad_rows(v, (const dm_store *)dy->data + at, (const dm_store *)x->data + at, m, act);
    put_block((dm_store *)dx->data + at, v, m, acc & 1);
  }
  return DM_OK;
}

/* out (+)= x * mask */
static void dropped(dm_tensor *out, const dm_tensor *x, float p, uint32_t site, const dm_knobs *k, int add) {
  size_t n = dm_numel(x);
#pragma omp parallel for schedule(static) if (n > SPAN)
  for (size_t b = 0; b < blocks(n); b++) {
    size_t at = b * DM_BLOCK, m = block_length(n, at);
    const dm_store *u = (const dm_store *)x->data + at;
    dm_real v[DM_BLOCK];
    dm_keep_mask(v, at, m, p, site, k);
#pragma omp simd
    for (size_t i = 0; i < m; i++) v[i] *= dm_load(u[i]);
    put_block((dm_store *)out->data + at, v, m, add);
  }
}

dm_status cpu_dropout_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, float p, uint32_t site) {
  if (p > 0) dropped(y, x, p, site, &d->knobs, 0);
  else scaled(y, x, 1, 0);
  return DM_OK;
}

dm_status cpu_dropout_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dy, float p, uint32_t site,
                          uint32_t acc) {
  if (!dx) return DM_OK;
  if (p > 0) dropped(dx, dy, p, site, &d->knobs, acc & 1);
  else scaled(dx, dy, 1, acc & 1);
  return DM_OK;
}
