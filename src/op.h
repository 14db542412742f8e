/* op.h -- what the argument checks of src/op_*.c share. */
#ifndef DM_OP_H
#define DM_OP_H

#include "backend.h"

/* The two macros of the project: each hides only an early return. DM_REAL_ARG names the argument as in the source. */
#define DM_TRY(call) do { dm_status s_ = (call); if (s_) return s_; } while (0)
#define DM_REAL_ARG(op, t) DM_TRY(dm_check_type(op, #t, t, DM_F32))
#define DM_INT_ARG(op, t) DM_TRY(dm_check_type(op, #t, t, DM_I32))

/* A drop probability: [0, 1). */
dm_status dm_check_p(const char *op, float p);

/* An activation number. */
dm_status dm_check_act(const char *op, int32_t act);

/* t is [n]; `why` says where n comes from. */
dm_status dm_check_vector(const char *op, const char *arg, const dm_tensor *t, int32_t n, const char *why);

/* t has two dimensions. */
dm_status dm_check_matrix(const char *op, const char *arg, const dm_tensor *t);

/* An optional gradient: NULL, or a real tensor of ref's shape. */
dm_status dm_check_grad(const char *op, const char *arg, const dm_tensor *t, const char *ref, const dm_tensor *r);

/* An i32 list of n entries (any shape). */
dm_status dm_check_list(const char *op, const char *arg, const dm_tensor *t, size_t n, const char *why);

#endif
