/* conv.cu -- conv2d and maxpool2d on CUDA, for small images: convolutions are sums over taps and channels, nothing is
** unfolded; a thread makes one element of the result, gradients of weights in runs of images added in their order. */
#include "common.cuh"

enum {
  THREADS = 256,
  RUN = 8                                /* images of one partial sum of dw and db: depends on nothing else */
};

typedef struct conv {
  int B, groups, ci, co;                 /* channels of one group */
  int H, W, kh, kw, pad, ho, wo;
} conv;

static conv conv_of(const dm_tensor *x, const dm_tensor *w, int pad, int groups) {
  conv c = { x->shape[0], groups, x->shape[1] / groups, w->shape[0] / groups, x->shape[2], x->shape[3], w->shape[2],
             w->shape[3], pad, 0, 0 };
  c.ho = c.H + 2 * pad - c.kh + 1;
  c.wo = c.W + 2 * pad - c.kw + 1;
  return c;
}

/* A thread makes one element of y; neighbours read neighbours of x, and a warp the same weights. Writes y once. */
template <class T> __global__ void conv_fwd_kernel(T *y, const T *x, const T *w, const T *b, conv c, size_t count) {
  for (size_t e = (size_t)blockIdx.x * THREADS + threadIdx.x; e < count; e += (size_t)gridDim.x * THREADS) {
    const int q = (int)(e % c.wo), r = (int)(e / c.wo % c.ho), o = (int)(e / c.wo / c.ho % (c.groups * c.co));
    const size_t n = e / c.wo / c.ho / (c.groups * c.co);
    const T *from = x + (n * c.groups + o / c.co) * c.ci * c.H * c.W, *tap = w + (size_t)o * c.ci * c.kh * c.kw;
    float sum = b ? to_float(b[o]) : 0.0f;
    for (int i = 0; i < c.ci; i++, from += (size_t)c.H * c.W) {
      for (int u = 0; u < c.kh; u++) {
        for (int v = 0; v < c.kw; v++, tap++) {
          const int row = r + u - c.pad, column = q + v - c.pad;
          if (row < 0 || row >= c.H || column < 0 || column >= c.W) continue;
          sum += to_float(*tap) * to_float(from[row * c.W + column]);
        }
      }
    }
    y[e] = from_float<T>(sum);
  }
}

/* A thread makes one element of dx: the sum over the outputs that saw it. */
template <class T> __global__ void conv_dx_kernel(T *dx, const T *dy, const T *w, conv c, size_t count, bool add) {
  for (size_t e = (size_t)blockIdx.x * THREADS + threadIdx.x; e < count; e += (size_t)gridDim.x * THREADS) {
    const int column = (int)(e % c.W), row = (int)(e / c.W % c.H), i = (int)(e / c.W / c.H % (c.groups * c.ci));
    const size_t n = e / c.W / c.H / (c.groups * c.ci);
    const int g = i / c.ci;
    float sum = 0;
    for (int o = g * c.co; o < (g + 1) * c.co; o++) {
      const T *tap = w + ((size_t)o * c.ci + i % c.ci) * c.kh * c.kw;
      const T *from = dy + (n * c.groups * c.co + o) * c.ho * c.wo;
      for (int u = 0; u < c.kh; u++) {
        for (int v = 0; v < c.kw; v++, tap++) {
          const int r = row - u + c.pad, q = column - v + c.pad;
          if (r < 0 || r >= c.ho || q < 0 || q >= c.wo) continue;
          sum += to_float(*tap) * to_float(from[r * c.wo + q]);
        }
      }
    }
    dx[e] = from_float<T>(add ? to_float(dx[e]) + sum : sum);
  }
}

/* A warp makes one element of the gradient of the weights over one run of images: lanes take output positions. Block
** (weights / warps, run); part [runs, count]. */
template <class T> __global__ void conv_dw_kernel(float *part, const T *dy, const T *x, conv c, int count) {
  const int e = blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP, first = blockIdx.y * RUN;
  if (e >= count) return;
  const int v = e % c.kw, u = e / c.kw % c.kh, i = e / c.kw / c.kh % c.ci, o = e / c.kw / c.kh / c.ci;
  const int places = c.ho * c.wo;
  float sum = 0;
  for (int n = first; n < first + RUN && n < c.B; n++) {
    const T *g = dy + ((size_t)n * c.groups * c.co + o) * places;
    const T *from = x + (((size_t)n * c.groups + o / c.co) * c.ci + i) * c.H * c.W;
    for (int p = threadIdx.x % WARP; p < places; p += WARP) {
      const int row = p / c.wo + u - c.pad, column = p % c.wo + v - c.pad;
      if (row < 0 || row >= c.H || column < 0 || column >= c.W) continue;
      sum += to_float(g[p]) * to_float(from[row * c.W + column]);
    }
  }
  sum = warp_sum(sum);
  if (threadIdx.x % WARP == 0) part[(size_t)blockIdx.y * count + e] = sum;
}

/* A warp adds the outputs of one channel over one run of images. part [runs, channels]. */
template <class T> __global__ void conv_db_kernel(float *part, const T *dy, int B, int channels, int places) {
  const int o = blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP, first = blockIdx.y * RUN;
  if (o >= channels) return;
  float sum = 0;
  for (int n = first; n < first + RUN && n < B; n++) {
    const T *g = dy + ((size_t)n * channels + o) * places;
    for (int p = threadIdx.x % WARP; p < places; p += WARP) sum += to_float(g[p]);
  }
  sum = warp_sum(sum);
  if (threadIdx.x % WARP == 0) part[(size_t)blockIdx.y * channels + o] = sum;
}

dm_status cuda_conv2d_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *w, const dm_tensor *b,
                          int32_t pad, int32_t groups) {
  size_t count = dm_numel(y);
  return by_type(x, [&](auto zero) {
    using T = decltype(zero);
    return launch(d, conv_fwd_kernel<T>, striding(d, count, THREADS), THREADS, 0, data<T>(y), data<T>(x), data<T>(w),
                  data<T>(b), conv_of(x, w, pad, groups), count);
  });
}

dm_status cuda_conv2d_bwd(dm_device *d, dm_tensor *dx, dm_tensor *dw, dm_tensor *db, const dm_tensor *dy,
                          const dm_tensor *x, const dm_tensor *w, int32_t pad, int32_t groups, uint32_t acc) {
  const conv c = conv_of(x, w, pad, groups);
  int weights = (int)dm_numel(w), channels = w->shape[0], runs = (int)blocks(c.B, RUN);
  if (runs > 65535) return fail(DM_EARG, "%s: %d images, expected at most %d", cuda_of(d)->op, c.B, 65535 * RUN);
  void *room;
  dm_status s = scratch(d, (size_t)runs * ((dw ? weights : 0) + (db ? channels : 0)) * sizeof(float), &room);
  if (s) return s;
  float *for_w = (float *)room, *for_b = for_w + (dw ? (size_t)runs * weights : 0);
  s = by_type(x, [&](auto zero) {
    using T = decltype(zero);
    dm_status t = DM_OK;
    if (dx) {
      t = launch(d, conv_dx_kernel<T>, striding(d, dm_numel(dx), THREADS), THREADS, 0, data<T>(dx), data<T>(dy),
                 data<T>(w), c, dm_numel(dx), (bool)(acc & 1));
    }
    if (!t && dw) {
      t = launch(d, conv_dw_kernel<T>, dim3(blocks(weights, THREADS / WARP), runs), THREADS, 0, for_w, data<T>(dy),
                 data<T>(x), c, weights);
    }
    if (!t && db) {
      t = launch(d, conv_db_kernel<T>, dim3(blocks(channels, THREADS / WARP), runs), THREADS, 0, for_b, data<T>(dy),
                 c.B, channels, c.ho * c.wo);
    }
    return t;
  });
  if (!s && dw) s = column_finish(d, data<float>(dw), for_w, runs, (size_t)weights, weights, acc >> 1 & 1);
  if (!s && db) s = column_finish(d, data<float>(db), for_b, runs, (size_t)channels, channels, acc >> 2 & 1);
  return s;
}

/* -- maxpool2d ----------------------------------------------------------------------------------------------------- */

/* A thread makes one element of y: the first largest of a k x k window, and where it lies in its plane. */
template <class T>
__global__ void maxpool_fwd_kernel(T *y, int32_t *at, const T *x, int H, int W, int k, size_t count) {
  const int ho = H / k, wo = W / k;
  for (size_t e = (size_t)blockIdx.x * THREADS + threadIdx.x; e < count; e += (size_t)gridDim.x * THREADS) {
    const int q = (int)(e % wo), r = (int)(e / wo % ho);
    const T *in = x + e / wo / ho * H * W;
    int best = r * k * W + q * k;
    for (int i = 0; i < k; i++) {
      for (int j = 0; j < k; j++) {
        const int p = (r * k + i) * W + q * k + j;
        if (to_float(in[p]) > to_float(in[best]) || to_float(in[p]) != to_float(in[p])) best = p;
      }
    }
    y[e] = in[best];
    at[e] = best;
  }
}

dm_status cuda_maxpool2d_fwd(dm_device *d, dm_tensor *y, dm_tensor *at, const dm_tensor *x, int32_t k) {
  size_t count = dm_numel(y);
  return by_type(x, [&](auto zero) {
    using T = decltype(zero);
    return launch(d, maxpool_fwd_kernel<T>, striding(d, count, THREADS), THREADS, 0, data<T>(y), data<int32_t>(at),
                  data<T>(x), x->shape[2], x->shape[3], k, count);
  });
}

/* A warp takes one plane: `at` may name any place of it any number of times, so each lane owns the places p with
** p % WARP == lane and looks through all of `at`, in order. Outputs of a plane are few. */
template <class T>
__global__ void maxpool_bwd_kernel(T *dx, const T *dy, const int32_t *at, int planes, int size, int outputs, bool add) {
  const int plane = blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP, lane = threadIdx.x % WARP;
  if (plane >= planes) return;
  T *g = dx + (size_t)plane * size;
  dy += (size_t)plane * outputs;
  at += (size_t)plane * outputs;
  for (int p = lane; p < size; p += WARP) {
    float sum = add ? to_float(g[p]) : 0.0f;
    for (int e = 0; e < outputs; e++) {
      if (at[e] == p) sum += to_float(dy[e]);
    }
    g[p] = from_float<T>(sum);
  }
}

dm_status cuda_maxpool2d_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dy, const dm_tensor *at, uint32_t acc) {
  if (!dx) return DM_OK;
  int planes = dx->shape[0] * dx->shape[1], size = dx->shape[2] * dx->shape[3], outputs = dy->shape[2] * dy->shape[3];
  return by_type(dx, [&](auto zero) {
    using T = decltype(zero);
    return launch(d, maxpool_bwd_kernel<T>, blocks(planes, THREADS / WARP), THREADS, 0, data<T>(dx), data<T>(dy),
                  data<int32_t>(at), planes, size, outputs, (bool)(acc & 1));
  });
}
