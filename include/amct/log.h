/* SPDX-License-Identifier: Apache-2.0 */
/** @file
 * The log: lines of `<time> - <LEVEL> - [AMCT]:[<module>]: <message>` on stderr and in a
 * file. */
#ifndef AMCT_LOG_H
#define AMCT_LOG_H

#include "amct/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Levels of a line, by rising weight. */
typedef enum amct_log_level {
  AMCT_LOG_DEBUG = 0,   /**< what was decided, node by node */
  AMCT_LOG_INFO = 1,    /**< what is done */
  AMCT_LOG_WARNING = 2, /**< what the user should look at */
  AMCT_LOG_ERROR = 3,   /**< why a call failed */
  AMCT_LOG_NONE = 4,    /**< a threshold that lets nothing through */
} amct_log_level;

/**
 * Sets the lowest level that is printed and the lowest that is saved. `file` may be NULL:
 * nothing is saved. The file (its folder with it, mode 0750; the file 0640) is started
 * afresh when the first line is written after this call with a new name, and appended to
 * afterwards. A library that nobody configured prints warnings and errors, and saves
 * nothing.
 *
 * @return AMCT_OK; AMCT_INVALID_ARGUMENT (a level outside the enum); AMCT_OUT_OF_MEMORY.
 */
AMCT_API AMCT_NODISCARD amct_status amct_log_configure(amct_log_level print,
                                                       amct_log_level save,
                                                       const char *file, amct_error *err);

/** Writes one message; messages over 500 characters become several lines. Thread-safe. */
AMCT_API void amct_log_write(amct_log_level level, const char *module,
                             const char *message);

#ifdef __cplusplus
}
#endif

#endif
