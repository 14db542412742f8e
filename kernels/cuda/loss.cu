/* loss.cu -- xent, mse, count_correct on CUDA. Losses of rows are added in a fixed order, in double. */
#include "figures.cuh"

/* -- xent ---------------------------------------------------------------------------------------------------------- */

/* A block takes one row: largest logit, sum of exponentials, figure of the row, log-sum-exp. A label outside 0 .. n - 1
** counts as left out. */
template <class T>
__global__ void row_lse_kernel(float *lse, row_figure *out, const T *logits, const int32_t *label, int n, int ignore) {
  const T *v = logits + (size_t)blockIdx.x * n;
  float top = -INFINITY, sum = 0;
  for (int j = threadIdx.x; j < n; j += THREADS) top = fmaxf(top, to_float(v[j]));
  top = block_max(top);
  for (int j = threadIdx.x; j < n; j += THREADS) sum += expf(to_float(v[j]) - top);
  sum = block_sum(sum);
  if (threadIdx.x) return;
  int y = label[blockIdx.x];
  bool kept = y != ignore && y >= 0 && y < n;
  lse[blockIdx.x] = top + logf(sum);
  out[blockIdx.x] = { kept ? lse[blockIdx.x] - to_float(v[y]) : 0.0f, kept, 0 };
}

/* A block writes one row of d loss / d logits. */
template <class T>
__global__ void row_grad_kernel(T *saved, const T *logits, const float *lse, const row_figure *rows,
                                const int32_t *label, const float *inverse, int n) {
  const size_t at = (size_t)blockIdx.x * n;
  const float f = rows[blockIdx.x].kept ? *inverse : 0.0f, shift = lse[blockIdx.x];
  const int y = rows[blockIdx.x].kept ? label[blockIdx.x] : -1;
  for (int j = threadIdx.x; j < n; j += THREADS) {
    float g = f != 0 ? f * expf(to_float(logits[at + j]) - shift) : 0.0f;
    saved[at + j] = from_float<T>(j == y ? g - f : g);
  }
}

dm_status cuda_xent_fwd(dm_device *d, dm_tensor *loss, dm_tensor *saved, const dm_tensor *logits,
                        const dm_tensor *label, int32_t ignore) {
  int rows = dm_rows(logits), n = dm_cols(logits);
  void *room;
  dm_status s = scratch(d, (size_t)rows * (sizeof(row_figure) + sizeof(float)) + sizeof(float), &room);
  if (s) return s;
  row_figure *each = (row_figure *)room;
  float *lse = (float *)(each + rows), *inverse = lse + rows;
  return by_type(logits, [&](auto zero) {
    using T = decltype(zero);
    dm_status t = launch(d, row_lse_kernel<T>, n ? rows : 0, THREADS, 0, lse, each, data<T>(logits),
                         data<int32_t>(label), n, ignore);
    if (!t) t = launch(d, figures_kernel, 1, THREADS, 0, data<float>(loss), inverse, (int32_t *)NULL, each,
                       n ? rows : 0);
    if (t || !saved) return t;
    return launch(d, row_grad_kernel<T>, rows, THREADS, 0, data<T>(saved), data<T>(logits), lse, each,
                  data<int32_t>(label), inverse, n);
  });
}

/* dlogits (+)= dloss * saved. */
template <class T>
__global__ void scaled_kernel(T *out, const T *x, const float *factor, size_t n, bool packed, bool add) {
  constexpr int N = PACK<bf16>;
  for (size_t e = ((size_t)blockIdx.x * THREADS + threadIdx.x) * N; e < n; e += (size_t)gridDim.x * THREADS * N) {
    float v[N];
    fetch(v, x + e, (long long)(n - e), packed);
    for (int i = 0; i < N; i++) v[i] *= *factor;
    put(out + e, v, (long long)(n - e), packed, add);
  }
}

dm_status cuda_xent_bwd(dm_device *d, dm_tensor *dlogits, const dm_tensor *dloss, const dm_tensor *saved,
                        uint32_t acc) {
  if (!dlogits) return DM_OK;
  size_t n = dm_numel(saved);
  return by_type(saved, [&](auto zero) {
    using T = decltype(zero);
    return launch(d, scaled_kernel<T>, striding(d, n, THREADS * 8), THREADS, 0, data<T>(dlogits), data<T>(saved),
                  data<float>(dloss), n, packable(8, data<T>(dlogits), data<T>(saved)), (bool)(acc & 1));
  });
}

/* -- count_correct ------------------------------------------------------------------------------------------------- */

/* A block takes one row: each thread finds its first largest logit, then one adds them up, the lower column first. */
template <class T>
__global__ void row_best_kernel(row_figure *out, const T *logits, const int32_t *label, int n, int ignore) {
  DM_SHARED(float, tops, THREADS);
  DM_SHARED(int, places, THREADS);
  const T *v = logits + (size_t)blockIdx.x * n;
  float top = -INFINITY;
  int place = n;
  for (int j = threadIdx.x; j < n; j += THREADS) {
    float x = to_float(v[j]);
    if (place == n || x > top) {
      top = x;
      place = j;
    }
  }
  tops[threadIdx.x] = top;
  places[threadIdx.x] = place;
  __syncthreads();
  for (int k = THREADS / 2; k; k /= 2) {
    int own = threadIdx.x, other = own + k;
    if (own < k && places[other] < n
        && (tops[other] > tops[own] || (tops[other] == tops[own] && places[other] < places[own]))) {
      tops[own] = tops[other];
      places[own] = places[other];
    }
    __syncthreads();
  }
  if (threadIdx.x) return;
  int y = label[blockIdx.x];
  bool kept = y != ignore && y >= 0 && y < n;
  out[blockIdx.x] = { 0.0f, kept, kept && places[0] == y && tops[0] == tops[0] };
}

dm_status cuda_count_correct(dm_device *d, dm_tensor *hits, const dm_tensor *logits, const dm_tensor *label,
                             int32_t ignore) {
  int rows = dm_rows(logits), n = dm_cols(logits);
  void *each;
  dm_status s = scratch(d, ((size_t)rows + 1) * sizeof(row_figure), &each);
  if (s) return s;
  s = by_type(logits, [&](auto zero) {
    using T = decltype(zero);
    return launch(d, row_best_kernel<T>, n ? rows : 0, THREADS, 0, (row_figure *)each, data<T>(logits),
                  data<int32_t>(label), n, ignore);
  });
  return s ? s : launch(d, figures_kernel, 1, THREADS, 0, (float *)NULL, (float *)NULL, data<int32_t>(hits),
                        (const row_figure *)each, n ? rows : 0);
}

/* -- mse ----------------------------------------------------------------------------------------------------------- */

enum { SPAN = 16384 };                   /* elements of one partial sum: depends on the size only */

/* A block sums (x - target)^2 over one span, in double. */
template <class T> __global__ void square_error_kernel(double *part, const T *x, const T *target, size_t n) {
  const size_t first = (size_t)blockIdx.x * SPAN, end = first + SPAN < n ? first + SPAN : n;
  double sum = 0;
  for (size_t i = first + threadIdx.x; i < end; i += THREADS) {
    double e = (double)to_float(x[i]) - (double)to_float(target[i]);
    sum += e * e;
  }
  sum = block_sum_double<THREADS>(sum);
  if (threadIdx.x == 0) part[blockIdx.x] = sum;
}

static __global__ void mean_kernel(float *out, const double *part, int count, size_t n) {
  double total = 0;
  for (int i = 0; i < count; i++) total += part[i];
  *out = n ? (float)(total / (double)n) : 0.0f;
}

dm_status cuda_mse_fwd(dm_device *d, dm_tensor *loss, const dm_tensor *x, const dm_tensor *target) {
  size_t n = dm_numel(x);
  unsigned spans = blocks(n, SPAN);
  void *part;
  dm_status s = scratch(d, (spans + 1) * sizeof(double), &part);
  if (s) return s;
  s = by_type(x, [&](auto zero) {
    using T = decltype(zero);
    return launch(d, square_error_kernel<T>, spans, THREADS, 0, (double *)part, data<T>(x), data<T>(target), n);
  });
  return s ? s : launch(d, mean_kernel, 1, 1, 0, data<float>(loss), (const double *)part, (int)spans, n);
}

/* dx (+)= 2 dloss / n * (x - target). */
template <class T>
__global__ void mse_bwd_kernel(T *dx, const float *dloss, const T *x, const T *target, size_t n, bool packed,
                               bool add) {
  constexpr int N = PACK<bf16>;
  const float f = 2.0f * *dloss / (float)n;
  for (size_t e = ((size_t)blockIdx.x * THREADS + threadIdx.x) * N; e < n; e += (size_t)gridDim.x * THREADS * N) {
    float v[N], t[N];
    fetch(v, x + e, (long long)(n - e), packed);
    fetch(t, target + e, (long long)(n - e), packed);
    for (int i = 0; i < N; i++) v[i] = f * (v[i] - t[i]);
    put(dx + e, v, (long long)(n - e), packed, add);
  }
}

dm_status cuda_mse_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dloss, const dm_tensor *x, const dm_tensor *target,
                       uint32_t acc) {
  if (!dx) return DM_OK;
  size_t n = dm_numel(x);
  return by_type(x, [&](auto zero) {
    using T = decltype(zero);
    return launch(d, mse_bwd_kernel<T>, striding(d, n, THREADS * 8), THREADS, 0, data<T>(dx), data<float>(dloss),
                  data<T>(x), data<T>(target), n, packable(8, data<T>(dx), data<T>(x), data<T>(target)),
                  (bool)(acc & 1));
  });
}
