/* optim.cu -- adamw, sgd, norm2 on CUDA: one pass over the flat block; learning rate and update number are read from
** the device's knobs, so that a captured update stays valid. */
#include "common.cuh"

enum {
  THREADS = 256,
  SPAN = 65536                           /* elements of one partial sum of norm2: depends on the size only */
};

/* Factor of all gradients: min(1, clip / norm). */
__device__ static inline float clip_factor(const float *norm, float clip) {
  return norm && *norm > clip ? clip / *norm : 1.0f;
}

struct adamw_rule {
  float beta1, beta2, eps, decay;
};

/* A thread strides over the block in packs of eight: reads p, m, v, g, writes p, m, v and the bf16 copy: 30 bytes an
** element. The bias corrections are computed once a block, in double as on the CPU. */
__global__ void adamw_kernel(float *p, float *m, float *v, bf16 *copy, const float *g, const float *norm, size_t n,
                             size_t decayed, bool packed, float clip, adamw_rule o, const dm_knobs *knobs) {
  DM_SHARED(float, rate, 2);
  if (threadIdx.x == 0) {
    double t = knobs->update;
    rate[0] = (float)(knobs->lr / (1 - pow((double)o.beta1, t)));
    rate[1] = (float)(1 / sqrt(1 - pow((double)o.beta2, t)));
  }
  __syncthreads();
  const float step = rate[0], root = rate[1], lr = knobs->lr, factor = clip_factor(norm, clip);
  const float c1 = 1 - o.beta1, c2 = 1 - o.beta2;
  const size_t stride = (size_t)gridDim.x * THREADS * PACK8;
  for (size_t e = ((size_t)blockIdx.x * THREADS + threadIdx.x) * PACK8; e < n; e += stride) {
    const long long left = (long long)(n - e);
    float P[PACK8], M[PACK8], V[PACK8], G[PACK8];
    fetch(P, p + e, left, packed);
    fetch(M, m + e, left, packed);
    fetch(V, v + e, left, packed);
    fetch(G, g + e, left, packed);
    for (int i = 0; i < PACK8; i++) {
      float q = G[i] * factor, keep = e + i < decayed ? 1 - lr * o.decay : 1.0f;
      M[i] = o.beta1 * M[i] + c1 * q;
      V[i] = o.beta2 * V[i] + c2 * q * q;
      P[i] = P[i] * keep - step * M[i] / (sqrtf(V[i]) * root + o.eps);
    }
    put(p + e, P, left, packed);
    put(m + e, M, left, packed);
    put(v + e, V, left, packed);
    if (copy) put(copy + e, P, left, packed);
  }
}

dm_status cuda_adamw(dm_device *d, dm_tensor *p, dm_tensor *m, dm_tensor *v, dm_tensor *copy, const dm_tensor *g,
                     const dm_tensor *norm, double decayed, float beta1, float beta2, float eps, float decay,
                     float clip) {
  size_t n = dm_numel(p);
  bool packed = packable(PACK8, data<float>(p), data<float>(m), data<float>(v), data<float>(g), data<bf16>(copy));
  return launch(d, adamw_kernel, striding(d, n, THREADS * PACK8), THREADS, 0, data<float>(p), data<float>(m),
                data<float>(v), data<bf16>(copy), data<float>(g), data<float>(norm), n, (size_t)decayed, packed, clip,
                adamw_rule{ beta1, beta2, eps, decay }, cuda_of(d)->knobs);
}

/* As adamw_kernel; m may be NULL. */
__global__ void sgd_kernel(float *p, float *m, bf16 *copy, const float *g, const float *norm, size_t n, size_t decayed,
                           bool packed, float momentum, float decay, float clip, const dm_knobs *knobs) {
  const float lr = knobs->lr, factor = clip_factor(norm, clip);
  const size_t stride = (size_t)gridDim.x * THREADS * PACK8;
  for (size_t e = ((size_t)blockIdx.x * THREADS + threadIdx.x) * PACK8; e < n; e += stride) {
    const long long left = (long long)(n - e);
    float P[PACK8], M[PACK8], G[PACK8];
    fetch(P, p + e, left, packed);
    fetch(G, g + e, left, packed);
    if (m) fetch(M, m + e, left, packed);
    for (int i = 0; i < PACK8; i++) {
      float q = G[i] * factor + (e + i < decayed ? decay * P[i] : 0.0f);
      if (m) q = M[i] = momentum * M[i] + q;
      P[i] -= lr * q;
    }
    put(p + e, P, left, packed);
    if (m) put(m + e, M, left, packed);
    if (copy) put(copy + e, P, left, packed);
  }
}

dm_status cuda_sgd(dm_device *d, dm_tensor *p, dm_tensor *m, dm_tensor *copy, const dm_tensor *g, const dm_tensor *norm,
                   double decayed, float momentum, float decay, float clip) {
  size_t n = dm_numel(p);
  bool packed = packable(PACK8, data<float>(p), data<float>(m), data<float>(g), data<bf16>(copy));
  return launch(d, sgd_kernel, striding(d, n, THREADS * PACK8), THREADS, 0, data<float>(p), data<float>(m),
                data<bf16>(copy), data<float>(g), data<float>(norm), n, (size_t)decayed, packed, momentum, decay, clip,
                cuda_of(d)->knobs);
}

/* -- norm2 --------------------------------------------------------------------------------------------------------- */

/* A block sums the squares of one span. */
__global__ void square_span_kernel(double *part, const float *x, size_t n) {
  const size_t first = (size_t)blockIdx.x * SPAN, end = first + SPAN < n ? first + SPAN : n;
  double sum = 0;
  for (size_t i = first + threadIdx.x; i < end; i += THREADS) sum += (double)x[i] * (double)x[i];
  sum = block_sum_double<THREADS>(sum);
  if (threadIdx.x == 0) part[blockIdx.x] = sum;
}

/* One thread adds the partial sums in order: a thousand or two for 100 million elements. */
__global__ void root_kernel(float *out, const double *part, int count) {
  double total = 0;
  for (int i = 0; i < count; i++) total += part[i];
  *out = (float)sqrt(total);
}

dm_status cuda_norm2(dm_device *d, dm_tensor *out, const dm_tensor *x) {
  size_t n = dm_numel(x);
  unsigned spans = blocks(n, SPAN);
  void *part;
  dm_status s = scratch(d, (spans + 1) * sizeof(double), &part);
  if (!s) s = launch(d, square_span_kernel, spans, THREADS, 0, (double *)part, data<float>(x), n);
  return s ? s : launch(d, root_kernel, 1, 1, 0, data<float>(out), (double *)part, (int)spans);
}
