/* backend.cu -- the CUDA backend: device verbs, knobs, capture and replay, the table and the one exported symbol. */
#include "common.cuh"

#include <stdio.h>
#include <stdlib.h>

#ifndef __CUDACC__
#include "walls.h"                       /* tests/cuda_emulation: each op between pages that nobody may touch */
#endif

const dm_host *cuda_host;

enum { WORKSPACE = 32 << 20 };           /* bytes for cuBLASLt, what its documentation recommends for sm_90 */

/* -- failures -------------------------------------------------------------------------------------------------- */

/* An error after which no call of this process works on the device any more: what a kernel did (700 ..). */
static bool sticky(cudaError_t e) { return (int)e >= 700 && (int)e < 720 && (int)e != 701 && (int)e != 704; }

dm_status cuda_check(const dm_device *d, cudaError_t e) {
  if (e == cudaSuccess) return DM_OK;
  cudaGetLastError();
  const cuda_device *c = d ? cuda_of(d) : NULL;
  const char *op = c && c->op ? c->op : "cuda";
  dm_status s = e == cudaErrorMemoryAllocation ? DM_ENOMEM : e == cudaErrorStreamCaptureUnsupported ? DM_ECAPTURE
                : DM_EINTERNAL;
  return fail(s, "%s: %s%s", op, cudaGetErrorString(e), sticky(e) ? "; the device is lost to this process" : "");
}

dm_status cuda_check_lt(const dm_device *d, cublasStatus_t s) {
  if (s == CUBLAS_STATUS_SUCCESS) return DM_OK;
  const char *op = cuda_of(d)->op;
  return fail(DM_EINTERNAL, "%s: cuBLASLt: %s", op ? op : "cuda", cublasLtGetStatusString(s));
}

/* -- memory ------------------------------------------------------------------------------------------------------ */

static dm_status refuse_capture(const dm_device *d, const char *what) {
  if (!cuda_of(d)->capturing) return DM_OK;
  return fail(DM_ECAPTURE, "%s: not allowed inside a captured step", what);
}

static dm_status verb_alloc(dm_device *d, size_t bytes, void **p) {
  dm_status s = refuse_capture(d, "memory: allocation");
  if (s) return s;
  cudaError_t e = cudaMalloc(p, bytes ? bytes : 1);
  if (e != cudaErrorMemoryAllocation) return cuda_check(d, e);
  cudaGetLastError();
  return fail(DM_ENOMEM, "memory: %.1f MiB more than %s gives", (double)bytes / 1048576, d->name);
}

static double verb_room(dm_device *) {
  size_t free_bytes = 0, total = 0;
  return cudaMemGetInfo(&free_bytes, &total) == cudaSuccess ? (double)free_bytes : 0;
}

static void verb_free(dm_device *, void *p) { cudaFree(p); }

/* Room for n more bytes in the pinned memory of a place; what is under way from the old block gets there first. */
static dm_status grow(dm_device *d, cuda_place *p, size_t n) {
  if (p->used + n <= p->size) return DM_OK;
  size_t size = 2 * (p->size + n);
  char *fresh = NULL;
  dm_status s = cuda_check(d, cudaStreamSynchronize(cuda_of(d)->copies));
  if (!s) s = cuda_check(d, cudaMallocHost((void **)&fresh, size));
  if (s) return s;
  if (p->host) cudaFreeHost(p->host);
  p->host = fresh;
  p->size = size;
  p->used = 0;
  return DM_OK;
}

/* The host's bytes are copied out before the call returns: the memory is pageable, or a pinned copy is made. */
static dm_status verb_put(dm_device *d, void *dst, const void *host, size_t n) {
  dm_status s = refuse_capture(d, "put: a copy from the host");
  cuda_place *p = cuda_of(d)->ahead;
  if (!s && p) s = grow(d, p, aligned(n));
  if (!s && p) {
    host = memcpy(p->host + p->used, host, n);
    p->used += aligned(n);
  }
  return s ? s : cuda_check(d, cudaMemcpyAsync(dst, host, n, cudaMemcpyHostToDevice, cuda_of(d)->stream));
}

static dm_status verb_sync(dm_device *d) {
  dm_status s = refuse_capture(d, "sync: waiting for the device");
  return s ? s : cuda_check(d, cudaStreamSynchronize(cuda_of(d)->stream));
}

static dm_status verb_get(dm_device *d, void *host, const void *src, size_t n) {
  dm_status s = refuse_capture(d, "get: reading a value on the host");
  if (!s) s = cuda_check(d, cudaMemcpyAsync(host, src, n, cudaMemcpyDeviceToHost, cuda_of(d)->stream));
  return s ? s : verb_sync(d);
}

static dm_status verb_knobs(dm_device *d) {
  dm_status s = refuse_capture(d, "knobs: changing them");
  if (s) return s;
  return cuda_check(d, cudaMemcpyAsync(cuda_of(d)->knobs, &d->knobs, sizeof d->knobs, cudaMemcpyHostToDevice,
                                       cuda_of(d)->stream));
}

dm_status scratch(dm_device *d, size_t bytes, void **p) {
  if (cuda_of(d)->ahead) {
    return fail(DM_ECAPTURE, "%s: needs scratch memory, which is the running step's: not allowed ahead of it",
                cuda_of(d)->op);
  }
  dm_status s = cuda_host->scratch(d, bytes, p);
#ifndef __CUDACC__
  void *walled_off = s ? NULL : emulated_scratch(bytes);
  if (walled_off) *p = walled_off;
#endif
  return s;
}

/* -- opening ------------------------------------------------------------------------------------------------------ */

static int verb_takes(const dm_device *, int dtype) { return dtype == DM_F32 || dtype == DM_BF16 || dtype == DM_I32; }

static void verb_close(dm_device *d) {
  cuda_device *c = cuda_of(d);
  if (!c) return;
  for (cudaEvent_t e : c->marks) {
    if (e) cudaEventDestroy(e);
  }
  if (c->lt) cublasLtDestroy(c->lt);
  cudaFree(c->workspace);
  cudaFree(c->knobs);
  for (cuda_place &p : c->places) {
    if (p.there) cudaEventDestroy(p.there);
    if (p.past) cudaEventDestroy(p.past);
    if (p.host) cudaFreeHost(p.host);
  }
  if (c->copies) cudaStreamDestroy(c->copies);
  if (c->steps) cudaStreamDestroy(c->steps);
  free(c);
  d->priv = NULL;
}

static dm_status prepare(dm_device *d, int ordinal) {
  cuda_device *c = cuda_of(d);
  cudaDeviceProp card;
  dm_status s = cuda_check(NULL, cudaSetDevice(ordinal));
  if (!s) s = cuda_check(NULL, cudaGetDeviceProperties(&card, ordinal));
  if (s) return s;
  if (card.major < 8) {
    return fail(DM_EDEVICE, "device: %s is a %s of compute capability %d.%d, expected 8.0 or later (bf16)", d->name,
                card.name, card.major, card.minor);
  }
  c->sms = card.multiProcessorCount;
  c->workspace_size = WORKSPACE;
  c->eager_sync = getenv("DATAMUX_SYNC") != NULL;
  snprintf(d->about, sizeof d->about, "%.60s, %.0f GiB", card.name, (double)card.totalGlobalMem / 1073741824);
  s = cuda_check(NULL, cudaStreamCreateWithFlags(&c->steps, cudaStreamNonBlocking));
  if (!s) s = cuda_check(NULL, cudaStreamCreateWithFlags(&c->copies, cudaStreamNonBlocking));
  for (cuda_place &p : c->places) {
    if (!s) s = cuda_check(NULL, cudaEventCreateWithFlags(&p.there, cudaEventDisableTiming));
    if (!s) s = cuda_check(NULL, cudaEventCreateWithFlags(&p.past, cudaEventDisableTiming));
  }
  c->stream = c->steps;
  if (!s) s = cuda_check(NULL, cudaMalloc((void **)&c->knobs, sizeof *c->knobs));
  if (!s) s = cuda_check(NULL, cudaMalloc(&c->workspace, c->workspace_size));
  if (!s) s = cuda_check_lt(d, cublasLtCreate(&c->lt));
  return s ? s : verb_knobs(d);
}

static dm_status verb_open(dm_device *d, int ordinal) {
  static int opened = -1;                /* one card a process: its device stays the current one */
  if (opened >= 0 && opened != ordinal) {
    return fail(DM_EDEVICE, "device: cuda:%d beside cuda:%d, expected one CUDA device in a process", ordinal, opened);
  }
  d->priv = calloc(1, sizeof(cuda_device));
  if (!d->priv) return fail(DM_ENOMEM, "device: no room for a descriptor");
  dm_status s = prepare(d, ordinal);
  if (s) verb_close(d);
  else opened = ordinal;
  return s;
}

/* -- capture ------------------------------------------------------------------------------------------------------- */

/* begin: from here on the ops of the stream are recorded. end: *graph is what was recorded, ready to replay; with graph
** NULL it is dropped. forget: frees *graph. */
static dm_status verb_capture(dm_device *d, int what, void **graph) {
  cuda_device *c = cuda_of(d);
  if (what == DM_CAPTURE_BEGIN) {
    dm_status s = refuse_capture(d, "capture: a second one");
    if (!s) s = cuda_check(d, cudaStreamBeginCapture(c->stream, cudaStreamCaptureModeThreadLocal));
    c->capturing = c->capturing || !s;
    return s;
  }
  if (what == DM_CAPTURE_FORGET) {
    cudaError_t e = *graph ? cudaGraphExecDestroy((cudaGraphExec_t)*graph) : cudaSuccess;
    *graph = NULL;
    return cuda_check(d, e);
  }
  if (!c->capturing) return fail(DM_ECAPTURE, "capture: end without begin");
  c->capturing = 0;
  c->op = NULL;
  cudaGraph_t recorded = NULL;
  dm_status s = cuda_check(d, cudaStreamEndCapture(c->stream, &recorded));
  if (!s && graph) {
    cudaGraphExec_t ready;
    s = cuda_check(d, cudaGraphInstantiate(&ready, recorded, 0));
    if (!s) *graph = ready;
  }
  if (recorded) cudaGraphDestroy(recorded);
  return s;
}

static dm_status verb_replay(dm_device *d, void *graph) {
  cuda_of(d)->op = "replay";
  return cuda_check(d, cudaGraphLaunch((cudaGraphExec_t)graph, cuda_of(d)->stream));
}

/* -- ahead of the step --------------------------------------------------------------------------------------------- */

/* Waiting for an event that was never recorded is no waiting: so the first turns need no case of their own. */
static dm_status verb_ahead(dm_device *d, int what, int number) {
  cuda_device *c = cuda_of(d);
  cuda_place *p = &c->places[number];
  dm_status s = refuse_capture(d, "ahead: work beside the step");
  if (s) return s;
  if ((c->ahead != NULL) != (what == DM_AHEAD_END) || (c->ahead && c->ahead != p)) {
    return fail(DM_EARG, "ahead: what is %d, place is %d, %s", what, number,
                c->ahead ? "expected the END of the place that began" : "where nothing has begun");
  }
  switch (what) {
    case DM_AHEAD_BEGIN:
      s = cuda_check(d, cudaEventSynchronize(p->there));          /* the pinned copy of two turns ago has been read */
      if (!s) s = cuda_check(d, cudaStreamWaitEvent(c->copies, p->past, 0));
      if (s) return s;
      p->used = 0;
      c->ahead = p;
      c->stream = c->copies;
      return DM_OK;
    case DM_AHEAD_END:
      c->ahead = NULL;
      c->stream = c->steps;
      return cuda_check(d, cudaEventRecord(p->there, c->copies));
    case DM_AHEAD_USE: return cuda_check(d, cudaStreamWaitEvent(c->steps, p->there, 0));
    default: return cuda_check(d, cudaEventRecord(p->past, c->steps));
  }
}

/* -- moments ------------------------------------------------------------------------------------------------------- */

static dm_status verb_mark(dm_device *d, int number) {
  cuda_device *c = cuda_of(d);
  dm_status s = refuse_capture(d, "mark: a moment");
  if (!s && !c->marks[number]) s = cuda_check(d, cudaEventCreateWithFlags(&c->marks[number], cudaEventDefault));
  return s ? s : cuda_check(d, cudaEventRecord(c->marks[number], c->stream));
}

static dm_status verb_between(dm_device *d, int from, int to, double *seconds) {
  cuda_device *c = cuda_of(d);
  float ms = 0;
  dm_status s = refuse_capture(d, "between: waiting for a moment");
  if (!s) s = cuda_check(d, cudaEventSynchronize(c->marks[to]));
  if (!s) s = cuda_check(d, cudaEventElapsedTime(&ms, c->marks[from], c->marks[to]));
  *seconds = 1e-3 * (double)ms;
  return s;
}

/* -- the table ----------------------------------------------------------------------------------------------------- */

#define DM_NUMBER(op) NUMBER_##op,
#define DM_NAME(op) #op,
enum { DM_OPS(DM_NUMBER) };
static const char *const op_names[] = { DM_OPS(DM_NAME) };

/* Op `number` as the table holds it: failures name it, with DATAMUX_SYNC the asynchronous ones too. */
template <int number, auto f> struct row;
template <int number, class... A, dm_status (*f)(dm_device *, A...)> struct row<number, f> {
  static dm_status run(dm_device *d, A... a) {
    cuda_of(d)->op = op_names[number];
#ifdef __CUDACC__
    dm_status s = f(d, a...);
#else
    emulated_on(cuda_of(d)->stream);
    dm_status s = walled_op(f, d, a...);
    emulated_on(NULL);
    if (!s) s = cuda_check(d, cudaPeekAtLastError());
#endif
    return s || !cuda_of(d)->eager_sync || cuda_of(d)->capturing ? s : verb_sync(d);
  }
};

static dm_backend table;

extern "C" __attribute__((visibility("default"))) const dm_backend *dm_backend_entry(const dm_host *host) {
  cuda_host = host;
  int n = 0;
  cudaError_t e = cudaGetDeviceCount(&n);
  if (e != cudaSuccess || n < 1) {
    fail(DM_EDEVICE, "%s", e != cudaSuccess ? cudaGetErrorString(e) : "no CUDA device on this machine");
    return NULL;
  }
  table.abi = DM_ABI;
  table.name = "cuda";
  table.open = verb_open;
  table.close = verb_close;
  table.takes = verb_takes;
  table.alloc = verb_alloc;
  table.free = verb_free;
  table.room = verb_room;
  table.put = verb_put;
  table.get = verb_get;
  table.sync = verb_sync;
  table.fill = cuda_fill;
  table.knobs = verb_knobs;
  table.capture = verb_capture;
  table.replay = verb_replay;
  table.ahead = verb_ahead;
  table.mark = verb_mark;
  table.between = verb_between;
#define DM_ROW(op) table.op = row<NUMBER_##op, &cuda_##op>::run;
  DM_OPS(DM_ROW)
#undef DM_ROW
  return &table;
}
