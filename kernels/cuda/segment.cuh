/* segment.cuh -- sums of rows that share a target, in a fixed order and without atomics, on CUDA.
**
** segment_sum: rows come sorted by target (`order`), cut into pieces of fixed size. A target whose rows all lie in one
** piece is written by that piece; what crosses a border is kept as partial sums, which are added in piece order
** afterwards. member_sums: the rows of a group follow from its number, so the runs of every group are summed side by
** side. What is summed is a functor over (row, column), so that nothing the size of the rows need exist. */
#ifndef DM_CUDA_SEGMENT_CUH
#define DM_CUDA_SEGMENT_CUH

#include "common.cuh"

enum {
  PIECE = 64,                            /* rows of one partial sum: depends on nothing but the problem */
  AHEAD = 4,                             /* rows that a thread has under way: their loads overlap */
  SUMMED = 128,                          /* threads of a block at most; columns of one */
  JOINED = 8                             /* warps that add the pieces of one target */
};

/* Rows 0 .. rows - 1 in an order sorted by target; a target or a row outside its range is left out. */
typedef struct sorted_rows {
  const int32_t *order, *target;
  int rows, targets;
} sorted_rows;

/* The row at place k, -1 where there is none. */
__device__ static inline int row_at(const sorted_rows &s, int k) {
  int row = k >= 0 && k < s.rows ? s.order[k] : -1;
  return row < s.rows ? row : -1;
}

/* The target at place k, -1 where there is none. */
__device__ static inline int target_at(const sorted_rows &s, int k) {
  int row = row_at(s, k), t = row < 0 ? -1 : s.target[row];
  return t < s.targets ? t : -1;
}

/* A block sums PIECE places, a thread F::W columns, AHEAD rows of them under way. edge [pieces, 2, n]: what belongs to
** a target that began in an earlier piece, and what belongs to one that goes on in the next. */
template <class T, class F>
__global__ void segment_piece_kernel(T *out, float *edge, sorted_rows s, int n, bool packed, bool add, F f) {
  DM_SHARED(int32_t, row, PIECE + 2);
  DM_SHARED(int32_t, target, PIECE + 2);
  for (int k = threadIdx.x; k < PIECE + 2; k += blockDim.x) {
    row[k] = row_at(s, blockIdx.x * PIECE + k - 1);
    target[k] = target_at(s, blockIdx.x * PIECE + k - 1);
  }
  __syncthreads();
  const int j = (blockIdx.y * blockDim.x + threadIdx.x) * F::W;
  if (j >= n) return;
  bool begun = target[0] == target[1] && target[1] >= 0;
  float sum[F::W] = {};
  for (int k = 1; k <= PIECE; k += AHEAD) {
    float v[AHEAD][F::W];
#pragma unroll
    for (int a = 0; a < AHEAD; a++) f(v[a], row[k + a] < 0 ? 0 : row[k + a], j);
#pragma unroll
    for (int a = 0; a < AHEAD; a++) {
      const int t = target[k + a];
      if (t < 0) continue;
      for (int i = 0; i < F::W; i++) sum[i] += v[a][i];
      const bool goes_on = target[k + a + 1] == t;
      if (goes_on && k + a < PIECE) continue;
      if (begun) put(edge + (size_t)blockIdx.x * 2 * n + j, sum, n - j, packed);
      else if (goes_on) put(edge + ((size_t)blockIdx.x * 2 + 1) * n + j, sum, n - j, packed);
      else put(out + (size_t)t * n + j, sum, n - j, packed, add);
      begun = false;
      for (int i = 0; i < F::W; i++) sum[i] = 0;
    }
  }
}

/* The last piece that begins with target t, as piece `first` does: those between do too, as rows are sorted. */
__device__ static inline int last_piece(const sorted_rows &s, int t, int first, int pieces) {
  int last = first, step = 1;
  for (; last + step < pieces && target_at(s, (last + step) * PIECE) == t; step *= 2) last += step;
  for (step /= 2; step; step /= 2) {
    if (last + step < pieces && target_at(s, (last + step) * PIECE) == t) last += step;
  }
  return last;
}

/* The block of the piece in which a target begins that goes on beyond it adds up that target's partial sums: a warp
** those of a stretch of the pieces, as a padding's may be most of them, then the stretches in order. */
template <class T>
__global__ void segment_join_kernel(T *out, const float *edge, sorted_rows s, int n, bool packed, bool add) {
  constexpr int W = SUMMED / WARP;                           /* columns of a lane */
  DM_SHARED(float, sums, JOINED * SUMMED);
  const int own = blockIdx.x, first = own * PIECE, t = target_at(s, first + PIECE - 1), warp = threadIdx.x / WARP;
  if (t < 0 || target_at(s, first + PIECE) != t) return;
  if (target_at(s, first) == t && target_at(s, first - 1) == t) return;
  const int last = last_piece(s, t, own + 1, gridDim.x), each = (last - own + JOINED - 1) / JOINED;
  const int from = own + 1 + warp * each, to = from + each <= last ? from + each : last + 1;
  const int at = threadIdx.x % WARP * W, j = blockIdx.y * SUMMED + at;
  float sum[W] = {};
  if (warp == 0) fetch(sum, edge + ((size_t)own * 2 + 1) * n + j, n - j, packed);
#pragma unroll 4
  for (int m = from; m < to; m++) {
    float v[W];
    fetch(v, edge + (size_t)m * 2 * n + j, n - j, packed);
    for (int i = 0; i < W; i++) sum[i] += v[i];
  }
  for (int i = 0; i < W; i++) sums[warp * SUMMED + at + i] = sum[i];
  __syncthreads();
  const int column = blockIdx.y * SUMMED + threadIdx.x;
  if (threadIdx.x >= SUMMED || column >= n) return;
  float total = 0;
  for (int k = 0; k < JOINED; k++) total += sums[k * SUMMED + threadIdx.x];
  T *o = out + (size_t)t * n + column;
  *o = from_float<T>(add ? to_float(*o) + total : total);
}

/* Floats of scratch for segment_sum. */
static inline size_t segment_edge(int rows, int n) { return 2 * (size_t)blocks(rows, PIECE) * n; }

/* out [targets, n] (+)= sums of rows by target, which is none outside 0 .. targets - 1. F: a struct with W, columns at
** a time, and `__device__ void operator()(float (&v)[W], int row, int column) const`. */
template <class F>
static inline dm_status segment_packs(dm_device *d, dm_tensor *out, const int32_t *order, const int32_t *target,
                                      int rows, bool add, float *edge, F f) {
  const int n = dm_cols(out), pieces = (int)blocks(rows, PIECE), packs = (int)blocks(n, F::W);
  const int threads = packs < SUMMED ? (int)blocks(packs, WARP) * WARP : SUMMED;
  const sorted_rows sorted = { order, target, rows, dm_rows(out) };
  dm_status s = add ? DM_OK : cuda_zero(d, out);
  if (s) return s;
  return by_type(out, [&](auto zero) {
    using T = decltype(zero);
    dm_status t = launch(d, segment_piece_kernel<T, F>, dim3(pieces, blocks(packs, threads)), threads, 0,
                         data<T>(out), edge, sorted, n, packable(n, data<T>(out), edge), add, f);
    return t ? t : launch(d, segment_join_kernel<T>, dim3(pieces, blocks(n, SUMMED)), JOINED * WARP, 0, data<T>(out),
                          edge, sorted, n, packable(n, edge), add);
  });
}

/* A functor `__device__ float operator()(int row, int column) const`, for a thread that takes one column. */
template <class F> struct one_column {
  enum { W = 1 };
  F f;
  __device__ void operator()(float (&v)[W], int row, int j) const { v[0] = f(row, j); }
};

template <class F>
static inline dm_status segment_sum(dm_device *d, dm_tensor *out, const int32_t *order, const int32_t *target, int rows,
                                    bool add, float *edge, F f) {
  return segment_packs(d, out, order, target, rows, add, edge, one_column<F>{ f });
}

/* Rows of a matrix as they are, in packs: whole where every pack lies in its row and may be moved as one. */
template <class T, bool whole> struct packs_of {
  enum { W = 8 };
  const T *x;
  int n;
  __device__ void operator()(float (&v)[W], int row, int j) const {
    fetch(v, x + (size_t)row * n + j, whole ? (int)W : n - j, whole);
  }
};

template <class T> struct rows_of {
  const T *x;
  int n;
};

template <class T>
static inline dm_status segment_sum(dm_device *d, dm_tensor *out, const int32_t *order, const int32_t *target, int rows,
                                    bool add, float *edge, rows_of<T> r) {
  return r.n % packs_of<T, true>::W == 0 && packable(r.n, r.x)
    ? segment_packs(d, out, order, target, rows, add, edge, packs_of<T, true>{ r.x, r.n })
    : segment_packs(d, out, order, target, rows, add, edge, packs_of<T, false>{ r.x, r.n });
}

/* order [rows] = the rows with 0 <= target < targets, by target and then by row; -1 after the last of them. For
** targets that are few. count: `targets` integers of scratch. (segment.cu) */
dm_status order_by(dm_device *d, int32_t *order, int32_t *count, const int32_t *target, int rows, int targets);

/* -- groups whose rows are known ----------------------------------------------------------------------------------- */

/* A block sums one run of PIECE members of one group over SUMMED columns, a thread one column: part [K, runs, groups,
** n]. F: K values, a row for (group, member), and `void operator()(float (&sum)[K], int row, int group,
** int column)`. */
template <class F> __global__ void member_kernel(float *part, int groups, int members, int n, F f) {
  const int j = blockIdx.y * SUMMED + threadIdx.x, group = blockIdx.x % groups, run = blockIdx.x / groups;
  if (j >= n) return;
  float sum[F::K] = {};
  for (int k = run * PIECE; k < (run + 1) * PIECE && k < members; k++) f(sum, f.row(group, k), group, j);
  const size_t each = (size_t)gridDim.x * n;
  for (int v = 0; v < F::K; v++) part[v * each + (size_t)blockIdx.x * n + j] = sum[v];
}

static inline int member_runs(int members) { return (int)blocks(members, PIECE); }

/* Floats of scratch for K sums by member_sums. */
static inline size_t member_part(int k, int groups, int members, int n) {
  return (size_t)k * member_runs(members) * groups * n;
}

/* part = the sums of each run; column_finish adds the runs in order: `runs` of them [groups, n], or runs * groups of
** [n]. */
template <class F>
static inline dm_status member_sums(dm_device *d, float *part, int groups, int members, int n, F f) {
  return launch(d, member_kernel<F>, dim3(member_runs(members) * groups, blocks(n, SUMMED)), SUMMED, 0, part, groups,
                members, n, f);
}

#endif
