/* tiles.cuh -- what attention is made of: tiles in shared memory, and the products that a warp takes of them.
**
** Operands lie in shared memory as [row][head size + PAD]. Scores, their gradients and sums lie in registers as tensor
** cores leave them, in pieces of 16 x 8: lane l holds columns 2 (l % 4) and the next of rows l / 4 and l / 4 + 8.
** Scores and their gradients are rounded to the storage type to become operands. */
#ifndef DM_CUDA_TILES_CUH
#define DM_CUDA_TILES_CUH

#include "common.cuh"

enum {
  TILE = 32,                             /* keys or queries of a step: 16 registers of scores a thread */
  PIECES = TILE / 8,
  PAD = 8,                               /* elements between rows: neighbouring rows begin in other banks */
  LINE = TILE + PAD                      /* row of a warp's scores in shared memory: f32 */
};

/* Warps of a block: f32 takes twice the shared memory. */
template <class T> constexpr int WARPS = sizeof(T) == 2 ? 4 : 2;
template <class T> constexpr int ROWS = 16 * WARPS<T>;
template <class T> constexpr int THREADS = WARP * WARPS<T>;

/* Elements of shared memory: of a warp's scores, and of a step's two tiles. There are two of the latter: while one is
** read, the next is on its way to the other. */
template <class T> constexpr int ROOM = sizeof(T) == 2 ? 0 : 16 * LINE;
template <int H> constexpr int STAGE = 2 * TILE * (H + PAD);

/* One call: sizes, and where probabilities are dropped. */
typedef struct attention {
  int S, D, heads;
  float f, f2;                           /* 1 / sqrt(D), and that times log2(e) */
  dropout drop;
  bool packed;                           /* rows may be moved 128 bits at a time */
} attention;

/* -- products by a warp; rows in shared memory have LD elements ---------------------------------------------------- */

template <int N> __device__ static inline void clear(float (&c)[N][4]) {
#pragma unroll
  for (int n = 0; n < N; n++) c[n][0] = c[n][1] = c[n][2] = c[n][3] = 0;
}

/* Row and column of element i of piece n that this lane holds. */
__device__ static inline int row_of(int i) { return threadIdx.x % WARP / 4 + i / 2 * 8; }
__device__ static inline int column_of(int n, int i) { return n * 8 + threadIdx.x % 4 * 2 + i % 2; }

/* c [16, 8 N] += a fragment of a times b [16][LD] if `down`, else its transpose [8 N][LD]; b is where this lane points
** load_matrix_x4. */
template <bool down, int LD, int N>
__device__ static inline void fragment_product(float (&c)[N][4], const uint32_t (&a)[4], const bf16 *b) {
#pragma unroll
  for (int n = 0; n < N; n += 2) {
    uint32_t fb[4];
    load_matrix_x4<down>(fb, b + n * 8 * (down ? 1 : LD));
    const uint32_t left[2] = { fb[0], fb[1] }, right[2] = { fb[2], fb[3] };
    mma_16x8x16(c[n], a, left);
    mma_16x8x16(c[n + 1], a, right);
  }
}

/* c [16, 8 N] += a [16][LD] b [8 N][LD] transposed, over K columns of both. */
template <int K, int LD, int N>
__device__ static inline void product_across(float (&c)[N][4], const bf16 *a, const bf16 *b) {
  const int lane = threadIdx.x % WARP;
  a += lane % 16 * LD + lane / 16 * 8;
  b += (lane / 16 * 8 + lane % 8) * LD + lane / 8 % 2 * 8;
#pragma unroll
  for (int k = 0; k < K; k += 16) {
    uint32_t fa[4];
    load_matrix_x4<false>(fa, a + k);
    fragment_product<false, LD>(c, fa, b + k);
  }
}

/* c [16, 8 N] += a b [TILE][LD], a being pieces. In bf16 two neighbours, rounded, are a fragment as they lie. */
template <int LD, int N>
__device__ static inline void product_down(float (&c)[N][4], const float (&a)[PIECES][4], const bf16 *b, bf16 *) {
  b += threadIdx.x % 16 * LD + threadIdx.x % WARP / 16 * 8;
#pragma unroll
  for (int n = 0; n < PIECES; n += 2) {
    const float (&l)[4] = a[n], (&r)[4] = a[n + 1];
    const uint32_t fa[4] = { pack_pair(l[0], l[1]), pack_pair(l[2], l[3]), pack_pair(r[0], r[1]),
                             pack_pair(r[2], r[3]) };
    fragment_product<true, LD>(c, fa, b + n * 8 * LD);
  }
}

/* c [16, 8 N] += a [16][lda] times b [K][LD] if `down`, else its transpose [8 N][LD]. */
template <bool down, int K, int LD, int N>
__device__ static inline void plain_product(float (&c)[N][4], const float *a, int lda, const float *b) {
  a += threadIdx.x % WARP / 4 * lda;
#pragma unroll 2
  for (int k = 0; k < K; k++) {
    const float upper = a[k], lower = a[8 * lda + k];
#pragma unroll
    for (int n = 0; n < N; n++) {
      const int j = column_of(n, 0);
      const float left = down ? b[k * LD + j] : b[j * LD + k];
      const float right = down ? b[k * LD + j + 1] : b[(j + 1) * LD + k];
      c[n][0] += upper * left;
      c[n][1] += upper * right;
      c[n][2] += lower * left;
      c[n][3] += lower * right;
    }
  }
}

template <int K, int LD, int N>
__device__ static inline void product_across(float (&c)[N][4], const float *a, const float *b) {
  plain_product<false, K, LD>(c, a, LD, b);
}

/* In f32 pieces pass through the warp's `room` [16][LINE]. */
template <int LD, int N>
__device__ static inline void product_down(float (&c)[N][4], const float (&a)[PIECES][4], const float *b, float *room) {
  __syncwarp();
#pragma unroll
  for (int n = 0; n < PIECES; n++) {
#pragma unroll
    for (int i = 0; i < 4; i++) room[row_of(i) * LINE + column_of(n, i)] = a[n][i];
  }
  __syncwarp();
  plain_product<true, TILE, LD>(c, room, LINE, b);
}

/* -- tiles --------------------------------------------------------------------------------------------------------- */

/* Begins to load to [rows][H + PAD] = rows `first` on of a head's slice x (row stride `stride`), zeros beyond S rows
** and D columns; by the block. The tile is there for a thread after its own wait_copies and a barrier. */
template <class T, int H, int rows>
__device__ static inline void load_tile(T *to, const T *x, int stride, int first, const attention &a) {
  if (a.packed) {
    constexpr int N = PACK<T>, ACROSS = H / N, DOWN = THREADS<T> / ACROSS;
    static_assert(rows % DOWN == 0, "every thread moves as many packs");
    const int r = threadIdx.x / ACROSS, j = threadIdx.x % ACROSS * N, stop = j < a.D ? a.S : 0;
    const T *from = x + (size_t)(unsigned)(first + r) * (unsigned)stride + j;
#pragma unroll
    for (int i = 0; i < rows; i += DOWN) {
      copy_ahead<16>(to + (r + i) * (H + PAD) + j, from + (size_t)(unsigned)stride * i, first + r + i < stop);
    }
  } else {
#pragma unroll 4
    for (int i = 0; i < rows * H; i += THREADS<T>) {
      const int r = (i + threadIdx.x) / H, j = (i + threadIdx.x) % H;
      const bool there = first + r < a.S && j < a.D;
      to[r * (H + PAD) + j] = there ? x[(long long)(first + r) * stride + j] : from_float<T>(0.0f);
    }
  }
}

/* Both tiles of a step, k and v or q and dy. */
template <class T, int H>
__device__ static inline void load_pair(T *to, const T *x, int stride, const T *z, int stride_z, int first,
                                        const attention &a) {
  load_tile<T, H, TILE>(to, x, stride, first, a);
  load_tile<T, H, TILE>(to + TILE * (H + PAD), z, stride_z, first, a);
}

/* to[0..1] (+)= two floats, with one access. */
template <class T> __device__ static inline void put_two(T *to, float left, float right, bool add) {
  struct alignas(2 * sizeof(T)) two { T left, right; } *at = reinterpret_cast<two *>(to), v;
  if (add) {
    v = *at;
    left += to_float(v.left);
    right += to_float(v.right);
  }
  *at = { from_float<T>(left), from_float<T>(right) };
}

/* Rows `first` on of a head's slice y (+)= the warp's pieces, times f for each half of its rows. */
template <class T, int N>
__device__ static inline void write_pieces(T *y, int stride, int first, const float (&c)[N][4], const float (&f)[2],
                                           const attention &a, bool add) {
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const int r = first + row_of(2 * h);
    if (r >= a.S) continue;
    T *to = y + (long long)r * stride;
#pragma unroll
    for (int n = 0; n < N; n++) {
      const int j = column_of(n, 0);
      const float left = c[n][2 * h] * f[h], right = c[n][2 * h + 1] * f[h];
      if (a.packed) {
        if (j < a.D) put_two(to + j, left, right, add);
      } else {
        if (j < a.D) to[j] = from_float<T>(add ? to_float(to[j]) + left : left);
        if (j + 1 < a.D) to[j + 1] = from_float<T>(add ? to_float(to[j + 1]) + right : right);
      }
    }
  }
}

#endif
