/* cpu.h -- what the files of the CPU backend share: the op functions gathered in backend.c, gemm, and the
** storage type "real" (float; double in the test twin, where DM_REAL is defined as double). */
#ifndef DM_CPU_H
#define DM_CPU_H

#include "../../src/backend.h"

/* -- products (gemm.c) ------------------------------------------------------------------------- */

/* c [m, n] = op(a) op(b) + beta c, row-major, leading dimensions in elements; ta/tb: 1 = the operand is
** stored transposed. beta is 0 or 1. f32 through oneDNN, plain loops in the twin. */
dm_status cpu_gemm(int ta, int tb, int m, int n, int k, const dm_real *a, int lda, const dm_real *b,
                   int ldb, int beta, dm_real *c, int ldc);

/* The same, then then(context, row, column, rows, columns) for each tile of c when it is complete, in the thread that
** made it: for a pass over c that would otherwise read it back from memory. Tiles do not overlap and cover c. */
typedef void cpu_epilogue(void *context, int row, int column, int rows, int columns);
dm_status cpu_gemm_then(int ta, int tb, int m, int n, int k, const dm_real *a, int lda, const dm_real *b,
                        int ldb, int beta, dm_real *c, int ldc, cpu_epilogue *then, void *context);

/* c [m, n] = (a - zero) b^T, a [m, k] u8, b [n, k] s8, in 32 bits, by the calling thread inside a parallel region. No
** sentence is left behind on failure. */
dm_status cpu_gemm_int8(int m, int n, int k, const uint8_t *a, int zero, const int8_t *b, int32_t *c);

const char *cpu_gemm_library(void);

/* The bits of v in bf16, to nearest even; NaN stays NaN. */
uint16_t cpu_bf16(float v);

/* -- of a finished model ------------------------------------------------------------------------- */

dm_status cpu_int8_pack(dm_device *d, dm_tensor *q, dm_tensor *scale, const dm_tensor *w);
dm_status cpu_int8_linear(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *q, const dm_tensor *scale,
                          const dm_tensor *b, int32_t act);

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

#endif
