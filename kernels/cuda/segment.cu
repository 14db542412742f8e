/* segment.cu -- rows in the order of their targets, found on the device: for targets that are few. */
#include "segment.cuh"

enum { THREADS = 256 };                  /* stretches of rows that a block looks through side by side */

/* Rows of this thread's stretch: the threads' stretches follow one another. */
struct stretch { int from, to; };

__device__ static inline stretch stretch_of(int rows) {
  const int each = (rows + THREADS - 1) / THREADS, from = threadIdx.x * each;
  return { from, from + each < rows ? from + each : rows };
}

__device__ static inline int named(const int32_t *target, int rows, int t) {
  int count = 0;
  for (stretch s = stretch_of(rows); s.from < s.to; s.from++) count += target[s.from] == t;
  return count;
}

/* A block counts the rows of one target. */
static __global__ void count_kernel(int32_t *count, const int32_t *target, int rows) {
  DM_SHARED(int32_t, own, THREADS);
  own[threadIdx.x] = named(target, rows, blockIdx.x);
  __syncthreads();
  if (threadIdx.x) return;
  int sum = 0;
  for (int k = 0; k < THREADS; k++) sum += own[k];
  count[blockIdx.x] = sum;
}

/* A block lists the rows of one target behind those of the targets before it. */
static __global__ void list_kernel(int32_t *order, const int32_t *count, const int32_t *target, int rows) {
  DM_SHARED(int32_t, before, THREADS);
  DM_SHARED(int32_t, own, THREADS);
  before[threadIdx.x] = 0;
  for (int t = threadIdx.x; t < (int)blockIdx.x; t += THREADS) before[threadIdx.x] += count[t];
  own[threadIdx.x] = named(target, rows, blockIdx.x);
  __syncthreads();
  int at = 0;
  for (int k = 0; k < THREADS; k++) at += before[k] + (k < (int)threadIdx.x ? own[k] : 0);
  for (stretch s = stretch_of(rows); s.from < s.to; s.from++) {
    if (target[s.from] == (int)blockIdx.x) order[at++] = s.from;
  }
}

dm_status order_by(dm_device *d, int32_t *order, int32_t *count, const int32_t *target, int rows, int targets) {
  dm_status s = DM_OK;
  if (rows) s = cuda_check(d, cudaMemsetAsync(order, 0xff, (size_t)rows * sizeof *order, cuda_of(d)->stream));
  if (!s) s = launch(d, count_kernel, targets, THREADS, 0, count, target, rows);
  return s ? s : launch(d, list_kernel, targets, THREADS, 0, order, count, target, rows);
}
