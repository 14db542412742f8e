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
    dm_real *o = (dm_real *)y->data + c * SPAN;
    const dm_real *u = (const dm_real *)a->data + c * SPAN, *v = (const dm_real *)b->data + c * SPAN;
    size_t m = span_length(n, c);
#pragma omp simd
    for (size_t i = 0; i < m; i++) o[i] = u[i] + v[i];
  }
  return DM_OK;
}

/* out (+)= s x */
static void scaled(dm_tensor *out, const dm_tensor *x, dm_real s, int add) {
  size_t n = dm_numel(x);
#pragma omp parallel for schedule(static) if (n > SPAN)
  for (size_t c = 0; c < spans(n); c++) {
    dm_real *o = (dm_real *)out->data + c * SPAN;
    const dm_real *u = (const dm_real *)x->data + c * SPAN;
    size_t m = span_length(n, c);
    if (add) {
#pragma omp simd
      for (size_t i = 0; i < m; i++) o[i] += s * u[i];
    } else {
#pragma omp simd
      for (size_t i = 0; i < m; i++) o[i] = s * u[i];
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

dm_status cpu_act_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, int32_t act) {
  (void)d;
  size_t n = dm_numel(x);
#pragma omp parallel for schedule(static) if (n > SPAN)
  for (size_t c = 0; c < spans(n); c++) {
    dm_act_span((dm_real *)y->data + c * SPAN, (const dm_real *)x->data + c * SPAN, span_length(n, c), act);
  }
  return DM_OK;
}

/* out (+)= row, in blocks small enough for the stack: f computes a block. */
enum { BLOCK = 256 };

static void put_block(dm_real *o, const dm_real *v, size_t m, int add) {
  if (add) {
#pragma omp simd
    for (size_t i = 0; i < m; i++) o[i] += v[i];
  } else {
    memcpy(o, v, m * sizeof *o);
  }
}

dm_status cpu_act_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dy, const dm_tensor *x,
                      int32_t act, uint32_t acc) {
  (void)d;
  if (!dx) return DM_OK;
  size_t n = dm_numel(x);
#pragma omp parallel for schedule(static) if (n > SPAN)
  for (size_t b = 0; b < (n + BLOCK - 1) / BLOCK; b++) {
    size_t at = b * BLOCK, m = n - at < BLOCK ? n - at : BLOCK;
    dm_real v[BLOCK];
    dm_act_grad_span(v, (const dm_real *)dy->data + at, (const dm_real *)x->data + at, m, act);
    put_block((dm_real *)dx->data + at, v, m, acc & 1);
  }
  return DM_OK;
}

/* out (+)= x * mask */
static void dropped(dm_tensor *out, const dm_tensor *x, float p, uint32_t site, const dm_knobs *k, int add) {
  size_t n = dm_numel(x);
#pragma omp parallel for schedule(static) if (n > SPAN)
  for (size_t b = 0; b < (n + BLOCK - 1) / BLOCK; b++) {
    size_t at = b * BLOCK, m = n - at < BLOCK ? n - at : BLOCK;
    const dm_real *u = (const dm_real *)x->data + at;
    dm_real v[BLOCK];
    dm_keep_mask(v, at, m, p, site, k);
#pragma omp simd
    for (size_t i = 0; i < m; i++) v[i] *= u[i];
    put_block((dm_real *)out->data + at, v, m, add);
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
