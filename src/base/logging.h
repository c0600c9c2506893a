/* SPDX-License-Identifier: Apache-2.0 */
/* printf front of the log. */
#ifndef AMCT_LOGGING_H
#define AMCT_LOGGING_H

#include "amct/log.h"

#include "base/visibility.h"

AMCT_INTERNAL void amct_log(amct_log_level level, const char *module, const char *format,
                            ...) __attribute__((format(printf, 3, 4)));

#endif
