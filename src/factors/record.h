/* SPDX-License-Identifier: Apache-2.0 */
/* The record file: quantization factors by layer, protobuf text format of
 * ScaleOffsetRecord. */
#ifndef AMCT_RECORD_H
#define AMCT_RECORD_H

#include "base/vec.h"
#include "op/layers.h"

typedef struct amct_factors {
  const char *key; /* layer name, or "<op>:<input>" of an input tensor */
  uint32_t line;   /* of `record` in the file, 0 when not from a file */
  bool has_data;   /* scale_d and offset_d given */
  float scale_d;
  int32_t offset_d;
  float *scale_w; /* scale_w_count values */
  size_t scale_w_count;
  int32_t *offset_w;
  size_t offset_w_count;
  uint32_t *shift_bit;
  size_t shift_count;
  bool skip_fusion;
} amct_factors;

typedef struct amct_record {
  AMCT_VEC(amct_factors) layers; /* in file order */
  amct_arena arena;
} amct_record; /* zero-initialise */

/** Reads a record. AMCT_IO; AMCT_BAD_RECORD or AMCT_BAD_FORMAT naming file, line, key and
 * field. An empty file is fine. */
AMCT_NODISCARD amct_status amct_record_read(amct_record *record, const char *path,
                                            amct_error *err);
AMCT_NODISCARD amct_status amct_record_parse(amct_record *record, amct_slice text,
                                             const char *label, amct_error *err);
/** Text exactly as the original writes it (numbers.md 1), appended to `buffer`. */
void amct_record_print(const amct_record *record, amct_buffer *buffer);
/** Prints and writes atomically. */
AMCT_NODISCARD amct_status amct_record_write(const amct_record *record, const char *path,
                                             amct_error *err);
/** NULL if there is none. Linear. */
const amct_factors *amct_record_get(const amct_record *record, const char *key);

/**
 * The rules of amct.md 5 against the layers of a graph: keys exist and can be quantized,
 * scales finite and > 0, offset_d in [-128, 127], offset_w all 0, shift_bit all 0 or each
 * in 1..16, counts equal and 1 or the channel count, no weight factors where there are no
 * weights, per-tensor ops with one; 1/scale_d and scale_d*scale_w, which the deploy ops
 * hold, finite and > 0 in float32; of two data inputs no offset_d. A key "<op>:<input>"
 * names an input tensor, which has no weight factors. A record of skip_fusion alone is
 * fine for any node. AMCT_BAD_RECORD names file, line, key, field, value.
 */
AMCT_NODISCARD amct_status amct_record_check(const amct_record *record, const char *path,
                                             const amct_layers *layers,
                                             const amct_graph *graph, amct_error *err);
void amct_record_free(amct_record *record);

#endif
