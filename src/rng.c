/* rng.c -- random fills, permutations and row orders, made on the host: the same bits for every device. */
#include "backend.h"
#include "philox.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double TWO_PI = 6.283185307179586;

static void split(uint32_t key[2], double seed) {
  key[0] = (uint32_t)fmod(seed, 4294967296.0);
  key[1] = (uint32_t)(seed / 4294967296.0);
}

static dm_status check_seed(const char *op, double seed) {
  if (seed >= 0 && seed < 9007199254740992.0 && seed == floor(seed)) return DM_OK;
  return dm_fail(DM_EARG, "%s: seed is %g, expected a whole number in 0 .. 2^53", op, seed);
}

void dm_philox(uint32_t *out, const uint32_t *counter, const uint32_t *key) { dm_philox4x32(out, counter, key); }

/* Four values for elements 4 block .. 4 block + 3 of a stream. */
typedef void (*draw)(double out[4], uint64_t block, uint32_t site, const uint32_t key[2]);

static void draw_uniform(double out[4], uint64_t block, uint32_t site, const uint32_t key[2]) {
  float u[4];
  dm_uniform4(u, block, site, 0, key);
  for (int i = 0; i < 4; i++) out[i] = u[i];
}

/* Box & Muller 1958: two normals from two uniforms; the first is taken in (0, 1]. */
static void draw_normal(double out[4], uint64_t block, uint32_t site, const uint32_t key[2]) {
  float u[4];
  dm_uniform4(u, block, site, 0, key);
  for (int i = 0; i < 4; i += 2) {
    double r = sqrt(-2 * log(1 - (double)u[i])), a = TWO_PI * u[i + 1];
    out[i] = r * cos(a);
    out[i + 1] = r * sin(a);
  }
}

static dm_status fill(const char *op, dm_tensor *t, double shift, double scale, double seed, uint32_t site, draw f) {
  dm_status s = dm_check_live(op, "t", t);
  if (!s) s = check_seed(op, seed);
  if (s) return s;
  if (t->dtype != DM_F32) return dm_fail(DM_EDTYPE, "%s: t is not f32, expected a real tensor", op);
  uint32_t key[2];
  split(key, seed);
  size_t n = dm_numel(t);
  dm_real *v = malloc(n * sizeof *v + 1);
  if (!v) return dm_fail(DM_ENOMEM, "%s: no room for a host copy of %s", op, dm_shape_text(t));
  for (size_t i = 0; i < n; i += 4) {
    double u[4];
    f(u, i / 4, site, key);
    for (size_t k = i; k < n && k < i + 4; k++) v[k] = (dm_real)(float)(shift + scale * u[k - i]);
  }
  s = dm_tensor_put(t, v, dm_tensor_bytes(t));
  free(v);
  return s;
}

dm_status dm_tensor_uniform(dm_tensor *t, double lo, double hi, double seed, uint32_t site) {
  return fill("uniform", t, lo, hi - lo, seed, site, draw_uniform);
}

dm_status dm_tensor_normal(dm_tensor *t, double mean, double std, double seed, uint32_t site) {
  return fill("normal", t, mean, std, seed, site, draw_normal);
}

dm_status dm_order(int32_t *order, const int32_t *ids, double n, int32_t range) {
  if (!(n >= 0 && n <= 2147483647) || range < 0) {
    return dm_fail(DM_EARG, "order: n is %g and range %d, expected whole numbers >= 0", n, range);
  }
  size_t rows = (size_t)n;
  for (size_t i = 0; i < rows; i++) {
    if (ids[i] < -1 || ids[i] >= range) {
      return dm_fail(DM_EARG, "order: ids[%zu] is %d, expected -1 .. %d", i, ids[i], range - 1);
    }
  }
  if (!order) return DM_OK;
  int32_t *start = calloc((size_t)range + 2, sizeof *start);
  if (!start) return dm_fail(DM_ENOMEM, "order: no room for %d counts", range);
  for (size_t i = 0; i < rows; i++) start[ids[i] + 2]++;
  for (size_t k = 1; k < (size_t)range + 2; k++) start[k] += start[k - 1];
  for (size_t i = 0; i < rows; i++) order[start[ids[i] + 1]++] = (int32_t)i;
  free(start);
  return DM_OK;
}

/* A whole number below n without bias (Lemire 2019), from 32-bit draws of the stream. */
static uint32_t below(uint32_t n, uint32_t bits[4], uint64_t *used, uint32_t site, uint32_t step,
                      const uint32_t key[2]) {
  for (;;) {
    if (*used % 4 == 0) {
      const uint32_t c[4] = { (uint32_t)(*used / 4), (uint32_t)(*used / 4 >> 32), site, step };
      dm_philox4x32(bits, c, key);
    }
    uint64_t product = (uint64_t)bits[(*used)++ % 4] * n;
    if ((uint32_t)product >= (uint32_t)(-n) % n) return (uint32_t)(product >> 32);
  }
}

dm_status dm_shuffle(int32_t *perm, double n, double seed, uint32_t site, uint32_t step) {
  dm_status s = check_seed("shuffle", seed);
  if (s) return s;
  if (!(n >= 0 && n <= 2147483647)) return dm_fail(DM_EARG, "shuffle: n is %g, expected 0 .. 2^31 - 1", n);
  uint32_t key[2], bits[4];
  uint64_t used = 0;
  split(key, seed);
  for (int32_t i = 0; i < (int32_t)n; i++) perm[i] = i;
  for (int32_t i = (int32_t)n - 1; i > 0; i--) {
    int32_t j = (int32_t)below((uint32_t)i + 1, bits, &used, site, step, key), hold = perm[i];
    perm[i] = perm[j];
    perm[j] = hold;
  }
  return DM_OK;
}
