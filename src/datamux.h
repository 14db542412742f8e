/* datamux.h -- the public interface of the engine; also the only FFI binding.
**
** Everything between the two visibility lines is exported, documented and bound: lua/datamux/ffi.lua
** cuts that region out of this very text and gives it to ffi.cdef. So: no macros, no attributes, no
** inline functions in there; constants are enums; scalars and pointers only, at most 32 arguments.
**
** Letters used for sizes, everywhere: B mixed rows, N instances, S positions, C channels, H heads,
** D inner width, V vocabulary, P position rows, K classes, R rows of any kind, G groups.
**
** Conventions of every op:
**   - outputs first, inputs next, sizes and scalars last; tensors are contiguous, row-major;
**   - "real" tensors are f32, or bf16 on a device that takes it (double in the test twin). The real tensors of
**     one call are of one type, that of its activations: y, x, dx, dy, and the weights it reads. f32 whatever that type:
**     statistics (stat, lse), losses, instance weights, and gradients of weights (of w, b, a, g, c, key, word, pos,
**     type); dx of linear may be f32 beside bf16 x, where x is a parameter. Sums are taken in f32;
**   - in `_bwd` a NULL gradient output means "not wanted"; bit i of `acc` (counting the outputs from
**     0 in order) means "add into gradient i", clear means "overwrite";
**   - all arguments are checked before any work; a failure changes nothing and leaves a sentence in
**     dm_last_error();
**   - `p, site`: drop probability, and which random stream (see dm_knobs); p = 0 draws nothing.
*/
#ifndef DATAMUX_H
#define DATAMUX_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(default)

enum { DM_ABI = 7 };

/* -- status ----------------------------------------------------------------------------------- */

typedef int32_t dm_status;

enum {
  DM_OK = 0,
  DM_EARG,        /* a scalar argument is out of its range */
  DM_ESHAPE,      /* shapes do not fit together */
  DM_EDTYPE,      /* a type that this op or backend does not take */
  DM_EDEVICE,     /* no such device, or tensors of two devices */
  DM_ESTALE,      /* a tensor of a finished step, or freed */
  DM_ENOMEM,      /* host or device memory is exhausted */
  DM_EIO,         /* a file could not be read or written */
  DM_ECAPTURE,    /* not allowed inside a captured step */
  DM_EINTERNAL    /* a bug in the engine or its libraries */
};

/* Name of a status, "ESHAPE" for DM_ESHAPE; "E?" for a number that is none. */
const char *dm_status_name(dm_status s);

/* Text of the last failure in this thread, "" before the first. Valid until the next failure. */
const char *dm_last_error(void);

/* Handshake of the binding: DM_ABI, sizeof(dm_tensor), and the size of "real" (4; 8 in the twin). */
int32_t dm_abi(void);
int32_t dm_sizeof_tensor(void);
int32_t dm_sizeof_real(void);

/* "0.1.0" */
const char *dm_version(void);

/* Name and version of the library behind matrix products, e.g. "oneDNN 2.6.3"; "plain loops". */
const char *dm_gemm_library(void);

/* -- devices ---------------------------------------------------------------------------------- */

typedef struct dm_device dm_device;
typedef struct dm_arena dm_arena;

/* Values that change from step to step. A backend keeps them in device memory, so that a captured
** step stays valid. Random bits are Philox4x32-10 with key = seed and
** counter = (element / 4, 0, site, step): the same on every device, for any thread count. */
typedef struct dm_knobs {
  uint32_t seed[2];   /* low, high */
  uint32_t step;      /* number of the batch: forward and backward of one batch share it */
  uint32_t update;    /* number of the optimiser update, from 1 */
  float    lr;        /* learning rate of this update */
  uint32_t unused[11];
} dm_knobs;

/* Bytes on one device. */
typedef struct dm_memory {
  double live;        /* held by arenas now */
  double used;        /* of those, handed out to tensors now */
  double scratch;     /* held by the backend */
  double peak;        /* highest live + scratch so far */
  double allocs;      /* calls that reached the system so far: constant in a steady state */
  double moves;       /* times that scratch or a step's memory was replaced: recordings from before are void */
} dm_memory;

/* Opens "cpu", "cuda", "cuda:1" or "auto" (CUDA where it works, else the CPU). The device is shared:
** opening it again gives the same pointer, and it lives until the process ends.
** Errors: EDEVICE with the reason. */
dm_status dm_device_open(dm_device **out, const char *name);

/* "cpu" or "cuda:0", and what it is ("2 threads, AVX-512" or the card's name). */
const char *dm_device_name(const dm_device *d);
const char *dm_device_about(const dm_device *d);

/* One line for each backend that was looked for, with the reason where it cannot run; NULL past the end. */
const char *dm_device_candidate(int32_t i);

/* Why "auto" took the CPU although a driver and a CUDA backend are there: its sentence; else "". */
const char *dm_device_refusal(void);

/* Whether "auto" would most likely take CUDA: the driver's library and a CUDA backend are installed. Opens neither, and
** so costs a millisecond where there is no driver. */
int32_t dm_device_likely(void);

/* Recording of a step, on a device that can (CUDA): from BEGIN on the ops of the device are recorded instead of run; END
** gives the recording in *graph (graph NULL: drops it), which replay runs as often as wanted: the same ops on the same
** addresses, with the knobs of the moment. FORGET frees *graph. Not allowed between BEGIN and END: put, get, sync, knobs,
** and whatever needs new memory. Errors: ECAPTURE. */
enum { DM_CAPTURE_BEGIN = 0, DM_CAPTURE_END = 1, DM_CAPTURE_FORGET = 2 };
dm_status dm_device_capture(dm_device *d, int32_t what, void **graph);
dm_status dm_device_replay(dm_device *d, void *graph);

/* Work for a later step beside the step that runs, on a device that does both at once (CUDA). From BEGIN to END all that
** is asked for belongs to `place`: puts, which go through pinned memory, fills, casts; ops that need scratch memory are
** refused. USE: what is asked for from here on comes after the place's END. DONE: the next BEGIN of the place comes after
** what was asked for so far. Two places, 0 and 1, take turns. None of it makes the host wait for the running step.
** Errors: EARG, ECAPTURE (inside a captured step, or a device that works at once). */
enum { DM_AHEAD_BEGIN = 0, DM_AHEAD_END = 1, DM_AHEAD_USE = 2, DM_AHEAD_DONE = 3 };
dm_status dm_device_ahead(dm_device *d, int32_t what, int32_t place);

/* Waits until the device has done what it was given; an error of work in flight comes up here. Errors: EDEVICE. */
dm_status dm_device_sync(dm_device *d);

/* Moments in the order of the device's own work, numbered by the caller from 0 below DM_MARKS: mark notes one after all
** that was asked for so far, and returns at once; between waits for moment `to` and gives the seconds from `from`.
** Errors: EARG (a number out of range, a moment that was never noted), ECAPTURE. */
enum { DM_MARKS = 1024 };
dm_status dm_device_mark(dm_device *d, int32_t number);
dm_status dm_device_between(dm_device *d, int32_t from, int32_t to, double *seconds);

/* Sets the values of this step, copied. Errors: ECAPTURE. */
dm_status dm_device_knobs(dm_device *d, const dm_knobs *k);

/* Bytes in use on the device now, and the most so far. */
dm_status dm_device_memory(const dm_device *d, dm_memory *out);

/* Bytes that the device can still hand out: free memory by its driver (CUDA), or what the system and its control group
** leave to this process (CPU); 0 where nobody says. */
double dm_device_room(dm_device *d);

/* 1 if the device stores and computes this dtype, else 0. */
int32_t dm_device_takes(const dm_device *d, int32_t dtype);

/* OK where the device computes in this dtype, f32 or bf16. Errors: EDEVICE with the reason. */
dm_status dm_device_computes(const dm_device *d, int32_t dtype);

/* Threads of the CPU backend; n < 1 gives the default (DATAMUX_THREADS, else the physical cores). */
void dm_threads_set(int32_t n);
int32_t dm_threads(void);

/* -- tensors and arenas ------------------------------------------------------------------------ */

enum { DM_F32 = 0, DM_BF16 = 1, DM_I32 = 2 };

typedef struct dm_tensor {          /* 48 bytes, no owner, copied freely */
  void     *data;
  dm_arena *arena;                  /* where data lives; gives the device */
  uint32_t  gen;                    /* arena generation when allocated */
  uint8_t   dtype, ndim;
  uint16_t  flags;
  int32_t   shape[6];               /* row-major, contiguous, last varies fastest */
} dm_tensor;

/* A bump allocator on one device. Lasting tensors have an arena of their own; a step has one that is
** reset when the step ends, which makes its tensors stale (ESTALE) and replaces several chunks by one
** of the total size, so that a steady state allocates nothing and addresses repeat. */
dm_status dm_arena_new(dm_arena **out, dm_device *d);

/* Gives the memory back; tensors of the arena become stale, not dangling. NULL is ignored. */
void dm_arena_free(dm_arena *a);

/* Ends the step: its tensors become stale, and the arena is empty again. */
dm_status dm_arena_reset(dm_arena *a);

/* The arena as a stack: release gives back what was allocated since the mark. */
double dm_arena_mark(const dm_arena *a);
dm_status dm_arena_release(dm_arena *a, double mark);

/* Bytes handed out since the last reset, and bytes held. */
double dm_arena_used(const dm_arena *a);
double dm_arena_size(const dm_arena *a);

/* The device that the arena's memory is on. */
dm_device *dm_arena_device(const dm_arena *a);

/* Test switches: fill released memory with NaN (0/1); let every n-th allocation (tensor or scratch) fail (0 = never). */
void dm_arena_poison(int32_t on);
void dm_arena_fail_every(int32_t n);

/* Storage for a tensor whose dtype, ndim (1..6) and shape (each >= 0) are set: fills data, arena, gen.
** 256-byte aligned, not cleared. Errors: EARG, ENOMEM. */
dm_status dm_tensor_alloc(dm_tensor *t, dm_arena *a);

/* t = memory that is not the engine's, `size of t` bytes at `data`, which must stay until the arena is freed: weights in a
** mapped file. CPU only (EDEVICE). */
dm_status dm_tensor_adopt(dm_tensor *t, dm_arena *a, const void *data);

/* y = x seen from element `offset` with y's own dtype (same size), ndim and shape. Errors: ESHAPE, ESTALE. */
dm_status dm_tensor_view(dm_tensor *y, const dm_tensor *x, double offset);

/* Copies exactly `bytes` = size of t. Errors: EARG (size), ESTALE. */
dm_status dm_tensor_put(dm_tensor *t, const void *host, double bytes);
dm_status dm_tensor_get(void *host, const dm_tensor *t, double bytes);

/* Number of elements, and their size in bytes; bytes of one element of a type. */
double dm_tensor_numel(const dm_tensor *t);
double dm_tensor_bytes(const dm_tensor *t);
int32_t dm_dtype_size(int32_t dtype);

/* t = v everywhere. */
dm_status dm_tensor_fill(dm_tensor *t, double v);

/* Same bits on every device: made on the host with Philox, counter (element / 4, 0, site, 0). Normals by
** Box-Muller. */
dm_status dm_tensor_uniform(dm_tensor *t, double lo, double hi, double seed, uint32_t site);
dm_status dm_tensor_normal(dm_tensor *t, double mean, double std, double seed, uint32_t site);

/* min, max, mean, standard deviation, count of non-finite values, over a real tensor: out[5]. */
dm_status dm_tensor_stats(double *out, const dm_tensor *t);

/* -- host helpers ----------------------------------------------------------------------------- */

/* order[0..n) = row numbers 0..n-1 sorted by ids[row], stable. ids must be in [-1, range); rows with -1
** come first. Counting sort. order NULL: ids are looked at, no more. Errors: EARG. */
dm_status dm_order(int32_t *order, const int32_t *ids, double n, int32_t range);

/* perm[0..n) = a permutation of 0..n-1, Fisher-Yates over Philox (seed, site, step). */
dm_status dm_shuffle(int32_t *perm, double n, double seed, uint32_t site, uint32_t step);

/* Makes the rows of a [n, n] orthonormal, in place: Gram-Schmidt in the order of the rows. Of independent normals it
** makes a Haar-distributed orthogonal matrix (Stewart 1980). Errors: EARG when a row depends on those before it. */
dm_status dm_orthonormal(double *a, int32_t n);

/* out[4] = Philox4x32-10 of a counter and a key. */
void dm_philox(uint32_t *out, const uint32_t *counter, const uint32_t *key);

/* Seconds of a clock that never goes back. */
double dm_clock(void);

/* Requests to stop (SIGINT and, while a run trains, others) since the last clear: whoever obeys one clears them. The
** handler is set by the command (src/main.c). */
int32_t dm_interrupted(void);
void dm_interrupt_clear(void);

/* A file mapped for reading (what is written to the memory stays in this process). data is NULL for an empty file. Errors: EIO with path and reason. */
typedef struct dm_file { const uint8_t *data; double size; } dm_file;
dm_status dm_file_map(dm_file *out, const char *path);
void dm_file_unmap(dm_file *f);

/* Writes are collected in path.tmp-PID and appear under `path` all at once, synced, at commit. Freeing
** without commit removes the temporary. Errors: EIO (disk full included) with path and reason. */
typedef struct dm_writer dm_writer;
dm_status dm_writer_open(dm_writer **out, const char *path);
dm_status dm_writer_write(dm_writer *w, const void *data, double bytes);
dm_status dm_writer_commit(dm_writer *w);
void dm_writer_free(dm_writer *w);

/* -- words into pieces of a vocabulary: see lua/datamux/text -----------------------------------------------
** Each gives the number of ids and writes as many as there is room for; with more ids than room, call again. */

typedef struct dm_wordpiece dm_wordpiece;
typedef struct dm_bpe dm_bpe;

/* WordPiece: piece id is bytes[offset[id] .. offset[id + 1]), "##" in front of a continuation; copied. unk: the id of a
** word that cannot be cut. Errors: ENOMEM. */
dm_status dm_wordpiece_new(dm_wordpiece **out, const uint8_t *bytes, const int32_t *offset, int32_t n, int32_t unk);
void dm_wordpiece_free(dm_wordpiece *w);
/* One word of valid UTF-8, each time its longest piece. Words of more than 100 characters are unknown. */
int32_t dm_wordpiece_word(const dm_wordpiece *w, const uint8_t *word, int32_t n, int32_t *ids, int32_t room);
/* A whole text in ASCII: control characters left out, lower-cased where wanted, cut at blanks and around punctuation.
** -1: there is a byte that is not ASCII. Source: Devlin et al. 2019. */
int32_t dm_wordpiece_text(const dm_wordpiece *w, const uint8_t *text, int32_t n, int32_t lower, int32_t *ids,
                          int32_t room);

/* Byte-level BPE: letters[256], the part that stands for each byte; merges [n][3]: two parts and what they become, the
** first one has the lowest rank. A part below 0 is in no vocabulary: unk where it is left. Errors: ENOMEM. */
dm_status dm_bpe_new(dm_bpe **out, const int32_t *letters, const int32_t *merges, int32_t n, int32_t unk);
void dm_bpe_free(dm_bpe *b);
/* One piece: the pair of lowest rank joined (of equals the leftmost) until none is left. Uses room of b's own: not for
** two threads at once. -2: no memory. */
int32_t dm_bpe_piece(dm_bpe *b, const uint8_t *piece, int32_t n, int32_t *ids, int32_t room);
/* A whole text in ASCII, cut into pieces by GPT-2's pattern. -1: there is a byte that is not ASCII. Source: Sennrich et
** al. 2016; Radford et al. 2019. */
int32_t dm_bpe_text(dm_bpe *b, const uint8_t *text, int32_t n, int32_t *ids, int32_t room);

/* -- products of a finished model in int8 --------------------------------------------------------- */

/* Weights of a linear layer in 7 bits: w[d] is about scale[d] * (q[d] - 64), scale[d] = max |w[d]| / 63.
**   q      [(D + 15) / 16, (C + 3) / 4, 16]  i32  out   four bytes each: inputs 4j .. 4j + 3 of a channel; 64s where
**                                                       there is no such input or channel
**   scale  [D]                                    out
**   w      [D, C]                                 in
** Errors: EDEVICE where the device has no products in int8; SHAPE, DTYPE, STALE. */
dm_status dm_int8_pack(dm_tensor *q, dm_tensor *scale, const dm_tensor *w);

/* y = act(x w^T + b) with w as packed; each row of x is taken in 8 bits, its largest magnitude as 127. No gradient.
**   y [.., D] out; x [.., C], b [D] or NULL in. y and x each f32 or bf16. Sums are exact. Errors: as dm_int8_pack, ARG. */
dm_status dm_int8_linear(dm_tensor *y, const dm_tensor *x, const dm_tensor *q, const dm_tensor *scale,
                         const dm_tensor *b, int32_t act);

/* dm_unbind_fwd with `a` as packed; each key * h is taken in 8 bits. No gradient.
**   y [R, D] out; key [RK, C], h [RH, C], hb [RH, D], ik, ih [R] i32 in. Errors: as dm_int8_linear. */
dm_status dm_int8_unbind(dm_tensor *y, const dm_tensor *key, const dm_tensor *h, const dm_tensor *hb,
                         const dm_tensor *q, const dm_tensor *scale, const dm_tensor *ik, const dm_tensor *ih,
                         int32_t act);

/* -- linear and matmul ------------------------------------------------------------------------- */

enum { DM_NONE = 0, DM_GELU = 1, DM_RELU = 2, DM_TANH = 3 };

/* y = act(x w^T + b), for each of R rows.
**   y    [.., D]  out
**   pre  [.., D]  out   x w^T + b, needed by the backward pass when act is not NONE; else NULL
**   x    [.., C]  in
**   w    [D, C]   in
**   b    [D]      in    or NULL
** GELU is the exact form x Phi(x), Hendrycks & Gimpel 2016. Errors: SHAPE, DTYPE, STALE, ARG. */
dm_status dm_linear_fwd(dm_tensor *y, dm_tensor *pre, const dm_tensor *x, const dm_tensor *w,
                        const dm_tensor *b, int32_t act);
/* acc bits: dx, dw, db. pre may be NULL when act is NONE. */
dm_status dm_linear_bwd(dm_tensor *dx, dm_tensor *dw, dm_tensor *db, const dm_tensor *dy,
                        const dm_tensor *pre, const dm_tensor *x, const dm_tensor *w, int32_t act,
                        uint32_t acc);

/* y = op(a) op(b); op transposes the last two dimensions where ta, tb are 1.
**   2-D: op(a) [R, C], op(b) [C, D], y [R, D]; 3-D: the same for each of a leading B. */
dm_status dm_matmul_fwd(dm_tensor *y, const dm_tensor *a, const dm_tensor *b, int32_t ta, int32_t tb);
/* db: of the type of b, or f32 (a parameter's). acc bits: da, db. */
dm_status dm_matmul_bwd(dm_tensor *da, dm_tensor *db, const dm_tensor *dy, const dm_tensor *a,
                        const dm_tensor *b, int32_t ta, int32_t tb, uint32_t acc);

/* -- normalisation ----------------------------------------------------------------------------- */

/* y = LN(x + drop(r)) * w + b, for each of R rows of C.
**   y     [.., C]  out
**   stat  [R, 2]   out   mean and 1/std, needed by the backward pass
**   x, r  [.., C]  in    r may be NULL (plain layer norm; then p must be 0)
**   w, b  [C]      in
** Statistics are taken in two passes. Source: Ba et al. 2016; post-LN order of BERT. */
dm_status dm_layernorm_fwd(dm_tensor *y, dm_tensor *stat, const dm_tensor *x, const dm_tensor *r,
                           const dm_tensor *w, const dm_tensor *b, float p, uint32_t site, float eps);
/* acc bits: dx, dr, dw, db. */
dm_status dm_layernorm_bwd(dm_tensor *dx, dm_tensor *dr, dm_tensor *dw, dm_tensor *db,
                           const dm_tensor *dy, const dm_tensor *x, const dm_tensor *r,
                           const dm_tensor *w, const dm_tensor *stat, float p, uint32_t site,
                           uint32_t acc);

/* -- attention --------------------------------------------------------------------------------- */

/* y = softmax(q k^T / sqrt(C/H) + mask) v for each row and head, dropout on the probabilities.
**   y     [B, S, C]     out
**   stat  [B, H, S]     out   log of the softmax's denominator (log-sum-exp of the scaled scores), for the derivative; or
**                             NULL
**   qkv   [B, S, 3C]    in    q, k, v one after the other in the last dimension, each split in H heads
**   mask  [B, S]  i32   in    0 = this key is not attended; NULL = all are. A row without any key gives 0.
** The dropout element number is ((b H + h) S + query) S + key. Source: Vaswani et al. 2017; scores are never
** stored for the whole batch (Dao et al. 2022). */
dm_status dm_attention_fwd(dm_tensor *y, dm_tensor *stat, const dm_tensor *qkv, const dm_tensor *mask,
                           int32_t heads, float p, uint32_t site);
/* acc bits: dqkv. */
dm_status dm_attention_bwd(dm_tensor *dqkv, const dm_tensor *dy, const dm_tensor *y,
                           const dm_tensor *qkv, const dm_tensor *stat, const dm_tensor *mask,
                           int32_t heads, float p, uint32_t site, uint32_t acc);

/* -- embeddings and rows ------------------------------------------------------------------------ */

/* y[r] = word[ids[r]] + pos[posid[r]].
**   y     [.., C]       out
**   ids   [..]    i32   in    each in [0, V)
**   posid [..]    i32   in    as ids, each in [0, P); NULL exactly when pos is
**   word  [V, C], pos [P, C]  in
** Errors: ARG with the first id that is out of range. */
dm_status dm_embed_fwd(dm_tensor *y, const dm_tensor *ids, const dm_tensor *posid, const dm_tensor *word,
                       const dm_tensor *pos);
/* order [R] i32: dm_order of ids. Rows are added in that order, without atomics. acc bits: dword, dpos. */
dm_status dm_embed_bwd(dm_tensor *dword, dm_tensor *dpos, const dm_tensor *dy, const dm_tensor *ids,
                       const dm_tensor *posid, const dm_tensor *order, uint32_t acc);

/* y[r] = x[rows[r]], or 0 where rows[r] is -1.
**   y [R, C] out; x [M, C] in (leading dimensions are flattened); rows [R] i32 in, each in [-1, M) */
dm_status dm_gather_fwd(dm_tensor *y, const dm_tensor *x, const dm_tensor *rows);
/* order: dm_order of rows. acc bits: dx. */
dm_status dm_gather_bwd(dm_tensor *dx, const dm_tensor *dy, const dm_tensor *rows, const dm_tensor *order,
                        uint32_t acc);

/* y = 0, then y[rows[r]] += x[r] in the order given (dm_order of rows); rows[r] = -1 is left out. */
dm_status dm_scatter_fwd(dm_tensor *y, const dm_tensor *x, const dm_tensor *rows, const dm_tensor *order);
/* acc bits: dx. */
dm_status dm_scatter_bwd(dm_tensor *dx, const dm_tensor *dy, const dm_tensor *rows, uint32_t acc);

/* The mixed embedding in one pass; the [B, N, S, C] tensor never exists:
**   e(b,i,s) = LN(word[ids] + pos[posid] + type) * g + c, then dropout p
**   y(b,s)   = scale * sum_i weight(b,i) * key(i) * e(b,i,s)
**   y      [B, S, C]        out
**   stat   [B, N, S, 2]     out   mean and 1/std of each embedding, needed by the backward pass
**   ids    [B, N, S]  i32   in    each in [0, V); rows with ids == pad are left out of the sum (pad = -1: none)
**   posid  [B, N, S]  i32   in    each in [0, P); NULL = position s
**   word [V, C], pos [P, C]  in
**   type   [C]              in    or NULL
**   g, c   [C]              in    weight and bias of the layer norm
**   key    [N, C]           in    Hadamard keys
**   weight [B, N]           in    or NULL (all 1); 0 leaves an instance out
** The dropout element number is that of e in [B, N, S, C]. Source: Murahari et al. 2022, section 3 (DataMUX);
** METHOD: Gaussian Hadamard multiplexing. */
dm_status dm_embed_mux_fwd(dm_tensor *y, dm_tensor *stat, const dm_tensor *ids, const dm_tensor *posid,
                           const dm_tensor *word, const dm_tensor *pos, const dm_tensor *type,
                           const dm_tensor *g, const dm_tensor *c, const dm_tensor *key,
                           const dm_tensor *weight, float scale, int32_t pad, float p, uint32_t site,
                           float eps);
/* order [B*N*S] i32: dm_order of ids. dtype is the gradient of type.
** acc bits: dword, dpos, dtype, dg, dc, dkey. */
dm_status dm_embed_mux_bwd(dm_tensor *dword, dm_tensor *dpos, dm_tensor *dtype, dm_tensor *dg,
                           dm_tensor *dc, dm_tensor *dkey, const dm_tensor *dy, const dm_tensor *stat,
                           const dm_tensor *ids, const dm_tensor *posid, const dm_tensor *order,
                           const dm_tensor *word, const dm_tensor *pos, const dm_tensor *type,
                           const dm_tensor *g, const dm_tensor *c, const dm_tensor *key,
                           const dm_tensor *weight, float scale, int32_t pad, float p, uint32_t site,
                           uint32_t acc);

/* -- multiplexing and demultiplexing ------------------------------------------------------------ */

/* y(b,s) = scale * sum_i weight(b,i) * phi_i(x(b,i,s)).
**   y      [B, S, C]     out
**   x      [B, N, S, C]  in
**   key    [N, C]        in    phi_i(x) = key_i * x (Hadamard), or
**          [N, C, C]           phi_i(x) = key_i x   (matrix times column vector)
**   weight [B, N]        in    or NULL (all 1) */
dm_status dm_mux_fwd(dm_tensor *y, const dm_tensor *x, const dm_tensor *key, const dm_tensor *weight,
                     float scale);
/* acc bits: dx, dkey. */
dm_status dm_mux_bwd(dm_tensor *dx, dm_tensor *dkey, const dm_tensor *dy, const dm_tensor *x,
                     const dm_tensor *key, const dm_tensor *weight, float scale, uint32_t acc);

/* y[r] = act(u[iu[r]] + v[iv[r]]): the split form of act(W [p ; h] + b), with u = p Wp^T for each index and
** v = h Wh^T + b for each position, for the (index, position) pairs that are wanted.
**   y, pre [R, D]   out   pre is the sum, needed by the backward pass; NULL when it is not wanted
**   u [RU, D], v [RV, D]  in;  iu, iv [R] i32 in */
dm_status dm_demux_fwd(dm_tensor *y, dm_tensor *pre, const dm_tensor *u, const dm_tensor *v,
                       const dm_tensor *iu, const dm_tensor *iv, int32_t act);
/* ou, ov: dm_order of iu and of iv. acc bits: du, dv. */
dm_status dm_demux_bwd(dm_tensor *du, dm_tensor *dv, const dm_tensor *dy, const dm_tensor *pre,
                       const dm_tensor *iu, const dm_tensor *iv, const dm_tensor *ou, const dm_tensor *ov,
                       int32_t act, uint32_t acc);

/* y[r] = act(A (key[ik[r]] * h[ih[r]]) + hb[ih[r]]): the unbinding demultiplexer for the pairs that are
** wanted; hb = h B^T + b is computed once per position.
**   y, pre [R, D]   out   pre as in dm_demux_fwd
**   key [RK, C], h [RH, C], hb [RH, D], a [D, C]  in;  ik, ih [R] i32 in
** Source: holographic reduced representations, Plate 1995; the project's METHOD notes in docs/. */
dm_status dm_unbind_fwd(dm_tensor *y, dm_tensor *pre, const dm_tensor *key, const dm_tensor *h,
                        const dm_tensor *hb, const dm_tensor *a, const dm_tensor *ik, const dm_tensor *ih,
                        int32_t act);
/* ok, oh: dm_order of ik and of ih. acc bits: dkey, dh, dhb, da. */
dm_status dm_unbind_bwd(dm_tensor *dkey, dm_tensor *dh, dm_tensor *dhb, dm_tensor *da,
                        const dm_tensor *dy, const dm_tensor *pre, const dm_tensor *key,
                        const dm_tensor *h, const dm_tensor *a, const dm_tensor *ik, const dm_tensor *ih,
                        const dm_tensor *ok, const dm_tensor *oh, int32_t act, uint32_t acc);

/* y[g] = mean of x[span[g][0] .. span[g][1]), 0 for an empty span.
**   y [G, C] out; x [R, C] in (leading dimensions are flattened); span [G, 2] i32 in, 0 <= begin <= end <= R,
**   spans in ascending order without overlap. Rows in no span get gradient 0. */
dm_status dm_meanpool_fwd(dm_tensor *y, const dm_tensor *x, const dm_tensor *span);
/* acc bits: dx. */
dm_status dm_meanpool_bwd(dm_tensor *dx, const dm_tensor *dy, const dm_tensor *span, uint32_t acc);

/* -- images ------------------------------------------------------------------------------------- */

/* y = conv(x, w) + b: cross-correlation with stride 1, `pad` zeros on each side, channels in `groups` that do not mix.
**   y [B, Co, H + 2 pad - Kh + 1, W + 2 pad - Kw + 1] out; x [B, Ci, H, W], w [Co, Ci / groups, Kh, Kw] in;
**   b [Co] in or NULL; groups divides Ci and Co. */
dm_status dm_conv2d_fwd(dm_tensor *y, const dm_tensor *x, const dm_tensor *w, const dm_tensor *b, int32_t pad,
                        int32_t groups);
/* acc bits: dx, dw, db. */
dm_status dm_conv2d_bwd(dm_tensor *dx, dm_tensor *dw, dm_tensor *db, const dm_tensor *dy, const dm_tensor *x,
                        const dm_tensor *w, int32_t pad, int32_t groups, uint32_t acc);

/* The largest of each k x k window, windows side by side, what does not fill one dropped; of equals the first.
**   y [B, C, H / k, W / k] out; at i32 of its shape out (where it lay in its H x W plane); x [B, C, H, W] in. */
dm_status dm_maxpool2d_fwd(dm_tensor *y, dm_tensor *at, const dm_tensor *x, int32_t k);
/* acc bits: dx. */
dm_status dm_maxpool2d_bwd(dm_tensor *dx, const dm_tensor *dy, const dm_tensor *at, uint32_t acc);

/* -- pointwise ---------------------------------------------------------------------------------- */

/* y = a + b, same shape. */
dm_status dm_add_fwd(dm_tensor *y, const dm_tensor *a, const dm_tensor *b);
/* acc bits: da, db. */
dm_status dm_add_bwd(dm_tensor *da, dm_tensor *db, const dm_tensor *dy, uint32_t acc);

/* y = s x. */
dm_status dm_scale_fwd(dm_tensor *y, const dm_tensor *x, float s);
dm_status dm_scale_bwd(dm_tensor *dx, const dm_tensor *dy, float s, uint32_t acc);

/* y = act(x). */
dm_status dm_act_fwd(dm_tensor *y, const dm_tensor *x, int32_t act);
dm_status dm_act_bwd(dm_tensor *dx, const dm_tensor *dy, const dm_tensor *x, int32_t act, uint32_t acc);

/* y = x with each element dropped with probability p, the others divided by 1 - p. */
dm_status dm_dropout_fwd(dm_tensor *y, const dm_tensor *x, float p, uint32_t site);
dm_status dm_dropout_bwd(dm_tensor *dx, const dm_tensor *dy, float p, uint32_t site, uint32_t acc);

/* -- losses ------------------------------------------------------------------------------------- */

/* Mean cross-entropy over the rows whose label is not `ignore`; 0 when there is none.
**   loss    [1]       out
**   saved   [R, K]    out   d loss / d logits, for the backward pass; NULL when it is not wanted
**   logits  [R, K]    in
**   label   [R]  i32  in    each in [0, K) or ignore */
dm_status dm_xent_fwd(dm_tensor *loss, dm_tensor *saved, const dm_tensor *logits, const dm_tensor *label,
                      int32_t ignore);
/* dloss [1]. acc bits: dlogits. */
dm_status dm_xent_bwd(dm_tensor *dlogits, const dm_tensor *dloss, const dm_tensor *saved, uint32_t acc);

/* Vocabulary projection and cross-entropy: loss = xent(x w^T + b, label). Without `logits` the [R, V] logits never
** exist as a whole: they are made in row chunks, and made again by the backward pass.
**   loss   [1]       out
**   hits   [2]  i32  out   rows whose largest logit is the label (the first of equals), rows counted
**   lse    [R]       out   log-sum-exp of each row's logits, needed by the backward pass
**   logits [R, L]    out   kept for one backward pass, which then has a third less to do; NULL = not kept. L >= V: the
**                          columns beyond V mean nothing. f32, or of x's type and so rounded. A backend may leave them
**                          alone in both directions: the CPU does where L > V or where they are bf16.
**   x [R, C], w [V, C], b [V] or NULL, label [R] i32  in */
dm_status dm_linear_xent_fwd(dm_tensor *loss, dm_tensor *hits, dm_tensor *lse, dm_tensor *logits,
                             const dm_tensor *x, const dm_tensor *w, const dm_tensor *b,
                             const dm_tensor *label, int32_t ignore);
/* logits: as the forward pass left them, written over here; or NULL. acc bits: dx, dw, db. */
dm_status dm_linear_xent_bwd(dm_tensor *dx, dm_tensor *dw, dm_tensor *db, dm_tensor *logits,
                             const dm_tensor *dloss, const dm_tensor *lse, const dm_tensor *x,
                             const dm_tensor *w, const dm_tensor *b, const dm_tensor *label,
                             int32_t ignore, uint32_t acc);

/* loss [1] = mean of (x - target)^2 over all elements. */
dm_status dm_mse_fwd(dm_tensor *loss, const dm_tensor *x, const dm_tensor *target);
/* acc bits: dx. */
dm_status dm_mse_bwd(dm_tensor *dx, const dm_tensor *dloss, const dm_tensor *x, const dm_tensor *target,
                     uint32_t acc);

/* hits [2] i32 = rows whose largest logit is the label (the first of equals), rows counted. No gradient. */
dm_status dm_count_correct(dm_tensor *hits, const dm_tensor *logits, const dm_tensor *label,
                           int32_t ignore);

/* -- optimisers and whole blocks (no gradient) --------------------------------------------------- */

/* One AdamW update of a flat block; learning rate and update number come from dm_knobs.
**   p, m, v [n]  inout   parameters, first and second moment
**   copy    [n]  out     p rounded to bf16, written in the same pass; or NULL
**   g       [n]  in
**   norm    [1]  in      Euclidean norm of all gradients (dm_norm2), or NULL: no clipping
** g is multiplied by min(1, clip / norm); the first `decayed` elements decay by lr * decay.
** Source: Kingma & Ba 2015; Loshchilov & Hutter 2019 (decoupled). decay = 0 is Adam. */
dm_status dm_adamw(dm_tensor *p, dm_tensor *m, dm_tensor *v, dm_tensor *copy, const dm_tensor *g,
                   const dm_tensor *norm, double decayed, float beta1, float beta2, float eps, float decay, float clip);

/* m = momentum m + g + decay p; p -= lr m. m may be NULL when momentum is 0; copy as in dm_adamw. */
dm_status dm_sgd(dm_tensor *p, dm_tensor *m, dm_tensor *copy, const dm_tensor *g, const dm_tensor *norm, double decayed,
                 float momentum, float decay, float clip);

/* out [1] = Euclidean norm of x; the order of the sum does not depend on the number of threads. */
dm_status dm_norm2(dm_tensor *out, const dm_tensor *x);

/* x = 0. */
dm_status dm_zero(dm_tensor *x);

/* y = x converted to y's dtype (f32 and bf16; to nearest even). */
dm_status dm_cast(dm_tensor *y, const dm_tensor *x);

#pragma GCC visibility pop

#endif
