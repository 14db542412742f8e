/* op_optim.c -- adamw, sgd, norm2, zero, cast: check the arguments, then dispatch; no arithmetic. */
#include "op.h"

/* The block, its companions (NULLs skipped), the norm and the ranges that all updates share. */
static dm_status check_update(const char *op, const dm_tensor *p, const dm_tensor *g, const dm_tensor *norm,
                              const dm_tensor *copy, double decayed, float decay, float clip, dm_device **d) {
  DM_F32_ARG(op, p);
  DM_F32_ARG(op, g);
  DM_TRY(dm_check_same(op, "g", g, "p", p));
  if (norm) {
    DM_F32_ARG(op, norm);
    DM_TRY(dm_check_vector(op, "norm", norm, 1, "one number"));
    if (!(clip > 0)) return dm_fail(DM_EARG, "%s: clip is %g, expected > 0 with a norm", op, clip);
  }
  if (!(decayed >= 0 && decayed <= dm_tensor_numel(p))) {
    return dm_fail(DM_EARG, "%s: decayed is %g, expected 0 .. %.0f (the size of p)", op, decayed, dm_tensor_numel(p));
  }
  if (!(decay >= 0)) return dm_fail(DM_EARG, "%s: decay is %g, expected >= 0", op, decay);
  if (copy) {
    DM_TRY(dm_check_live(op, "copy", copy));
    if (copy->dtype != DM_BF16) return dm_fail(DM_EDTYPE, "%s: copy is not bf16, expected bf16 or NULL", op);
    DM_TRY(dm_check_same(op, "copy", copy, "p", p));
  }
  const dm_tensor *all[] = { p, g, norm, copy };
  return dm_check_device(op, d, 4, all);
}

dm_status dm_adamw(dm_tensor *p, dm_tensor *m, dm_tensor *v, dm_tensor *copy, const dm_tensor *g,
                   const dm_tensor *norm, double decayed, float beta1, float beta2, float eps,
                   float decay, float clip) {
  const char *op = "adamw";
  dm_device *d;
  DM_TRY(check_update(op, p, g, norm, copy, decayed, decay, clip, &d));
  DM_F32_ARG(op, m);
  DM_F32_ARG(op, v);
  DM_TRY(dm_check_same(op, "m", m, "p", p));
  DM_TRY(dm_check_same(op, "v", v, "p", p));
  if (!(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1)) {
    return dm_fail(DM_EARG, "%s: beta1 is %g, beta2 is %g, expected 0 <= beta < 1", op, beta1, beta2);
  }
  if (!(eps > 0)) return dm_fail(DM_EARG, "%s: eps is %g, expected > 0", op, eps);
  if (d->knobs.update < 1) return dm_fail(DM_EARG, "%s: update is 0, expected the number of the update, from 1", op);
  const dm_tensor *all[] = { p, m, v };
  DM_TRY(dm_check_device(op, &d, 3, all));
  return d->backend->adamw(d, p, m, v, copy, g, norm, decayed, beta1, beta2, eps, decay, clip);
}

dm_status dm_sgd(dm_tensor *p, dm_tensor *m, dm_tensor *copy, const dm_tensor *g, const dm_tensor *norm,
                 double decayed, float momentum, float decay, float clip) {
  const char *op = "sgd";
  dm_device *d;
  DM_TRY(check_update(op, p, g, norm, copy, decayed, decay, clip, &d));
  if (!(momentum >= 0 && momentum < 1)) {
    return dm_fail(DM_EARG, "%s: momentum is %g, expected 0 <= momentum < 1", op, momentum);
  }
  if (m) {
    DM_F32_ARG(op, m);
    DM_TRY(dm_check_same(op, "m", m, "p", p));
  } else if (momentum > 0) {
    return dm_fail(DM_EARG, "%s: momentum is %g without m, expected 0", op, momentum);
  }
  const dm_tensor *all[] = { p, m };
  DM_TRY(dm_check_device(op, &d, 2, all));
  return d->backend->sgd(d, p, m, copy, g, norm, decayed, momentum, decay, clip);
}

dm_status dm_norm2(dm_tensor *out, const dm_tensor *x) {
  const char *op = "norm2";
  DM_F32_ARG(op, x);
  DM_F32_ARG(op, out);
  DM_TRY(dm_check_vector(op, "out", out, 1, "one number"));
  const dm_tensor *all[] = { out, x };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 2, all));
  return d->backend->norm2(d, out, x);
}

dm_status dm_zero(dm_tensor *x) {
  DM_TRY(dm_check_live("zero", "x", x));
  dm_device *d = dm_arena_device(x->arena);
  return d->backend->zero(d, x);
}

dm_status dm_cast(dm_tensor *y, const dm_tensor *x) {
  const char *op = "cast";
  DM_TRY(dm_check_live(op, "x", x));
  DM_TRY(dm_check_live(op, "y", y));
  if (x->dtype == DM_I32 || y->dtype == DM_I32) {
    return dm_fail(DM_EDTYPE, "%s: %s is i32, expected f32 or bf16", op, x->dtype == DM_I32 ? "x" : "y");
  }
  DM_TRY(dm_check_same(op, "y", y, "x", x));
  const dm_tensor *all[] = { y, x };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 2, all));
  return d->backend->cast(d, y, x);
}
