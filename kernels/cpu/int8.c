/* int8.c -- products of a finished model in 8-bit integers on the CPU: weights per output channel, inputs per row.
**
** Weights keep 7 bits (-63 .. 63) and inputs 8 (1 .. 255, zero is 128): the instructions of processors without VNNI add
** two products in 16 bits, and 2 * 255 * 63 still fits. Sums are exact in 32 bits, everything else is in real. */
#include "cpu.h"
#include "simd.h"

#include <omp.h>

enum {
  WEIGHT = 63, INPUT = 127, ZERO = 128,
  HIGH = 128, WIDE = 384                /* a tile of sums: 192 KiB, in the second-level cache until it is finished */
};

static dm_real largest(const dm_real *v, int n) {
  dm_real top = 0;
#pragma omp simd reduction(max : top)
  for (int j = 0; j < n; j++) {
    dm_real a = v[j] < 0 ? -v[j] : v[j];
    top = a > top ? a : top;
  }
  return top;
}

/* v / unit to the nearest integer; every value lies within the range that unit was made for. */
static int nearest(dm_real v, dm_real inverse) {
  dm_real q = v * inverse;
  return (int)(q + (q < 0 ? (dm_real)-0.5 : (dm_real)0.5));
}

dm_status cpu_int8_pack(dm_device *d, dm_tensor *q, dm_tensor *scale, const dm_tensor *w) {
  (void)d;
  int rows = w->shape[0], n = w->shape[1], pitch = 4 * q->shape[1];
#pragma omp parallel for schedule(static)
  for (int r = 0; r < rows; r++) {
    const dm_real *v = (const dm_real *)w->data + (size_t)r * n;
    int8_t *o = (int8_t *)q->data + (size_t)r * pitch;
    dm_real top = largest(v, n), inverse = top > 0 ? WEIGHT / top : 0;
    ((dm_real *)scale->data)[r] = top / WEIGHT;
    for (int j = 0; j < n; j++) o[j] = (int8_t)nearest(v[j], inverse);
    memset(o + n, 0, (size_t)(pitch - n));
  }
  return DM_OK;
}

static void quantise_rows(uint8_t *q, dm_real *unit, const dm_tensor *x, int pitch) {
  int rows = dm_rows(x), n = dm_cols(x);
#pragma omp parallel for schedule(static)
  for (int r = 0; r < rows; r++) {
    const dm_real *v = (const dm_real *)x->data + (size_t)r * n;
    uint8_t *o = q + (size_t)r * pitch;
    dm_real top = largest(v, n), inverse = top > 0 ? INPUT / top : 0;
    unit[r] = top / INPUT;
#pragma omp simd
    for (int j = 0; j < n; j++) {
      dm_real a = v[j] * inverse;
      o[j] = (uint8_t)(ZERO + (int)(a + (a < 0 ? (dm_real)-0.5 : (dm_real)0.5)));
    }
    memset(o + n, ZERO, (size_t)(pitch - n));
  }
}

dm_status cpu_int8_linear(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *q, const dm_tensor *scale,
                          const dm_tensor *b, int32_t act) {
  int rows = dm_rows(x), n = q->shape[0], pitch = 4 * q->shape[1], failed = DM_OK;
  int down = (rows + HIGH - 1) / HIGH, across = (n + WIDE - 1) / WIDE;
  size_t for_x = ((size_t)rows * pitch + 255) / 256 * 256, for_unit = ((size_t)rows * sizeof(dm_real) + 255) / 256 * 256;
  void *scratch;
  dm_status s = dm_scratch(d, for_x + for_unit + (size_t)omp_get_max_threads() * HIGH * WIDE * sizeof(int32_t), &scratch);
  if (s) return s;
  uint8_t *in = scratch;
  dm_real *unit = (dm_real *)(in + for_x);
  int32_t *sums = (int32_t *)(in + for_x + for_unit);
  const dm_real *channel = scale->data, *bias = b ? b->data : NULL;
  quantise_rows(in, unit, x, pitch);
#pragma omp parallel for schedule(static)
  for (int t = 0; t < down * across; t++) {
    int first = t % down * HIGH, at = t / down * WIDE;
    int h = rows - first < HIGH ? rows - first : HIGH, w = n - at < WIDE ? n - at : WIDE;
    int32_t *sum = sums + (size_t)omp_get_thread_num() * HIGH * WIDE;
    dm_status one = cpu_gemm_int8(h, w, pitch, in + (size_t)first * pitch, ZERO,
                                  (const int8_t *)q->data + (size_t)at * pitch, sum);
    if (one) {
#pragma omp atomic write
      failed = one;
      continue;
    }
    for (int r = 0; r < h; r++) {
      const int32_t *v = sum + (size_t)r * w;
      dm_real *o = (dm_real *)y->data + (size_t)(first + r) * n + at, u = unit[first + r];
#pragma omp simd
      for (int j = 0; j < w; j++) o[j] = (dm_real)v[j] * (u * channel[at + j]) + (bias ? bias[at + j] : 0);
      if (act != DM_NONE) dm_act_span(o, o, (size_t)w, act);
    }
  }
  return failed ? dm_fail(failed, "int8_linear: a product of [%d, %d] x [%d, %d] failed", rows, pitch, pitch, n) : DM_OK;
}
