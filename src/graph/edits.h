/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Edit lists: every change to a graph. Planned by the core, applied to the core's own
 * graph here, or by the Python skin to a live tf.Graph. Order does not matter within a
 * list: names refer to the graph after it.
 *
 * Building calls do not fail one by one: the first failure (memory, a wrong call) is kept
 * and reported by amct_edits_apply.
 */
#ifndef AMCT_EDITS_H
#define AMCT_EDITS_H

#include "base/map.h"
#include "graph/attrs.h"

typedef struct amct_edits amct_edits;
typedef struct amct_spec amct_spec; /* a node to be */

/** NULL when memory runs out. The list borrows the graph. */
amct_edits *amct_edits_new(amct_graph *graph);
void amct_edits_free(amct_edits *edits);
size_t amct_edits_size(const amct_edits *edits);

/** A name that neither graph nor list has: `wanted`, else wanted_1, wanted_2, ... In the
 * graph's arena. */
const char *amct_edits_free_name(amct_edits *edits, const char *wanted);
/** True if the graph (unless removed by this list) or this list has a node of that name.
 */
bool amct_edits_has_name(const amct_edits *edits, const char *name);

/** New node, written in the file right before (`before` true) or after `near` (NULL:
 * behind the last node). Several at one place stand there in the order in which they were
 * added. `near` may be a removed node. */
amct_spec *amct_edits_add(amct_edits *edits, const char *name, const char *op,
                          amct_node *near, bool before);
/** The same node object with the same name and place, and other content; its readers
 * stay. Control inputs and device are kept, attributes are not. Its earlier and later
 * set_input in this list are of no account. */
amct_spec *amct_edits_replace(amct_edits *edits, amct_node *node, const char *op);
/** New node with the op, inputs, device and attributes of `node` under another name,
 * behind it. */
amct_spec *amct_edits_copy(amct_edits *edits, const amct_node *node, const char *name);
void amct_edits_remove(amct_edits *edits, amct_node *node);
/** Removes a node that stands beside the graph: control edges from it go with it. */
void amct_edits_detach(amct_edits *edits, amct_node *node);
/** node->inputs[index] becomes `tensor` ("name", "name:1"). */
void amct_edits_set_input(amct_edits *edits, amct_node *node, uint32_t index,
                          const char *tensor);
/** `node` gets the control input `source` (a node name), once. */
void amct_edits_control(amct_edits *edits, amct_node *node, const char *source);
/** Every data reader of (node, port), but for those in `except` (may be NULL), reads
 * `tensor`. */
void amct_edits_rewire(amct_edits *edits, amct_edge from, const char *tensor,
                       const amct_node *const *except, size_t except_count);

void amct_spec_input(amct_spec *spec,
                     const char *tensor); /* "name", "name:1", "^name"; copied */
/** All that `node` has but name, op, inputs and device: its attributes. */
void amct_spec_copy_fields(amct_spec *spec, const amct_node *node);
void amct_spec_device(amct_spec *spec, amct_slice device);
void amct_spec_origin(amct_spec *spec,
                      const char *name); /* stands for this original node too */
void amct_spec_int(amct_spec *spec, const char *key, int64_t value);
void amct_spec_float(amct_spec *spec, const char *key, float value);
void amct_spec_bool(amct_spec *spec, const char *key, bool value);
void amct_spec_text(amct_spec *spec, const char *key, const char *value);
void amct_spec_type(amct_spec *spec, const char *key, amct_dtype value);
void amct_spec_ints(amct_spec *spec, const char *key, const int64_t *values,
                    size_t count);
void amct_spec_texts(amct_spec *spec, const char *key, const char *const *values,
                     size_t count);
void amct_spec_types(amct_spec *spec, const char *key, const amct_dtype *values,
                     size_t count);
void amct_spec_drop(amct_spec *spec, const char *key); /* of the copied fields */
void amct_spec_raw(amct_spec *spec, const char *key, amct_slice attr_value);
/** `dtype` and `value` of a Const, as tensor_content. Data is copied. */
void amct_spec_tensor(amct_spec *spec, amct_dtype dtype, const amct_shape *shape,
                      const void *data, size_t bytes);
const char *amct_spec_name(const amct_spec *spec);

/**
 * Applies everything or nothing. AMCT_BAD_GRAPH: a name taken twice, an input that names
 * no node, a reader left on a removed node. Afterwards the list is spent.
 */
AMCT_NODISCARD amct_status amct_edits_apply(amct_edits *edits, amct_error *err);
/**
 * Removes nodes that edits orphaned: Const, Identity, ReadVariableOp and the like that
 * lost their last reader since the graph was loaded, and sums and products of such. A
 * control edge from a constant that waits for nothing is no reader, and goes too. `keep`
 * names nodes that stay (model outputs). Colocation with what is gone goes with it.
 */
AMCT_NODISCARD amct_status amct_graph_sweep(amct_graph *graph, const char *const *keep,
                                            size_t keep_count, amct_error *err);

/** Takes names of nodes that are not there out of the attribute _class. */
AMCT_NODISCARD amct_status amct_graph_mend_colocation(amct_graph *graph, amct_error *err);

/** The nodes that amct_graph_sweep would remove: key and value are the node. */
AMCT_NODISCARD amct_status amct_graph_orphans(amct_map *orphans, amct_graph *graph,
                                              const char *const *keep, size_t keep_count,
                                              amct_error *err);

/** Reading a list, for the live graph. */
typedef enum amct_edit_kind {
  AMCT_EDIT_ADD = 0,       /* name, nodedef */
  AMCT_EDIT_REPLACE = 1,   /* name, nodedef */
  AMCT_EDIT_REMOVE = 2,    /* name */
  AMCT_EDIT_SET_INPUT = 3, /* name, index, tensor */
  AMCT_EDIT_CONTROL = 4,   /* name, tensor = source node */
} amct_edit_kind;

typedef struct amct_edit {
  amct_edit_kind kind;
  const char *name;
  const char *tensor;
  uint32_t index;
  amct_slice nodedef; /* serialized NodeDef */
  const char *near;   /* ADD: the node that amct_edits_add was given, "" if none */
} amct_edit;

/** Edit i; borrowed, valid while the list lives. AMCT_OUT_OF_MEMORY. */
AMCT_NODISCARD amct_status amct_edits_at(amct_edits *edits, size_t i, amct_edit *edit,
                                         amct_error *err);

#endif
