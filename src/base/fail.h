/* SPDX-License-Identifier: Apache-2.0 */
/* Reporting a failure: one call fills the caller's record and returns the status. */
#ifndef AMCT_FAIL_H
#define AMCT_FAIL_H

#include "amct/status.h"

#include "base/visibility.h"

/**
 * Fills *err (may be NULL) unless it already holds a failure, and returns `status`.
 * `node` may be NULL. Text: lower case, no full stop, names the thing and both values.
 */
AMCT_INTERNAL amct_status amct_fail(amct_error *err, amct_status status, const char *node,
                                    const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/** The same with the byte position at which a file is wrong. */
amct_status amct_fail_at(amct_error *err, amct_status status, const char *node,
                         uint64_t byte_offset, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/** "out of memory" in the house wording. */
AMCT_INTERNAL amct_status amct_fail_memory(amct_error *err);

/** AMCT_IO with "<path>: <reason>", the reason being that of an errno value. */
amct_status amct_fail_io(amct_error *err, const char *path, int error_number);

/* Early return where nothing needs freeing. */
#define AMCT_TRY(expression)                                                             \
  do {                                                                                   \
    amct_status try_status_ = (expression);                                              \
    if (try_status_ != AMCT_OK) return try_status_;                                      \
  } while (0)

#endif
