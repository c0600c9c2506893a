/* SPDX-License-Identifier: Apache-2.0 */
/* Files written whole or not at all: a temporary beside the target, then rename. */
#ifndef AMCT_OUTPUT_H
#define AMCT_OUTPUT_H

#include "base/bytes.h"

typedef struct amct_output amct_output;

/**
 * Starts a file that will replace `path`. Makes missing parent folders (mode 0750); the
 * file gets mode 0640 less the umask. Refuses "", a path that ends in '/', a name over
 * 254 bytes, and a target that is not a regular file. A symbolic link stays, its target
 * is replaced. Nothing is seen under `path` before commit.
 */
AMCT_NODISCARD amct_status amct_output_open(amct_output **out, const char *path,
                                            amct_error *err);
/** Appends; buffered. The first error is kept and reported again by commit. */
AMCT_NODISCARD amct_status amct_output_write(amct_output *output, const void *data,
                                             size_t size, amct_error *err);
/** Flushes, syncs and closes: of commit, all that can fail but the rename. For several
 * files that belong together. No write afterwards. */
AMCT_NODISCARD amct_status amct_output_ready(amct_output *output, amct_error *err);
/** Readies and renames over `path`. The handle is gone either way. */
AMCT_NODISCARD amct_status amct_output_commit(amct_output *output, amct_error *err);
/** Removes the temporary file; NULL is fine. */
void amct_output_discard(amct_output *output);

/** Makes the folders in which `path` will lie (mode 0750). Those that exist are left
 * alone. */
AMCT_NODISCARD amct_status amct_output_make_parents(const char *path, amct_error *err);

/** Open, write, commit. */
AMCT_NODISCARD amct_status amct_output_whole(const char *path, const void *data,
                                             size_t size, amct_error *err);

#endif
