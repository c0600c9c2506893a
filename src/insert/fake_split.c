/* SPDX-License-Identifier: Apache-2.0 */
/* A layer whose weights int8 does not hold becomes the sum of two that it holds. */
#include "base/alloc.h"
#include "base/logging.h"
#include "insert/fake_quants.h"
#include "rewrite/fold_values.h"

typedef struct splitter {
  amct_fakes *fakes;
  amct_edits *edits;
  amct_arena scratch; /* of one layer */
} splitter;

/* The weights that a layer reads without anything between: values, in halves. */
typedef struct halves {
  float *held, *rest;
  size_t bytes;
  amct_shape shape;
} halves;

/* `*split`: the halves are to be used. */
static amct_status find_halves(halves *h, bool *split, splitter *s,
                               const amct_fake_layer *of, amct_error *err) {
  const float *weights;
  amct_weight_layout l;
  const amct_node *constant = of->weight ? of->node->inputs[of->op->weight].node : NULL;
  *split = false;
  if (!constant || strcmp(constant->op, "Const") != 0 || constant->input_count > 0)
    return AMCT_OK;
  AMCT_TRY(amct_weight_read(of->node, &s->scratch, &weights, &l, &h->shape, err));
  const size_t count = l.outer * l.channels * l.inner;
  h->bytes = count * sizeof *weights;
  h->held = amct_arena_array(&s->scratch, count + 1, sizeof *h->held);
  h->rest = amct_arena_array(&s->scratch, count + 1, sizeof *h->rest);
  if (!h->held || !h->rest) return amct_fail_memory(err);
  const amct_nudged_weights trained = {.weights = weights,
                                       .layout = l,
                                       .grids = of->weight->grids.at,
                                       .grid_count = of->weight->grids.count};
  *split = amct_nudged_split(h->held, h->rest, &trained);
  return AMCT_OK;
}

/* The layer with other weights, under a name of its own; NULL: no memory. */
static const char *add_part(const splitter *s, const amct_fake_layer *of,
                            const char *suffix, const halves *h, const float *values) {
  amct_arena *arena = amct_graph_arena(s->fakes->graph);
  const char *wanted = amct_arena_format(arena, "%s/%s", of->name, suffix);
  const char *name = wanted ? amct_edits_free_name(s->edits, wanted) : NULL;
  const char *inner = name ? amct_arena_format(arena, "%s/weights", name) : NULL;
  const char *weights = inner ? amct_edits_free_name(s->edits, inner) : NULL;
  if (!weights) return NULL;
  amct_spec_tensor(amct_edits_add(s->edits, weights, "Const", of->node, true),
                   AMCT_DTYPE_FLOAT, &h->shape, values, h->bytes);
  amct_spec *spec = amct_edits_add(s->edits, name, of->node->op, of->node, true);
  for (uint32_t i = 0; i < of->node->input_count; i++)
    amct_spec_input(spec, i == (uint32_t)of->op->weight
                              ? weights
                              : amct_edge_text(of->node->inputs[i]));
  amct_spec_copy_fields(spec, of->node);
  amct_spec_device(spec, of->node->device);
  return name;
}

static amct_status split_layer(splitter *s, size_t index, amct_error *err) {
  amct_fake_layer of = s->fakes->layers.at[index];
  halves h;
  bool split = false;
  AMCT_TRY(find_halves(&h, &split, s, &of, err));
  if (!split) return AMCT_OK;
  const char *held = add_part(s, &of, "held", &h, h.held);
  const char *rest = add_part(s, &of, "rest", &h, h.rest);
  if (!held || !rest) return amct_fail_memory(err);
  amct_spec *sum = amct_edits_replace(s->edits, of.node, "AddV2");
  amct_spec_input(sum, held);
  amct_spec_input(sum, rest);
  amct_spec_type(sum, "T", AMCT_DTYPE_FLOAT);
  amct_log(AMCT_LOG_INFO, s->fakes->module,
           "layer \"%s\" becomes the sum of \"%s\" and \"%s\": some of its weights lie "
           "farther from zero than int8 reaches",
           of.name, held, rest);
  s->fakes->layers.at[index].name = held;
  of.name = rest;
  return AMCT_VEC_PUSH(&s->fakes->layers, of) ? AMCT_OK : amct_fail_memory(err);
}

amct_status amct_fakes_split(amct_fakes *fakes, amct_error *err) {
  splitter s = {.fakes = fakes, .edits = amct_edits_new(fakes->graph)};
  const size_t count = fakes->layers.count;
  amct_status status = s.edits ? AMCT_OK : amct_fail_memory(err);
  for (size_t i = 0; i < count && status == AMCT_OK; i++) {
    status = split_layer(&s, i, err);
    amct_arena_free(&s.scratch);
  }
  if (status == AMCT_OK) status = amct_edits_apply(s.edits, err);
  amct_edits_free(s.edits);
  for (size_t i = 0; i < fakes->layers.count && status == AMCT_OK; i++)
    fakes->layers.at[i].node = amct_graph_find(fakes->graph, fakes->layers.at[i].name);
  return status;
}
