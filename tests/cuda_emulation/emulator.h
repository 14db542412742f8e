/* emulator.h -- what the parts of the emulator share. */
#ifndef DM_EMULATOR_H
#define DM_EMULATOR_H

#include "cuda_runtime.h"

#include <string>

/* Ends the running launch (or task) as failed, with this sentence; outside of one, the next check reports it. */
void emulated_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Says what lies near an address outside of all memory (walls.cc). */
std::string emulated_whereabouts(const void *at);

/* True while work asked for is not done at once: a stream records, or (see emulated_on) it is done late. */
bool emulated_capturing();

/* Says which stream the next op works on; NULL after it. One of the two streams is late: its work is done only where
** somebody waits for it, that of the other at once. DATAMUX_EMULATION_LATE names it: copies (what comes ahead of a
** step; finds a step that does not wait for its inputs) or steps (finds inputs written over those of a step before). */
void emulated_on(cudaStream_t stream);

#endif
