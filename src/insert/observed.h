/* SPDX-License-Identifier: Apache-2.0 */
/* The tensors that calibration observes. */
#ifndef AMCT_OBSERVED_H
#define AMCT_OBSERVED_H

#include "base/vec.h"
#include "recipe/recipe.h"
#include "rewrite/plan.h"

/** One observed tensor: the layers that read it with the same parameters; lists of one
 * length. */
typedef struct amct_observed {
  const amct_layer_recipe *first;
  amct_edge data;
  AMCT_VEC(const amct_layer *) readers;
  AMCT_VEC(const char *) names;
  AMCT_VEC(int64_t) indices;      /* among the layers enabled, and the tensors */
  AMCT_VEC(int64_t) weighted;     /* 1: has weights; 2: is read in the place of weights */
  AMCT_VEC(const char *) windows; /* amct_window_print; "": no means are wanted */
  AMCT_VEC(const char *) row_windows; /* the same for samples, to round weights by */
  struct amct_observed *next;         /* of the same node */
} amct_observed;

typedef struct amct_observed_list {
  AMCT_VEC(amct_observed *) tensors; /* in the graph's arena */
  amct_map by_node;                  /* data node -> amct_observed */
  int64_t total;                     /* layers enabled, and tensors */
} amct_observed_list;                /* zero-initialise */

/** Groups the layers that are enabled, and the tensors, by what they read. */
AMCT_NODISCARD amct_status amct_observed_find(amct_observed_list *list,
                                              const amct_plan *plan,
                                              const amct_recipe *recipe, amct_error *err);
/** True where the layer's weights are rounded by a sample of its input: not inside loops,
 * where the first turns are no sample. */
bool amct_observed_rounds(const amct_layer_recipe *recipe);
void amct_observed_free(amct_observed_list *list);

#endif
