/* SPDX-License-Identifier: Apache-2.0 */
/* Paths that users give. */
#ifndef AMCT_PATHS_H
#define AMCT_PATHS_H

#include "base/arena.h"
#include "base/fail.h"

#include <stdbool.h>

/** `path` under the working folder unless it starts with '/'. Symbolic links are left
 * alone. */
AMCT_NODISCARD amct_status amct_path_absolute(amct_arena *arena, const char *path,
                                              const char **absolute, amct_error *err);
/** `<prefix>_<name>`, or `<folder>/<name>` where the prefix ends in '/', or `<name>`
 * where it is empty. NULL: no memory. */
const char *amct_path_prefixed(amct_arena *arena, const char *prefix, const char *name);
bool amct_path_exists(const char *path);

#endif
