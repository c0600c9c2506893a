/* SPDX-License-Identifier: Apache-2.0 */
#include "rewrite/vectors.h"

enum { HOPS_MAX = 64, DATA_RANK = 4 };

static bool is_reshape(const amct_node *node) {
  return strcmp(node->op, "Reshape") == 0 && node->data_count > 0;
}

/* Back to the Reshape that feeds an edge through Identity and the like; NULL: none. */
static amct_node *find_reshape(amct_edge edge) {
  for (int hop = 0; hop < HOPS_MAX && edge.port == 0; hop++) {
    if (is_reshape(edge.node)) return edge.node;
    const amct_op *op = amct_op_find(edge.node->op);
    if (!op || op->param != AMCT_PARAM_PASS || edge.node->data_count == 0) return NULL;
    edge = edge.node->inputs[0];
  }
  return NULL;
}

amct_node *amct_vector_source(amct_edge edge, bool *constant) {
  for (int hop = 0; hop < HOPS_MAX; hop++) {
    amct_node *source = amct_param_source(edge, constant);
    amct_node *reshape = source ? NULL : find_reshape(edge);
    if (!reshape) return source;
    edge = reshape->inputs[0];
  }
  return NULL;
}

int32_t amct_vector_axis(const amct_shape *shape) {
  int32_t axis = -1;
  if (shape->rank > DATA_RANK) return -1;
  for (int32_t i = 0; i < shape->rank; i++) {
    if (shape->dims[i] == 1) continue;
    if (axis >= 0 || shape->dims[i] < 1) return -1;
    axis = DATA_RANK - shape->rank + i;
  }
  return axis;
}

int64_t amct_vector_count(const amct_shape *shape) {
  int64_t count = shape->rank < 0 ? -1 : 1;
  for (int32_t i = 0; i < shape->rank; i++)
    count = amct_dim_mul(count, shape->dims[i]);
  return count;
}
