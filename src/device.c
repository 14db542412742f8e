/* device.c -- the registry: the CPU that is linked in, backends opened at run time, knobs, scratch, figures. */
#include "backend.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_DEVICES = 17 };

static dm_device devices[MAX_DEVICES];     /* slot 0 is the CPU; used where backend is set */
static const dm_backend *cuda;             /* NULL until found */
static int cuda_looked;
static char candidates[4][512];
static char refusal[512];                  /* why `auto` took the CPU although a driver and a backend are there */
static int n_candidates;

/* -- the door for a backend in a shared object ------------------------------------------------------ */

static const dm_host host = { DM_ABI, dm_fail, dm_scratch };

static void note(const char *path, const char *reason) {
  if (n_candidates < 4) snprintf(candidates[n_candidates++], sizeof candidates[0], "cuda: %s: %s", path, reason);
}

/* Name of the first empty slot of a backend's table, NULL when it is full. */
static const char *missing(const dm_backend *b) {
  if (!b->open) return "open";
  if (!b->close) return "close";
  if (!b->takes) return "takes";
  if (!b->alloc) return "alloc";
  if (!b->free) return "free";
  if (!b->room) return "room";
  if (!b->put) return "put";
  if (!b->get) return "get";
  if (!b->sync) return "sync";
  if (!b->fill) return "fill";
#define DM_MISSING(op) if (!b->op) return #op;
  DM_OPS(DM_MISSING)
#undef DM_MISSING
  return NULL;
}

static const dm_backend *open_object(const char *path) {
  void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!object) {
    const char *why = dlerror();
    size_t n = strlen(path);
    note(path, !strncmp(why, path, n) && !strncmp(why + n, ": ", 2) ? why + n + 2 : why);   /* dlerror repeats the path */
    return NULL;
  }
  const dm_backend *(*entry)(const dm_host *);
  *(void **)&entry = dlsym(object, "dm_backend_entry");
  const dm_backend *b = entry ? entry(&host) : NULL;
  const char *hole = b && b->abi == DM_ABI ? missing(b) : NULL;
  char reason[128];
  if (!entry) snprintf(reason, sizeof reason, "no dm_backend_entry in it");
  else if (!b) snprintf(reason, sizeof reason, "%.120s", dm_last_error());
  else if (b->abi != DM_ABI) snprintf(reason, sizeof reason, "made for version %u, expected %d", b->abi, DM_ABI);
  else if (hole) snprintf(reason, sizeof reason, "op %s is missing", hole);
  else return b;
  note(path, reason);
  dlclose(object);
  return NULL;
}

/* Whether the driver's library is installed; NULL, or dlerror's reason. Opening the object takes 100 ms and more, only
** to learn the same. */
static const char *no_driver(void) {
  void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (!driver) return dlerror();
  dlclose(driver);
  return NULL;
}

/* Where the object may lie: place 0 is $DATAMUX_BACKENDS (an empty path where that is not set), 1 beside the
** executable, 2 ../lib/datamux. */
static const char *place_of_cuda(int i, char *path, size_t room) {
  const char *set = getenv("DATAMUX_BACKENDS");
  char exe[300];
  ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
  exe[n > 0 ? n : 0] = 0;
  char *slash = strrchr(exe, '/');
  if (slash) *slash = 0;
  path[0] = 0;
  if (i > 0) snprintf(path, room, "%.300s%s/libdatamux_cuda.so", exe, i == 2 ? "/../lib/datamux" : "");
  else if (set && *set) snprintf(path, room, "%.300s/libdatamux_cuda.so", set);
  return path;
}

/* A folder of the user's own is opened whatever the driver (the emulation needs none). */
static void look_for_cuda(void) {
  if (cuda_looked) return;
  cuda_looked = 1;
  char path[512];
  for (int i = 0; i < 3 && !cuda; i++) {
    const char *why = i == 1 ? no_driver() : NULL;
    if (why) {
      note("no NVIDIA driver is installed", why);
      return;
    }
    if (!*place_of_cuda(i, path, sizeof path)) continue;
    cuda = open_object(path);
    if (cuda) note(path, "can be used");
  }
}

const char *dm_device_refusal(void) { return refusal; }

int32_t dm_device_likely(void) {
  char path[512];
  for (int i = 0; i < 3; i++) {
    if (*place_of_cuda(i, path, sizeof path) && !access(path, R_OK)) return i == 0 || !no_driver();
  }
  return 0;
}

const char *dm_device_candidate(int32_t i) {
  look_for_cuda();
  if (i == 0) return "cpu: linked in";
  return i > 0 && i <= n_candidates ? candidates[i - 1] : NULL;
}

/* -- opening -------------------------------------------------------------------------------------------- */

static dm_status open_slot(dm_device **out, const dm_backend *b, int slot, int ordinal) {
  dm_device *d = &devices[slot];
  if (!d->backend) {
    memset(d, 0, sizeof *d);
    if (b == &dm_backend_cpu) snprintf(d->name, sizeof d->name, "cpu");
    else snprintf(d->name, sizeof d->name, "%s:%d", b->name, ordinal);
    d->ordinal = ordinal;
    dm_status s = b->open(d, ordinal);
    if (s) return s;
    d->backend = b;
  }
  *out = d;
  return DM_OK;
}

/* A backend that is there and cannot run, before one that is not there. */
static const char *closest_candidate(void) {
  for (int i = 0; i < n_candidates; i++) {
    if (!strstr(candidates[i], "No such file")) return candidates[i];
  }
  return n_candidates ? candidates[0] : "no backend was found";
}

static dm_status open_cuda(dm_device **out, int ordinal) {
  look_for_cuda();
  if (!cuda) return dm_fail(DM_EDEVICE, "device: cuda cannot be used: %s", closest_candidate());
  return open_slot(out, cuda, ordinal + 1, ordinal);
}

dm_status dm_device_open(dm_device **out, const char *name) {
  int ordinal = 0;
  char more;
  if (!strcmp(name, "cpu")) return open_slot(out, &dm_backend_cpu, 0, 0);
  if (!strcmp(name, "auto")) {
    if (open_cuda(out, 0) == DM_OK) return DM_OK;
    if (!strstr(dm_last_error(), "No such file")) snprintf(refusal, sizeof refusal, "%s", dm_last_error());
    return open_slot(out, &dm_backend_cpu, 0, 0);
  }
  if (!strcmp(name, "cuda") || sscanf(name, "cuda:%d%c", &ordinal, &more) == 1) {
    if (ordinal < 0 || ordinal + 1 >= MAX_DEVICES) {
      return dm_fail(DM_EARG, "device: number %d, expected 0 .. %d", ordinal, MAX_DEVICES - 2);
    }
    return open_cuda(out, ordinal);
  }
  return dm_fail(DM_EARG, "device: '%s', expected auto, cpu, cuda or cuda:N", name);
}

const char *dm_device_name(const dm_device *d) { return d->name; }
const char *dm_device_about(const dm_device *d) { return d->about; }
int32_t dm_device_takes(const dm_device *d, int32_t dtype) { return d->backend->takes(d, dtype); }

dm_status dm_device_computes(const dm_device *d, int32_t dtype) {
  if (dm_device_takes(d, dtype)) return DM_OK;
  return dm_fail(DM_EDEVICE, "precision: bf16 on %s, expected f32: %s", d->name, d->lacks);
}

dm_status dm_device_capture(dm_device *d, int32_t what, void **graph) {
  if (!d->backend->capture) return dm_fail(DM_ECAPTURE, "capture: %s cannot record, expected a CUDA device", d->name);
  if (what < DM_CAPTURE_BEGIN || what > DM_CAPTURE_FORGET || (what == DM_CAPTURE_FORGET && !graph)) {
    return dm_fail(DM_EARG, "capture: what is %d, expected 0 .. 2, with a graph to forget", what);
  }
  return d->backend->capture(d, what, graph);
}

dm_status dm_device_replay(dm_device *d, void *graph) {
  if (!d->backend->replay) return dm_fail(DM_ECAPTURE, "replay: %s cannot record, expected a CUDA device", d->name);
  if (!graph) return dm_fail(DM_EARG, "replay: graph is NULL, expected what capture gave");
  return d->backend->replay(d, graph);
}

dm_status dm_device_ahead(dm_device *d, int32_t what, int32_t place) {
  if (!d->backend->ahead) return dm_fail(DM_ECAPTURE, "ahead: %s works at once, expected a CUDA device", d->name);
  if (what < DM_AHEAD_BEGIN || what > DM_AHEAD_DONE || place < 0 || place > 1) {
    return dm_fail(DM_EARG, "ahead: what is %d, place is %d, expected 0 .. 3 and 0 .. 1", what, place);
  }
  return d->backend->ahead(d, what, place);
}

dm_status dm_device_sync(dm_device *d) { return d->backend->sync(d); }

/* -- moments --------------------------------------------------------------------------------------------- */

static double marks[DM_MARKS];             /* of the CPU, by the clock */
static unsigned char marked[MAX_DEVICES][DM_MARKS];

static unsigned char *noted(const dm_device *d) { return marked[d - devices]; }

dm_status dm_device_mark(dm_device *d, int32_t number) {
  if (number < 0 || number >= DM_MARKS) {
    return dm_fail(DM_EARG, "mark: number is %d, expected 0 .. %d", number, DM_MARKS - 1);
  }
  dm_status s = DM_OK;
  if (d->backend->mark) s = d->backend->mark(d, number);
  else marks[number] = dm_clock();
  if (!s) noted(d)[number] = 1;
  return s;
}

dm_status dm_device_between(dm_device *d, int32_t from, int32_t to, double *seconds) {
  for (int i = 0; i < 2; i++) {
    int32_t number = i ? to : from;
    if (number >= 0 && number < DM_MARKS && noted(d)[number]) continue;
    return dm_fail(DM_EARG, "between: %s is %d, expected a moment that was marked", i ? "to" : "from", number);
  }
  if (d->backend->between) return d->backend->between(d, from, to, seconds);
  *seconds = marks[to] - marks[from];
  return DM_OK;
}

/* -- knobs and figures ------------------------------------------------------------------------------------ */

dm_status dm_device_knobs(dm_device *d, const dm_knobs *k) {
  d->knobs = *k;
  return d->backend->knobs ? d->backend->knobs(d) : DM_OK;
}

double dm_device_room(dm_device *d) { return d->backend->room(d); }

dm_status dm_device_memory(const dm_device *d, dm_memory *out) {
  *out = d->memory;
  return DM_OK;
}

dm_status dm_scratch(dm_device *d, size_t bytes, void **p) {
  dm_status refused = dm_refusal(d, bytes);
  if (refused) return refused;
  if (bytes > d->scratch_size) {
    size_t size = bytes + bytes / 4 + 4096;
    void *fresh;
    dm_status s = d->backend->alloc(d, size, &fresh);
    if (s) return s;
    if (d->scratch) d->backend->free(d, d->scratch);
    d->memory.moves += 1;
    d->scratch = fresh;
    d->memory.scratch += (double)size - (double)d->scratch_size;
    d->memory.allocs += 1;
    d->scratch_size = size;
    double held = d->memory.live + d->memory.scratch;
    if (held > d->memory.peak) d->memory.peak = held;
  }
  *p = d->scratch;
  return DM_OK;
}
