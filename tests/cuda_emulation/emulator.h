/* emulator.h -- what the parts of the emulator share. */
#ifndef DM_EMULATOR_H
#define DM_EMULATOR_H

#include "cuda_runtime.h"

#include <string>

/* Ends the running launch (or task) as failed, with this sentence; outside of one, the next check reports it. */
void emulated_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Says what lies near an address outside of all memory (walls.cc). */
std::string emulated_whereabouts(const void *at);

/* True while a stream records. */
bool emulated_capturing();

#endif
