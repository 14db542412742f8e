/* norm.cu -- layer norm with residual and dropout on CUDA: a warp per row, statistics in two passes, all in f32. */
#include "common.cuh"

enum {
  WARPS = 4,                             /* rows, one to a warp, of a block of the forward pass */
  STRIDE = WARP * PACK8,                 /* elements a warp takes at a time */
  HELD = 4,                              /* packs a lane keeps of its row: up to 1024 columns are read once */
  TAKERS = 4,                            /* warps of a block of the backward pass, which take its rows in turn */
  SUMMED = 3,                            /* packs whose dw and db a lane sums: what 168 registers have room for */
  GROUP = SUMMED * STRIDE,               /* columns of a block of the backward pass: rows of up to 768 are read once */
  RUN = 16                               /* rows of a block, of one partial sum of dw and db: depends on nothing else */
};

/* Kernels whose rows are whole, aligned packs are compiled apart (`packed`): the others check each element. */

/* v = x + drop(r) for PACK8 elements from `at` on, `left` of them in the row. Bit i of the result: element
** i of r is kept. */
template <bool packed, class T>
__device__ static inline uint32_t sum_pack(float (&v)[PACK8], const T *x, const T *r, size_t at, int left,
                                           const keeper &k) {
  fetch(v, x + at, left, packed);
  if (!r) return 0xff;
  float u[PACK8];
  fetch(u, r + at, left, packed);
  const uint32_t kept = k.below ? kept_bits<PACK8>(k, packed ? at & ~(size_t)7 : at) & 0xff : 0xffu;
  for (int i = 0; i < PACK8; i++) v[i] += u[i] * (kept >> i & 1 ? k.scale : 0.0f);
  return kept;
}

/* Of a row's elements from column j on those of one pack. */
template <bool packed> __device__ static inline int left_of(int n, int j) { return packed ? PACK8 : n - j; }

/* The packs of a row that this lane takes: f(its values of x + drop(r), column), the first HELD of them from `held`. */
template <bool packed, class T, class F>
__device__ static inline void each_pack(float (&held)[HELD][PACK8], bool fill, const T *x, const T *r, size_t at, int n,
                                        const keeper &keeper, F f) {
  const int first = threadIdx.x % WARP * PACK8;
#pragma unroll
  for (int k = 0; k < HELD; k++) {
    int j = first + k * STRIDE;
    if (j >= n) return;
    if (fill) sum_pack<packed>(held[k], x, r, at + first + k * STRIDE, left_of<packed>(n, j), keeper);
    f(held[k], j);
  }
  for (int j = first + HELD * STRIDE; j < n; j += STRIDE) {
    float v[PACK8];
    sum_pack<packed>(v, x, r, at + j, left_of<packed>(n, j), keeper);
    f(v, j);
  }
}

/* A warp normalises one row, whose packs stay in its lanes' registers over the three passes; columns beyond 1024 are
** read again. Reads x and r once, writes y and two floats. */
template <class T, bool packed>
__global__ void layernorm_fwd_kernel(T *y, float *stat, const T *x, const T *r, const T *w, const T *b, int rows, int n,
                                     dropout drop, float eps) {
  const size_t row = (size_t)blockIdx.x * WARPS + threadIdx.x / WARP, at = row * (size_t)n;
  if (row >= (size_t)rows) return;
  const keeper keeper = keeper_of(drop);
  float held[HELD][PACK8], sum = 0, square = 0;
  each_pack<packed>(held, true, x, r, at, n, keeper, [&](const float (&v)[PACK8], int) {
    for (int i = 0; i < PACK8; i++) sum += v[i];                       /* 0 beyond the row */
  });
  const float mean = warp_sum(sum) / n;
  each_pack<packed>(held, false, x, r, at, n, keeper, [&](const float (&v)[PACK8], int j) {
    for (int i = 0; i < PACK8; i++) square += packed || j + i < n ? (v[i] - mean) * (v[i] - mean) : 0.0f;
  });
  const float rstd = 1.0f / sqrtf(warp_sum(square) / n + eps);
  if (threadIdx.x % WARP == 0) {
    stat[2 * row] = mean;
    stat[2 * row + 1] = rstd;
  }
  each_pack<packed>(held, false, x, r, at, n, keeper, [&](const float (&v)[PACK8], int j) {
    const int left = left_of<packed>(n, j);
    float scale[PACK8], shift[PACK8], o[PACK8];
    fetch(scale, w + j, left, packed);
    fetch(shift, b + j, left, packed);
    for (int i = 0; i < PACK8; i++) o[i] = (v[i] - mean) * rstd * scale[i] + shift[i];
    put(y + at + j, o, left, packed);
  });
}

dm_status cuda_layernorm_fwd(dm_device *d, dm_tensor *y, dm_tensor *stat, const dm_tensor *x, const dm_tensor *r,
                             const dm_tensor *w, const dm_tensor *b, float p, uint32_t site, float eps) {
  int rows = dm_rows(x), n = dm_cols(x);
  return by_type(x, [&](auto zero) {
    using T = decltype(zero);
    bool packed = n % PACK8 == 0 && packable(n, data<T>(y), data<T>(x), data<T>(r), data<T>(w), data<T>(b));
    return launch(d, packed ? layernorm_fwd_kernel<T, true> : layernorm_fwd_kernel<T, false>, blocks(rows, WARPS),
                  WARPS * WARP, 0, data<T>(y), data<float>(stat), data<T>(x), data<T>(r), data<T>(w), data<T>(b), rows,
                  n, dropout_of(d, p, site), eps);
  });
}

/* -- backward ------------------------------------------------------------------------------------------------------ */

/* One pack of a row: h = the normalised x + drop(r), g = dy; adds g w and g w h to a and b. Returns
** sum_pack's bits. */
template <bool packed, class T>
__device__ static inline uint32_t row_pack(float (&h)[PACK8], float (&g)[PACK8], float &a, float &b, const T *dy,
                                           const T *x, const T *r, const T *w, size_t at, int left, float mean,
                                           float rstd, const keeper &k) {
  float scale[PACK8];
  fetch(g, dy + at, left, packed);
  fetch(scale, w, left, packed);
  const uint32_t kept = sum_pack<packed>(h, x, r, at, left, k);
  for (int i = 0; i < PACK8; i++) {                                    /* g and scale are 0 beyond the row */
    h[i] = (h[i] - mean) * rstd;
    a += g[i] * scale[i];
    b += g[i] * scale[i] * h[i];
  }
  return kept;
}

/* out[0..n) = sums of up to GROUP columns: what the lanes of each warp hold of them, in the order of the warps. */
__device__ static inline void add_warps(float *out, const float (&mine)[SUMMED][PACK8], int n) {
  DM_SHARED(Packed<float>, room, TAKERS * GROUP / PACK<float>);
  float *sums = room[0].v;
  for (int k = 0; k < SUMMED; k++) put(sums + k * TAKERS * STRIDE + threadIdx.x * PACK8, mine[k], PACK8, true);
  __syncthreads();
  for (int j = threadIdx.x; j < GROUP && j < n; j += TAKERS * WARP) {
    float sum = 0;
    for (int i = 0; i < TAKERS; i++) sum += sums[(j / STRIDE * TAKERS + i) * STRIDE + j % STRIDE];
    out[j] = sum;
  }
  __syncthreads();
}

/* A block takes GROUP columns of a run of rows, its warps a row in turn: two sums over the row, then d(x + drop(r)),
** dropped again for dr. Each lane sums dw and db of its columns over its warp's rows; part [runs, 2, n], where it is
** wanted, gets the block's. Reads x, r and dy, dy twice (from cache), writes dx and dr. A row of several groups is read
** by a block of each, for the two sums. */
template <class T, bool packed>
__global__ void __launch_bounds__(TAKERS * WARP, 3)
layernorm_bwd_kernel(T *dx, T *dr, float *part, const T *dy, const T *x, const T *r, const T *w, const float *stat,
                     int rows, int n, dropout drop, bool add_x, bool add_r) {
  const int lane = threadIdx.x % WARP, group = blockIdx.y, first = group * GROUP + lane * PACK8;
  float dw[SUMMED][PACK8] = {}, db[SUMMED][PACK8] = {};
  for (int i = threadIdx.x / WARP; i < RUN; i += TAKERS) {
    const size_t row = (size_t)blockIdx.x * RUN + i, at = row * (size_t)n;
    if (row >= (size_t)rows) break;
    const keeper keeper = keeper_of(drop);
    const float mean = stat[2 * row], rstd = stat[2 * row + 1];
    float h[SUMMED][PACK8], g[PACK8], scale[PACK8], a = 0, b = 0;
    uint32_t kept = 0;                                                 /* bit PACK8 k + i: element i of pack k */
#pragma unroll
    for (int k = 0; k < SUMMED; k++) {
      const int j = first + k * STRIDE;
      if (j >= n) break;
      kept |= row_pack<packed>(h[k], g, a, b, dy, x, r, w + j, at + j, left_of<packed>(n, j), mean, rstd, keeper)
              << PACK8 * k;
      for (int c = 0; c < PACK8; c++) {
        dw[k][c] += g[c] * h[k][c];
        db[k][c] += g[c];
      }
    }
    for (int j = lane * PACK8; gridDim.y > 1 && j < n; j += STRIDE) {  /* the other groups' */
      float v[PACK8];
      if (j / GROUP != group)
        row_pack<packed>(v, g, a, b, dy, x, r, w + j, at + j, left_of<packed>(n, j), mean, rstd, keeper);
    }
    a = warp_sum(a) / n;
    b = warp_sum(b) / n;
#pragma unroll
    for (int k = 0; k < SUMMED; k++) {
      const int j = first + k * STRIDE, left = left_of<packed>(n, j);
      if (j >= n || (!dx && !dr)) break;
      fetch(g, dy + at + j, left, packed);
      fetch(scale, w + j, left, packed);
      for (int c = 0; c < PACK8; c++) g[c] = (g[c] * scale[c] - a - h[k][c] * b) * rstd;
      if (dx) put(dx + at + j, g, left, packed, add_x);
      for (int c = 0; c < PACK8; c++) g[c] *= kept >> (PACK8 * k + c) & 1 ? keeper.scale : 0.0f;
      if (dr) put(dr + at + j, g, left, packed, add_r);
    }
  }
  if (!part) return;
  float *sums = part + (size_t)blockIdx.x * 2 * n + group * GROUP;
  add_warps(sums, dw, n - group * GROUP);
  add_warps(sums + n, db, n - group * GROUP);
}

dm_status cuda_layernorm_bwd(dm_device *d, dm_tensor *dx, dm_tensor *dr, dm_tensor *dw, dm_tensor *db,
                             const dm_tensor *dy, const dm_tensor *x, const dm_tensor *r, const dm_tensor *w,
                             const dm_tensor *stat, float p, uint32_t site, uint32_t acc) {
  int rows = dm_rows(x), n = dm_cols(x), runs = (int)blocks(rows, RUN);
  void *part = NULL;
  dm_status s = dw || db ? scratch(d, (size_t)runs * 2 * n * sizeof(float), &part) : DM_OK;
  if (s) return s;
  s = by_type(x, [&](auto zero) {
    using T = decltype(zero);
    bool packed = n % PACK8 == 0
                  && packable(n, data<T>(dx), data<T>(dr), data<T>(dy), data<T>(x), data<T>(r), data<T>(w));
    return launch(d, packed ? layernorm_bwd_kernel<T, true> : layernorm_bwd_kernel<T, false>,
                  dim3(runs, blocks(n, GROUP)), TAKERS * WARP, 0, data<T>(dx), data<T>(dr), (float *)part, data<T>(dy),
                  data<T>(x), data<T>(r), data<T>(w), data<float>(stat), rows, n, dropout_of(d, p, site),
                  (bool)(acc & 1), (bool)(acc >> 1 & 1));
  });
  if (!s && dw) s = column_finish(d, data<float>(dw), (float *)part, runs, 2 * (size_t)n, n, acc >> 2 & 1);
  if (!s && db) s = column_finish(d, data<float>(db), (float *)part + n, runs, 2 * (size_t)n, n, acc >> 3 & 1);
  return s;
}
