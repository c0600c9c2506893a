/* SPDX-License-Identifier: Apache-2.0 */
/* "did you mean": the few names that are closest to one that does not exist. */
#ifndef AMCT_NEAREST_H
#define AMCT_NEAREST_H

#include <stdbool.h>
#include <stddef.h>

enum { AMCT_NEAREST_COUNT = 3, AMCT_NEAREST_BYTES = 512 };

typedef struct amct_nearest {
  const char *wanted; /* borrowed */
  size_t wanted_size;
  bool is_pattern; /* '*' and '?' of `wanted` stand for any characters, any one */
  size_t count;
  struct {
    const char *name; /* borrowed */
    unsigned distance;
  } best[AMCT_NEAREST_COUNT]; /* by distance, the first offered first */
} amct_nearest;

void amct_nearest_start(amct_nearest *nearest, const char *wanted);
/** The same for a pattern: the names that it all but matches. */
void amct_nearest_start_pattern(amct_nearest *nearest, const char *wanted);
/** Considers a name, which must outlive `nearest`. Names that have little in common with
 * the wanted one are passed over; one that ends in "/<wanted>" is close. Time is bounded
 * by the length of `name`. */
void amct_nearest_offer(amct_nearest *nearest, const char *name);
/** "; nearest: \"a\", \"b\"", or "" when nothing is close. */
const char *amct_nearest_text(const amct_nearest *nearest, char text[AMCT_NEAREST_BYTES]);

#endif
