/* columns.cu -- sums of columns without atomics: partial sums of fixed runs of rows, added in the order of the rows. */
#include "common.cuh"

enum {
  RUN = 64,                              /* rows of one partial sum: depends on nothing but the problem */
  GROUPS = 8,                            /* warps of a block: stretches of rows, or of partial sums, side by side */
  STRETCH = RUN / GROUPS,                /* rows of one warp, all of them read before the first is added */
  THREADS = GROUPS * WARP
};

static int runs_of(int rows) { return (rows + RUN - 1) / RUN; }

size_t column_part(int rows, int cols) { return (size_t)runs_of(rows) * (size_t)cols; }

/* sum = rows from .. to, at most STRETCH of them, of a thread's pack of columns from j on, in order. */
template <bool packed, int N, class T>
__device__ static inline void add_stretch(float (&sum)[N], const T *x, int from, int to, int cols, int j) {
#pragma unroll STRETCH
  for (int r = from; r < to; r++) {
    float v[N];
    fetch(v, x + (size_t)r * cols + j, packed ? N : cols - j, packed);
    for (int i = 0; i < N; i++) sum[i] += v[i];
  }
}

/* A block adds one run of rows of 32 packs of columns: a warp takes a stretch of the rows, a lane a pack; then a
** thread adds the stretches of a column, in order. Reads x once, writes a partial sum of each column. */
template <class T> __global__ void column_run_kernel(float *part, const T *x, int rows, int cols, bool packed) {
  constexpr int N = PACK<T>, APART = N + 1;                  /* of packs in shared memory: no two in one bank */
  DM_SHARED(float, sums, GROUPS * WARP * APART);
  const int lane = threadIdx.x % WARP, group = threadIdx.x / WARP, first = blockIdx.y * WARP * N, j = first + lane * N;
  const int from = blockIdx.x * RUN + group * STRETCH, to = from + STRETCH < rows ? from + STRETCH : rows;
  float sum[N] = {};
  if (j < cols && packed) add_stretch<true>(sum, x, from, to, cols, j);
  else if (j < cols) add_stretch<false>(sum, x, from, to, cols, j);
  for (int i = 0; i < N; i++) sums[threadIdx.x * APART + i] = sum[i];
  __syncthreads();
  const int own = threadIdx.x;
  if (own >= WARP * N || first + own >= cols) return;
  float total = 0;
  for (int g = 0; g < GROUPS; g++) total += sums[(g * WARP + own / N) * APART + own % N];
  part[(size_t)blockIdx.x * cols + first + own] = total;
}

/* A block adds the partial sums of 32 columns: GROUPS warps take as many equal stretches of them, in order, and the
** first adds the stretches, in order. */
static __global__ void column_finish_kernel(float *out, const float *part, int count, size_t stride, int cols,
                                            bool add) {
  DM_SHARED(float, sums, THREADS);
  int lane = threadIdx.x % WARP, group = threadIdx.x / WARP, j = blockIdx.x * WARP + lane;
  int each = (count + GROUPS - 1) / GROUPS, from = group * each;
  float sum = 0;
  for (int k = from; j < cols && k < from + each && k < count; k++) sum += part[(size_t)k * stride + j];
  sums[threadIdx.x] = sum;
  __syncthreads();
  if (group || j >= cols) return;
  for (int g = 1; g < GROUPS; g++) sum += sums[g * WARP + lane];
  out[j] = add ? out[j] + sum : sum;
}

dm_status column_finish(dm_device *d, float *out, const float *part, int count, size_t stride, int cols, bool add) {
  return launch(d, column_finish_kernel, blocks(cols, WARP), THREADS, 0, out, part, count, stride, cols, add);
}

template <class T> static dm_status column_runs(dm_device *d, float *part, const T *x, int rows, int cols) {
  return launch(d, column_run_kernel<T>, dim3(runs_of(rows), blocks(cols, WARP * PACK<T>)), THREADS, 0, part, x, rows,
                cols, packable(cols, x));
}

dm_status column_sum(dm_device *d, float *out, const void *x, int dtype, int rows, int cols, float *part, bool add) {
  dm_status s = dtype == DM_BF16 ? column_runs(d, part, (const bf16 *)x, rows, cols)
                                 : column_runs(d, part, (const float *)x, rows, cols);
  return s ? s : column_finish(d, out, part, runs_of(rows), (size_t)cols, cols, add);
}
