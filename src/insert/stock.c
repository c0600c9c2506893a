/* SPDX-License-Identifier: Apache-2.0 */
#include "insert/stock.h"

#include "op/ops.h"
#include "op/order.h"
#include "op/parameters.h"

#include <math.h>

/* The op that is being replaced. Building calls keep their failures in `edits`; a tensor
 * that could not be made is "". */
typedef struct stock {
  amct_graph *graph;
  amct_edits *edits;
  amct_map inside; /* nodes inside loops */
  amct_arena scratch;
  amct_node *node;
  bool short_of_memory; /* a name could not be made */
} stock;

static const amct_dtype k_float = AMCT_DTYPE_FLOAT, k_double = AMCT_DTYPE_DOUBLE;
static const amct_shape k_scalar = {0, {0}};

/* ---- nodes ---- */

/* `<node>/<part>`, or, `part` being NULL, what replaces the node. */
static amct_spec *add_part(stock *s, const char *part, const char *op) {
  if (!part) return amct_edits_replace(s->edits, s->node, op);
  const char *name = amct_edits_free_name(
      s->edits, amct_arena_format(&s->scratch, "%s/%s", s->node->name, part));
  s->short_of_memory = s->short_of_memory || !name;
  if (!name) return NULL;
  amct_spec *spec = amct_edits_add(s->edits, name, op, s->node, true);
  amct_spec_device(spec, s->node->device);
  return spec;
}

static const char *unary(stock *s, const char *part, const char *op, amct_dtype type,
                         const char *x) {
  amct_spec *spec = add_part(s, part, op);
  amct_spec_input(spec, x);
  amct_spec_type(spec, "T", type);
  return amct_spec_name(spec);
}

static const char *binary(stock *s, const char *part, const char *op, amct_dtype type,
                          const char *x, const char *y) {
  amct_spec *spec = add_part(s, part, op);
  amct_spec_input(spec, x);
  amct_spec_input(spec, y);
  amct_spec_type(spec, "T", type);
  return amct_spec_name(spec);
}

static const char *choose(stock *s, const char *part, const char *condition,
                          const char *x, const char *y) {
  amct_spec *spec = add_part(s, part, "Select");
  amct_spec_input(spec, condition);
  amct_spec_input(spec, x);
  amct_spec_input(spec, y);
  amct_spec_type(spec, "T", k_float);
  return amct_spec_name(spec);
}

static const char *cast(stock *s, const char *part, amct_dtype from, amct_dtype to,
                        const char *x) {
  amct_spec *spec = add_part(s, part, "Cast");
  amct_spec_input(spec, x);
  amct_spec_type(spec, "SrcT", from);
  amct_spec_type(spec, "DstT", to);
  return amct_spec_name(spec);
}

/* Inside a loop it belongs to the frame of what the op reads. */
static const char *constant(stock *s, const char *part, amct_dtype type,
                            const amct_shape *shape, const void *data) {
  size_t bytes = amct_dtype_bytes(type);
  for (int i = 0; i < shape->rank; i++)
    bytes *= (size_t)shape->dims[i];
  amct_spec *spec = add_part(s, part, "Const");
  amct_spec_tensor(spec, type, shape, data, bytes);
  if (amct_map_get(&s->inside, s->node)) {
    const amct_edge turn = {s->node->inputs[0].node, AMCT_CONTROL};
    amct_spec_input(spec, amct_edge_text(turn));
  }
  return amct_spec_name(spec);
}

static const char *number(stock *s, const char *part, float value) {
  return constant(s, part, k_float, &k_scalar, &value);
}

/*
 * The float32 product of x and `by`, which double holds exactly before it is rounded. Its
 * last node is `part`, or what replaces the node. The casts keep TensorFlow's graph
 * optimizer from merging the factor with another, or moving it into the weights of a
 * convolution, which would round otherwise.
 */
static const char *multiply(stock *s, const char *part, const char *x,
                            const amct_shape *shape, const double *by) {
  const char *scope = part ? part : "result";
  const char *names[] = {amct_arena_format(&s->scratch, "%s_by", scope),
                         amct_arena_format(&s->scratch, "%s_wide", scope),
                         amct_arena_format(&s->scratch, "%s_exact", scope)};
  s->short_of_memory = s->short_of_memory || !names[0] || !names[1] || !names[2];
  if (s->short_of_memory) return NULL;
  const char *factor = constant(s, names[0], k_double, shape, by);
  const char *wide = cast(s, names[1], k_float, k_double, x);
  const char *exact = binary(s, names[2], "Mul", k_double, wide, factor);
  return cast(s, part, k_double, k_float, exact);
}

static const char *input_text(const stock *s, uint32_t i) {
  return amct_edge_text(s->node->inputs[i]);
}

/* ---- AscendQuant, AscendAntiQuant ---- */

static amct_status read_float(const stock *s, const char *key, float *value,
                              amct_error *err) {
  if (amct_attr_float(s->node, key, value)) return AMCT_OK;
  return amct_fail(err, AMCT_BAD_GRAPH, s->node->name,
                   "%s \"%s\" has no float attribute %s", s->node->op, s->node->name,
                   key);
}

static amct_status read_bits(const stock *s, int *bits, amct_error *err) {
  int64_t wanted = 8;
  (void)amct_attr_int(s->node, "quant_bits", &wanted);
  if (amct_attr_is(s->node, "dst_type", "INT4", false)) wanted = 4;
  if (wanted < 2 || wanted > 16)
    return amct_fail(err, AMCT_BAD_GRAPH, s->node->name,
                     "%s \"%s\": quant_bits is %lld, it must be 2 to 16", s->node->op,
                     s->node->name, (long long)wanted);
  *bits = (int)wanted;
  return AMCT_OK;
}

/*
 * Above zero c = ceil(x) less one where x < c - 0.5, else f = floor(x) plus one where
 * x > f + 0.5. Both sums are exact below 2^23; from there on x is c and f, and neither
 * comparison holds, however the sum rounds. A result of zero is +0.
 */
static const char *round_half_away(stock *s, const char *x) {
  const char *half = number(s, "half", 0.5f);
  const char *down = unary(s, "floor", "Floor", k_float, x);
  const char *above = binary(s, "floor_half", "Add", k_float, down, half);
  const char *up = binary(s, "over_half", "Greater", k_float, x, above);
  const char *one_up = cast(s, "one_up", AMCT_DTYPE_BOOL, k_float, up);
  const char *negative = binary(s, "rounded_negative", "Add", k_float, down, one_up);
  const char *ceiling = unary(s, "ceil", "Ceil", k_float, x);
  const char *below = binary(s, "ceil_half", "Sub", k_float, ceiling, half);
  const char *under = binary(s, "under_half", "Less", k_float, x, below);
  const char *one_down = cast(s, "one_down", AMCT_DTYPE_BOOL, k_float, under);
  const char *positive = binary(s, "rounded_positive", "Sub", k_float, ceiling, one_down);
  const char *zero = number(s, "zero", 0.0f);
  const char *is_positive = binary(s, "is_positive", "Greater", k_float, x, zero);
  return choose(s, "rounded", is_positive, positive, negative);
}

/* x between the bounds; what Minimum makes of a NaN depends on the TensorFlow. */
static const char *clip(stock *s, amct_dtype type, const char *x, const char *low,
                        const char *high) {
  const char *under = binary(s, "clipped_high", "Minimum", type, x, high);
  return binary(s, "clipped", "Maximum", type, under, low);
}

static amct_status replace_quant(stock *s, amct_error *err) {
  float scale, offset;
  int bits = 8;
  AMCT_TRY(read_float(s, "scale", &scale, err));
  AMCT_TRY(read_float(s, "offset", &offset, err));
  AMCT_TRY(read_bits(s, &bits, err));
  const float high = (float)((1 << (bits - 1)) - 1), low = -(float)(1 << (bits - 1));
  const bool shifted = offset != 0.0f;
  const double by = (double)scale;
  const char *scaled = multiply(s, "scaled", input_text(s, 0), &k_scalar, &by);
  const char *steps = round_half_away(s, scaled);
  const char *off = shifted ? number(s, "offset", offset) : NULL;
  if (shifted) steps = binary(s, "offset_added", "Add", k_float, steps, off);
  const char *least = number(s, "low", low), *most = number(s, "high", high);
  const char *result = clip(s, k_float, steps, least, most);
  if (shifted) result = binary(s, "offset_taken", "Sub", k_float, result, off);
  const char *is_nan = unary(s, "is_nan", "IsNan", k_float, steps);
  (void)choose(s, NULL, is_nan, steps, result);
  return AMCT_OK;
}

static amct_status replace_antiquant(stock *s, amct_error *err) {
  float scale;
  AMCT_TRY(read_float(s, "scale", &scale, err));
  const double by = (double)scale;
  (void)multiply(s, NULL, input_text(s, 0), &k_scalar, &by);
  return AMCT_OK;
}

/* ---- parameters ---- */

/* A constant input of one of the integer types. */
static amct_status read_integers(stock *s, uint32_t input, amct_tensor *tensor,
                                 const int64_t **values, amct_error *err) {
  bool is_const = false;
  const amct_node *source = amct_vector_source(s->node->inputs[input], &is_const);
  if (!source || !is_const)
    return amct_fail(err, AMCT_UNSUPPORTED, s->node->name,
                     "%s \"%s\": input %u is not a constant", s->node->op, s->node->name,
                     input);
  AMCT_TRY(amct_const_tensor(source, tensor, err));
  AMCT_TRY(amct_tensor_ints(tensor, &s->scratch, values, source, err));
  if (tensor->count > 0) return AMCT_OK;
  return amct_fail(err, AMCT_BAD_GRAPH, s->node->name, "%s \"%s\": input %u is empty",
                   s->node->op, s->node->name, input);
}

/* ---- AscendWeightQuant ---- */

/* Offsets along axis 2 of the weights where offset_w has several there, else along axis
 * 3; one for all. */
static amct_status find_offsets(stock *s, amct_tensor *tensor, const int64_t **values,
                                amct_shape *shape, amct_error *err) {
  AMCT_TRY(read_integers(s, 1, tensor, values, err));
  *shape = k_scalar;
  if (tensor->count == 1) return AMCT_OK;
  const bool inner = tensor->shape.rank == 4 && tensor->shape.dims[2] > 1;
  *shape = (amct_shape){inner ? 2 : 1, {0, 1}};
  if (tensor->shape.rank == 4) shape->dims[0] = tensor->shape.dims[inner ? 2 : 3];
  if (shape->dims[0] > 1) return AMCT_OK;
  return amct_fail(err, AMCT_BAD_GRAPH, s->node->name,
                   "%s \"%s\": offset_w has %zu values, but not along axis 2 or 3",
                   s->node->op, s->node->name, tensor->count);
}

static amct_status replace_weight(stock *s, amct_error *err) {
  amct_tensor tensor;
  const int64_t *values;
  amct_shape shape;
  bool any = false;
  AMCT_TRY(find_offsets(s, &tensor, &values, &shape, err));
  const size_t count = shape.rank ? (size_t)shape.dims[0] : 1;
  float *offsets = amct_arena_array(&s->scratch, count, sizeof *offsets);
  if (!offsets) return amct_fail_memory(err);
  for (size_t i = 0; i < count; i++) {
    offsets[i] = (float)values[i];
    any = any || values[i] != 0;
  }
  const char *plain =
      cast(s, any ? "weight" : NULL, AMCT_DTYPE_INT8, k_float, input_text(s, 0));
  if (any)
    (void)binary(s, NULL, "Sub", k_float, plain,
                 constant(s, "offset_w", k_float, &shape, offsets));
  return AMCT_OK;
}

/* ---- AscendDequant ---- */

typedef struct dequant {
  double area;
  amct_shape shape; /* of the arrays, to be broadcast */
  size_t count;
  double *scale;
  double *power; /* 2^N */
  bool *as_is;   /* N = 0 */
  bool shifts;   /* some N > 0 */
} dequant;

static amct_status read_window(const stock *s, double *area, amct_error *err) {
  amct_ints ksize;
  if (!amct_attr_ints(s->node, "ksize", &ksize) || ksize.count < 2 || ksize.at[0] <= 0 ||
      ksize.at[1] <= 0)
    return amct_fail(err, AMCT_BAD_GRAPH, s->node->name,
                     "%s \"%s\": ksize is not a list of two values above 0", s->node->op,
                     s->node->name);
  *area = (double)ksize.at[0] * (double)ksize.at[1];
  return AMCT_OK;
}

/* Axes behind the channels, where these come first: three where a Conv3D is dequantized,
 * with its bias or without. */
static int32_t image_axes(const stock *s) {
  const amct_node *node = s->node->inputs[0].node;
  if (strcmp(node->op, "BiasAdd") == 0 && node->data_count > 0)
    node = node->inputs[0].node;
  return strcmp(node->op, "Conv3D") == 0 ? 3 : 2;
}

static amct_status read_dequant(stock *s, dequant *d, amct_error *err) {
  amct_tensor tensor;
  const int64_t *words;
  AMCT_TRY(read_window(s, &d->area, err));
  AMCT_TRY(read_integers(s, 1, &tensor, &words, err));
  d->count = tensor.count;
  if (d->count > 1) d->shape = (amct_shape){1, {(int64_t)d->count, 1, 1, 1}};
  if (d->count > 1 && amct_attr_is(s->node, "data_format", "NCHW", false))
    d->shape.rank = 1 + image_axes(s);
  d->scale = amct_arena_array(&s->scratch, d->count, sizeof *d->scale);
  d->power = amct_arena_array(&s->scratch, d->count, sizeof *d->power);
  d->as_is = amct_arena_array(&s->scratch, d->count, sizeof *d->as_is);
  if (!d->scale || !d->power || !d->as_is) return amct_fail_memory(err);
  for (size_t c = 0; c < d->count; c++) {
    const uint32_t bits = (uint32_t)words[c];
    const int shift = (int)((uint64_t)words[c] >> 32 & 0xFF);
    float scale;
    memcpy(&scale, &bits, sizeof bits);
    d->scale[c] = (double)scale;
    d->power[c] = ldexp(1.0, shift);
    d->as_is[c] = shift == 0;
    d->shifts = d->shifts || shift > 0;
  }
  return AMCT_OK;
}

/* v = floor(v / 2^N) between -32768 and 32767, in double, where N > 0. NaN stays. */
static const char *shift_down(stock *s, const dequant *d, const char *v) {
  const double low = -32768.0, high = 32767.0;
  const char *power = constant(s, "power", k_double, &d->shape, d->power);
  const char *wide = cast(s, "wide", k_float, k_double, v);
  const char *divided = binary(s, "shifted", "RealDiv", k_double, wide, power);
  const char *whole = unary(s, "floor", "Floor", k_double, divided);
  const char *least = constant(s, "low", k_double, &k_scalar, &low);
  const char *most = constant(s, "high", k_double, &k_scalar, &high);
  const char *clipped = clip(s, k_double, whole, least, most);
  const char *narrow = cast(s, "narrow", k_double, k_float, clipped);
  const char *is_nan = unary(s, "is_nan", "IsNan", k_float, v);
  const char *as_is = constant(s, "unshifted", AMCT_DTYPE_BOOL, &d->shape, d->as_is);
  amct_spec *keep = add_part(s, "keep", "LogicalOr");
  amct_spec_input(keep, is_nan);
  amct_spec_input(keep, as_is);
  return choose(s, "shifted_down", amct_spec_name(keep), v, narrow);
}

/* product * 2^N / area in double, rounded once. */
static void scale_up(stock *s, const dequant *d, const char *product) {
  const char *value = cast(s, "product_wide", k_float, k_double, product);
  if (d->shifts) {
    const char *power = constant(s, "power_up", k_double, &d->shape, d->power);
    value = binary(s, "shifted_up", "Mul", k_double, value, power);
  }
  if (d->area != 1.0) {
    const char *area = constant(s, "area", k_double, &k_scalar, &d->area);
    value = binary(s, "mean", "RealDiv", k_double, value, area);
  }
  (void)cast(s, NULL, k_double, k_float, value);
}

static amct_status replace_dequant(stock *s, amct_error *err) {
  dequant d = {.shape = k_scalar};
  AMCT_TRY(read_dequant(s, &d, err));
  const char *v = input_text(s, 0);
  const double area = (double)(float)d.area; /* as the op multiplies with it */
  if (d.area != 1.0) v = multiply(s, "sum", v, &k_scalar, &area);
  if (d.shifts) v = shift_down(s, &d, v);
  const bool more = d.shifts || d.area != 1.0;
  const char *product = multiply(s, more ? "product" : NULL, v, &d.shape, d.scale);
  if (more) scale_up(s, &d, product);
  return AMCT_OK;
}

/* ---- the whole ---- */

typedef struct replacement {
  const char *op;
  uint32_t inputs;
  amct_status (*replace)(stock *s, amct_error *err);
} replacement;

static const replacement k_replacements[] = {
    {"AscendQuant", 1, replace_quant},
    {"AscendWeightQuant", 2, replace_weight},
    {"AscendDequant", 2, replace_dequant},
    {"AscendAntiQuant", 1, replace_antiquant},
};

static const replacement *find_replacement(const amct_node *node) {
  for (size_t i = 0; i < sizeof k_replacements / sizeof *k_replacements; i++)
    if (strcmp(k_replacements[i].op, node->op) == 0) return &k_replacements[i];
  return NULL;
}

static amct_status check_node(const stock *s, const replacement *r, amct_error *err) {
  const amct_node *node = s->node;
  amct_dtype type = AMCT_DTYPE_INVALID;
  if (node->data_count != r->inputs)
    return amct_fail(err, AMCT_BAD_GRAPH, node->name,
                     "%s \"%s\" has %u inputs instead of %u", node->op, node->name,
                     node->data_count, r->inputs);
  if (!amct_attr_type(node, "T", &type) || type != k_float)
    return amct_fail(err, AMCT_UNSUPPORTED, node->name,
                     "%s \"%s\" is of type %s: only FLOAT has stock ops", node->op,
                     node->name, amct_dtype_name(type));
  return AMCT_OK;
}

static amct_status replace_all(stock *s, size_t *count, amct_error *err) {
  AMCT_TRY(amct_frames_find(&s->inside, s->graph, err));
  for (size_t i = 0; i < amct_graph_count(s->graph); i++) {
    s->node = amct_graph_at(s->graph, i);
    const replacement *r = find_replacement(s->node);
    if (!r) continue;
    AMCT_TRY(check_node(s, r, err));
    AMCT_TRY(r->replace(s, err));
    if (s->short_of_memory) return amct_fail_memory(err);
    amct_arena_free(&s->scratch);
    (*count)++;
  }
  return amct_edits_apply(s->edits, err);
}

amct_status amct_stock(amct_graph *graph, size_t *count, amct_error *err) {
  stock s = {.graph = graph, .edits = amct_edits_new(graph)};
  *count = 0;
  amct_status status = s.edits ? replace_all(&s, count, err) : amct_fail_memory(err);
  if (status == AMCT_OK) status = amct_graph_sweep(graph, NULL, 0, err);
  amct_arena_free(&s.scratch);
  amct_map_free(&s.inside);
  amct_edits_free(s.edits);
  return status;
}
