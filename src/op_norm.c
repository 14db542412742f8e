/* op_norm.c -- layer norm with residual and dropout: check the arguments, then dispatch; no arithmetic. */
#include "op.h"

static dm_status check(const char *op, const dm_tensor *x, const dm_tensor *r, const dm_tensor *w,
                       const dm_tensor *stat, float p) {
  DM_REAL_ARG(op, x);
  DM_LIKE_ARG(op, w, x);
  DM_F32_ARG(op, stat);
  DM_TRY(dm_check_p(op, p));
  DM_TRY(dm_check_vector(op, "w", w, dm_cols(x), "last dimension of x"));
  if (r) {
    DM_LIKE_ARG(op, r, x);
    DM_TRY(dm_check_same(op, "r", r, "x", x));
  } else if (p > 0) {
    return dm_fail(DM_EARG, "%s: p is %g without r, expected 0", op, p);
  }
  const int32_t two[2] = { dm_rows(x), 2 };
  return dm_check_shape(op, "stat", stat, 2, two);
}

dm_status dm_layernorm_fwd(dm_tensor *y, dm_tensor *stat, const dm_tensor *x, const dm_tensor *r,
                           const dm_tensor *w, const dm_tensor *b, float p, uint32_t site,
                           float eps) {
  const char *op = "layernorm";
  DM_TRY(check(op, x, r, w, stat, p));
  DM_LIKE_ARG(op, y, x);
  DM_LIKE_ARG(op, b, x);
  DM_TRY(dm_check_vector(op, "b", b, dm_cols(x), "last dimension of x"));
  DM_TRY(dm_check_same(op, "y", y, "x", x));
  if (!(eps > 0)) return dm_fail(DM_EARG, "%s: eps is %g, expected > 0", op, eps);
  const dm_tensor *all[] = { y, stat, x, r, w, b };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 6, all));
  return dm_ops(d, x)->layernorm_fwd(d, y, stat, x, r, w, b, p, site, eps);
}

dm_status dm_layernorm_bwd(dm_tensor *dx, dm_tensor *dr, dm_tensor *dw, dm_tensor *db,
                           const dm_tensor *dy, const dm_tensor *x, const dm_tensor *r,
                           const dm_tensor *w, const dm_tensor *stat, float p, uint32_t site,
                           uint32_t acc) {
  const char *op = "layernorm backward";
  DM_TRY(check(op, x, r, w, stat, p));
  DM_LIKE_ARG(op, dy, x);
  DM_TRY(dm_check_same(op, "dy", dy, "x", x));
  DM_TRY(dm_check_grad(op, "dx", dx, "x", x));
  DM_TRY(dm_check_grad(op, "dr", dr, "x", x));
  DM_TRY(dm_check_weight_grad(op, "dw", dw, "w", w));
  DM_TRY(dm_check_weight_grad(op, "db", db, "w", w));
  if (dr && !r) return dm_fail(DM_EARG, "%s: dr is given, expected NULL as r is", op);
  const dm_tensor *all[] = { dx, dr, dw, db, dy, x, r, w, stat };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 9, all));
  return dm_ops(d, x)->layernorm_bwd(d, dx, dr, dw, db, dy, x, r, w, stat, p, site, acc);
}
