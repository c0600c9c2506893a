/* SPDX-License-Identifier: Apache-2.0 */
/* Colocation: the attribute _class holds "loc:@<node>" for nodes whose device is to be
 * shared. TensorFlow loads no graph where one of them is missing. */
#include "graph/body.h"
#include "graph/edits.h"

static const char k_key[] = "_class";
static const char k_mark[] = "loc:@";

/* The next text of a list of texts; false: there is none, or the rest is malformed. */
static bool next_text(amct_cursor *cursor, amct_slice *text) {
  amct_field field;
  bool more = false;
  while (amct_cursor_next(cursor, &field, &more, NULL) == AMCT_OK && more) {
    if (field.number != ATTR_S || field.wire != AMCT_WIRE_BYTES) continue;
    *text = field.bytes;
    return true;
  }
  return false;
}

static bool names_missing(const amct_graph *graph, amct_slice text) {
  const size_t mark = sizeof k_mark - 1;
  if (text.size < mark || memcmp(text.data, k_mark, mark) != 0) return false;
  const amct_slice name = {text.data + mark, text.size - mark};
  return amct_graph_find_slice(graph, name) == NULL;
}

static size_t count_missing(const amct_graph *graph, amct_slice list) {
  amct_cursor cursor = amct_cursor_of(list, list.data);
  amct_slice text;
  size_t count = 0;
  while (next_text(&cursor, &text))
    count += names_missing(graph, text);
  return count;
}

/* The node with those of the list that are there. */
static amct_status mend(amct_graph *graph, amct_edits *edits, amct_node *node,
                        amct_slice list, amct_error *err) {
  amct_cursor cursor = amct_cursor_of(list, list.data);
  amct_slice text;
  AMCT_VEC(const char *) kept = {0};
  amct_status status = AMCT_OK;
  while (status == AMCT_OK && next_text(&cursor, &text)) {
    if (names_missing(graph, text)) continue;
    const char *copy = amct_arena_text(&graph->arena, (const char *)text.data, text.size);
    if (!copy || !AMCT_VEC_PUSH(&kept, copy)) status = amct_fail_memory(err);
  }
  if (status == AMCT_OK) {
    amct_spec *spec = amct_edits_replace(edits, node, node->op);
    amct_spec_copy_fields(spec, node);
    for (uint32_t i = 0; i < node->data_count; i++)
      amct_spec_input(spec, amct_edge_text(node->inputs[i]));
    if (kept.count > 0)
      amct_spec_texts(spec, k_key, kept.at, kept.count);
    else
      amct_spec_drop(spec, k_key);
  }
  AMCT_VEC_FREE(&kept);
  return status;
}

amct_status amct_graph_mend_colocation(amct_graph *graph, amct_error *err) {
  amct_edits *edits = NULL;
  amct_status status = AMCT_OK;
  for (size_t i = 0; i < graph->node_count && status == AMCT_OK; i++) {
    amct_node *node = graph->nodes[i];
    amct_slice list;
    if (!amct_attr_list(node, k_key, &list) || count_missing(graph, list) == 0) continue;
    if (!edits) edits = amct_edits_new(graph);
    status = edits ? mend(graph, edits, node, list, err) : amct_fail_memory(err);
  }
  if (status == AMCT_OK && edits) status = amct_edits_apply(edits, err);
  amct_edits_free(edits);
  return status;
}
