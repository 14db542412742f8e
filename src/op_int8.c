/* op_int8.c -- linear and unbind of a finished model in int8: check the arguments, then dispatch; no arithmetic. */
#include "op.h"

/* q and scale hold channels of C inputs, as dm_int8_pack lays them; the device has int8. */
static dm_status check_packed(const char *op, dm_device **d, const dm_tensor *q, const dm_tensor *scale, int C,
                              const dm_tensor *real) {
  DM_INT_ARG(op, q);
  DM_F32_ARG(op, scale);
  DM_TRY(dm_check_shape(op, "scale", scale, 1, (const int32_t[]){ -1 }));
  DM_TRY(dm_check_shape(op, "q", q, 3, (const int32_t[]){ (scale->shape[0] + 15) / 16, (C + 3) / 4, 16 }));
  if (C > INT32_MAX / (127 * 127)) {
    return dm_fail(DM_EARG, "%s: %d inputs, expected at most %d, whose sum 32 bits hold", op, C, INT32_MAX / (127 * 127));
  }
  const dm_tensor *all[] = { q, scale, real };
  DM_TRY(dm_check_device(op, d, 3, all));
  if ((*d)->backend->int8_linear) return DM_OK;
  return dm_fail(DM_EDEVICE, "%s: %s has no products in int8, expected cpu", op, dm_device_name(*d));
}

dm_status dm_int8_pack(dm_tensor *q, dm_tensor *scale, const dm_tensor *w) {
  const char *op = "int8_pack";
  DM_F32_ARG(op, w);
  DM_TRY(dm_check_matrix(op, "w", w));
  dm_device *d;
  DM_TRY(check_packed(op, &d, q, scale, w->shape[1], w));
  DM_TRY(dm_check_vector(op, "scale", scale, w->shape[0], "rows of w"));
  return d->backend->int8_pack(d, q, scale, w);
}

dm_status dm_int8_linear(dm_tensor *y, const dm_tensor *x, const dm_tensor *q, const dm_tensor *scale,
                         const dm_tensor *b, int32_t act) {
  const char *op = "int8_linear";
  DM_REAL_ARG(op, x);
  DM_TRY(dm_check_act(op, act));
  dm_device *d;
  DM_TRY(check_packed(op, &d, q, scale, dm_cols(x), x));
  DM_REAL_ARG(op, y);
  DM_TRY(dm_check_output(op, "y", y, x, scale->shape[0]));
  if (b) {
    DM_F32_ARG(op, b);
    DM_TRY(dm_check_vector(op, "b", b, scale->shape[0], "channels of scale"));
  }
  const dm_tensor *all[] = { y, x, b };
  DM_TRY(dm_check_device(op, &d, 3, all));
  return d->backend->int8_linear(d, y, x, q, scale, b, act);
}

dm_status dm_int8_unbind(dm_tensor *y, const dm_tensor *key, const dm_tensor *h, const dm_tensor *hb,
                         const dm_tensor *q, const dm_tensor *scale, const dm_tensor *ik, const dm_tensor *ih,
                         int32_t act) {
  const char *op = "int8_unbind";
  DM_F32_ARG(op, h);
  DM_TRY(dm_check_act(op, act));
  dm_device *d;
  DM_TRY(check_packed(op, &d, q, scale, dm_cols(h), h));
  int D = scale->shape[0];
  DM_F32_ARG(op, key);
  DM_TRY(dm_check_shape(op, "key", key, 2, (const int32_t[]){ -1, dm_cols(h) }));
  DM_F32_ARG(op, hb);
  DM_TRY(dm_check_state(op, "hb", hb, h, D));
  DM_F32_ARG(op, y);
  DM_TRY(dm_check_shape(op, "y", y, 2, (const int32_t[]){ -1, D }));
  DM_TRY(dm_check_rows_of(op, "ik", ik, y->shape[0], key));
  DM_TRY(dm_check_rows_of(op, "ih", ih, y->shape[0], h));
  const dm_tensor *all[] = { y, key, h, hb, ik, ih };
  DM_TRY(dm_check_device(op, &d, 6, all));
  return d->backend->int8_unbind(d, y, key, h, hb, q, scale, ik, ih, act);
}
