/* SPDX-License-Identifier: Apache-2.0 */
/* What a layer reads becomes int8: AscendQuant, and AscendAntiQuant back from it. */
#include "insert/deploy_private.h"

/* An AscendQuant, found again by the tensor and the factors. */
typedef struct quantized {
  amct_edge data;
  float scale;
  int32_t offset;
  const char *tensor; /* its output */
  const char *real;   /* the AscendAntiQuant behind it; NULL: none */
  struct quantized *next;
} quantized;

/* ---- back to real units at once ---- */

/* The AscendAntiQuant of a quantized tensor, named after `layer`; made where there is
 * none yet. */
static amct_status find_real(amct_deployer *d, const char *layer, quantized *q,
                             amct_node *reader, amct_error *err) {
  if (q->real) return AMCT_OK;
  const char *scope =
      amct_scopes_take(&d->scopes, layer, "anti_quant", "AscendAntiQuant");
  q->real = scope ? amct_deploy_join(d, scope, "AscendAntiQuant") : NULL;
  if (!q->real) return amct_fail_memory(err);
  amct_spec *spec = amct_edits_add(d->edits, q->real, "AscendAntiQuant", reader, true);
  amct_spec_input(spec, q->tensor);
  amct_spec_type(spec, "T", AMCT_DTYPE_FLOAT);
  amct_spec_float(spec, "scale", q->scale);
  amct_spec_float(spec, "offset", -(float)q->offset);
  return AMCT_OK;
}

static bool is_pool_of(const amct_use *use, amct_edge data) {
  return use->input < use->node->data_count && strcmp(use->node->op, "MaxPool") == 0 &&
         amct_edge_equal(use->node->inputs[use->input], data);
}

/* A MaxPool that reads the tensor too, without factors of its own, is fed from the int8
 * values. */
static amct_status feed_pools(amct_deployer *d, const char *layer, quantized *q,
                              amct_error *err) {
  for (uint32_t i = 0; i < q->data.node->use_count; i++) {
    const amct_use *use = &q->data.node->uses[i];
    if (!is_pool_of(use, q->data) || amct_map_get(&d->own_tensors, use->node)) continue;
    AMCT_TRY(find_real(d, layer, q, use->node, err));
    amct_edits_set_input(d->edits, use->node, use->input, q->real);
  }
  return AMCT_OK;
}

/* ---- data ---- */

typedef struct grid {
  float scale;
  int32_t offset;
} grid;

/* First AscendQuant of a tensor, or the one on that grid. */
static quantized *find_quantized(const amct_deployer *d, amct_edge data, const grid *on) {
  quantized *q = amct_map_get(&d->by_node, data.node);
  while (q && !(amct_edge_equal(q->data, data) &&
                (!on || (q->scale == on->scale && q->offset == on->offset))))
    q = q->next;
  return q;
}

static amct_status keep_quantized(amct_deployer *d, quantized *q, amct_error *err) {
  quantized *last = amct_map_get(&d->by_node, q->data.node);
  if (!last) return amct_map_set(&d->by_node, q->data.node, q, err);
  while (last->next)
    last = last->next;
  last->next = q;
  return AMCT_OK;
}

/* An input to be quantized, of a layer of that name or an op. */
typedef struct reading {
  const char *name;
  amct_node *node;
  uint32_t input;
  grid on;
} reading;

/* The AscendQuant of what is read, named after the reader; made where there is none on
 * that grid yet. `*is_first`: it was made, and is the first of its tensor. */
static amct_status quantize(amct_deployer *d, quantized **out, const reading *r,
                            bool *is_first, amct_error *err) {
  const amct_edge data = r->node->inputs[r->input]; /* a dequantization may stand there */
  *is_first = false;
  *out = find_quantized(d, data, &r->on);
  if (*out) return AMCT_OK;

  *is_first = find_quantized(d, data, NULL) == NULL;
  const char *scope = amct_scopes_take(&d->scopes, r->name, "act_quant", "AscendQuant");
  const char *name = scope ? amct_deploy_join(d, scope, "AscendQuant") : NULL;
  quantized *q = amct_arena_alloc(d->arena, sizeof *q);
  if (!name || !q) return amct_fail_memory(err);
  *q = (quantized){data, r->on.scale, r->on.offset, name, NULL, NULL};
  AMCT_TRY(keep_quantized(d, q, err));

  amct_spec *spec = amct_edits_add(d->edits, name, "AscendQuant", r->node, true);
  amct_spec_input(spec, amct_edge_text(data));
  amct_spec_type(spec, "T", AMCT_DTYPE_FLOAT);
  amct_spec_int(spec, "quant_bits", 8);
  amct_spec_float(spec, "scale", 1.0f / q->scale);
  amct_spec_float(spec, "offset", (float)q->offset);
  *out = q;
  return AMCT_OK;
}

static amct_status quantize_data(amct_deployer *d, const reading *r, amct_error *err) {
  quantized *q = NULL;
  bool is_first = false;
  AMCT_TRY(quantize(d, &q, r, &is_first, err));
  amct_edits_set_input(d->edits, r->node, r->input, q->tensor);
  return is_first ? feed_pools(d, r->name, q, err) : AMCT_OK;
}

amct_status amct_deploy_data(amct_deployer *d, const amct_job *j, amct_error *err) {
  const amct_layer *layer = j->layer;
  const amct_factors *f = j->factors;
  reading r = {j->name, layer->node, layer->input, {f->scale_d, f->offset_d}};
  AMCT_TRY(quantize_data(d, &r, err));
  if (!layer->second.node) return AMCT_OK;
  r.input = (uint32_t)layer->op->weight;
  r.on = (grid){f->scale_w[0], 0};
  return quantize_data(d, &r, err);
}

amct_status amct_deploy_tensor(amct_deployer *d, const amct_tensor_job *t,
                               amct_error *err) {
  const reading r = {
      t->node->name, t->node, t->input, {t->factors->scale_d, t->factors->offset_d}};
  quantized *q = NULL;
  bool is_first = false;
  AMCT_TRY(quantize(d, &q, &r, &is_first, err));
  AMCT_TRY(find_real(d, r.name, q, t->node, err));
  amct_edits_set_input(d->edits, t->node, t->input, q->real);
  return AMCT_OK;
}
