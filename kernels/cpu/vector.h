/* vector.h -- a register of reals for tiles of sums: the widest the build has, of four reals at least. */
#ifndef DM_VECTOR_H
#define DM_VECTOR_H

#include "cpu.h"

#if defined __AVX512F__
enum { BYTES = 64 };
#elif defined __AVX__
enum { BYTES = 32 };
#else
enum { BYTES = 4 * sizeof(dm_real) };
#endif

enum { LANES = BYTES / sizeof(dm_real) };

typedef dm_real vec __attribute__((vector_size(BYTES)));
typedef dm_real loose __attribute__((vector_size(BYTES), aligned(sizeof(dm_real)), may_alias));   /* anywhere */

#endif
