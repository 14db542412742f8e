/* philox.h -- Philox4x32-10, the counter-based generator of Salmon et al. 2011 (Random123), for C and CUDA.
** Pure functions of (counter, key): no state. Known-answer vectors in tests/unit/rng_spec.lua. */
#ifndef DM_PHILOX_H
#define DM_PHILOX_H

#include <stdint.h>

#ifdef __CUDACC__
#define DM_HD __host__ __device__
#else
#define DM_HD
#endif

/* out = ten rounds over counter c with key k. */
DM_HD static inline void dm_philox4x32(uint32_t out[4], const uint32_t c[4], const uint32_t k[2]) {
  uint32_t c0 = c[0], c1 = c[1], c2 = c[2], c3 = c[3], k0 = k[0], k1 = k[1];
  for (int round = 0; round < 10; round++) {
    uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
    uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)p1;
    c3 = (uint32_t)p0;
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/* Uniform in [0, 1), exact in f32: 24 of the 32 bits. */
DM_HD static inline float dm_uniform(uint32_t bits) { return (float)(bits >> 8) * (1.0f / 16777216.0f); }

/* Four uniforms for elements 4 block .. 4 block + 3 of stream (seed, site, step). */
DM_HD static inline void dm_uniform4(float out[4], uint64_t block, uint32_t site, uint32_t step,
                                     const uint32_t seed[2]) {
  const uint32_t c[4] = { (uint32_t)block, (uint32_t)(block >> 32), site, step };
  uint32_t bits[4];
  dm_philox4x32(bits, c, seed);
  for (int i = 0; i < 4; i++) out[i] = dm_uniform(bits[i]);
}

#endif
