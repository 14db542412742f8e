/* emulator.cc -- fibers, barriers, warps, memory with guard zones, and the runtime calls of the emulation. */
#include "emulator.h"

#include <signal.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>

#include <algorithm>
#include <deque>
#include <map>
#include <vector>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace {

enum { MAX_THREADS = 1024, STACK = 256 << 10, GUARD = 4096, MAX_SHARED = 227 << 10 };

/* -- failing --------------------------------------------------------------------------------------------------- */

cudaError_t last_error = cudaSuccess;
char text[512];
bool working;                          /* inside a launch or task */
sigjmp_buf out_of_work;

void on_fault(int, siginfo_t *info, void *) {
  emulated_fail("access outside of memory, %s", emulated_whereabouts(info->si_addr).c_str());
}

/* Runs work so that a fault or emulated_fail inside it ends it. */
void guarded(const std::function<void()> &work) {
  struct sigaction fault = {}, segv, bus;
  fault.sa_sigaction = on_fault;
  fault.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSEGV, &fault, &segv);
  sigaction(SIGBUS, &fault, &bus);
  working = true;
  if (!sigsetjmp(out_of_work, 1)) work();
  working = false;
  sigaction(SIGSEGV, &segv, NULL);
  sigaction(SIGBUS, &bus, NULL);
}

/* -- fibers -------------------------------------------------------------------------------------------------------- */

enum State { READY, AT_BLOCK, AT_WARP, DONE };

struct Copy { void *to; const void *from; int bytes; bool there; };

struct Fiber {
  ucontext_t context;
  char *stack = NULL;
  bool made = false;
  State state;
  unsigned mask, calls;                /* of the warp function it waits in; how many it has made */
  uint3 index;
  std::vector<Copy> copies;            /* begun and not waited for */
};

std::vector<Fiber> fibers(MAX_THREADS);
ucontext_t scheduler;
Fiber *running;
const std::function<void()> *body;
std::vector<int> ready;
int threads, alive, at_block;
char slots[MAX_THREADS / 32][2][32][64];   /* of each warp: two sets, used in turn */

uint64_t random_state;

unsigned random_below(unsigned n) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return (unsigned)(random_state % n);
}

void fiber_main() {
  for (;;) {
    (*body)();
    running->state = DONE;
    swapcontext(&running->context, &scheduler);
  }
}

void prepare(Fiber &f) {
  f.state = READY;
  f.calls = 0;
  f.copies.clear();
  if (f.made) return;
  if (!f.stack) {
    f.stack = (char *)mmap(NULL, STACK + GUARD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                           0);
    if (f.stack == MAP_FAILED) abort();
    mprotect(f.stack, GUARD, PROT_NONE);
  }
  getcontext(&f.context);
  f.context.uc_stack.ss_sp = f.stack + GUARD;
  f.context.uc_stack.ss_size = STACK;
  f.context.uc_link = NULL;
  makecontext(&f.context, fiber_main, 0);
  f.made = true;
}

void yield_as(State s) {
  running->state = s;
  swapcontext(&running->context, &scheduler);
}

void wake(int i) {
  fibers[i].state = READY;
  ready.push_back(i);
}

/* Wakes the lanes of i's warp that wait for its mask, if all are there. */
void meet_warp(int i) {
  int first = i / 32 * 32;
  unsigned mask = fibers[i].mask;
  if (!(mask >> (i - first) & 1)) {
    emulated_fail("lane %d calls a warp function whose mask %08x leaves it out", i - first, mask);
  }
  for (int k = 0; k < 32; k++) {
    if (!(mask >> k & 1)) continue;
    if (first + k >= threads || fibers[first + k].state == DONE) {
      emulated_fail("a warp function waits for lane %d of warp %d, which has left", k, i / 32);
    }
    const Fiber &f = fibers[first + k];
    if (f.state != AT_WARP || f.mask != mask) return;
  }
  for (int k = 0; k < 32; k++) {
    if (mask >> k & 1) wake(first + k);
  }
}

/* Thread i has ended: nobody of its warp may still wait for it. */
void leave_warp(int i) {
  for (int k = i / 32 * 32; k < i / 32 * 32 + 32 && k < threads; k++) {
    if (fibers[k].state == AT_WARP && (fibers[k].mask >> i % 32 & 1)) {
      emulated_fail("a warp function waits for lane %d of warp %d, which has left", i % 32, i / 32);
    }
  }
}

void meet_block() {
  if (at_block < alive || !alive) return;
  at_block = 0;
  for (int i = 0; i < threads; i++) {
    if (fibers[i].state == AT_BLOCK) wake(i);
  }
}

void run_threads() {
  ready.clear();
  at_block = 0;
  alive = threads;
  for (int i = 0; i < threads; i++) {
    prepare(fibers[i]);
    fibers[i].index = { (unsigned)i % blockDim.x, (unsigned)i / blockDim.x % blockDim.y,
                        (unsigned)i / (blockDim.x * blockDim.y) };
    ready.push_back(i);
  }
  while (!ready.empty()) {
    unsigned pick = random_below((unsigned)ready.size());
    int i = ready[pick];
    ready[pick] = ready.back();
    ready.pop_back();
    running = &fibers[i];
    threadIdx = running->index;
    swapcontext(&scheduler, &running->context);
    if (running->state == DONE) {
      alive--;
      leave_warp(i);
    }
    if (running->state == AT_BLOCK) at_block++;
    if (running->state == AT_WARP) meet_warp(i);
    else meet_block();
  }
  if (alive) {
    emulated_fail("%d of %d threads wait at a barrier or in a warp function that the others do not reach",
                  alive, threads);
  }
}

/* -- shared memory ------------------------------------------------------------------------------------------------- */

struct Shared { size_t bytes; char *memory; };
std::map<const void *, Shared> arrays;
const char dynamic_key = 0;
size_t shared_total;

enum { FENCE = 128 };                  /* bytes of 0x5a before and after */

char *shared_array(const void *key, size_t bytes) {
  Shared &s = arrays[key];
  if (!s.memory) {
    s = { bytes, (char *)aligned_alloc(FENCE, (bytes + 3 * FENCE - 1) / FENCE * FENCE) };
    memset(s.memory, 0x5a, bytes + 2 * FENCE);
    memset(s.memory + FENCE, 0xff, bytes);
    shared_total += bytes;
    if (shared_total > MAX_SHARED) emulated_fail("%zu bytes of shared memory, more than a block has", shared_total);
  }
  return s.memory + FENCE;
}

void clear_shared(size_t dynamic) {
  for (const auto &e : arrays) free(e.second.memory);
  arrays.clear();
  shared_total = 0;
  shared_array(&dynamic_key, dynamic);
}

void check_shared() {
  for (const auto &e : arrays) {
    const char *m = e.second.memory;
    for (size_t i = 0; i < FENCE; i++) {
      if (m[i] != 0x5a || m[FENCE + e.second.bytes + i] != 0x5a) {
        emulated_fail("wrote outside of a shared array of %zu bytes", e.second.bytes);
      }
    }
  }
}

/* -- device memory ------------------------------------------------------------------------------------------------- */

std::map<char *, size_t> blocks;       /* start -> bytes */
const size_t TOTAL = (size_t)4 << 30;  /* what the emulated card says it has */

void check_block(const char *p, size_t bytes) {
  for (size_t i = 0; i < GUARD; i++) {
    if (p[-1 - (ptrdiff_t)i] != 0x5a || p[bytes + i] != 0x5a) {
      emulated_fail("wrote outside of a block of %zu bytes of device memory, %zu bytes from it", bytes, i + 1);
    }
  }
}

void check_memory() {
  for (const auto &b : blocks) check_block(b.first, b.second);
}

/* -- launches ------------------------------------------------------------------------------------------------------ */

void run_grid(dim3 grid, dim3 block, size_t dynamic, const std::function<void()> &f) {
  body = &f;
  gridDim = grid;
  blockDim = block;
  threads = (int)(block.x * block.y * block.z);
  const char *seed = getenv("DATAMUX_EMULATION_SEED");
  if (!random_state) random_state = 0x9e3779b97f4a7c15u * (uint64_t)(seed ? atoi(seed) + 1 : 1);
  std::vector<unsigned> order(grid.x * grid.y * grid.z);
  for (unsigned i = 0; i < order.size(); i++) order[i] = i;
  for (unsigned i = (unsigned)order.size(); i > 1; i--) std::swap(order[i - 1], order[random_below(i)]);
  for (unsigned b : order) {
    blockIdx = { b % grid.x, b / grid.x % grid.y, b / (grid.x * grid.y) };
    clear_shared(dynamic);
    run_threads();
    check_shared();
  }
  check_memory();
}

}  // namespace

struct emulated_graph { std::vector<std::function<void()>> work; };
struct emulated_stream {
  emulated_graph *recording = NULL;
  bool late = false;
  std::deque<std::function<void()>> waiting;       /* of a late stream */
};
struct emulated_event {
  double at = 0;                                   /* milliseconds */
  unsigned recorded = 0, reached = 0;
  emulated_stream *stream = NULL;
};

static std::vector<emulated_stream *> streams;

static bool recording;

void emulated_fail(const char *format, ...) {
  char sentence[400];
  va_list args;
  va_start(args, format);
  vsnprintf(sentence, sizeof sentence, format, args);
  va_end(args);
  if (last_error == cudaSuccess) {
    snprintf(text, sizeof text, "emulated launch failed: %s (block %u %u %u, thread %u %u %u)", sentence, blockIdx.x,
             blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
  }
  last_error = cudaErrorUnknown;
  if (!working) return;
  for (Fiber &f : fibers) f.made = false;                  /* they stopped in the middle: start afresh */
  siglongjmp(out_of_work, 1);
}

static bool asked_late;

bool emulated_capturing() { return recording || asked_late; }
void emulated_on(cudaStream_t stream) { asked_late = stream && stream->late; }

/* Does a late stream's next piece of work. */
static void advance(emulated_stream *s) {
  std::function<void()> work = std::move(s->waiting.front());
  s->waiting.pop_front();
  guarded(work);
}

static void drain(emulated_stream *s) {
  while (!s->waiting.empty()) advance(s);
}

static void reach(emulated_event *e, unsigned count) {
  while (e->reached < count && e->stream && !e->stream->waiting.empty()) advance(e->stream);
}

void emulated_task(cudaStream_t stream, std::function<void()> work) {
  if (stream->recording) stream->recording->work.push_back(work);
  else if (stream->late) stream->waiting.push_back(work);
  else guarded(work);
}

void emulated_launch(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream, std::function<void()> f) {
  size_t n = (size_t)block.x * block.y * block.z;
  if (n < 1 || n > MAX_THREADS || block.z > 64 || grid.y > 65535 || grid.z > 65535 || grid.x > 2147483647u
      || shared_bytes > MAX_SHARED) {
    last_error = cudaErrorInvalidConfiguration;
    return;
  }
  emulated_task(stream, [=] { run_grid(grid, block, shared_bytes, f); });
}

void *emulated_shared(const void *key, size_t bytes) { return shared_array(key, bytes); }
void *emulated_dynamic_shared() { return shared_array(&dynamic_key, 0); }

void emulated_sync_block() { yield_as(AT_BLOCK); }

void emulated_sync_warp(unsigned mask) {
  running->mask = mask;
  yield_as(AT_WARP);
}

unsigned emulated_lane() { return (unsigned)(running - fibers.data()) % 32; }

/* Two sets in turn: a lane that is one call ahead writes to the other set, and can be no further ahead. */
const char (*emulated_exchange(unsigned mask, const void *mine, size_t bytes))[64] {
  int i = (int)(running - fibers.data());
  char (*set)[64] = slots[i / 32][running->calls++ % 2];
  memset(set[i % 32], 0xff, 64);
  memcpy(set[i % 32], mine, bytes);
  emulated_sync_warp(mask);
  return set;
}

/* -- copies ahead -------------------------------------------------------------------------------------------------- */

void emulated_copy_ahead(void *to, const void *from, int bytes, bool there) {
  if (((uintptr_t)to | (uintptr_t)from) % (unsigned)bytes) {
    emulated_fail("a copy ahead of %d bytes between addresses that are no multiples of that", bytes);
  }
  memset(to, 0xff, (size_t)bytes);
  running->copies.push_back({ to, from, bytes, there });
}

void emulated_wait_copies() {
  for (const Copy &c : running->copies) {
    if (c.there) memcpy(c.to, c.from, (size_t)c.bytes);
    else memset(c.to, 0, (size_t)c.bytes);
  }
  running->copies.clear();
}

/* -- tensor cores -------------------------------------------------------------------------------------------------- */

static float half_of(uint32_t pair, int upper) {
  return __uint_as_float(upper ? pair & 0xffff0000u : pair << 16);
}

void emulated_mma_16x8x16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  uint32_t mine[6] = { a[0], a[1], a[2], a[3], b[0], b[1] };
  const char (*all)[64] = emulated_exchange(0xffffffffu, mine, sizeof mine);
  int lane = (int)emulated_lane();
  for (int e = 0; e < 4; e++) {
    int row = lane / 4 + (e >= 2 ? 8 : 0), col = 2 * (lane % 4) + e % 2;
    float sum = 0;
    for (int k = 0; k < 16; k++) {
      uint32_t ra[6], rb[6];
      memcpy(ra, all[row % 8 * 4 + k % 8 / 2], sizeof ra);
      memcpy(rb, all[col * 4 + k % 8 / 2], sizeof rb);
      sum += half_of(ra[row / 8 + 2 * (k / 8)], k % 2) * half_of(rb[4 + k / 8], k % 2);
    }
    c[e] += sum;
  }
}

void emulated_load_matrix_x4(uint32_t (&out)[4], const void *row, bool transposed) {
  const char (*all)[64] = emulated_exchange(0xffffffffu, &row, sizeof row);
  if ((uintptr_t)row % 16) emulated_fail("ldmatrix from an address that is no multiple of 16");
  int lane = (int)emulated_lane();
  for (int m = 0; m < 4; m++) {
    uint32_t pair = 0;
    for (int i = 0; i < 2; i++) {
      int r = transposed ? 2 * (lane % 4) + i : lane / 4, k = transposed ? lane / 4 : 2 * (lane % 4) + i;
      const uint16_t *from;
      memcpy(&from, all[8 * m + r], sizeof from);
      pair |= (uint32_t)from[k] << 16 * i;
    }
    out[m] = pair;
  }
  emulated_sync_warp(0xffffffffu);
}

/* -- runtime calls ------------------------------------------------------------------------------------------------- */

const char *cudaGetErrorString(cudaError_t e) {
  switch (e) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidConfiguration: return "invalid configuration argument";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
    default: return text;
  }
}

cudaError_t cudaPeekAtLastError() { return last_error; }

cudaError_t cudaGetLastError() {
  cudaError_t e = last_error;
  last_error = cudaSuccess;
  return e;
}

cudaError_t cudaGetDeviceCount(int *n) {
  *n = 1;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int ordinal) { return ordinal == 0 ? cudaSuccess : cudaErrorInvalidDevice; }

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int) {
  memset(p, 0, sizeof *p);
  snprintf(p->name, sizeof p->name, "emulated on the host, for tests");
  p->totalGlobalMem = TOTAL;
  p->sharedMemPerBlockOptin = MAX_SHARED;
  p->multiProcessorCount = 3;
  p->major = 9;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void **p, size_t bytes) {
  if (recording) return cudaErrorStreamCaptureUnsupported;
  size_t total = (bytes + 2 * GUARD + 255) / 256 * 256;
  char *m = (char *)aligned_alloc(256, total);
  if (!m) return cudaErrorMemoryAllocation;
  memset(m, 0x5a, total);
  memset(m + GUARD, 0xff, bytes);
  blocks[m + GUARD] = bytes;
  *p = m + GUARD;
  return cudaSuccess;
}

cudaError_t cudaFree(void *p) {
  if (!p) return cudaSuccess;
  if (recording) return cudaErrorStreamCaptureUnsupported;
  for (emulated_stream *s : streams) drain(s);
  auto b = blocks.find((char *)p);
  if (b == blocks.end()) return cudaErrorInvalidValue;
  check_block(b->first, b->second);
  blocks.erase(b);
  free((char *)p - GUARD);
  return cudaPeekAtLastError();
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
  size_t used = 0;
  for (const auto &b : blocks) used += b.second;
  *total = TOTAL;
  *free_bytes = used < TOTAL ? TOTAL - used : 0;
  return cudaSuccess;
}

static std::map<const char *, size_t> pinned;      /* start -> bytes */

cudaError_t cudaMallocHost(void **p, size_t bytes) {
  *p = malloc(bytes);
  if (*p) pinned[(char *)*p] = bytes;
  return *p ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void *p) {
  pinned.erase((char *)p);
  free(p);
  return cudaSuccess;
}

static bool is_pinned(const void *p) {
  auto b = pinned.upper_bound((const char *)p);
  if (b == pinned.begin()) return false;
  --b;
  return (const char *)p < b->first + b->second;
}

/* Bytes from pageable memory are taken before the call returns, those from pinned memory when the stream comes to it. */
cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (kind == cudaMemcpyHostToDevice && !is_pinned(src)) {
    std::string taken((const char *)src, bytes);
    emulated_task(stream, [=] { memcpy(dst, taken.data(), bytes); });
  } else {
    emulated_task(stream, [=] { memcpy(dst, src, bytes); });
  }
  return cudaPeekAtLastError();
}

cudaError_t cudaMemsetAsync(void *dst, int v, size_t bytes, cudaStream_t stream) {
  emulated_task(stream, [=] { memset(dst, v, bytes); });
  return cudaPeekAtLastError();
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned) {
  const char *late = getenv("DATAMUX_EMULATION_LATE");
  *s = new emulated_stream;
  (*s)->late = streams.empty() == (late && !strcmp(late, "steps"));
  streams.push_back(*s);
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s) {
  streams.erase(std::find(streams.begin(), streams.end(), s));
  delete s;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s) {
  if (s->recording) return cudaErrorStreamCaptureUnsupported;
  drain(s);
  return cudaPeekAtLastError();
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned) {
  *e = new emulated_event;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t e) {
  delete e;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
  unsigned count = ++e->recorded;
  e->stream = s;
  emulated_task(s, [=] {
    e->reached = count;
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    e->at = 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
  });
  return cudaPeekAtLastError();
}

cudaError_t cudaEventSynchronize(cudaEvent_t e) {
  reach(e, e->recorded);
  return cudaPeekAtLastError();
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned) {
  unsigned count = e->recorded;
  if (s->late) s->waiting.push_back([=] { reach(e, count); });
  else reach(e, count);
  return cudaPeekAtLastError();
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to) {
  *ms = (float)(to->at - from->at);
  return cudaPeekAtLastError();
}

cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode) {
  if (s->recording) return cudaErrorStreamCaptureUnsupported;
  s->recording = new emulated_graph;
  recording = true;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g) {
  if (!s->recording) return cudaErrorStreamCaptureUnsupported;
  *g = s->recording;
  s->recording = NULL;
  recording = false;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *e, cudaGraph_t g, unsigned long long) {
  *e = new emulated_graph(*g);
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t s) {
  for (const auto &work : e->work) emulated_task(s, work);
  return cudaPeekAtLastError();
}

cudaError_t cudaGraphDestroy(cudaGraph_t g) {
  delete g;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t e) {
  delete e;
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *, cudaFuncAttribute, int v) {
  return v <= MAX_SHARED ? cudaSuccess : cudaErrorInvalidValue;
}
