/* op_embed_mux.c -- the mixed embedding: check the arguments, then dispatch; no arithmetic. */
#include "op.h"

/* All inputs that forward and backward share; state is y or dy, [B, S, C]. */
static dm_status check(const char *op, const char *arg, const dm_tensor *state, const dm_tensor *stat,
                       const dm_tensor *ids, const dm_tensor *posid, const dm_tensor *word, const dm_tensor *pos,
                       const dm_tensor *type, const dm_tensor *g, const dm_tensor *c, const dm_tensor *key,
                       const dm_tensor *weight, float p) {
  DM_REAL_ARG(op, word);
  DM_TRY(dm_check_like(op, arg, state, "word", word));
  DM_F32_ARG(op, stat);
  DM_INT_ARG(op, ids);
  DM_LIKE_ARG(op, pos, word);
  DM_LIKE_ARG(op, g, word);
  DM_LIKE_ARG(op, c, word);
  DM_LIKE_ARG(op, key, word);
  DM_TRY(dm_check_p(op, p));
  if (ids->ndim != 3) return dm_fail(DM_ESHAPE, "%s: ids is %s, expected [B, N, S]", op, dm_shape_text(ids));
  DM_TRY(dm_check_matrix(op, "word", word));
  int B = ids->shape[0], N = ids->shape[1], S = ids->shape[2], C = word->shape[1];
  const int32_t states[3] = { B, S, C }, stats[4] = { B, N, S, 2 }, keys[2] = { N, C }, table[2] = { -1, C };
  const int32_t weights[2] = { B, N };
  DM_TRY(dm_check_shape(op, arg, state, 3, states));
  DM_TRY(dm_check_shape(op, "stat", stat, 4, stats));
  DM_TRY(dm_check_shape(op, "pos", pos, 2, table));
  DM_TRY(dm_check_shape(op, "key", key, 2, keys));
  DM_TRY(dm_check_vector(op, "g", g, C, "last dimension of word"));
  DM_TRY(dm_check_vector(op, "c", c, C, "last dimension of word"));
  DM_TRY(dm_check_ids(op, "ids", ids, 0, word->shape[0], 0));
  if (type) {
    DM_LIKE_ARG(op, type, word);
    if (dm_numel(type) != (size_t)C) {
      return dm_fail(DM_ESHAPE, "%s: type is %s, expected [%d]", op, dm_shape_text(type), C);
    }
  }
  if (weight) {
    DM_F32_ARG(op, weight);
    DM_TRY(dm_check_shape(op, "weight", weight, 2, weights));
  }
  if (posid) {
    DM_TRY(dm_check_list(op, "posid", posid, dm_numel(ids), "one for each id"));
    return dm_check_ids(op, "posid", posid, 0, pos->shape[0], 0);
  }
  if (S <= pos->shape[0]) return DM_OK;
  return dm_fail(DM_ESHAPE, "%s: ids is %s, expected at most %d positions (rows of pos)", op, dm_shape_text(ids),
                 pos->shape[0]);
}

dm_status dm_embed_mux_fwd(dm_tensor *y, dm_tensor *stat, const dm_tensor *ids,
                           const dm_tensor *posid, const dm_tensor *word, const dm_tensor *pos,
                           const dm_tensor *type, const dm_tensor *g, const dm_tensor *c,
                           const dm_tensor *key, const dm_tensor *weight, float scale, int32_t pad,
                           float p, uint32_t site, float eps) {
  const char *op = "embed_mux";
  DM_TRY(check(op, "y", y, stat, ids, posid, word, pos, type, g, c, key, weight, p));
  if (!(eps > 0)) return dm_fail(DM_EARG, "%s: eps is %g, expected > 0", op, eps);
  const dm_tensor *all[] = { y, stat, ids, posid, word, pos, type, g, c, key, weight };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 11, all));
  return dm_ops(d, word)->embed_mux_fwd(d, y, stat, ids, posid, word, pos, type, g, c, key, weight, scale, pad, p, site,
                                       eps);
}

dm_status dm_embed_mux_bwd(dm_tensor *dword, dm_tensor *dpos, dm_tensor *dtype, dm_tensor *dg,
                           dm_tensor *dc, dm_tensor *dkey, const dm_tensor *dy,
                           const dm_tensor *stat, const dm_tensor *ids, const dm_tensor *posid,
                           const dm_tensor *order, const dm_tensor *word, const dm_tensor *pos,
                           const dm_tensor *type, const dm_tensor *g, const dm_tensor *c,
                           const dm_tensor *key, const dm_tensor *weight, float scale, int32_t pad,
                           float p, uint32_t site, uint32_t acc) {
  const char *op = "embed_mux backward";
  DM_TRY(check(op, "dy", dy, stat, ids, posid, word, pos, type, g, c, key, weight, p));
  DM_TRY(dm_check_list(op, "order", order, dm_numel(ids), "one for each id"));
  DM_TRY(dm_check_ids(op, "order", order, 0, (int)dm_numel(ids), 0));
  DM_TRY(dm_check_weight_grad(op, "dword", dword, "word", word));
  DM_TRY(dm_check_weight_grad(op, "dpos", dpos, "pos", pos));
  if (dtype && !type) return dm_fail(DM_EARG, "%s: dtype is given, expected NULL as type is", op);
  if (dtype) DM_TRY(dm_check_weight_grad(op, "dtype", dtype, "type", type));
  DM_TRY(dm_check_weight_grad(op, "dg", dg, "g", g));
  DM_TRY(dm_check_weight_grad(op, "dc", dc, "c", c));
  DM_TRY(dm_check_weight_grad(op, "dkey", dkey, "key", key));
  const dm_tensor *all[] = { dword, dpos, dtype, dg, dc, dkey, dy, stat, ids, posid, order, word, pos, type, g, c,
                             key, weight };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 18, all));
  return dm_ops(d, word)->embed_mux_bwd(d, dword, dpos, dtype, dg, dc, dkey, dy, stat, ids, posid, order, word, pos,
                                       type, g, c, key, weight, scale, pad, p, site, acc);
}
