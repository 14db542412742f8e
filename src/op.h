/* op.h -- what the argument checks of src/op_*.c share. */
#ifndef DM_OP_H
#define DM_OP_H

#include "backend.h"

/* The macros of the project: each hides only an early return. DM_.._ARG names the argument as in the source.
** REAL: f32, or bf16 where the device takes it. LIKE: of another's type. F32: f32 always (statistics, losses, sums). */
#define DM_TRY(call) do { dm_status s_ = (call); if (s_) return s_; } while (0)
#define DM_REAL_ARG(op, t) DM_TRY(dm_check_type(op, #t, t, DM_F32))
#define DM_LIKE_ARG(op, t, ref) DM_TRY(dm_check_like(op, #t, t, #ref, ref))
#define DM_F32_ARG(op, t) DM_TRY(dm_check_f32(op, #t, t))
#define DM_INT_ARG(op, t) DM_TRY(dm_check_type(op, #t, t, DM_I32))

/* The ops of d for activations of t's type. */
static inline const dm_backend *dm_ops(const dm_device *d, const dm_tensor *t) {
  return t->dtype == DM_BF16 && d->backend->bf16 ? d->backend->bf16 : d->backend;
}

/* A drop probability: [0, 1). */
dm_status dm_check_p(const char *op, float p);

/* An activation number. */
dm_status dm_check_act(const char *op, int32_t act);

/* t is [n]; `why` says where n comes from. */
dm_status dm_check_vector(const char *op, const char *arg, const dm_tensor *t, int32_t n, const char *why);

/* t has two dimensions. */
dm_status dm_check_matrix(const char *op, const char *arg, const dm_tensor *t);

/* t is live and of ref's type; t is live and f32. */
dm_status dm_check_like(const char *op, const char *arg, const dm_tensor *t, const char *ref, const dm_tensor *r);
dm_status dm_check_f32(const char *op, const char *arg, const dm_tensor *t);

/* An optional gradient of an activation: NULL, or of ref's type and shape; of a weight: NULL, or f32 of ref's shape. */
dm_status dm_check_grad(const char *op, const char *arg, const dm_tensor *t, const char *ref, const dm_tensor *r);
dm_status dm_check_weight_grad(const char *op, const char *arg, const dm_tensor *t, const char *ref, const dm_tensor *r);

/* An i32 list of n entries (any shape). */
dm_status dm_check_list(const char *op, const char *arg, const dm_tensor *t, size_t n, const char *why);

/* A list of R row numbers of `of`, one for each pair. */
dm_status dm_check_rows_of(const char *op, const char *arg, const dm_tensor *t, int R, const dm_tensor *of);

/* hb (or its gradient) has h's type and rows, and D columns. */
dm_status dm_check_state(const char *op, const char *arg, const dm_tensor *t, const dm_tensor *h, int32_t D);

/* y (or dy) is x's shape with the last dimension replaced by D. */
dm_status dm_check_output(const char *op, const char *arg, const dm_tensor *y, const dm_tensor *x, int32_t D);

#endif
