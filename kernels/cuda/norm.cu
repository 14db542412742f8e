/* norm.cu -- layer norm with residual and dropout on CUDA: a warp per row, statistics in two passes, all in f32. */
#include "common.cuh"

enum {
  WARPS = 4,                             /* rows, one to a warp, of a block */
  PACK8 = 8,                             /* elements a lane takes at a time */
  STRIDE = WARP * PACK8,                 /* elements a warp takes at a time */
  HELD = 4,                              /* packs a lane keeps of its row: up to 1024 columns are read once */
  RUN = 32,                              /* rows of one partial sum of dw and db: depends on nothing else */
  COLUMNS = 128                          /* columns, and threads, of a block that sums them */
};

/* v = x + drop(r) for PACK8 elements of row `row` from column j on. */
template <class T>
__device__ static inline void sum_pack(float (&v)[PACK8], const T *x, const T *r, size_t at, int left, bool packed,
                                       const keeper &k) {
  fetch(v, x + at, left, packed);
  if (!r) return;
  float u[PACK8], keep[PACK8];
  fetch(u, r + at, left, packed);
  if (k.below) {
    keep_factors(keep, k, at);
    for (int i = 0; i < PACK8; i++) u[i] *= keep[i];
  }
  for (int i = 0; i < PACK8; i++) v[i] += u[i];
}

/* The packs of a row that this lane takes: f(its values of x + drop(r), column), the first HELD of them from `held`. */
template <class T, class F>
__device__ static inline void each_pack(float (&held)[HELD][PACK8], bool fill, const T *x, const T *r, size_t at, int n,
                                        bool packed, const keeper &keeper, F f) {
  const int first = threadIdx.x % WARP * PACK8;
#pragma unroll
  for (int k = 0; k < HELD; k++) {
    int j = first + k * STRIDE;
    if (j >= n) return;
    if (fill) sum_pack(held[k], x, r, at + j, n - j, packed, keeper);
    f(held[k], j);
  }
  for (int j = first + HELD * STRIDE; j < n; j += STRIDE) {
    float v[PACK8];
    sum_pack(v, x, r, at + j, n - j, packed, keeper);
    f(v, j);
  }
}

/* A warp normalises one row, whose packs stay in its lanes' registers over the three passes; columns beyond 1024 are
** read again. Reads x and r once, writes y and two floats. */
template <class T>
__global__ void layernorm_fwd_kernel(T *y, float *stat, const T *x, const T *r, const T *w, const T *b, int rows, int n,
                                     bool packed, dropout drop, float eps) {
  const size_t row = (size_t)blockIdx.x * WARPS + threadIdx.x / WARP, at = row * (size_t)n;
  if (row >= (size_t)rows) return;
  const keeper keeper = keeper_of(drop);
  float held[HELD][PACK8], sum = 0, square = 0;
  each_pack(held, true, x, r, at, n, packed, keeper, [&](const float (&v)[PACK8], int) {
    for (int i = 0; i < PACK8; i++) sum += v[i];                       /* 0 beyond the row */
  });
  const float mean = warp_sum(sum) / n;
  each_pack(held, false, x, r, at, n, packed, keeper, [&](const float (&v)[PACK8], int j) {
    for (int i = 0; i < PACK8; i++) square += j + i < n ? (v[i] - mean) * (v[i] - mean) : 0.0f;
  });
  const float rstd = 1.0f / sqrtf(warp_sum(square) / n + eps);
  if (threadIdx.x % WARP == 0) {
    stat[2 * row] = mean;
    stat[2 * row + 1] = rstd;
  }
  each_pack(held, false, x, r, at, n, packed, keeper, [&](const float (&v)[PACK8], int j) {
    float scale[PACK8], shift[PACK8], o[PACK8];
    fetch(scale, w + j, n - j, packed);
    fetch(shift, b + j, n - j, packed);
    for (int i = 0; i < PACK8; i++) o[i] = (v[i] - mean) * rstd * scale[i] + shift[i];
    put(y + at + j, o, n - j, packed);
  });
}

dm_status cuda_layernorm_fwd(dm_device *d, dm_tensor *y, dm_tensor *stat, const dm_tensor *x, const dm_tensor *r,
                             const dm_tensor *w, const dm_tensor *b, float p, uint32_t site, float eps) {
  int rows = dm_rows(x), n = dm_cols(x);
  return by_type(x, [&](auto zero) {
    using T = decltype(zero);
    bool packed = packable(n, data<T>(y), data<T>(x), data<T>(r), data<T>(w), data<T>(b));
    return launch(d, layernorm_fwd_kernel<T>, blocks(rows, WARPS), WARPS * WARP, 0, data<T>(y), data<float>(stat),
                  data<T>(x), data<T>(r), data<T>(w), data<T>(b), rows, n, packed, dropout_of(d, p, site), eps);
  });
}

/* -- backward ------------------------------------------------------------------------------------------------------ */

/* A warp takes one row: two sums over it, then d(x + drop(r)), dropped again for dr. Reads x, r and dy, dy twice (from
** cache), writes dx and dr. */
template <class T>
__global__ void layernorm_bwd_kernel(T *dx, T *dr, const T *dy, const T *x, const T *r, const T *w, const float *stat,
                                     int rows, int n, bool packed, dropout drop, bool add_x, bool add_r) {
  const size_t row = (size_t)blockIdx.x * WARPS + threadIdx.x / WARP, at = row * (size_t)n;
  if (row >= (size_t)rows) return;
  const float mean = stat[2 * row], rstd = stat[2 * row + 1];
  const keeper keeper = keeper_of(drop);
  float held[HELD][PACK8], a = 0, b = 0;
  each_pack(held, true, x, r, at, n, packed, keeper, [&](const float (&v)[PACK8], int j) {
    float g[PACK8], scale[PACK8];
    fetch(g, dy + at + j, n - j, packed);
    fetch(scale, w + j, n - j, packed);
    for (int i = 0; i < PACK8; i++) {                                  /* g and scale are 0 beyond the row */
      a += g[i] * scale[i];
      b += g[i] * scale[i] * (v[i] - mean) * rstd;
    }
  });
  a = warp_sum(a) / n;
  b = warp_sum(b) / n;
  each_pack(held, false, x, r, at, n, packed, keeper, [&](const float (&v)[PACK8], int j) {
    float g[PACK8], scale[PACK8], keep[PACK8];
    fetch(g, dy + at + j, n - j, packed);
    fetch(scale, w + j, n - j, packed);
    for (int i = 0; i < PACK8; i++) g[i] = (g[i] * scale[i] - a - (v[i] - mean) * rstd * b) * rstd;
    if (dx) put(dx + at + j, g, n - j, packed, add_x);
    if (!dr) return;
    if (keeper.below) {
      keep_factors(keep, keeper, at + j);
      for (int i = 0; i < PACK8; i++) g[i] *= keep[i];
    }
    put(dr + at + j, g, n - j, packed, add_r);
  });
}

/* A block sums RUN rows of COLUMNS columns, a thread one column: part [runs, 2, n] gets dw and db of the run. */
template <class T>
__global__ void layernorm_columns_kernel(float *part, const T *dy, const T *x, const T *r, const float *stat, int rows,
                                         int n, dropout drop) {
  const int j = blockIdx.x * COLUMNS + threadIdx.x, first = blockIdx.y * RUN;
  if (j >= n) return;
  const keeper keeper = keeper_of(drop);
  float dw = 0, db = 0;
  for (int row = first; row < first + RUN && row < rows; row++) {
    const size_t e = (size_t)row * n + j;
    float v = to_float(x[e]), g = to_float(dy[e]);
    if (r) {
      float keep[1] = { 1.0f };
      if (keeper.below) keep_factors(keep, keeper, e);
      v += to_float(r[e]) * keep[0];
    }
    dw += g * (v - stat[2 * (size_t)row]) * stat[2 * (size_t)row + 1];
    db += g;
  }
  part[(size_t)blockIdx.y * 2 * n + j] = dw;
  part[(size_t)blockIdx.y * 2 * n + n + j] = db;
}

dm_status cuda_layernorm_bwd(dm_device *d, dm_tensor *dx, dm_tensor *dr, dm_tensor *dw, dm_tensor *db,
                             const dm_tensor *dy, const dm_tensor *x, const dm_tensor *r, const dm_tensor *w,
                             const dm_tensor *stat, float p, uint32_t site, uint32_t acc) {
  int rows = dm_rows(x), n = dm_cols(x), runs = (int)blocks(rows, RUN);
  const dropout drop = dropout_of(d, p, site);
  void *part = NULL;
  dm_status s = dw || db ? scratch(d, (size_t)runs * 2 * n * sizeof(float), &part) : DM_OK;
  if (s) return s;
  s = by_type(x, [&](auto zero) {
    using T = decltype(zero);
    bool packed = packable(n, data<T>(dx), data<T>(dr), data<T>(dy), data<T>(x), data<T>(r), data<T>(w));
    dm_status t = dx || dr
      ? launch(d, layernorm_bwd_kernel<T>, blocks(rows, WARPS), WARPS * WARP, 0, data<T>(dx), data<T>(dr), data<T>(dy),
               data<T>(x), data<T>(r), data<T>(w), data<float>(stat), rows, n, packed, drop, (bool)(acc & 1),
               (bool)(acc >> 1 & 1))
      : DM_OK;
    if (t || !part) return t;
    return launch(d, layernorm_columns_kernel<T>, dim3(blocks(n, COLUMNS), runs), COLUMNS, 0, (float *)part,
                  data<T>(dy), data<T>(x), data<T>(r), data<float>(stat), rows, n, drop);
  });
  if (!s && dw) s = column_finish(d, data<float>(dw), (float *)part, runs, 2 * (size_t)n, n, acc >> 2 & 1);
  if (!s && db) s = column_finish(d, data<float>(db), (float *)part + n, runs, 2 * (size_t)n, n, acc >> 3 & 1);
  return s;
}
