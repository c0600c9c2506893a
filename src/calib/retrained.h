/* SPDX-License-Identifier: Apache-2.0 */
/* The record of retrained layers: their factors are values of the graph, so that nothing
 * is kept between runs. */
#ifndef AMCT_RETRAINED_H
#define AMCT_RETRAINED_H

#include "base/fail.h"
#include "base/visibility.h"

#include <stddef.h>
#include <stdint.h>

typedef struct amct_retrained {
  const char *name;
  float scale_d;
  int32_t offset_d;
  const float *scale_w; /* scale_count values; none for layers without weights */
  size_t scale_count;
  const float *shift_bit; /* scale_count whole numbers; NULL: none */
} amct_retrained;

/** Replaces the record at an absolute path, atomically. AMCT_IO; AMCT_OUT_OF_MEMORY. */
AMCT_INTERNAL AMCT_NODISCARD amct_status amct_retrained_write(
    const char *record_path, const amct_retrained *layers, size_t count, amct_error *err);

#endif
