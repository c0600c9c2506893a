/* SPDX-License-Identifier: Apache-2.0 */
/* GraphDef bytes assembled by hand: an encoder of its own, so that tests do not ask the
 * code under test. */
#ifndef AMCT_TESTS_GRAPH_BYTES_H
#define AMCT_TESTS_GRAPH_BYTES_H

#include <stdint.h>
#include <string.h>

enum { PB_MAX = 8192 };

typedef struct pb {
  uint8_t data[PB_MAX];
  size_t size;
} pb;

static inline void pb_raw(pb *out, const void *data, size_t size) {
  if (out->size + size > PB_MAX) __builtin_trap();
  memcpy(out->data + out->size, data, size);
  out->size += size;
}

static inline void pb_varint(pb *out, uint64_t value) {
  do {
    const uint8_t byte = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
    pb_raw(out, &byte, 1);
    value >>= 7;
  } while (value != 0);
}

static inline void pb_int(pb *out, unsigned field, uint64_t value) {
  pb_varint(out, field << 3);
  pb_varint(out, value);
}

static inline void pb_fixed32(pb *out, unsigned field, uint32_t bits) {
  pb_varint(out, (field << 3) | 5);
  pb_raw(out, &bits, 4);
}

static inline void pb_float(pb *out, unsigned field, float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  pb_fixed32(out, field, bits);
}

static inline void pb_bytes(pb *out, unsigned field, const void *data, size_t size) {
  pb_varint(out, (field << 3) | 2);
  pb_varint(out, size);
  pb_raw(out, data, size);
}

static inline void pb_text(pb *out, unsigned field, const char *text) {
  pb_bytes(out, field, text, strlen(text));
}

static inline void pb_message(pb *out, unsigned field, const pb *message) {
  pb_bytes(out, field, message->data, message->size);
}

/* NodeDef { attr { key: value: } } */
static inline void pb_attr(pb *node, const char *key, const pb *value) {
  pb entry = {.size = 0};
  pb_text(&entry, 1, key);
  pb_message(&entry, 2, value);
  pb_message(node, 5, &entry);
}

/* GraphDef { node { name: op: input: .. } }; inputs end with NULL */
static inline void pb_node(pb *graph, const char *name, const char *op,
                           const char *const *inputs) {
  pb node = {.size = 0};
  pb_text(&node, 1, name);
  pb_text(&node, 2, op);
  for (; inputs != NULL && *inputs != NULL; inputs++)
    pb_text(&node, 3, *inputs);
  pb_message(graph, 1, &node);
}

#define INPUTS(...) ((const char *const[]){__VA_ARGS__, NULL})

#endif
