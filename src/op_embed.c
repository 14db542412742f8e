/* op_embed.c -- embedding, gather, scatter: check the arguments, then dispatch; no arithmetic. */
#include "op.h"

/* -- embed ------------------------------------------------------------------------------------------- */

dm_status dm_embed_fwd(dm_tensor *y, const dm_tensor *ids, const dm_tensor *posid,
                       const dm_tensor *word, const dm_tensor *pos) {
  const char *op = "embed";
  DM_REAL_ARG(op, word);
  DM_LIKE_ARG(op, y, word);
  DM_INT_ARG(op, ids);
  DM_TRY(dm_check_matrix(op, "word", word));
  if (!posid != !pos) {
    return dm_fail(DM_EARG, "%s: %s is NULL and %s is not, expected both or none", op, posid ? "pos" : "posid",
                   posid ? "posid" : "pos");
  }
  int32_t want[7];
  for (int i = 0; i < ids->ndim; i++) want[i] = ids->shape[i];
  want[ids->ndim] = word->shape[1];
  DM_TRY(dm_check_shape(op, "y", y, ids->ndim + 1, want));
  DM_TRY(dm_check_ids(op, "ids", ids, 0, word->shape[0], 0));
  if (pos) {
    DM_LIKE_ARG(op, pos, word);
    const int32_t table[2] = { -1, word->shape[1] };
    DM_TRY(dm_check_shape(op, "pos", pos, 2, table));
    DM_TRY(dm_check_list(op, "posid", posid, dm_numel(ids), "one for each id"));
    DM_TRY(dm_check_ids(op, "posid", posid, 0, pos->shape[0], 0));
  }
  const dm_tensor *all[] = { y, ids, posid, word, pos };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 5, all));
  return dm_ops(d, word)->embed_fwd(d, y, ids, posid, word, pos);
}

dm_status dm_embed_bwd(dm_tensor *dword, dm_tensor *dpos, const dm_tensor *dy, const dm_tensor *ids,
                       const dm_tensor *posid, const dm_tensor *order, uint32_t acc) {
  const char *op = "embed backward";
  DM_REAL_ARG(op, dy);
  size_t rows = (size_t)dm_rows(dy);
  const int32_t table[2] = { -1, dm_cols(dy) };
  DM_TRY(dm_check_list(op, "ids", ids, rows, "rows of dy"));
  DM_TRY(dm_check_list(op, "order", order, rows, "rows of dy"));
  DM_TRY(dm_check_ids(op, "order", order, 0, (int)rows, 0));
  if (dword) {
    DM_F32_ARG(op, dword);
    DM_TRY(dm_check_shape(op, "dword", dword, 2, table));
    DM_TRY(dm_check_ids(op, "ids", ids, 0, dword->shape[0], 0));
  }
  if (dpos) {
    DM_F32_ARG(op, dpos);
    DM_TRY(dm_check_shape(op, "dpos", dpos, 2, table));
    DM_TRY(dm_check_list(op, "posid", posid, rows, "rows of dy"));
    DM_TRY(dm_check_ids(op, "posid", posid, 0, dpos->shape[0], 0));
  }
  const dm_tensor *all[] = { dword, dpos, dy, ids, dpos ? posid : NULL, order };
  dm_device *d;
  DM_TRY(dm_check_device(op, &d, 6, all));
  return dm_ops(d, dy)->embed_bwd(d, dword, dpos, dy, ids, posid, order, acc);
}

/* -- gather and scatter --------------------------------------------------------------------------------- */

/* small [R, C] rows, large [.., C]; rows [R] in [-1, M); order [R] where given. */
static dm_status check_rows(const char *op, const char *small_name, const dm_tensor *small, const char *large_name,
                            const dm_tensor *large, const dm_tensor *rows, const dm_tensor *order, dm_device **d) {
  DM_TRY(dm_check_type(op, large_name, large, DM_F32));
  DM_TRY(dm_check_like(op, small_name, small, large_name, large));
  const int32_t want[2] = { -1, dm_cols(large) };
  DM_TRY(dm_check_shape(op, small_name, small, 2, want));
  DM_TRY(dm_check_list(op, "rows", rows, (size_t)small->shape[0], small_name));
  DM_TRY(dm_check_ids(op, "rows", rows, -1, dm_rows(large), -1));
  if (order) {
    DM_TRY(dm_check_list(op, "order", order, (size_t)small->shape[0], small_name));
    DM_TRY(dm_check_ids(op, "order", order, 0, small->shape[0], 0));
  }
  const dm_tensor *all[] = { small, large, rows, order };
  return dm_check_device(op, d, 4, all);
}

dm_status dm_gather_fwd(dm_tensor *y, const dm_tensor *x, const dm_tensor *rows) {
  dm_device *d;
  DM_TRY(check_rows("gather", "y", y, "x", x, rows, NULL, &d));
  return dm_ops(d, x)->gather_fwd(d, y, x, rows);
}

dm_status dm_gather_bwd(dm_tensor *dx, const dm_tensor *dy, const dm_tensor *rows,
                        const dm_tensor *order, uint32_t acc) {
  const char *op = "gather backward";
  dm_device *d;
  if (!dx) return DM_OK;
  DM_TRY(dm_check_live(op, "order", order));
  DM_TRY(check_rows(op, "dy", dy, "dx", dx, rows, order, &d));
  return dm_ops(d, dy)->gather_bwd(d, dx, dy, rows, order, acc);
}

dm_status dm_scatter_fwd(dm_tensor *y, const dm_tensor *x, const dm_tensor *rows,
                         const dm_tensor *order) {
  const char *op = "scatter";
  dm_device *d;
  DM_TRY(dm_check_live(op, "order", order));
  DM_TRY(check_rows(op, "x", x, "y", y, rows, order, &d));
  return dm_ops(d, x)->scatter_fwd(d, y, x, rows, order);
}

dm_status dm_scatter_bwd(dm_tensor *dx, const dm_tensor *dy, const dm_tensor *rows, uint32_t acc) {
  dm_device *d;
  if (!dx) return DM_OK;
  DM_TRY(check_rows("scatter backward", "dx", dx, "dy", dy, rows, NULL, &d));
  return dm_ops(d, dy)->scatter_bwd(d, dx, dy, rows, acc);
}
