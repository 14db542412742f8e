/* listed.cuh -- rows of a table that a list names, moved in packs: for embed.cu and demux.cu. */
#ifndef DM_CUDA_LISTED_CUH
#define DM_CUDA_LISTED_CUH

#include "common.cuh"

/* A row outside the table, or of no table, gives 0. */
template <class T> struct listed {
  const T *x;
  const int32_t *at;
  int rows, n;
};

template <class T> static inline listed<T> listed_of(const dm_tensor *x, const dm_tensor *at) {
  return { data<T>(x), data<int32_t>(at), x ? dm_rows(x) : 0, x ? dm_cols(x) : 0 };
}

/* v = columns j .. j + 8 of the row that place r names. */
template <class T>
__device__ static inline void fetch_listed(float (&v)[PACK8], const listed<T> &l, size_t r, int j, bool packed) {
  const int row = l.x ? l.at[r] : -1;
  fetch(v, l.x + (row < 0 ? 0 : (size_t)row * l.n) + j, row >= 0 && row < l.rows ? l.n - j : 0, packed);
}

/* f(row, column) for the first column of each pack of 8 in [rows, n]: a warp takes rows, striding over the grid, and a
** lane packs of a row. */
template <class F> __global__ void packs_kernel(size_t rows, int n, F f) {
  const size_t each = blockDim.x / WARP;
  for (size_t r = blockIdx.x * each + threadIdx.x / WARP; r < rows; r += gridDim.x * each) {
    for (int j = threadIdx.x % WARP * PACK8; j < n; j += WARP * PACK8) f(r, j);
  }
}

template <class F> static dm_status each_listed(dm_device *d, size_t rows, int n, F f) {
  const int warps = 8;
  return launch(d, packs_kernel<F>, striding(d, rows, warps), warps * WARP, 0, rows, n, f);
}

#endif
