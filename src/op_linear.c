/* op_linear.c -- linear and matmul: check the arguments, then dispatch; no arithmetic. */
#include "op.h"

/* -- linear ---------------------------------------------------------------------------------------- */

static dm_status check_linear(const char *op, const dm_tensor *x, const dm_tensor *w, int32_t act) {
  DM_REAL_ARG(op, x);
  DM_LIKE_ARG(op, w, x);
  DM_TRY(dm_check_matrix(op, "w", w));
  DM_TRY(dm_check_act(op, act));
  if (dm_cols(x) == w->shape[1]) return DM_OK;
  return dm_fail(DM_ESHAPE, "%s: x is %s, w is %s: inner sizes differ", op, dm_shape_text(x), dm_shape_text(w));
}

dm_status dm_linear_fwd(dm_tensor *y, dm_tensor *pre, const dm_tensor *x, const dm_tensor *w,
                        const dm_tensor *b, int32_t act) {
  const char *op = "linear";
  DM_TRY(check_linear(op, x, w, act));
  DM_LIKE_ARG(op, y, x);
  DM_TRY(dm_check_output(op, "y", y, x, w->shape[0]));
  if (pre) {
    DM_LIKE_ARG(op, pre, x);
    DM_TRY(dm_check_same(op, "pre", pre, "y", y));
  }
  if (b) {
    DM_LIKE_ARG(op, b, x);
    DM_TRY(dm_check_vector(op, "b", b, w->shape[0], "rows of w"));
  }
  const dm_tensor *all[] = { y, pre, x, w, b };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 5, all));
  return dm_ops(d, x)->linear_fwd(d, y, pre, x, w, b, act);
}

dm_status dm_linear_bwd(dm_tensor *dx, dm_tensor *dw, dm_tensor *db, const dm_tensor *dy,
                        const dm_tensor *pre, const dm_tensor *x, const dm_tensor *w, int32_t act,
                        uint32_t acc) {
  const char *op = "linear backward";
  DM_TRY(check_linear(op, x, w, act));
  DM_LIKE_ARG(op, dy, x);
  DM_TRY(dm_check_output(op, "dy", dy, x, w->shape[0]));
  if (act != DM_NONE) {
    DM_LIKE_ARG(op, pre, x);
    DM_TRY(dm_check_same(op, "pre", pre, "dy", dy));
  }
  if (dx && dx->dtype == DM_F32) DM_TRY(dm_check_weight_grad(op, "dx", dx, "x", x));   /* x is a parameter */
  else DM_TRY(dm_check_grad(op, "dx", dx, "x", x));
  DM_TRY(dm_check_weight_grad(op, "dw", dw, "w", w));
  if (db) {
    DM_F32_ARG(op, db);
    DM_TRY(dm_check_vector(op, "db", db, w->shape[0], "rows of w"));
  }
  const dm_tensor *all[] = { dx, dw, db, dy, act ? pre : NULL, x, w };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 7, all));
  return dm_ops(d, x)->linear_bwd(d, dx, dw, db, dy, pre, x, w, act, acc);
}

/* -- matmul ------------------------------------------------------------------------------------------ */

static dm_status check_matmul(const char *op, const char *arg, const dm_tensor *y, const dm_tensor *a,
                              const dm_tensor *b, int32_t ta, int32_t tb) {
  DM_REAL_ARG(op, a);
  DM_LIKE_ARG(op, b, a);
  DM_TRY(dm_check_like(op, arg, y, "a", a));
  int n = a->ndim;
  if (n < 2 || n > 3 || b->ndim != n || (n == 3 && a->shape[0] != b->shape[0])) {
    return dm_fail(DM_ESHAPE, "%s: a is %s, b is %s, expected both 2-D, or 3-D with the same first size", op,
                   dm_shape_text(a), dm_shape_text(b));
  }
  if ((ta | tb) & ~1) return dm_fail(DM_EARG, "%s: ta is %d, tb is %d, expected 0 or 1", op, ta, tb);
  int inner = a->shape[n - (ta ? 2 : 1)], other = b->shape[n - (tb ? 1 : 2)];
  if (inner != other) {
    return dm_fail(DM_ESHAPE, "%s: a is %s%s, b is %s%s: inner sizes differ", op, dm_shape_text(a),
                   ta ? " transposed" : "", dm_shape_text(b), tb ? " transposed" : "");
  }
  int32_t want[3] = { a->shape[0] };
  want[n - 2] = a->shape[n - (ta ? 1 : 2)];
  want[n - 1] = b->shape[n - (tb ? 2 : 1)];
  return dm_check_shape(op, arg, y, n, want);
}

dm_status dm_matmul_fwd(dm_tensor *y, const dm_tensor *a, const dm_tensor *b, int32_t ta,
                        int32_t tb) {
  DM_TRY(check_matmul("matmul", "y", y, a, b, ta, tb));
  const dm_tensor *all[] = { y, a, b };
  dm_device *d;
  DM_TRY(dm_check_device("matmul", &d, 3, all));
  return dm_ops(d, a)->matmul_fwd(d, y, a, b, ta, tb);
}

dm_status dm_matmul_bwd(dm_tensor *da, dm_tensor *db, const dm_tensor *dy, const dm_tensor *a,
                        const dm_tensor *b, int32_t ta, int32_t tb, uint32_t acc) {
  const char *op = "matmul backward";
  DM_TRY(check_matmul(op, "dy", dy, a, b, ta, tb));
  DM_TRY(dm_check_grad(op, "da", da, "a", a));
  DM_TRY((db && db->dtype == DM_F32 ? dm_check_weight_grad : dm_check_grad)(op, "db", db, "b", b));
  const dm_tensor *all[] = { da, db, dy, a, b };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 5, all));
  return dm_ops(d, a)->matmul_bwd(d, da, db, dy, a, b, ta, tb, acc);
}
