/* figures.cuh -- what each row adds to a loss and to hits, and their sums in a fixed order: for loss.cu and xent.cu. */
#ifndef DM_CUDA_FIGURES_CUH
#define DM_CUDA_FIGURES_CUH

#include "common.cuh"

enum { THREADS = 256 };

/* What one row contributes to a figure over all rows. */
struct row_figure {
  float loss;                            /* lse - logit of the label; 0 where the row is left out */
  int32_t kept, right;
};

/* Sums of row_figure over all rows by one block: thread k adds rows k, k + THREADS, .., then the threads are added in
** order: loss [1] = sum / kept (0 where none is kept), count [1] = kept, hits [2] = right, kept; outputs may be
** NULL. */
static __global__ void figures_kernel(float *loss, float *inverse, int32_t *hits, const row_figure *rows, int count) {
  DM_SHARED(double, sums, THREADS);
  DM_SHARED(int32_t, kept, THREADS);
  DM_SHARED(int32_t, right, THREADS);
  double sum = 0;
  int32_t k = 0, r = 0;
  for (int i = threadIdx.x; i < count; i += THREADS) {
    sum += rows[i].loss;
    k += rows[i].kept;
    r += rows[i].right;
  }
  sums[threadIdx.x] = sum;
  kept[threadIdx.x] = k;
  right[threadIdx.x] = r;
  __syncthreads();
  if (threadIdx.x) return;
  for (int i = 1; i < THREADS; i++) {
    sum += sums[i];
    k += kept[i];
    r += right[i];
  }
  if (loss) *loss = k ? (float)(sum / k) : 0.0f;
  if (inverse) *inverse = k ? 1.0f / (float)k : 0.0f;
  if (hits) {
    hits[0] = r;
    hits[1] = k;
  }
}

#endif
