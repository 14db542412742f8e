/* op_conv.c -- conv2d and maxpool2d: check the arguments, then dispatch; no arithmetic. */
#include "op.h"

/* A real tensor of four dimensions. */
static dm_status check_images(const char *op, const char *arg, const dm_tensor *t) {
  DM_TRY(dm_check_type(op, arg, t, DM_F32));
  const int32_t any[4] = { -1, -1, -1, -1 };
  return dm_check_shape(op, arg, t, 4, any);
}

static dm_status check_conv(const char *op, const char *arg, const dm_tensor *y, const dm_tensor *x,
                            const dm_tensor *w, int32_t pad, int32_t groups) {
  DM_TRY(check_images(op, "x", x));
  DM_TRY(check_images(op, "w", w));
  DM_TRY(check_images(op, arg, y));
  DM_LIKE_ARG(op, w, x);
  DM_TRY(dm_check_like(op, arg, y, "x", x));
  if (pad < 0 || pad > 1 << 28) return dm_fail(DM_EARG, "%s: pad is %d, expected 0 .. 2^28", op, pad);
  if (groups < 1 || x->shape[1] % groups || w->shape[0] % groups) {
    return dm_fail(DM_EARG, "%s: groups is %d, expected a divisor of the channels of x (%d) and of w (%d)", op, groups,
                   x->shape[1], w->shape[0]);
  }
  if (w->shape[1] != x->shape[1] / groups) {
    return dm_fail(DM_ESHAPE, "%s: w is %s, expected [.., %d, .., ..]: x is %s in %d groups", op, dm_shape_text(w),
                   x->shape[1] / groups, dm_shape_text(x), groups);
  }
  int64_t ho = (int64_t)x->shape[2] + 2 * pad - w->shape[2] + 1, wo = (int64_t)x->shape[3] + 2 * pad - w->shape[3] + 1;
  if (ho < 1 || wo < 1 || ho > INT32_MAX || wo > INT32_MAX || w->shape[2] < 1 || w->shape[3] < 1) {
    return dm_fail(DM_ESHAPE, "%s: w is %s, x is %s with pad %d: the kernel does not fit", op, dm_shape_text(w),
                   dm_shape_text(x), pad);
  }
  const int32_t want[4] = { x->shape[0], w->shape[0], (int32_t)ho, (int32_t)wo };
  return dm_check_shape(op, arg, y, 4, want);
}

dm_status dm_conv2d_fwd(dm_tensor *y, const dm_tensor *x, const dm_tensor *w, const dm_tensor *b, int32_t pad,
                        int32_t groups) {
  const char *op = "conv2d";
  DM_TRY(check_conv(op, "y", y, x, w, pad, groups));
  if (b) DM_LIKE_ARG(op, b, x);
  if (b) DM_TRY(dm_check_vector(op, "b", b, w->shape[0], "w's first dimension"));
  const dm_tensor *all[] = { y, x, w, b };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 4, all));
  return dm_ops(d, x)->conv2d_fwd(d, y, x, w, b, pad, groups);
}

dm_status dm_conv2d_bwd(dm_tensor *dx, dm_tensor *dw, dm_tensor *db, const dm_tensor *dy, const dm_tensor *x,
                        const dm_tensor *w, int32_t pad, int32_t groups, uint32_t acc) {
  const char *op = "conv2d backward";
  DM_TRY(check_conv(op, "dy", dy, x, w, pad, groups));
  DM_TRY(dm_check_grad(op, "dx", dx, "x", x));
  DM_TRY(dm_check_weight_grad(op, "dw", dw, "w", w));
  if (db) DM_F32_ARG(op, db);
  if (db) DM_TRY(dm_check_vector(op, "db", db, w->shape[0], "w's first dimension"));
  const dm_tensor *all[] = { dx, dw, db, dy, x, w };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 6, all));
  return dm_ops(d, x)->conv2d_bwd(d, dx, dw, db, dy, x, w, pad, groups, acc);
}

/* -- maxpool2d ------------------------------------------------------------------------------------------- */

/* The places of a plane are numbered in i32. */
static dm_status check_plane(const char *op, const char *arg, const dm_tensor *t) {
  if ((int64_t)t->shape[2] * t->shape[3] <= INT32_MAX) return DM_OK;
  return dm_fail(DM_ESHAPE, "%s: %s is %s, expected at most 2^31 - 1 values in a plane", op, arg, dm_shape_text(t));
}

dm_status dm_maxpool2d_fwd(dm_tensor *y, dm_tensor *at, const dm_tensor *x, int32_t k) {
  const char *op = "maxpool2d";
  DM_TRY(check_images(op, "x", x));
  DM_TRY(check_plane(op, "x", x));
  DM_LIKE_ARG(op, y, x);
  DM_INT_ARG(op, at);
  if (k < 1 || k > x->shape[2] || k > x->shape[3]) {
    return dm_fail(DM_EARG, "%s: k is %d, expected 1 .. the sides of x, which is %s", op, k, dm_shape_text(x));
  }
  const int32_t want[4] = { x->shape[0], x->shape[1], x->shape[2] / k, x->shape[3] / k };
  DM_TRY(dm_check_shape(op, "y", y, 4, want));
  DM_TRY(dm_check_shape(op, "at", at, 4, want));
  const dm_tensor *all[] = { y, at, x };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 3, all));
  return dm_ops(d, x)->maxpool2d_fwd(d, y, at, x, k);
}

dm_status dm_maxpool2d_bwd(dm_tensor *dx, const dm_tensor *dy, const dm_tensor *at, uint32_t acc) {
  const char *op = "maxpool2d backward";
  if (!dx) return DM_OK;
  DM_TRY(check_images(op, "dx", dx));
  DM_TRY(check_plane(op, "dx", dx));
  DM_TRY(check_images(op, "dy", dy));
  DM_LIKE_ARG(op, dy, dx);
  DM_INT_ARG(op, at);
  DM_TRY(dm_check_shape(op, "at", at, 4, dy->shape));
  if (dy->shape[0] != dx->shape[0] || dy->shape[1] != dx->shape[1]) {
    return dm_fail(DM_ESHAPE, "%s: dy is %s, dx is %s: first two dimensions differ", op, dm_shape_text(dy),
                   dm_shape_text(dx));
  }
  DM_TRY(dm_check_ids(op, "at", at, 0, dx->shape[2] * dx->shape[3], 0));
  const dm_tensor *all[] = { dx, dy, at };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 3, all));
  return dm_ops(d, dx)->maxpool2d_bwd(d, dx, dy, at, acc);
}
