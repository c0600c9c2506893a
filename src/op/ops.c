/* SPDX-License-Identifier: Apache-2.0 */
#include "op/ops.h"

#include <pthread.h>

#include "op/shape_rules.h"

enum {
  NO_WEIGHT = AMCT_NO_INPUT,
  NO_AXES = 0,
  PARAM_HOPS_MAX = 64, /* so that long chains of Identity cost no more than linear time */
  BUCKETS = 1024,      /* power of two, several times the rows */
};

#define AXES1(a) (1U << (a))
#define AXES2(a, b) (1U << (a) | 1U << (b))

static const amct_op k_ops[] = {
#define FIXED false
#define MAY_VARY true
#define LAYER(name, data_, weight_, rank_, axes_, grid_, vary_, shape_)                  \
  {.op = #name,                                                                          \
   .data = (data_),                                                                      \
   .weight = (weight_),                                                                  \
   .weight_rank = (rank_),                                                               \
   .channel_axes = (axes_),                                                              \
   .grid = AMCT_##grid_,                                                                 \
   .may_vary = (vary_),                                                                  \
   .shape = &amct_shape_rule_##shape_},
#define TENSOR(name, shape_)                                                             \
  {.op = #name,                                                                          \
   .data = AMCT_NO_INPUT,                                                                \
   .weight = AMCT_NO_INPUT,                                                              \
   .is_tensor = true,                                                                    \
   .shape = &amct_shape_rule_##shape_},
#define PARAM(name, role_, shape_)                                                       \
  {.op = #name,                                                                          \
   .data = AMCT_NO_INPUT,                                                                \
   .weight = AMCT_NO_INPUT,                                                              \
   .param = AMCT_PARAM_##role_,                                                          \
   .shape = &amct_shape_rule_##shape_},
#define PLAIN(name, shape_)                                                              \
  {.op = #name,                                                                          \
   .data = AMCT_NO_INPUT,                                                                \
   .weight = AMCT_NO_INPUT,                                                              \
   .shape = &amct_shape_rule_##shape_},
#include "op/ops.def"
};

enum { OPS = sizeof k_ops / sizeof k_ops[0] };
_Static_assert(OPS < BUCKETS / 4, "more buckets for ops.def");

/* open addressing; 0 = free, else row + 1 */
static uint16_t g_buckets[BUCKETS];
static pthread_once_t g_buckets_once = PTHREAD_ONCE_INIT;

static uint32_t hash(const char *text) {
  uint32_t h = 2166136261U; /* FNV-1a */
  for (; *text; text++)
    h = (h ^ (uint8_t)*text) * 16777619U;
  return h ^ h >> 15;
}

static void fill_buckets(void) {
  for (uint32_t i = 0; i < OPS; i++) {
    uint32_t b = hash(k_ops[i].op) & (BUCKETS - 1);
    while (g_buckets[b])
      b = (b + 1) & (BUCKETS - 1);
    g_buckets[b] = (uint16_t)(i + 1);
  }
}

const amct_op *amct_op_find(const char *op) {
  pthread_once(&g_buckets_once, fill_buckets);
  for (uint32_t b = hash(op) & (BUCKETS - 1); g_buckets[b]; b = (b + 1) & (BUCKETS - 1)) {
    const amct_op *row = &k_ops[g_buckets[b] - 1];
    if (strcmp(row->op, op) == 0) return row;
  }
  return NULL;
}

size_t amct_op_layer_count(void) {
  size_t count = 0;
  while (count < OPS && k_ops[count].data != AMCT_NO_INPUT)
    count++; /* layers come first in ops.def */
  return count;
}

const amct_op *amct_op_layer_at(size_t i) {
  return i < amct_op_layer_count() ? &k_ops[i] : NULL;
}

/* Enter hands a parameter into a loop only if it is the same in each turn. */
static bool passes_on(const amct_node *node) {
  bool constant = false;
  if (strcmp(node->op, "Enter") != 0 && strcmp(node->op, "RefEnter") != 0) return true;
  return amct_attr_bool(node, "is_constant", &constant) && constant;
}

/* A Switch hands its input to one of two outputs. */
static int32_t last_port(const amct_node *node) {
  return strcmp(node->op, "Switch") == 0 || strcmp(node->op, "RefSwitch") == 0;
}

amct_node *amct_param_source(amct_edge edge, bool *is_const) {
  *is_const = false;
  for (int hop = 0; hop < PARAM_HOPS_MAX && edge.node; hop++) {
    const amct_op *op = amct_op_find(edge.node->op);
    if (!op || op->param == AMCT_PARAM_NONE || edge.port > last_port(edge.node))
      return NULL;
    if (op->param != AMCT_PARAM_PASS) {
      *is_const = op->param == AMCT_PARAM_CONST;
      return edge.node;
    }
    if (edge.node->data_count == 0 || !passes_on(edge.node)) return NULL;
    edge = edge.node->inputs[0];
  }
  return NULL;
}

bool amct_op_passes(const amct_node *node) {
  static const char *const k_others[] = {"ReadVariableOp", "Enter", "RefEnter", "Switch",
                                         "RefSwitch"};
  const amct_op *op = amct_op_find(node->op);
  if (!op || op->param != AMCT_PARAM_PASS || node->data_count != 1) return false;
  for (size_t i = 0; i < sizeof k_others / sizeof *k_others; i++)
    if (strcmp(node->op, k_others[i]) == 0) return false;
  return true;
}

amct_status amct_param_shape(const amct_node *source, amct_shape *shape,
                             amct_error *err) {
  const amct_op *op = amct_op_find(source->op);
  amct_tensor tensor;
  amct_error local = {0};
  amct_status status;

  shape->rank = -1;
  if (!op || op->param != AMCT_PARAM_CONST) {
    if (!amct_attr_shape(source, "shape", shape)) shape->rank = -1;
    return AMCT_OK;
  }
  if (!amct_attr_has(source, "value")) return AMCT_OK; /* pending */
  status = amct_const_tensor(source, &tensor, &local);
  if (status == AMCT_OK)
    *shape = tensor.shape;
  else if (status != AMCT_UNSUPPORTED) /* that is a rank over 8: nothing we look at */
    return amct_fail(err, status, local.node, "%s", local.text);
  return AMCT_OK;
}

amct_dtype amct_param_dtype(const amct_node *source) {
  amct_dtype dtype = AMCT_DTYPE_INVALID;
  if (!amct_attr_type(source, "dtype", &dtype)) return AMCT_DTYPE_INVALID;
  return dtype;
}

amct_format amct_node_format(const amct_node *node) {
  if (amct_attr_is(node, "data_format", "NHWC", true)) return AMCT_NHWC;
  if (amct_attr_is(node, "data_format", "NCHW", false)) return AMCT_NCHW;
  if (amct_attr_is(node, "data_format", "NDHWC", false)) return AMCT_NHWC;
  if (amct_attr_is(node, "data_format", "NCDHW", false)) return AMCT_NCHW;
  return AMCT_FORMAT_OTHER;
}

amct_channels amct_op_channels(const amct_op *op, const amct_shape *weight) {
  amct_channels c = {1, 1, 1};
  uint32_t axes = op->channel_axes;

  if (axes == 0 || weight->rank != op->weight_rank) return (amct_channels){-1, -1, -1};
  for (int32_t i = 0; i < weight->rank; i++) {
    int64_t *part = axes >> i & 1U ? &c.channels : axes >> i ? &c.outer : &c.inner;
    *part = amct_dim_mul(*part, weight->dims[i]);
  }
  return c;
}

int64_t amct_dim_mul(int64_t a, int64_t b) {
  int64_t product;
  if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, &product)) return -1;
  return product;
}

int64_t amct_dim_add(int64_t a, int64_t b) {
  int64_t sum;
  if (a < 0 || b < 0 || __builtin_add_overflow(a, b, &sum)) return -1;
  return sum;
}

int64_t amct_shape_count(const amct_shape *shape) {
  int64_t count = shape->rank < 0 ? -1 : 1;
  for (int32_t i = 0; i < shape->rank; i++)
    count = amct_dim_mul(count, shape->dims[i]);
  return count;
}

bool amct_shape_is_whole(const amct_shape *shape) {
  for (int32_t i = 0; i < shape->rank; i++)
    if (shape->dims[i] < 0) return false;
  return shape->rank >= 0;
}
