/* gemm.c -- matrix products: oneDNN in f32, plain loops in the f64 twin. All that is oneDNN's stays here. */
#include "cpu.h"

#include <stdio.h>
#include <string.h>

#ifdef DM_REAL

const char *cpu_gemm_library(void) { return "plain loops"; }

dm_status cpu_gemm(int ta, int tb, int m, int n, int k, const dm_real *a, int lda, const dm_real *b,
                   int ldb, int beta, dm_real *c, int ldc) {
#pragma omp parallel for schedule(static)
  for (int i = 0; i < m; i++) {
    dm_real *row = c + (size_t)i * ldc;
    if (!beta) memset(row, 0, (size_t)n * sizeof *row);
    for (int l = 0; l < k; l++) {
      dm_real x = ta ? a[(size_t)l * lda + i] : a[(size_t)i * lda + l];
      if (tb) {
        for (int j = 0; j < n; j++) row[j] += x * b[(size_t)j * ldb + l];
      } else {
        const dm_real *q = b + (size_t)l * ldb;
        for (int j = 0; j < n; j++) row[j] += x * q[j];
      }
    }
  }
  return DM_OK;
}

#else

#include <dnnl.h>

const char *cpu_gemm_library(void) {
  static char text[32];
  const dnnl_version_t *v = dnnl_version();
  snprintf(text, sizeof text, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
  return text;
}

dm_status cpu_gemm(int ta, int tb, int m, int n, int k, const dm_real *a, int lda, const dm_real *b,
                   int ldb, int beta, dm_real *c, int ldc) {
  if (m == 0 || n == 0) return DM_OK;
  if (k == 0) {
    for (int i = 0; !beta && i < m; i++) memset(c + (size_t)i * ldc, 0, (size_t)n * sizeof *c);
    return DM_OK;
  }
  dnnl_status_t s = dnnl_sgemm(ta ? 'T' : 'N', tb ? 'T' : 'N', m, n, k, 1.0f, a, lda, b, ldb, (float)beta, c, ldc);
  if (s == dnnl_success) return DM_OK;
  return dm_fail(s == dnnl_out_of_memory ? DM_ENOMEM : DM_EINTERNAL, "gemm: oneDNN status %d for [%d, %d] x [%d, %d]",
                 (int)s, m, k, k, n);
}

#endif
