/* xent.cu -- the vocabulary projection and its cross-entropy on CUDA: logits in f32, a chunk of rows at a time, made
** again by the backward pass. The caller's room for logits is left alone. */
#include "figures.cuh"
#include "product.cuh"

/* Rows whose logits are in memory at once: about 64 MB of them, depending on V alone. */
static int chunk_rows(int V) {
  int rows = (16 << 20) / V;
  return rows < 16 ? 16 : rows > 4096 ? 4096 : rows;
}

/* A label outside 0 .. n - 1 counts as left out. */
__device__ static inline bool counts(int label, int n, int ignore) {
  return label != ignore && label >= 0 && label < n;
}

template <class T> __device__ static inline float logit(const float *v, const T *b, int j) {
  return v[j] + (b ? to_float(b[j]) : 0.0f);
}

/* A block takes one row of logits, read twice: first largest of them, sum of exponentials, log-sum-exp, figure. */
template <class T>
__global__ void chunk_lse_kernel(float *lse, row_figure *out, const float *logits, const T *b, const int32_t *label,
                                 int n, int ignore) {
  DM_SHARED(float, tops, THREADS);
  DM_SHARED(int, places, THREADS);
  const float *v = logits + (size_t)blockIdx.x * n;
  const int own = threadIdx.x;
  float top = -INFINITY, sum = 0;
  int place = n;
  for (int j = own; j < n; j += THREADS) {
    const float x = logit(v, b, j);
    if (place < n && !(x > top)) continue;
    top = x;
    place = j;
  }
  tops[own] = top;
  places[own] = place;
  __syncthreads();
  for (int k = THREADS / 2; k; k /= 2) {
    const int other = own + k;
    if (own < k && places[other] < n
        && (tops[other] > tops[own] || (tops[other] == tops[own] && places[other] < places[own]))) {
      tops[own] = tops[other];
      places[own] = places[other];
    }
    __syncthreads();
  }
  top = tops[0];
  for (int j = own; j < n; j += THREADS) sum += expf(logit(v, b, j) - top);
  sum = block_sum(sum);
  if (own) return;
  const int y = label[blockIdx.x];
  const bool kept = counts(y, n, ignore);
  lse[blockIdx.x] = top + logf(sum);
  const float total = lse[blockIdx.x];                       /* no number: no right answer */
  out[blockIdx.x] = { kept ? total - logit(v, b, y) : 0.0f, kept, kept && places[0] == y && total == total };
}

/* factor [1] = dloss / rows that count, 0 where none does; one block. */
static __global__ void factor_kernel(float *factor, const float *dloss, const int32_t *label, int rows, int n,
                                     int ignore) {
  DM_SHARED(int32_t, kept, THREADS);
  int32_t k = 0;
  for (int i = threadIdx.x; i < rows; i += THREADS) k += counts(label[i], n, ignore);
  kept[threadIdx.x] = k;
  __syncthreads();
  if (threadIdx.x) return;
  for (int i = 1; i < THREADS; i++) k += kept[i];
  *factor = k ? *dloss / (float)k : 0.0f;
}

/* A block turns one row of logits into its gradient, (softmax - onehot) * factor, 0 for rows left out: reads 4 bytes
** of each, writes sizeof(T). In f32 g may be the logits themselves. */
template <class T>
__global__ void chunk_grad_kernel(T *g, const float *logits, const T *b, const float *lse, const int32_t *label,
                                  const float *factor, int n, int ignore) {
  const size_t at = (size_t)blockIdx.x * n;
  const int y = label[blockIdx.x];
  const bool kept = counts(y, n, ignore);
  const float f = *factor, shift = lse[blockIdx.x];
  for (int j = threadIdx.x; j < n; j += THREADS) {
    const float v = kept ? f * expf(logit(logits + at, b, j) - shift) : 0.0f;
    g[at + j] = from_float<T>(kept && j == y ? v - f : v);
  }
}

/* logits [rows, V] f32 = x w^T for rows from `first` on; the bias is added by those who read them. */
static dm_status chunk_logits(dm_device *d, float *logits, const dm_tensor *x, const dm_tensor *w, int first,
                              int rows) {
  int V = w->shape[0], C = w->shape[1];
  size_t element = x->dtype == DM_BF16 ? sizeof(bf16) : sizeof(float);
  return multiply(d, { 0, 1, rows, V, C, 1, x->dtype, DM_F32, 0, (const char *)x->data + (size_t)first * C * element,
                       w->data, NULL, logits });
}

dm_status cuda_linear_xent_fwd(dm_device *d, dm_tensor *loss, dm_tensor *hits, dm_tensor *lse, dm_tensor *,
                               const dm_tensor *x, const dm_tensor *w, const dm_tensor *b, const dm_tensor *label,
                               int32_t ignore) {
  int R = dm_rows(x), V = w->shape[0], most = chunk_rows(V), size = R < most ? R : most;
  size_t for_logits = aligned((size_t)size * V * sizeof(float));
  void *room;
  dm_status s = scratch(d, for_logits + ((size_t)R + 1) * sizeof(row_figure), &room);
  if (s) return s;
  float *logits = (float *)room;
  row_figure *each = (row_figure *)((char *)room + for_logits);
  for (int first = 0; first < R && !s; first += size) {
    int rows = R - first < size ? R - first : size;
    s = chunk_logits(d, logits, x, w, first, rows);
    if (s) break;
    s = by_type(x, [&](auto zero) {
      using T = decltype(zero);
      return launch(d, chunk_lse_kernel<T>, rows, THREADS, 0, data<float>(lse) + first, each + first,
                    (const float *)logits, data<T>(b), data<int32_t>(label) + first, V, ignore);
    });
  }
  return s ? s : launch(d, figures_kernel, 1, THREADS, 0, data<float>(loss), (float *)NULL, data<int32_t>(hits),
                        (const row_figure *)each, R);
}

dm_status cuda_linear_xent_bwd(dm_device *d, dm_tensor *dx, dm_tensor *dw, dm_tensor *db, dm_tensor *,
                               const dm_tensor *dloss, const dm_tensor *lse, const dm_tensor *x, const dm_tensor *w,
                               const dm_tensor *b, const dm_tensor *label, int32_t ignore, uint32_t acc) {
  int R = dm_rows(x), V = w->shape[0], C = w->shape[1], most = chunk_rows(V), size = R < most ? R : most;
  size_t element = x->dtype == DM_BF16 ? sizeof(bf16) : sizeof(float);
  size_t for_logits = aligned((size_t)size * V * sizeof(float));
  size_t for_g = x->dtype == DM_BF16 ? aligned((size_t)size * V * sizeof(bf16)) : 0;      /* f32: in place */
  size_t for_part = aligned(column_part(size, V) * sizeof(float));
  void *room;
  dm_status s = scratch(d, for_logits + for_g + for_part + sizeof(float), &room);
  if (s) return s;
  float *logits = (float *)room, *part = (float *)((char *)room + for_logits + for_g);
  float *factor = (float *)((char *)part + for_part);
  void *g = for_g ? (char *)room + for_logits : room;
  s = launch(d, factor_kernel, 1, THREADS, 0, factor, data<float>(dloss), data<int32_t>(label), R, V, ignore);
  if (!s && db && !R && !(acc >> 2 & 1)) s = cuda_fill(d, db, 0);
  if (!s && dw && !R && !(acc >> 1 & 1)) s = cuda_fill(d, dw, 0);
  for (int first = 0; first < R && !s; first += size) {
    int rows = R - first < size ? R - first : size;
    size_t at = (size_t)first * C * element;
    s = chunk_logits(d, logits, x, w, first, rows);
    if (s) break;
    s = by_type(x, [&](auto zero) {
      using T = decltype(zero);
      return launch(d, chunk_grad_kernel<T>, rows, THREADS, 0, (T *)g, (const float *)logits, data<T>(b),
                    data<float>(lse) + first, data<int32_t>(label) + first, (const float *)factor, V, ignore);
    });
    if (!s && db) s = column_sum(d, data<float>(db), g, x->dtype, rows, V, part, first > 0 || (acc >> 2 & 1));
    if (!s && dx) {
      s = multiply(d, { 0, 0, rows, C, V, 1, x->dtype, dx->dtype, (int)(acc & 1), g, w->data, NULL,
                       (char *)dx->data + at });
    }
    if (!s && dw) {
      s = multiply(d, { 1, 0, V, C, rows, 1, x->dtype, dw->dtype, first > 0 || (acc >> 1 & 1), g,
                        (const char *)x->data + at, NULL, dw->data });
    }
  }
  return s;
}
