/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that TensorFlow stores in 8 or 16 bits, as its op Dequantize reads them. */
#ifndef AMCT_STORED_H
#define AMCT_STORED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum amct_stored_mode {
  AMCT_STORED_MIN_COMBINED,
  AMCT_STORED_MIN_FIRST,
  AMCT_STORED_SCALED,
} amct_stored_mode;

typedef struct amct_stored {
  amct_stored_mode mode;
  int32_t lowest, highest; /* of the type */
  bool narrow;             /* SCALED: the lowest is not used */
  float min, max;          /* that they stand for */
} amct_stored;

/**
 * In float32, step by step as the op does:
 *   MIN_COMBINED  (q + half) * ((max - min) / (highest - lowest)) + min, half = 0 where
 *                 lowest is 0, else (highest - lowest + 1) / 2
 *   MIN_FIRST     (q - lowest) * step + round(min / step) * step, step = (max - min) /
 *                 (highest - lowest), in double before it is rounded
 *   SCALED        q * max(min / lowest, max / highest); without the first where lowest is
 *                 0; narrow: lowest + 1
 *
 * @par Source  TensorFlow's documentation of Dequantize; tested against the op.
 */
void amct_stored_floats(float *y, const int64_t *q, size_t count,
                        const amct_stored *stored);

#endif
