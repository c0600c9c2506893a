/* SPDX-License-Identifier: Apache-2.0 */
/* Private to deploy.c and what stands beside it. */
#ifndef AMCT_DEPLOY_PRIVATE_H
#define AMCT_DEPLOY_PRIVATE_H

#include "insert/deploy.h"
#include "insert/scopes.h"

/* A layer to be quantized, under the name that it had before outputs moved. */
typedef struct amct_job {
  amct_layer *layer;
  const amct_factors *factors;
  const amct_fold *fold; /* NULL: nothing is folded into the layer */
  const char *name;
  const amct_layer_stats *known; /* of its name; NULL: none */
  const amct_layer_stats *stats; /* the same, unless it is of other factors or weights */
  double *shift;                 /* of the bias, by channel; NULL: none */
} amct_job;

/* An input tensor with factors of its own. */
typedef struct amct_tensor_job {
  amct_node *node;
  uint32_t input;
  const amct_factors *factors;
} amct_tensor_job;

typedef struct amct_deployer {
  amct_plan *plan;
  amct_graph *graph;
  amct_arena *arena;
  const amct_deploy_options *options;
  AMCT_VEC(amct_job) jobs;
  AMCT_VEC(amct_tensor_job) tensors;
  amct_map own_tensors; /* nodes of these */
  amct_edits *edits;
  amct_scopes scopes;
  amct_map by_node;                   /* data node -> quantized */
  AMCT_VEC(const char *) uncorrected; /* layers whose stats are missing or stale */
  size_t corrected, rounded;
} amct_deployer;

/** "scope/name", in the graph's arena; NULL when memory runs out. */
const char *amct_deploy_join(amct_deployer *d, const char *scope, const char *name);
/** A Const before the layer. */
amct_spec *amct_deploy_const(amct_deployer *d, const amct_layer *layer, const char *name,
                             amct_dtype dtype, const amct_shape *shape, const void *data);
/** int8 weights behind AscendWeightQuant. */
AMCT_NODISCARD amct_status amct_deploy_weights(amct_deployer *d, amct_job *j,
                                               amct_error *err);
/** The bias of the BiasAdd behind the layer in units of scale_d*scale_w. */
AMCT_NODISCARD amct_status amct_deploy_bias(amct_deployer *d, const amct_job *j,
                                            amct_error *err);
/** int8 weights that came out equal of one original are read from one constant. */
AMCT_NODISCARD amct_status amct_deploy_share(amct_deployer *d, amct_error *err);
/** What a layer reads, in the graph as it is by now. */
AMCT_NODISCARD amct_status amct_deploy_data(amct_deployer *d, const amct_job *j,
                                            amct_error *err);
/** An input tensor, to int8 and back. Layers come first. */
AMCT_NODISCARD amct_status amct_deploy_tensor(amct_deployer *d, const amct_tensor_job *t,
                                              amct_error *err);

#endif
