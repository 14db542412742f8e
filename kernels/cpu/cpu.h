/* cpu.h -- what the files of the CPU backend share: the op functions gathered in backend.c, products, and two types.
**
** "real" is what is computed in and what sums are kept in: float, or double in the test twin, where DM_REAL says so.
** "store" is what tensors of activations and the weights that are read hold: real, or bf16 where the files are built a
** second time with DM_STORE_BF16, for the table of ops over bf16. The functions then have names of their own, below. */
#ifndef DM_CPU_H
#define DM_CPU_H

#include "../../src/backend.h"

#include <string.h>

/* An integer as wide as a real. */
#ifdef DM_REAL
typedef int64_t dm_bits;
#else
typedef int32_t dm_bits;
#endif

/* -- bf16 -------------------------------------------------------------------------------------- */

typedef struct dm_bf16 { uint16_t bits; } dm_bf16;

static inline float dm_of_bf16(dm_bf16 s) {
  uint32_t bits = (uint32_t)s.bits << 16;
  float v;
  memcpy(&v, &bits, 4);
  return v;
}

/* To nearest even; NaN stays NaN. */
static inline dm_bf16 dm_to_bf16(float v) {
  uint32_t u;
  memcpy(&u, &v, 4);
  uint32_t rounded = (u + 0x7fff + (u >> 16 & 1)) >> 16;
  return (dm_bf16){ (uint16_t)(v != v ? 0x7fc0 : rounded) };
}

/* -- store --------------------------------------------------------------------------------------- */

#ifdef DM_STORE_BF16

enum { DM_NARROW = 1 };                 /* rows of store are not rows of real: they need room to be worked on */
typedef dm_bf16 dm_store;
static inline dm_real dm_load(dm_store s) { return dm_of_bf16(s); }
static inline dm_store dm_put(dm_real v) { return dm_to_bf16(v); }

#else

enum { DM_NARROW = 0 };
typedef dm_real dm_store;
static inline dm_real dm_load(dm_store s) { return s; }
static inline dm_store dm_put(dm_real v) { return v; }

#endif

/* The row as reals: itself, or its n values in room. */
static inline const dm_real *dm_read(const dm_store *row, dm_real *room, size_t n) {
  if (!DM_NARROW) return (const dm_real *)row;
#pragma omp simd
  for (size_t i = 0; i < n; i++) room[i] = dm_load(row[i]);
  return room;
}

/* Where the values of a row that is written are worked out, before dm_settle: the row itself, or room. */
static inline dm_real *dm_work(dm_store *row, dm_real *room) { return DM_NARROW ? room : (dm_real *)row; }

/* row = v, rounded; nothing is left to do where v is the row. */
static inline void dm_settle(dm_store *row, const dm_real *v, size_t n) {
  if (!DM_NARROW && (const dm_real *)row == v) return;
#pragma omp simd
  for (size_t i = 0; i < n; i++) row[i] = dm_put(v[i]);
}

/* Reals in which n values of store have room; reals that dm_read and dm_work need for a row of n in each thread. */
static inline size_t dm_reals(size_t n) { return DM_NARROW ? (n + 1) / 2 : n; }
static inline size_t dm_rooms(int n) { return DM_NARROW ? (size_t)dm_threads() * n : 0; }

/* -- products (gemm.c) ------------------------------------------------------------------------- */

/* c [m, n] = op(a) op(b) + beta c, row-major, leading dimensions in elements; ta/tb: 1 = the operand is
** stored transposed. beta is 0 or 1. Through oneDNN, in f32 or of bf16 with sums in f32; plain loops in the twin. */
dm_status cpu_gemm(int ta, int tb, int m, int n, int k, const dm_store *a, int lda, const dm_store *b,
                   int ldb, int beta, dm_real *c, int ldc);

/* The same, then then(context, tile, stride, row, column, rows, columns) for each tile of c when it is complete, in the
** thread that made it: for a pass over c that would otherwise read it back from memory. Tiles do not overlap and cover
** c; `tile` is where its first value is. c may be NULL where store is bf16 and beta 0: tiles are then in a
** buffer of the thread, for `then` to take what it wants of them. */
typedef void cpu_epilogue(void *context, dm_real *tile, int stride, int row, int column, int rows, int columns);
dm_status cpu_gemm_then(int ta, int tb, int m, int n, int k, const dm_store *a, int lda, const dm_store *b,
                        int ldb, int beta, dm_real *c, int ldc, cpu_epilogue *then, void *context);

/* cpu_gemm into a tensor's values: of store, or f32 where dtype says so. */
dm_status cpu_gemm_into(int ta, int tb, int m, int n, int k, const dm_store *a, int lda, const dm_store *b,
                        int ldb, int beta, void *c, int ldc, int dtype);

const char *cpu_gemm_library(void);

/* -- products of bf16 by the processor (bf16.c) ------------------------------------------------- */

/* Why bf16 is not computed in here; "" where it is. Whether its products are made in f32 (DATAMUX_BF16=emulated). */
const char *cpu_bf16_lacks(void);
int cpu_bf16_emulated(void);

/* c [m, n] f32 = op(a) op(b) + beta c, with arguments as cpu_gemm's, by the calling thread. 0, or oneDNN's status. */
int cpu_bf16_product(int ta, int tb, int m, int n, int k, const dm_bf16 *a, int lda, const dm_bf16 *b, int ldb,
                     int beta, float *c, int ldc);

/* -- of a finished model ------------------------------------------------------------------------- */

dm_status cpu_int8_pack(dm_device *d, dm_tensor *q, dm_tensor *scale, const dm_tensor *w);
dm_status cpu_int8_linear(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *q, const dm_tensor *scale,
                          const dm_tensor *b, int32_t act);
dm_status cpu_int8_unbind(dm_device *d, dm_tensor *y, const dm_tensor *key, const dm_tensor *h, const dm_tensor *hb,
                          const dm_tensor *q, const dm_tensor *scale, const dm_tensor *ik, const dm_tensor *ih,
                          int32_t act);

/* -- ops, in the order of datamux.h -------------------------------------------------------------- */

dm_status cpu_linear_fwd(dm_device *d, dm_tensor *y, dm_tensor *pre, const dm_tensor *x,
                         const dm_tensor *w, const dm_tensor *b, int32_t act);
dm_status cpu_linear_bwd(dm_device *d, dm_tensor *dx, dm_tensor *dw, dm_tensor *db,
                         const dm_tensor *dy, const dm_tensor *pre, const dm_tensor *x,
                         const dm_tensor *w, int32_t act, uint32_t acc);
dm_status cpu_matmul_fwd(dm_device *d, dm_tensor *y, const dm_tensor *a, const dm_tensor *b,
                         int32_t ta, int32_t tb);
dm_status cpu_matmul_bwd(dm_device *d, dm_tensor *da, dm_tensor *db, const dm_tensor *dy,
                         const dm_tensor *a, const dm_tensor *b, int32_t ta, int32_t tb,
                         uint32_t acc);
dm_status cpu_layernorm_fwd(dm_device *d, dm_tensor *y, dm_tensor *stat, const dm_tensor *x,
                            const dm_tensor *r, const dm_tensor *w, const dm_tensor *b, float p,
                            uint32_t site, float eps);
dm_status cpu_layernorm_bwd(dm_device *d, dm_tensor *dx, dm_tensor *dr, dm_tensor *dw,
                            dm_tensor *db, const dm_tensor *dy, const dm_tensor *x,
                            const dm_tensor *r, const dm_tensor *w, const dm_tensor *stat, float p,
                            uint32_t site, uint32_t acc);
dm_status cpu_attention_fwd(dm_device *d, dm_tensor *y, dm_tensor *stat, const dm_tensor *qkv,
                            const dm_tensor *mask, int32_t heads, float p, uint32_t site);
dm_status cpu_attention_bwd(dm_device *d, dm_tensor *dqkv, const dm_tensor *dy, const dm_tensor *y,
                            const dm_tensor *qkv, const dm_tensor *stat, const dm_tensor *mask,
                            int32_t heads, float p, uint32_t site, uint32_t acc);
dm_status cpu_embed_fwd(dm_device *d, dm_tensor *y, const dm_tensor *ids, const dm_tensor *posid,
                        const dm_tensor *word, const dm_tensor *pos);
dm_status cpu_embed_bwd(dm_device *d, dm_tensor *dword, dm_tensor *dpos, const dm_tensor *dy,
                        const dm_tensor *ids, const dm_tensor *posid, const dm_tensor *order,
                        uint32_t acc);
dm_status cpu_gather_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *rows);
dm_status cpu_gather_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dy, const dm_tensor *rows,
                         const dm_tensor *order, uint32_t acc);
dm_status cpu_scatter_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *rows,
                          const dm_tensor *order);
dm_status cpu_scatter_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dy, const dm_tensor *rows,
                          uint32_t acc);
dm_status cpu_embed_mux_fwd(dm_device *d, dm_tensor *y, dm_tensor *stat, const dm_tensor *ids,
                            const dm_tensor *posid, const dm_tensor *word, const dm_tensor *pos,
                            const dm_tensor *type, const dm_tensor *g, const dm_tensor *c,
                            const dm_tensor *key, const dm_tensor *weight, float scale, int32_t pad,
                            float p, uint32_t site, float eps);
dm_status cpu_embed_mux_bwd(dm_device *d, dm_tensor *dword, dm_tensor *dpos, dm_tensor *dtype,
                            dm_tensor *dg, dm_tensor *dc, dm_tensor *dkey, const dm_tensor *dy,
                            const dm_tensor *stat, const dm_tensor *ids, const dm_tensor *posid,
                            const dm_tensor *order, const dm_tensor *word, const dm_tensor *pos,
                            const dm_tensor *type, const dm_tensor *g, const dm_tensor *c,
                            const dm_tensor *key, const dm_tensor *weight, float scale, int32_t pad,
                            float p, uint32_t site, uint32_t acc);
dm_status cpu_mux_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *key,
                      const dm_tensor *weight, float scale);
dm_status cpu_mux_bwd(dm_device *d, dm_tensor *dx, dm_tensor *dkey, const dm_tensor *dy,
                      const dm_tensor *x, const dm_tensor *key, const dm_tensor *weight,
                      float scale, uint32_t acc);
dm_status cpu_demux_fwd(dm_device *d, dm_tensor *y, dm_tensor *pre, const dm_tensor *u,
                        const dm_tensor *v, const dm_tensor *iu, const dm_tensor *iv, int32_t act);
dm_status cpu_demux_bwd(dm_device *d, dm_tensor *du, dm_tensor *dv, const dm_tensor *dy,
                        const dm_tensor *pre, const dm_tensor *iu, const dm_tensor *iv,
                        const dm_tensor *ou, const dm_tensor *ov, int32_t act, uint32_t acc);
dm_status cpu_unbind_fwd(dm_device *d, dm_tensor *y, dm_tensor *pre, const dm_tensor *key,
                         const dm_tensor *h, const dm_tensor *hb, const dm_tensor *a,
                         const dm_tensor *ik, const dm_tensor *ih, int32_t act);
dm_status cpu_unbind_bwd(dm_device *d, dm_tensor *dkey, dm_tensor *dh, dm_tensor *dhb,
                         dm_tensor *da, const dm_tensor *dy, const dm_tensor *pre,
                         const dm_tensor *key, const dm_tensor *h, const dm_tensor *a,
                         const dm_tensor *ik, const dm_tensor *ih, const dm_tensor *ok,
                         const dm_tensor *oh, int32_t act, uint32_t acc);
dm_status cpu_meanpool_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *span);
dm_status cpu_meanpool_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dy, const dm_tensor *span,
                           uint32_t acc);
dm_status cpu_conv2d_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *w,
                         const dm_tensor *b, int32_t pad, int32_t groups);
dm_status cpu_conv2d_bwd(dm_device *d, dm_tensor *dx, dm_tensor *dw, dm_tensor *db,
                         const dm_tensor *dy, const dm_tensor *x, const dm_tensor *w, int32_t pad,
                         int32_t groups, uint32_t acc);
dm_status cpu_maxpool2d_fwd(dm_device *d, dm_tensor *y, dm_tensor *at, const dm_tensor *x, int32_t k);
dm_status cpu_maxpool2d_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dy, const dm_tensor *at,
                            uint32_t acc);
dm_status cpu_add_fwd(dm_device *d, dm_tensor *y, const dm_tensor *a, const dm_tensor *b);
dm_status cpu_add_bwd(dm_device *d, dm_tensor *da, dm_tensor *db, const dm_tensor *dy,
                      uint32_t acc);
dm_status cpu_scale_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, float s);
dm_status cpu_scale_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dy, float s, uint32_t acc);
dm_status cpu_act_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, int32_t act);
dm_status cpu_act_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dy, const dm_tensor *x,
                      int32_t act, uint32_t acc);
dm_status cpu_dropout_fwd(dm_device *d, dm_tensor *y, const dm_tensor *x, float p, uint32_t site);
dm_status cpu_dropout_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dy, float p, uint32_t site,
                          uint32_t acc);
dm_status cpu_xent_fwd(dm_device *d, dm_tensor *loss, dm_tensor *saved, const dm_tensor *logits,
                       const dm_tensor *label, int32_t ignore);
dm_status cpu_xent_bwd(dm_device *d, dm_tensor *dlogits, const dm_tensor *dloss,
                       const dm_tensor *saved, uint32_t acc);
dm_status cpu_linear_xent_fwd(dm_device *d, dm_tensor *loss, dm_tensor *hits, dm_tensor *lse,
                              dm_tensor *logits, const dm_tensor *x, const dm_tensor *w, const dm_tensor *b,
                              const dm_tensor *label, int32_t ignore);
dm_status cpu_linear_xent_bwd(dm_device *d, dm_tensor *dx, dm_tensor *dw, dm_tensor *db,
                              dm_tensor *logits, const dm_tensor *dloss, const dm_tensor *lse, const dm_tensor *x,
                              const dm_tensor *w, const dm_tensor *b, const dm_tensor *label,
                              int32_t ignore, uint32_t acc);
dm_status cpu_mse_fwd(dm_device *d, dm_tensor *loss, const dm_tensor *x, const dm_tensor *target);
dm_status cpu_mse_bwd(dm_device *d, dm_tensor *dx, const dm_tensor *dloss, const dm_tensor *x,
                      const dm_tensor *target, uint32_t acc);
dm_status cpu_count_correct(dm_device *d, dm_tensor *hits, const dm_tensor *logits,
                            const dm_tensor *label, int32_t ignore);
dm_status cpu_adamw(dm_device *d, dm_tensor *p, dm_tensor *m, dm_tensor *v, dm_tensor *copy,
                    const dm_tensor *g, const dm_tensor *norm, double decayed, float beta1, float beta2, float eps,
                    float decay, float clip);
dm_status cpu_sgd(dm_device *d, dm_tensor *p, dm_tensor *m, dm_tensor *copy, const dm_tensor *g,
                  const dm_tensor *norm, double decayed, float momentum, float decay, float clip);
dm_status cpu_norm2(dm_device *d, dm_tensor *out, const dm_tensor *x);
dm_status cpu_zero(dm_device *d, dm_tensor *x);
dm_status cpu_cast(dm_device *d, dm_tensor *y, const dm_tensor *x);

/* -- names of the second build -------------------------------------------------------------------- */

/* The symbol of cpu_x over bf16 is cpu_bf16_x. */
#ifdef DM_STORE_BF16
#define DM_NAMED(f) extern __typeof__(cpu_##f) cpu_##f __asm__("cpu_bf16_" #f);
DM_TYPED_OPS(DM_NAMED)
DM_NAMED(gemm) DM_NAMED(gemm_then) DM_NAMED(gemm_into)
#undef DM_NAMED
#endif

#endif
