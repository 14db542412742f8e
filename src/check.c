/* check.c -- the sentences of refused arguments: op: argument is what it is, expected what it should be. */
#include "arena.h"
#include "op.h"

#include <stdio.h>

const char *dm_shape_text(const dm_tensor *t) {
  static _Thread_local char ring[8][96];
  static _Thread_local int next;
  char *out = ring[next = (next + 1) % 8];
  int at = snprintf(out, sizeof ring[0], "[");
  for (int i = 0; i < t->ndim && i < 6; i++) {
    at += snprintf(out + at, sizeof ring[0] - (size_t)at, "%s%d", i ? ", " : "", t->shape[i]);
  }
  snprintf(out + at, sizeof ring[0] - (size_t)at, "]");
  return out;
}

static const char *dtype_name(int dtype) {
  return dtype == DM_F32 ? "f32" : dtype == DM_BF16 ? "bf16" : dtype == DM_I32 ? "i32" : "of no known type";
}

dm_status dm_check_live(const char *op, const char *arg, const dm_tensor *t) {
  if (!t) return dm_fail(DM_EARG, "%s: %s is NULL, expected a tensor", op, arg);
  if (!t->arena || !t->data) return dm_fail(DM_EARG, "%s: %s has no storage, expected an allocated tensor", op, arg);
  if (t->gen != t->arena->gen) {
    return dm_fail(DM_ESTALE, "%s: '%s' belongs to a finished step or was freed (made in %u, now %u)", op, arg,
                   t->gen, t->arena->gen);
  }
  return DM_OK;
}

dm_status dm_check_described(const char *op, const dm_tensor *t) {
  if (t->ndim < 1 || t->ndim > 6) return dm_fail(DM_EARG, "%s: ndim is %d, expected 1 .. 6", op, t->ndim);
  if (!dm_dtype_size(t->dtype)) {
    return dm_fail(DM_EARG, "%s: dtype is %d, expected one of DM_F32, DM_BF16, DM_I32", op, t->dtype);
  }
  double rows = 1;
  for (int i = 0; i < t->ndim; i++) {
    if (t->shape[i] < 0) return dm_fail(DM_EARG, "%s: shape[%d] is %d, expected >= 0", op, i, t->shape[i]);
    if (i + 1 < t->ndim) rows *= t->shape[i];
  }
  if (rows <= INT32_MAX) return DM_OK;
  return dm_fail(DM_ESHAPE, "%s: %s has %.0f rows, expected at most 2^31 - 1", op, dm_shape_text(t), rows);
}

dm_status dm_check_type(const char *op, const char *arg, const dm_tensor *t, int want) {
  dm_status s = dm_check_live(op, arg, t);
  if (s) return s;
  dm_device *d = t->arena->device;
  if (want == DM_I32 ? t->dtype == DM_I32 : t->dtype != DM_I32 && d->backend->takes(d, t->dtype)) return DM_OK;
  if (want == DM_I32) return dm_fail(DM_EDTYPE, "%s: %s is %s, expected i32", op, arg, dtype_name(t->dtype));
  if (t->dtype == DM_BF16) {
    return dm_fail(DM_EDTYPE, "%s: %s is bf16, expected f32: %s has no bf16: %s", op, arg, d->name, d->lacks);
  }
  const char *real = d->backend->takes(d, DM_BF16) ? "f32 or bf16" : "f32";
  return dm_fail(DM_EDTYPE, "%s: %s is %s, expected %s", op, arg, dtype_name(t->dtype), real);
}

dm_status dm_check_like(const char *op, const char *arg, const dm_tensor *t, const char *ref, const dm_tensor *r) {
  dm_status s = dm_check_live(op, arg, t);
  if (s || t->dtype == r->dtype) return s;
  return dm_fail(DM_EDTYPE, "%s: %s is %s, expected %s (the type of %s)", op, arg, dtype_name(t->dtype),
                 dtype_name(r->dtype), ref);
}

dm_status dm_check_f32(const char *op, const char *arg, const dm_tensor *t) {
  dm_status s = dm_check_live(op, arg, t);
  if (s || t->dtype == DM_F32) return s;
  return dm_fail(DM_EDTYPE, "%s: %s is %s, expected f32", op, arg, dtype_name(t->dtype));
}

dm_status dm_check_shape(const char *op, const char *arg, const dm_tensor *t, int ndim, const int32_t *shape) {
  int same = t->ndim == ndim;
  for (int i = 0; same && i < ndim; i++) same = shape[i] < 0 || t->shape[i] == shape[i];
  if (same) return DM_OK;
  char want[96] = "[";
  int at = 1;
  for (int i = 0; i < ndim; i++) {
    at += snprintf(want + at, sizeof want - (size_t)at, shape[i] < 0 ? "%s*" : "%s%d", i ? ", " : "", shape[i]);
  }
  snprintf(want + at, sizeof want - (size_t)at, "]");
  return dm_fail(DM_ESHAPE, "%s: %s is %s, expected %s", op, arg, dm_shape_text(t), want);
}

dm_status dm_check_same(const char *op, const char *arg, const dm_tensor *t, const char *ref, const dm_tensor *r) {
  int same = t->ndim == r->ndim;
  for (int i = 0; same && i < t->ndim; i++) same = t->shape[i] == r->shape[i];
  if (same) return DM_OK;
  return dm_fail(DM_ESHAPE, "%s: %s is %s, expected %s (the shape of %s)", op, arg, dm_shape_text(t),
                 dm_shape_text(r), ref);
}

dm_status dm_check_device(const char *op, dm_device **d, int n, const dm_tensor *const *t) {
  *d = NULL;
  for (int i = 0; i < n; i++) {
    if (!t[i]) continue;
    dm_device *own = t[i]->arena->device;
    if (!*d) *d = own;
    if (*d != own) {
      return dm_fail(DM_EDEVICE, "%s: tensors on %s and on %s, expected one device", op, (*d)->name, own->name);
    }
  }
  return DM_OK;
}

dm_status dm_check_ids(const char *op, const char *arg, const dm_tensor *t, int lo, int hi, int also) {
  if (t->arena->device->backend != &dm_backend_cpu) return DM_OK;
  const int32_t *v = t->data;
  size_t n = dm_numel(t);
  for (size_t i = 0; i < n; i++) {
    if ((v[i] >= lo && v[i] < hi) || (v[i] == also && also != lo)) continue;
    if (also != lo && (also < lo || also >= hi)) {
      return dm_fail(DM_EARG, "%s: %s[%zu] is %d, expected %d .. %d or %d", op, arg, i, v[i], lo, hi - 1, also);
    }
    return dm_fail(DM_EARG, "%s: %s[%zu] is %d, expected %d .. %d", op, arg, i, v[i], lo, hi - 1);
  }
  return DM_OK;
}

/* -- scalars, lists and gradients (op.h) ---------------------------------------------------------- */

dm_status dm_check_p(const char *op, float p) {
  if (p >= 0 && p < 1) return DM_OK;
  return dm_fail(DM_EARG, "%s: p is %g, expected 0 <= p < 1", op, p);
}

dm_status dm_check_act(const char *op, int32_t act) {
  if (act >= DM_NONE && act <= DM_TANH) return DM_OK;
  return dm_fail(DM_EARG, "%s: act is %d, expected DM_NONE, DM_GELU, DM_RELU or DM_TANH", op, act);
}

dm_status dm_check_vector(const char *op, const char *arg, const dm_tensor *t, int32_t n, const char *why) {
  if (t->ndim == 1 && t->shape[0] == n) return DM_OK;
  return dm_fail(DM_ESHAPE, "%s: %s is %s, expected [%d] (%s)", op, arg, dm_shape_text(t), n, why);
}

dm_status dm_check_matrix(const char *op, const char *arg, const dm_tensor *t) {
  if (t->ndim == 2) return DM_OK;
  return dm_fail(DM_ESHAPE, "%s: %s is %s, expected two dimensions", op, arg, dm_shape_text(t));
}

dm_status dm_check_grad(const char *op, const char *arg, const dm_tensor *t, const char *ref, const dm_tensor *r) {
  if (!t) return DM_OK;
  dm_status s = dm_check_like(op, arg, t, ref, r);
  return s ? s : dm_check_same(op, arg, t, ref, r);
}

dm_status dm_check_weight_grad(const char *op, const char *arg, const dm_tensor *t, const char *ref, const dm_tensor *r) {
  if (!t) return DM_OK;
  dm_status s = dm_check_f32(op, arg, t);
  return s ? s : dm_check_same(op, arg, t, ref, r);
}

dm_status dm_check_list(const char *op, const char *arg, const dm_tensor *t, size_t n, const char *why) {
  dm_status s = dm_check_type(op, arg, t, DM_I32);
  if (s) return s;
  if (dm_numel(t) == n) return DM_OK;
  return dm_fail(DM_ESHAPE, "%s: %s is %s, expected %zu entries (%s)", op, arg, dm_shape_text(t), n, why);
}

dm_status dm_check_rows_of(const char *op, const char *arg, const dm_tensor *t, int R, const dm_tensor *of) {
  dm_status s = dm_check_list(op, arg, t, (size_t)R, "one for each pair");
  return s ? s : dm_check_ids(op, arg, t, 0, dm_rows(of), 0);
}

dm_status dm_check_state(const char *op, const char *arg, const dm_tensor *t, const dm_tensor *h, int32_t D) {
  DM_TRY(dm_check_like(op, arg, t, "h", h));
  if (dm_rows(t) == dm_rows(h) && dm_cols(t) == D) return DM_OK;
  return dm_fail(DM_ESHAPE, "%s: %s is %s, expected [%d, %d] (rows of h, rows of a)", op, arg, dm_shape_text(t),
                 dm_rows(h), D);
}

dm_status dm_check_output(const char *op, const char *arg, const dm_tensor *y, const dm_tensor *x, int32_t D) {
  int32_t want[6];
  for (int i = 0; i < x->ndim; i++) want[i] = x->shape[i];
  want[x->ndim - 1] = D;
  return dm_check_shape(op, arg, y, x->ndim, want);
}
