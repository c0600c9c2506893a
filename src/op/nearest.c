/* SPDX-License-Identifier: Apache-2.0 */
#include "op/nearest.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
  NAME_MAX_BYTES = 255, /* longer names are not compared */
  DISTANCE_MAX = 6,
  SHOWN_BYTES = 120,
};

void amct_nearest_start(amct_nearest *nearest, const char *wanted) {
  *nearest = (amct_nearest){.wanted = wanted, .wanted_size = strlen(wanted)};
}

static unsigned least(unsigned a, unsigned b, unsigned c) {
  unsigned smaller = a < b ? a : b;
  return smaller < c ? smaller : c;
}

/* Insertions, deletions and replacements that make `a` of `b`; over `limit`: some number
 * over it. */
static unsigned edit_distance(const char *a, size_t a_size, const char *b, size_t b_size,
                              unsigned limit) {
  unsigned row[NAME_MAX_BYTES + 1];
  for (size_t j = 0; j <= b_size; j++)
    row[j] = (unsigned)j;
  for (size_t i = 1; i <= a_size; i++) {
    unsigned diagonal = row[0];
    unsigned row_least = row[0] = (unsigned)i;
    for (size_t j = 1; j <= b_size; j++) {
      unsigned above = row[j];
      row[j] = least(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
      diagonal = above;
      if (row[j] < row_least) row_least = row[j];
    }
    if (row_least > limit) return limit + 1;
  }
  return row[b_size];
}

/* "Conv2D" for "net/conv1/Conv2D". */
static bool is_last_part(const amct_nearest *nearest, const char *name, size_t size) {
  size_t wanted = nearest->wanted_size;
  return wanted > 0 && size > wanted && name[size - wanted - 1] == '/' &&
         memcmp(name + size - wanted, nearest->wanted, wanted) == 0;
}

static void keep(amct_nearest *nearest, const char *name, unsigned distance) {
  size_t at = nearest->count;
  while (at > 0 && nearest->best[at - 1].distance > distance)
    at--;
  if (at == AMCT_NEAREST_COUNT) return;
  if (nearest->count < AMCT_NEAREST_COUNT) nearest->count++;
  for (size_t i = nearest->count - 1; i > at; i--)
    nearest->best[i] = nearest->best[i - 1];
  nearest->best[at].name = name;
  nearest->best[at].distance = distance;
}

void amct_nearest_offer(amct_nearest *nearest, const char *name) {
  size_t size = strlen(name);
  size_t wanted = nearest->wanted_size;
  if (size > NAME_MAX_BYTES || wanted > NAME_MAX_BYTES) return;
  if (is_last_part(nearest, name, size)) {
    keep(nearest, name, 1);
    return;
  }
  unsigned limit = 1 + (unsigned)(size < wanted ? size : wanted) / 4;
  if (limit > DISTANCE_MAX) limit = DISTANCE_MAX;
  size_t difference = size < wanted ? wanted - size : size - wanted;
  if (difference > limit) return;
  unsigned distance = edit_distance(nearest->wanted, wanted, name, size, limit);
  if (distance <= limit) keep(nearest, name, distance);
}

const char *amct_nearest_text(const amct_nearest *nearest,
                              char text[AMCT_NEAREST_BYTES]) {
  size_t size = 0;
  text[0] = '\0';
  for (size_t i = 0; i < nearest->count; i++) {
    int added =
        snprintf(text + size, AMCT_NEAREST_BYTES - size, "%s\"%.*s\"",
                 i == 0 ? "; nearest: " : ", ", SHOWN_BYTES, nearest->best[i].name);
    if (added < 0) break;
    size += (size_t)added; /* three shown names fit */
  }
  return text;
}
