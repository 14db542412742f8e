/* demux.cu -- the demultiplexers for listed (index, position) pairs on CUDA: split weights, and unbinding. */
#include "product.cuh"
#include "segment.cuh"

enum { THREADS = 256 };

/* Rows of a table that a list names; a row outside the table gives 0. */
template <class T> struct listed {
  const T *x;
  const int32_t *at;
  int rows, n;
  __device__ float operator()(size_t r, int j) const {
    const int row = at[r];
    return row < 0 || row >= rows ? 0.0f : to_float(x[(size_t)row * n + j]);
  }
};

template <class T> static listed<T> listed_of(const dm_tensor *x, const dm_tensor *at) {
  return { data<T>(x), data<int32_t>(at), dm_rows(x), dm_cols(x) };
}

/* -- demux: u and v of a pair added -------------------------------------------------------------------------------- */

/* y = act(s), pre = s (where kept), s = u + v of the pair, a thread an element. */
template <class T>
__global__ void demux_fwd_kernel(T *y, T *pre, listed<T> u, listed<T> v, size_t count, int n, int act) {
  for (size_t e = (size_t)blockIdx.x * THREADS + threadIdx.x; e < count; e += (size_t)gridDim.x * THREADS) {
    const size_t r = e / n;
    const int j = (int)(e % n);
    const float s = u(r, j) + v(r, j);
    if (pre) pre[e] = from_float<T>(s);
    y[e] = from_float<T>(act_of(s, act));
  }
}

dm_status cuda_demux_fwd(dm_device *d, dm_tensor *y, dm_tensor *pre, const dm_tensor *u, const dm_tensor *v,
                         const dm_tensor *iu, const dm_tensor *iv, int32_t act) {
  const size_t count = dm_numel(y);
  return by_type(y, [&](auto zero) {
    using T = decltype(zero);
    return launch(d, demux_fwd_kernel<T>, striding(d, count, THREADS), THREADS, 0, data<T>(y), data<T>(pre),
                  listed_of<T>(u, iu), listed_of<T>(v, iv), count, dm_cols(y), act);
  });
}

/* d loss / d (u + v), computed where it is summed. */
template <class T> struct before_act {
  const T *dy, *pre;                     /* pre: NULL without an activation */
  int n, act;
  __device__ float operator()(int row, int j) const {
    const size_t e = (size_t)row * n + j;
    return pre ? to_float(dy[e]) * act_grad(to_float(pre[e]), act) : to_float(dy[e]);
  }
};

template <class T> static before_act<T> before_act_of(const dm_tensor *dy, const dm_tensor *pre, int act) {
  return { data<T>(dy), act == DM_NONE ? NULL : data<T>(pre), dm_cols(dy), act };
}

dm_status cuda_demux_bwd(dm_device *d, dm_tensor *du, dm_tensor *dv, const dm_tensor *dy, const dm_tensor *pre,
                         const dm_tensor *iu, const dm_tensor *iv, const dm_tensor *ou, const dm_tensor *ov,
                         int32_t act,
                         uint32_t acc) {
  const int rows = dy->shape[0];
  void *edge;
  dm_status s = scratch(d, segment_edge(rows, dm_cols(dy)) * sizeof(float), &edge);
  if (s) return s;
  return by_type(dy, [&](auto zero) {
    const auto g = before_act_of<decltype(zero)>(dy, pre, act);
    dm_status t = du ? segment_sum(d, du, data<int32_t>(ou), data<int32_t>(iu), rows, acc & 1, (float *)edge, g)
                     : DM_OK;
    return t || !dv ? t
           : segment_sum(d, dv, data<int32_t>(ov), data<int32_t>(iv), rows, acc >> 1 & 1, (float *)edge, g);
  });
}

/* -- unbinding: a (key * h) + hb ----------------------------------------------------------------------------------- */

/* out [rows, n] = key * h of the pair, a thread an element. */
template <class T> __global__ void bind_kernel(T *out, listed<T> key, listed<T> h, size_t count) {
  for (size_t e = (size_t)blockIdx.x * THREADS + threadIdx.x; e < count; e += (size_t)gridDim.x * THREADS) {
    const size_t r = e / h.n;
    const int j = (int)(e % h.n);
    out[e] = from_float<T>(key(r, j) * h(r, j));
  }
}

/* y = act(s), pre = s (where kept), s = the product + hb of the pair, a thread an element. */
template <class T>
__global__ void finish_kernel(T *y, T *pre, const float *products, listed<T> hb, size_t count, int act) {
  for (size_t e = (size_t)blockIdx.x * THREADS + threadIdx.x; e < count; e += (size_t)gridDim.x * THREADS) {
    const float s = products[e] + hb(e / hb.n, (int)(e % hb.n));
    if (pre) pre[e] = from_float<T>(s);
    y[e] = from_float<T>(act_of(s, act));
  }
}

template <class T>
static dm_status bind(dm_device *d, T *out, const dm_tensor *key, const dm_tensor *h, const dm_tensor *ik,
                      const dm_tensor *ih, int rows) {
  const size_t count = (size_t)rows * dm_cols(h);
  return launch(d, bind_kernel<T>, striding(d, count, THREADS), THREADS, 0, out, listed_of<T>(key, ik),
                listed_of<T>(h, ih), count);
}

static size_t whole(size_t bytes) { return (bytes + 255) / 256 * 256; }

dm_status cuda_unbind_fwd(dm_device *d, dm_tensor *y, dm_tensor *pre, const dm_tensor *key, const dm_tensor *h,
                          const dm_tensor *hb, const dm_tensor *a, const dm_tensor *ik, const dm_tensor *ih,
                          int32_t act) {
  const int R = y->shape[0], D = y->shape[1], C = dm_cols(h);
  const size_t count = (size_t)R * D;
  void *room;
  return by_type(y, [&](auto zero) {
    using T = decltype(zero);
    dm_status s = scratch(d, whole((size_t)R * C * sizeof(T)) + count * sizeof(float), &room);
    if (s) return s;
    T *bound = (T *)room;
    float *products = (float *)((char *)room + whole((size_t)R * C * sizeof(T)));
    s = bind(d, bound, key, h, ik, ih, R);
    if (!s) s = multiply(d, { 0, 1, R, D, C, 1, y->dtype, DM_F32, 0, bound, a->data, NULL, products });
    return s ? s : launch(d, finish_kernel<T>, striding(d, count, THREADS), THREADS, 0, data<T>(y), data<T>(pre),
                          products, listed_of<T>(hb, ih), count, act);
  });
}

template <class T> __global__ void before_act_kernel(T *out, before_act<T> g, size_t count) {
  for (size_t e = (size_t)blockIdx.x * THREADS + threadIdx.x; e < count; e += (size_t)gridDim.x * THREADS) {
    out[e] = from_float<T>(g((int)(e / g.n), (int)(e % g.n)));
  }
}

/* Rows of dx times the other factor of key * h. */
template <class T> struct unbound {
  const float *dx;
  listed<T> other;
  __device__ float operator()(int row, int j) const { return dx[(size_t)row * other.n + j] * other((size_t)row, j); }
};

dm_status cuda_unbind_bwd(dm_device *d, dm_tensor *dkey, dm_tensor *dh, dm_tensor *dhb, dm_tensor *da,
                          const dm_tensor *dy, const dm_tensor *pre, const dm_tensor *key, const dm_tensor *h,
                          const dm_tensor *a, const dm_tensor *ik, const dm_tensor *ih, const dm_tensor *ok,
                          const dm_tensor *oh, int32_t act, uint32_t acc) {
  const int R = dy->shape[0], D = dy->shape[1], C = dm_cols(h), type = dy->dtype;
  void *room;
  return by_type(dy, [&](auto zero) {
    using T = decltype(zero);
    const size_t for_g = whole((size_t)R * D * sizeof(T)), for_x = whole((size_t)R * C * sizeof(float));
    dm_status s = scratch(d, for_g + for_x + segment_edge(R, C > D ? C : D) * sizeof(float), &room);
    if (s) return s;
    T *g = (T *)room, *bound = (T *)((char *)room + for_g);          /* bound rows, then dx, in the same place */
    float *dx = (float *)bound, *edge = (float *)((char *)room + for_g + for_x);
    const before_act<T> grad = before_act_of<T>(dy, pre, act);
    s = launch(d, before_act_kernel<T>, striding(d, (size_t)R * D, THREADS), THREADS, 0, g, grad, (size_t)R * D);
    if (!s && dhb) s = segment_sum(d, dhb, data<int32_t>(oh), data<int32_t>(ih), R, acc >> 2 & 1, edge, grad);
    if (!s && da) s = bind(d, bound, key, h, ik, ih, R);
    if (!s && da) s = multiply(d, { 1, 0, D, C, R, 1, type, DM_F32, (int)(acc >> 3 & 1), g, bound, NULL, da->data });
    if (!s && (dh || dkey)) s = multiply(d, { 0, 0, R, C, D, 1, type, DM_F32, 0, g, a->data, NULL, dx });
    if (!s && dh) {
      s = segment_sum(d, dh, data<int32_t>(oh), data<int32_t>(ih), R, acc >> 1 & 1, edge,
                      unbound<T>{ dx, listed_of<T>(key, ik) });
    }
    if (!s && dkey) {
      s = segment_sum(d, dkey, data<int32_t>(ok), data<int32_t>(ik), R, acc & 1, edge,
                      unbound<T>{ dx, listed_of<T>(h, ih) });
    }
    return s;
  });
}
