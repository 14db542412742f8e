/* op_mux.c -- mux and meanpool: check the arguments, then dispatch; no arithmetic. */
#include "op.h"

static dm_status check_mux(const char *op, const char *arg, const dm_tensor *state, const dm_tensor *x,
                           const dm_tensor *key, const dm_tensor *weight) {
  DM_REAL_ARG(op, x);
  DM_TRY(dm_check_like(op, arg, state, "x", x));
  DM_LIKE_ARG(op, key, x);
  if (x->ndim != 4) return dm_fail(DM_ESHAPE, "%s: x is %s, expected [B, N, S, C]", op, dm_shape_text(x));
  int B = x->shape[0], N = x->shape[1], S = x->shape[2], C = x->shape[3];
  const int32_t states[3] = { B, S, C }, keys[3] = { N, C, C }, weights[2] = { B, N };
  DM_TRY(dm_check_shape(op, arg, state, 3, states));
  DM_TRY(dm_check_shape(op, "key", key, key->ndim == 3 ? 3 : 2, keys));
  if (!weight) return DM_OK;
  DM_F32_ARG(op, weight);
  return dm_check_shape(op, "weight", weight, 2, weights);
}

dm_status dm_mux_fwd(dm_tensor *y, const dm_tensor *x, const dm_tensor *key,
                     const dm_tensor *weight, float scale) {
  DM_TRY(check_mux("mux", "y", y, x, key, weight));
  const dm_tensor *all[] = { y, x, key, weight };
  dm_device *d;
  DM_TRY(dm_check_device("mux", &d, 4, all));
  return dm_ops(d, x)->mux_fwd(d, y, x, key, weight, scale);
}

dm_status dm_mux_bwd(dm_tensor *dx, dm_tensor *dkey, const dm_tensor *dy, const dm_tensor *x,
                     const dm_tensor *key, const dm_tensor *weight, float scale, uint32_t acc) {
  const char *op = "mux backward";
  DM_TRY(check_mux(op, "dy", dy, x, key, weight));
  DM_TRY(dm_check_grad(op, "dx", dx, "x", x));
  DM_TRY(dm_check_weight_grad(op, "dkey", dkey, "key", key));
  const dm_tensor *all[] = { dx, dkey, dy, x, key, weight };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 6, all));
  return dm_ops(d, x)->mux_bwd(d, dx, dkey, dy, x, key, weight, scale, acc);
}

/* -- meanpool ------------------------------------------------------------------------------------------ */

static dm_status check_pool(const char *op, const char *pooled_name, const dm_tensor *pooled, const char *rows_name,
                            const dm_tensor *rows, const dm_tensor *span, dm_device **d) {
  DM_TRY(dm_check_type(op, rows_name, rows, DM_F32));
  DM_TRY(dm_check_like(op, pooled_name, pooled, rows_name, rows));
  DM_INT_ARG(op, span);
  const int32_t spans[2] = { -1, 2 };
  DM_TRY(dm_check_shape(op, "span", span, 2, spans));
  const int32_t want[2] = { span->shape[0], dm_cols(rows) };
  DM_TRY(dm_check_shape(op, pooled_name, pooled, 2, want));
  const dm_tensor *all[] = { pooled, rows, span };
  DM_TRY(dm_check_device(op, d, 3, all));
  if ((*d)->backend != &dm_backend_cpu) return DM_OK;
  const int32_t *at = span->data;
  for (int g = 0, last = 0; g < span->shape[0]; last = at[2 * g + 1], g++) {
    if (at[2 * g] >= last && at[2 * g + 1] >= at[2 * g] && at[2 * g + 1] <= dm_rows(rows)) continue;
    return dm_fail(DM_EARG, "%s: span[%d] is %d .. %d, expected ascending from %d within 0 .. %d", op, g, at[2 * g],
                   at[2 * g + 1], last, dm_rows(rows));
  }
  return DM_OK;
}

dm_status dm_meanpool_fwd(dm_tensor *y, const dm_tensor *x, const dm_tensor *span) {
  dm_device *d;
  DM_TRY(check_pool("meanpool", "y", y, "x", x, span, &d));
  return dm_ops(d, x)->meanpool_fwd(d, y, x, span);
}

dm_status dm_meanpool_bwd(dm_tensor *dx, const dm_tensor *dy, const dm_tensor *span, uint32_t acc) {
  dm_device *d;
  if (!dx) return DM_OK;
  DM_TRY(check_pool("meanpool backward", "dy", dy, "dx", dx, span, &d));
  return dm_ops(d, dy)->meanpool_bwd(d, dx, dy, span, acc);
}
