/* planted.cc -- a program that runs small kernels with planted faults under the emulator:
** tests/unit/cuda_emulation_spec.lua demands that each sound one passes and each fault is found.
**   planted CASE   prints "right", "wrong value" or the sentence. */
#include "../../kernels/cuda/common.cuh"

#include "walls.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static char sentence[512];

static dm_status say(dm_status s, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(sentence, sizeof sentence, format, args);
  va_end(args);
  return s;
}

static dm_status heap(dm_device *, size_t bytes, void **p) {
  *p = malloc(bytes);
  return DM_OK;
}

static const dm_host host = { DM_ABI, say, heap };
enum Fault { SOUND, NO_BARRIER, LAST_ROW, LAST_COLUMN, UNWRITTEN, READS_PAST, WRITES_INPUT, SHARED_PAST, LANES_MISSING,
             BARRIER_MISSED, NO_WARP_BARRIER, NO_WAIT, EARLY_COPY, UNALIGNED_COPY };
static Fault fault;

/* y = x - mean(x) of each row of C, by a block of 64 threads: the faults are what people do. */
static __global__ void centre_kernel(float *y, const float *x, int rows, int cols, Fault f) {
  DM_SHARED(float, part, 2);
  DM_DYNAMIC_SHARED(float, row);
  int r = blockIdx.x, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  if (f == LAST_ROW ? r > rows : r >= rows) return;
  float sum = 0;
  int stop = f == READS_PAST ? cols + 1 : cols;
  for (int j = threadIdx.x; j < stop; j += 64) {
    float v = x[(size_t)r * cols + j];
    if (j < cols) row[j] = v;
    if (j < cols || f == READS_PAST) sum += v;
  }
  if (f == SHARED_PAST && threadIdx.x == 0) row[cols] = 1;
  if (f == WRITES_INPUT && threadIdx.x == 0) const_cast<float *>(x)[0] = 1;
  if (f == LANES_MISSING && threadIdx.x == 3) return;
  sum = warp_sum(sum);
  if (lane == 0) part[warp] = sum;
  if (f == BARRIER_MISSED && threadIdx.x == 40) __syncwarp();
  else if (f != NO_BARRIER) __syncthreads();
  float mean = (part[0] + part[1]) / cols;
  int end = f == UNWRITTEN ? cols - 1 : f == LAST_COLUMN ? cols + 1 : cols;
  for (int j = threadIdx.x; j < end; j += 64) y[(size_t)r * cols + j] = row[j < cols ? j : 0] - mean;
}

/* y[i] = x[31 - i], through shared memory, within one warp. */
static __global__ void reverse_kernel(float *y, const float *x, Fault f) {
  DM_SHARED(float, v, WARP);
  v[threadIdx.x] = x[threadIdx.x];
  if (f != NO_WARP_BARRIER) __syncwarp();
  y[threadIdx.x] = v[31 - threadIdx.x];
}

/* y [16, 8] = a [16, 16] b [16, 8] on the tensor cores, the fragments loaded with ldmatrix. */
static __global__ void product_kernel(float *y, const bf16 *a, const bf16 *b) {
  DM_SHARED(uint4, memory, 48);
  bf16 *sa = (bf16 *)memory, *sb = sa + 256;
  int lane = threadIdx.x, group = lane / 4, t = lane % 4;
  for (int i = lane; i < 256; i += WARP) sa[i] = a[i];
  for (int i = lane; i < 128; i += WARP) sb[i] = b[i];
  __syncwarp();
  uint32_t fa[4], fb[4], two[2];
  load_matrix_x4<false>(fa, sa + (lane % 16) * 16 + lane / 16 * 8);
  load_matrix_x4<true>(fb, sb + (lane % 16) * 8);
  two[0] = fb[0];
  two[1] = fb[1];
  float c[4] = { 0, 0, 0, 0 };
  mma_16x8x16(c, fa, two);
  for (int i = 0; i < 4; i++) y[(group + i / 2 * 8) * 8 + 2 * t + i % 2] = c[i];
}

/* y = x with each run of 256 elements reversed, and zeros for what x [n] lacks to whole runs: a run is on its way to
** one half of shared memory while that before is read from the other. By a block of 64. */
static __global__ void runs_kernel(float *y, const float *x, int n, Fault f) {
  DM_SHARED(float4, memory, 2 * 64);
  float *v = (float *)memory;
  const int own = 4 * threadIdx.x;
  const bool barrier = f != NO_BARRIER, early = f == EARLY_COPY;
  auto begin = [&](int at) {
    if (at < n) copy_ahead<16>(v + at % 512 + own, x + at + own + (f == UNALIGNED_COPY), at + own < n);
  };
  begin(0);
  for (int at = 0; at < n; at += 256) {
    if (f != NO_WAIT) wait_copies();
    if (early) begin(at + 256);
    if (barrier) __syncthreads();
    if (!early) begin(at + 256);
    for (int i = threadIdx.x; i < 256; i += 64) y[at + i] = v[at % 512 + 255 - i];
  }
}

/* -- running ------------------------------------------------------------------------------------------------------- */

static dm_device device;
static cuda_device card;

dm_status cuda_check(const dm_device *, cudaError_t e) {
  if (e == cudaSuccess) return DM_OK;
  cudaGetLastError();
  return fail(DM_EINTERNAL, "%s", cudaGetErrorString(e));
}

static dm_tensor tensor(int dtype, int rows, int cols) {
  dm_tensor t = {};
  t.dtype = (uint8_t)dtype;
  t.ndim = 2;
  t.shape[0] = rows;
  t.shape[1] = cols;
  cudaMalloc(&t.data, dm_numel(&t) * (dtype == DM_BF16 ? 2 : 4));
  return t;
}

static dm_status centre(dm_device *d, dm_tensor *y, const dm_tensor *x) {
  int rows = x->shape[0], cols = x->shape[1];
  return launch(d, centre_kernel, rows + 1, 64, (size_t)cols * sizeof(float), data<float>(y), data<float>(x), rows,
                cols, fault);
}

static dm_status reverse(dm_device *d, dm_tensor *y, const dm_tensor *x) {
  return launch(d, reverse_kernel, 1, WARP, 0, data<float>(y), data<float>(x), fault);
}

static dm_status product(dm_device *d, dm_tensor *y, const dm_tensor *a, const dm_tensor *b) {
  return launch(d, product_kernel, 1, WARP, 0, data<float>(y), data<bf16>(a), data<bf16>(b));
}

static dm_status runs(dm_device *d, dm_tensor *y, const dm_tensor *x) {
  return launch(d, runs_kernel, 1, 64, 0, data<float>(y), data<float>(x), x->shape[1], fault);
}

static bool near(float got, float want) { return fabsf(got - want) < 1e-5f; }

static dm_status finish(dm_status s) {
  return s ? s : cuda_check(&device, cudaPeekAtLastError());
}

static bool run_centre() {
  enum { R = 5, C = 67 };
  dm_tensor x = tensor(DM_F32, R, C), y = tensor(DM_F32, R, C);
  float *v = (float *)x.data, *o = (float *)y.data;
  for (int i = 0; i < R * C; i++) v[i] = (float)(i * 37 % 101) / 101;
  if (finish(walled_op(centre, &device, &y, (const dm_tensor *)&x))) return false;
  for (int r = 0; r < R; r++) {
    float sum = 0;
    for (int j = 0; j < C; j++) sum += v[r * C + j];
    for (int j = 0; j < C; j++) {
      if (!near(o[r * C + j], v[r * C + j] - sum / C)) say(DM_EINTERNAL, "wrong value");
    }
  }
  return true;
}

static bool run_reverse() {
  dm_tensor x = tensor(DM_F32, 1, 32), y = tensor(DM_F32, 1, 32);
  for (int i = 0; i < 32; i++) ((float *)x.data)[i] = (float)i;
  if (finish(walled_op(reverse, &device, &y, (const dm_tensor *)&x))) return false;
  for (int i = 0; i < 32; i++) {
    if (((float *)y.data)[i] != (float)(31 - i)) say(DM_EINTERNAL, "wrong value");
  }
  return true;
}

static bool run_runs() {
  enum { N = 4 * 256 - 8, M = 4 * 256 };
  dm_tensor x = tensor(DM_F32, 1, N), y = tensor(DM_F32, 1, M);
  for (int i = 0; i < N; i++) ((float *)x.data)[i] = (float)(i + 1);
  if (finish(walled_op(runs, &device, &y, (const dm_tensor *)&x))) return false;
  for (int i = 0; i < M; i++) {
    int from = i / 256 * 256 + 255 - i % 256;
    if (((float *)y.data)[i] != (from < N ? (float)(from + 1) : 0.0f)) say(DM_EINTERNAL, "wrong value");
  }
  return true;
}

static bool run_product() {
  dm_tensor a = tensor(DM_BF16, 16, 16), b = tensor(DM_BF16, 16, 8), y = tensor(DM_F32, 16, 8);
  bf16 *va = (bf16 *)a.data, *vb = (bf16 *)b.data;
  for (int i = 0; i < 256; i++) va[i] = __float2bfloat16_rn((float)(i * 29 % 17) - 8);
  for (int i = 0; i < 128; i++) vb[i] = __float2bfloat16_rn((float)(i * 31 % 13) - 6);
  if (finish(walled_op(product, &device, &y, (const dm_tensor *)&a, (const dm_tensor *)&b))) return false;
  for (int i = 0; i < 16; i++) {
    for (int j = 0; j < 8; j++) {
      float sum = 0;
      for (int k = 0; k < 16; k++) sum += __bfloat162float(va[i * 16 + k]) * __bfloat162float(vb[k * 8 + j]);
      if (((float *)y.data)[i * 8 + j] != sum) say(DM_EINTERNAL, "wrong value");
    }
  }
  return true;
}

static const struct { const char *name; Fault fault; bool (*run)(); } cases[] = {
  { "sound", SOUND, run_centre }, { "no-barrier", NO_BARRIER, run_centre }, { "last-row", LAST_ROW, run_centre },
  { "last-column", LAST_COLUMN, run_centre }, { "unwritten", UNWRITTEN, run_centre },
  { "reads-past", READS_PAST, run_centre }, { "writes-input", WRITES_INPUT, run_centre },
  { "shared-past", SHARED_PAST, run_centre }, { "lanes-missing", LANES_MISSING, run_centre },
  { "barrier-missed", BARRIER_MISSED, run_centre }, { "sound-warp", SOUND, run_reverse },
  { "no-warp-barrier", NO_WARP_BARRIER, run_reverse }, { "tensor-cores", SOUND, run_product },
  { "sound-copies", SOUND, run_runs }, { "no-wait", NO_WAIT, run_runs }, { "no-wait-barrier", NO_BARRIER, run_runs },
  { "early-copy", EARLY_COPY, run_runs }, { "unaligned-copy", UNALIGNED_COPY, run_runs },
};

int main(int argc, char **argv) {
  cuda_host = &host;
  card.sms = 3;
  device.priv = &card;
  cudaStreamCreateWithFlags(&card.stream, cudaStreamNonBlocking);
  snprintf(sentence, sizeof sentence, "right");
  for (const auto &c : cases) {
    if (argc != 2 || strcmp(argv[1], c.name)) continue;
    fault = c.fault;
    c.run();
    puts(sentence);
    return 0;
  }
  fprintf(stderr, "planted: expected the name of a case\n");
  return 2;
}

const dm_host *cuda_host;
