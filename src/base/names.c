/* SPDX-License-Identifier: Apache-2.0 */
#include "base/names.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"

enum { FIRST_CAPACITY = 64 };

/* Linear probing over a power of two, at most 3/4 full; text NULL is an empty slot. */
struct amct_names_slot {
  uint64_t hash;
  size_t size;
  const char *text;
};

/* A seed of the process: the names come from hostile files, which could otherwise be made
 * to collide. Nothing depends on the order of the slots, so results stay the same from
 * run to run. */
static uint64_t seed[2];
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void make_seed(void) {
  enum { NONBLOCK = 1 }; /* by number: getrandom is in no glibc before 2.25 */
  if (syscall(SYS_getrandom, seed, sizeof seed, NONBLOCK) == (long)sizeof seed) return;
  struct timespec now = {0};
  clock_gettime(CLOCK_REALTIME, &now);
  seed[0] = (uint64_t)now.tv_nsec * UINT64_C(0x9E3779B97F4A7C15) ^ (uint64_t)now.tv_sec;
  seed[1] = (uint64_t)(uintptr_t)&now;
}

static uint64_t rotate(uint64_t x, int bits) {
  return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4]) {
  v[0] += v[1];
  v[1] = rotate(v[1], 13) ^ v[0];
  v[0] = rotate(v[0], 32);
  v[2] += v[3];
  v[3] = rotate(v[3], 16) ^ v[2];
  v[0] += v[3];
  v[3] = rotate(v[3], 21) ^ v[0];
  v[2] += v[1];
  v[1] = rotate(v[1], 17) ^ v[2];
  v[2] = rotate(v[2], 32);
}

/* SipHash-1-3 (Aumasson and Bernstein 2012), which Rust's and Python's tables use too. */
static uint64_t hash_of(amct_slice text) {
  pthread_once(&seed_once, make_seed);
  uint64_t v[4] = {
      seed[0] ^ UINT64_C(0x736F6D6570736575), seed[1] ^ UINT64_C(0x646F72616E646F6D),
      seed[0] ^ UINT64_C(0x6C7967656E657261), seed[1] ^ UINT64_C(0x7465646279746573)};
  size_t done = 0;
  for (; text.size - done >= 8; done += 8) {
    uint64_t word = 0;
    memcpy(&word, text.data + done, 8);
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
  }
  uint64_t last = (uint64_t)text.size << 56;
  for (size_t i = 0; done + i < text.size; i++)
    last |= (uint64_t)text.data[done + i] << (8 * i);
  v[3] ^= last;
  sip_round(v);
  v[0] ^= last;
  v[2] ^= 0xFF;
  for (int i = 0; i < 3; i++)
    sip_round(v);
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* The slot that has the text, or the empty one where it belongs. */
static struct amct_names_slot *find_slot(struct amct_names_slot *slots, size_t capacity,
                                         uint64_t hash, amct_slice text) {
  size_t i = (size_t)hash & (capacity - 1);
  for (; slots[i].text != NULL; i = (i + 1) & (capacity - 1)) {
    if (slots[i].hash == hash && slots[i].size == text.size &&
        (text.size == 0 || memcmp(slots[i].text, text.data, text.size) == 0))
      break;
  }
  return &slots[i];
}

static struct amct_names_slot *find_empty(struct amct_names_slot *slots, size_t capacity,
                                          uint64_t hash) {
  size_t i = (size_t)hash & (capacity - 1);
  while (slots[i].text != NULL)
    i = (i + 1) & (capacity - 1);
  return &slots[i];
}

static bool grow(amct_names *names) {
  if (names->capacity > SIZE_MAX / 2) return false;
  size_t capacity = names->capacity != 0 ? names->capacity * 2 : FIRST_CAPACITY;
  struct amct_names_slot *slots = amct_alloc_array(capacity, sizeof *slots);
  if (slots == NULL) return false;
  for (size_t i = 0; i < names->capacity; i++) {
    if (names->slots[i].text != NULL)
      *find_empty(slots, capacity, names->slots[i].hash) = names->slots[i];
  }
  amct_free(names->slots);
  names->slots = slots;
  names->capacity = capacity;
  return true;
}

amct_name amct_names_intern(amct_names *names, amct_slice text) {
  uint64_t hash = hash_of(text);
  if (names->capacity != 0) {
    amct_name known = find_slot(names->slots, names->capacity, hash, text)->text;
    if (known != NULL) return known;
  }
  if (names->count >= names->capacity / 4 * 3 && !grow(names)) return NULL;

  char *copy = amct_arena_text(&names->arena, (const char *)text.data, text.size);
  if (copy == NULL) return NULL;
  *find_empty(names->slots, names->capacity, hash) =
      (struct amct_names_slot){hash, text.size, copy};
  names->count++;
  return copy;
}

amct_name amct_names_find(const amct_names *names, amct_slice text) {
  if (names->count == 0) return NULL;
  return find_slot(names->slots, names->capacity, hash_of(text), text)->text;
}

void amct_names_free(amct_names *names) {
  amct_free(names->slots);
  amct_arena_free(&names->arena);
  *names = (amct_names){0};
}
