/* tensor.c -- sizes, views, copies to and from the host, fills and figures. */
#include "arena.h"

#include <math.h>
#include <stdlib.h>

int32_t dm_dtype_size(int32_t dtype) {
  return dtype == DM_F32 ? (int32_t)sizeof(dm_real) : dtype == DM_BF16 ? 2 : dtype == DM_I32 ? 4 : 0;
}

double dm_tensor_numel(const dm_tensor *t) { return (double)dm_numel(t); }
double dm_tensor_bytes(const dm_tensor *t) { return (double)dm_numel(t) * dm_dtype_size(t->dtype); }

dm_status dm_tensor_view(dm_tensor *y, const dm_tensor *x, double offset) {
  dm_status s = dm_check_live("view", "x", x);
  if (s || (s = dm_check_described("view", y))) return s;
  if (dm_dtype_size(y->dtype) != dm_dtype_size(x->dtype)) {
    return dm_fail(DM_ESHAPE, "view: elements of %d bytes, expected %d", dm_dtype_size(y->dtype),
                   dm_dtype_size(x->dtype));
  }
  if (!(offset >= 0) || offset + dm_tensor_numel(y) > dm_tensor_numel(x)) {
    return dm_fail(DM_ESHAPE, "view: %s from element %.0f does not fit in %s", dm_shape_text(y), offset,
                   dm_shape_text(x));
  }
  y->data = (char *)x->data + (size_t)offset * (size_t)dm_dtype_size(x->dtype);
  y->arena = x->arena;
  y->gen = x->gen;
  y->flags = 0;
  return DM_OK;
}

dm_status dm_tensor_adopt(dm_tensor *t, dm_arena *a, const void *data) {
  if (!t || !a || !data) return dm_fail(DM_EARG, "adopt: a tensor, an arena or the memory is NULL");
  dm_status s = dm_check_described("adopt", t);
  if (s) return s;
  if (a->device->backend != &dm_backend_cpu) {
    return dm_fail(DM_EDEVICE, "adopt: host memory for a tensor on %s, expected cpu", a->device->name);
  }
  t->data = (void *)(uintptr_t)data;
  t->arena = a;
  t->gen = a->gen;
  t->flags = 0;
  return DM_OK;
}

static dm_status check_bytes(const char *op, const dm_tensor *t, double bytes) {
  dm_status s = dm_check_live(op, "t", t);
  if (s) return s;
  if (bytes == dm_tensor_bytes(t)) return DM_OK;
  return dm_fail(DM_EARG, "%s: %.0f bytes, expected %.0f for %s", op, bytes, dm_tensor_bytes(t), dm_shape_text(t));
}

dm_status dm_tensor_put(dm_tensor *t, const void *host, double bytes) {
  dm_status s = check_bytes("put", t, bytes);
  if (s || !bytes) return s;
  dm_device *d = t->arena->device;
  return d->backend->put(d, t->data, host, (size_t)bytes);
}

/* LuaJIT takes some NaNs for values of other types, with what follows: the host sees one NaN. */
static void one_nan(dm_real *v, size_t n) {
#pragma omp simd
  for (size_t i = 0; i < n; i++) v[i] = v[i] == v[i] ? v[i] : (dm_real)NAN;
}

dm_status dm_tensor_get(void *host, const dm_tensor *t, double bytes) {
  dm_status s = check_bytes("get", t, bytes);
  if (s || !bytes) return s;
  dm_device *d = t->arena->device;
  s = d->backend->get(d, host, t->data, (size_t)bytes);
  if (!s && t->dtype == DM_F32) one_nan(host, dm_numel(t));
  return s;
}

dm_status dm_tensor_fill(dm_tensor *t, double v) {
  dm_status s = dm_check_live("fill", "t", t);
  if (s) return s;
  dm_device *d = t->arena->device;
  return d->backend->fill(d, t, v);
}

dm_status dm_tensor_stats(double *out, const dm_tensor *t) {
  dm_status s = dm_check_live("stats", "t", t);
  if (s) return s;
  if (t->dtype != DM_F32) return dm_fail(DM_EDTYPE, "stats: t is not f32, expected a real tensor");
  size_t n = dm_numel(t), finite = 0;
  dm_real *v = malloc(n * sizeof *v + 1);
  if (!v) return dm_fail(DM_ENOMEM, "stats: no room for a host copy of %s", dm_shape_text(t));
  s = dm_tensor_get(v, t, dm_tensor_bytes(t));
  double lo = INFINITY, hi = -INFINITY, sum = 0, square = 0;
  for (size_t i = 0; !s && i < n; i++) {
    if (!isfinite(v[i])) continue;
    finite++;
    sum += v[i];
    lo = v[i] < lo ? v[i] : lo;
    hi = v[i] > hi ? v[i] : hi;
  }
  double mean = finite ? sum / (double)finite : 0;
  for (size_t i = 0; !s && i < n; i++) {
    if (isfinite(v[i])) square += (v[i] - mean) * (v[i] - mean);
  }
  free(v);
  out[0] = finite ? lo : 0;
  out[1] = finite ? hi : 0;
  out[2] = mean;
  out[3] = finite ? sqrt(square / (double)finite) : 0;
  out[4] = (double)(n - finite);
  return s;
}
