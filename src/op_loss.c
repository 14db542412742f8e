/* op_loss.c -- xent, linear_xent, mse, count_correct: check the arguments, then dispatch; no arithmetic. */
#include "op.h"

static dm_status check_scalar(const char *op, const char *arg, const dm_tensor *t) {
  DM_TRY(dm_check_f32(op, arg, t));
  return dm_check_vector(op, arg, t, 1, "one number");
}

static dm_status check_hits(const char *op, const dm_tensor *hits) {
  DM_INT_ARG(op, hits);
  return dm_check_vector(op, "hits", hits, 2, "right, counted");
}

/* One label for each of `rows`, in [0, classes) or ignore. */
static dm_status check_labels(const char *op, const dm_tensor *label, int rows, int classes, int32_t ignore) {
  DM_TRY(dm_check_list(op, "label", label, (size_t)rows, "one for each row"));
  if (ignore >= 0 && ignore < classes) {
    return dm_fail(DM_EARG, "%s: ignore is %d, expected a number that is no label", op, ignore);
  }
  return dm_check_ids(op, "label", label, 0, classes, ignore);
}

dm_status dm_xent_fwd(dm_tensor *loss, dm_tensor *saved, const dm_tensor *logits,
                      const dm_tensor *label, int32_t ignore) {
  const char *op = "xent";
  DM_TRY(check_scalar(op, "loss", loss));
  DM_REAL_ARG(op, logits);
  DM_TRY(dm_check_matrix(op, "logits", logits));
  DM_TRY(check_labels(op, label, logits->shape[0], logits->shape[1], ignore));
  DM_TRY(dm_check_grad(op, "saved", saved, "logits", logits));
  const dm_tensor *all[] = { loss, saved, logits, label };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 4, all));
  return dm_ops(d, logits)->xent_fwd(d, loss, saved, logits, label, ignore);
}

dm_status dm_xent_bwd(dm_tensor *dlogits, const dm_tensor *dloss, const dm_tensor *saved,
                      uint32_t acc) {
  const char *op = "xent backward";
  DM_TRY(check_scalar(op, "dloss", dloss));
  DM_REAL_ARG(op, saved);
  DM_TRY(dm_check_grad(op, "dlogits", dlogits, "saved", saved));
  const dm_tensor *all[] = { dlogits, dloss, saved };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 3, all));
  return dm_ops(d, saved)->xent_bwd(d, dlogits, dloss, saved, acc);
}

/* -- linear_xent ------------------------------------------------------------------------------------------ */

static dm_status check_projection(const char *op, const dm_tensor *lse, const dm_tensor *x, const dm_tensor *w,
                                  const dm_tensor *b, const dm_tensor *label, int32_t ignore) {
  DM_REAL_ARG(op, x);
  DM_LIKE_ARG(op, w, x);
  DM_F32_ARG(op, lse);
  DM_TRY(dm_check_matrix(op, "x", x));
  DM_TRY(dm_check_matrix(op, "w", w));
  if (x->shape[1] != w->shape[1]) {
    return dm_fail(DM_ESHAPE, "%s: x is %s, w is %s: inner sizes differ", op, dm_shape_text(x), dm_shape_text(w));
  }
  if (w->shape[0] < 1) return dm_fail(DM_ESHAPE, "%s: w is %s, expected at least one row", op, dm_shape_text(w));
  DM_TRY(dm_check_vector(op, "lse", lse, x->shape[0], "rows of x"));
  if (b) {
    DM_LIKE_ARG(op, b, x);
    DM_TRY(dm_check_vector(op, "b", b, w->shape[0], "rows of w"));
  }
  return check_labels(op, label, x->shape[0], w->shape[0], ignore);
}

/* NULL, or [R, V or more] in f32 or in the type of x. */
static dm_status check_logits(const char *op, const dm_tensor *logits, const dm_tensor *x, const dm_tensor *w) {
  if (!logits) return DM_OK;
  DM_REAL_ARG(op, logits);
  if (logits->dtype != x->dtype) DM_F32_ARG(op, logits);
  DM_TRY(dm_check_shape(op, "logits", logits, 2, (const int32_t[]){ x->shape[0], -1 }));
  if (logits->shape[1] >= w->shape[0]) return DM_OK;
  return dm_fail(DM_ESHAPE, "%s: logits are %s, expected at least %d columns, a row of w each", op,
                 dm_shape_text(logits), w->shape[0]);
}

dm_status dm_linear_xent_fwd(dm_tensor *loss, dm_tensor *hits, dm_tensor *lse, dm_tensor *logits,
                             const dm_tensor *x, const dm_tensor *w, const dm_tensor *b,
                             const dm_tensor *label, int32_t ignore) {
  const char *op = "linear_xent";
  DM_TRY(check_projection(op, lse, x, w, b, label, ignore));
  DM_TRY(check_logits(op, logits, x, w));
  DM_TRY(check_scalar(op, "loss", loss));
  DM_TRY(check_hits(op, hits));
  const dm_tensor *all[] = { loss, hits, lse, logits, x, w, b, label };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 8, all));
  return dm_ops(d, x)->linear_xent_fwd(d, loss, hits, lse, logits, x, w, b, label, ignore);
}

dm_status dm_linear_xent_bwd(dm_tensor *dx, dm_tensor *dw, dm_tensor *db, dm_tensor *logits,
                             const dm_tensor *dloss, const dm_tensor *lse, const dm_tensor *x,
                             const dm_tensor *w, const dm_tensor *b, const dm_tensor *label,
                             int32_t ignore, uint32_t acc) {
  const char *op = "linear_xent backward";
  DM_TRY(check_projection(op, lse, x, w, b, label, ignore));
  DM_TRY(check_logits(op, logits, x, w));
  DM_TRY(check_scalar(op, "dloss", dloss));
  DM_TRY(dm_check_grad(op, "dx", dx, "x", x));
  DM_TRY(dm_check_weight_grad(op, "dw", dw, "w", w));
  if (db) {
    DM_F32_ARG(op, db);
    DM_TRY(dm_check_vector(op, "db", db, w->shape[0], "rows of w"));
  }
  const dm_tensor *all[] = { dx, dw, db, logits, dloss, lse, x, w, b, label };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 10, all));
  return dm_ops(d, x)->linear_xent_bwd(d, dx, dw, db, logits, dloss, lse, x, w, b, label, ignore, acc);
}

/* -- mse, count_correct ------------------------------------------------------------------------------------ */

dm_status dm_mse_fwd(dm_tensor *loss, const dm_tensor *x, const dm_tensor *target) {
  const char *op = "mse";
  DM_TRY(check_scalar(op, "loss", loss));
  DM_REAL_ARG(op, x);
  DM_LIKE_ARG(op, target, x);
  DM_TRY(dm_check_same(op, "target", target, "x", x));
  const dm_tensor *all[] = { loss, x, target };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 3, all));
  return dm_ops(d, x)->mse_fwd(d, loss, x, target);
}

dm_status dm_mse_bwd(dm_tensor *dx, const dm_tensor *dloss, const dm_tensor *x,
                     const dm_tensor *target, uint32_t acc) {
  const char *op = "mse backward";
  DM_TRY(check_scalar(op, "dloss", dloss));
  DM_REAL_ARG(op, x);
  DM_LIKE_ARG(op, target, x);
  DM_TRY(dm_check_same(op, "target", target, "x", x));
  DM_TRY(dm_check_grad(op, "dx", dx, "x", x));
  const dm_tensor *all[] = { dx, dloss, x, target };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 4, all));
  return dm_ops(d, x)->mse_bwd(d, dx, dloss, x, target, acc);
}

dm_status dm_count_correct(dm_tensor *hits, const dm_tensor *logits, const dm_tensor *label,
                           int32_t ignore) {
  const char *op = "count_correct";
  DM_TRY(check_hits(op, hits));
  DM_REAL_ARG(op, logits);
  DM_TRY(dm_check_matrix(op, "logits", logits));
  DM_TRY(check_labels(op, label, logits->shape[0], logits->shape[1], ignore));
  const dm_tensor *all[] = { hits, logits, label };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 3, all));
  return dm_ops(d, logits)->count_correct(d, hits, logits, label, ignore);
}
