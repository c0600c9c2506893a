/* SPDX-License-Identifier: Apache-2.0 */
/* Where Python packages are installed, found without running Python. */
#ifndef AMCT_PACKAGES_H
#define AMCT_PACKAGES_H

#include "base/arena.h"
#include "base/fail.h"
#include "base/vec.h"

/** Folders that hold packages, those that count most first. */
typedef struct amct_packages {
  AMCT_VEC(const char *) folders;
  amct_arena arena;
} amct_packages; /* zero-initialise */

/**
 * `folder` alone where it is given; else AMCT_ENGINE_DIR (folders, with ':' between
 * them) alone where it is set; else what exists of: the virtual environment (VIRTUAL_ENV,
 * CONDA_PREFIX) that is active, the one that this program is installed in, beside each
 * python3 on PATH, the user's own, the system's.
 */
AMCT_NODISCARD amct_status amct_packages_find(amct_packages *packages, const char *folder,
                                              amct_error *err);
/** The folders in which this program may have libraries of its own: beside it, and in
 * lib/ beside its own. */
AMCT_NODISCARD amct_status amct_packages_find_own(amct_packages *packages);
void amct_packages_free(amct_packages *packages);

/** The first file that fits a pattern of glob(3) inside a package folder, such as
 * "openvino/libs/libopenvino_c.so*"; of several the last by version. NULL: none. */
const char *amct_packages_file(amct_packages *packages, const char *pattern);
/** What was searched, for messages: "a, b and 3 others". NULL: no memory. */
const char *amct_packages_list(amct_packages *packages);

#endif
