/* SPDX-License-Identifier: Apache-2.0 */
/* A digest of bytes that is the same in every process: to see that files still belong
 * together, not against forgery. */
#ifndef AMCT_DIGEST_H
#define AMCT_DIGEST_H

#include <stddef.h>
#include <stdint.h>

/** `digest` so far (0 at first) and the bytes. Four words at a time, each in a lane of
 * its own: as fast as memory. */
uint64_t amct_digest(uint64_t digest, const void *data, size_t size);

#endif
