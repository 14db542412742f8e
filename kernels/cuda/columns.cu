/* columns.cu -- sums of columns without atomics: partial sums of fixed runs of rows, added in the order of the rows. */
#include "common.cuh"

enum {
  RUN = 64,                              /* rows of one partial sum: depends on nothing but the problem */
  COLUMNS = 128,                         /* columns, and threads, of a block */
  GROUPS = 8                             /* stretches of partial sums that are added side by side */
};

static int runs_of(int rows) { return (rows + RUN - 1) / RUN; }

size_t column_part(int rows, int cols) { return (size_t)runs_of(rows) * (size_t)cols; }

/* A block adds one run of rows of COLUMNS columns, a thread one column; reads x once, coalesced. */
template <class T> __global__ void column_run_kernel(float *part, const T *x, int rows, int cols) {
  int j = blockIdx.x * COLUMNS + threadIdx.x, first = blockIdx.y * RUN;
  if (j >= cols) return;
  float sum = 0;
  for (int r = first; r < first + RUN && r < rows; r++) sum += to_float(x[(size_t)r * cols + j]);
  part[(size_t)blockIdx.y * cols + j] = sum;
}

/* A block adds the partial sums of 32 columns: GROUPS warps take as many equal stretches of them, in order, and the
** first adds the stretches, in order. */
static __global__ void column_finish_kernel(float *out, const float *part, int count, size_t stride, int cols,
                                            bool add) {
  DM_SHARED(float, sums, GROUPS * WARP);
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
  return launch(d, column_finish_kernel, blocks(cols, WARP), GROUPS * WARP, 0, out, part, count, stride, cols, add);
}

dm_status column_sum(dm_device *d, float *out, const void *x, int dtype, int rows, int cols, float *part, bool add) {
  dim3 grid(blocks(cols, COLUMNS), runs_of(rows));
  if (grid.y > 65535) return fail(DM_EARG, "%s: %d rows, expected at most %d", cuda_of(d)->op, rows, 65535 * RUN);
  dm_status s = dtype == DM_BF16
    ? launch(d, column_run_kernel<bf16>, grid, COLUMNS, 0, part, (const bf16 *)x, rows, cols)
    : launch(d, column_run_kernel<float>, grid, COLUMNS, 0, part, (const float *)x, rows, cols);
  return s ? s : column_finish(d, out, part, runs_of(rows), (size_t)cols, cols, add);
}
