/* SPDX-License-Identifier: Apache-2.0 */
#include "api/origins.h"

#include "graph/attrs.h"
#include "recipe/recipe_keys.h"

static bool is_inserted(const amct_node *node) {
  return amct_node_is(node, "AscendQuant") || amct_node_is(node, "AscendWeightQuant") ||
         amct_node_is(node, "AscendDequant") || amct_node_is(node, "AscendAntiQuant");
}

static bool feeds(const amct_node *node, const char *op) {
  for (uint32_t i = 0; i < node->use_count; i++)
    if (node->uses[i].input < node->uses[i].node->data_count &&
        amct_node_is(node->uses[i].node, op))
      return true;
  return false;
}

/* Integers on the way to a dequantization: nothing in the original graph compares with
 * them. */
static bool holds_integers(const amct_node *node) {
  if (amct_node_is(node, "AscendQuant") || amct_node_is(node, "AscendWeightQuant"))
    return true;
  if (feeds(node, "AscendDequant")) return true;
  for (uint32_t i = 0; i < node->use_count; i++)
    if (amct_node_is(node->uses[i].node, "BiasAdd") && node->uses[i].input == 0 &&
        feeds(node->uses[i].node, "AscendDequant"))
      return true;
  return false;
}

/* A node that was replaced stands for its own original last; one that took over another's
 * place goes by what it took over. */
static const char *own_origin(const amct_node *node) {
  for (uint32_t i = 0; i < node->origin_count; i++)
    if (strcmp(node->origins[i], node->name) == 0) return node->name;
  return node->origin_count ? node->origins[node->origin_count - 1] : node->name;
}

/* The original node whose output 0 this node's output 0 stands for; NULL: none. */
static const char *output_origin(const amct_node *node) {
  if (!amct_node_is(node, "AscendDequant") && !amct_node_is(node, "AscendAntiQuant")) {
    if (holds_integers(node)) return NULL;
  } else {
    while (is_inserted(node)) /* one behind the other */
      node = node->inputs[0].node;
  }
  return own_origin(node);
}

typedef struct describer {
  const amct_node *node;
  bool not_utf8; /* some text of the node, or of what it reads */
} describer;

static json_t *name_value(describer *d, const char *name) {
  return amct_recipe_text(amct_slice_of(name), &d->not_utf8);
}

static bool append(json_t *list, json_t *value) {
  return json_array_append_new(list, value) == 0;
}

static json_t *attr(const char *key, const char *kind, json_t *value) {
  return json_pack("{s:s,s:{s:o}}", "key", key, "value", kind, value);
}

static json_t *output_description(describer *d) {
  const char *origin = output_origin(d->node);
  amct_slice format = {0};
  if (!origin) return json_pack("[{s:[]}]", "attr");
  if (!amct_attr_text(d->node, "data_format", &format)) format = amct_slice_of("NHWC");
  return json_pack(
      "[{s:[o,o,o]}]", "attr", attr("_datadump_origin_name", "s", name_value(d, origin)),
      attr("_datadump_origin_output_index", "i", json_integer(0)),
      attr("_datadump_origin_format", "s", amct_recipe_text(format, &d->not_utf8)));
}

static json_t *original_names(describer *d) {
  const amct_node *node = d->node;
  json_t *names = json_array();
  bool fine = names != NULL;
  for (uint32_t i = 0; i < node->origin_count; i++)
    fine = fine && append(names, name_value(d, node->origins[i]));
  if (!node->origin_count && !is_inserted(node))
    fine = fine && append(names, name_value(d, node->name));
  if (fine) return json_pack("{s:o}", "s", names);
  json_decref(names);
  return NULL;
}

static json_t *inputs(describer *d) {
  json_t *list = json_array();
  bool fine = list != NULL;
  for (uint32_t i = 0; i < d->node->data_count && fine; i++) {
    const amct_edge edge = d->node->inputs[i];
    json_t *name = name_value(d, edge.node->name);
    fine = name && append(list, json_sprintf("%s:%d", edge.node->name, (int)edge.port));
    json_decref(name);
  }
  if (fine) return list;
  json_decref(list);
  return NULL;
}

static json_t *describe_node(describer *d) {
  return json_pack("{s:o,s:o,s:o,s:[o],s:o}", "name", name_value(d, d->node->name),
                   "type", name_value(d, d->node->op), "input", inputs(d), "attr",
                   attr("_datadump_original_op_names", "list", original_names(d)),
                   "output_desc", output_description(d));
}

static amct_status print_node(const amct_node *node, amct_buffer *text, amct_error *err) {
  describer d = {.node = node};
  json_t *op = describe_node(&d);
  amct_status status;
  if (op)
    status = amct_recipe_dump_line(op, text, err);
  else if (d.not_utf8)
    status =
        amct_fail(err, AMCT_UNSUPPORTED, node->name,
                  "node \"%s\": a name or format that is not UTF-8: JSON cannot hold it",
                  node->name);
  else
    status = amct_fail_memory(err);
  json_decref(op);
  return status;
}

static amct_status write_node(const amct_node *node, bool last, amct_output *output,
                              amct_error *err) {
  amct_buffer text = {0};
  amct_status status = print_node(node, &text, err);
  amct_buffer_text(&text, last ? "\n" : ",\n");
  if (status == AMCT_OK && text.failed) status = amct_fail_memory(err);
  if (status == AMCT_OK) status = amct_output_write(output, text.data, text.size, err);
  amct_buffer_free(&text);
  return status;
}

amct_status amct_origins_write(const amct_graph *graph, amct_output *output,
                               amct_error *err) {
  static const char head[] = "{\"graph\":[{\"op\":[\n", tail[] = "]}]}\n";
  const size_t count = amct_graph_count(graph);
  amct_recipe_use_alloc();
  AMCT_TRY(amct_output_write(output, head, sizeof head - 1, err));
  for (size_t i = 0; i < count; i++)
    AMCT_TRY(write_node(amct_graph_at(graph, i), i + 1 == count, output, err));
  return amct_output_write(output, tail, sizeof tail - 1, err);
}
