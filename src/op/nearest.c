/* SPDX-License-Identifier: Apache-2.0 */
#include "op/nearest.h"

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

void amct_nearest_start_pattern(amct_nearest *nearest, const char *wanted) {
  amct_nearest_start(nearest, wanted);
  nearest->is_pattern = true;
}

static unsigned least(unsigned a, unsigned b, unsigned c) {
  unsigned smaller = a < b ? a : b;
  return smaller < c ? smaller : c;
}

/* Insertions, deletions and replacements that make the name of the wanted one, where a
 * '*' stands for anything at no cost; over `limit`: some number over it. */
static unsigned edit_distance(const amct_nearest *nearest, const char *name, size_t size,
                              unsigned limit) {
  unsigned row[NAME_MAX_BYTES + 1];
  for (size_t j = 0; j <= size; j++)
    row[j] = (unsigned)j;
  for (size_t i = 0; i < nearest->wanted_size; i++) {
    const char c = nearest->wanted[i];
    const bool any = nearest->is_pattern && c == '*';
    const bool one = nearest->is_pattern && c == '?';
    unsigned diagonal = row[0];
    unsigned row_least = row[0] += any ? 0 : 1;
    for (size_t j = 1; j <= size; j++) {
      unsigned above = row[j];
      row[j] =
          any ? least(above, row[j - 1], above)
              : least(above + 1, row[j - 1] + 1, diagonal + (c != name[j - 1] && !one));
      diagonal = above;
      if (row[j] < row_least) row_least = row[j];
    }
    if (row_least > limit) return limit + 1;
  }
  return row[size];
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

static unsigned limit_of(size_t shorter) {
  unsigned limit = 1 + (unsigned)shorter / 4;
  return limit < DISTANCE_MAX ? limit : DISTANCE_MAX;
}

/* Characters of a pattern that stand for themselves. */
static size_t count_literals(const amct_nearest *nearest) {
  size_t count = 0;
  for (size_t i = 0; i < nearest->wanted_size; i++)
    count += nearest->wanted[i] != '*' && nearest->wanted[i] != '?';
  return count;
}

void amct_nearest_offer(amct_nearest *nearest, const char *name) {
  size_t size = strlen(name);
  size_t wanted = nearest->wanted_size;
  if (size > NAME_MAX_BYTES || wanted > NAME_MAX_BYTES) return;
  if (is_last_part(nearest, name, size)) {
    keep(nearest, name, 1);
    return;
  }
  unsigned limit = limit_of(size < wanted ? size : wanted);
  size_t difference = size < wanted ? wanted - size : size - wanted;
  if (nearest->is_pattern)
    limit = limit_of(count_literals(nearest));
  else if (difference > limit)
    return;
  unsigned distance = edit_distance(nearest, name, size, limit);
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
