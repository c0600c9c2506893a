/* SPDX-License-Identifier: Apache-2.0 */
/* Files that hold arrays: what is where in them. */
#ifndef AMCT_FORMATS_H
#define AMCT_FORMATS_H

#include "base/vec.h"
#include "data/data.h"

/** A part of a file that is compressed. */
typedef struct amct_packed {
  uint64_t offset, bytes; /* in the file; no bytes: the part is as it is */
  uint64_t size;          /* once unpacked */
  uint32_t crc;
} amct_packed;

/** An array in a file: row-major, little-endian. */
typedef struct amct_block {
  const char *path;
  const char *entry;      /* name inside an .npz, without ".npy"; "" elsewhere */
  uint64_t offset, bytes; /* in the file, or in what is unpacked */
  amct_packed packed;
  amct_dtype dtype;
  amct_shape shape;
} amct_block;

typedef AMCT_VEC(amct_block) amct_blocks;

/** Appends the arrays of a file; `path` and `arena` outlive them. `port`: what a raw file
 * is read as. AMCT_IO; AMCT_BAD_FORMAT; AMCT_UNSUPPORTED (compressed, big-endian,
 * Fortran order, dtypes that TensorFlow has not). */
typedef amct_status amct_format_read(amct_blocks *blocks, const char *path,
                                     const amct_port *port, amct_arena *arena,
                                     amct_error *err);

/** A zip archive of .npy files, as numpy.savez and savez_compressed write it. */
amct_format_read amct_npz_read;

/** The reader for a file's name; NULL: not one that we read. */
amct_format_read *amct_format_of(const char *path);
/** ".npy, .npz or .bin", for messages. */
extern const char k_amct_formats[];

/** Bytes of a .npy that amct_npy_head looks at. */
enum { AMCT_NPY_HEAD_BYTES = (1 << 16) + 12 };

/** Reads the head of a .npy of `size` bytes into `block`, of which path, entry and offset
 * (where the .npy begins) are set. `npy`: its first bytes, AMCT_NPY_HEAD_BYTES or all. */
AMCT_NODISCARD amct_status amct_npy_head(amct_block *block, amct_slice npy, uint64_t size,
                                         amct_error *err);

#endif
