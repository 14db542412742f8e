/* xent.cu -- the vocabulary projection and its cross-entropy on CUDA. Logits are the caller's, kept for the backward
** pass, which writes their gradient over them where it is of their type; or in f32, a chunk of rows at a time, and made
** again. */
#include "figures.cuh"
#include "product.cuh"

/* Logits from a row to the next: whole packs of either type, and rows that tensor cores may read, whatever V is. */
static int stride_of(int V) { return (V + 7) / 8 * 8; }

/* Rows whose logits are in memory at once: at most 256 MB of them, depending on V alone. The gradient of the weights is
** read and written once for each chunk. */
static int chunk_rows(int V) {
  int rows = (64 << 20) / stride_of(V);
  return rows < 16 ? 16 : rows > 1024 ? 1024 : rows;
}

/* A label outside 0 .. n - 1 counts as left out. */
__device__ static inline bool counts(int label, int n, int ignore) {
  return label != ignore && label >= 0 && label < n;
}

/* Logits as they lie in memory: row r at `at` + r stride, of type L; a bias that they lack, of type T, or NULL. */
template <class L, class T> struct logits_of {
  using type = L;
  L *at;
  const T *b;
  int n, stride;
  bool packed;                           /* rows and b may be moved in packs of PACK8 */
};

template <class L, class T> __device__ static inline float logit(const logits_of<L, T> &x, size_t row, int j) {
  return to_float(x.at[row * x.stride + j]) + (x.b ? to_float(x.b[j]) : 0.0f);
}

/* v = logits j .. j + 8 of a row, -infinity beyond n. */
template <class L, class T>
__device__ static inline void fetch_logits(float (&v)[PACK8], const logits_of<L, T> &x, size_t row, int j) {
  const int left = x.n - j;
  fetch(v, x.at + row * x.stride + j, left, x.packed);
  if (x.b) {
    float u[PACK8];
    fetch(u, x.b + j, left, x.packed);
    for (int i = 0; i < PACK8; i++) v[i] += u[i];
  }
  if (left < PACK8) {
    for (int i = 0; i < PACK8; i++) v[i] = i < left ? v[i] : -INFINITY;
  }
}

/* A block takes one row of logits, read once: first largest of them, sum of exponentials, log-sum-exp, figure. A
** thread's sum is of exp(logit - its largest so far): when that grows, what there is shrinks. */
template <class L, class T>
__global__ void lse_kernel(float *lse, row_figure *out, logits_of<L, T> x, const int32_t *label, int ignore) {
  DM_SHARED(float, tops, THREADS);
  DM_SHARED(int, places, THREADS);
  const int own = threadIdx.x;
  float top = -INFINITY, sum = 0;
  int place = x.n;
  for (int j = own * PACK8; j < x.n; j += THREADS * PACK8) {
    float v[PACK8], most;
    fetch_logits(v, x, blockIdx.x, j);
    most = v[0];
    for (int i = 1; i < PACK8; i++) most = fmaxf(most, v[i]);
    if (most > top) {
      sum *= expf(top - most);
      top = most;
      for (int i = PACK8 - 1; i >= 0; i--) place = v[i] == most ? j + i : place;
    }
    const float shift = top == -INFINITY ? 0.0f : top;
    for (int i = 0; i < PACK8; i++) sum += expf(v[i] - shift);
  }
  tops[own] = top;
  places[own] = place;
  __syncthreads();
  for (int k = THREADS / 2; k; k /= 2) {
    const int other = own + k;
    if (own < k && places[other] < x.n
        && (tops[other] > tops[own] || (tops[other] == tops[own] && places[other] < places[own]))) {
      tops[own] = tops[other];
      places[own] = places[other];
    }
    __syncthreads();
  }
  sum = block_sum(sum * expf(top - tops[0]));                /* no number where every logit is -infinity */
  if (own) return;
  const int y = label[blockIdx.x];
  const bool kept = counts(y, x.n, ignore);
  const float total = tops[0] + logf(sum);                   /* no number: no right answer */
  lse[blockIdx.x] = total;
  out[blockIdx.x] = { kept ? total - logit(x, blockIdx.x, y) : 0.0f, kept,
                      kept && places[0] == y && total == total };
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

/* A block turns one row of logits into its gradient, (softmax - onehot) * factor, 0 for rows left out and beyond n;
** rows of g are as far apart as those of the logits, which g may be. */
template <class L, class T>
__global__ void grad_kernel(T *g, logits_of<L, T> x, const float *lse, const int32_t *label, const float *factor,
                            int ignore) {
  const int y = label[blockIdx.x];
  const bool kept = counts(y, x.n, ignore);
  const float f = *factor, shift = lse[blockIdx.x];
  for (int j = threadIdx.x * PACK8; j < x.n; j += THREADS * PACK8) {
    float v[PACK8] = {};
    if (kept) {
      fetch_logits(v, x, blockIdx.x, j);
      for (int i = 0; i < PACK8; i++) v[i] = f * expf(v[i] - shift);
      if (y / PACK8 == j / PACK8) {
        for (int i = 0; i < PACK8; i++) v[i] = j + i == y ? v[i] - f : v[i];
      }
    }
    put(g + (size_t)blockIdx.x * x.stride + j, v, x.stride - j, x.packed);
  }
}

/* -- ops ----------------------------------------------------------------------------------------------------------- */

/* The logits of a call, some rows at a time: all of them where the caller keeps them. */
typedef struct portion {
  int type, rows, stride;                /* of logits: element type, rows in memory at once, elements between rows */
} portion;

static portion portion_of(const dm_tensor *kept, int R, int V) {
  if (kept) return { kept->dtype, R, kept->shape[1] };
  const int most = chunk_rows(V);
  return { DM_F32, R < most ? R : most, stride_of(V) };
}

static size_t size_of(int type) { return type == DM_BF16 ? sizeof(bf16) : sizeof(float); }

/* logits of `rows` rows from `first` on = x w^T, and the bias where it is of their type: else those who read them add
** it. */
static dm_status make_logits(dm_device *d, void *logits, const portion &p, const dm_tensor *x, const dm_tensor *w,
                             const dm_tensor *b, int first, int rows) {
  int V = w->shape[0], C = w->shape[1];
  const void *from = (const char *)x->data + (size_t)first * C * size_of(x->dtype);
  const void *bias = b && p.type == x->dtype ? b->data : NULL;
  return multiply(d, { 0, 1, rows, V, C, 1, x->dtype, p.type, 0, from, w->data, bias, logits, 0, p.stride });
}

/* f(the logits, made by make_logits, and a zero of x's type). */
template <class F>
static dm_status with_logits(void *logits, const portion &p, const dm_tensor *x, const dm_tensor *b, int V, F f) {
  return by_type(x, [&](auto zero) {
    using T = decltype(zero);
    const size_t apart = (size_t)p.stride;
    if (p.type == x->dtype) {
      return f(logits_of<T, T>{ (T *)logits, NULL, V, p.stride, packable(apart, (T *)logits) }, zero);
    }
    return f(logits_of<float, T>{ (float *)logits, data<T>(b), V, p.stride,
                                  packable(apart, (float *)logits) && packable(PACK8, data<T>(b)) }, zero);
  });
}

dm_status cuda_linear_xent_fwd(dm_device *d, dm_tensor *loss, dm_tensor *hits, dm_tensor *lse, dm_tensor *kept,
                               const dm_tensor *x, const dm_tensor *w, const dm_tensor *b, const dm_tensor *label,
                               int32_t ignore) {
  int R = dm_rows(x), V = w->shape[0];
  const portion p = portion_of(kept, R, V);
  size_t for_logits = kept ? 0 : aligned((size_t)p.rows * p.stride * sizeof(float));
  void *room;
  dm_status s = scratch(d, for_logits + ((size_t)R + 1) * sizeof(row_figure), &room);
  if (s) return s;
  void *logits = kept ? kept->data : room;
  row_figure *each = (row_figure *)((char *)room + for_logits);
  for (int first = 0; first < R && !s; first += p.rows) {
    int rows = R - first < p.rows ? R - first : p.rows;
    s = make_logits(d, logits, p, x, w, b, first, rows);
    if (s) break;
    s = with_logits(logits, p, x, b, V, [&](auto l, auto zero) {
      return launch(d, lse_kernel<typename decltype(l)::type, decltype(zero)>, rows, THREADS, 0,
                    data<float>(lse) + first, each + first, l, data<int32_t>(label) + first, ignore);
    });
  }
  return s ? s : launch(d, figures_kernel, 1, THREADS, 0, data<float>(loss), (float *)NULL, data<int32_t>(hits),
                        (const row_figure *)each, R);
}

dm_status cuda_linear_xent_bwd(dm_device *d, dm_tensor *dx, dm_tensor *dw, dm_tensor *db, dm_tensor *kept,
                               const dm_tensor *dloss, const dm_tensor *lse, const dm_tensor *x, const dm_tensor *w,
                               const dm_tensor *b, const dm_tensor *label, int32_t ignore, uint32_t acc) {
  int R = dm_rows(x), V = w->shape[0], C = w->shape[1];
  const portion p = portion_of(kept, R, V);
  size_t for_logits = kept ? 0 : aligned((size_t)p.rows * p.stride * sizeof(float));
  size_t for_g = p.type == x->dtype ? 0 : aligned((size_t)p.rows * p.stride * size_of(x->dtype));  /* else in place */
  size_t for_sums = aligned(column_part(p.rows, V) * sizeof(float));
  void *room;
  dm_status s = scratch(d, for_logits + for_g + for_sums + sizeof(float), &room);
  if (s) return s;
  void *logits = kept ? kept->data : room, *g = for_g ? (char *)room + for_logits : logits;
  float *sums = (float *)((char *)room + for_logits + for_g), *factor = (float *)((char *)sums + for_sums);
  s = launch(d, factor_kernel, 1, THREADS, 0, factor, data<float>(dloss), data<int32_t>(label), R, V, ignore);
  if (!s && db && !R && !(acc >> 2 & 1)) s = cuda_fill(d, db, 0);
  if (!s && dw && !R && !(acc >> 1 & 1)) s = cuda_fill(d, dw, 0);
  for (int first = 0; first < R && !s; first += p.rows) {
    int rows = R - first < p.rows ? R - first : p.rows;
    size_t at = (size_t)first * C;
    if (!kept) s = make_logits(d, logits, p, x, w, b, first, rows);
    if (s) break;
    s = with_logits(logits, p, x, b, V, [&](auto l, auto zero) {
      return launch(d, grad_kernel<typename decltype(l)::type, decltype(zero)>, rows, THREADS, 0,
                    (decltype(zero) *)g, l, data<float>(lse) + first, data<int32_t>(label) + first,
                    (const float *)factor, ignore);
    });
    if (!s && db) {
      s = column_sum(d, data<float>(db), g, x->dtype, rows, V, p.stride, sums, first > 0 || (acc >> 2 & 1));
    }
    if (!s && dx) {
      s = multiply(d, { 0, 0, rows, C, V, 1, x->dtype, dx->dtype, (int)(acc & 1), g, w->data, NULL,
                       (char *)dx->data + at * size_of(dx->dtype), p.stride });
    }
    if (!s && dw) {
      s = multiply(d, { 1, 0, V, C, rows, 1, x->dtype, dw->dtype, first > 0 || (acc >> 1 & 1), g,
                        (const char *)x->data + at * size_of(x->dtype), NULL, dw->data, p.stride });
    }
  }
  return s;
}
