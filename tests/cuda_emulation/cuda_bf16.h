/* cuda_bf16.h -- the bf16 type for the emulation of CUDA: storage and the two conversions. */
#ifndef DM_EMULATED_CUDA_BF16_H
#define DM_EMULATED_CUDA_BF16_H

#include <stdint.h>
#include <string.h>

struct __nv_bfloat16 { uint16_t bits; };

/* To nearest even; NaN becomes the canonical one. */
static inline __nv_bfloat16 __float2bfloat16_rn(float v) {
  uint32_t u;
  memcpy(&u, &v, 4);
  return { (uint16_t)(v != v ? 0x7fff : (u + 0x7fff + (u >> 16 & 1)) >> 16) };
}

static inline float __bfloat162float(__nv_bfloat16 v) {
  uint32_t u = (uint32_t)v.bits << 16;
  float f;
  memcpy(&f, &u, 4);
  return f;
}

#endif
