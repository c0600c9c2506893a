/* SPDX-License-Identifier: Apache-2.0 */
/* Life of a graph, and what others ask of it. */
#include "graph/body.h"

amct_graph *amct_graph_new(const char *label) {
  amct_graph *graph = amct_alloc_array(1, sizeof *graph);
  if (graph == NULL) return NULL;
  graph->label = amct_arena_text(&graph->arena, label, strlen(label));
  if (graph->label == NULL) {
    amct_graph_free(graph);
    return NULL;
  }
  return graph;
}

void amct_graph_free(amct_graph *graph) {
  if (graph == NULL) return;
  amct_free(graph->nodes);
  amct_free(graph->uses);
  AMCT_VEC_FREE(&graph->functions);
  amct_map_free(&graph->by_name);
  amct_names_free(&graph->names);
  amct_arena_free(&graph->arena);
  amct_buffer_free(&graph->owned);
  amct_file_close(&graph->file);
  amct_free(graph);
}

amct_status amct_graph_load(amct_graph **out, const char *path, amct_error *err) {
  *out = NULL;
  amct_status status;
  amct_graph *graph = amct_graph_new(path);
  if (graph == NULL) return amct_fail_memory(err);
  if ((status = amct_file_open(&graph->file, path, err)) != AMCT_OK) goto done;
  if ((status = amct_graph_decode(graph, graph->file.bytes, err)) != AMCT_OK) goto done;
  *out = graph;
  graph = NULL; /* moved to the caller */
done:
  amct_graph_free(graph);
  return status;
}

amct_status amct_graph_read(amct_graph **out, amct_slice bytes, const char *label,
                            amct_error *err) {
  *out = NULL;
  amct_graph *graph = amct_graph_new(label);
  if (graph == NULL) return amct_fail_memory(err);
  amct_status status = amct_graph_decode(graph, bytes, err);
  if (status != AMCT_OK) {
    amct_graph_free(graph);
    return status;
  }
  *out = graph;
  return AMCT_OK;
}

amct_status amct_graph_adopt(amct_graph **out, amct_buffer *bytes, const char *label,
                             amct_error *err) {
  static const amct_buffer k_empty;
  *out = NULL;
  amct_graph *graph = amct_graph_new(label);
  if (graph == NULL) {
    amct_buffer_free(bytes);
    return amct_fail_memory(err);
  }
  graph->owned = *bytes;
  *bytes = k_empty;
  const amct_slice message = {graph->owned.data, graph->owned.size};
  amct_status status = amct_graph_decode(graph, message, err);
  if (status != AMCT_OK) {
    amct_graph_free(graph);
    return status;
  }
  *out = graph;
  return AMCT_OK;
}

const char *amct_graph_label(const amct_graph *graph) {
  return graph->label;
}

size_t amct_graph_bytes(const amct_graph *graph) {
  return graph->bytes;
}

size_t amct_graph_count(const amct_graph *graph) {
  return graph->node_count;
}

amct_node *amct_graph_at(const amct_graph *graph, size_t index) {
  return index < graph->node_count ? graph->nodes[index] : NULL;
}

struct amct_node_body *amct_graph_named(const amct_graph *graph, amct_slice name) {
  amct_name key = amct_names_find(&graph->names, name);
  return key == NULL ? NULL : amct_map_get(&graph->by_name, key);
}

amct_node *amct_graph_find(const amct_graph *graph, const char *name) {
  return amct_graph_find_slice(graph, amct_slice_of(name));
}

amct_node *amct_graph_find_slice(const amct_graph *graph, amct_slice name) {
  const struct amct_node_body *body = amct_graph_named(graph, name);
  return body == NULL ? NULL : body->named;
}

amct_name amct_graph_intern(amct_graph *graph, const char *text) {
  return amct_names_intern(&graph->names, amct_slice_of(text));
}

amct_arena *amct_graph_arena(amct_graph *graph) {
  return &graph->arena;
}

size_t amct_graph_function_count(const amct_graph *graph) {
  return graph->functions.count;
}

amct_slice amct_graph_function_name(const amct_graph *graph, size_t index) {
  static const amct_slice k_none;
  return index < graph->functions.count ? graph->functions.at[index].name : k_none;
}

amct_slice amct_graph_function_bytes(const amct_graph *graph, size_t index) {
  return graph->functions.at[index].bytes;
}

void amct_graph_append(amct_graph *graph, amct_piece *piece) {
  piece->previous = graph->last;
  piece->next = NULL;
  if (graph->last == NULL) {
    graph->first = piece;
  } else {
    graph->last->next = piece;
  }
  graph->last = piece;
}

/* `behind` NULL: at the front. */
void amct_graph_insert(amct_graph *graph, amct_piece *piece, amct_piece *behind) {
  if (behind == graph->last) {
    amct_graph_append(graph, piece);
    return;
  }
  piece->previous = behind;
  piece->next = behind == NULL ? graph->first : behind->next;
  piece->next->previous = piece;
  if (behind == NULL) {
    graph->first = piece;
  } else {
    behind->next = piece;
  }
}

/* CSR: count the uses of each node, lay out the blocks, fill them in file order of the
 * reader. */
void amct_graph_link(amct_graph *graph, amct_node **nodes, amct_use *uses) {
  size_t count = 0;
  for (const amct_piece *piece = graph->first; piece != NULL; piece = piece->next) {
    if (piece->node == NULL || piece->node->removed) continue;
    piece->node->index = (uint32_t)count;
    piece->node->use_count = 0;
    nodes[count++] = piece->node;
  }
  for (size_t i = 0; i < count; i++) {
    for (uint32_t k = 0; k < nodes[i]->input_count; k++)
      nodes[i]->inputs[k].node->use_count++;
  }
  size_t offset = 0;
  for (size_t i = 0; i < count; i++) {
    nodes[i]->uses = nodes[i]->use_count == 0 ? NULL : uses + offset;
    offset += nodes[i]->use_count;
    nodes[i]->use_count = 0;
  }
  for (size_t i = 0; i < count; i++) {
    for (uint32_t k = 0; k < nodes[i]->input_count; k++) {
      amct_node *source = nodes[i]->inputs[k].node;
      if (k < nodes[i]->data_count) source->body->was_read = true;
      source->uses[source->use_count].node = nodes[i];
      source->uses[source->use_count++].input = k;
    }
  }
  amct_free(graph->nodes);
  amct_free(graph->uses);
  graph->nodes = nodes;
  graph->node_count = count;
  graph->uses = uses;
  graph->use_count = offset;
}

const char *amct_edge_text(amct_edge edge) {
  if (edge.node == NULL) return "";
  if (edge.port == 0) return edge.node->name;
  amct_arena *arena = &edge.node->graph->arena;
  if (edge.port == AMCT_CONTROL) return amct_arena_format(arena, "^%s", edge.node->name);
  return amct_arena_format(arena, "%s:%d", edge.node->name, (int)edge.port);
}

size_t amct_node_readers(const amct_node *node, int32_t port) {
  size_t count = 0;
  for (uint32_t i = 0; i < node->use_count; i++) {
    const amct_use *use = &node->uses[i];
    if (use->input < use->node->data_count && use->node->inputs[use->input].port == port)
      count++;
  }
  return count;
}
