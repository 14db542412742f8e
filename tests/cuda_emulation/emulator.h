/* emulator.h -- what the parts of the emulator share. */
#ifndef DM_EMULATOR_H
#define DM_EMULATOR_H

#include "cuda_runtime.h"

#include <string>

/* Ends the running launch (or task) as failed, with this sentence; outside of one, the next check reports it. */
void emulated_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Says what lies near an address outside of all memory (walls.cc). */
std::string emulated_whereabouts(const void *at);

/* True while work asked for is not done at once: a stream records, or (see emulated_late) it is done late. */
bool emulated_capturing();

/* Says whether what is asked for next goes to a stream that runs late. */
void emulated_late(bool late);

#endif
