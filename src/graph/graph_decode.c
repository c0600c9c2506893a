/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GraphDef to graph, in two passes: the top level of the file and of each node (nothing
 * is copied, tensors are skipped by their length), then the inputs, when all names are
 * known.
 */
#include "graph/body.h"

#define TEXT(slice)                                                                      \
  (int)((slice).size < 200 ? (slice).size : 200), (const char *)(slice).data

bool amct_node_name_valid(amct_slice name) {
  if (name.size == 0 || name.data[0] == '^') return false;
  for (size_t i = 0; i < name.size; i++) {
    if (name.data[i] < 0x20 || name.data[i] == 0x7f || name.data[i] == ':') return false;
  }
  return true;
}

bool amct_input_parse(amct_slice text, amct_input_ref *ref) {
  enum { PORT_MAX = 65535 };
  ref->name = text;
  ref->port = 0;
  if (text.size > 0 && text.data[0] == '^') {
    ref->name.data++;
    ref->name.size--;
    ref->port = AMCT_CONTROL;
    return amct_node_name_valid(ref->name);
  }
  const uint8_t *colon = text.size == 0 ? NULL : memchr(text.data, ':', text.size);
  if (colon == NULL) return amct_node_name_valid(text);
  ref->name.size = (size_t)(colon - text.data);
  const uint8_t *end = text.data + text.size;
  if (colon + 1 == end) return false;
  int32_t port = 0;
  for (const uint8_t *at = colon + 1; at < end; at++) {
    if (*at < '0' || *at > '9') return false;
    port = port * 10 + (*at - '0');
    if (port > PORT_MAX) return false;
  }
  ref->port = port;
  return amct_node_name_valid(ref->name);
}

/* An AttrValue's top level only has to be well-formed; it is decoded when somebody asks.
 */
static amct_status scan_fields(amct_slice message, const uint8_t *base, amct_error *err) {
  amct_cursor cursor = amct_cursor_of(message, base);
  amct_field field;
  bool more = true;
  while (more)
    AMCT_TRY(amct_cursor_next(&cursor, &field, &more, err));
  return AMCT_OK;
}

static amct_status read_attr(amct_attr *attr, amct_slice entry, const uint8_t *base,
                             amct_error *err) {
  static const amct_slice k_empty = {(const uint8_t *)"", 0};
  attr->key = attr->value = k_empty;
  amct_cursor cursor = amct_cursor_of(entry, base);
  for (;;) {
    amct_field field;
    bool more;
    AMCT_TRY(amct_cursor_next(&cursor, &field, &more, err));
    if (!more) break;
    if (field.wire != AMCT_WIRE_BYTES) continue;
    if (field.number == ENTRY_KEY) attr->key = field.bytes;
    if (field.number == ENTRY_VALUE) attr->value = field.bytes;
  }
  return scan_fields(attr->value, base, err);
}

/* First walk: everything but the attributes, which it counts. */
static amct_status read_head(amct_nodedef *out, amct_slice message, const uint8_t *base,
                             amct_error *err) {
  amct_cursor cursor = amct_cursor_of(message, base);
  for (;;) {
    amct_field field;
    bool more;
    AMCT_TRY(amct_cursor_next(&cursor, &field, &more, err));
    if (!more) return AMCT_OK;
    if (field.wire != AMCT_WIRE_BYTES) continue;
    if (field.number == NODE_NAME) out->name = field.bytes;
    if (field.number == NODE_OP) out->op = field.bytes;
    if (field.number == NODE_DEVICE) out->device = field.bytes;
    if (field.number == NODE_INPUT) out->input_count++;
    if (field.number == NODE_ATTR) out->attr_count++;
  }
}

amct_status amct_nodedef_read(amct_nodedef *out, amct_slice message, const uint8_t *base,
                              amct_arena *arena, amct_error *err) {
  static const amct_nodedef k_empty;
  *out = k_empty;
  AMCT_TRY(read_head(out, message, base, err));
  if (out->attr_count == 0) return AMCT_OK;
  amct_attr *attrs = amct_arena_array(arena, out->attr_count, sizeof *attrs);
  if (attrs == NULL) return amct_fail_memory(err);
  out->attrs = attrs;
  amct_cursor cursor = amct_cursor_of(message, base);
  for (;;) {
    amct_field field;
    bool more;
    AMCT_TRY(amct_cursor_next(&cursor, &field, &more, err));
    if (!more) return AMCT_OK;
    if (field.wire != AMCT_WIRE_BYTES || field.number != NODE_ATTR) continue;
    AMCT_TRY(read_attr(attrs++, field.bytes, base, err));
  }
}

static amct_status check_names(const amct_nodedef *def, uint64_t offset,
                               amct_error *err) {
  if (def->name.size == 0)
    return amct_fail_at(err, AMCT_BAD_GRAPH, NULL, offset, "node without a name");
  char name[AMCT_ERROR_NODE_BYTES];
  size_t size = def->name.size < sizeof name - 1 ? def->name.size : sizeof name - 1;
  memcpy(name, def->name.data, size);
  name[size] = '\0';
  if (!amct_node_name_valid(def->name))
    return amct_fail_at(err, AMCT_BAD_GRAPH, name, offset,
                        "node name of %zu bytes holds a character that no input can name",
                        def->name.size);
  if (def->op.size == 0)
    return amct_fail_at(err, AMCT_BAD_GRAPH, name, offset, "node %s has no op", name);
  if (memchr(def->op.data, '\0', def->op.size) != NULL)
    return amct_fail_at(err, AMCT_BAD_GRAPH, name, offset,
                        "op of node %s holds a NUL byte", name);
  if (def->input_count > UINT32_MAX)
    return amct_fail_at(err, AMCT_UNSUPPORTED, name, offset, "node %s has %zu inputs",
                        name, def->input_count);
  return AMCT_OK;
}

static amct_status read_node(amct_graph *graph, const amct_field *field,
                             const uint8_t *base, amct_error *err) {
  amct_nodedef def;
  const uint64_t offset = (uint64_t)(field->raw.data - base);
  AMCT_TRY(amct_nodedef_read(&def, field->bytes, base, &graph->arena, err));
  AMCT_TRY(check_names(&def, offset, err));

  amct_node_block *block = amct_arena_alloc(&graph->arena, sizeof *block);
  if (block == NULL) return amct_fail_memory(err);
  amct_node *node = &block->node;
  node->body = &block->body;
  node->graph = graph;
  node->name = amct_names_intern(&graph->names, def.name);
  node->op = amct_names_intern(&graph->names, def.op);
  if (node->name == NULL || node->op == NULL) return amct_fail_memory(err);
  node->device = def.device;
  node->input_count = (uint32_t)def.input_count;
  node->body->named = node;
  node->body->message = field->bytes;
  node->body->attrs = def.attrs;
  node->body->attr_count = def.attr_count;
  node->body->piece.node = node;
  node->body->piece.raw = field->raw;
  if (amct_map_get(&graph->by_name, node->name) != NULL)
    return amct_fail_at(err, AMCT_BAD_GRAPH, node->name, offset, "two nodes are named %s",
                        node->name);
  AMCT_TRY(amct_map_set(&graph->by_name, node->name, node->body, err));
  amct_graph_append(graph, &node->body->piece);
  graph->node_count++;
  graph->use_count += node->input_count;
  return AMCT_OK;
}

/* The name of a function stands in its signature, an OpDef. */
static amct_status read_function(amct_graph *graph, amct_slice function,
                                 const uint8_t *base, amct_error *err) {
  enum { OPDEF_NAME = 1 };
  static const amct_slice k_empty = {(const uint8_t *)"", 0};
  amct_slice signature = k_empty, name = k_empty;
  amct_field field;
  bool more;
  amct_cursor cursor = amct_cursor_of(function, base);
  for (;;) {
    AMCT_TRY(amct_cursor_next(&cursor, &field, &more, err));
    if (!more) break;
    if (field.number == FUNCTION_SIGNATURE && field.wire == AMCT_WIRE_BYTES)
      signature = field.bytes;
  }
  cursor = amct_cursor_of(signature, base);
  for (;;) {
    AMCT_TRY(amct_cursor_next(&cursor, &field, &more, err));
    if (!more) break;
    if (field.number == OPDEF_NAME && field.wire == AMCT_WIRE_BYTES) name = field.bytes;
  }
  const amct_function found = {name, function};
  return AMCT_VEC_PUSH(&graph->functions, found) ? AMCT_OK : amct_fail_memory(err);
}

static amct_status read_library(amct_graph *graph, amct_slice library,
                                const uint8_t *base, amct_error *err) {
  amct_cursor cursor = amct_cursor_of(library, base);
  for (;;) {
    amct_field field;
    bool more;
    AMCT_TRY(amct_cursor_next(&cursor, &field, &more, err));
    if (!more) return AMCT_OK;
    if (field.number == LIBRARY_FUNCTION && field.wire == AMCT_WIRE_BYTES)
      AMCT_TRY(read_function(graph, field.bytes, base, err));
  }
}

/* What is no node is kept as it is; neighbours become one piece. */
static amct_status keep_bytes(amct_graph *graph, amct_slice raw, amct_error *err) {
  amct_piece *last = graph->last;
  if (last != NULL && last->node == NULL) {
    last->raw.size += raw.size;
    return AMCT_OK;
  }
  amct_piece *piece = amct_arena_alloc(&graph->arena, sizeof *piece);
  if (piece == NULL) return amct_fail_memory(err);
  piece->raw = raw;
  amct_graph_append(graph, piece);
  return AMCT_OK;
}

static amct_status read_pieces(amct_graph *graph, amct_slice bytes, amct_error *err) {
  amct_cursor cursor = amct_cursor_of(bytes, bytes.data);
  for (;;) {
    amct_field field;
    bool more;
    AMCT_TRY(amct_cursor_next(&cursor, &field, &more, err));
    if (!more) return AMCT_OK;
    if (field.number == GRAPH_NODE && field.wire == AMCT_WIRE_BYTES) {
      AMCT_TRY(read_node(graph, &field, bytes.data, err));
      continue;
    }
    if (field.number == GRAPH_LIBRARY && field.wire == AMCT_WIRE_BYTES)
      AMCT_TRY(read_library(graph, field.bytes, bytes.data, err));
    AMCT_TRY(keep_bytes(graph, field.raw, err));
  }
}

static amct_status resolve_input(amct_node *node, amct_slice text, uint64_t offset,
                                 amct_edge *edge, amct_error *err) {
  amct_input_ref ref;
  if (!amct_input_parse(text, &ref))
    return amct_fail_at(err, AMCT_BAD_GRAPH, node->name, offset,
                        "node %s: input '%.*s' is neither name, name:0..65535 nor ^name",
                        node->name, TEXT(text));
  const struct amct_node_body *source = amct_graph_named(node->graph, ref.name);
  if (source == NULL)
    return amct_fail_at(err, AMCT_BAD_GRAPH, node->name, offset,
                        "node %s: input '%.*s' names no node", node->name, TEXT(text));
  edge->node = source->named;
  edge->port = ref.port;
  return AMCT_OK;
}

static amct_status resolve_inputs(amct_node *node, const uint8_t *base, amct_error *err) {
  if (node->input_count == 0) return AMCT_OK;
  node->inputs =
      amct_arena_array(&node->graph->arena, node->input_count, sizeof *node->inputs);
  if (node->inputs == NULL) return amct_fail_memory(err);
  uint32_t count = 0;
  amct_cursor cursor = amct_cursor_of(node->body->message, base);
  while (count < node->input_count) {
    amct_field field;
    bool more;
    AMCT_TRY(amct_cursor_next(&cursor, &field, &more, err));
    if (!more) break;
    if (field.number != NODE_INPUT || field.wire != AMCT_WIRE_BYTES) continue;
    const uint64_t offset = (uint64_t)(field.raw.data - base);
    amct_edge *edge = &node->inputs[count++];
    AMCT_TRY(resolve_input(node, field.bytes, offset, edge, err));
    if (edge->port == AMCT_CONTROL) continue;
    if (node->data_count + 1 != count)
      return amct_fail_at(err, AMCT_BAD_GRAPH, node->name, offset,
                          "node %s: data input '%.*s' comes after a control input",
                          node->name, TEXT(field.bytes));
    node->data_count++;
  }
  return AMCT_OK;
}

amct_status amct_graph_decode(amct_graph *graph, amct_slice bytes, amct_error *err) {
  graph->bytes = bytes.size;
  AMCT_TRY(read_pieces(graph, bytes, err));
  if (graph->node_count > UINT32_MAX || graph->use_count > UINT32_MAX)
    return amct_fail(err, AMCT_UNSUPPORTED, NULL, "%zu nodes with %zu inputs",
                     graph->node_count, graph->use_count);
  for (amct_piece *piece = graph->first; piece != NULL; piece = piece->next) {
    if (piece->node != NULL) AMCT_TRY(resolve_inputs(piece->node, bytes.data, err));
  }
  amct_node **nodes = amct_alloc_array(graph->node_count + 1, sizeof *nodes);
  amct_use *uses = amct_alloc_array(graph->use_count + 1, sizeof *uses);
  if (nodes == NULL || uses == NULL) {
    amct_free(nodes);
    amct_free(uses);
    return amct_fail_memory(err);
  }
  amct_graph_link(graph, nodes, uses);
  return AMCT_OK;
}
