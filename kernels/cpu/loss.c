/* loss.c -- xent, linear_xent, mse, count_correct on the CPU. Losses are summed in double, in row order. */
#include "cpu.h"
#include "simd.h"

/* One row of logits: log-sum-exp; *best is the first largest. */
static dm_real row_lse(const dm_real *v, int n, int *best) {
  dm_real top = v[0], sum = 0;
#pragma omp simd reduction(max : top)
  for (int j = 0; j < n; j++) top = v[j] > top ? v[j] : top;
  if (best) {
    int k = 0;
    while (k + 1 < n && v[k] != top) k++;
    *best = k;
  }
#pragma omp simd reduction(+ : sum)
  for (int j = 0; j < n; j++) sum += dm_exp(v[j] - top);
  return top + (dm_real)log(sum);
}

static int count_kept(const int32_t *label, int rows, int ignore) {
  int n = 0;
  for (int r = 0; r < rows; r++) n += label[r] != ignore;
  return n;
}

/* -- xent --------------------------------------------------------------------------------------------- */

dm_status cpu_xent_fwd(dm_device *d, dm_tensor *loss, dm_tensor *saved, const dm_tensor *logits,
                       const dm_tensor *label, int32_t ignore) {
  int rows = dm_rows(logits), n = dm_cols(logits);
  const int32_t *y = label->data;
  void *room;
  dm_status status = dm_scratch(d, DM_NARROW * 2 * (size_t)n * sizeof(dm_real), &room);
  if (status) return status;
  int kept = count_kept(y, rows, ignore);
  dm_real f = kept ? 1 / (dm_real)kept : 0;
  double total = 0;
  for (int r = 0; r < rows; r++) {
    dm_store *out = saved ? (dm_store *)saved->data + (size_t)r * n : NULL;
    if (y[r] == ignore) {
      if (out) memset(out, 0, (size_t)n * sizeof *out);
      continue;
    }
    const dm_real *v = dm_read((const dm_store *)logits->data + (size_t)r * n, room, (size_t)n);
    dm_real lse = row_lse(v, n, NULL);
    total += (double)lse - (double)v[y[r]];
    if (!out) continue;
    dm_real *g = dm_work(out, (dm_real *)room + n);
#pragma omp simd
    for (int j = 0; j < n; j++) g[j] = f * dm_exp(v[j] - lse);
    g[y[r]] -= f;
    dm_settle(out, g, (size_t)n);
  }
  *(dm_real *)loss->data = kept ? (dm_real)(total / kept) : 0;
  return DM_OK;
}

dm_status cpu_xent_bwd(dm_device *d, dm_tensor *dlogits, const dm_tensor *dloss,
                       const dm_tensor *saved, uint32_t acc) {
  (void)d;
  if (!dlogits) return DM_OK;
  size_t n = dm_numel(saved);
  dm_real f = *(const dm_real *)dloss->data;
  dm_store *o = dlogits->data;
  const dm_store *g = saved->data;
  if (acc & 1) {
#pragma omp simd
    for (size_t i = 0; i < n; i++) o[i] = dm_put(dm_load(o[i]) + f * dm_load(g[i]));
  } else {
#pragma omp simd
    for (size_t i = 0; i < n; i++) o[i] = dm_put(f * dm_load(g[i]));
  }
  return DM_OK;
}

/* -- linear_xent ---------------------------------------------------------------------------------------- */

/* Of R rows, those whose logits are in memory at once: about 64 MiB of them, as every chunk reads all of w and, in the
** backward pass, reads and writes all of dw. */
static int chunk_rows(int R, int V) {
  int rows = (16 << 20) / V;
  rows = rows < 16 ? 16 : rows > 512 ? 512 : rows;
  return rows < R ? rows : R;
}

static void add_bias(void *context, dm_real *tile, int stride, int row, int column, int rows, int columns) {
  const dm_store *b = (const dm_store *)context + column;
  (void)row;
  for (int r = 0; r < rows; r++) {
    dm_real *v = tile + (size_t)r * stride;
#pragma omp simd
    for (int j = 0; j < columns; j++) v[j] += dm_load(b[j]);
  }
}

/* logits [rows, V] = x w^T + b for rows from `first` on. */
static dm_status chunk_logits(dm_real *logits, const dm_tensor *x, const dm_tensor *w, const dm_tensor *b, int first,
                              int rows) {
  int V = w->shape[0], C = w->shape[1];
  return cpu_gemm_then(0, 1, rows, V, C, (const dm_store *)x->data + (size_t)first * C, C, w->data, C, 0, logits, V,
                       b ? add_bias : NULL, b ? b->data : NULL);
}

/* The caller's logits, NULL where they are not laid out as here: [R, V] of dm_real. */
static dm_real *logits_of(const dm_tensor *kept, int V) {
  return kept && kept->dtype == DM_F32 && kept->shape[1] == V ? kept->data : NULL;
}

dm_status cpu_linear_xent_fwd(dm_device *d, dm_tensor *loss, dm_tensor *hits, dm_tensor *lse,
                              dm_tensor *kept_logits, const dm_tensor *x, const dm_tensor *w, const dm_tensor *b,
                              const dm_tensor *label, int32_t ignore) {
  int R = dm_rows(x), V = w->shape[0];
  dm_real *own = logits_of(kept_logits, V);
  int size = own ? R : chunk_rows(R, V);
  const int32_t *y = label->data;
  dm_real *out = lse->data;
  size_t room = own ? 0 : (size_t)size * V;
  void *scratch;
  dm_status s = dm_scratch(d, (room + (size_t)size) * sizeof(dm_real) + (size_t)size * sizeof(int), &scratch);
  if (s) return s;
  dm_real *logits = own ? own : scratch, *each = (dm_real *)scratch + room;
  int *best = (int *)(each + size), kept = 0, right = 0;
  double total = 0;
  for (int first = 0; first < R; first += size) {
    int rows = R - first < size ? R - first : size;
    s = chunk_logits(logits, x, w, b, first, rows);
    if (s) return s;
#pragma omp parallel for schedule(static)
    for (int r = 0; r < rows; r++) {
      const dm_real *v = logits + (size_t)r * V;
      out[first + r] = row_lse(v, V, &best[r]);
      each[r] = y[first + r] == ignore ? 0 : out[first + r] - v[y[first + r]];
    }
    for (int r = 0; r < rows; r++) {
      if (y[first + r] == ignore) continue;
      kept++;
      right += best[r] == y[first + r] && out[first + r] == out[first + r];
      total += each[r];
    }
  }
  *(dm_real *)loss->data = kept ? (dm_real)(total / kept) : 0;
  ((int32_t *)hits->data)[0] = right;
  ((int32_t *)hits->data)[1] = kept;
  return DM_OK;
}

enum { SPREAD = sizeof(dm_real) / sizeof(dm_store) };      /* columns of store in one of logits */

/* g = (softmax - onehot) * f, 0 for ignored rows, written over the logits: a row of g begins where its logits do, so
** that its rows are V * SPREAD apart. By blocks, as in bf16 a value lies where another's logit was: one read before. */
static void chunk_grad(dm_real *logits, const dm_real *lse, const int32_t *y, int ignore, int rows, int V, dm_real f) {
#pragma omp parallel for schedule(static)
  for (int r = 0; r < rows; r++) {
    const dm_real *v = logits + (size_t)r * V;
    dm_real shift = lse[r];
    dm_store *g = (dm_store *)(logits + (size_t)r * V), part[DM_BLOCK];
    if (y[r] == ignore) {
      memset(g, 0, (size_t)V * sizeof *g);
      continue;
    }
    dm_store own = dm_put(f * dm_exp(v[y[r]] - shift) - f);
    for (int at = 0; at < V; at += DM_BLOCK) {
      int n = V - at < DM_BLOCK ? V - at : DM_BLOCK;
#pragma omp simd
      for (int j = 0; j < n; j++) part[j] = dm_put(f * dm_exp(v[at + j] - shift));
      memcpy(g + at, part, (size_t)n * sizeof *part);
    }
    memcpy(g + y[r], &own, sizeof own);
  }
}

/* db (+)= column sums, columns in parallel, rows in order. */
static void add_columns(dm_real *db, const dm_store *g, int rows, int V) {
  enum { BLOCK = 1024 };
#pragma omp parallel for schedule(static)
  for (int at = 0; at < V; at += BLOCK) {
    int n = V - at < BLOCK ? V - at : BLOCK;
    for (int r = 0; r < rows; r++) {
      const dm_store *v = g + (size_t)r * V * SPREAD + at;
#pragma omp simd
      for (int j = 0; j < n; j++) db[at + j] += dm_load(v[j]);
    }
  }
}

dm_status cpu_linear_xent_bwd(dm_device *d, dm_tensor *dx, dm_tensor *dw, dm_tensor *db,
                              dm_tensor *kept_logits, const dm_tensor *dloss, const dm_tensor *lse,
                              const dm_tensor *x, const dm_tensor *w, const dm_tensor *b, const dm_tensor *label,
                              int32_t ignore, uint32_t acc) {
  int R = dm_rows(x), V = w->shape[0], C = w->shape[1], ldg = V * SPREAD;
  dm_real *own = logits_of(kept_logits, V);
  int size = own ? R : chunk_rows(R, V);
  const int32_t *y = label->data;
  int kept = count_kept(y, R, ignore);
  dm_real f = kept ? *(const dm_real *)dloss->data / (dm_real)kept : 0;
  void *scratch = NULL;
  dm_status s = own ? DM_OK : dm_scratch(d, (size_t)size * V * sizeof(dm_real), &scratch);
  if (s) return s;
  dm_real *logits = own ? own : scratch;
  const dm_store *g = (const dm_store *)logits;
  if (db && !(acc >> 2 & 1)) memset(db->data, 0, (size_t)V * sizeof(dm_real));
  if (dw && R == 0 && !(acc >> 1 & 1)) memset(dw->data, 0, dm_numel(dw) * sizeof(dm_real));
  for (int first = 0; first < R && !s; first += size) {
    int rows = R - first < size ? R - first : size;
    size_t at = (size_t)first * C;
    if (!own) s = chunk_logits(logits, x, w, b, first, rows);
    if (s) return s;
    chunk_grad(logits, (const dm_real *)lse->data + first, y + first, ignore, rows, V, f);
    if (db) add_columns(db->data, g, rows, V);
    if (dx) {
      s = cpu_gemm_into(0, 0, rows, C, V, g, ldg, w->data, C, acc & 1, (dm_store *)dx->data + at, C, dx->dtype);
    }
    if (!s && dw) {
      s = cpu_gemm(1, 0, V, C, rows, g, ldg, (const dm_store *)x->data + at, C, first > 0 || (acc >> 1 & 1), dw->data,
                   C);
    }
  }
  return s;
}

/* -- mse, count_correct ------------------------------------------------------------------------------------ */

dm_status cpu_mse_fwd(dm_device *d, dm_tensor *loss, const dm_tensor *x, const dm_tensor *target) {
  (void)d;
  size_t n = dm_numel(x);
  const dm_store *v = x->data, *t = target->data;
  double total = 0;
  for (size_t i = 0; i < n; i++) {
    double e = (double)dm_load(v[i]) - dm_load(t[i]);
    total += e * e;
  }
  *(dm_real *)loss->data = n ? (dm_real)(total / (double)n) : 0;
  return DM_OK;
}

dm_status cpu_mse_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dloss, const dm_tensor *x,
                      const dm_tensor *target, uint32_t acc) {
  (void)d;
  if (!dx) return DM_OK;
  size_t n = dm_numel(x);
  const dm_store *v = x->data, *t = target->data;
  dm_real f = 2 * *(const dm_real *)dloss->data / (dm_real)n;
  dm_store *o = dx->data;
  for (size_t i = 0; i < n; i++) {
    o[i] = dm_put((acc & 1 ? dm_load(o[i]) : 0) + f * (dm_load(v[i]) - dm_load(t[i])));
  }
  return DM_OK;
}

dm_status cpu_count_correct(dm_device *d, dm_tensor *hits, const dm_tensor *logits,
                            const dm_tensor *label, int32_t ignore) {
  (void)d;
  int rows = dm_rows(logits), n = dm_cols(logits), kept = 0, right = 0;
  const int32_t *y = label->data;
  for (int r = 0; r < rows; r++) {
    if (y[r] == ignore) continue;
    const dm_store *v = (const dm_store *)logits->data + (size_t)r * n;
    int best = 0;
    for (int j = 1; j < n; j++) best = dm_load(v[j]) > dm_load(v[best]) ? j : best;
    kept++;
    right += best == y[r] && dm_load(v[best]) == dm_load(v[best]);
  }
  ((int32_t *)hits->data)[0] = right;
  ((int32_t *)hits->data)[1] = kept;
  return DM_OK;
}
