/* cuda_runtime.h -- CUDA on the host compiler, for the tests: lets g++ compile the files of kernels/cuda as they are.
**
** One fiber per CUDA thread, resumed in a shuffled order (DATAMUX_EMULATION_SEED), so that a missing barrier gives
** wrong values; barriers and warp functions yield; shared memory starts as NaN between guard words; device memory
** starts as NaN between guard zones. An access outside of mapped memory, a broken guard, a barrier that not all
** threads reach and a warp function whose lanes do not all come end the launch with cudaErrorUnknown and a sentence.
** Only what the kernels use is here. The first stream runs at once, except under capture, where it records; the others
** run as late as they may: when an event of theirs is waited for, or the device as a whole. So a missing wait shows as
** memory not yet written. */
#ifndef DM_EMULATED_CUDA_RUNTIME_H
#define DM_EMULATED_CUDA_RUNTIME_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)

/* -- built-in types and variables ------------------------------------------------------------------------------ */

struct uint3 { unsigned x, y, z; };
struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };

static inline float2 make_float2(float x, float y) { return { x, y }; }
static inline float4 make_float4(float x, float y, float z, float w) { return { x, y, z, w }; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return { x, y, z, w }; }
static inline int2 make_int2(int x, int y) { return { x, y }; }

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
enum { warpSize = 32 };

/* -- the engine under it (emulator.cc) --------------------------------------------------------------------------- */

typedef struct emulated_stream *cudaStream_t;

void emulated_launch(dim3 grid, dim3 block, size_t shared, cudaStream_t stream, std::function<void()> body);

/* A piece of host work in stream order: runs now, or is recorded under capture. */
void emulated_task(cudaStream_t stream, std::function<void()> work);

/* The block's shared array under this key: the same for all its threads. */
void *emulated_shared(const void *key, size_t bytes);
void *emulated_dynamic_shared();

/* Scratch of exactly this size, NaN, behind walls until the op ends; NULL where walls cannot be. */
void *emulated_scratch(size_t bytes);

void emulated_sync_block();
void emulated_sync_warp(unsigned mask);

/* Puts `bytes` (at most 64) beside those of the other lanes in `mask`, waits for them all, and returns the 32 slots of
** 64 bytes: valid until this lane's next call. */
const char (*emulated_exchange(unsigned mask, const void *mine, size_t bytes))[64];

void emulated_mma_16x8x16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
void emulated_load_matrix_x4(uint32_t (&out)[4], const void *row, bool transposed);

/* A copy that the running thread waits for later: until then `to` is NaN, as a copy may write early or late. */
void emulated_copy_ahead(void *to, const void *from, int bytes, bool there);
void emulated_wait_copies();

/* -- barriers and warps -------------------------------------------------------------------------------------------- */

static inline void __syncthreads() { emulated_sync_block(); }
static inline void __syncwarp(unsigned mask = 0xffffffffu) { emulated_sync_warp(mask); }
static inline void __threadfence() {}

template <class T> T emulated_lane_value(unsigned mask, T v, int lane) {
  const char (*slots)[64] = emulated_exchange(mask, &v, sizeof v);
  T out = v;
  if (lane >= 0 && lane < 32 && (mask >> lane & 1)) memcpy(&out, slots[lane], sizeof out);
  return out;
}

unsigned emulated_lane();

template <class T> T __shfl_sync(unsigned mask, T v, int lane, int width = 32) {
  int base = (int)emulated_lane() / width * width;
  return emulated_lane_value(mask, v, base + (lane & (width - 1)));
}
template <class T> T __shfl_xor_sync(unsigned mask, T v, int with, int width = 32) {
  int own = (int)emulated_lane(), to = own ^ with;
  return emulated_lane_value(mask, v, to / width == own / width ? to : own);
}
template <class T> T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32) {
  int own = (int)emulated_lane(), to = own + (int)by;
  return emulated_lane_value(mask, v, to / width == own / width ? to : own);
}
template <class T> T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32) {
  int own = (int)emulated_lane(), to = own - (int)by;
  return emulated_lane_value(mask, v, to >= own / width * width ? to : own);
}
static inline unsigned __ballot_sync(unsigned mask, int v) {
  const char (*slots)[64] = emulated_exchange(mask, &v, sizeof v);
  unsigned out = 0;
  for (int i = 0; i < 32; i++) {
    int other = 0;
    if (mask >> i & 1) memcpy(&other, slots[i], sizeof other);
    out |= (unsigned)(other != 0) << i;
  }
  return out;
}
static inline int __any_sync(unsigned mask, int v) { return __ballot_sync(mask, v) != 0; }
static inline int __all_sync(unsigned mask, int v) { return __ballot_sync(mask, v) == mask; }

/* -- functions ----------------------------------------------------------------------------------------------------- */

template <class T> T min(T a, T b) { return b < a ? b : a; }
template <class T> T max(T a, T b) { return a < b ? b : a; }
template <class T> T __ldg(const T *p) { return *p; }
static inline int atomicAdd(int *p, int v) { int old = *p; *p += v; return old; }
static inline unsigned atomicAdd(unsigned *p, unsigned v) { unsigned old = *p; *p += v; return old; }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
#define __expf expf
#define __logf logf
static inline float __fdividef(float a, float b) { return a / b; }
static inline unsigned __float_as_uint(float v) { unsigned u; memcpy(&u, &v, 4); return u; }
static inline float __uint_as_float(unsigned u) { float v; memcpy(&v, &u, 4); return v; }
static inline int __float_as_int(float v) { int u; memcpy(&u, &v, 4); return u; }
static inline float __int_as_float(int u) { float v; memcpy(&v, &u, 4); return v; }

/* -- runtime ------------------------------------------------------------------------------------------------------- */

typedef enum cudaError {
  cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2, cudaErrorInvalidConfiguration = 9,
  cudaErrorNoDevice = 100, cudaErrorInvalidDevice = 101, cudaErrorUnknown = 999,
  cudaErrorStreamCaptureUnsupported = 900
} cudaError_t;

typedef enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 }
  cudaMemcpyKind;
typedef enum { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 } cudaFuncAttribute;
typedef enum { cudaStreamCaptureModeThreadLocal = 1 } cudaStreamCaptureMode;
enum { cudaStreamNonBlocking = 1 };
enum { cudaEventDefault = 0, cudaEventDisableTiming = 2 };

typedef struct emulated_event *cudaEvent_t;
typedef struct emulated_graph *cudaGraph_t;
typedef struct emulated_graph *cudaGraphExec_t;

struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem, sharedMemPerBlockOptin;
  int multiProcessorCount, major, minor;
};

const char *cudaGetErrorString(cudaError_t e);
cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();
cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaSetDevice(int ordinal);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int ordinal);
cudaError_t cudaMalloc(void **p, size_t bytes);
cudaError_t cudaFree(void *p);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total);
cudaError_t cudaMallocHost(void **p, size_t bytes);
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *dst, int v, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t e);
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s);
cudaError_t cudaEventSynchronize(cudaEvent_t e);
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags);
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to);
cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *e, cudaGraph_t g, unsigned long long flags = 0);
cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t s);
cudaError_t cudaGraphDestroy(cudaGraph_t g);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t e);
cudaError_t cudaFuncSetAttribute(const void *f, cudaFuncAttribute a, int v);

#endif
