/* walls.h -- each op of an emulated run sees its tensors as copies of their own, each between pages that nobody may
** touch: an access past the end of a tensor, or a write to an input, ends the op with a sentence. */
#ifndef DM_WALLS_H
#define DM_WALLS_H

#include <tuple>

extern "C" {
#include "../../src/backend.h"
}

/* See emulator.h: work of a late stream has no walls. */
void emulated_on(struct emulated_stream *stream);

void walls_begin();
/* The walled-off twin of t (NULL for NULL), to be given to the op in its place. */
dm_tensor *walls_add(const dm_tensor *t, bool written);
/* All tensors are known: makes the copies. Nothing where walls cannot be (work that is not done at once): tensors stay
** where they are. */
void walls_raise();
/* Copies back what was written and checks the bytes between the tensors and their walls. */
void walls_end();

static inline dm_tensor *walled(dm_tensor *t) { return walls_add(t, true); }
static inline const dm_tensor *walled(const dm_tensor *t) { return walls_add(t, false); }
template <class A> static inline A walled(A a) { return a; }

/* Runs op f(d, a...) behind walls. The tuple takes its members in order, so that sentences count tensors as written. */
template <class... P, class... A>
static inline dm_status walled_op(dm_status (*f)(dm_device *, P...), dm_device *d, A... a) {
  walls_begin();
  std::tuple<P...> inside{ walled(a)... };
  walls_raise();
  dm_status s = std::apply([&](P... p) { return f(d, p...); }, inside);
  walls_end();
  return s;
}

#endif
