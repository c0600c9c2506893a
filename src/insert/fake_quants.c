/* SPDX-License-Identifier: Apache-2.0 */
#include "insert/fake_quants.h"

#include "base/logging.h"
#include "insert/scopes.h"
#include "rewrite/match.h"

enum { HOPS_MAX = 32, BITS = 8, INT8_ZERO = 128 };

/* ---- ranges ---- */

/* Behind these every value is a value from before, or zero, and larger ones stay larger:
 * quantizing before or behind them is the same. */
static bool keeps_grid(const amct_node *node) {
  return node->data_count > 0 &&
         amct_ops_have("Identity|StopGradient|Reshape|Squeeze|ExpandDims|Transpose|"
                       "MaxPool|Relu|Pad|Snapshot|SpaceToBatchND|BatchToSpaceND|"
                       "DepthToSpace|SpaceToDepth",
                       node->op);
}

static amct_fake *fake_of(const amct_fakes *fakes, const amct_node *node) {
  return amct_map_get(&fakes->by_node, node);
}

/* The fake quantization that the data of a layer comes from. */
static const amct_fake *find_data(const amct_fakes *fakes, amct_edge edge) {
  for (int hop = 0; hop < HOPS_MAX && edge.node && edge.port == 0; hop++) {
    const amct_fake *fake = fake_of(fakes, edge.node);
    if (fake || !keeps_grid(edge.node)) return fake;
    edge = edge.node->inputs[0];
  }
  return NULL;
}

/* The one right before the weights of a layer. */
static amct_fake *find_weight(const amct_fakes *fakes, amct_edge edge) {
  bool shaped = false;
  for (int hop = 0; hop < HOPS_MAX && edge.node && edge.port == 0; hop++) {
    amct_fake *fake = fake_of(fakes, edge.node);
    if (fake) fake->shaped = fake->shaped || shaped;
    if (fake) return fake;
    const char *op = edge.node->op;
    const bool shapes = amct_ops_have("Reshape|Squeeze|ExpandDims|Transpose", op);
    if (edge.node->data_count == 0 ||
        (!shapes && !amct_ops_have("Identity|StopGradient|Enter", op)))
      return NULL;
    shaped = shaped || shapes;
    edge = edge.node->inputs[0];
  }
  return NULL;
}

static amct_status read_fakes(amct_fakes *fakes, amct_error *err) {
  amct_arena *arena = amct_graph_arena(fakes->graph);
  for (size_t i = 0; i < amct_graph_count(fakes->graph); i++) {
    amct_node *node = amct_graph_at(fakes->graph, i);
    if (!amct_is_fake_quant(node) || node->data_count == 0) continue;
    amct_fake *fake = amct_arena_alloc(arena, sizeof *fake);
    if (!fake || !AMCT_VEC_PUSH(&fakes->all, fake)) return amct_fail_memory(err);
    fake->node = node;
    AMCT_TRY(amct_fake_read(&fake->grids, &fake->reason, node, arena, err));
    if (!fake->reason && fake->grids.bits != BITS)
      fake->reason = amct_arena_format(arena, "\"%.200s\" has %lld bits, not 8",
                                       node->name, (long long)fake->grids.bits);
    AMCT_TRY(amct_map_set(&fakes->by_node, node, fake, err));
  }
  return AMCT_OK;
}

amct_status amct_fakes_find(amct_fakes *fakes, amct_error *err) {
  AMCT_TRY(read_fakes(fakes, err));
  for (size_t i = 0; i < amct_graph_count(fakes->graph); i++) {
    amct_node *node = amct_graph_at(fakes->graph, i);
    const amct_op *op = amct_op_find(node->op);
    if (!op || op->weight < 0 || (uint32_t)op->weight >= node->data_count) continue;
    amct_fake *fake = find_weight(fakes, node->inputs[op->weight]);
    if (fake) AMCT_TRY(amct_map_set(&fakes->by_layer, node, fake, err));
  }
  return AMCT_OK;
}

/* ---- which layers ---- */

/* Why the grids of the weights are none of the layer's; NULL: they are. */
static const char *refuse_weight(const amct_layer *layer, const amct_fake *fake,
                                 amct_arena *arena) {
  const int32_t last = layer->op->weight_rank - 1;
  const size_t count = fake->grids.count;
  if (fake->reason) return fake->reason;
  if (count == 1) return NULL;
  if (layer->op->grid == AMCT_PER_TENSOR)
    return amct_arena_format(arena,
                             "\"%.200s\" has %zu ranges: %s takes one for all weights",
                             fake->node->name, count, layer->op->op);
  if (fake->shaped)
    return amct_arena_format(
        arena, "\"%.200s\" has a range for each channel, and its weights are reshaped",
        fake->node->name);
  if (!(layer->op->channel_axes >> last & 1U) ||
      layer->weight_shape.dims[last] != (int64_t)count)
    return amct_arena_format(
        arena, "\"%.200s\" has %zu ranges, which are not of the output channels of %s",
        fake->node->name, count, layer->op->op);
  return NULL;
}

/* Why a layer stays float; NULL: its factors are known. */
static const char *refuse(const amct_layer *layer, const amct_fake *data,
                          const amct_fake *weight, amct_arena *arena) {
  if (layer->reason) return layer->reason;
  if (!data) return "its data is not fake-quantized";
  if (data->reason) return data->reason;
  if (data->grids.count > 1)
    return amct_arena_format(arena, "\"%.200s\" has %zu ranges for data",
                             data->node->name, data->grids.count);
  if (!layer->weight.node) return NULL;
  if (!weight) return "its weights are not fake-quantized";
  return refuse_weight(layer, weight, arena);
}

static amct_status choose(amct_fakes *fakes, const amct_layers *layers, amct_error *err) {
  for (size_t i = 0; i < layers->count; i++) {
    const amct_layer *layer = &layers->at[i];
    const amct_fake *data = find_data(fakes, layer->data);
    const amct_fake *weight = amct_map_get(&fakes->by_layer, layer->node);
    const char *reason = refuse(layer, data, weight, amct_graph_arena(fakes->graph));
    if (reason) {
      if (!fakes->reason) fakes->reason = reason;
      amct_log(AMCT_LOG_WARNING, fakes->module, "layer \"%s\" stays float: %s",
               layer->node->name, reason);
      continue;
    }
    const amct_fake_layer chosen = {layer->node->name, layer->op, layer->node, data,
                                    weight};
    if (!AMCT_VEC_PUSH(&fakes->layers, chosen)) return amct_fail_memory(err);
    AMCT_TRY(amct_map_set(&fakes->accepted, layer->node, layer->node, err));
  }
  return AMCT_OK;
}

/* ---- out with them ---- */

/* Where a chosen layer reads the data that it quantizes. */
static bool is_data_of_chosen(const amct_fakes *fakes, const amct_use *use) {
  return amct_map_get(&fakes->accepted, use->node) &&
         use->input == (uint32_t)amct_op_find(use->node->op)->data;
}

/* True if the values of a node reach chosen layers only, on the same grid. */
static bool reaches_chosen_only(const amct_fakes *fakes, const amct_map *outputs,
                                const amct_node *node, int hops) {
  if (hops == 0 || amct_map_get(outputs, node)) return false;
  for (uint32_t i = 0; i < node->use_count; i++) {
    const amct_use *use = &node->uses[i];
    if (use->input >= use->node->data_count || amct_reads_shape(use)) continue;
    if (is_data_of_chosen(fakes, use)) continue;
    if (use->input != 0 || !keeps_grid(use->node) ||
        !reaches_chosen_only(fakes, outputs, use->node, hops - 1))
      return false;
  }
  return node->use_count > 0;
}

static void take_out(const amct_fakes *fakes, const amct_map *outputs, amct_edits *edits,
                     amct_node *node) {
  const char *source = amct_edge_text(node->inputs[0]);
  if (reaches_chosen_only(fakes, outputs, node, HOPS_MAX)) {
    amct_edits_rewire(edits, (amct_edge){node, 0}, source, NULL, 0);
    amct_edits_detach(edits, node);
    return;
  }
  for (uint32_t i = 0; i < node->use_count; i++)
    if (is_data_of_chosen(fakes, &node->uses[i]))
      amct_edits_set_input(edits, node->uses[i].node, node->uses[i].input, source);
}

static amct_status take_all_out(const amct_fakes *fakes, const amct_map *outputs,
                                amct_error *err) {
  amct_edits *edits = amct_edits_new(fakes->graph);
  if (!edits) return amct_fail_memory(err);
  for (size_t i = 0; i < fakes->all.count; i++) {
    const amct_fake *fake = fakes->all.at[i];
    if (amct_is_fake_quant(fake->node) && !fake->reason && fake->grids.count == 1)
      take_out(fakes, outputs, edits, fake->node);
  }
  const amct_status status = amct_edits_apply(edits, err);
  amct_edits_free(edits);
  return status;
}

amct_status amct_fakes_take_out(amct_fakes *fakes, const amct_layers *layers,
                                const char *const *outputs, size_t output_count,
                                amct_error *err) {
  amct_map kept = {0};
  amct_status status = choose(fakes, layers, err);
  for (size_t i = 0; i < output_count && status == AMCT_OK; i++) {
    amct_node *node = amct_graph_find(fakes->graph, outputs[i]);
    if (node) status = amct_map_set(&kept, node, node, err);
  }
  if (status == AMCT_OK) status = take_all_out(fakes, &kept, err);
  amct_map_free(&kept);
  if (status == AMCT_OK)
    status = amct_graph_sweep(fakes->graph, outputs, output_count, err);
  return status;
}

/* ---- what is left ---- */

/* An AscendQuant of the tensor with these factors; NULL: there is none. */
static const char *find_quantized(amct_edge data, float scale, float offset) {
  for (uint32_t i = 0; i < data.node->use_count; i++) {
    const amct_use *use = &data.node->uses[i];
    float s = 0, o = 0;
    if (strcmp(use->node->op, "AscendQuant") == 0 && use->input == 0 &&
        amct_edge_equal(use->node->inputs[0], data) &&
        amct_attr_float(use->node, "scale", &s) &&
        amct_attr_float(use->node, "offset", &o) && s == scale && o == offset)
      return use->node->name;
  }
  return NULL;
}

static const char *add_quantized(amct_scopes *scopes, amct_node *node, float scale,
                                 float offset) {
  const char *scope = amct_scopes_take(scopes, node->name, "act_quant", "AscendQuant");
  const char *name =
      scope ? amct_arena_format(amct_graph_arena(node->graph), "%s/AscendQuant", scope)
            : NULL;
  if (!name) return NULL;
  amct_spec *spec = amct_edits_add(scopes->edits, name, "AscendQuant", node, true);
  amct_spec_input(spec, amct_edge_text(node->inputs[0]));
  amct_spec_type(spec, "T", AMCT_DTYPE_FLOAT);
  amct_spec_int(spec, "quant_bits", BITS);
  amct_spec_float(spec, "scale", scale);
  amct_spec_float(spec, "offset", offset);
  return name;
}

static amct_status replace(amct_scopes *scopes, const amct_fake *fake, amct_error *err) {
  const amct_nudged *grid = fake->grids.at;
  const float scale = 1.0f / grid->scale, offset = (float)(grid->zero - INT8_ZERO);
  const char *quantized = find_quantized(fake->node->inputs[0], scale, offset);
  if (!quantized) quantized = add_quantized(scopes, fake->node, scale, offset);
  if (!quantized) return amct_fail_memory(err);
  amct_spec *spec = amct_edits_replace(scopes->edits, fake->node, "AscendAntiQuant");
  amct_spec_input(spec, quantized);
  amct_spec_type(spec, "T", AMCT_DTYPE_FLOAT);
  amct_spec_float(spec, "scale", grid->scale);
  amct_spec_float(spec, "offset", -offset);
  return AMCT_OK;
}

amct_status amct_fakes_replace(const amct_fakes *fakes, amct_error *err) {
  amct_edits *edits = amct_edits_new(fakes->graph);
  amct_scopes scopes = amct_scopes_of(fakes->graph, edits);
  amct_status status = edits ? AMCT_OK : amct_fail_memory(err);
  for (size_t i = 0; i < fakes->all.count && status == AMCT_OK; i++) {
    const amct_fake *fake = fakes->all.at[i];
    if (fake->node->removed || !amct_is_fake_quant(fake->node)) continue;
    if (!fake->reason && fake->grids.count == 1)
      status = replace(&scopes, fake, err);
    else
      amct_log(AMCT_LOG_WARNING, fakes->module, "%s stays: %s", fake->node->name,
               fake->reason ? fake->reason : "it has a range for each channel");
  }
  if (status == AMCT_OK) status = amct_edits_apply(edits, err);
  amct_scopes_free(&scopes);
  amct_edits_free(edits);
  return status;
}

void amct_fakes_free(amct_fakes *fakes) {
  AMCT_VEC_FREE(&fakes->all);
  AMCT_VEC_FREE(&fakes->layers);
  amct_map_free(&fakes->by_node);
  amct_map_free(&fakes->by_layer);
  amct_map_free(&fakes->accepted);
}
