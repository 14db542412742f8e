/* optim.c -- adamw, sgd, norm2, zero, cast on the CPU: one pass over the flat block. */
#include "cpu.h"

#include <math.h>
#include <string.h>

enum { SPAN = 65536 };                  /* elements per chunk: borders depend on the size only */

static size_t spans(size_t n) { return (n + SPAN - 1) / SPAN; }

/* Factor of all gradients: min(1, clip / norm). */
static dm_real clip_factor(const dm_tensor *norm, float clip) {
  if (!norm) return 1;
  dm_real n = *(const dm_real *)norm->data;
  return n > clip ? (dm_real)clip / n : 1;
}

dm_status cpu_adamw(dm_device *d, dm_tensor *p, dm_tensor *m, dm_tensor *v, dm_tensor *copy,
                    const dm_tensor *g, const dm_tensor *norm, double decayed, float beta1, float beta2, float eps,
                    float decay, float clip) {
  size_t n = dm_numel(p), border = (size_t)decayed;
  double t = d->knobs.update;
  dm_real factor = clip_factor(norm, clip), lr = d->knobs.lr;
  dm_real step = (dm_real)(lr / (1 - pow(beta1, t))), root = (dm_real)(1 / sqrt(1 - pow(beta2, t)));
  dm_real b1 = beta1, b2 = beta2, c1 = 1 - b1, c2 = 1 - b2, e = eps;
#pragma omp parallel for schedule(static)
  for (size_t c = 0; c < spans(n); c++) {
    size_t end = c * SPAN + SPAN < n ? c * SPAN + SPAN : n;
    for (size_t i = c * SPAN; i < end;) {
      size_t stop = i < border && border < end ? border : end;      /* one loop per side of the border */
      dm_real keep = i < border ? 1 - lr * (dm_real)decay : 1;
      dm_real *P = p->data, *M = m->data, *V = v->data;
      const dm_real *G = g->data;
      dm_bf16 *O = copy ? copy->data : NULL;
#pragma omp simd
      for (size_t k = i; k < stop; k++) {
        dm_real q = G[k] * factor;
        dm_real first = b1 * M[k] + c1 * q, second = b2 * V[k] + c2 * q * q;
        M[k] = first;
        V[k] = second;
        P[k] = P[k] * keep - step * first / ((dm_real)sqrt(second) * root + e);
        if (O) O[k] = dm_to_bf16((float)P[k]);
      }
      i = stop;
    }
  }
  return DM_OK;
}

dm_status cpu_sgd(dm_device *d, dm_tensor *p, dm_tensor *m, dm_tensor *copy, const dm_tensor *g,
                  const dm_tensor *norm, double decayed, float momentum, float decay, float clip) {
  size_t n = dm_numel(p), border = (size_t)decayed;
  dm_real factor = clip_factor(norm, clip), lr = d->knobs.lr;
  dm_real *P = p->data, *M = m ? m->data : NULL;
  const dm_real *G = g->data;
  dm_bf16 *O = copy ? copy->data : NULL;
#pragma omp parallel for schedule(static)
  for (size_t c = 0; c < spans(n); c++) {
    size_t end = c * SPAN + SPAN < n ? c * SPAN + SPAN : n;
    for (size_t k = c * SPAN; k < end; k++) {
      dm_real q = G[k] * factor + (k < border ? (dm_real)decay * P[k] : 0);
      if (M) q = M[k] = (dm_real)momentum * M[k] + q;
      P[k] -= lr * q;
      if (O) O[k] = dm_to_bf16((float)P[k]);
    }
  }
  return DM_OK;
}

dm_status cpu_norm2(dm_device *d, dm_tensor *out, const dm_tensor *x) {
  size_t n = dm_numel(x), chunks = spans(n);
  void *scratch;
  dm_status s = dm_scratch(d, chunks * sizeof(double), &scratch);
  if (s) return s;
  double *part = scratch, total = 0;
  const dm_real *v = x->data;
#pragma omp parallel for schedule(static)
  for (size_t c = 0; c < chunks; c++) {
    size_t end = c * SPAN + SPAN < n ? c * SPAN + SPAN : n;
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = c * SPAN; i < end; i++) sum += (double)v[i] * (double)v[i];
    part[c] = sum;
  }
  for (size_t c = 0; c < chunks; c++) total += part[c];
  *(dm_real *)out->data = (dm_real)sqrt(total);
  return DM_OK;
}

dm_status cpu_zero(dm_device *d, dm_tensor *x) {
  (void)d;
  memset(x->data, 0, dm_numel(x) * (size_t)dm_dtype_size(x->dtype));
  return DM_OK;
}

dm_status cpu_cast(dm_device *d, dm_tensor *y, const dm_tensor *x) {
  (void)d;
  size_t n = dm_numel(x);
  if (x->dtype == y->dtype) {
    memcpy(y->data, x->data, n * (size_t)dm_dtype_size(x->dtype));
  } else if (y->dtype == DM_BF16) {
    dm_bf16 *o = y->data;
    const dm_real *v = x->data;
#pragma omp simd
    for (size_t i = 0; i < n; i++) o[i] = dm_to_bf16((float)v[i]);
  } else {
    dm_real *o = y->data;
    const dm_bf16 *v = x->data;
#pragma omp simd
    for (size_t i = 0; i < n; i++) o[i] = dm_of_bf16(v[i]);
  }
  return DM_OK;
}
