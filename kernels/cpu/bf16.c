/* bf16.c -- bf16 by the processor: whether it can, and the product of a tile as a matmul primitive of oneDNN's, which
** each thread keeps for the next tile of its kind. Where oneDNN 2 and 3 describe it differently is seen here alone. */
#include "cpu.h"

#include <stdlib.h>

enum { UNKNOWN, AS_IT_IS, EMULATED, NONE };

/* What DATAMUX_BF16 asks for; written again by another thread it gets the same value. */
static int asked(void) {
  static int known;
  if (known == UNKNOWN) {
    const char *set = getenv("DATAMUX_BF16");
    known = !set ? AS_IT_IS : !strcmp(set, "emulated") ? EMULATED : !strcmp(set, "none") ? NONE : AS_IT_IS;
  }
  return known;
}

int cpu_bf16_emulated(void) { return asked() == EMULATED; }

#ifdef DM_REAL

const char *cpu_bf16_lacks(void) { return "reals are doubles here"; }

#else

#include <dnnl.h>

/* Every processor with AMX-BF16 has AVX512-BF16 as well. */
const char *cpu_bf16_lacks(void) {
  if (asked() == NONE) return "DATAMUX_BF16 is none";
  if (cpu_bf16_emulated() || __builtin_cpu_supports("avx512bf16")) return "";
  return "this processor has neither AVX512-BF16 nor AMX-BF16";
}

/* -- primitives -------------------------------------------------------------------------------------- */

/* What a primitive depends on: all of it ints, so that keys compare as bytes. */
typedef struct primitive_key { int ta, tb, m, n, k, lda, ldb, ldc, beta; } primitive_key;

enum { A, B, C, WORK, OPERANDS };

typedef struct primitive {
  primitive_key key;
  dnnl_primitive_t run;                 /* NULL: none is kept here */
  dnnl_memory_t of[OPERANDS];           /* WORK: NULL where it needs none */
  size_t work;                          /* bytes of it */
} primitive;

enum { KEPT = 256 };                    /* of one thread; a newcomer takes the place of what was there */

/* The engine of the process: made once, and kept. */
static dnnl_engine_t engine(void) {
  static dnnl_engine_t cpu;
#pragma omp critical(dm_engine)
  if (!cpu && dnnl_engine_create(&cpu, dnnl_cpu, 0) != dnnl_success) cpu = NULL;
  return cpu;
}

static void forget(primitive *q) {
  for (int i = 0; i < OPERANDS; i++) {
    if (q->of[i]) dnnl_memory_destroy(q->of[i]);
  }
  if (q->run) dnnl_primitive_destroy(q->run);
  memset(q, 0, sizeof *q);
}

static dnnl_status_t attributes(dnnl_primitive_attr_t *attr, int beta) {
  dnnl_post_ops_t sum = NULL;
  dnnl_status_t s = dnnl_primitive_attr_create(attr);
  if (!s) s = dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
  if (s || !beta) return s;
  s = dnnl_post_ops_create(&sum);
#if DNNL_VERSION_MAJOR >= 3
  if (!s) s = dnnl_post_ops_append_sum(sum, 1.0f, 0, dnnl_data_type_undef);
#else
  if (!s) s = dnnl_post_ops_append_sum(sum, 1.0f);
#endif
  if (!s) s = dnnl_primitive_attr_set_post_ops(*attr, sum);
  if (sum) dnnl_post_ops_destroy(sum);
  return s;
}

/* Sizes and strides, rows first, of op(a) [m, k], op(b) [k, n] and c [m, n]. */
static void place(const primitive_key *p, dnnl_dims_t size[3], dnnl_dims_t stride[3]) {
  const int rows[3] = { p->m, p->k, p->m }, cols[3] = { p->k, p->n, p->n };
  const int lead[3] = { p->lda, p->ldb, p->ldc }, turned[3] = { p->ta, p->tb, 0 };
  for (int i = 0; i < 3; i++) {
    size[i][0] = rows[i];
    size[i][1] = cols[i];
    stride[i][0] = turned[i] ? 1 : lead[i];
    stride[i][1] = turned[i] ? lead[i] : 1;
  }
}

#if DNNL_VERSION_MAJOR >= 3

static dnnl_status_t describe(dnnl_primitive_desc_t *out, primitive *q, const_dnnl_primitive_attr_t attr) {
  dnnl_dims_t size[3], stride[3];
  dnnl_memory_desc_t md[3] = { NULL };
  dnnl_status_t s = dnnl_success;
  place(&q->key, size, stride);
  for (int i = 0; !s && i < 3; i++) {
    s = dnnl_memory_desc_create_with_strides(&md[i], 2, size[i], i == C ? dnnl_f32 : dnnl_bf16, stride[i]);
    if (!s) s = dnnl_memory_create(&q->of[i], md[i], engine(), DNNL_MEMORY_NONE);
  }
  if (!s) s = dnnl_matmul_primitive_desc_create(out, engine(), md[A], md[B], NULL, md[C], attr);
  for (int i = 0; i < 3; i++) {
    if (md[i]) dnnl_memory_desc_destroy(md[i]);
  }
  return s;
}

static dnnl_status_t work_space(primitive *q, const_dnnl_primitive_desc_t pd) {
  const_dnnl_memory_desc_t md = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
  q->work = dnnl_memory_desc_get_size(md);
  return q->work ? dnnl_memory_create(&q->of[WORK], md, engine(), DNNL_MEMORY_NONE) : dnnl_success;
}

#else

static dnnl_status_t describe(dnnl_primitive_desc_t *out, primitive *q, const_dnnl_primitive_attr_t attr) {
  dnnl_dims_t size[3], stride[3];
  dnnl_memory_desc_t md[3];
  dnnl_matmul_desc_t what;
  dnnl_status_t s = dnnl_success;
  place(&q->key, size, stride);
  for (int i = 0; !s && i < 3; i++) {
    s = dnnl_memory_desc_init_by_strides(&md[i], 2, size[i], i == C ? dnnl_f32 : dnnl_bf16, stride[i]);
    if (!s) s = dnnl_memory_create(&q->of[i], &md[i], engine(), DNNL_MEMORY_NONE);
  }
  if (!s) s = dnnl_matmul_desc_init(&what, &md[A], &md[B], NULL, &md[C]);
  return s ? s : dnnl_primitive_desc_create(out, &what, attr, engine(), NULL);
}

static dnnl_status_t work_space(primitive *q, const_dnnl_primitive_desc_t pd) {
  const dnnl_memory_desc_t *md = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
  q->work = dnnl_memory_desc_get_size(md);
  return q->work ? dnnl_memory_create(&q->of[WORK], md, engine(), DNNL_MEMORY_NONE) : dnnl_success;
}

#endif

static dnnl_status_t make(primitive *q, const primitive_key *key) {
  dnnl_primitive_attr_t attr = NULL;
  dnnl_primitive_desc_t pd = NULL;
  q->key = *key;
  dnnl_status_t s = engine() ? attributes(&attr, key->beta) : dnnl_out_of_memory;
  if (!s) s = describe(&pd, q, attr);
  if (!s) s = dnnl_primitive_create(&q->run, pd);
  if (!s) s = work_space(q, pd);
  if (pd) dnnl_primitive_desc_destroy(pd);
  if (attr) dnnl_primitive_attr_destroy(attr);
  if (s) forget(q);
  return s;
}

/* The thread's primitive for the key, made where it is not kept. */
static dnnl_status_t primitive_for(primitive **out, const primitive_key *key) {
  static _Thread_local primitive kept[KEPT];
  const int *v = (const int *)key;
  unsigned h = 2166136261u;
  for (size_t i = 0; i < sizeof *key / sizeof *v; i++) h = (h ^ (unsigned)v[i]) * 16777619u;
  primitive *q = *out = &kept[(h ^ h >> 16) % KEPT];
  if (q->run && !memcmp(&q->key, key, sizeof *key)) return dnnl_success;
  forget(q);
  return make(q, key);
}

/* The thread's work space of at least n bytes, NULL where memory is short. */
static void *work_of(size_t n) {
  static _Thread_local void *room;
  static _Thread_local size_t size;
  if (n > size) {
    free(room);
    size = (n + 4095) / 4096 * 4096;
    room = aligned_alloc(4096, size);
    if (!room) size = 0;
  }
  return room;
}

static dnnl_stream_t stream(void) {
  static _Thread_local dnnl_stream_t own;
  if (!own && dnnl_stream_create(&own, engine(), dnnl_stream_default_flags) != dnnl_success) own = NULL;
  return own;
}

int cpu_bf16_product(int ta, int tb, int m, int n, int k, const dm_bf16 *a, int lda, const dm_bf16 *b, int ldb,
                     int beta, float *c, int ldc) {
  const primitive_key key = { ta, tb, m, n, k, lda, ldb, ldc, beta };
  primitive *q;
  dnnl_status_t s = primitive_for(&q, &key);
  if (s) return (int)s;
  void *at[OPERANDS] = { (void *)(uintptr_t)a, (void *)(uintptr_t)b, c, q->work ? work_of(q->work) : NULL };
  if (!stream() || (q->work && !at[WORK])) return dnnl_out_of_memory;
  const int name[OPERANDS] = { DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD };
  dnnl_exec_arg_t args[OPERANDS];
  int count = 0;
  for (int i = 0; !s && i < OPERANDS; i++) {
    if (!q->of[i]) continue;
    s = dnnl_memory_set_data_handle(q->of[i], at[i]);
    args[count++] = (dnnl_exec_arg_t){ name[i], q->of[i] };
  }
  if (!s) s = dnnl_primitive_execute(q->run, stream(), count, args);
  return (int)(s ? s : dnnl_stream_wait(stream()));
}

#endif
