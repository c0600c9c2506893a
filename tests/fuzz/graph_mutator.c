/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mutation of protobuf messages for libFuzzer: walks down to a random field and changes,
 * removes, repeats or replaces it; the lengths around it follow. One call in four changes
 * the bytes blindly, lengths and tags too.
 */
#include "fuzz/fuzz.h"

#include "wire/proto.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size,
                               unsigned int seed);

enum { FIELDS_MAX = 256, DEPTH_MAX = 8 };

static uint64_t g_random;

static size_t below(size_t limit) {
  g_random = g_random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (size_t)((g_random >> 33) % limit);
}

/* The fields of a message; 0 when it is none. */
static size_t split(amct_slice message, amct_field fields[FIELDS_MAX]) {
  amct_cursor cursor = amct_cursor_of(message, message.data);
  size_t count = 0;
  bool more = true;
  while (count < FIELDS_MAX) {
    if (amct_cursor_next(&cursor, &fields[count], &more, NULL) != AMCT_OK) return 0;
    if (!more) break;
    count++;
  }
  return count;
}

static void mutate_payload(amct_slice payload, amct_buffer *out, size_t room) {
  uint8_t *copy = malloc(payload.size + room + 1);
  if (copy == NULL) abort();
  if (payload.size != 0) memcpy(copy, payload.data, payload.size);
  amct_buffer_append(out, copy,
                     LLVMFuzzerMutate(copy, payload.size, payload.size + room));
  free(copy);
}

static void mutate_message(amct_slice message, amct_buffer *out, size_t room, int depth);

/* The field changed within: its tag, then a new length or bits. */
static void mutate_field(const amct_field *field, amct_buffer *out, size_t room,
                         int depth) {
  amct_field inner[FIELDS_MAX];
  amct_buffer payload = {0};
  if (field->wire != AMCT_WIRE_BYTES) {
    mutate_payload(field->raw, out, 0);
    return;
  }
  if (depth < DEPTH_MAX && below(8) != 0 && split(field->bytes, inner) != 0)
    mutate_message(field->bytes, &payload, room, depth + 1);
  else
    mutate_payload(field->bytes, &payload, room);
  amct_put_bytes(out, field->number, (amct_slice){payload.data, payload.size});
  amct_buffer_free(&payload);
}

static void mutate_message(amct_slice message, amct_buffer *out, size_t room, int depth) {
  amct_field fields[FIELDS_MAX];
  const size_t count = split(message, fields);
  if (count == 0) {
    mutate_payload(message, out, room);
    return;
  }
  const amct_field *chosen = &fields[below(count)], *other = &fields[below(count)];
  const size_t before = (size_t)(chosen->raw.data - message.data);
  const size_t after = before + chosen->raw.size;
  const size_t action = below(8);
  amct_buffer_append(out, message.data, before);
  if (action == 0) {
    /* removed */
  } else if (action == 1) {
    amct_buffer_append(out, other->raw.data, other->raw.size);
    amct_buffer_append(out, chosen->raw.data, chosen->raw.size);
  } else if (action == 2 && other->wire == AMCT_WIRE_BYTES) {
    amct_put_bytes(out, chosen->number, other->bytes);
  } else {
    mutate_field(chosen, out, room, depth);
  }
  amct_buffer_append(out, message.data + after, message.size - after);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size,
                               unsigned int seed) {
  amct_buffer out = {0};
  g_random = seed;
  (void)below(1);
  if (below(4) == 0 || size == 0) return LLVMFuzzerMutate(data, size, max_size);
  const size_t room = max_size - size < 64 ? max_size - size : 64;
  mutate_message((amct_slice){data, size}, &out, room, 0);
  const size_t result = out.size < max_size ? out.size : max_size;
  if (result != 0) memcpy(data, out.data, result);
  amct_buffer_free(&out);
  return result;
}
