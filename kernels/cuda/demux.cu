/* demux.cu -- the demultiplexers for listed (index, position) pairs on CUDA: split weights, and unbinding. */
#include "listed.cuh"
#include "product.cuh"
#include "segment.cuh"

/* Rows of y = act(s) [rows, n], and of pre = s where that is kept. */
template <class T> struct activated {
  T *y, *pre;
  int n, act;
  bool packed;
  __device__ void operator()(float (&s)[PACK8], size_t r, int j) const {
    if (pre) put(pre + r * n + j, s, n - j, packed);
    for (int i = 0; i < PACK8; i++) s[i] = act_of(s[i], act);
    put(y + r * n + j, s, n - j, packed);
  }
};

/* -- demux: u and v of a pair added -------------------------------------------------------------------------------- */

/* s = u + v of the pair: reads each named row once. */
template <class T> struct sum_of_pair {
  activated<T> out;
  listed<T> u, v;
  __device__ void operator()(size_t r, int j) const {
    float s[PACK8], other[PACK8];
    fetch_listed(s, u, r, j, out.packed);
    fetch_listed(other, v, r, j, out.packed);
    for (int i = 0; i < PACK8; i++) s[i] += other[i];
    out(s, r, j);
  }
};

dm_status cuda_demux_fwd(dm_device *d, dm_tensor *y, dm_tensor *pre, const dm_tensor *u, const dm_tensor *v,
                         const dm_tensor *iu, const dm_tensor *iv, int32_t act) {
  const int n = dm_cols(y);
  return by_type(y, [&](auto zero) {
    using T = decltype(zero);
    const bool packed = packable(n, data<T>(y), data<T>(pre), data<T>(u), data<T>(v));
    const activated<T> out = { data<T>(y), data<T>(pre), n, act, packed };
    return each_listed(d, dm_rows(y), n, sum_of_pair<T>{ out, listed_of<T>(u, iu), listed_of<T>(v, iv) });
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

/* out [rows, n] = key * h of the pair: reads each named row once. */
template <class T> struct bound_pair {
  T *out;
  listed<T> key, h;
  bool packed;
  __device__ void operator()(size_t r, int j) const {
    float v[PACK8], u[PACK8];
    fetch_listed(v, key, r, j, packed);
    fetch_listed(u, h, r, j, packed);
    for (int i = 0; i < PACK8; i++) v[i] *= u[i];
    put(out + r * h.n + j, v, h.n - j, packed);
  }
};

/* s = the product + hb of the pair. */
template <class T> struct product_and_hb {
  activated<T> out;
  const float *products;
  listed<T> hb;
  __device__ void operator()(size_t r, int j) const {
    float s[PACK8], u[PACK8];
    fetch(s, products + r * out.n + j, out.n - j, out.packed);
    fetch_listed(u, hb, r, j, out.packed);
    for (int i = 0; i < PACK8; i++) s[i] += u[i];
    out(s, r, j);
  }
};

template <class T>
static dm_status bind(dm_device *d, T *out, const dm_tensor *key, const dm_tensor *h, const dm_tensor *ik,
                      const dm_tensor *ih, int rows) {
  const bool packed = packable(dm_cols(h), out, data<T>(key), data<T>(h));
  return each_listed(d, rows, dm_cols(h), bound_pair<T>{ out, listed_of<T>(key, ik), listed_of<T>(h, ih), packed });
}

dm_status cuda_unbind_fwd(dm_device *d, dm_tensor *y, dm_tensor *pre, const dm_tensor *key, const dm_tensor *h,
                          const dm_tensor *hb, const dm_tensor *a, const dm_tensor *ik, const dm_tensor *ih,
                          int32_t act) {
  const int R = y->shape[0], D = y->shape[1], C = dm_cols(h);
  void *room;
  return by_type(y, [&](auto zero) {
    using T = decltype(zero);
    dm_status s = scratch(d, aligned((size_t)R * C * sizeof(T)) + (size_t)R * D * sizeof(float), &room);
    if (s) return s;
    T *bound = (T *)room;
    float *products = (float *)((char *)room + aligned((size_t)R * C * sizeof(T)));
    s = bind(d, bound, key, h, ik, ih, R);
    if (!s) s = multiply(d, { 0, 1, R, D, C, 1, y->dtype, DM_F32, 0, bound, a->data, NULL, products });
    const activated<T> out = { data<T>(y), data<T>(pre), D, act, packable(D, data<T>(y), data<T>(pre), data<T>(hb)) };
    return s ? s : each_listed(d, R, D, product_and_hb<T>{ out, products, listed_of<T>(hb, ih) });
  });
}

/* Rows of dx times the other factor of key * h. */
template <class T> struct unbound {
  const float *dx;
  listed<T> other;
  __device__ float operator()(int row, int j) const {
    const int named = other.at[row];
    const bool there = named >= 0 && named < other.rows;
    return there ? dx[(size_t)row * other.n + j] * to_float(other.x[(size_t)named * other.n + j]) : 0.0f;
  }
};

dm_status cuda_unbind_bwd(dm_device *d, dm_tensor *dkey, dm_tensor *dh, dm_tensor *dhb, dm_tensor *da,
                          const dm_tensor *dy, const dm_tensor *pre, const dm_tensor *key, const dm_tensor *h,
                          const dm_tensor *a, const dm_tensor *ik, const dm_tensor *ih, const dm_tensor *ok,
                          const dm_tensor *oh, int32_t act, uint32_t acc) {
  const int R = dy->shape[0], D = dy->shape[1], C = dm_cols(h), type = dy->dtype;
  void *room;
  return by_type(dy, [&](auto zero) {
    using T = decltype(zero);
    const size_t for_g = act == DM_NONE ? 0 : aligned((size_t)R * D * sizeof(T));
    const size_t for_x = aligned((size_t)R * C * sizeof(float));
    dm_status s = scratch(d, for_g + for_x + segment_edge(R, C > D ? C : D) * sizeof(float), &room);
    if (s) return s;
    T *bound = (T *)((char *)room + for_g);                          /* bound rows, then dx, in the same place */
    float *dx = (float *)bound, *edge = (float *)((char *)room + for_g + for_x);
    const before_act<T> grad = before_act_of<T>(dy, pre, act);
    dm_tensor kept = *dy;
    if (act != DM_NONE) {
      kept.data = room;
      s = cuda_act_bwd(d, &kept, dy, pre, act, 0);
    }
    const void *g = kept.data;
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
