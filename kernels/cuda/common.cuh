/* common.cuh -- what the files of the CUDA backend share: the device, launching, packed loads and stores, reductions,
** dropout, tensor-core fragments, column sums, and the op functions gathered in backend.cu.
**
** The same files compile with nvcc and, for the tests, with the host compiler against tests/cuda_emulation. So: no
** triple chevrons but in launch(), shared memory only through DM_SHARED and DM_DYNAMIC_SHARED, copies ahead and tensor
** cores only through the functions below, and arithmetic in float: storage (float or __nv_bfloat16) is converted at the
** edges. No float atomics: a sum over blocks is written as partial sums and added in a fixed order. */
#ifndef DM_CUDA_COMMON_CUH
#define DM_CUDA_COMMON_CUH

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

extern "C" {
#include "../../src/backend.h"
}
#include "../../src/philox.h"

typedef __nv_bfloat16 bf16;

/* -- the device -------------------------------------------------------------------------------------------- */

/* Where work for a later step is put together: see dm_device_ahead. */
typedef struct cuda_place {
  char       *host;                /* pinned */
  size_t      size, used;
  cudaEvent_t there, past;         /* its work is done; what used it is done */
} cuda_place;

typedef struct cuda_device {
  cudaStream_t     stream;         /* where work goes: steps, or between ahead's BEGIN and END copies */
  cudaStream_t     steps, copies;
  cuda_place       places[2], *ahead;   /* ahead: the place whose turn it is, NULL outside */
  dm_knobs        *knobs;          /* device memory; kernels read seed, step, update and lr from here */
  cublasLtHandle_t lt;
  void            *workspace;      /* of cuBLASLt; fixed, so that a captured step stays valid */
  size_t           workspace_size;
  int              sms;            /* streaming multiprocessors */
  int              capturing;      /* between capture begin and end */
  cudaEvent_t      marks[DM_MARKS];  /* moments, made when first noted */
  int              eager_sync;     /* DATAMUX_SYNC: wait after each op, so that a failure names it */
  const char      *op;             /* the op that runs: failures name it */
} cuda_device;

extern const dm_host *cuda_host;   /* given to dm_backend_entry (backend.cu) */

static inline cuda_device *cuda_of(const dm_device *d) { return (cuda_device *)d->priv; }

/* dm_fail of the host. */
template <class... A> static inline dm_status fail(dm_status s, const char *format, A... args) {
  return cuda_host->fail(s, format, args...);
}

/* Bytes up to the next place where a block of memory may begin. */
static inline size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }

/* DM_OK, or a status and a sentence that names the op and CUDA's reason. */
dm_status cuda_check(const dm_device *d, cudaError_t e);
dm_status cuda_check_lt(const dm_device *d, cublasStatus_t s);

/* The device's scratch block, 256-byte aligned, not cleared. An op asks once. */
dm_status scratch(dm_device *d, size_t bytes, void **p);

/* The verb: t = v everywhere (point.cu). */
dm_status cuda_fill(dm_device *d, dm_tensor *t, double v);

/* The two types of storage: calls f with a value of the type of t, for `auto zero` and `decltype(zero)`. */
template <class F> static inline dm_status by_type(const dm_tensor *t, F f) {
  return t->dtype == DM_BF16 ? f(bf16{}) : f(float{});
}

/* Data of an optional tensor: NULL where t is. */
template <class T> static inline T *data(dm_tensor *t) { return t ? (T *)t->data : NULL; }
template <class T> static inline const T *data(const dm_tensor *t) { return t ? (const T *)t->data : NULL; }

/* ceil(n / each), as a grid or block count. */
static inline unsigned blocks(size_t n, size_t each) { return (unsigned)((n + each - 1) / each); }

/* Blocks for a loop that strides over the grid: enough to fill the card, no more than there is work for. */
static inline unsigned striding(const dm_device *d, size_t n, size_t each) {
  unsigned want = blocks(n, each), most = (unsigned)cuda_of(d)->sms * 8;
  return want < most ? want : most;
}

/* -- launching ------------------------------------------------------------------------------------------------ */

/* Shared memory of a block. DM_SHARED: an array whose size is known; DM_DYNAMIC_SHARED: what launch() was given. */
#ifdef __CUDACC__
#define DM_SHARED(type, name, count) __shared__ type name[count]
#define DM_DYNAMIC_SHARED(type, name) \
  extern __shared__ __align__(16) unsigned char dm_dynamic_shared[]; \
  type *name = reinterpret_cast<type *>(dm_dynamic_shared)
#else
#define DM_SHARED(type, name, count) \
  static char name##_key; \
  type *name = (type *)emulated_shared(&name##_key, sizeof(type) * (count))
#define DM_DYNAMIC_SHARED(type, name) type *name = (type *)emulated_dynamic_shared()
#endif

/* Runs kernel(args...) on the device's stream; an empty grid is no work. `shared`: bytes of dynamic shared memory. */
template <class... P, class... A>
static inline dm_status launch(dm_device *d, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, A... args) {
  if (!grid.x || !grid.y || !grid.z) return DM_OK;
  if (shared > 48 << 10) {
    cudaError_t e = cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         (int)shared);
    if (e == cudaErrorInvalidValue) {
      cudaGetLastError();
      return fail(DM_EARG, "%s: a block of it takes %.0f KiB of shared memory, more than %s has", cuda_of(d)->op,
                  (double)shared / 1024, d->name);
    }
    if (e != cudaSuccess) return cuda_check(d, e);
  }
#ifdef __CUDACC__
  kernel<<<grid, block, shared, cuda_of(d)->stream>>>(static_cast<P>(args)...);
#else
  emulated_launch(grid, block, shared, cuda_of(d)->stream, [=] { kernel(static_cast<P>(args)...); });
#endif
  return cuda_check(d, cudaPeekAtLastError());
}

/* -- loads and stores ---------------------------------------------------------------------------------------- */

__device__ static inline float to_float(float v) { return v; }
__device__ static inline float to_float(bf16 v) { return __bfloat162float(v); }

template <class T> __device__ static inline T from_float(float v);
template <> __device__ inline float from_float<float>(float v) { return v; }
template <> __device__ inline bf16 from_float<bf16>(float v) { return __float2bfloat16_rn(v); }

/* 128 bits of T, moved in one instruction; the address must be a multiple of 16 bytes. */
template <class T> struct alignas(16) Packed {
  static constexpr int N = 16 / (int)sizeof(T);
  T v[N];
};

template <class T> __device__ static inline Packed<T> load_packed(const T *p) {
  Packed<T> out;
  *reinterpret_cast<uint4 *>(&out) = *reinterpret_cast<const uint4 *>(p);
  return out;
}

template <class T> __device__ static inline void store_packed(T *p, const Packed<T> &v) {
  *reinterpret_cast<uint4 *>(p) = *reinterpret_cast<const uint4 *>(&v);
}

enum { PACK8 = 8 };                      /* elements a thread moves at a time where floats and bf16 are moved alike */

/* Elements a thread moves at a time when T is the activations' type: 4 floats, 8 bf16. */
template <class T> constexpr int PACK = Packed<T>::N;

/* v[0..N) = p[0..left), 0 beyond. packed: the caller knows p to be 16-byte aligned. */
template <int N, class T>
__device__ static inline void fetch(float (&v)[N], const T *p, long long left, bool packed) {
  constexpr int W = Packed<T>::N;
  static_assert(N % W == 0 || W % N == 0, "a whole number of packs");
  if (N >= W && packed && left >= N) {
    for (int k = 0; k < N / W; k++) {
      Packed<T> q = load_packed(p + k * W);
      for (int i = 0; i < W; i++) v[k * W + i] = to_float(q.v[i]);
    }
  } else {
    for (int i = 0; i < N; i++) v[i] = i < left ? to_float(p[i]) : 0.0f;
  }
}

/* p[0..left) = v[0..N), or += with `add`. */
template <int N, class T>
__device__ static inline void put(T *p, const float (&v)[N], long long left, bool packed, bool add = false) {
  constexpr int W = Packed<T>::N;
  if (N >= W && packed && left >= N) {
    for (int k = 0; k < N / W; k++) {
      Packed<T> q;
      if (add) q = load_packed(p + k * W);
      for (int i = 0; i < W; i++) q.v[i] = from_float<T>(add ? to_float(q.v[i]) + v[k * W + i] : v[k * W + i]);
      store_packed(p + k * W, q);
    }
  } else {
    for (int i = 0; i < N && i < left; i++) p[i] = from_float<T>(add ? to_float(p[i]) + v[i] : v[i]);
  }
}

/* Begins to copy `bytes` (4, 8 or 16, both addresses multiples of it) from global to shared memory, or zeros where
** nothing is there; the thread's own wait_copies ends all it has begun. Until then `to` holds anything. sm_80 on. */
template <int bytes> __device__ static inline void copy_ahead(void *to, const void *from, bool there) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16, "what the instruction takes");
#ifdef __CUDACC__
  uint32_t at = (uint32_t)__cvta_generic_to_shared(to);
  if (bytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(at), "l"(from), "r"(there ? 16 : 0) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" :: "r"(at), "l"(from), "n"(bytes),
                 "r"(there ? bytes : 0) : "memory");
  }
#else
  emulated_copy_ahead(to, from, bytes, there);
#endif
}

__device__ static inline void wait_copies() {
#ifdef __CUDACC__
  asm volatile("cp.async.wait_all;" ::: "memory");
#else
  emulated_wait_copies();
#endif
}

/* Host: whether rows of `cols` elements that start at these addresses may be moved in packs of `pack`. */
static inline bool packable(size_t) { return true; }
template <class T, class... A> static inline bool packable(size_t cols, const T *p, A... rest) {
  return (uintptr_t)p % 16 == 0 && cols * sizeof(T) % 16 == 0 && packable(cols, rest...);
}

/* -- reductions: fixed order, every thread gets the result -------------------------------------------------- */

enum { WARP = 32, ALL_LANES = (int)0xffffffffu };

__device__ static inline float warp_sum(float v) {
  for (int k = WARP / 2; k; k /= 2) v += __shfl_xor_sync(0xffffffffu, v, k);
  return v;
}

__device__ static inline float warp_max(float v) {
  for (int k = WARP / 2; k; k /= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, k));
  return v;
}

/* The blocks' versions take whole warps, and may be called again right away. */
__device__ static inline float block_sum(float v) {
  DM_SHARED(float, part, WARP);
  int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
  v = warp_sum(v);
  if (lane == 0) part[warp] = v;
  __syncthreads();
  v = warp_sum(lane < warps ? part[lane] : 0.0f);
  __syncthreads();
  return v;
}

__device__ static inline float block_max(float v) {
  DM_SHARED(float, part, WARP);
  int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
  v = warp_max(v);
  if (lane == 0) part[warp] = v;
  __syncthreads();
  v = warp_max(part[lane < warps ? lane : 0]);
  __syncthreads();
  return v;
}

/* The sum in double by a block of `threads`, a power of two: thread 0 gets it. For losses and norms. */
template <int threads> __device__ static inline double block_sum_double(double v) {
  DM_SHARED(double, part, threads);
  part[threadIdx.x] = v;
  __syncthreads();
  for (int k = threads / 2; k; k /= 2) {
    if ((int)threadIdx.x < k) part[threadIdx.x] += part[threadIdx.x + k];
    __syncthreads();
  }
  return part[0];
}

/* -- functions ------------------------------------------------------------------------------------------------- */

/* The activations of datamux.h: GELU is the exact form. */
__device__ static inline float act_of(float x, int act) {
  return act == DM_GELU ? 0.5f * x * (1.0f + erff(x * 0.70710678f)) : act == DM_RELU ? (x < 0 ? 0.0f : x)
         : act == DM_TANH ? tanhf(x) : x;
}

__device__ static inline float act_grad(float x, int act) {
  if (act == DM_TANH) {
    float t = tanhf(x);
    return 1.0f - t * t;
  }
  if (act == DM_GELU) return 0.5f * (1.0f + erff(x * 0.70710678f)) + x * 0.39894228f * expf(-0.5f * x * x);
  return act == DM_RELU ? (x <= 0 ? 0.0f : 1.0f) : 1.0f;
}

/* 2^x in one instruction: off by at most 2 units in the last place, 0 for what would be subnormal. */
__device__ static inline float power_of_two(float x) {
#ifdef __CUDACC__
  float v;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(v) : "f"(x));
  return v;
#else
  return exp2f(x);
#endif
}

/* -- dropout ---------------------------------------------------------------------------------------------------- */

/* Of elements of stream `site`, an argument of kernels. An element is dropped where its uniform number,
** (bits >> 8) 2^-24 (philox.h), is less than p: that is, where its bits are less than `below`. */
struct dropout {
  uint32_t below;                        /* ceil(2^24 p) 2^8; 0: nothing is dropped */
  float scale;                           /* 1 / (1 - p) */
  uint32_t site;
  const dm_knobs *knobs;
};

static inline dropout dropout_of(const dm_device *d, float p, uint32_t site) {
  return { (uint32_t)ceil(16777216.0 * (double)p) << 8, 1.0f / (1.0f - p), site, cuda_of(d)->knobs };
}

/* A dropout at the present step; a thread reads it once. */
struct keeper {
  uint32_t below, site, step, seed[2];
  float scale;
};

__device__ static inline keeper keeper_of(const dropout &d) {
  return { d.below, d.site, d.knobs->step, { d.knobs->seed[0], d.knobs->seed[1] }, d.scale };
}

/* Bit i: element 4 block + i is kept. The CPU's bits. */
__device__ static inline uint32_t kept_four(const keeper &k, uint64_t block) {
  const uint32_t counter[4] = { (uint32_t)block, (uint32_t)(block >> 32), k.site, k.step };
  uint32_t bits[4];
  dm_philox4x32(bits, counter, k.seed);
  return (bits[0] >= k.below ? 1u : 0u) | (bits[1] >= k.below ? 2u : 0u) | (bits[2] >= k.below ? 4u : 0u)
         | (bits[3] >= k.below ? 8u : 0u);
}

/* Bit i < N: element e0 + i is kept; what is above them means nothing. */
template <int N> __device__ static inline uint32_t kept_bits(const keeper &k, size_t e0) {
  static_assert(N <= 28, "bits of a word");
  constexpr int FOURS = (N + 3) / 4;
  const int slot = (int)(e0 & 3);
  uint32_t kept = 0;
#pragma unroll
  for (int i = 0; i < FOURS; i++) kept |= kept_four(k, (e0 >> 2) + i) << 4 * i;
  if (slot + N > 4 * FOURS) kept |= kept_four(k, (e0 >> 2) + FOURS) << 4 * FOURS;
  return kept >> slot;
}

/* Factors, 0 or 1 / (1 - p), of elements e0 .. e0 + N. */
template <int N> __device__ static inline void keep_factors(float (&f)[N], const keeper &k, size_t e0) {
  const uint32_t kept = kept_bits<N>(k, e0);
#pragma unroll
  for (int i = 0; i < N; i++) f[i] = kept >> i & 1 ? k.scale : 0.0f;
}

/* -- tensor cores (bf16, sm_80 and later) ------------------------------------------------------------------------
** Fragments of the m16n8k16 product as PTX lays them out over a warp; group = lane / 4, t = lane % 4:
**   a[4]  16 x 16, row-major:  a[0] (group, 2t..)      a[1] (group + 8, 2t..)
**                              a[2] (group, 2t + 8..)  a[3] (group + 8, 2t + 8..)
**   b[2]  16 x 8:              b[0] (2t.., group)  b[1] (2t + 8.., group)
**   c[4]  16 x 8:              c[0], c[1] (group, 2t), (group, 2t + 1)   c[2], c[3] the same in row group + 8
** Each 32-bit register holds two bf16, the lower column (a) or row (b) in the lower half. */

/* Two floats as one register of a fragment. */
__device__ static inline uint32_t pack_pair(float lo, float hi) {
#ifdef __CUDACC__
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(hi), "f"(lo));
  return pair;
#else
  bf16 l = __float2bfloat16_rn(lo), h = __float2bfloat16_rn(hi);
  uint16_t a, b;
  memcpy(&a, &l, 2);
  memcpy(&b, &h, 2);
  return (uint32_t)a | (uint32_t)b << 16;
#endif
}

/* c += a b, by the whole warp. */
__device__ static inline void mma_16x8x16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#ifdef __CUDACC__
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
               "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  emulated_mma_16x8x16(c, a, b);
#endif
}

/* Four 8 x 8 matrices of bf16 from shared memory: lane l gives the address of row l % 8 of matrix l / 8 (16-byte
** aligned) and gets of each matrix elements (l / 4, 2 (l % 4)..); with `transposed` those of its transpose. */
template <bool transposed>
__device__ static inline void load_matrix_x4(uint32_t (&out)[4], const bf16 *row) {
#ifdef __CUDACC__
  uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
  if (transposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3]) : "r"(at) : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3]) : "r"(at) : "memory");
  }
#else
  emulated_load_matrix_x4(out, row, transposed);
#endif
}

/* -- column sums (columns.cu) ---------------------------------------------------------------------------------- */

/* Floats of scratch for column_sum: partial sums of fixed runs of rows. */
size_t column_part(int rows, int cols);

/* out [cols] f32 (+)= sums of the columns of x [rows, cols] f32 or bf16, whose rows are `stride` apart: partial sums,
** then added in row order. */
dm_status column_sum(dm_device *d, float *out, const void *x, int dtype, int rows, int cols, int stride, float *part,
                     bool add);

/* dpre = dy act'(pre), and out [cols] f32 (+)= the sums of its columns as stored, in the same pass; all of one type. */
dm_status column_sum_act(dm_device *d, float *out, dm_tensor *dpre, const dm_tensor *dy, const dm_tensor *pre,
                         int32_t act, float *part, bool add);

/* out [cols] (+)= part[0][j] + part[stride][j] + ..., `count` of them, in that order. */
dm_status column_finish(dm_device *d, float *out, const float *part, int count, size_t stride, int cols, bool add);

/* -- ops ------------------------------------------------------------------------------------------------------- */

/* cuda_linear_fwd, cuda_linear_bwd, ..: one function for each row of the table, of the row's type, defined in the file
** of its family. */
template <class F> struct function_of;
template <class F> struct function_of<F *> { typedef F type; };
#define DM_DECLARE(op) function_of<decltype(dm_backend::op)>::type cuda_##op;
DM_OPS(DM_DECLARE)
#undef DM_DECLARE

#endif
