/* segment.h -- sums of rows that share a target, in a fixed order and in parallel, without atomics.
**
** Rows come sorted by target (`order`), cut into chunks of fixed size. A target whose rows all lie in one chunk is
** summed in place; one that crosses a border is summed into a buffer of that chunk, and the buffers are added in
** chunk order afterwards. So the result depends on the rows and their order alone, never on the threads. */
#ifndef DM_SEGMENT_H
#define DM_SEGMENT_H

#include "cpu.h"

#include <string.h>

/* Adds row `row`'s contribution, n values, to acc; chunk: for sums of its own. */
typedef void (*segment_row)(void *context, dm_real *acc, int row, int chunk);

/* Rows per chunk: at least 512, at most 16 chunks. */
static inline int segment_size(int rows) { return rows / 16 + 1 > 512 ? rows / 16 + 1 : 512; }
static inline int segment_chunks(int rows) { return (rows + segment_size(rows) - 1) / segment_size(rows); }

/* Scratch that segment_sum needs, in reals. */
static inline size_t segment_scratch(int rows, int n) { return 2 * (size_t)segment_chunks(rows) * n; }

/* out [targets, n] (+)= sums of the rows with target[row] >= 0. edge: segment_scratch reals. */
static inline void segment_sum(dm_real *out, int targets, int n, int add, const int32_t *order, const int32_t *target,
                               int rows, dm_real *edge, segment_row f, void *context) {
  int size = segment_size(rows), chunks = segment_chunks(rows);
  int edge_of[16 + 1][2];
  if (!add) {
#pragma omp parallel for schedule(static)
    for (int t = 0; t < targets; t++) memset(out + (size_t)t * n, 0, (size_t)n * sizeof *out);
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
        dm_real *acc = out + (size_t)t * n;
        if (before || after) {
          int side = before ? 0 : 1;
          acc = edge + (2 * (size_t)c + (size_t)side) * n;
          memset(acc, 0, (size_t)n * sizeof *acc);
          edge_of[c][side] = t;
        }
        for (int k = i; k < end; k++) f(context, acc, order[k], c);
      }
      i = end;
    }
  }
  for (int c = 0; c < chunks; c++) {
    for (int side = 0; side < 2; side++) {
      if (edge_of[c][side] < 0) continue;
      dm_real *o = out + (size_t)edge_of[c][side] * n;
      const dm_real *v = edge + (2 * (size_t)c + (size_t)side) * n;
#pragma omp simd
      for (int j = 0; j < n; j++) o[j] += v[j];
    }
  }
}

/* The commonest row: rows of a matrix as they are. */
typedef struct segment_rows { const dm_real *x; int n; } segment_rows;

static inline void segment_copy(void *context, dm_real *acc, int row, int chunk) {
  const segment_rows *s = context;
  const dm_real *v = s->x + (size_t)row * s->n;
  (void)chunk;
#pragma omp simd
  for (int j = 0; j < s->n; j++) acc[j] += v[j];
}

#endif
