/* backend.c -- the CPU backend: its device verbs and its table of ops. */
#include "cpu.h"

#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- threads ------------------------------------------------------------------------------------ */

/* Cores this process may run on, counting one thread of each (the first of its siblings list). */
static int physical_cores(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set)) return 1;
  int n = 0;
  for (int i = 0; i < CPU_SETSIZE; i++) {
    if (!CPU_ISSET(i, &set)) continue;
    char path[96];
    int first = i;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", i);
    FILE *f = fopen(path, "r");
    if (f) {
      if (fscanf(f, "%d", &first) != 1) first = i;
      fclose(f);
    }
    n += first == i || !CPU_ISSET(first, &set);
  }
  return n > 0 ? n : 1;
}

void dm_threads_set(int32_t n) {
  const char *set = getenv("DATAMUX_THREADS");
  if (n < 1 && set) n = atoi(set);
  omp_set_num_threads(n < 1 ? physical_cores() : n);
}

int32_t dm_threads(void) { return omp_get_max_threads(); }

/* -- device --------------------------------------------------------------------------------------- */

static dm_status cpu_open(dm_device *d, int ordinal) {
  (void)ordinal;
  omp_set_dynamic(0);
  dm_threads_set(0);
  const char *simd = __builtin_cpu_supports("avx512f") ? "AVX-512" : __builtin_cpu_supports("avx2") ? "AVX2" : "SSE2";
  snprintf(d->about, sizeof d->about, "%d threads, %s, %s", dm_threads(), simd, dm_gemm_library());
  return DM_OK;
}

static void cpu_close(dm_device *d) { (void)d; }

static int cpu_takes(const dm_device *d, int dtype) {
  (void)d;
  return dtype == DM_F32 || dtype == DM_I32;
}

static dm_status cpu_alloc(dm_device *d, size_t bytes, void **p) {
  (void)d;
  *p = aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (*p) return DM_OK;
  return dm_fail(DM_ENOMEM, "memory: %.1f MiB more than the machine gives", (double)bytes / 1048576);
}

static void cpu_free(dm_device *d, void *p) {
  (void)d;
  free(p);
}

static dm_status cpu_put(dm_device *d, void *dst, const void *host, size_t n) {
  (void)d;
  memcpy(dst, host, n);
  return DM_OK;
}

static dm_status cpu_get(dm_device *d, void *host, const void *src, size_t n) {
  (void)d;
  memcpy(host, src, n);
  return DM_OK;
}

static dm_status cpu_sync(dm_device *d) {
  (void)d;
  return DM_OK;
}

/* The bits of v in bf16, to nearest even. */
uint16_t cpu_bf16(float v) {
  uint32_t u;
  memcpy(&u, &v, 4);
  return v != v ? 0x7fc0 : (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static dm_status cpu_fill(dm_device *d, dm_tensor *t, double v) {
  (void)d;
  size_t n = dm_numel(t);
  if (t->dtype == DM_F32) {
    dm_real *y = t->data;
    for (size_t i = 0; i < n; i++) y[i] = (dm_real)v;
  } else if (t->dtype == DM_I32) {
    int32_t *y = t->data;
    for (size_t i = 0; i < n; i++) y[i] = (int32_t)v;
  } else {
    uint16_t *y = t->data, bits = cpu_bf16((float)v);
    for (size_t i = 0; i < n; i++) y[i] = bits;
  }
  return DM_OK;
}

const char *dm_gemm_library(void) { return cpu_gemm_library(); }

const char *dm_backend_missing(const dm_backend *b) {
  if (!b->open) return "open";
  if (!b->close) return "close";
  if (!b->takes) return "takes";
  if (!b->alloc) return "alloc";
  if (!b->free) return "free";
  if (!b->put) return "put";
  if (!b->get) return "get";
  if (!b->sync) return "sync";
  if (!b->fill) return "fill";
  if (!b->linear_fwd) return "linear_fwd";
  if (!b->linear_bwd) return "linear_bwd";
  if (!b->matmul_fwd) return "matmul_fwd";
  if (!b->matmul_bwd) return "matmul_bwd";
  if (!b->layernorm_fwd) return "layernorm_fwd";
  if (!b->layernorm_bwd) return "layernorm_bwd";
  if (!b->attention_fwd) return "attention_fwd";
  if (!b->attention_bwd) return "attention_bwd";
  if (!b->embed_fwd) return "embed_fwd";
  if (!b->embed_bwd) return "embed_bwd";
  if (!b->gather_fwd) return "gather_fwd";
  if (!b->gather_bwd) return "gather_bwd";
  if (!b->scatter_fwd) return "scatter_fwd";
  if (!b->scatter_bwd) return "scatter_bwd";
  if (!b->embed_mux_fwd) return "embed_mux_fwd";
  if (!b->embed_mux_bwd) return "embed_mux_bwd";
  if (!b->mux_fwd) return "mux_fwd";
  if (!b->mux_bwd) return "mux_bwd";
  if (!b->demux_fwd) return "demux_fwd";
  if (!b->demux_bwd) return "demux_bwd";
  if (!b->unbind_fwd) return "unbind_fwd";
  if (!b->unbind_bwd) return "unbind_bwd";
  if (!b->meanpool_fwd) return "meanpool_fwd";
  if (!b->meanpool_bwd) return "meanpool_bwd";
  if (!b->add_fwd) return "add_fwd";
  if (!b->add_bwd) return "add_bwd";
  if (!b->scale_fwd) return "scale_fwd";
  if (!b->scale_bwd) return "scale_bwd";
  if (!b->act_fwd) return "act_fwd";
  if (!b->act_bwd) return "act_bwd";
  if (!b->dropout_fwd) return "dropout_fwd";
  if (!b->dropout_bwd) return "dropout_bwd";
  if (!b->xent_fwd) return "xent_fwd";
  if (!b->xent_bwd) return "xent_bwd";
  if (!b->linear_xent_fwd) return "linear_xent_fwd";
  if (!b->linear_xent_bwd) return "linear_xent_bwd";
  if (!b->mse_fwd) return "mse_fwd";
  if (!b->mse_bwd) return "mse_bwd";
  if (!b->count_correct) return "count_correct";
  if (!b->adamw) return "adamw";
  if (!b->sgd) return "sgd";
  if (!b->norm2) return "norm2";
  if (!b->zero) return "zero";
  if (!b->cast) return "cast";
  return NULL;
}

const dm_backend dm_backend_cpu = {
  .abi = DM_ABI,
  .name = "cpu",
  .open = cpu_open,
  .close = cpu_close,
  .takes = cpu_takes,
  .alloc = cpu_alloc,
  .free = cpu_free,
  .put = cpu_put,
  .get = cpu_get,
  .sync = cpu_sync,
  .fill = cpu_fill,
  .linear_fwd = cpu_linear_fwd,
  .linear_bwd = cpu_linear_bwd,
  .matmul_fwd = cpu_matmul_fwd,
  .matmul_bwd = cpu_matmul_bwd,
  .layernorm_fwd = cpu_layernorm_fwd,
  .layernorm_bwd = cpu_layernorm_bwd,
  .attention_fwd = cpu_attention_fwd,
  .attention_bwd = cpu_attention_bwd,
  .embed_fwd = cpu_embed_fwd,
  .embed_bwd = cpu_embed_bwd,
  .gather_fwd = cpu_gather_fwd,
  .gather_bwd = cpu_gather_bwd,
  .scatter_fwd = cpu_scatter_fwd,
  .scatter_bwd = cpu_scatter_bwd,
  .embed_mux_fwd = cpu_embed_mux_fwd,
  .embed_mux_bwd = cpu_embed_mux_bwd,
  .mux_fwd = cpu_mux_fwd,
  .mux_bwd = cpu_mux_bwd,
  .demux_fwd = cpu_demux_fwd,
  .demux_bwd = cpu_demux_bwd,
  .unbind_fwd = cpu_unbind_fwd,
  .unbind_bwd = cpu_unbind_bwd,
  .meanpool_fwd = cpu_meanpool_fwd,
  .meanpool_bwd = cpu_meanpool_bwd,
  .add_fwd = cpu_add_fwd,
  .add_bwd = cpu_add_bwd,
  .scale_fwd = cpu_scale_fwd,
  .scale_bwd = cpu_scale_bwd,
  .act_fwd = cpu_act_fwd,
  .act_bwd = cpu_act_bwd,
  .dropout_fwd = cpu_dropout_fwd,
  .dropout_bwd = cpu_dropout_bwd,
  .xent_fwd = cpu_xent_fwd,
  .xent_bwd = cpu_xent_bwd,
  .linear_xent_fwd = cpu_linear_xent_fwd,
  .linear_xent_bwd = cpu_linear_xent_bwd,
  .mse_fwd = cpu_mse_fwd,
  .mse_bwd = cpu_mse_bwd,
  .count_correct = cpu_count_correct,
  .adamw = cpu_adamw,
  .sgd = cpu_sgd,
  .norm2 = cpu_norm2,
  .zero = cpu_zero,
  .cast = cpu_cast,
};
