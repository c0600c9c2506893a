/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries of an archive that are compressed (deflate), unpacked from their beginning on.
 * By zlib, libz.so.1, which is loaded when the first is met: what is never needed is not
 * asked for.
 */
#ifndef AMCT_INFLATE_H
#define AMCT_INFLATE_H

#include "data/formats.h"

typedef struct amct_inflater amct_inflater;

/** Of block->packed. The block must outlive it. AMCT_NOT_READY: there is no zlib;
 * AMCT_BAD_FORMAT: more bytes are spoken of than could be; AMCT_IO. */
AMCT_NODISCARD amct_status amct_inflater_open(amct_inflater **out,
                                              const amct_block *block, amct_error *err);
/**
 * Bytes offset .. offset+bytes-1 of what is unpacked. Cheap where the last call ended;
 * what lies before begins anew. With the last byte the checksum is looked at.
 *
 * AMCT_BAD_FORMAT: damaged, cut off, longer or shorter than the archive says.
 */
AMCT_NODISCARD amct_status amct_inflater_read(amct_inflater *inflater, uint64_t offset,
                                              void *to, uint64_t bytes, amct_error *err);
/** NULL is fine. */
void amct_inflater_close(amct_inflater *inflater);

#endif
