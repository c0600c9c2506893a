/* SPDX-License-Identifier: Apache-2.0 */
#include "amct/inspect.h"

#include "api/report.h"
#include "api/study.h"
#include "op/tensors.h"
#include "rewrite/match.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct inspection {
  amct_study study;
  amct_shapes *shapes;
  amct_report report;
  size_t left;
} inspection;

/* What the constants of a model hold. */
typedef struct parameters {
  size_t constants;
  uint64_t values, bytes;
} parameters;

static bool is_placeholder(const amct_node *node) {
  return amct_node_is(node, "Placeholder") || amct_node_is(node, "PlaceholderV2") ||
         amct_node_is(node, "PlaceholderWithDefault");
}

static amct_status add_parameters(parameters *sum, const amct_node *node,
                                  amct_error *err) {
  amct_tensor tensor;
  if (!amct_node_is(node, "Const")) return AMCT_OK;
  AMCT_TRY(amct_const_tensor(node, &tensor, err));
  sum->constants++;
  sum->values += tensor.count;
  sum->bytes += tensor.content.size ? tensor.content.size
                                    : tensor.count * amct_dtype_bytes(tensor.dtype);
  return AMCT_OK;
}

/* 12345 as "12,345". */
static const char *grouped(char text[32], uint64_t number) {
  char digits[24];
  const int size = snprintf(digits, sizeof digits, "%llu", (unsigned long long)number);
  char *to = text;
  for (int i = 0; i < size; i++) {
    if (i && (size - i) % 3 == 0) *to++ = ',';
    *to++ = digits[i];
  }
  *to = '\0';
  return text;
}

static amct_status report_parameters(inspection *in, amct_error *err) {
  const amct_graph *graph = in->study.graph;
  parameters sum = {0};
  char values[32], bytes[32];
  for (size_t i = 0; i < amct_graph_count(graph); i++)
    AMCT_TRY(add_parameters(&sum, amct_graph_at(graph, i), err));
  const amct_cell shown = amct_cell_format(&in->report, "%s in %zu constants, %s bytes",
                                           grouped(values, sum.values), sum.constants,
                                           grouped(bytes, sum.bytes));
  const amct_cell json = amct_cell_format(
      &in->report, "{\"constants\": %zu, \"values\": %llu, \"bytes\": %llu}",
      sum.constants, (unsigned long long)sum.values, (unsigned long long)sum.bytes);
  amct_report_field(&in->report, "parameters", amct_cell_raw(shown.shown, json.shown));
  return AMCT_OK;
}

static void report_number(amct_report *report, const char *key, uint64_t number) {
  char text[32];
  amct_cell cell = amct_cell_number(report, (int64_t)number);
  amct_report_field(
      report, key,
      amct_cell_raw(amct_cell_format(report, "%s", grouped(text, number)).shown,
                    cell.json));
}

/* The layers in them are not among those below. */
static void report_functions(inspection *in) {
  const size_t count = amct_graph_function_count(in->study.graph);
  const size_t layers = amct_layers_hidden(in->study.graph);
  const amct_cell number = amct_cell_number(&in->report, (int64_t)count);
  const amct_cell shown =
      layers ? amct_cell_format(&in->report, "%zu, whose %zu layers stay float", count,
                                layers)
             : number;
  in->left += layers;
  amct_report_field(&in->report, "functions", amct_cell_raw(shown.shown, number.json));
}

static amct_status report_model(inspection *in, size_t bytes, amct_error *err) {
  const amct_graph *graph = in->study.graph;
  amct_report_field(&in->report, "model", amct_cell_text(amct_graph_label(graph)));
  report_number(&in->report, "bytes", bytes);
  report_number(&in->report, "nodes", amct_graph_count(graph));
  report_functions(in);
  return report_parameters(in, err);
}

static void report_inputs(inspection *in) {
  amct_table table = {"inputs", "inputs", {"name", "op", "dtype", "shape"}, 4, false};
  const amct_graph *graph = in->study.graph;
  for (size_t i = 0; i < amct_graph_count(graph); i++) {
    const amct_node *node = amct_graph_at(graph, i);
    amct_dtype dtype = AMCT_DTYPE_INVALID;
    amct_shape shape = {.rank = -1};
    if (!is_placeholder(node)) continue;
    if (!amct_attr_type(node, "dtype", &dtype)) dtype = AMCT_DTYPE_INVALID;
    if (!amct_attr_shape(node, "shape", &shape)) shape.rank = -1;
    const amct_cell row[] = {amct_cell_text(node->name), amct_cell_text(node->op),
                             amct_cell_text(amct_report_dtype(dtype)),
                             amct_cell_shape(&in->report, &shape)};
    amct_table_row(&in->report, &table, row);
  }
  amct_report_table(&in->report, &table);
}

static void add_output(inspection *in, amct_table *table, amct_node *node) {
  const amct_shape shape = amct_shapes_of(in->shapes, (amct_edge){node, 0});
  const amct_cell row[] = {amct_cell_text(node->name), amct_cell_text(node->op),
                           amct_cell_shape(&in->report, &shape)};
  amct_table_row(&in->report, table, row);
}

static void report_outputs(inspection *in, amct_strings outputs) {
  amct_table table = {"outputs", "outputs", {"name", "op", "shape"}, 3, false};
  const amct_graph *graph = in->study.graph;
  for (size_t i = 0; i < outputs.count; i++)
    add_output(in, &table, amct_graph_find(graph, outputs.at[i]));
  for (size_t i = 0; i < amct_graph_count(graph) && outputs.count == 0; i++) {
    amct_node *node = amct_graph_at(graph, i);
    if (node->use_count == 0 && !is_placeholder(node) && !amct_node_is(node, "Const") &&
        !amct_node_is(node, "NoOp"))
      add_output(in, &table, node);
  }
  amct_report_table(&in->report, &table);
}

static int by_text(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static amct_status report_ops(inspection *in, amct_error *err) {
  amct_table table = {"ops", "ops", {"op", "nodes"}, 2, true};
  const amct_graph *graph = in->study.graph;
  const size_t count = amct_graph_count(graph);
  const char **ops = amct_arena_array(&in->report.arena, count + 1, sizeof *ops);
  if (!ops) return amct_fail_memory(err);
  for (size_t i = 0; i < count; i++)
    ops[i] = amct_graph_at(graph, i)->op;
  qsort(ops, count, sizeof *ops, by_text);
  for (size_t i = 0, end; i < count; i = end) {
    for (end = i + 1; end < count && strcmp(ops[i], ops[end]) == 0; end++) {
    }
    const amct_cell row[] = {amct_cell_text(ops[i]),
                             amct_cell_number(&in->report, (int64_t)(end - i))};
    amct_table_row(&in->report, &table, row);
  }
  amct_report_table(&in->report, &table);
  return AMCT_OK;
}

static bool report_quantized(inspection *in) {
  const amct_node *op = amct_layers_quantized(in->study.graph);
  if (op)
    amct_report_field(
        &in->report, "quantized_by",
        in->report.form == AMCT_REPORT_JSON
            ? amct_cell_text(op->name)
            : amct_cell_format(&in->report, "%s \"%.900s\"", op->op, op->name));
  else if (in->report.form == AMCT_REPORT_JSON)
    amct_report_field(&in->report, "quantized_by", amct_cell_raw("", "null"));
  return op != NULL;
}

static void report_fusions(inspection *in) {
  amct_table done = {"fusions", "fusions", {"rule", "node", "layers"}, 3, false};
  amct_table declined = {
      "declined", "declined fusions", {"rule", "node", "reason"}, 3, false};
  const size_t count = in->study.plan ? in->study.plan->decisions.count : 0;
  for (size_t i = 0; i < count; i++) {
    const amct_decision *d = &in->study.plan->decisions.at[i];
    const amct_cell row[] = {amct_cell_text(d->rule), amct_cell_text(d->node),
                             d->reason ? amct_cell_text(d->reason)
                                       : amct_cell_list(&in->report, d->layer)};
    amct_table_row(&in->report, d->reason ? &declined : &done, row);
    in->left += d->reason != NULL;
  }
  amct_report_table(&in->report, &done);
  amct_report_table(&in->report, &declined);
}

static void add_layer(inspection *in, amct_table *table, const amct_layer *layer) {
  const bool has_weights = layer->weight.node != NULL;
  const amct_cell none = amct_cell_raw("-", "null");
  const char *grid = layer->grid == AMCT_PER_CHANNEL ? "per_channel" : "per_tensor";
  const amct_cell row[] = {
      amct_cell_text(layer->node->name), amct_cell_text(layer->node->op),
      has_weights ? amct_cell_text(grid) : none,
      layer->channels >= 0 && has_weights ? amct_cell_number(&in->report, layer->channels)
                                          : none};
  amct_table_row(&in->report, table, row);
}

static void report_layers(inspection *in) {
  amct_table quantized = {
      "layers", "quantized layers", {"name", "op", "granularity", "channels"}, 4, false};
  amct_table floats = {
      "float_layers", "float layers", {"name", "op", "reason"}, 3, false};
  for (size_t i = 0; i < in->study.layers.count; i++) {
    const amct_layer *layer = &in->study.layers.at[i];
    if (!layer->reason) {
      add_layer(in, &quantized, layer);
      continue;
    }
    const amct_cell row[] = {amct_cell_text(layer->node->name),
                             amct_cell_text(layer->node->op),
                             amct_cell_text(layer->reason)};
    amct_table_row(&in->report, &floats, row);
    in->left++;
  }
  amct_report_table(&in->report, &quantized);
  amct_report_table(&in->report, &floats);
}

/* Ops whose input tensors tensor_quantize may name. */
static void report_tensors(inspection *in, bool is_quantized) {
  amct_table table = {"tensors",
                      "ops with input tensors to quantize",
                      {"name", "op", "inputs"},
                      3,
                      false};
  char text[AMCT_REASON_BYTES];
  for (size_t i = 0; i < amct_graph_count(in->study.graph) && !is_quantized; i++) {
    const amct_node *node = amct_graph_at(in->study.graph, i);
    if (amct_tensor_refusal(node, 0, text)) continue;
    const amct_cell row[] = {amct_cell_text(node->name), amct_cell_text(node->op),
                             amct_cell_number(&in->report, node->data_count)};
    amct_table_row(&in->report, &table, row);
  }
  amct_report_table(&in->report, &table);
}

/* What the graph is goes before what the plan makes of it. */
static amct_status inspect(inspection *in, const amct_source *source,
                           amct_strings outputs, amct_error *err) {
  const amct_plan_options options = {
      .outputs = outputs.at, .output_count = outputs.count, .do_fusion = true};
  AMCT_TRY(amct_study_load(&in->study, source, outputs, err));
  AMCT_TRY(amct_shapes_infer(&in->shapes, in->study.graph, err));
  AMCT_TRY(report_model(in, amct_graph_bytes(in->study.graph), err));
  const bool is_quantized = report_quantized(in);
  report_inputs(in);
  report_outputs(in, outputs);
  AMCT_TRY(report_ops(in, err));
  if (!is_quantized) AMCT_TRY(amct_study_plan(&in->study, &options, err));
  report_fusions(in);
  report_layers(in);
  report_tensors(in, is_quantized);
  return AMCT_OK;
}

amct_status amct_inspect_model(char **report, size_t *left, const amct_source *source,
                               amct_strings outputs, amct_report_form form,
                               amct_error *err) {
  inspection in = {.report = {.form = form}};
  *report = NULL;
  amct_status status = inspect(&in, source, outputs, err);
  if (status == AMCT_OK)
    status = amct_report_finish(&in.report, report, err);
  else
    amct_report_free(&in.report);
  if (status == AMCT_OK && left) *left = in.left;
  amct_shapes_free(in.shapes);
  amct_study_free(&in.study);
  return status;
}

amct_status amct_list_passes(char **report, bool with_patterns, amct_error *err) {
  amct_report r = {.form = AMCT_REPORT_TEXT};
  const amct_rule *rule;
  const char *summary;
  *report = NULL;
  for (size_t i = 0; (rule = amct_rule_at(i, &summary)) != NULL; i++) {
    amct_buffer_format(&r.text, "%-22s %s\n", rule->name, summary);
    if (with_patterns)
      amct_buffer_format(&r.text, "    before  %s\n    after   %s\n", rule->before,
                         rule->after);
  }
  return amct_report_finish(&r, report, err);
}
