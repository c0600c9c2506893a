/* SPDX-License-Identifier: Apache-2.0 */
/* A batch norm that is spelled out in small ops (rules/fuse_small_bn.c), as it is found
 * behind its last addition. */
#ifndef AMCT_SMALL_NORM_H
#define AMCT_SMALL_NORM_H

#include "rewrite/match.h"

enum {
  AMCT_NORM_SCALE,
  AMCT_NORM_OFFSET,
  AMCT_NORM_MEAN,
  AMCT_NORM_VARIANCE,
  AMCT_NORM_PARAMETERS
};

typedef struct amct_small_norm {
  amct_node *root, *product; /* the last sum; data * inv */
  amct_edge scaled;          /* the product as the root reads it */
  amct_edge data, inv, epsilon;
  amct_edge parameter[AMCT_NORM_PARAMETERS]; /* no node: there is none */
  /* found by the checks */
  amct_passed passed; /* between product and root */
  const amct_shapes *shapes;
  int64_t channels;
  int32_t axis;
  float epsilon_value;
} amct_small_norm;

/** "scale", "offset", "mean", "variance". */
const char *amct_small_norm_name(int parameter);

/** False: the sum is no such batch norm. */
bool amct_small_norm_read(amct_node *root, amct_small_norm *c);

/* Both set pass->reason where they say no; a status is trouble. */

/** All but shapes: dtypes, the readers of the product, parameters, epsilon. */
AMCT_NODISCARD amct_status amct_small_norm_check(amct_pass *pass, amct_small_norm *c,
                                                 amct_error *err);
/** One count for all parameters, and one axis, 1 or 3; -1 where there is one value alone.
 */
AMCT_NODISCARD amct_status amct_small_norm_axis(amct_pass *pass, amct_small_norm *c,
                                                amct_error *err);

#endif
