/* segment.h -- sums of rows that share a target, in a fixed order and in parallel, without atomics.
**
** Rows come sorted by target (`order`), cut into chunks of fixed size. A target whose rows all lie in one chunk is
** summed in place; one that crosses a border is summed into a buffer of that chunk, and the buffers are added in
** chunk order afterwards. So the result depends on the rows and their order alone, never on the threads. */
#ifndef DM_SEGMENT_H
#define DM_SEGMENT_H

#include "cpu.h"

/* Adds row `row`'s contribution, n values, to acc; chunk: for sums of its own. */
typedef void (*segment_row)(void *context, dm_real *acc, int row, int chunk);

/* Rows per chunk: at least 512, at most 16 chunks. */
static inline int segment_size(int rows) { return rows / 16 + 1 > 512 ? rows / 16 + 1 : 512; }
static inline int segment_chunks(int rows) { return (rows + segment_size(rows) - 1) / segment_size(rows); }

/* Scratch that segment_sum needs, in reals: two edges of each chunk, and a row to sum in. */
static inline size_t segment_scratch(int rows, int n) { return (2 + DM_NARROW) * (size_t)segment_chunks(rows) * n; }

/* Row t of out as reals to add to: itself where out is real, else room, which segment_close puts back. */
static inline dm_real *segment_open(const dm_tensor *out, int t, dm_real *room) {
  size_t n = (size_t)dm_cols(out), at = (size_t)t * n;
  if (!DM_NARROW || out->dtype == DM_F32) return (dm_real *)out->data + at;
  return (dm_real *)(uintptr_t)dm_read((const dm_store *)out->data + at, room, n);
}

static inline void segment_close(const dm_tensor *out, int t, const dm_real *row) {
  size_t n = (size_t)dm_cols(out), at = (size_t)t * n;
  if (DM_NARROW && out->dtype != DM_F32) dm_settle((dm_store *)out->data + at, row, n);
}

/* out [targets, n] (+)= sums of the rows with target[row] >= 0. edge: segment_scratch reals. */
static inline void segment_sum(const dm_tensor *out, int add, const int32_t *order, const int32_t *target, int rows,
                               dm_real *edge, segment_row f, void *context) {
  int n = dm_cols(out), targets = dm_rows(out), size = segment_size(rows), chunks = segment_chunks(rows);
  int edge_of[16 + 1][2];
  dm_real *rooms = edge + 2 * (size_t)chunks * n;
  if (!add) {
    size_t bytes = (size_t)n * (size_t)dm_dtype_size(out->dtype);
#pragma omp parallel for schedule(static)
    for (int t = 0; t < targets; t++) memset((char *)out->data + (size_t)t * bytes, 0, bytes);
  }
#pragma omp parallel for schedule(dynamic, 1)
  for (int c = 0; c < chunks; c++) {
    int from = c * size, to = from + size < rows ? from + size : rows;
    edge_of[c][0] = edge_of[c][1] = -1;
    for (int i = from; i < to;) {
      int t = target[order[i]], end = i + 1;
      while (end < to && target[order[end]] == t) end++;
      if (t >= 0) {
        int before = i == from && from > 0 && target[order[from - 1]] == t;
        int after = end == to && to < rows && target[order[to]] == t;
        dm_real *acc;
        if (before || after) {
          int side = before ? 0 : 1;
          acc = edge + (2 * (size_t)c + (size_t)side) * n;
          memset(acc, 0, (size_t)n * sizeof *acc);
          edge_of[c][side] = t;
        } else {
          acc = segment_open(out, t, rooms + (size_t)c * n);
        }
        for (int k = i; k < end; k++) f(context, acc, order[k], c);
        if (!before && !after) segment_close(out, t, acc);
      }
      i = end;
    }
  }
  dm_real *o = NULL;                    /* the row of target `open` */
  int open = -1;
  for (int k = 0; k < 2 * chunks; k++) {
    int t = edge_of[k / 2][k % 2];
    if (t < 0) continue;
    if (t != open) {
      if (open >= 0) segment_close(out, open, o);
      open = t;
      o = segment_open(out, t, rooms);
    }
    const dm_real *v = edge + (size_t)k * n;
#pragma omp simd
    for (int j = 0; j < n; j++) o[j] += v[j];
  }
  if (open >= 0) segment_close(out, open, o);
}

/* The commonest row: rows of a matrix as they are. */
typedef struct segment_rows { const dm_store *x; int n; } segment_rows;

static inline void segment_copy(void *context, dm_real *acc, int row, int chunk) {
  const segment_rows *s = context;
  const dm_store *v = s->x + (size_t)row * s->n;
  (void)chunk;
#pragma omp simd
  for (int j = 0; j < s->n; j++) acc[j] += dm_load(v[j]);
}

#endif
