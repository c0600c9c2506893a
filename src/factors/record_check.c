/* SPDX-License-Identifier: Apache-2.0 */
#include "base/number.h"
#include "factors/record.h"
#include "op/lookup.h"
#include "op/tensors.h"

#include <math.h>

enum { OFFSET_LEAST = -128, OFFSET_MOST = 127, SHIFT_MOST = 16 };

typedef struct checker {
  const char *path;
  const amct_factors *now;
  const amct_layer *layer;
  amct_layer tensor; /* what `layer` points to where the key names an input tensor */
  amct_error *err;
} checker;

/* "<file>:<line>: "<key>": ..." */
#define FAIL(c, format, ...)                                                             \
  amct_fail((c)->err, AMCT_BAD_RECORD, (c)->now->key, "%s:%u: \"%.200s\": " format,      \
            (c)->path, (unsigned)(c)->now->line, (c)->now->key, __VA_ARGS__)

static bool has_weight_factors(const amct_factors *f) {
  return f->scale_w_count + f->offset_w_count + f->shift_count != 0;
}

/* A positive, finite scale whose reciprocal is finite too: AscendQuant multiplies by it.
 */
static amct_status check_scale_d(const checker *c) {
  char text[AMCT_NUMBER_BYTES];
  float scale = c->now->scale_d;
  if (isfinite(scale) && scale > 0 && isfinite(1 / scale)) return AMCT_OK;
  amct_number_print_float(text, scale);
  if (!isfinite(scale) || !(scale > 0))
    return FAIL(c, "scale_d is %s: a finite number over 0 is wanted", text);
  return FAIL(c, "scale_d is %s: 1/scale_d is over the largest float", text);
}

/* AscendDequant multiplies by the float32 product. */
static amct_status check_scale_w(const checker *c, size_t i) {
  char text[AMCT_NUMBER_BYTES];
  char data[AMCT_NUMBER_BYTES];
  float scale = c->now->scale_w[i];
  float product = c->now->scale_d * scale;
  if (isfinite(scale) && scale > 0 && isfinite(product) && product > 0) return AMCT_OK;
  amct_number_print_float(text, scale);
  amct_number_print_float(data, c->now->scale_d);
  if (!isfinite(scale) || !(scale > 0))
    return FAIL(c, "scale_w[%zu] is %s: a finite number over 0 is wanted", i, text);
  return FAIL(c, "scale_w[%zu] is %s: its product with scale_d, %s, is %s in float32", i,
              text, data, product > 0 ? "infinite" : "0");
}

static amct_status check_shifts(const checker *c) {
  const amct_factors *f = c->now;
  bool any = false;
  for (size_t i = 0; i < f->shift_count; i++)
    any = any || f->shift_bit[i] != 0;
  for (size_t i = 0; any && i < f->shift_count; i++)
    if (f->shift_bit[i] < 1 || f->shift_bit[i] > SHIFT_MOST)
      return FAIL(c, "shift_bit[%zu] is %u: all are 0, or each is in 1..%d", i,
                  (unsigned)f->shift_bit[i], SHIFT_MOST);
  return AMCT_OK;
}

static amct_status check_weight_counts(const checker *c) {
  const amct_factors *f = c->now;
  int64_t channels = c->layer->channels;
  if (f->scale_w_count == 0)
    return FAIL(c, "scale_w is missing: %s has weights", c->layer->op->op);
  if (f->offset_w_count != f->scale_w_count)
    return FAIL(c, "%zu offset_w for %zu scale_w", f->offset_w_count, f->scale_w_count);
  if (f->shift_count != 0 && f->shift_count != f->scale_w_count)
    return FAIL(c, "%zu shift_bit for %zu scale_w", f->shift_count, f->scale_w_count);
  if (f->scale_w_count == 1) return AMCT_OK;
  if (c->layer->op->grid == AMCT_PER_TENSOR)
    return FAIL(c, "%zu scale_w: %s has one for all its weights", f->scale_w_count,
                c->layer->op->op);
  if (channels >= 0 && f->scale_w_count != (uint64_t)channels)
    return FAIL(c, "%zu scale_w for %lld output channels: one or one each is wanted",
                f->scale_w_count, (long long)channels);
  return AMCT_OK;
}

/* The second data input: symmetric, as the first, and quantized by 1/scale_w. */
static amct_status check_second(const checker *c) {
  const amct_factors *f = c->now;
  char text[AMCT_NUMBER_BYTES];
  if (f->offset_d != 0)
    return FAIL(c, "offset_d is %d: 0 is wanted, %s of two data inputs is symmetric",
                (int)f->offset_d, c->layer->op->op);
  amct_number_print_float(text, f->scale_w[0]);
  if (!isfinite(1 / f->scale_w[0]))
    return FAIL(c, "scale_w[0] is %s: 1/scale_w is over the largest float", text);
  return AMCT_OK;
}

static amct_status check_weights(const checker *c) {
  const amct_factors *f = c->now;
  AMCT_TRY(check_weight_counts(c));
  for (size_t i = 0; i < f->scale_w_count; i++) {
    AMCT_TRY(check_scale_w(c, i));
    if (f->offset_w[i] != 0)
      return FAIL(c, "offset_w[%zu] is %d: 0 is wanted, weights have no offset", i,
                  (int)f->offset_w[i]);
  }
  if (c->layer->second.node) AMCT_TRY(check_second(c));
  return check_shifts(c);
}

/* A pool: no weights to scale, and no shift. */
static amct_status check_no_weights(const checker *c) {
  const amct_factors *f = c->now;
  const char *name = f->scale_w_count != 0 ? "scale_w" : "offset_w";
  if (f->scale_w_count + f->offset_w_count != 0)
    return FAIL(c, "%s is given: %s has no weights", name, c->layer->op->op);
  if (f->shift_count > 1 || (f->shift_count == 1 && f->shift_bit[0] != 0))
    return FAIL(c, "shift_bit[0] is %u: %s has no shift", (unsigned)f->shift_bit[0],
                c->layer->op->op);
  return AMCT_OK;
}

/* "pool:0": an input tensor of a node, as tensor quantization records it. */
static amct_status check_tensor(checker *c, amct_node *node, uint64_t input) {
  char why[AMCT_REASON_BYTES];
  if (amct_tensor_refusal(node, input, why) != NULL)
    return FAIL(c, "\"%.200s\" %s", node->name, why);
  c->tensor = amct_tensor_layer(node, (uint32_t)input);
  c->layer = &c->tensor;
  return AMCT_OK;
}

static amct_status check_key(checker *c, const amct_lookup *lookup) {
  char why[AMCT_REFUSAL_BYTES];
  amct_nearest nearest;
  amct_node *node = NULL;
  uint64_t input = 0;
  const char *key = c->now->key;
  bool bare = !c->now->has_data && !has_weight_factors(c->now);
  c->layer = amct_lookup_layer(lookup, key);
  /* nothing but skip_fusion: such a layer stays float, whatever it is */
  if (bare && amct_graph_find(lookup->graph, key) != NULL) return AMCT_OK;
  if (amct_tensor_find(lookup->graph, key, &node, &input))
    return check_tensor(c, node, input);
  amct_nearest_start(&nearest, key);
  if (amct_lookup_refusal(lookup, &nearest, why) == NULL) return AMCT_OK;
  return FAIL(c, "the layer %s", why);
}

static amct_status check_factors(checker *c, const amct_lookup *lookup) {
  const amct_factors *f = c->now;
  AMCT_TRY(check_key(c, lookup));
  if (!f->has_data && !has_weight_factors(f)) return AMCT_OK;
  if (!f->has_data) return FAIL(c, "%s", "factors of weights without scale_d");
  AMCT_TRY(check_scale_d(c));
  if (f->offset_d < OFFSET_LEAST || f->offset_d > OFFSET_MOST)
    return FAIL(c, "offset_d is %d: %d..%d is wanted", (int)f->offset_d, OFFSET_LEAST,
                OFFSET_MOST);
  return c->layer->op->weight >= 0 ? check_weights(c) : check_no_weights(c);
}

amct_status amct_record_check(const amct_record *record, const char *path,
                              const amct_layers *layers, const amct_graph *graph,
                              amct_error *err) {
  amct_lookup lookup = {0};
  amct_status status = amct_lookup_make(&lookup, layers, graph, err);
  for (size_t i = 0; i < record->layers.count && status == AMCT_OK; i++) {
    checker c = {.path = path, .now = &record->layers.at[i], .err = err};
    status = check_factors(&c, &lookup);
  }
  amct_lookup_free(&lookup);
  return status;
}
