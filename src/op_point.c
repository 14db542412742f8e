/* op_point.c -- add, scale, act, dropout: check the arguments, then dispatch; no arithmetic. */
#include "op.h"

/* Both real, of one type, of one shape, on one device. */
static dm_status check_pair(const char *op, const char *arg, const dm_tensor *t, const char *ref, const dm_tensor *r,
                            dm_device **d) {
  DM_TRY(dm_check_type(op, ref, r, DM_F32));
  DM_TRY(dm_check_like(op, arg, t, ref, r));
  DM_TRY(dm_check_same(op, arg, t, ref, r));
  const dm_tensor *both[] = { t, r };
  return dm_check_device(op, d, 2, both);
}

dm_status dm_add_fwd(dm_tensor *y, const dm_tensor *a, const dm_tensor *b) {
  dm_device *d;
  DM_TRY(check_pair("add", "b", b, "a", a, &d));
  DM_TRY(check_pair("add", "y", y, "a", a, &d));
  return dm_ops(d, a)->add_fwd(d, y, a, b);
}

dm_status dm_add_bwd(dm_tensor *da, dm_tensor *db, const dm_tensor *dy, uint32_t acc) {
  const char *op = "add backward";
  DM_REAL_ARG(op, dy);
  DM_TRY(dm_check_grad(op, "da", da, "dy", dy));
  DM_TRY(dm_check_grad(op, "db", db, "dy", dy));
  const dm_tensor *all[] = { da, db, dy };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 3, all));
  return dm_ops(d, dy)->add_bwd(d, da, db, dy, acc);
}

dm_status dm_scale_fwd(dm_tensor *y, const dm_tensor *x, float s) {
  dm_device *d;
  DM_TRY(check_pair("scale", "y", y, "x", x, &d));
  return dm_ops(d, x)->scale_fwd(d, y, x, s);
}

dm_status dm_scale_bwd(dm_tensor *dx, const dm_tensor *dy, float s, uint32_t acc) {
  if (!dx) return DM_OK;
  dm_device *d;
  DM_TRY(check_pair("scale backward", "dx", dx, "dy", dy, &d));
  return dm_ops(d, dy)->scale_bwd(d, dx, dy, s, acc);
}

dm_status dm_act_fwd(dm_tensor *y, const dm_tensor *x, int32_t act) {
  dm_device *d;
  DM_TRY(check_pair("act", "y", y, "x", x, &d));
  DM_TRY(dm_check_act("act", act));
  return dm_ops(d, x)->act_fwd(d, y, x, act);
}

dm_status dm_act_bwd(dm_tensor *dx, const dm_tensor *dy, const dm_tensor *x, int32_t act,
                     uint32_t acc) {
  if (!dx) return DM_OK;
  dm_device *d;
  DM_TRY(check_pair("act backward", "dy", dy, "x", x, &d));
  DM_TRY(check_pair("act backward", "dx", dx, "x", x, &d));
  DM_TRY(dm_check_act("act backward", act));
  return dm_ops(d, x)->act_bwd(d, dx, dy, x, act, acc);
}

dm_status dm_dropout_fwd(dm_tensor *y, const dm_tensor *x, float p, uint32_t site) {
  dm_device *d;
  DM_TRY(check_pair("dropout", "y", y, "x", x, &d));
  DM_TRY(dm_check_p("dropout", p));
  return dm_ops(d, x)->dropout_fwd(d, y, x, p, site);
}

dm_status dm_dropout_bwd(dm_tensor *dx, const dm_tensor *dy, float p, uint32_t site, uint32_t acc) {
  if (!dx) return DM_OK;
  dm_device *d;
  DM_TRY(check_pair("dropout backward", "dx", dx, "dy", dy, &d));
  DM_TRY(dm_check_p("dropout backward", p));
  return dm_ops(d, dy)->dropout_bwd(d, dx, dy, p, site, acc);
}
