/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bounded sample of what positions of a layer's kernel see: rows of taps times input
 * channels. All that is needed of the data to round the weights well
 * (numeric/weight_rounding.h).
 *
 * Order-free: a row's rank comes from its picture's values and its place in it, and the
 * sample is the rows of least rank, so that it depends on the multiset of pictures alone.
 */
#ifndef AMCT_INPUT_ROWS_H
#define AMCT_INPUT_ROWS_H

#include "numeric/input_sums.h"
#include "numeric/range.h"

enum {
  AMCT_ROWS_MOST = 2048,             /* of a sample */
  AMCT_ROWS_BYTES_MOST = 8 << 20,    /* of its values, where that leaves .. */
  AMCT_ROWS_FEWEST = 256,            /* .. so many */
  AMCT_ROW_VALUES_MOST = 256 * 1024, /* wider windows are not sampled */
};

typedef struct amct_input_rows amct_input_rows;

/** NULL when memory runs out. */
amct_input_rows *amct_input_rows_new(const amct_window *window, size_t channels);
void amct_input_rows_free(amct_input_rows *rows);
/** False: a row would have more than AMCT_ROW_VALUES_MOST values. */
bool amct_input_rows_possible(const amct_window *window, size_t channels);

/** All pictures of a batch of the channels that the rows have; every position is a
 * candidate. Allocates nothing. */
void amct_input_rows_add(amct_input_rows *rows, const amct_pictures *pictures,
                         const float *values);

/** Rows that were taken. */
size_t amct_input_rows_count(const amct_input_rows *rows);
/** Values of a row, taps times channels. */
size_t amct_input_rows_width(const amct_input_rows *rows);
/** Memory that it may come to take. */
size_t amct_input_rows_bytes(const amct_input_rows *rows);

/**
 * The sample on the grid of a range as the deployed layer sees it, a column for each
 * place in a row; rows in no order of meaning:
 *
 *   steps[k*count + r] = clamp(round(x[r][k] / scale) + offset, -128, 127) - offset
 *
 * False: memory ran out.
 */
bool amct_input_rows_steps(const amct_input_rows *rows, amct_range range, int16_t *steps);

#endif
