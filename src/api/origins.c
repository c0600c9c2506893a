/* SPDX-License-Identifier: Apache-2.0 */
#include "api/origins.h"

#include <jansson.h>

#include "graph/attrs.h"

static bool is_op(const amct_node *node, const char *op) {
  return strcmp(node->op, op) == 0;
}

static bool is_inserted(const amct_node *node) {
  return is_op(node, "AscendQuant") || is_op(node, "AscendWeightQuant") ||
         is_op(node, "AscendDequant") || is_op(node, "AscendAntiQuant");
}

static bool feeds(const amct_node *node, const char *op) {
  for (uint32_t i = 0; i < node->use_count; i++)
    if (node->uses[i].input < node->uses[i].node->data_count &&
        is_op(node->uses[i].node, op))
      return true;
  return false;
}

/* Integers on the way to a dequantization: nothing in the original graph compares with
 * them. */
static bool holds_integers(const amct_node *node) {
  if (is_op(node, "AscendQuant") || is_op(node, "AscendWeightQuant")) return true;
  if (feeds(node, "AscendDequant")) return true;
  for (uint32_t i = 0; i < node->use_count; i++)
    if (is_op(node->uses[i].node, "BiasAdd") && node->uses[i].input == 0 &&
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
  if (is_op(node, "AscendDequant"))
    node = node->inputs[0].node;
  else if (is_op(node, "AscendAntiQuant"))
    node = node->inputs[0].node->inputs[0].node;
  else if (holds_integers(node))
    return NULL;
  return own_origin(node);
}

static json_t *attr(const char *key, const char *kind, json_t *value) {
  return json_pack("{s:s,s:{s:o}}", "key", key, "value", kind, value);
}

static json_t *output_description(const amct_node *node) {
  const char *origin = output_origin(node);
  amct_slice format = {0};
  if (!origin) return json_pack("[{s:[]}]", "attr");
  if (!amct_attr_text(node, "data_format", &format)) format = amct_slice_of("NHWC");
  return json_pack("[{s:[o,o,o]}]", "attr",
                   attr("_datadump_origin_name", "s", json_string(origin)),
                   attr("_datadump_origin_output_index", "i", json_integer(0)),
                   attr("_datadump_origin_format", "s",
                        json_stringn((const char *)format.data, format.size)));
}

static json_t *original_names(const amct_node *node) {
  json_t *names = json_array();
  for (uint32_t i = 0; i < node->origin_count; i++)
    json_array_append_new(names, json_string(node->origins[i]));
  if (!node->origin_count && !is_inserted(node))
    json_array_append_new(names, json_string(node->name));
  return json_pack("{s:o}", "s", names);
}

static json_t *inputs(const amct_node *node) {
  json_t *list = json_array();
  for (uint32_t i = 0; i < node->data_count; i++)
    json_array_append_new(list, json_sprintf("%s:%d", node->inputs[i].node->name,
                                             (int)node->inputs[i].port));
  return list;
}

static char *describe_node(const amct_node *node) {
  json_t *op =
      json_pack("{s:s,s:s,s:o,s:[o],s:o}", "name", node->name, "type", node->op, "input",
                inputs(node), "attr",
                attr("_datadump_original_op_names", "list", original_names(node)),
                "output_desc", output_description(node));
  char *text = op ? json_dumps(op, JSON_COMPACT) : NULL;
  json_decref(op);
  return text;
}

amct_status amct_origins_write(const amct_graph *graph, amct_output *output,
                               amct_error *err) {
  static const char head[] = "{\"graph\":[{\"op\":[\n", tail[] = "]}]}\n";
  AMCT_TRY(amct_output_write(output, head, sizeof head - 1, err));
  for (size_t i = 0; i < amct_graph_count(graph); i++) {
    const amct_node *node = amct_graph_at(graph, i);
    char *text = describe_node(node);
    if (!text)
      return amct_fail(
          err, AMCT_OUT_OF_MEMORY, node->name,
          "node \"%s\" has no JSON form: out of memory, or a name that is not UTF-8",
          node->name);
    amct_status status = amct_output_write(output, text, strlen(text), err);
    free(text);
    AMCT_TRY(status);
    AMCT_TRY(amct_output_write(output, i + 1 < amct_graph_count(graph) ? ",\n" : "\n",
                               i + 1 < amct_graph_count(graph) ? 2 : 1, err));
  }
  return amct_output_write(output, tail, sizeof tail - 1, err);
}
