/* orthonormal.c -- orthonormal rows by Gram-Schmidt, on the host, in double precision. */
#include "backend.h"

#include <math.h>

static double dot(const double *a, const double *b, int n) {
  double s = 0;
#pragma omp simd reduction(+ : s)
  for (int j = 0; j < n; j++) s += a[j] * b[j];
  return s;
}

dm_status dm_orthonormal(double *a, int32_t n) {
  if (!a || n < 1) return dm_fail(DM_EARG, "orthonormal: n is %d, expected at least 1", n);
  for (int32_t r = 0; r < n; r++) {
    double *row = a + (size_t)r * n, before = sqrt(dot(row, row, n));
    for (int32_t k = 0; k < r; k++) {
      const double *unit = a + (size_t)k * n;
      double along = dot(unit, row, n);
#pragma omp simd
      for (int32_t j = 0; j < n; j++) row[j] -= along * unit[j];
    }
    double left = sqrt(dot(row, row, n));
    if (!(left > 1e-10 * before)) {
      return dm_fail(DM_EARG, "orthonormal: row %d depends on those before it, expected a matrix of full rank", r);
    }
#pragma omp simd
    for (int32_t j = 0; j < n; j++) row[j] /= left;
  }
  return DM_OK;
}
