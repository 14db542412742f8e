/* mux.cu -- mux and meanpool on CUDA. */
#include "product.cuh"
#include "segment.cuh"

enum { THREADS = 256 };

/* The sizes of a mix of N instances, and what each counts. */
struct mix {
  int B, N, S, C;
  const float *weight;                   /* [B, N] or NULL */
  float scale;
  __device__ float share(int instance) const { return weight ? scale * weight[instance] : scale; }
};

static mix mix_of(const dm_tensor *x, const dm_tensor *weight, float scale) {
  return { x->shape[0], x->shape[1], x->shape[2], x->shape[3], data<float>(weight), scale };
}

/* -- Hadamard: phi_i(x) = key_i * x -------------------------------------------------------------------------------- */

/* A thread takes packs of y [B, S, C] and adds the N instances in order. Reads x once, writes y once; keys from
** cache. */
template <class T> __global__ void hadamard_fwd_kernel(T *y, const T *x, const T *key, mix m, bool packed) {
  const size_t packs = (m.C + PACK8 - 1) / PACK8, all = (size_t)m.B * m.S * packs;
  for (size_t e = (size_t)blockIdx.x * THREADS + threadIdx.x; e < all; e += (size_t)gridDim.x * THREADS) {
    const int j = (int)(e % packs) * PACK8, left = m.C - j;
    const size_t at = e / packs, b = at / m.S, s = at % m.S;
    float sum[PACK8] = {}, v[PACK8], k[PACK8];
    for (int i = 0; i < m.N; i++) {
      fetch(v, x + ((b * m.N + i) * m.S + s) * m.C + j, left, packed);
      fetch(k, key + (size_t)i * m.C + j, left, packed);
      const float f = m.share((int)b * m.N + i);
      for (int c = 0; c < PACK8; c++) sum[c] += f * k[c] * v[c];
    }
    put(y + at * m.C + j, sum, left, packed);
  }
}

/* A thread takes packs of dx [B, N, S, C]. Writes dx once; dy and keys from cache. */
template <class T> __global__ void hadamard_bwd_kernel(T *dx, const T *dy, const T *key, mix m, bool packed, bool add) {
  const size_t packs = (m.C + PACK8 - 1) / PACK8, all = (size_t)m.B * m.N * m.S * packs;
  for (size_t e = (size_t)blockIdx.x * THREADS + threadIdx.x; e < all; e += (size_t)gridDim.x * THREADS) {
    const int j = (int)(e % packs) * PACK8, left = m.C - j;
    const size_t row = e / packs, instance = row / m.S, b = instance / m.N, i = instance % m.N;
    float v[PACK8], k[PACK8];
    fetch(v, dy + (b * m.S + row % m.S) * m.C + j, left, packed);
    fetch(k, key + i * m.C + j, left, packed);
    const float f = m.share((int)instance);
    for (int c = 0; c < PACK8; c++) v[c] *= f * k[c];
    put(dx + row * m.C + j, v, left, packed, add);
  }
}

/* What the rows of instance i give its key: f x dy. */
template <class T> struct key_grad {
  enum { K = 1 };
  const T *dy, *x;
  mix m;
  __device__ int row(int i, int k) const { return (k / m.S * m.N + i) * m.S + k % m.S; }
  __device__ void operator()(float (&sum)[K], int row, int, int j) const {
    const int instance = row / m.S;
    const size_t at = (size_t)(instance / m.N) * m.S + row % m.S;
    sum[0] += m.share(instance) * to_float(x[(size_t)row * m.C + j]) * to_float(dy[at * m.C + j]);
  }
};

static dm_status hadamard_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *key, const mix &m) {
  return by_type(x, [&](auto zero) {
    using T = decltype(zero);
    return launch(d, hadamard_fwd_kernel<T>, striding(d, (size_t)m.B * m.S * blocks(m.C, PACK8), THREADS), THREADS, 0,
                  data<T>(y), data<T>(x), data<T>(key), m, packable(m.C, data<T>(y), data<T>(x), data<T>(key)));
  });
}

static dm_status hadamard_bwd(dm_device *d, dm_tensor *dx, dm_tensor *dkey, const dm_tensor *dy, const dm_tensor *x,
                              const dm_tensor *key, const mix &m, uint32_t acc) {
  const int members = m.B * m.S;
  void *part = NULL;
  dm_status s = dkey ? scratch(d, member_part(1, m.N, members, m.C) * sizeof(float), &part) : DM_OK;
  if (s) return s;
  s = by_type(x, [&](auto zero) {
    using T = decltype(zero);
    dm_status t = dx
      ? launch(d, hadamard_bwd_kernel<T>, striding(d, (size_t)m.B * m.N * m.S * blocks(m.C, PACK8), THREADS), THREADS,
               0, data<T>(dx), data<T>(dy), data<T>(key), m, packable(m.C, data<T>(dx), data<T>(dy), data<T>(key)),
               (bool)(acc & 1))
      : DM_OK;
    return t || !dkey ? t : member_sums(d, (float *)part, m.N, members, m.C, key_grad<T>{ data<T>(dy), data<T>(x), m });
  });
  if (s || !dkey) return s;
  return column_finish(d, data<float>(dkey), (float *)part, member_runs(members), (size_t)m.N * m.C, m.N * m.C,
                       acc >> 1 & 1);
}

/* -- matrices: phi_i(x) = key_i x ---------------------------------------------------------------------------------- */

/* out [N, B, S, C] = f x of the instance, from x [B, N, S, C], or from one x [B, S, C] for all N with `shared`. */
template <class T> __global__ void by_instance_kernel(T *out, const T *x, mix m, bool scaled, bool shared) {
  const size_t all = (size_t)m.B * m.N * m.S * m.C, each = (size_t)m.S * m.C;
  for (size_t e = (size_t)blockIdx.x * THREADS + threadIdx.x; e < all; e += (size_t)gridDim.x * THREADS) {
    const size_t at = e % each, b = e / each % m.B, i = e / each / m.B, instance = b * m.N + i;
    const float v = to_float(x[(shared ? b : instance) * each + at]);
    out[e] = from_float<T>(scaled ? m.share((int)instance) * v : v);
  }
}

/* y [B, S, C] = the sum over the instances, in order, of f products [N, B, S, C]. */
template <class T> __global__ void over_instances_kernel(T *y, const float *products, mix m) {
  const size_t all = (size_t)m.B * m.S * m.C, each = (size_t)m.S * m.C;
  for (size_t e = (size_t)blockIdx.x * THREADS + threadIdx.x; e < all; e += (size_t)gridDim.x * THREADS) {
    float sum = 0;
    for (int i = 0; i < m.N; i++) sum += m.share((int)(e / each) * m.N + i) * products[i * all + e];
    y[e] = from_float<T>(sum);
  }
}

/* dx [B, N, S, C] (+)= f products [N, B, S, C]. */
template <class T> __global__ void to_instances_kernel(T *dx, const float *products, mix m, bool add) {
  const size_t all = (size_t)m.B * m.N * m.S * m.C, each = (size_t)m.S * m.C;
  for (size_t e = (size_t)blockIdx.x * THREADS + threadIdx.x; e < all; e += (size_t)gridDim.x * THREADS) {
    const size_t instance = e / each, b = instance / m.N, i = instance % m.N;
    const float v = m.share((int)instance) * products[(i * m.B + b) * each + e % each];
    dx[e] = from_float<T>(add ? to_float(dx[e]) + v : v);
  }
}

/* The scratch of the matrix form: rows by instance in the activations' type, and f32 products. */
struct matrix_room { void *rows; float *products; };

static dm_status matrix_scratch(dm_device *d, const mix &m, int type, int lists, matrix_room *room) {
  const size_t all = (size_t)m.B * m.N * m.S * m.C, element = type == DM_BF16 ? sizeof(bf16) : sizeof(float);
  const size_t for_rows = aligned(lists * all * element);
  dm_status s = scratch(d, for_rows + all * sizeof(float), &room->rows);
  if (!s) room->products = (float *)((char *)room->rows + for_rows);
  return s;
}

/* One product for each instance over all its rows. */
static dm_status matrix_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *key, const mix &m) {
  if (!m.N) return cuda_zero(d, y);
  const size_t all = (size_t)m.B * m.N * m.S * m.C;
  matrix_room room;
  dm_status s = matrix_scratch(d, m, x->dtype, 1, &room);
  if (s) return s;
  return by_type(x, [&](auto zero) {
    using T = decltype(zero);
    dm_status t = launch(d, by_instance_kernel<T>, striding(d, all, THREADS), THREADS, 0, (T *)room.rows, data<T>(x), m,
                         false, false);
    if (!t) {
      t = multiply(d, { 0, 1, m.B * m.S, m.C, m.C, m.N, x->dtype, DM_F32, 0, room.rows, key->data, NULL,
                       room.products });
    }
    return t ? t : launch(d, over_instances_kernel<T>, striding(d, all / m.N, THREADS), THREADS, 0, data<T>(y),
                          room.products, m);
  });
}

static dm_status matrix_bwd(dm_device *d, dm_tensor *dx, dm_tensor *dkey, const dm_tensor *dy, const dm_tensor *x,
                            const dm_tensor *key, const mix &m, uint32_t acc) {
  const size_t all = (size_t)m.B * m.N * m.S * m.C;
  const int rows = m.B * m.S, type = x->dtype;
  if (!rows) return dkey && !(acc >> 1 & 1) ? cuda_zero(d, dkey) : DM_OK;
  matrix_room room;
  dm_status s = matrix_scratch(d, m, type, 2, &room);
  if (s) return s;
  return by_type(x, [&](auto zero) {
    using T = decltype(zero);
    T *grads = (T *)room.rows, *inputs = grads + all;
    const unsigned grid = striding(d, all, THREADS);
    dm_status t = DM_OK;
    if (dx) {
      t = launch(d, by_instance_kernel<T>, grid, THREADS, 0, grads, data<T>(dy), m, false, true);
      if (!t) t = multiply(d, { 0, 0, rows, m.C, m.C, m.N, type, DM_F32, 0, grads, key->data, NULL, room.products });
      if (!t) t = launch(d, to_instances_kernel<T>, grid, THREADS, 0, data<T>(dx), room.products, m, (bool)(acc & 1));
    }
    if (t || !dkey) return t;
    t = launch(d, by_instance_kernel<T>, grid, THREADS, 0, grads, data<T>(dy), m, true, true);
    if (!t) t = launch(d, by_instance_kernel<T>, grid, THREADS, 0, inputs, data<T>(x), m, false, false);
    return t ? t : multiply(d, { 1, 0, m.C, m.C, rows, m.N, type, DM_F32, (int)(acc >> 1 & 1), grads, inputs, NULL,
                                 dkey->data });
  });
}

dm_status cuda_mux_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *key, const dm_tensor *weight,
                       float scale) {
  const mix m = mix_of(x, weight, scale);
  return key->ndim == 3 ? matrix_fwd(d, y, x, key, m) : hadamard_fwd(d, y, x, key, m);
}

dm_status cuda_mux_bwd(dm_device *d, dm_tensor *dx, dm_tensor *dkey, const dm_tensor *dy, const dm_tensor *x,
                       const dm_tensor *key, const dm_tensor *weight, float scale, uint32_t acc) {
  const mix m = mix_of(x, weight, scale);
  return key->ndim == 3 ? matrix_bwd(d, dx, dkey, dy, x, key, m, acc) : hadamard_bwd(d, dx, dkey, dy, x, key, m, acc);
}

/* -- meanpool ------------------------------------------------------------------------------------------------------ */

/* Rows of a span, cut to those that exist. */
struct range { int from, to; };

__device__ static inline range span_of(const int32_t *span, int g, int rows) {
  const int from = span[2 * g], to = span[2 * g + 1];
  return { from < 0 ? 0 : from, to > rows ? rows : to };
}

/* A thread takes one column of one span and adds its rows in order. */
template <class T> __global__ void meanpool_fwd_kernel(T *y, const T *x, const int32_t *span, int rows, int n) {
  const int j = blockIdx.y * THREADS + threadIdx.x;
  const range at = span_of(span, blockIdx.x, rows);
  if (j >= n) return;
  float sum = 0;
  for (int r = at.from; r < at.to; r++) sum += to_float(x[(size_t)r * n + j]);
  y[(size_t)blockIdx.x * n + j] = from_float<T>(at.to > at.from ? sum / (at.to - at.from) : 0.0f);
}

/* A thread gives one column of one span's gradient to its rows; spans do not overlap. */
template <class T>
__global__ void meanpool_bwd_kernel(T *dx, const T *dy, const int32_t *span, int rows, int n, bool add) {
  const int j = blockIdx.y * THREADS + threadIdx.x;
  const range at = span_of(span, blockIdx.x, rows);
  if (j >= n || at.to <= at.from) return;
  const float v = to_float(dy[(size_t)blockIdx.x * n + j]) / (at.to - at.from);
  for (int r = at.from; r < at.to; r++) {
    T *o = dx + (size_t)r * n + j;
    *o = from_float<T>(add ? to_float(*o) + v : v);
  }
}

dm_status cuda_meanpool_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *span) {
  return by_type(x, [&](auto zero) {
    using T = decltype(zero);
    return launch(d, meanpool_fwd_kernel<T>, dim3(y->shape[0], blocks(dm_cols(x), THREADS)), THREADS, 0, data<T>(y),
                  data<T>(x), data<int32_t>(span), dm_rows(x), dm_cols(x));
  });
}

dm_status cuda_meanpool_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dy, const dm_tensor *span, uint32_t acc) {
  if (!dx) return DM_OK;
  dm_status s = acc & 1 ? DM_OK : cuda_zero(d, dx);
  if (s) return s;
  return by_type(dx, [&](auto zero) {
    using T = decltype(zero);
    return launch(d, meanpool_bwd_kernel<T>, dim3(dy->shape[0], blocks(dm_cols(dx), THREADS)), THREADS, 0, data<T>(dx),
                  data<T>(dy), data<int32_t>(span), dm_rows(dx), dm_cols(dx), (bool)(acc & 1));
  });
}
