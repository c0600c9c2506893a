/* SPDX-License-Identifier: Apache-2.0 */
#include "op/layers.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/vec.h"
#include "op/constraints.h"
#include "op/order.h"
#include "op/parameters.h"
#include "wire/graphdef.h"
#include "wire/proto.h"

typedef struct finder {
  amct_graph *graph;
  amct_shapes *shapes;
  amct_map loops;   /* nodes inside while loops */
  amct_map outputs; /* nodes that must keep their value */
  AMCT_VEC(amct_layer) found;
} finder;

static amct_edge data_input(const amct_node *node, int index) {
  if (index < 0 || (uint32_t)index >= node->data_count) return (amct_edge){NULL, 0};
  return node->inputs[index];
}

/* ---- weights ---- */

/* False: `text` says what is wrong with the weight. */
static bool weight_fits(const amct_layer *layer, char *text) {
  const char *name = layer->weight_node->name;
  int32_t rank = layer->weight_shape.rank;
  amct_dtype dtype = amct_weight_dtype(layer->weight);
  amct_channels c;

  if (dtype != AMCT_DTYPE_FLOAT) {
    snprintf(text, AMCT_REASON_BYTES, "weight \"%.200s\" is %s, not FLOAT", name,
             amct_dtype_name(dtype));
    return false;
  }
  if (!amct_shape_is_whole(&layer->weight_shape)) {
    snprintf(text, AMCT_REASON_BYTES, "shape of weight \"%.200s\" is not known", name);
    return false;
  }
  if (rank != layer->op->weight_rank) {
    snprintf(text, AMCT_REASON_BYTES, "weight \"%.200s\" has rank %d instead of %d", name,
             (int)rank, (int)layer->op->weight_rank);
    return false;
  }
  c = amct_op_channels(layer->op, &layer->weight_shape);
  if (amct_dim_mul(amct_dim_mul(c.outer, c.channels), c.inner) > 0) return true;
  snprintf(text, AMCT_REASON_BYTES, "weight \"%.200s\" has no elements", name);
  return false;
}

/* Fills what there is to know; `text` stays empty if the weight can be quantized. */
static amct_status find_weight(amct_layer *layer, char *text, amct_error *err) {
  bool is_const;

  if (layer->op->weight == AMCT_NO_INPUT) return AMCT_OK;
  layer->weight = data_input(layer->node, layer->op->weight);
  if (!layer->weight.node) {
    snprintf(text, AMCT_REASON_BYTES, "has %u inputs", layer->node->data_count);
    return AMCT_OK;
  }
  layer->weight_node = amct_weight_source(layer->weight, &is_const);
  if (!layer->weight_node && layer->op->may_vary) {
    layer->second = layer->weight;
    layer->weight = (amct_edge){NULL, 0};
    return AMCT_OK;
  }
  if (!layer->weight_node) {
    snprintf(text, AMCT_REASON_BYTES,
             "weight is computed by %.40s \"%.200s\", not a constant or variable",
             layer->weight.node->op, layer->weight.node->name);
    return AMCT_OK;
  }
  AMCT_TRY(amct_weight_shape(layer->weight, &layer->weight_shape, err));
  layer->channels = amct_op_channels(layer->op, &layer->weight_shape).channels;
  (void)weight_fits(layer, text);
  return AMCT_OK;
}

/* ---- bias ---- */

static bool bias_counts(const amct_layer *layer, const amct_node *source,
                        const amct_shape *shape) {
  if (amct_param_dtype(source) != AMCT_DTYPE_FLOAT) return false;
  if (shape->rank < 0 || shape->dims[0] < 0 || layer->channels < 0) return true;
  return shape->rank == 1 && shape->dims[0] == layer->channels;
}

/* The BiasAdd behind the layer, if adding it to the integers before dequantizing changes
 * nothing else. */
static amct_status find_bias(const finder *f, amct_layer *layer, amct_error *err) {
  amct_node *node = layer->node, *add = NULL, *source;
  amct_shape shape;
  bool is_const;

  if (!layer->weight.node || amct_map_get(&f->outputs, node)) return AMCT_OK;
  for (uint32_t i = 0; i < node->use_count; i++) {
    amct_use use = node->uses[i];
    if (use.input >= use.node->data_count) continue; /* control */
    if (add || use.input != 0) return AMCT_OK;       /* another reader */
    add = use.node;
  }
  if (!add || strcmp(add->op, "BiasAdd") != 0 || add->data_count < 2) return AMCT_OK;
  if (amct_node_format(add) != amct_node_format(node)) return AMCT_OK;
  source = amct_vector_source(add->inputs[1], &is_const);
  if (!source) return AMCT_OK;
  AMCT_TRY(amct_param_shape(source, &shape, err));
  if (bias_counts(layer, source, &shape)) layer->bias = add;
  return AMCT_OK;
}

/* ---- granularity ---- */

/* An axis where the (dilated) filter covers the input and comes to rest once. */
static bool covers(const amct_shape *in, const amct_shape *out, int32_t axis,
                   int64_t kernel, int64_t dilation) {
  int64_t extent = amct_dim_add(amct_dim_mul(kernel - 1, dilation), 1);
  return in->dims[axis] >= 0 && out->dims[axis] == 1 && extent >= in->dims[axis];
}

/* A convolution over the whole plane is a fully connected layer: one scale (numbers.md
 * 4). */
static bool is_fully_connected(const finder *f, const amct_layer *layer) {
  amct_shape in = amct_shapes_of(f->shapes, layer->data);
  amct_shape out = amct_shapes_of(f->shapes, (amct_edge){layer->node, 0});
  const amct_shape *w = &layer->weight_shape;
  int32_t image = layer->channels_first ? 2 : 1;
  amct_ints d;

  if (strcmp(layer->node->op, "Conv2D") != 0) return false;
  if (in.rank != 4 || out.rank != 4 || w->rank != 4) return false;
  if (!amct_attr_ints(layer->node, "dilations", &d) || d.count != 4)
    d = (amct_ints){4, {1, 1, 1, 1}};
  return covers(&in, &out, image, w->dims[0], d.at[image]) &&
         covers(&in, &out, image + 1, w->dims[1], d.at[image + 1]);
}

/* ---- layers ---- */

static amct_status describe(const finder *f, amct_layer *layer, amct_error *err) {
  char weight[AMCT_REASON_BYTES] = "", text[AMCT_REASON_BYTES] = "";
  amct_node *node = layer->node;

  layer->data = data_input(node, layer->op->data);
  layer->input = (uint32_t)layer->op->data;
  layer->weight_shape.rank = -1;
  layer->channels = -1;
  layer->grid = layer->op->grid;
  layer->looped = amct_map_get(&f->loops, node) != NULL;
  layer->channels_first = amct_node_format(node) == AMCT_NCHW;
  AMCT_TRY(find_weight(layer, weight, err));
  AMCT_TRY(find_bias(f, layer, err));
  layer->output = layer->bias ? layer->bias : node;
  if (is_fully_connected(f, layer)) layer->grid = AMCT_PER_TENSOR;

  if (!layer->data.node)
    snprintf(text, sizeof text, "has no data input");
  else if (!amct_constraint_broken(node, layer->second.node != NULL, text))
    memcpy(text, weight, sizeof text);
  if (!text[0]) return AMCT_OK;
  layer->reason = amct_arena_text(amct_graph_arena(f->graph), text, strlen(text));
  return layer->reason ? AMCT_OK : amct_fail_memory(err);
}

static amct_status find_all(finder *f, amct_error *err) {
  for (size_t i = 0; i < amct_graph_count(f->graph); i++) {
    amct_node *node = amct_graph_at(f->graph, i);
    const amct_op *op = amct_op_find(node->op);
    amct_layer layer = {.node = node, .op = op};
    if (!op || op->data == AMCT_NO_INPUT) continue;
    AMCT_TRY(describe(f, &layer, err));
    if (!AMCT_VEC_PUSH(&f->found, layer)) return amct_fail_memory(err);
  }
  return AMCT_OK;
}

static amct_status find_outputs(finder *f, const char *const *outputs, size_t count,
                                amct_error *err) {
  for (size_t i = 0; i < count; i++) {
    amct_node *node = amct_graph_find(f->graph, outputs[i]);
    if (node) AMCT_TRY(amct_map_set(&f->outputs, node, node, err));
  }
  return AMCT_OK;
}

amct_status amct_layers_find(amct_layers *layers, amct_graph *graph,
                             const char *const *outputs, size_t output_count,
                             amct_error *err) {
  finder f = {.graph = graph};
  amct_status status;

  *layers = (amct_layers){0};
  if ((status = find_outputs(&f, outputs, output_count, err)) != AMCT_OK) goto done;
  if ((status = amct_frames_find(&f.loops, graph, err)) != AMCT_OK) goto done;
  if ((status = amct_shapes_infer(&f.shapes, graph, err)) != AMCT_OK) goto done;
  if ((status = find_all(&f, err)) != AMCT_OK) goto done;
  layers->at = f.found.at;
  layers->count = f.found.count;
  f.found.at = NULL; /* moved to the caller */
done:
  AMCT_VEC_FREE(&f.found);
  amct_shapes_free(f.shapes);
  amct_map_free(&f.loops);
  amct_map_free(&f.outputs);
  return status;
}

/* Whether a NodeDef is of an op that has weights. */
static bool has_weights(amct_slice nodedef) {
  amct_cursor cursor = amct_cursor_of(nodedef, nodedef.data);
  amct_field field;
  bool more = true;
  while (amct_cursor_next(&cursor, &field, &more, NULL) == AMCT_OK && more) {
    if (field.number != NODE_OP || field.wire != AMCT_WIRE_BYTES) continue;
    for (size_t i = 0; i < amct_op_layer_count(); i++) {
      const amct_op *op = amct_op_layer_at(i);
      if (op->weight != AMCT_NO_INPUT &&
          amct_slice_equal(field.bytes, amct_slice_of(op->op)))
        return true;
    }
  }
  return false;
}

size_t amct_layers_hidden(const amct_graph *graph) {
  size_t found = 0;
  for (size_t i = 0; i < amct_graph_function_count(graph); i++) {
    const amct_slice function = amct_graph_function_bytes(graph, i);
    amct_cursor cursor = amct_cursor_of(function, function.data);
    amct_field field;
    bool more = true;
    while (amct_cursor_next(&cursor, &field, &more, NULL) == AMCT_OK && more)
      found += field.number == FUNCTION_NODE && field.wire == AMCT_WIRE_BYTES &&
               has_weights(field.bytes);
  }
  return found;
}

void amct_layers_free(amct_layers *layers) {
  amct_free(layers->at);
  *layers = (amct_layers){0};
}

void amct_layer_window(const amct_layer *layer, int64_t window[2]) {
  amct_ints ksize;
  window[0] = window[1] = 1;
  if (layer->op->weight != AMCT_NO_INPUT ||
      !amct_attr_ints(layer->node, "ksize", &ksize) || ksize.count != 4)
    return;
  window[0] = ksize.at[layer->channels_first ? 2 : 1];
  window[1] = ksize.at[layer->channels_first ? 3 : 2];
}

amct_layer *amct_layers_get(const amct_layers *layers, const char *name) {
  for (size_t i = 0; i < layers->count; i++)
    if (strcmp(layers->at[i].node->name, name) == 0) return &layers->at[i];
  return NULL;
}

const amct_node *amct_layers_quantized(const amct_graph *graph) {
  static const char *const k_ops[] = {
      "QuantIfmr",     "QuantArq",        "SearchN",           "AscendQuant",
      "AscendDequant", "AscendAntiQuant", "AscendWeightQuant", "Ulq",
      "ArqRetrain",    "RetrainFactors",  "RetrainRecord",     "RetrainOutput",
  };
  for (size_t i = 0; i < amct_graph_count(graph); i++) {
    const amct_node *node = amct_graph_at(graph, i);
    for (size_t k = 0; k < sizeof k_ops / sizeof k_ops[0]; k++)
      if (strcmp(node->op, k_ops[k]) == 0) return node;
  }
  return NULL;
}
