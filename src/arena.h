/* arena.h -- the layout of an arena, for arena.c, tensor.c and check.c only. */
#ifndef DM_ARENA_H
#define DM_ARENA_H

#include "backend.h"

enum { DM_ALIGN = 256 };

typedef struct dm_chunk {
  struct dm_chunk *next;      /* the chunk that was opened after this one */
  char            *data;
  size_t           size, used;
} dm_chunk;

struct dm_arena {
  dm_device *device;
  uint32_t   gen;             /* raised by reset and free: older tensors are stale */
  dm_chunk  *first, *last;    /* in order of opening; only `last` is allocated from */
  dm_arena  *free_next;       /* on the list of freed arenas */
};

#endif
