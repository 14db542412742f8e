/* op_demux.c -- demux and unbind: check the arguments, then dispatch; no arithmetic. */
#include "op.h"

static dm_status check_order(const char *op, const char *arg, const dm_tensor *t, int R) {
  DM_TRY(dm_check_list(op, arg, t, (size_t)R, "one for each pair"));
  return dm_check_ids(op, arg, t, 0, R, 0);
}

/* y (or dy) [R, D] and pre of its shape, needed where act is not NONE. */
static dm_status check_pairs(const char *op, const char *arg, const dm_tensor *y, const dm_tensor *pre, int D,
                             int32_t act) {
  DM_TRY(dm_check_type(op, arg, y, DM_F32));
  const int32_t want[2] = { -1, D };
  DM_TRY(dm_check_shape(op, arg, y, 2, want));
  DM_TRY(dm_check_act(op, act));
  if (!pre) return DM_OK;
  DM_TRY(dm_check_like(op, "pre", pre, arg, y));
  return dm_check_same(op, "pre", pre, arg, y);
}

/* -- demux ------------------------------------------------------------------------------------------------ */

dm_status dm_demux_fwd(dm_tensor *y, dm_tensor *pre, const dm_tensor *u, const dm_tensor *v,
                       const dm_tensor *iu, const dm_tensor *iv, int32_t act) {
  const char *op = "demux";
  DM_REAL_ARG(op, u);
  DM_LIKE_ARG(op, v, u);
  if (dm_cols(u) != dm_cols(v)) {
    return dm_fail(DM_ESHAPE, "%s: u is %s, v is %s: last dimensions differ", op, dm_shape_text(u), dm_shape_text(v));
  }
  DM_TRY(check_pairs(op, "y", y, pre, dm_cols(u), act));
  DM_LIKE_ARG(op, y, u);
  DM_TRY(dm_check_rows_of(op, "iu", iu, y->shape[0], u));
  DM_TRY(dm_check_rows_of(op, "iv", iv, y->shape[0], v));
  const dm_tensor *all[] = { y, pre, u, v, iu, iv };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 6, all));
  return dm_ops(d, u)->demux_fwd(d, y, pre, u, v, iu, iv, act);
}

dm_status dm_demux_bwd(dm_tensor *du, dm_tensor *dv, const dm_tensor *dy, const dm_tensor *pre,
                       const dm_tensor *iu, const dm_tensor *iv, const dm_tensor *ou,
                       const dm_tensor *ov, int32_t act, uint32_t acc) {
  const char *op = "demux backward";
  DM_TRY(dm_check_type(op, "dy", dy, DM_F32));
  DM_TRY(check_pairs(op, "dy", dy, pre, dm_cols(dy), act));
  if (act != DM_NONE) DM_LIKE_ARG(op, pre, dy);
  const dm_tensor *index[2] = { iu, iv }, *order[2] = { ou, ov }, *grad[2] = { du, dv };
  const char *names[2][3] = { { "du", "iu", "ou" }, { "dv", "iv", "ov" } };
  for (int k = 0; k < 2; k++) {
    if (!grad[k]) continue;
    DM_TRY(dm_check_like(op, names[k][0], grad[k], "dy", dy));
    if (dm_cols(grad[k]) != dm_cols(dy)) {
      return dm_fail(DM_ESHAPE, "%s: %s is %s, dy is %s: last dimensions differ", op, names[k][0],
                     dm_shape_text(grad[k]), dm_shape_text(dy));
    }
    DM_TRY(dm_check_rows_of(op, names[k][1], index[k], dy->shape[0], grad[k]));
    DM_TRY(check_order(op, names[k][2], order[k], dy->shape[0]));
  }
  const dm_tensor *all[] = { du, dv, dy, act ? pre : NULL, du ? iu : NULL, dv ? iv : NULL, du ? ou : NULL,
                             dv ? ov : NULL };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 8, all));
  return dm_ops(d, dy)->demux_bwd(d, du, dv, dy, pre, iu, iv, ou, ov, act, acc);
}

/* -- unbind ------------------------------------------------------------------------------------------------- */

static dm_status check_unbind(const char *op, const char *arg, const dm_tensor *y, const dm_tensor *pre,
                              const dm_tensor *key, const dm_tensor *h, const dm_tensor *a, const dm_tensor *ik,
                              const dm_tensor *ih, int32_t act) {
  DM_REAL_ARG(op, h);
  DM_LIKE_ARG(op, key, h);
  DM_LIKE_ARG(op, a, h);
  DM_TRY(dm_check_matrix(op, "a", a));
  const int32_t keys[2] = { -1, dm_cols(h) };
  DM_TRY(dm_check_shape(op, "key", key, 2, keys));
  if (a->shape[1] != dm_cols(h)) {
    return dm_fail(DM_ESHAPE, "%s: a is %s, h is %s: inner sizes differ", op, dm_shape_text(a), dm_shape_text(h));
  }
  DM_TRY(check_pairs(op, arg, y, pre, a->shape[0], act));
  DM_TRY(dm_check_like(op, arg, y, "h", h));
  DM_TRY(dm_check_rows_of(op, "ik", ik, y->shape[0], key));
  return dm_check_rows_of(op, "ih", ih, y->shape[0], h);
}

dm_status dm_unbind_fwd(dm_tensor *y, dm_tensor *pre, const dm_tensor *key, const dm_tensor *h,
                        const dm_tensor *hb, const dm_tensor *a, const dm_tensor *ik,
                        const dm_tensor *ih, int32_t act) {
  const char *op = "unbind";
  DM_TRY(check_unbind(op, "y", y, pre, key, h, a, ik, ih, act));
  DM_TRY(dm_check_state(op, "hb", hb, h, a->shape[0]));
  const dm_tensor *all[] = { y, pre, key, h, hb, a, ik, ih };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 8, all));
  return dm_ops(d, h)->unbind_fwd(d, y, pre, key, h, hb, a, ik, ih, act);
}

dm_status dm_unbind_bwd(dm_tensor *dkey, dm_tensor *dh, dm_tensor *dhb, dm_tensor *da,
                        const dm_tensor *dy, const dm_tensor *pre, const dm_tensor *key,
                        const dm_tensor *h, const dm_tensor *a, const dm_tensor *ik,
                        const dm_tensor *ih, const dm_tensor *ok, const dm_tensor *oh, int32_t act,
                        uint32_t acc) {
  const char *op = "unbind backward";
  DM_TRY(dm_check_live(op, "dy", dy));
  DM_TRY(check_unbind(op, "dy", dy, pre, key, h, a, ik, ih, act));
  if (act != DM_NONE) DM_LIKE_ARG(op, pre, dy);
  DM_TRY(dm_check_weight_grad(op, "dkey", dkey, "key", key));
  DM_TRY(dm_check_grad(op, "dh", dh, "h", h));
  DM_TRY(dm_check_weight_grad(op, "da", da, "a", a));
  if (dhb) DM_TRY(dm_check_state(op, "dhb", dhb, h, a->shape[0]));
  if (dkey) DM_TRY(check_order(op, "ok", ok, dy->shape[0]));
  if (dh || dhb) DM_TRY(check_order(op, "oh", oh, dy->shape[0]));
  const dm_tensor *all[] = { dkey, dh, dhb, da, dy, act ? pre : NULL, key, h, a, ik, ih, dkey ? ok : NULL,
                             dh || dhb ? oh : NULL };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 13, all));
  return dm_ops(d, h)->unbind_bwd(d, dkey, dh, dhb, da, dy, pre, key, h, a, ik, ih, ok, oh, act, acc);
}
