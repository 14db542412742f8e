/* backend.h -- the second door: what a backend is, and the few helpers it may call.
**
** Internal to src/ and kernels/. A backend is one table: device verbs, then the ops with the arguments of
** the public functions, already checked by src/op_*.c. Required means required: there is no fallback to
** another backend, and device.c names a hole. A kernel trusts its arguments. */
#ifndef DM_BACKEND_H
#define DM_BACKEND_H

#include "datamux.h"

#ifdef DM_REAL
typedef DM_REAL dm_real;           /* double in the test twin */
#else
typedef float dm_real;
#endif

typedef struct dm_backend dm_backend;

struct dm_device {
  const dm_backend *backend;
  dm_knobs knobs;                  /* host copy; the CPU reads it, others mirror it */
  int      ordinal;
  void    *scratch;                /* one block, grown by dm_scratch, never shrunk */
  size_t   scratch_size;
  dm_memory memory;
  char     name[32];
  char     about[96];
  char     lacks[64];              /* why it does not take bf16, "" where it does; filled by open */
  void    *priv;                   /* the backend's own */
};

struct dm_backend {
  uint32_t    abi;
  const char *name;
  /* device */
  dm_status (*open)(dm_device *d, int ordinal);           /* fills about, priv; EDEVICE with the reason */
  void      (*close)(dm_device *d);
  int       (*takes)(const dm_device *d, int dtype);
  const dm_backend *bf16;                                 /* optional: the typed ops over bf16; NULL = those below */
  dm_status (*alloc)(dm_device *d, size_t bytes, void **p);   /* 256-byte aligned */
  void      (*free)(dm_device *d, void *p);
  double    (*room)(dm_device *d);                        /* bytes it can still hand out; 0: not known */
  dm_status (*put)(dm_device *d, void *dst, const void *host, size_t n);
  dm_status (*get)(dm_device *d, void *host, const void *src, size_t n);
  dm_status (*sync)(dm_device *d);
  dm_status (*fill)(dm_device *d, dm_tensor *t, double v);
  dm_status (*knobs)(dm_device *d);                       /* optional: NULL = nothing to mirror */
  dm_status (*capture)(dm_device *d, int what, void **graph);   /* optional: NULL = run eagerly */
  dm_status (*replay)(dm_device *d, void *graph);         /* optional, with capture */
  dm_status (*ahead)(dm_device *d, int what, int place);  /* optional: NULL = nothing runs beside the step */
  dm_status (*mark)(dm_device *d, int number);            /* optional: NULL = the host's clock */
  dm_status (*between)(dm_device *d, int from, int to, double *seconds);   /* optional, with mark */
  /* optional, all or none: products of a finished model in int8 */
  dm_status (*int8_pack)(dm_device *d, dm_tensor *q, dm_tensor *scale, const dm_tensor *w);
  dm_status (*int8_linear)(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *q, const dm_tensor *scale,
                           const dm_tensor *b, int32_t act);
  dm_status (*int8_unbind)(dm_device *d, dm_tensor *y, const dm_tensor *key, const dm_tensor *h, const dm_tensor *hb,
                           const dm_tensor *q, const dm_tensor *scale, const dm_tensor *ik, const dm_tensor *ih,
                           int32_t act);
  /* ops, in the order of datamux.h; all required */
  dm_status (*linear_fwd)(dm_device *d, dm_tensor *y, dm_tensor *pre, const dm_tensor *x,
                          const dm_tensor *w, const dm_tensor *b, int32_t act);
  dm_status (*linear_bwd)(dm_device *d, dm_tensor *dx, dm_tensor *dw, dm_tensor *db,
                          const dm_tensor *dy, const dm_tensor *pre, const dm_tensor *x,
                          const dm_tensor *w, int32_t act, uint32_t acc);
  dm_status (*matmul_fwd)(dm_device *d, dm_tensor *y, const dm_tensor *a, const dm_tensor *b,
                          int32_t ta, int32_t tb);
  dm_status (*matmul_bwd)(dm_device *d, dm_tensor *da, dm_tensor *db, const dm_tensor *dy,
                          const dm_tensor *a, const dm_tensor *b, int32_t ta, int32_t tb,
                          uint32_t acc);
  dm_status (*layernorm_fwd)(dm_device *d, dm_tensor *y, dm_tensor *stat, const dm_tensor *x,
                             const dm_tensor *r, const dm_tensor *w, const dm_tensor *b, float p,
                             uint32_t site, float eps);
  dm_status (*layernorm_bwd)(dm_device *d, dm_tensor *dx, dm_tensor *dr, dm_tensor *dw,
                             dm_tensor *db, const dm_tensor *dy, const dm_tensor *x,
                             const dm_tensor *r, const dm_tensor *w, const dm_tensor *stat, float p,
                             uint32_t site, uint32_t acc);
  dm_status (*attention_fwd)(dm_device *d, dm_tensor *y, dm_tensor *stat, const dm_tensor *qkv,
                             const dm_tensor *mask, int32_t heads, float p, uint32_t site);
  dm_status (*attention_bwd)(dm_device *d, dm_tensor *dqkv, const dm_tensor *dy, const dm_tensor *y,
                             const dm_tensor *qkv, const dm_tensor *stat, const dm_tensor *mask,
                             int32_t heads, float p, uint32_t site, uint32_t acc);
  dm_status (*embed_fwd)(dm_device *d, dm_tensor *y, const dm_tensor *ids, const dm_tensor *posid,
                         const dm_tensor *word, const dm_tensor *pos);
  dm_status (*embed_bwd)(dm_device *d, dm_tensor *dword, dm_tensor *dpos, const dm_tensor *dy,
                         const dm_tensor *ids, const dm_tensor *posid, const dm_tensor *order,
                         uint32_t acc);
  dm_status (*gather_fwd)(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *rows);
  dm_status (*gather_bwd)(dm_device *d, dm_tensor *dx, const dm_tensor *dy, const dm_tensor *rows,
                          const dm_tensor *order, uint32_t acc);
  dm_status (*scatter_fwd)(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *rows,
                           const dm_tensor *order);
  dm_status (*scatter_bwd)(dm_device *d, dm_tensor *dx, const dm_tensor *dy, const dm_tensor *rows,
                           uint32_t acc);
  dm_status (*embed_mux_fwd)(dm_device *d, dm_tensor *y, dm_tensor *stat, const dm_tensor *ids,
                             const dm_tensor *posid, const dm_tensor *word, const dm_tensor *pos,
                             const dm_tensor *type, const dm_tensor *g, const dm_tensor *c,
                             const dm_tensor *key, const dm_tensor *weight, float scale,
                             int32_t pad, float p, uint32_t site, float eps);
  dm_status (*embed_mux_bwd)(dm_device *d, dm_tensor *dword, dm_tensor *dpos, dm_tensor *dtype,
                             dm_tensor *dg, dm_tensor *dc, dm_tensor *dkey, const dm_tensor *dy,
                             const dm_tensor *stat, const dm_tensor *ids, const dm_tensor *posid,
                             const dm_tensor *order, const dm_tensor *word, const dm_tensor *pos,
                             const dm_tensor *type, const dm_tensor *g, const dm_tensor *c,
                             const dm_tensor *key, const dm_tensor *weight, float scale,
                             int32_t pad, float p, uint32_t site, uint32_t acc);
  dm_status (*mux_fwd)(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *key,
                       const dm_tensor *weight, float scale);
  dm_status (*mux_bwd)(dm_device *d, dm_tensor *dx, dm_tensor *dkey, const dm_tensor *dy,
                       const dm_tensor *x, const dm_tensor *key, const dm_tensor *weight,
                       float scale, uint32_t acc);
  dm_status (*demux_fwd)(dm_device *d, dm_tensor *y, dm_tensor *pre, const dm_tensor *u,
                         const dm_tensor *v, const dm_tensor *iu, const dm_tensor *iv, int32_t act);
  dm_status (*demux_bwd)(dm_device *d, dm_tensor *du, dm_tensor *dv, const dm_tensor *dy,
                         const dm_tensor *pre, const dm_tensor *iu, const dm_tensor *iv,
                         const dm_tensor *ou, const dm_tensor *ov, int32_t act, uint32_t acc);
  dm_status (*unbind_fwd)(dm_device *d, dm_tensor *y, dm_tensor *pre, const dm_tensor *key,
                          const dm_tensor *h, const dm_tensor *hb, const dm_tensor *a,
                          const dm_tensor *ik, const dm_tensor *ih, int32_t act);
  dm_status (*unbind_bwd)(dm_device *d, dm_tensor *dkey, dm_tensor *dh, dm_tensor *dhb,
                          dm_tensor *da, const dm_tensor *dy, const dm_tensor *pre,
                          const dm_tensor *key, const dm_tensor *h, const dm_tensor *a,
                          const dm_tensor *ik, const dm_tensor *ih, const dm_tensor *ok,
                          const dm_tensor *oh, int32_t act, uint32_t acc);
  dm_status (*meanpool_fwd)(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *span);
  dm_status (*meanpool_bwd)(dm_device *d, dm_tensor *dx, const dm_tensor *dy, const dm_tensor *span,
                            uint32_t acc);
  dm_status (*conv2d_fwd)(dm_device *d, dm_tensor *y, const dm_tensor *x, const dm_tensor *w,
                          const dm_tensor *b, int32_t pad, int32_t groups);
  dm_status (*conv2d_bwd)(dm_device *d, dm_tensor *dx, dm_tensor *dw, dm_tensor *db,
                          const dm_tensor *dy, const dm_tensor *x, const dm_tensor *w, int32_t pad,
                          int32_t groups, uint32_t acc);
  dm_status (*maxpool2d_fwd)(dm_device *d, dm_tensor *y, dm_tensor *at, const dm_tensor *x, int32_t k);
  dm_status (*maxpool2d_bwd)(dm_device *d, dm_tensor *dx, const dm_tensor *dy, const dm_tensor *at,
                             uint32_t acc);
  dm_status (*add_fwd)(dm_device *d, dm_tensor *y, const dm_tensor *a, const dm_tensor *b);
  dm_status (*add_bwd)(dm_device *d, dm_tensor *da, dm_tensor *db, const dm_tensor *dy,
                       uint32_t acc);
  dm_status (*scale_fwd)(dm_device *d, dm_tensor *y, const dm_tensor *x, float s);
  dm_status (*scale_bwd)(dm_device *d, dm_tensor *dx, const dm_tensor *dy, float s, uint32_t acc);
  dm_status (*act_fwd)(dm_device *d, dm_tensor *y, const dm_tensor *x, int32_t act);
  dm_status (*act_bwd)(dm_device *d, dm_tensor *dx, const dm_tensor *dy, const dm_tensor *x,
                       int32_t act, uint32_t acc);
  dm_status (*dropout_fwd)(dm_device *d, dm_tensor *y, const dm_tensor *x, float p, uint32_t site);
  dm_status (*dropout_bwd)(dm_device *d, dm_tensor *dx, const dm_tensor *dy, float p, uint32_t site,
                           uint32_t acc);
  dm_status (*xent_fwd)(dm_device *d, dm_tensor *loss, dm_tensor *saved, const dm_tensor *logits,
                        const dm_tensor *label, int32_t ignore);
  dm_status (*xent_bwd)(dm_device *d, dm_tensor *dlogits, const dm_tensor *dloss,
                        const dm_tensor *saved, uint32_t acc);
  dm_status (*linear_xent_fwd)(dm_device *d, dm_tensor *loss, dm_tensor *hits, dm_tensor *lse,
                               dm_tensor *logits, const dm_tensor *x, const dm_tensor *w, const dm_tensor *b,
                               const dm_tensor *label, int32_t ignore);
  dm_status (*linear_xent_bwd)(dm_device *d, dm_tensor *dx, dm_tensor *dw, dm_tensor *db,
                               dm_tensor *logits, const dm_tensor *dloss, const dm_tensor *lse, const dm_tensor *x,
                               const dm_tensor *w, const dm_tensor *b, const dm_tensor *label,
                               int32_t ignore, uint32_t acc);
  dm_status (*mse_fwd)(dm_device *d, dm_tensor *loss, const dm_tensor *x, const dm_tensor *target);
  dm_status (*mse_bwd)(dm_device *d, dm_tensor *dx, const dm_tensor *dloss, const dm_tensor *x,
                       const dm_tensor *target, uint32_t acc);
  dm_status (*count_correct)(dm_device *d, dm_tensor *hits, const dm_tensor *logits,
                             const dm_tensor *label, int32_t ignore);
  dm_status (*adamw)(dm_device *d, dm_tensor *p, dm_tensor *m, dm_tensor *v, dm_tensor *copy,
                     const dm_tensor *g, const dm_tensor *norm, double decayed, float beta1, float beta2, float eps,
                     float decay, float clip);
  dm_status (*sgd)(dm_device *d, dm_tensor *p, dm_tensor *m, dm_tensor *copy, const dm_tensor *g,
                   const dm_tensor *norm, double decayed, float momentum, float decay, float clip);
  dm_status (*norm2)(dm_device *d, dm_tensor *out, const dm_tensor *x);
  dm_status (*zero)(dm_device *d, dm_tensor *x);
  dm_status (*cast)(dm_device *d, dm_tensor *y, const dm_tensor *x);
};

/* The ops of the table, for what must name each: X(linear_fwd) .. Those over activations and the weights that are read,
** of one type in a call; those over whole blocks, whose tensors each have a type of their own. */
#define DM_TYPED_OPS(X) \
  X(linear_fwd) X(linear_bwd) X(matmul_fwd) X(matmul_bwd) X(layernorm_fwd) X(layernorm_bwd) X(attention_fwd) \
  X(attention_bwd) X(embed_fwd) X(embed_bwd) X(gather_fwd) X(gather_bwd) X(scatter_fwd) X(scatter_bwd) \
  X(embed_mux_fwd) X(embed_mux_bwd) X(mux_fwd) X(mux_bwd) X(demux_fwd) X(demux_bwd) X(unbind_fwd) X(unbind_bwd) \
  X(meanpool_fwd) X(meanpool_bwd) X(conv2d_fwd) X(conv2d_bwd) X(maxpool2d_fwd) X(maxpool2d_bwd) X(add_fwd) \
  X(add_bwd) X(scale_fwd) X(scale_bwd) X(act_fwd) X(act_bwd) X(dropout_fwd) X(dropout_bwd) X(xent_fwd) \
  X(xent_bwd) X(linear_xent_fwd) X(linear_xent_bwd) X(mse_fwd) X(mse_bwd) X(count_correct)
#define DM_BLOCK_OPS(X) X(adamw) X(sgd) X(norm2) X(zero) X(cast)
#define DM_OPS(X) DM_TYPED_OPS(X) DM_BLOCK_OPS(X)

extern const dm_backend dm_backend_cpu;

/* What a dlopened backend is handed, so that it resolves nothing from the executable. It exports one symbol:
** const dm_backend *dm_backend_entry(const dm_host *). */
typedef struct dm_host {
  uint32_t abi;
  dm_status (*fail)(dm_status s, const char *format, ...);
  dm_status (*scratch)(dm_device *d, size_t bytes, void **p);
} dm_host;

/* Stores the sentence and returns s: `return dm_fail(DM_ESHAPE, "linear: x is %s, ...")`. */
dm_status dm_fail(dm_status s, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The device's scratch block, at least `bytes` long, 256-byte aligned, valid until the next call. An op asks once. */
dm_status dm_scratch(dm_device *d, size_t bytes, void **p);

/* OK, or ENOMEM where dm_arena_fail_every has this allocation fail: asked before each one. */
dm_status dm_refusal(const dm_device *d, size_t bytes);

/* -- for src/op_*.c -------------------------------------------------------------------------------- */

/* "[2, 3, 4]" in one of a few thread-local buffers: usable eight times within one message. */
const char *dm_shape_text(const dm_tensor *t);

/* ESTALE/EARG unless t is a live tensor: "op: 'x' belongs to a finished step (made in 1, now 2)". NULL fails too. */
dm_status dm_check_live(const char *op, const char *arg, const dm_tensor *t);

/* dm_check_live, then dtype: DM_I32, or (want == DM_F32) any real type that t's device takes. */
dm_status dm_check_type(const char *op, const char *arg, const dm_tensor *t, int want);

/* ESHAPE unless t has this shape exactly; -1 matches anything. */
dm_status dm_check_shape(const char *op, const char *arg, const dm_tensor *t, int ndim, const int32_t *shape);

/* ESHAPE unless both have the same shape. */
dm_status dm_check_same(const char *op, const char *arg, const dm_tensor *t, const char *ref,
                        const dm_tensor *r);

/* EDEVICE unless all live on one device; returns it. Pass the tensors (NULLs are skipped) and their number. */
dm_status dm_check_device(const char *op, dm_device **d, int n, const dm_tensor *const *t);

/* ndim, dtype and shape of a tensor that has no storage yet: EARG, or ESHAPE for more rows than an int counts. */
dm_status dm_check_described(const char *op, const dm_tensor *t);

/* EARG with the first offending entry unless lo <= t[i] < hi or t[i] == also (lo: nothing else). Reads the host copy on the CPU; on other
** devices the kernels guard and this returns OK. */
dm_status dm_check_ids(const char *op, const char *arg, const dm_tensor *t, int lo, int hi, int also);

/* -- sizes ------------------------------------------------------------------------------------------- */

static inline size_t dm_numel(const dm_tensor *t) {
  size_t n = 1;
  for (int i = 0; i < t->ndim; i++) n *= (size_t)t->shape[i];
  return n;
}

/* The last dimension, and the product of the others. */
static inline int dm_cols(const dm_tensor *t) { return t->shape[t->ndim - 1]; }

static inline int dm_rows(const dm_tensor *t) {
  int n = 1;
  for (int i = 0; i + 1 < t->ndim; i++) n *= t->shape[i];
  return n;
}

#endif
