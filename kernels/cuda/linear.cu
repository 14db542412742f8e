/* linear.cu -- linear and matmul on CUDA: cuBLASLt, one plan for each kind of product. The activation is a pass of its
** own over the product (point.cu): cuBLASLt's GELU is the approximation by tanh, the engine's is exact. */
#include "product.cuh"

#include <stdlib.h>

/* -- plans ------------------------------------------------------------------------------------------------------- */

/* What a plan depends on: all of it ints, so that keys compare as bytes. align: of a, b, c, in bytes. */
typedef struct plan_key {
  int ta, tb, m, n, k, batch, type, out_type, lda, ldc, beta, bias, align[3];
} plan_key;

typedef struct plan {
  plan_key key;
  cublasLtMatmulDesc_t what;
  cublasLtMatrixLayout_t a, b, c;
  cublasLtMatmulAlgo_t algo;
  size_t workspace;
  struct plan *next;
} plan;

enum { BUCKETS = 256 };
static plan *plans[BUCKETS];             /* of the one device of this process; they live as long as it does */

static unsigned bucket_of(const plan_key &key) {
  unsigned h = 2166136261u;
  const int *v = (const int *)&key;
  for (size_t i = 0; i < sizeof key / sizeof *v; i++) h = (h ^ (unsigned)v[i]) * 16777619u;
  return h % BUCKETS;
}

/* The largest power of two up to 256 that divides the address. */
static int alignment(const void *p) {
  int n = 1;
  while (n < 256 && (uintptr_t)p % (2 * n) == 0) n *= 2;
  return n;
}

static cudaDataType_t type_of(int dtype) { return dtype == DM_BF16 ? CUDA_R_16BF : CUDA_R_32F; }

/* A row-major [rows, cols] matrix, `batch` times, as cuBLASLt sees it: columns first. ld: 0 without gaps. */
static cublasStatus_t layout(cublasLtMatrixLayout_t *l, int dtype, int rows, int cols, int batch, int ld) {
  cublasStatus_t s = cublasLtMatrixLayoutCreate(l, type_of(dtype), (uint64_t)cols, (uint64_t)rows, ld ? ld : cols);
  if (s || batch == 1) return s;
  int64_t stride = (int64_t)rows * cols;
  s = cublasLtMatrixLayoutSetAttribute(*l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch);
  return s ? s : cublasLtMatrixLayoutSetAttribute(*l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride,
                                                  sizeof stride);
}

/* c^T = op(b)^T op(a)^T, so that b comes first and the bias lies along its columns. */
static cublasStatus_t describe(plan *q) {
  const plan_key &key = q->key;
  cublasOperation_t first = key.tb ? CUBLAS_OP_T : CUBLAS_OP_N, second = key.ta ? CUBLAS_OP_T : CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = key.bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
  cublasStatus_t s = cublasLtMatmulDescCreate(&q->what, CUBLAS_COMPUTE_32F, CUDA_R_32F);
  if (!s) s = cublasLtMatmulDescSetAttribute(q->what, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first);
  if (!s) s = cublasLtMatmulDescSetAttribute(q->what, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second);
  if (!s) s = cublasLtMatmulDescSetAttribute(q->what, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
  if (!s) s = layout(&q->a, key.type, key.ta ? key.k : key.m, key.ta ? key.m : key.k, key.batch, key.lda);
  if (!s) s = layout(&q->b, key.type, key.tb ? key.n : key.k, key.tb ? key.k : key.n, key.batch, 0);
  return s ? s : layout(&q->c, key.out_type, key.m, key.n, key.batch, key.ldc);
}

/* Takes cuBLASLt's first choice among those that use the fixed workspace and sum in a fixed order. */
static cublasStatus_t choose(const cuda_device *c, plan *q) {
  cublasLtMatmulPreference_t want = NULL;
  cublasLtMatmulHeuristicResult_t found;
  uint64_t room = c->workspace_size;
  /* split sums in the workspace, added by a pass of their own */
  uint32_t order = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  uint32_t aa = q->key.align[0], ab = q->key.align[1], ac = q->key.align[2], ad = ac;
  if (q->key.bias && (uint32_t)q->key.bias < ad) ad = q->key.bias;     /* the bias is read as d is written */
  int count = 0;
  cublasStatus_t s = cublasLtMatmulPreferenceCreate(&want);
  auto set = [&](cublasLtMatmulPreferenceAttributes_t name, const void *v, size_t bytes) {
    if (!s) s = cublasLtMatmulPreferenceSetAttribute(want, name, v, bytes);
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &room, sizeof room);
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &order, sizeof order);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &ab, sizeof ab);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &aa, sizeof aa);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &ac, sizeof ac);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &ad, sizeof ad);
  if (!s) s = cublasLtMatmulAlgoGetHeuristic(c->lt, q->what, q->b, q->a, q->c, q->c, want, 1, &found, &count);
  if (want) cublasLtMatmulPreferenceDestroy(want);
  if (s) return s;
  if (count < 1) return CUBLAS_STATUS_NOT_SUPPORTED;
  q->algo = found.algo;
  q->workspace = found.workspaceSize;
  return CUBLAS_STATUS_SUCCESS;
}

static void forget(plan *q) {
  if (q->a) cublasLtMatrixLayoutDestroy(q->a);
  if (q->b) cublasLtMatrixLayoutDestroy(q->b);
  if (q->c) cublasLtMatrixLayoutDestroy(q->c);
  if (q->what) cublasLtMatmulDescDestroy(q->what);
  free(q);
}

static dm_status plan_for(const dm_device *d, const plan_key &key, plan **out) {
  plan **at = &plans[bucket_of(key)];
  for (plan *q = *at; q; q = q->next) {
    if (memcmp(&q->key, &key, sizeof key)) continue;
    *out = q;
    return DM_OK;
  }
  plan *q = (plan *)calloc(1, sizeof *q);
  if (!q) return fail(DM_ENOMEM, "%s: no room for the plan of a product", cuda_of(d)->op);
  q->key = key;
  cublasStatus_t s = describe(q);
  if (!s) s = choose(cuda_of(d), q);
  if (s) {
    forget(q);
    return cuda_check_lt(d, s);
  }
  q->next = *at;
  *at = *out = q;
  return DM_OK;
}

/* -- products ------------------------------------------------------------------------------------------------------ */

enum { THREADS = 256 };

/* What a sum over nothing is: c = bias or 0. A thread takes one element, striding over the grid. */
template <class T> __global__ void no_sum_kernel(T *c, const T *bias, size_t count, int n, int ld) {
  for (size_t e = (size_t)blockIdx.x * THREADS + threadIdx.x; e < count; e += (size_t)gridDim.x * THREADS) {
    c[e / n * ld + e % n] = bias ? bias[e % n] : from_float<T>(0.0f);
  }
}

template <class T> static dm_status no_sum(dm_device *d, const product &p) {
  size_t count = (size_t)p.batch * p.m * p.n;
  if (p.beta) return DM_OK;
  return launch(d, no_sum_kernel<T>, striding(d, count, THREADS), THREADS, 0, (T *)p.c, (const T *)p.bias, count, p.n,
                p.ldc ? p.ldc : p.n);
}

dm_status multiply(dm_device *d, const product &p) {
  if (!p.m || !p.n || !p.batch) return DM_OK;
  if (!p.k) return p.out_type == DM_BF16 ? no_sum<bf16>(d, p) : no_sum<float>(d, p);
  cuda_device *c = cuda_of(d);
  plan_key key = { p.ta, p.tb, p.m, p.n, p.k, p.batch, p.type, p.out_type, p.lda, p.ldc, p.beta,
                   p.bias ? alignment(p.bias) : 0, { alignment(p.a), alignment(p.b), alignment(p.c) } };
  plan *q = NULL;
  dm_status s = plan_for(d, key, &q);
  if (s) return s;
  if (p.bias) {
    s = cuda_check_lt(d, cublasLtMatmulDescSetAttribute(q->what, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p.bias,
                                                        sizeof p.bias));
    if (s) return s;
  }
  float one = 1.0f, beta = (float)p.beta;
  return cuda_check_lt(d, cublasLtMatmul(c->lt, q->what, &one, p.b, q->b, p.a, q->a, &beta, p.c, q->c, p.c, q->c,
                                         &q->algo, c->workspace, q->workspace, c->stream));
}

/* -- linear -------------------------------------------------------------------------------------------------------- */

dm_status cuda_linear_fwd(dm_device *d, dm_tensor *y, dm_tensor *pre, const dm_tensor *x, const dm_tensor *w,
                          const dm_tensor *b, int32_t act) {
  dm_tensor *v = pre ? pre : y;
  dm_status s = multiply(d, { 0, 1, dm_rows(x), w->shape[0], dm_cols(x), 1, x->dtype, y->dtype, 0, x->data, w->data,
                              b ? b->data : NULL, v->data });
  return s || (act == DM_NONE && !pre) ? s : cuda_act_fwd(d, y, v, act);
}

dm_status cuda_linear_bwd(dm_device *d, dm_tensor *dx, dm_tensor *dw, dm_tensor *db, const dm_tensor *dy,
                          const dm_tensor *pre, const dm_tensor *x, const dm_tensor *w, int32_t act, uint32_t acc) {
  int rows = dm_rows(x), k = dm_cols(x), n = w->shape[0], type = x->dtype;
  size_t element = type == DM_BF16 ? sizeof(bf16) : sizeof(float);
  size_t for_part = db ? aligned(column_part(rows, n) * sizeof(float)) : 0;
  void *room;
  dm_status s = scratch(d, for_part + (act == DM_NONE ? 0 : (size_t)rows * n * element), &room);
  if (s) return s;
  dm_tensor dpre = *dy;
  float *out = data<float>(db), *part = (float *)room;
  bool add = acc >> 2 & 1;
  if (act != DM_NONE) {
    dpre.data = (char *)room + for_part;
    s = db ? column_sum_act(d, out, &dpre, dy, pre, act, part, add) : cuda_act_bwd(d, &dpre, dy, pre, act, 0);
  } else if (db) {
    s = column_sum(d, out, dy->data, type, rows, n, n, part, add);
  }
  if (!s && dx) {
    s = multiply(d, { 0, 0, rows, k, n, 1, type, dx->dtype, (int)(acc & 1), dpre.data, w->data, NULL, dx->data });
  }
  if (!s && dw) {
    s = multiply(d, { 1, 0, n, k, rows, 1, type, dw->dtype, (int)(acc >> 1 & 1), dpre.data, x->data, NULL, dw->data });
  }
  return s;
}

/* -- matmul -------------------------------------------------------------------------------------------------------- */

/* c = op(a) op(b) + beta c for each of the leading dimension. */
static dm_status products(dm_device *d, const dm_tensor *a, const dm_tensor *b, dm_tensor *c, int ta, int tb,
                          int beta) {
  int n = a->ndim;
  return multiply(d, { ta, tb, a->shape[n - (ta ? 1 : 2)], b->shape[n - (tb ? 2 : 1)], a->shape[n - (ta ? 2 : 1)],
                       n == 3 ? a->shape[0] : 1, a->dtype, c->dtype, beta, a->data, b->data, NULL, c->data });
}

dm_status cuda_matmul_fwd(dm_device *d, dm_tensor *y, const dm_tensor *a, const dm_tensor *b, int32_t ta, int32_t tb) {
  return products(d, a, b, y, ta, tb, 0);
}

/* da = dy op(b)^T, transposed where a is; db = op(a)^T dy, transposed where b is. */
dm_status cuda_matmul_bwd(dm_device *d, dm_tensor *da, dm_tensor *db, const dm_tensor *dy, const dm_tensor *a,
                          const dm_tensor *b, int32_t ta, int32_t tb, uint32_t acc) {
  int add_a = acc & 1, add_b = acc >> 1 & 1;
  dm_status s = DM_OK;
  if (da) s = ta ? products(d, b, dy, da, tb, 1, add_a) : products(d, dy, b, da, 0, !tb, add_a);
  if (!s && db) s = tb ? products(d, dy, a, db, 1, ta, add_b) : products(d, a, dy, db, !ta, 0, add_b);
  return s;
}
