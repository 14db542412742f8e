/* mux.c -- mux and meanpool on the CPU. */
#include "cpu.h"

#include <omp.h>

static dm_real share(const dm_tensor *weight, float scale, int instance) {
  return scale * (weight ? ((const dm_real *)weight->data)[instance] : 1);
}

/* -- Hadamard: phi_i(x) = key_i * x ------------------------------------------------------------------ */

static dm_status hadamard_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *key,
                              const dm_tensor *weight, float scale) {
  int B = x->shape[0], N = x->shape[1], S = x->shape[2], C = x->shape[3];
  void *rooms;
  dm_status status = dm_scratch(d, dm_rooms(C) * sizeof(dm_real), &rooms);
  if (status) return status;
#pragma omp parallel for schedule(static)
  for (int at = 0; at < B * S; at++) {
    int b = at / S, s = at % S;
    dm_store *row = (dm_store *)y->data + (size_t)at * C;
    dm_real *o = dm_work(row, (dm_real *)rooms + (size_t)omp_get_thread_num() * C);
    memset(o, 0, (size_t)C * sizeof *o);
    for (int i = 0; i < N; i++) {
      const dm_store *v = (const dm_store *)x->data + (((size_t)b * N + i) * S + s) * C;
      const dm_store *k = (const dm_store *)key->data + (size_t)i * C;
      dm_real f = share(weight, scale, b * N + i);
#pragma omp simd
      for (int j = 0; j < C; j++) o[j] += f * dm_load(k[j]) * dm_load(v[j]);
    }
    dm_settle(row, o, (size_t)C);
  }
  return DM_OK;
}

static void hadamard_bwd(dm_tensor *dx, dm_tensor *dkey, const dm_tensor *dy, const dm_tensor *x,
                         const dm_tensor *key, const dm_tensor *weight, float scale, uint32_t acc) {
  int B = x->shape[0], N = x->shape[1], S = x->shape[2], C = x->shape[3];
#pragma omp parallel for schedule(static)
  for (int i = 0; i < N; i++) {
    const dm_store *k = (const dm_store *)key->data + (size_t)i * C;
    dm_real *dk = dkey ? (dm_real *)dkey->data + (size_t)i * C : NULL;
    if (dk && !(acc >> 1 & 1)) memset(dk, 0, (size_t)C * sizeof *dk);
    for (int b = 0; b < B; b++) {
      dm_real f = share(weight, scale, b * N + i);
      for (int s = 0; s < S; s++) {
        const dm_store *g = (const dm_store *)dy->data + ((size_t)b * S + s) * C;
        size_t at = (((size_t)b * N + i) * S + s) * C;
        const dm_store *v = (const dm_store *)x->data + at;
        if (dx) {
          dm_store *o = (dm_store *)dx->data + at;
          dm_real old = acc & 1 ? 1 : 0;
          if (!(acc & 1)) memset(o, 0, (size_t)C * sizeof *o);
#pragma omp simd
          for (int j = 0; j < C; j++) o[j] = dm_put(old * dm_load(o[j]) + f * dm_load(k[j]) * dm_load(g[j]));
        }
        if (dk) {
#pragma omp simd
          for (int j = 0; j < C; j++) dk[j] += f * dm_load(v[j]) * dm_load(g[j]);
        }
      }
    }
  }
}

/* -- matrices: phi_i(x) = key_i x -------------------------------------------------------------------- */

/* f * v, rows of one instance, into room for [S, C]. */
static void scaled_rows(dm_store *o, const dm_store *v, size_t n, dm_real f) {
#pragma omp simd
  for (size_t j = 0; j < n; j++) o[j] = dm_put(f * dm_load(v[j]));
}

static dm_status matrix_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *key,
                            const dm_tensor *weight, float scale) {
  int B = x->shape[0], N = x->shape[1], S = x->shape[2], C = x->shape[3];
  size_t size = (size_t)S * C;
  void *room;
  dm_status s = dm_scratch(d, (dm_reals(size) + (DM_NARROW ? size : 0)) * sizeof(dm_real), &room);
  for (int b = 0; b < B && !s; b++) {
    dm_store *out = (dm_store *)y->data + b * size;
    dm_real *sum = dm_work(out, (dm_real *)room + dm_reals(size));
    if (!N) memset(sum, 0, size * sizeof *sum);
    for (int i = 0; i < N && !s; i++) {
      scaled_rows(room, (const dm_store *)x->data + ((size_t)b * N + i) * size, size, share(weight, scale, b * N + i));
      s = cpu_gemm(0, 1, S, C, C, room, C, (const dm_store *)key->data + (size_t)i * C * C, C, i > 0, sum, C);
    }
    if (!s) dm_settle(out, sum, size);
  }
  return s;
}

static dm_status matrix_bwd(dm_device *d, dm_tensor *dx, dm_tensor *dkey, const dm_tensor *dy, const dm_tensor *x,
                            const dm_tensor *key, const dm_tensor *weight, float scale, uint32_t acc) {
  int B = x->shape[0], N = x->shape[1], S = x->shape[2], C = x->shape[3];
  void *room;
  dm_status s = dm_scratch(d, (size_t)S * C * sizeof(dm_store), &room);
  if (!s && dkey && !B && !(acc >> 1 & 1)) memset(dkey->data, 0, (size_t)N * C * C * sizeof(dm_real));
  for (int b = 0; b < B && !s; b++) {
    for (int i = 0; i < N && !s; i++) {
      size_t at = ((size_t)b * N + i) * S * C, k = (size_t)i * C * C;
      scaled_rows(room, (const dm_store *)dy->data + (size_t)b * S * C, (size_t)S * C, share(weight, scale, b * N + i));
      if (dx) {
        s = cpu_gemm_into(0, 0, S, C, C, room, C, (const dm_store *)key->data + k, C, acc & 1,
                          (dm_store *)dx->data + at, C, dx->dtype);
      }
      if (!s && dkey) {
        s = cpu_gemm(1, 0, C, C, S, room, C, (const dm_store *)x->data + at, C, b > 0 || (acc >> 1 & 1),
                     (dm_real *)dkey->data + k, C);
      }
    }
  }
  return s;
}

dm_status cpu_mux_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *key,
                      const dm_tensor *weight, float scale) {
  if (key->ndim == 3) return matrix_fwd(d, y, x, key, weight, scale);
  return hadamard_fwd(d, y, x, key, weight, scale);
}

dm_status cpu_mux_bwd(dm_device *d, dm_tensor *dx, dm_tensor *dkey, const dm_tensor *dy,
                      const dm_tensor *x, const dm_tensor *key, const dm_tensor *weight,
                      float scale, uint32_t acc) {
  if (key->ndim == 3) return matrix_bwd(d, dx, dkey, dy, x, key, weight, scale, acc);
  hadamard_bwd(dx, dkey, dy, x, key, weight, scale, acc);
  return DM_OK;
}

/* -- meanpool ------------------------------------------------------------------------------------------ */

dm_status cpu_meanpool_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *span) {
  int G = y->shape[0], C = dm_cols(x);
  const int32_t *at = span->data;
  void *rooms;
  dm_status s = dm_scratch(d, dm_rooms(C) * sizeof(dm_real), &rooms);
  if (s) return s;
#pragma omp parallel for schedule(static)
  for (int g = 0; g < G; g++) {
    dm_store *row = (dm_store *)y->data + (size_t)g * C;
    dm_real *o = dm_work(row, (dm_real *)rooms + (size_t)omp_get_thread_num() * C);
    int from = at[2 * g], to = at[2 * g + 1];
    memset(o, 0, (size_t)C * sizeof *o);
    for (int r = from; r < to; r++) {
      const dm_store *v = (const dm_store *)x->data + (size_t)r * C;
#pragma omp simd
      for (int j = 0; j < C; j++) o[j] += dm_load(v[j]);
    }
    dm_real f = to > from ? 1 / (dm_real)(to - from) : 0;
#pragma omp simd
    for (int j = 0; j < C; j++) o[j] *= f;
    dm_settle(row, o, (size_t)C);
  }
  return DM_OK;
}

dm_status cpu_meanpool_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dy, const dm_tensor *span,
                           uint32_t acc) {
  (void)d;
  if (!dx) return DM_OK;
  int G = dy->shape[0], C = dm_cols(dx), add = acc & 1;
  const int32_t *at = span->data;
  if (!add) memset(dx->data, 0, dm_numel(dx) * sizeof(dm_store));
#pragma omp parallel for schedule(static)
  for (int g = 0; g < G; g++) {
    const dm_store *v = (const dm_store *)dy->data + (size_t)g * C;
    dm_real f = 1 / (dm_real)(at[2 * g + 1] - at[2 * g]);
    for (int r = at[2 * g]; r < at[2 * g + 1]; r++) {
      dm_store *o = (dm_store *)dx->data + (size_t)r * C;
#pragma omp simd
      for (int j = 0; j < C; j++) o[j] = dm_put(dm_load(o[j]) + f * dm_load(v[j]));
    }
  }
  return DM_OK;
}
