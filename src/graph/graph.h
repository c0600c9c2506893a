/* SPDX-License-Identifier: Apache-2.0 */
/* A TensorFlow graph: nodes with resolved edges over the bytes of a GraphDef. Changed
 * through edit lists only (edits.h). What is untouched leaves byte for byte as it came.
 */
#ifndef AMCT_GRAPH_H
#define AMCT_GRAPH_H

#include <string.h>

#include "base/names.h"
#include "base/output.h"
#include "wire/graphdef.h"

typedef struct amct_graph amct_graph;
typedef struct amct_node amct_node;

enum { AMCT_CONTROL = -1 }; /* the port of a control edge */

/** Where an input comes from: output `port` of `node`; node NULL = none. */
typedef struct amct_edge {
  amct_node *node;
  int32_t port;
} amct_edge;

/** Who reads a node: node->inputs[input]. */
typedef struct amct_use {
  amct_node *node;
  uint32_t input;
} amct_use;

/**
 * Stable address for the life of the graph, also after removal (then `removed` is true
 * and nothing reads it; its name, inputs and attributes can still be read). Read-only
 * outside src/graph.
 */
struct amct_node {
  amct_name name, op;
  amct_graph *graph;
  amct_edge *inputs; /* data inputs in order, then control inputs */
  uint32_t input_count, data_count;
  amct_use *uses; /* in file order of the reader */
  uint32_t use_count;
  uint32_t index; /* position in file order among the nodes alive */
  bool removed;
  amct_slice device;
  const char *const *
      origins; /* names in the graph as loaded that this node stands for; NULL: its own */
  uint32_t origin_count;
  struct amct_node_body *body; /* private: bytes and attributes */
};

/**
 * Maps and reads a frozen pb. AMCT_IO; AMCT_BAD_FORMAT (with byte position);
 * AMCT_BAD_GRAPH (duplicate node name, input that names no node, ...). `label` for
 * messages is the path.
 */
AMCT_NODISCARD amct_status amct_graph_load(amct_graph **out, const char *path,
                                           amct_error *err);
/** The same from memory, which must outlive the graph. */
AMCT_NODISCARD amct_status amct_graph_read(amct_graph **out, amct_slice bytes,
                                           const char *label, amct_error *err);
void amct_graph_free(amct_graph *graph);

/** The file or label it came from, for messages. */
const char *amct_graph_label(const amct_graph *graph);
/** Bytes that it was read from. */
size_t amct_graph_bytes(const amct_graph *graph);
/** Nodes alive, in file order. */
size_t amct_graph_count(const amct_graph *graph);
amct_node *amct_graph_at(const amct_graph *graph, size_t index);
/** NULL if there is none of that name. */
amct_node *amct_graph_find(const amct_graph *graph, const char *name);
amct_node *amct_graph_find_slice(const amct_graph *graph, amct_slice name);
/** Interned text, for comparing ops by pointer; NULL when memory runs out. */
amct_name amct_graph_intern(amct_graph *graph, const char *text);
/** Memory that lives as long as the graph. */
amct_arena *amct_graph_arena(amct_graph *graph);
/** Functions in the library (their bodies are kept and not looked into). */
size_t amct_graph_function_count(const amct_graph *graph);
amct_slice amct_graph_function_name(const amct_graph *graph, size_t index);
/** A FunctionDef, serialized. */
amct_slice amct_graph_function_bytes(const amct_graph *graph, size_t index);

/**
 * Invariants: every edge resolves; control after data; names unique; data edges form no
 * cycle but through NextIteration; uses agree with inputs. AMCT_BAD_GRAPH names the node.
 */
AMCT_NODISCARD amct_status amct_graph_verify(const amct_graph *graph, amct_error *err);

/** Writes the GraphDef. An untouched graph gives the bytes it was read from. */
AMCT_NODISCARD amct_status amct_graph_save(const amct_graph *graph, amct_output *output,
                                           amct_error *err);
/** The same into memory (free with amct_buffer_free). */
AMCT_NODISCARD amct_status amct_graph_encode(const amct_graph *graph, amct_buffer *buffer,
                                             amct_error *err);

/** True if the node is of this op; NULL is of none. */
static inline bool amct_node_is(const amct_node *node, const char *op) {
  return node != NULL && strcmp(node->op, op) == 0;
}

/** "name", "name:2" or "^name", in the graph's arena; NULL when memory runs out. */
const char *amct_edge_text(amct_edge edge);
static inline bool amct_edge_equal(amct_edge a, amct_edge b) {
  return a.node == b.node && a.port == b.port;
}
/** Data uses of output `port`. */
size_t amct_node_readers(const amct_node *node, int32_t port);

#endif
