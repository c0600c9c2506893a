/* SPDX-License-Identifier: Apache-2.0 */
#include "base/digest.h"

#include <string.h>

enum { LANES = 4, WORD = 8 };

/* A bijection for each word: a change of one word always changes the lane. */
static uint64_t mix(uint64_t lane, uint64_t word) {
  lane = (lane ^ word) * UINT64_C(0x9E3779B97F4A7C15); /* 2^64 / golden ratio, odd */
  return lane ^ (lane >> 32);
}

static uint64_t word_at(const uint8_t *at, size_t size) {
  uint8_t bytes[WORD] = {0};
  memcpy(bytes, at, size < WORD ? size : WORD);
  uint64_t word = 0;
  for (int i = WORD; i-- > 0;)
    word = word << 8 | bytes[i];
  return word;
}

uint64_t amct_digest(uint64_t digest, const void *data, size_t size) {
  const uint8_t *at = data;
  uint64_t lane[LANES] = {1, 2, 3, 4};
  size_t done = 0;
  for (; size - done >= LANES * WORD; done += LANES * WORD)
    for (size_t l = 0; l < LANES; l++)
      lane[l] = mix(lane[l], word_at(at + done + l * WORD, WORD));
  for (; done < size; done += WORD)
    lane[0] = mix(lane[0], word_at(at + done, size - done));
  digest = mix(digest, size);
  for (size_t l = 0; l < LANES; l++)
    digest = mix(digest, lane[l]);
  return digest;
}
