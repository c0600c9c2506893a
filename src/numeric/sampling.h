/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which values of large pictures count in the bins of a sketch.
 *
 * Values are told apart by their place in their picture alone, so that what is sampled
 * does not depend on batches, order or threads. A picture of 32,768 values or more is cut
 * into groups of `every` chunks, of which one chunk counts `every` times; which one, is a
 * hash of the group's number: a fixed step would see the same channels again and again.
 * What is left after the last whole group counts once, as all values of smaller pictures.
 */
#ifndef AMCT_SAMPLING_H
#define AMCT_SAMPLING_H

#include <stddef.h>
#include <stdint.h>

enum {
  AMCT_SAMPLING_CHUNK = 64,      /* values */
  AMCT_SAMPLING_LEAST = 1 << 14, /* values of a picture that count, at least */
  AMCT_SAMPLING_MOST = 16,       /* largest weight */
};

/** A power of two: the weight of a chunk that counts, in a picture of `row` values. */
static inline size_t amct_sampling_every(size_t row) {
  size_t every = 1;
  while (every < AMCT_SAMPLING_MOST && row / (2 * every) >= AMCT_SAMPLING_LEAST)
    every *= 2;
  return every;
}

/** Which chunk of a group counts, 0 .. every-1. */
static inline size_t amct_sampling_chosen(size_t group, size_t every) {
  uint32_t x = (uint32_t)group;
  x = (x ^ x >> 16) * 0x7FEB352Du;
  x = (x ^ x >> 15) * 0x846CA68Bu;
  return (x ^ x >> 16) & (every - 1);
}

#endif
