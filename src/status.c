/* status.c -- status codes, their names, the thread-local message; version and handshake. */
#include "backend.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char message[1024];

const char *dm_status_name(dm_status s) {
  static const char *const name[] = { "OK",     "EARG",   "ESHAPE", "EDTYPE",   "EDEVICE",
                                      "ESTALE", "ENOMEM", "EIO",    "ECAPTURE", "EINTERNAL" };
  return s >= 0 && s <= DM_EINTERNAL ? name[s] : "E?";
}

const char *dm_last_error(void) { return message; }

dm_status dm_fail(dm_status s, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(message, sizeof message, format, args);
  va_end(args);
  return s;
}

int32_t dm_abi(void) { return DM_ABI; }
int32_t dm_sizeof_tensor(void) { return (int32_t)sizeof(dm_tensor); }
int32_t dm_sizeof_real(void) { return (int32_t)sizeof(dm_real); }
const char *dm_version(void) { return "0.1.0"; }
