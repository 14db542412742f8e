/* product.cuh -- matrix products of the CUDA backend (linear.cu), for the files that need one. */
#ifndef DM_CUDA_PRODUCT_CUH
#define DM_CUDA_PRODUCT_CUH

#include "common.cuh"

/* c [m, n] = op(a) op(b) + bias + beta c, row-major, for each of `batch` matrices one after the other.
** ta/tb: 1 = the operand is stored transposed. Types are dm_tensor's; c may be f32 beside bf16 operands. bias [n] is of
** c's type, or NULL; beta is 0 or 1. f32 is f32 (no TF32); sums are f32, in an order that is the same in every run.
** lda, ldc: elements from a row of a, of c to the next where there are gaps (of one matrix), else 0. */
typedef struct product {
  int ta, tb, m, n, k, batch, type, out_type, beta;
  const void *a, *b, *bias;
  void *c;
  int lda = 0, ldc = 0;
} product;

dm_status multiply(dm_device *d, const product &p);

#endif
