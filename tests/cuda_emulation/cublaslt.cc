/* cublaslt.cc -- cuBLASLt's entry points by plain loops: the sums in float, in the order of the inner index. */
#include "cublasLt.h"

#include "cuda_bf16.h"
#include "emulator.h"

struct emulated_lt { int unused; };
struct emulated_lt_preference { int unused; };
struct emulated_lt_desc {
  int ta = CUBLAS_OP_N, tb = CUBLAS_OP_N, epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void *bias = NULL;
  int bias_type = -1;                  /* -1: the type of the output */
};
struct emulated_lt_layout {
  int type;
  uint64_t rows, cols;
  int64_t ld;
  int order = CUBLASLT_ORDER_COL, batches = 1;
  int64_t stride = 0;
};

static size_t place(const emulated_lt_layout &l, int64_t batch, uint64_t r, uint64_t c) {
  return (size_t)(batch * l.stride) + (l.order == CUBLASLT_ORDER_COL ? r + c * (size_t)l.ld : r * (size_t)l.ld + c);
}

static float read(const void *p, int type, size_t i) {
  return type == CUDA_R_16BF ? __bfloat162float(((const __nv_bfloat16 *)p)[i]) : ((const float *)p)[i];
}

static void write(void *p, int type, size_t i, float v) {
  if (type == CUDA_R_16BF) ((__nv_bfloat16 *)p)[i] = __float2bfloat16_rn(v);
  else ((float *)p)[i] = v;
}

static void product(const emulated_lt_desc &d, float alpha, const void *a, const emulated_lt_layout &la, const void *b,
                    const emulated_lt_layout &lb, float beta, const void *c, const emulated_lt_layout &lc, void *out,
                    const emulated_lt_layout &lo) {
  uint64_t inner = d.ta ? la.rows : la.cols;
  for (int batch = 0; batch < lo.batches; batch++) {
    for (uint64_t i = 0; i < lo.rows; i++) {
      for (uint64_t j = 0; j < lo.cols; j++) {
        float sum = 0;
        for (uint64_t k = 0; k < inner; k++) {
          sum += read(a, la.type, d.ta ? place(la, batch, k, i) : place(la, batch, i, k))
                 * read(b, lb.type, d.tb ? place(lb, batch, j, k) : place(lb, batch, k, j));
        }
        sum *= alpha;
        if (beta != 0) sum += beta * read(c, lc.type, place(lc, batch, i, j));
        if (d.epilogue & CUBLASLT_EPILOGUE_BIAS) sum += read(d.bias, d.bias_type < 0 ? lo.type : d.bias_type, i);
        if (d.epilogue & CUBLASLT_EPILOGUE_RELU) sum = sum > 0 ? sum : 0;
        write(out, lo.type, place(lo, batch, i, j), sum);
      }
    }
  }
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *h) {
  *h = new emulated_lt();
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t h) {
  delete h;
  return CUBLAS_STATUS_SUCCESS;
}

size_t cublasLtGetVersion(void) { return 0; }

const char *cublasLtGetStatusString(cublasStatus_t s) {
  return s == CUBLAS_STATUS_SUCCESS ? "success" : s == CUBLAS_STATUS_INVALID_VALUE ? "invalid value" : "not supported";
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t, cudaDataType_t scale) {
  if (scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  *d = new emulated_lt_desc();
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) {
  delete d;
  return CUBLAS_STATUS_SUCCESS;
}

/* Copies an attribute of exactly this size. */
template <class T> static cublasStatus_t set(T *to, const void *v, size_t bytes) {
  if (bytes != sizeof *to) return CUBLAS_STATUS_INVALID_VALUE;
  memcpy(to, v, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t a, const void *v,
                                              size_t bytes) {
  switch (a) {
    case CUBLASLT_MATMUL_DESC_TRANSA: return set(&d->ta, v, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB: return set(&d->tb, v, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return set(&d->epilogue, v, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return set(&d->bias, v, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: return set(&d->bias_type, v, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType_t type, uint64_t rows, uint64_t cols,
                                          int64_t ld) {
  if (!rows || !cols) return CUBLAS_STATUS_INVALID_VALUE;
  *l = new emulated_lt_layout();
  (*l)->type = type;
  (*l)->rows = rows;
  (*l)->cols = cols;
  (*l)->ld = ld;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) {
  delete l;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t a,
                                                const void *v, size_t bytes) {
  switch (a) {
    case CUBLASLT_MATRIX_LAYOUT_ORDER: return set(&l->order, v, bytes);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT: return set(&l->batches, v, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET: return set(&l->stride, v, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p) {
  *p = new emulated_lt_preference();
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) {
  delete p;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t,
                                                    const void *, size_t) {
  return CUBLAS_STATUS_SUCCESS;
}

/* The shapes and types that a product takes; what cuBLASLt itself refuses with NOT_SUPPORTED or INVALID_VALUE. */
static cublasStatus_t fits(const emulated_lt_desc &d, const emulated_lt_layout &a, const emulated_lt_layout &b,
                           const emulated_lt_layout &c, const emulated_lt_layout &o) {
  uint64_t m = d.ta ? a.cols : a.rows, k = d.ta ? a.rows : a.cols;
  uint64_t k2 = d.tb ? b.cols : b.rows, n = d.tb ? b.rows : b.cols;
  if (k != k2 || o.rows != m || o.cols != n || c.rows != m || c.cols != n) return CUBLAS_STATUS_INVALID_VALUE;
  for (const emulated_lt_layout *l : { &a, &b, &c, &o }) {
    if (l->ld < (int64_t)(l->order == CUBLASLT_ORDER_COL ? l->rows : l->cols)) return CUBLAS_STATUS_INVALID_VALUE;
    if (l->batches != o.batches) return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (a.type != b.type || c.type != o.type) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (a.type == CUDA_R_32F && o.type != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                              cublasLtMatrixLayout_t out,
                                              cublasLtMatmulPreference_t, int wanted,
                                              cublasLtMatmulHeuristicResult_t *results, int *found) {
  *found = 0;
  cublasStatus_t s = fits(*d, *a, *b, *c, *out);
  if (s != CUBLAS_STATUS_SUCCESS || wanted < 1) return s;
  memset(results, 0, sizeof *results);
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t d, const void *alpha, const void *a,
                              cublasLtMatrixLayout_t la, const void *b, cublasLtMatrixLayout_t lb, const void *beta,
                              const void *c, cublasLtMatrixLayout_t lc, void *out, cublasLtMatrixLayout_t lout,
                              const cublasLtMatmulAlgo_t *, void *, size_t, cudaStream_t stream) {
  cublasStatus_t s = fits(*d, *la, *lb, *lc, *lout);
  if (s != CUBLAS_STATUS_SUCCESS) return s;
  emulated_lt_desc desc = *d;
  emulated_lt_layout ca = *la, cb = *lb, cc = *lc, co = *lout;
  float fa = *(const float *)alpha, fb = *(const float *)beta;
  emulated_task(stream, [=] { product(desc, fa, a, ca, b, cb, fb, c, cc, out, co); });
  return CUBLAS_STATUS_SUCCESS;
}
