/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of src/graph share about the inside of a graph. */
#ifndef AMCT_BODY_H
#define AMCT_BODY_H

#include "base/map.h"
#include "base/vec.h"
#include "graph/attrs.h"
#include "wire/proto.h"

typedef struct amct_attr {
  amct_slice key;
  amct_slice value; /* encoded AttrValue */
} amct_attr;

/** A stretch of the file: a node, or the raw bytes between nodes. Removed nodes keep
 * their piece, so that their place stays known; they are not written. */
typedef struct amct_piece {
  struct amct_piece *previous, *next;
  amct_node *node; /* NULL: bytes between nodes */
  amct_slice raw;  /* bytes in the file, with the tag; empty for nodes made by edits */
} amct_piece;

struct amct_node_body {
  amct_node *
      named; /* when this body stands in graph->by_name: who has that name now, or NULL */
  amct_piece piece;
  amct_slice message; /* NodeDef as read, or as an edit built it */
  const amct_attr *attrs;
  size_t attr_count;
  bool stale;    /* inputs differ from those in the message: write them from memory */
  bool was_read; /* some node read its data at some time since the graph was loaded */
  uint64_t mark; /* scratch, see amct_graph.marks */
  amct_piece
      *tail; /* scratch: the last piece that the list being applied put behind this one */
};

/** Of the library. */
typedef struct amct_function {
  amct_slice name, bytes; /* bytes: the FunctionDef */
} amct_function;

struct amct_graph {
  amct_arena arena;
  amct_names names;
  amct_map by_name; /* amct_name -> amct_node_body, whose `named` is the node */
  const char *label;
  amct_file file;    /* mapped, when loaded from a path */
  amct_buffer owned; /* the bytes, when the graph was made from text */
  size_t bytes;      /* that it was read from */
  amct_piece *first, *last;
  amct_node **nodes; /* alive, in file order */
  size_t node_count;
  amct_use *uses; /* one block; node->uses point into it */
  size_t use_count;
  AMCT_VEC(amct_function) functions;
  uint64_t marks; /* the latest mark given out */
};

/** A node and its body, allocated together. */
typedef struct amct_node_block {
  amct_node node;
  struct amct_node_body body;
} amct_node_block;

/** Top level of a NodeDef. */
typedef struct amct_nodedef {
  amct_slice name, op, device;
  const amct_attr *attrs;
  size_t attr_count;
  size_t input_count;
} amct_nodedef;

/** An input as written: port AMCT_CONTROL for "^name". */
typedef struct amct_input_ref {
  amct_slice name;
  int32_t port;
} amct_input_ref;

/** Splits an input; false if it is malformed. */
bool amct_input_parse(amct_slice text, amct_input_ref *ref);
/** False: empty, a control character, ':' or a leading '^': such a name cannot be
 * referred to. */
bool amct_node_name_valid(amct_slice name);
/** Reads and checks the top level of a NodeDef and of its attributes. Attributes go to
 * `arena`. */
AMCT_NODISCARD amct_status amct_nodedef_read(amct_nodedef *out, amct_slice message,
                                             const uint8_t *base, amct_arena *arena,
                                             amct_error *err);
/** Fills an empty graph from bytes. */
AMCT_NODISCARD amct_status amct_graph_decode(amct_graph *graph, amct_slice bytes,
                                             amct_error *err);
/** An empty graph; NULL when memory runs out. */
amct_graph *amct_graph_new(const char *label);
/** The same as amct_graph_read; the bytes move to the graph (freed with it, or on
 * failure). */
AMCT_NODISCARD amct_status amct_graph_adopt(amct_graph **out, amct_buffer *bytes,
                                            const char *label, amct_error *err);
/** The body that stands for `name` in the name map, or NULL. */
struct amct_node_body *amct_graph_named(const amct_graph *graph, amct_slice name);
/** Appends `piece`, or puts it behind `behind`. */
void amct_graph_append(amct_graph *graph, amct_piece *piece);
void amct_graph_insert(amct_graph *graph, amct_piece *piece, amct_piece *behind);
/**
 * Makes `nodes` and `uses` (room for all) the graph's, filled from the pieces and the
 * inputs. Cannot fail; frees the earlier ones.
 */
void amct_graph_link(amct_graph *graph, amct_node **nodes, amct_use *uses);

/** Appends name, op and inputs of a node, in this order, as NodeDef fields. */
void amct_node_put_head(amct_buffer *buffer, const amct_node *node);
/** Appends an input as a NodeDef field. */
void amct_put_edge(amct_buffer *buffer, amct_edge edge);
/** True for the fields that a re-encoded node takes from memory: name, op, inputs. */
bool amct_nodedef_is_head(const amct_field *field);

/** Reads a TensorShapeProto; false: malformed, a size below -1, or rank over
 * AMCT_RANK_MAX. */
bool amct_shape_read(amct_slice message, amct_shape *shape);
/** The field of TensorProto that has the typed values of a dtype, and their wire type;
 * false: none. */
bool amct_tensor_field(amct_dtype dtype, uint32_t *number, amct_wire *wire);
/** Takes one value off a packed run of `wire`; false if it is cut. */
bool amct_take_packed(amct_slice *run, amct_wire wire, uint64_t *bits);
/** The first `count` elements as floats or, `floats` being NULL, as integers; count <=
 * tensor->count. */
bool amct_tensor_first(const amct_tensor *tensor, size_t count, float *floats,
                       int64_t *ints);
/** Bytes of a varint. */
size_t amct_varint_size(uint64_t value);

#endif
