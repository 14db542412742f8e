/* point.cu -- add, scale, act, dropout, fill, zero, cast on CUDA: one pass over memory, 128 bits at a time. */
#include "common.cuh"

enum { THREADS = 256 };                  /* enough warps to hide memory latency, few registers each */

/* out (+)= f(element number, values) over n elements: a thread strides over the grid in packs, reads each input and
** writes the output once. F is a struct of scalars with
** `void operator()(float (&v)[N], size_t e0, const float (&u)[N])`: v holds the first input, and the result. */
template <class T, class U, class F>
__global__ void map_kernel(T *out, const U *x, const U *z, size_t n, bool packed, bool add, F f) {
  constexpr int N = PACK<bf16>;
  for (size_t e = ((size_t)blockIdx.x * THREADS + threadIdx.x) * N; e < n; e += (size_t)gridDim.x * THREADS * N) {
    float v[N], u[N];
    fetch(v, x + e, (long long)(n - e), packed);
    if (z) fetch(u, z + e, (long long)(n - e), packed);
    f(v, e, u);
    put(out + e, v, (long long)(n - e), packed, add);
  }
}

/* Launches map_kernel over tensors of one shape; z may be NULL. */
template <class T, class U, class F>
static dm_status map(dm_device *d, dm_tensor *out, const dm_tensor *x, const dm_tensor *z, bool add, F f) {
  size_t n = dm_numel(out);
  bool packed = packable(8, data<T>(out), data<U>(x), data<U>(z));
  return launch(d, map_kernel<T, U, F>, striding(d, n, THREADS * PACK<bf16>), THREADS, 0, data<T>(out), data<U>(x),
                data<U>(z), n, packed, add, f);
}

template <class F>
static dm_status map_alike(dm_device *d, dm_tensor *out, const dm_tensor *x, const dm_tensor *z, bool add, F f) {
  return by_type(out, [&](auto zero) { return map<decltype(zero), decltype(zero)>(d, out, x, z, add, f); });
}

/* -- what is computed ------------------------------------------------------------------------------------------- */

struct same {
  template <int N> __device__ void operator()(float (&)[N], size_t, const float (&)[N]) const {}
};

struct sum {
  template <int N> __device__ void operator()(float (&v)[N], size_t, const float (&u)[N]) const {
    for (int i = 0; i < N; i++) v[i] += u[i];
  }
};

struct times {
  float s;
  template <int N> __device__ void operator()(float (&v)[N], size_t, const float (&)[N]) const {
    for (int i = 0; i < N; i++) v[i] *= s;
  }
};

struct activation {
  int act;
  template <int N> __device__ void operator()(float (&v)[N], size_t, const float (&)[N]) const {
    for (int i = 0; i < N; i++) v[i] = act_of(v[i], act);
  }
};

struct activation_grad {                 /* v: dy, u: x */
  int act;
  template <int N> __device__ void operator()(float (&v)[N], size_t, const float (&u)[N]) const {
    for (int i = 0; i < N; i++) v[i] *= act_grad(u[i], act);
  }
};

struct dropped {
  dropout drop;
  template <int N> __device__ void operator()(float (&v)[N], size_t e0, const float (&)[N]) const {
    float keep[N];
    keep_factors(keep, keeper_of(drop), e0);
    for (int i = 0; i < N; i++) v[i] *= keep[i];
  }
};

/* -- ops ----------------------------------------------------------------------------------------------------------- */

dm_status cuda_add_fwd(dm_device *d, dm_tensor *y, const dm_tensor *a, const dm_tensor *b) {
  return map_alike(d, y, a, b, false, sum{});
}

dm_status cuda_add_bwd(dm_device *d, dm_tensor *da, dm_tensor *db, const dm_tensor *dy, uint32_t acc) {
  dm_status s = da ? map_alike(d, da, dy, NULL, acc & 1, same{}) : DM_OK;
  return s || !db ? s : map_alike(d, db, dy, NULL, acc >> 1 & 1, same{});
}

dm_status cuda_scale_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, float s) {
  return map_alike(d, y, x, NULL, false, times{ s });
}

dm_status cuda_scale_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dy, float s, uint32_t acc) {
  return dx ? map_alike(d, dx, dy, NULL, acc & 1, times{ s }) : DM_OK;
}

dm_status cuda_act_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, int32_t act) {
  return map_alike(d, y, x, NULL, false, activation{ act });
}

dm_status cuda_act_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dy, const dm_tensor *x, int32_t act,
                       uint32_t acc) {
  return dx ? map_alike(d, dx, dy, x, acc & 1, activation_grad{ act }) : DM_OK;
}

static dm_status drop(dm_device *d, dm_tensor *out, const dm_tensor *x, float p, uint32_t site, bool add) {
  if (!(p > 0)) return map_alike(d, out, x, NULL, add, same{});
  return map_alike(d, out, x, NULL, add, dropped{ dropout_of(d, p, site) });
}

dm_status cuda_dropout_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, float p, uint32_t site) {
  return drop(d, y, x, p, site, false);
}

dm_status cuda_dropout_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dy, float p, uint32_t site, uint32_t acc) {
  return dx ? drop(d, dx, dy, p, site, acc & 1) : DM_OK;
}

dm_status cuda_cast(dm_device *d, dm_tensor *y, const dm_tensor *x) {
  return by_type(y, [&](auto to) {
    return by_type(x, [&](auto from) { return map<decltype(to), decltype(from)>(d, y, x, NULL, false, same{}); });
  });
}

/* -- whole blocks -------------------------------------------------------------------------------------------------- */

/* Elements of `width` bytes = bits. */
template <class T> __global__ void fill_kernel(T *out, size_t n, T bits) {
  for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += (size_t)gridDim.x * THREADS) out[i] = bits;
}

dm_status cuda_fill(dm_device *d, dm_tensor *t, double v) {
  size_t n = dm_numel(t);
  unsigned grid = striding(d, n, THREADS);
  if (t->dtype == DM_I32) return launch(d, fill_kernel<int32_t>, grid, THREADS, 0, (int32_t *)t->data, n, (int32_t)v);
  if (t->dtype == DM_F32) return launch(d, fill_kernel<float>, grid, THREADS, 0, (float *)t->data, n, (float)v);
  return launch(d, fill_kernel<bf16>, grid, THREADS, 0, (bf16 *)t->data, n, __float2bfloat16_rn((float)v));
}

dm_status cuda_zero(dm_device *d, dm_tensor *x) {
  size_t bytes = dm_numel(x) * (x->dtype == DM_BF16 ? 2 : 4);
  return bytes ? cuda_check(d, cudaMemsetAsync(x->data, 0, bytes, cuda_of(d)->stream)) : DM_OK;
}
