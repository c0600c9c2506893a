/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What calibration knows of a layer's data beyond its factors, in a file of its own
 * beside the record, `<record>.stats`; a record is whole without it. Empty where nothing
 * of the kind was wanted, else text, a message a layer:
 *
 *   layer {
 *     key: "conv1"
 *     record: "<16 hex digits>"    digest of the layer's factors in the record
 *     weights: "<16 hex digits>"   digest of the weights, with what is folded into them
 *     taps: 9
 *     mean: 0.25                   means of the input, by tap and channel; may be missing
 *     rounded: "00ff7f"            the weights in steps of scale_w, two hexadecimal
 * digits each, where a sample of the input has rounded them
 *     bias: 0.125                  added to the bias, by channel; may be missing
 *   }
 */
#ifndef AMCT_STATS_H
#define AMCT_STATS_H

#include "factors/record.h"

typedef struct amct_layer_stats {
  const char *key;
  uint64_t record, weights; /* digests */
  size_t taps;
  const float *mean; /* mean_count values, a multiple of taps */
  size_t mean_count;
  const int8_t
      *rounded; /* rounded_count values; none: weights go to their nearest steps */
  size_t rounded_count;
  const float *bias; /* added to the bias of each channel */
  size_t bias_count;
} amct_layer_stats;

typedef struct amct_stats {
  AMCT_VEC(amct_layer_stats) layers;
  amct_arena arena;
} amct_stats; /* zero-initialise */

#define AMCT_STATS_SUFFIX ".stats"
/** "<record>.stats"; NULL when memory runs out. */
const char *amct_stats_path(amct_arena *arena, const char *record_path);
/** Digest of scale_d, offset_d and all scale_w. */
uint64_t amct_stats_of_factors(const amct_factors *factors);

/** AMCT_IO; AMCT_BAD_FORMAT naming file and line. */
AMCT_NODISCARD amct_status amct_stats_read(amct_stats *stats, const char *path,
                                           amct_error *err);
AMCT_NODISCARD amct_status amct_stats_parse(amct_stats *stats, amct_slice text,
                                            const char *label, amct_error *err);
/** Appends the text. */
void amct_stats_print(const amct_stats *stats, amct_buffer *buffer);
/** Prints and writes atomically. */
AMCT_NODISCARD amct_status amct_stats_write(const amct_stats *stats, const char *path,
                                            amct_error *err);
/** NULL if there is none. Linear. */
const amct_layer_stats *amct_stats_get(const amct_stats *stats, const char *key);
void amct_stats_free(amct_stats *stats);

#endif
