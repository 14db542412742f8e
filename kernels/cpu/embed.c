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

/* out (+)= rows of x summed by target, in the order of `order`; edge: room for segment_scratch. */
static void sum_rows(dm_tensor *out, const dm_tensor *x, const int32_t *target, const int32_t *order, int rows, int add,
                     dm_real *edge) {
  segment_rows context = { x->data, dm_cols(out) };
  segment_sum(out, add, order, target, rows, edge, segment_copy, &context);
}

/* The same, all that an op does. */
static dm_status sum_alone(dm_device *d, dm_tensor *out, const dm_tensor *x, const int32_t *target,
                           const int32_t *order, int rows, int add) {
  void *edge;
  dm_status s = dm_scratch(d, segment_scratch(rows, dm_cols(out)) * sizeof(dm_real), &edge);
  if (!s) sum_rows(out, x, target, order, rows, add, edge);
  return s;
}

/* Positions 0 .. the highest of the list. */
static int used_of(const int32_t *at, int rows) {
  int used = 0;
  for (int r = 0; r < rows; r++) used = at[r] >= used ? at[r] + 1 : used;
  return used;
}

/* Positions are few and their rows many: sums by position in chunks of rows, each with a table [used, n] of its own. */
static void sum_positions(dm_tensor *dpos, const dm_tensor *dy, const int32_t *at, int used, int add, dm_real *tables) {
  int rows = dm_rows(dy), n = dm_cols(dy), size = segment_size(rows), chunks = segment_chunks(rows);
#pragma omp parallel for schedule(static)
  for (int c = 0; c < chunks; c++) {
    dm_real *table = tables + (size_t)c * used * n;
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
      const dm_real *v = tables + ((size_t)c * used + (size_t)k) * n;
#pragma omp simd
      for (int j = 0; j < n; j++) out[j] += v[j];
    }
  }
}

dm_status cpu_embed_bwd(dm_device *d, dm_tensor *dword, dm_tensor *dpos, const dm_tensor *dy,
                        const dm_tensor *ids, const dm_tensor *posid, const dm_tensor *order,
                        uint32_t acc) {
  int rows = dm_rows(dy), n = dm_cols(dy), used = dpos ? used_of(posid->data, rows) : 0;
  size_t for_edge = dword ? segment_scratch(rows, n) : 0, for_tables = (size_t)segment_chunks(rows) * used * n;
  void *scratch;
  dm_status s = dm_scratch(d, (for_edge + for_tables) * sizeof(dm_real), &scratch);
  if (s) return s;
  if (dword) sum_rows(dword, dy, ids->data, order->data, rows, acc & 1, scratch);
  if (dpos) sum_positions(dpos, dy, posid->data, used, acc >> 1 & 1, (dm_real *)scratch + for_edge);
  return DM_OK;
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
  return dx ? sum_alone(d, dx, dy, rows->data, order->data, dm_rows(dy), acc & 1) : DM_OK;
}

dm_status cpu_scatter_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *rows,
                          const dm_tensor *order) {
  return sum_alone(d, y, x, rows->data, order->data, dm_rows(x), 0);
}

dm_status cpu_scatter_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dy, const dm_tensor *rows,
                          uint32_t acc) {
  (void)d;
  if (dx) pick_rows(dx, dy, rows->data, acc & 1);
  return DM_OK;
}
