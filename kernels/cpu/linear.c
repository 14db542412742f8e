/* linear.c -- linear with its epilogue, and matmul, on the CPU. */
#include "cpu.h"
#include "simd.h"

#include <omp.h>

enum { ROWS = 32 };                     /* rows per chunk of the passes below: borders depend on sizes only */

static int chunks_of(int rows) { return (rows + ROWS - 1) / ROWS; }

typedef struct outcome {                /* of a product: pre = v + b where it is kept, y = act of it */
  dm_store *y, *pre;
  const dm_store *b;
  int n, act;
} outcome;

static void finish_tile(void *context, dm_real *tile, int stride, int row, int column, int rows, int columns) {
  const outcome *o = context;
  for (int r = 0; r < rows; r++) {
    size_t at = (size_t)(row + r) * o->n + column;
    dm_real *v = tile + (size_t)r * stride;
    if (o->b) {
      const dm_store *b = o->b + column;
#pragma omp simd
      for (int j = 0; j < columns; j++) v[j] += dm_load(b[j]);
    }
    dm_finish(o->y + at, o->pre ? o->pre + at : NULL, v, (size_t)columns, o->act);
  }
}

dm_status cpu_linear_fwd(dm_device *d, dm_tensor *y, dm_tensor *pre, const dm_tensor *x,
                         const dm_tensor *w, const dm_tensor *b, int32_t act) {
  (void)d;
  int rows = dm_rows(x), k = dm_cols(x), n = w->shape[0];
  outcome o = { y->data, pre ? pre->data : NULL, b ? b->data : NULL, n, act };
  cpu_epilogue *then = b || act != DM_NONE || pre || DM_NARROW ? finish_tile : NULL;
  return cpu_gemm_then(0, 1, rows, n, k, x->data, k, w->data, k, 0, dm_work(pre ? pre->data : y->data, NULL), n, then,
                       &o);
}

/* dpre = dy act'(pre) and the column sums of each chunk, in one pass. part [chunks, n] may be NULL; rooms: dm_rooms. */
static void activation_grad(dm_store *dpre, dm_real *part, const dm_store *dy, const dm_store *pre, int rows, int n,
                            int act, dm_real *rooms) {
#pragma omp parallel for schedule(static)
  for (int c = 0; c < chunks_of(rows); c++) {
    dm_real *sum = part ? part + (size_t)c * n : NULL, *room = rooms + (size_t)omp_get_thread_num() * n;
    for (int j = 0; sum && j < n; j++) sum[j] = 0;
    for (int r = c * ROWS; r < rows && r < (c + 1) * ROWS; r++) {
      size_t at = (size_t)r * n;
      const dm_real *g;
      if (act != DM_NONE) {
        dm_real *v = dm_work(dpre + at, room);
        dm_act_grad_rows(v, dy + at, pre + at, (size_t)n, act);
        dm_settle(dpre + at, v, (size_t)n);
        g = v;
      } else {
        g = dm_read(dy + at, room, (size_t)n);
      }
      if (!sum) continue;
#pragma omp simd
      for (int j = 0; j < n; j++) sum[j] += g[j];
    }
  }
}

/* out (+)= the sum of the chunks' rows, in chunk order. */
static void sum_parts(dm_real *out, const dm_real *part, int chunks, int n, int add) {
  if (!add) memset(out, 0, (size_t)n * sizeof *out);
  for (int c = 0; c < chunks; c++) {
#pragma omp simd
    for (int j = 0; j < n; j++) out[j] += part[(size_t)c * n + j];
  }
}

dm_status cpu_linear_bwd(dm_device *d, dm_tensor *dx, dm_tensor *dw, dm_tensor *db,
                         const dm_tensor *dy, const dm_tensor *pre, const dm_tensor *x,
                         const dm_tensor *w, int32_t act, uint32_t acc) {
  int rows = dm_rows(x), k = dm_cols(x), n = w->shape[0], chunks = chunks_of(rows);
  size_t for_dpre = act == DM_NONE ? 0 : dm_reals((size_t)rows * n), for_part = db ? (size_t)chunks * n : 0;
  void *scratch;
  dm_status s = dm_scratch(d, (for_dpre + for_part + dm_rooms(n)) * sizeof(dm_real), &scratch);
  if (s) return s;
  dm_real *part = (dm_real *)scratch + for_dpre, *rooms = part + for_part;
  dm_store *dpre = scratch;
  if (act != DM_NONE || db) {
    activation_grad(dpre, db ? part : NULL, dy->data, act == DM_NONE ? NULL : pre->data, rows, n, act, rooms);
  }
  if (db) sum_parts(db->data, part, chunks, n, acc >> 2 & 1);
  const dm_store *g = act == DM_NONE ? dy->data : dpre;
  if (dx) s = cpu_gemm_into(0, 0, rows, k, n, g, n, w->data, k, acc & 1, dx->data, k, dx->dtype);
  if (!s && dw) s = cpu_gemm(1, 0, n, k, rows, g, n, x->data, k, acc >> 1 & 1, dw->data, k);
  return s;
}

/* -- matmul: c = op(a) op(b) + beta c for each of the leading dimension --------------------------------- */

static dm_status products(const dm_tensor *a, const dm_tensor *b, const dm_tensor *c, int ta, int tb, int beta) {
  int n = a->ndim, count = n == 3 ? a->shape[0] : 1;
  int ar = a->shape[n - 2], ac = a->shape[n - 1], br = b->shape[n - 2], bc = b->shape[n - 1];
  int m = ta ? ac : ar, k = ta ? ar : ac, cols = tb ? br : bc;
  for (int i = 0; i < count; i++) {
    dm_status s = cpu_gemm_into(ta, tb, m, cols, k, (const dm_store *)a->data + (size_t)i * ar * ac, ac,
                                (const dm_store *)b->data + (size_t)i * br * bc, bc, beta,
                                (char *)c->data + (size_t)i * m * cols * dm_dtype_size(c->dtype), cols, c->dtype);
    if (s) return s;
  }
  return DM_OK;
}

dm_status cpu_matmul_fwd(dm_device *d, dm_tensor *y, const dm_tensor *a, const dm_tensor *b,
                         int32_t ta, int32_t tb) {
  (void)d;
  return products(a, b, y, ta, tb, 0);
}

/* da = dy op(b)^T, transposed where a is; db = op(a)^T dy, transposed where b is. */
dm_status cpu_matmul_bwd(dm_device *d, dm_tensor *da, dm_tensor *db, const dm_tensor *dy,
                         const dm_tensor *a, const dm_tensor *b, int32_t ta, int32_t tb,
                         uint32_t acc) {
  (void)d;
  dm_status s = DM_OK;
  if (da) s = ta ? products(b, dy, da, tb, 1, acc & 1) : products(dy, b, da, 0, !tb, acc & 1);
  if (!s && db) s = tb ? products(dy, a, db, 1, ta, acc >> 1 & 1) : products(a, dy, db, !ta, 0, acc >> 1 & 1);
  return s;
}
