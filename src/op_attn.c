/* op_attn.c -- attention: check the arguments, then dispatch; no arithmetic. */
#include "op.h"

static dm_status check(const char *op, const dm_tensor *qkv, const dm_tensor *mask, const dm_tensor *stat,
                       int32_t heads, float p) {
  DM_REAL_ARG(op, qkv);
  DM_TRY(dm_check_p(op, p));
  if (qkv->ndim != 3 || qkv->shape[2] % 3) {
    return dm_fail(DM_ESHAPE, "%s: qkv is %s, expected [B, S, 3C]", op, dm_shape_text(qkv));
  }
  int C = qkv->shape[2] / 3;
  if (heads < 1 || C % heads) {
    return dm_fail(DM_EARG, "%s: heads is %d, expected a divisor of C = %d (qkv is %s)", op, heads, C,
                   dm_shape_text(qkv));
  }
  const int32_t rows[2] = { qkv->shape[0], qkv->shape[1] };
  const int32_t stats[3] = { qkv->shape[0], heads, qkv->shape[1] };
  if (mask) {
    DM_INT_ARG(op, mask);
    DM_TRY(dm_check_shape(op, "mask", mask, 2, rows));
  }
  if (!stat) return DM_OK;
  DM_F32_ARG(op, stat);
  return dm_check_shape(op, "stat", stat, 3, stats);
}

static dm_status check_state(const char *op, const char *arg, const dm_tensor *y, const dm_tensor *qkv) {
  DM_TRY(dm_check_like(op, arg, y, "qkv", qkv));
  const int32_t want[3] = { qkv->shape[0], qkv->shape[1], qkv->shape[2] / 3 };
  return dm_check_shape(op, arg, y, 3, want);
}

dm_status dm_attention_fwd(dm_tensor *y, dm_tensor *stat, const dm_tensor *qkv,
                           const dm_tensor *mask, int32_t heads, float p, uint32_t site) {
  const char *op = "attention";
  DM_TRY(check(op, qkv, mask, stat, heads, p));
  DM_TRY(check_state(op, "y", y, qkv));
  const dm_tensor *all[] = { y, stat, qkv, mask };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 4, all));
  return dm_ops(d, qkv)->attention_fwd(d, y, stat, qkv, mask, heads, p, site);
}

dm_status dm_attention_bwd(dm_tensor *dqkv, const dm_tensor *dy, const dm_tensor *y,
                           const dm_tensor *qkv, const dm_tensor *stat, const dm_tensor *mask,
                           int32_t heads, float p, uint32_t site, uint32_t acc) {
  const char *op = "attention backward";
  DM_F32_ARG(op, stat);
  DM_TRY(check(op, qkv, mask, stat, heads, p));
  DM_TRY(check_state(op, "y", y, qkv));
  DM_TRY(check_state(op, "dy", dy, qkv));
  DM_TRY(dm_check_grad(op, "dqkv", dqkv, "qkv", qkv));
  const dm_tensor *all[] = { dqkv, dy, y, qkv, stat, mask };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 6, all));
  return dm_ops(d, qkv)->attention_bwd(d, dqkv, dy, y, qkv, stat, mask, heads, p, site, acc);
}
