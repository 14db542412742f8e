/* arena.c -- bump allocation in chunks: mark and release, reset with consolidation, generations, figures.
**
** A freed arena's struct goes to a list and is used again for the next arena with a higher generation, so that
** a tensor of a freed arena is found stale and never read through a dangling pointer. */
#include "arena.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CHUNK = 1 << 20 };

static dm_arena *free_list;
static int poison;
static int fail_every, fail_count;

void dm_arena_poison(int32_t on) { poison = on; }

void dm_arena_fail_every(int32_t n) {
  fail_every = n;
  fail_count = 0;
}

dm_status dm_refusal(const dm_device *d, size_t bytes) {
  if (fail_every < 1 || ++fail_count % fail_every) return DM_OK;
  return dm_fail(DM_ENOMEM, "memory: %.1f MiB on %s refused (a test asked for it)", (double)bytes / 1048576.0, d->name);
}

/* -- chunks ------------------------------------------------------------------------------------- */

static dm_status chunk_new(dm_chunk **out, dm_device *d, size_t size) {
  dm_chunk *c = calloc(1, sizeof *c);
  if (!c) return dm_fail(DM_ENOMEM, "memory: no room for a descriptor");
  void *data;
  dm_status s = d->backend->alloc(d, size, &data);
  if (s) {
    free(c);
    return s;
  }
  c->data = data;
  c->size = size;
  d->memory.live += (double)size;
  d->memory.allocs += 1;
  double held = d->memory.live + d->memory.scratch;
  if (held > d->memory.peak) d->memory.peak = held;
  *out = c;
  return DM_OK;
}

static void chunk_free(dm_chunk *c, dm_device *d) {
  d->memory.live -= (double)c->size;
  d->backend->free(d, c->data);
  free(c);
}

static void chunks_free(dm_chunk *c, dm_device *d) {
  while (c) {
    dm_chunk *next = c->next;
    chunk_free(c, d);
    c = next;
  }
}

/* All bits set, a NaN in every float type and -1 in i32, in a whole number of DM_ALIGN bytes of the device. */
static void spoil(dm_device *d, void *data, size_t bytes) {
  dm_tensor t = { .data = data, .dtype = DM_I32, .ndim = 2, .shape = { (int32_t)(bytes / DM_ALIGN), DM_ALIGN / 4 } };
  d->backend->fill(d, &t, -1);
}

static void wipe(dm_arena *a, dm_chunk *c, size_t from) {
  if (poison && c->used > from) spoil(a->device, c->data + from, c->used - from);
}

/* -- arenas --------------------------------------------------------------------------------------- */

dm_status dm_arena_new(dm_arena **out, dm_device *d) {
  if (!out || !d) return dm_fail(DM_EARG, "arena: device is NULL, expected an open one");
  dm_arena *a = free_list;
  if (a) {
    free_list = a->free_next;
  } else {
    a = calloc(1, sizeof *a);
    if (!a) return dm_fail(DM_ENOMEM, "arena: no room for a descriptor");
    a->gen = 1;
  }
  a->device = d;
  a->first = a->last = NULL;
  a->free_next = NULL;
  *out = a;
  return DM_OK;
}

void dm_arena_free(dm_arena *a) {
  if (!a || !a->device) return;         /* freed before: it may wait for its next owner */
  a->device->memory.used -= dm_arena_used(a);
  chunks_free(a->first, a->device);
  a->first = a->last = NULL;
  a->gen++;
  a->device = NULL;
  a->free_next = free_list;
  free_list = a;
}

double dm_arena_used(const dm_arena *a) {
  double n = 0;
  for (const dm_chunk *c = a->first; c; c = c->next) n += (double)c->used;
  return n;
}

double dm_arena_size(const dm_arena *a) {
  double n = 0;
  for (const dm_chunk *c = a->first; c; c = c->next) n += (double)c->size;
  return n;
}

dm_device *dm_arena_device(const dm_arena *a) { return a->device; }

/* The mark is the number of bytes used over all chunks: used only grows from the end. */
double dm_arena_mark(const dm_arena *a) { return dm_arena_used(a); }

dm_status dm_arena_release(dm_arena *a, double mark) {
  double used = dm_arena_used(a);
  if (!(mark >= 0 && mark <= used)) {
    return dm_fail(DM_EARG, "arena: mark is %.0f, expected 0 .. %.0f (what is in use)", mark, used);
  }
  if (fmod(mark, DM_ALIGN) != 0) return dm_fail(DM_EARG, "arena: mark is %.0f, expected what dm_arena_mark gave", mark);
  double before = 0;
  dm_chunk *keep = a->first;
  for (dm_chunk *c = a->first; c; before += (double)c->used, c = c->next) {
    if (before + (double)c->used < mark) continue;
    keep = c;
    break;
  }
  if (!keep) return DM_OK;
  size_t from = (size_t)(mark - before);
  wipe(a, keep, from);
  keep->used = from;
  for (dm_chunk *c = keep->next; c; c = c->next) {
    wipe(a, c, 0);
    c->used = 0;
  }
  a->last = keep;
  a->device->memory.used -= used - mark;
  return DM_OK;
}

dm_status dm_arena_reset(dm_arena *a) {
  double used = dm_arena_used(a);
  a->gen++;
  a->device->memory.used -= used;
  for (dm_chunk *c = a->first; c; c = c->next) {
    wipe(a, c, 0);
    c->used = 0;
  }
  a->last = a->first;
  if (!a->first || !a->first->next) return DM_OK;
  size_t size = (size_t)dm_arena_size(a);
  a->device->memory.moves += 1;
  chunks_free(a->first, a->device);
  a->first = a->last = NULL;
  dm_chunk *c;
  if (chunk_new(&c, a->device, size) == DM_OK) a->first = a->last = c;
  return DM_OK;                 /* where the whole does not fit in one piece, the next step takes pieces again */
}

/* -- allocation ------------------------------------------------------------------------------------ */

/* The next chunk that fits, opened if need be: a step's chunks double; a lasting tensor's only one is exact. */
static dm_status room(dm_arena *a, size_t bytes) {
  while (a->last && a->last->used + bytes > a->last->size && a->last->next) a->last = a->last->next;
  if (a->last && a->last->used + bytes <= a->last->size) return DM_OK;
  size_t size = bytes;
  if (a->last) {
    size_t twice = 2 * a->last->size;
    size = twice > size ? twice : size;
    size = size < FIRST_CHUNK ? FIRST_CHUNK : size;
  }
  dm_chunk *c;
  dm_status s = chunk_new(&c, a->device, size);
  if (s && size > bytes) s = chunk_new(&c, a->device, bytes);
  if (s) return s;
  if (a->last) a->last->next = c;
  else a->first = c;
  a->last = c;
  return DM_OK;
}

dm_status dm_tensor_alloc(dm_tensor *t, dm_arena *a) {
  if (!t || !a) return dm_fail(DM_EARG, "tensor: no %s given", t ? "arena" : "descriptor");
  dm_status s = dm_check_described("tensor", t);
  if (s) return s;
  double n = dm_tensor_bytes(t);
  if (n > 4.0e12) return dm_fail(DM_ENOMEM, "memory: tensor of %.3g bytes, more than any device has", n);
  size_t bytes = ((size_t)n + DM_ALIGN - 1) / DM_ALIGN * DM_ALIGN;
  if (!bytes) bytes = DM_ALIGN;
  s = dm_refusal(a->device, bytes);
  if (s || (s = room(a, bytes))) return s;
  t->data = a->last->data + a->last->used;
  a->last->used += bytes;
  a->device->memory.used += (double)bytes;
  t->arena = a;
  t->gen = a->gen;
  t->flags = 0;
  if (poison) spoil(a->device, t->data, bytes);
  return DM_OK;
}
