/* backend.c -- the CPU backend: its device verbs and its table of ops. */
#include "cpu.h"

#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

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
  int threads = dm_threads();
  const char *simd = __builtin_cpu_supports("avx512f") ? "AVX-512" : __builtin_cpu_supports("avx2") ? "AVX2" : "SSE2";
  snprintf(d->about, sizeof d->about, "%d thread%s, %s, %s", threads, threads == 1 ? "" : "s", simd,
           dm_gemm_library());
  snprintf(d->lacks, sizeof d->lacks, "%s", cpu_bf16_lacks());
  return DM_OK;
}

static void cpu_close(dm_device *d) { (void)d; }

static int cpu_takes(const dm_device *d, int dtype) {
  return dtype == DM_F32 || dtype == DM_I32 || (dtype == DM_BF16 && !*d->lacks);
}

/* Large blocks ask for large pages: a step touches gigabytes, and rows of a matrix lie on as many small pages. */
static dm_status cpu_alloc(dm_device *d, size_t bytes, void **p) {
  (void)d;
  enum { PAGE = 2 << 20 };
  size_t align = bytes >= 2 * PAGE ? PAGE : 256;
  *p = aligned_alloc(align, (bytes + align - 1) / align * align);
  if (*p && align == PAGE) madvise(*p, bytes, MADV_HUGEPAGE);
  if (*p) return DM_OK;
  return dm_fail(DM_ENOMEM, "memory: %.1f MiB more than the machine gives", (double)bytes / 1048576);
}

static void cpu_free(dm_device *d, void *p) {
  (void)d;
  free(p);
}

/* The number after `word` in a file, 0 where there is none; word "": the first of the file. */
static double figure(const char *path, const char *word) {
  FILE *f = fopen(path, "r");
  char name[64];
  double v = 0;
  if (!f) return 0;
  if (!*word) {
    if (fscanf(f, "%lf", &v) != 1) v = 0;                      /* "max": no limit */
  } else {
    while (fscanf(f, "%63s %lf%*[^\n]", name, &v) >= 1 && strcmp(name, word)) v = 0;
  }
  fclose(f);
  return v;
}

/* What the system has, and what the process's control group leaves: files that were read count as free in both. */
static double cpu_room(dm_device *d) {
  (void)d;
  double room = 1024 * figure("/proc/meminfo", "MemAvailable:"), limit = figure("/sys/fs/cgroup/memory.max", "");
  if (limit > 0) {
    double left = limit - figure("/sys/fs/cgroup/memory.current", "")
                  + figure("/sys/fs/cgroup/memory.stat", "inactive_file");
    room = left < room || !room ? left : room;
  }
  return room > 0 ? room : 0;
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
    dm_bf16 *y = t->data, bits = dm_to_bf16((float)v);
    for (size_t i = 0; i < n; i++) y[i] = bits;
  }
  return DM_OK;
}

const char *dm_gemm_library(void) { return cpu_gemm_library(); }

/* The ops over bf16: the files of kernels/cpu built a second time (cpu.h); the f64 twin has none. */
#ifdef DM_REAL
#define BF16_OPS NULL
#else
#define DM_DECLARE(op) extern __typeof__(cpu_##op) cpu_bf16_##op;
DM_TYPED_OPS(DM_DECLARE)
#undef DM_DECLARE
static const dm_backend bf16_ops = {
  .abi = DM_ABI,
  .name = "cpu",
#define DM_ROW(op) .op = cpu_bf16_##op,
  DM_TYPED_OPS(DM_ROW)
#undef DM_ROW
};
#define BF16_OPS &bf16_ops
#endif

const dm_backend dm_backend_cpu = {
  .abi = DM_ABI,
  .name = "cpu",
  .open = cpu_open,
  .close = cpu_close,
  .takes = cpu_takes,
  .bf16 = BF16_OPS,
  .alloc = cpu_alloc,
  .free = cpu_free,
  .room = cpu_room,
  .put = cpu_put,
  .get = cpu_get,
  .sync = cpu_sync,
  .fill = cpu_fill,
  .int8_pack = cpu_int8_pack,
  .int8_linear = cpu_int8_linear,
  .int8_unbind = cpu_int8_unbind,
#define DM_ROW(op) .op = cpu_##op,
  DM_OPS(DM_ROW)
#undef DM_ROW
};
