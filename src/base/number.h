/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers as text, independent of the locale. */
#ifndef AMCT_NUMBER_H
#define AMCT_NUMBER_H

#include <stdbool.h>

#include "base/bytes.h"
#include "base/visibility.h"

enum { AMCT_NUMBER_BYTES = 32 };

/** float32 as a record file has it: %.6g where that reads back to the same value, else
 * %.9g. */
void amct_number_print_float(char text[AMCT_NUMBER_BYTES], float value);
/** The shortest decimal that reads back to the same float32 ("0.999999"). */
void amct_number_print_shortest(char text[AMCT_NUMBER_BYTES], float value);
/** The first of %.15g, %.16g, %.17g that reads back to the same double ("0.999999");
 * fewer digits below DBL_MIN. All print "inf", "-inf", "nan". */
void amct_number_print_double(char text[AMCT_NUMBER_BYTES], double value);
/** As Python's repr does, which json.dumps uses: the fewest digits that read back to the
 * same double, "0.7", "1.0", "1e-05"; finite. */
void amct_number_print_repr(char text[AMCT_NUMBER_BYTES], double value);
/** Reads a whole slice as a double ("1", "-1e-3", "inf", "nan", "0.5f"; any case); false
 * if it is not one. Too large becomes infinity, as in protobuf. No spaces, no '+', no
 * hex, no leading zeros. */
AMCT_INTERNAL bool amct_number_read_double(amct_slice text, double *value);
/** Reads a whole slice as a signed 64-bit integer (decimal, 0x, 0 octal); false if not
 * one or out of range. */
bool amct_number_read_int(amct_slice text, int64_t *value);

#endif
