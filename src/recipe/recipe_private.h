/* SPDX-License-Identifier: Apache-2.0 */
/* What defaults and reading share. */
#ifndef AMCT_RECIPE_PRIVATE_H
#define AMCT_RECIPE_PRIVATE_H

#include "op/lookup.h"
#include "recipe/recipe_keys.h"

/** Fills the values of one object from the defaults of its rows; `base` as in
 * amct_recipe_store. */
AMCT_NODISCARD amct_status amct_recipe_fill(amct_recipe_object object,
                                            const amct_recipe_fallbacks *fallbacks,
                                            void *base, amct_arena *arena,
                                            amct_error *err);
/**
 * An entry for each layer that can be quantized, in graph order, with defaults and
 * `enabled` false. The globals are there already. `by_layer[i]`, in the recipe's arena,
 * is the entry of layers->at[i] or NULL.
 */
AMCT_NODISCARD amct_status amct_recipe_add_layers(amct_recipe *recipe,
                                                  const amct_layers *layers,
                                                  const amct_recipe_fallbacks *fallbacks,
                                                  amct_layer_recipe ***by_layer,
                                                  amct_error *err);

#endif
