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

/* What is summed: N values from element e on, of which `left` are in the row; AHEAD: rows read before one is added. */
template <class T> struct as_it_is {
  enum { AHEAD = STRETCH };
  const T *x;
  template <int N> __device__ void operator()(float (&v)[N], size_t e, int left, bool packed) const {
    fetch(v, x + e, left, packed);
  }
};

/* dpre = dy act'(pre), written on the way: the sum is of what is stored. */
template <class T> struct act_gradient {
  enum { AHEAD = 1 };                    /* a row's two packs: its arithmetic fills the wait, beside other warps */
  T *dpre;
  const T *dy, *pre;
  int act;
  template <int N> __device__ void operator()(float (&v)[N], size_t e, int left, bool packed) const {
    float u[N];
    fetch(v, dy + e, left, packed);
    fetch(u, pre + e, left, packed);
    for (int i = 0; i < N; i++) v[i] *= act_grad(u[i], act);
    put(dpre + e, v, left, packed);
    for (int i = 0; i < N; i++) v[i] = to_float(from_float<T>(v[i]));
  }
};

/* sum = f of rows from .. to, at most STRETCH of them, of a thread's pack of columns from j on, in order. */
template <bool packed, int N, class F>
__device__ static inline void add_stretch(float (&sum)[N], const F &f, int from, int to, int cols, int stride, int j) {
#pragma unroll F::AHEAD
  for (int r = from; r < to; r++) {
    float v[N];
    f(v, (size_t)r * stride + j, packed ? N : cols - j, packed);
    for (int i = 0; i < N; i++) sum[i] += v[i];
  }
}

/* A block adds one run of rows of 32 packs of columns: a warp takes a stretch of the rows, a lane a pack; then a
** thread adds the stretches of a column, in order. Reads what f reads once, writes a partial sum of each column.
** packed: whole packs lie within `stride`. */
template <class T, class F>
__global__ void column_run_kernel(float *part, F f, int rows, int cols, int stride, bool packed) {
  constexpr int N = PACK<T>, APART = N + 1;                  /* of packs in shared memory: no two in one bank */
  DM_SHARED(float, sums, GROUPS * WARP * APART);
  const int lane = threadIdx.x % WARP, group = threadIdx.x / WARP, first = blockIdx.y * WARP * N, j = first + lane * N;
  const int from = blockIdx.x * RUN + group * STRETCH, to = from + STRETCH < rows ? from + STRETCH : rows;
  float sum[N] = {};
  if (j < cols && packed) add_stretch<true>(sum, f, from, to, cols, stride, j);
  else if (j < cols) add_stretch<false>(sum, f, from, to, cols, stride, j);
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

/* out (+)= sums of the columns of f's values, which are of type T. */
template <class T, class F>
static dm_status sum_of(dm_device *d, float *out, F f, int rows, int cols, int stride, bool packed, float *part,
                        bool add) {
  const dim3 grid(runs_of(rows), blocks(cols, WARP * PACK<T>));
  dm_status s = launch(d, column_run_kernel<T, F>, grid, THREADS, 0, part, f, rows, cols, stride, packed);
  return s ? s : column_finish(d, out, part, runs_of(rows), (size_t)cols, cols, add);
}

template <class T>
static dm_status plain_sum(dm_device *d, float *out, const T *x, int rows, int cols, int stride, float *part,
                           bool add) {
  return sum_of<T>(d, out, as_it_is<T>{ x }, rows, cols, stride, packable(stride, x), part, add);
}

dm_status column_sum(dm_device *d, float *out, const void *x, int dtype, int rows, int cols, int stride, float *part,
                     bool add) {
  return dtype == DM_BF16 ? plain_sum(d, out, (const bf16 *)x, rows, cols, stride, part, add)
                          : plain_sum(d, out, (const float *)x, rows, cols, stride, part, add);
}

dm_status column_sum_act(dm_device *d, float *out, dm_tensor *dpre, const dm_tensor *dy, const dm_tensor *pre,
                         int32_t act, float *part, bool add) {
  const int rows = dm_rows(dy), cols = dm_cols(dy);
  return by_type(dy, [&](auto zero) {
    using T = decltype(zero);
    const act_gradient<T> f = { data<T>(dpre), data<T>(dy), data<T>(pre), act };
    return sum_of<T>(d, out, f, rows, cols, cols, packable(cols, f.dpre, f.dy, f.pre), part, add);
  });
}
