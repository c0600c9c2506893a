/* SPDX-License-Identifier: Apache-2.0 */
/* How configurations say which layers they mean: by name, by pattern ("net/b?ock*",
 * "*[12]/Conv2D"), by type ("type:MatMul"), by region ("from:net/a to:net/b"). What a
 * node is named exactly is a name, whatever characters it has (no name has a ':'). */
#ifndef AMCT_SELECTOR_H
#define AMCT_SELECTOR_H

#include "graph/graph.h"

/* Each pattern is held against each layer. */
enum { AMCT_SELECTOR_PATTERNS_MAX = 1000, AMCT_SELECTOR_BYTES_MAX = 255 };

typedef enum amct_select_kind {
  AMCT_SELECT_NAME,
  AMCT_SELECT_TYPE,
  AMCT_SELECT_PATTERN,
  AMCT_SELECT_REGION,
} amct_select_kind;

typedef struct amct_selector {
  amct_select_kind kind;
  const char *text; /* name, op type, pattern or region; borrowed */
  const uint8_t
      *inside; /* of a region, once it was checked: a byte a node by its index */
} amct_selector;

/** The nodes that may be meant. */
typedef struct amct_candidates {
  const amct_graph *graph;
  const amct_node **at;
  size_t count;
  const char *are;  /* "can be quantized" */
  size_t patterns;  /* checked so far */
  amct_arena arena; /* of their regions */
} amct_candidates;  /* amct_candidates_free */

/** Where a configuration says something, for messages. */
typedef struct amct_config_place {
  const char *path; /* NULL: an argument */
  uint32_t line;    /* 0: not known */
  const char *field;
} amct_config_place;

/** AMCT_BAD_CONFIG "<path>: line <line>: <field><text>". `node` may be NULL. */
amct_status amct_config_fail(amct_error *err, const amct_config_place *place,
                             const char *node, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

void amct_candidates_free(amct_candidates *among);
amct_selector amct_selector_of(const amct_graph *graph, const char *text);
bool amct_selector_takes(const amct_selector *selector, const amct_node *node);
/** A pattern, type or region that takes no candidate is refused with the nearest names;
 * names are the caller's to check. A region takes nodes from then on, as long as graph
 * and candidates are as they are. */
AMCT_NODISCARD amct_status amct_selector_check(amct_selector *selector,
                                               amct_candidates *among,
                                               const amct_config_place *place,
                                               amct_error *err);

#endif
