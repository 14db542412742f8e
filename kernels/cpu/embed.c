/* embed.c -- embedding, gather, scatter on the CPU. */
#include "segment.h"

dm_status cpu_embed_fwd(dm_device *d, dm_tensor *y, const dm_tensor *ids, const dm_tensor *posid,
                        const dm_tensor *word, const dm_tensor *pos) {
  (void)d;
  int rows = dm_rows(y), n = dm_cols(y);
  const int32_t *id = ids->data, *at = pos ? posid->data : NULL;
#pragma omp parallel for schedule(static)
  for (int r = 0; r < rows; r++) {
    dm_store *o = (dm_store *)y->data + (size_t)r * n;
    const dm_store *w = (const dm_store *)word->data + (size_t)id[r] * n;
    if (!pos) {
      memcpy(o, w, (size_t)n * sizeof *o);
      continue;
    }
    const dm_store *p = (const dm_store *)pos->data + (size_t)at[r] * n;
#pragma omp simd
    for (int j = 0; j < n; j++) o[j] = dm_put(dm_load(w[j]) + dm_load(p[j]));
  }
  return DM_OK;
}

/* out (+)= rows of x summed by target, in the order of `order`. */
static dm_status sum_rows(dm_device *d, dm_tensor *out, const dm_tensor *x, const int32_t *target,
                          const int32_t *order, int rows, int add) {
  int n = dm_cols(out);
  void *edge;
  dm_status s = dm_scratch(d, segment_scratch(rows, n) * sizeof(dm_real), &edge);
  if (s) return s;
  segment_rows context = { x->data, n };
  segment_sum(out, add, order, target, rows, edge, segment_copy, &context);
  return DM_OK;
}

/* Positions are few and their rows many: sums by position in chunks of rows, each with a table of its own. */
static dm_status sum_positions(dm_device *d, dm_tensor *dpos, const dm_tensor *dy, const int32_t *at, int add) {
  int rows = dm_rows(dy), n = dm_cols(dy), used = 0, size = segment_size(rows), chunks = segment_chunks(rows);
  for (int r = 0; r < rows; r++) used = at[r] >= used ? at[r] + 1 : used;
  void *scratch;
  dm_status s = dm_scratch(d, (size_t)chunks * used * n * sizeof(dm_real), &scratch);
  if (s) return s;
#pragma omp parallel for schedule(static)
  for (int c = 0; c < chunks; c++) {
    dm_real *table = (dm_real *)scratch + (size_t)c * used * n;
    memset(table, 0, (size_t)used * n * sizeof *table);
    for (int r = c * size; r < rows && r < (c + 1) * size; r++) {
      dm_real *o = table + (size_t)at[r] * n;
      const dm_store *v = (const dm_store *)dy->data + (size_t)r * n;
#pragma omp simd
      for (int j = 0; j < n; j++) o[j] += dm_load(v[j]);
    }
  }
  int all = dm_rows(dpos);
#pragma omp parallel for schedule(static)
  for (int k = 0; k < all; k++) {
    dm_real *out = (dm_real *)dpos->data + (size_t)k * n;
    if (!add) memset(out, 0, (size_t)n * sizeof *out);
    for (int c = 0; c < chunks && k < used; c++) {
      const dm_real *v = (const dm_real *)scratch + ((size_t)c * used + (size_t)k) * n;
#pragma omp simd
      for (int j = 0; j < n; j++) out[j] += v[j];
    }
  }
  return DM_OK;
}

dm_status cpu_embed_bwd(dm_device *d, dm_tensor *dword, dm_tensor *dpos, const dm_tensor *dy,
                        const dm_tensor *ids, const dm_tensor *posid, const dm_tensor *order,
                        uint32_t acc) {
  dm_status s = DM_OK;
  if (dword) s = sum_rows(d, dword, dy, ids->data, order->data, dm_rows(dy), acc & 1);
  if (!s && dpos) s = sum_positions(d, dpos, dy, posid->data, acc >> 1 & 1);
  return s;
}

/* y[r] (+)= x[rows[r]], nothing where rows[r] is -1. */
static void pick_rows(dm_tensor *y, const dm_tensor *x, const int32_t *row, int add) {
  int rows = dm_rows(y), n = dm_cols(y);
#pragma omp parallel for schedule(static)
  for (int r = 0; r < rows; r++) {
    dm_store *o = (dm_store *)y->data + (size_t)r * n;
    const dm_store *v = (const dm_store *)x->data + (size_t)(row[r] < 0 ? 0 : row[r]) * n;
    if (row[r] < 0) {
      if (!add) memset(o, 0, (size_t)n * sizeof *o);
    } else if (add) {
#pragma omp simd
      for (int j = 0; j < n; j++) o[j] = dm_put(dm_load(o[j]) + dm_load(v[j]));
    } else {
      memcpy(o, v, (size_t)n * sizeof *o);
    }
  }
}

dm_status cpu_gather_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *rows) {
  (void)d;
  pick_rows(y, x, rows->data, 0);
  return DM_OK;
}

dm_status cpu_gather_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dy, const dm_tensor *rows,
                         const dm_tensor *order, uint32_t acc) {
  return dx ? sum_rows(d, dx, dy, rows->data, order->data, dm_rows(dy), acc & 1) : DM_OK;
}

dm_status cpu_scatter_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *rows,
                          const dm_tensor *order) {
  return sum_rows(d, y, x, rows->data, order->data, dm_rows(x), 0);
}

dm_status cpu_scatter_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dy, const dm_tensor *rows,
                          uint32_t acc) {
  (void)d;
  if (dx) pick_rows(dx, dy, rows->data, acc & 1);
  return DM_OK;
}
