/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of an edit list: built by edits.c and specs.c, applied by edits_apply.c. */
#ifndef AMCT_EDITS_PRIVATE_H
#define AMCT_EDITS_PRIVATE_H

#include "graph/body.h"
#include "graph/edits.h"

/** An attribute, or another field that a copied node had, encoded as a field of NodeDef.
 */
typedef struct amct_spec_field {
  amct_slice key; /* empty: no attribute */
  amct_slice raw;
} amct_spec_field;

struct amct_spec {
  amct_edits *edits;
  const char *name, *op;
  amct_node *replaced; /* NULL: a new node */
  amct_node *near;
  bool before;
  amct_slice device;
  AMCT_VEC(const char *) inputs;   /* data */
  AMCT_VEC(const char *) controls; /* names, without the caret */
  AMCT_VEC(amct_spec_field) fields;
  AMCT_VEC(const char *) origins;
  amct_slice nodedef; /* made when asked for */
  /* while the list is applied */
  amct_node_block *block;       /* new node; NULL for a replaced one */
  struct amct_node_body *named; /* its place in the name map */
  amct_nodedef def;
  amct_slice message;
  amct_name op_name;
  const char **origin_names;
  uint32_t origin_count;
};

/** One edit in the list. */
typedef struct amct_change {
  amct_edit_kind kind;
  bool dead; /* overtaken by a removal or a replacement of the same node */
  amct_spec *spec;
  amct_node *node;
  uint32_t index;
  const char *tensor;
  struct amct_change *next; /* of the same node */
} amct_change;

/** All that the list does to one node that the graph has. */
typedef struct amct_target {
  amct_node *node;
  bool removed;
  bool detached;   /* removed, and the control edges from it */
  amct_spec *spec; /* replaced by */
  amct_change *first, *last;
  /* while the list is applied */
  amct_edge *inputs;
  uint32_t input_count, data_count;
} amct_target;

struct amct_edits {
  amct_graph *graph;
  amct_arena arena;
  amct_error error; /* the first failure of a building call */
  bool spent;
  AMCT_VEC(amct_change *) changes;
  size_t dead_count;
  AMCT_VEC(amct_target *) targets;
  AMCT_VEC(amct_spec *) specs; /* in order of making */
  amct_map by_node;            /* amct_node -> amct_target */
  amct_map by_name;            /* amct_name -> amct_spec of a new node */
  amct_map suffixes;           /* amct_name -> where the search for a free name goes on */
};

/** Keeps the first failure. */
void amct_edits_fail(amct_edits *edits, amct_status status, const char *node,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));
void amct_edits_fail_memory(amct_edits *edits);
/** Copy in the list's arena; NULL, and a kept failure, when memory runs out. */
const char *amct_edits_text(amct_edits *edits, const char *text);
/** A spec with nothing in it; NULL, and a kept failure, when memory runs out. */
amct_spec *amct_spec_new(amct_edits *edits, const char *name, const char *op);
/** The NodeDef of a spec, in `arena`. */
AMCT_NODISCARD amct_status amct_spec_encode(const amct_spec *spec, amct_arena *arena,
                                            amct_slice *nodedef, amct_error *err);

#endif
