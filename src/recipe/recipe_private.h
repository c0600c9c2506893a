/* SPDX-License-Identifier: Apache-2.0 */
/* What defaults, the JSON and the simplified configuration share. */
#ifndef AMCT_RECIPE_PRIVATE_H
#define AMCT_RECIPE_PRIVATE_H

#include "op/lookup.h"
#include "recipe/recipe_keys.h"
#include "recipe/selector.h"

/** Fills the values of one object from the defaults of its rows; `base` as in
 * amct_recipe_store. */
AMCT_NODISCARD amct_status amct_recipe_fill(amct_recipe_object object,
                                            const amct_recipe_fallbacks *fallbacks,
                                            void *base, amct_arena *arena,
                                            amct_error *err);
/** Fills the globals of a recipe, and what a purpose has no keys for. */
AMCT_NODISCARD amct_status amct_recipe_start(amct_recipe *recipe,
                                             const amct_recipe_fallbacks *fallbacks,
                                             amct_error *err);
/** Clips of which one is given count as none, with a warning. */
void amct_recipe_settle_clips(amct_layer_recipe *entry, const char *path);
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
/** AMCT_BAD_CONFIG where the recipe has no layers, or `skipping` left none. */
AMCT_NODISCARD amct_status amct_recipe_check_any(const amct_recipe *recipe,
                                                 const amct_lookup *lookup,
                                                 amct_error *err);
AMCT_NODISCARD amct_status amct_recipe_check_left(const amct_recipe *recipe,
                                                  const amct_config_place *skipping,
                                                  amct_error *err);
/** True if a layer has a scale for each output channel unless it is told otherwise. */
bool amct_recipe_by_channel(const amct_layer *layer);

/**
 * What channel_wise true, chosen for several layers at once (`kind`), means to one of
 * them: those with one scale by default keep it. False: it has no scales by channel, and
 * was named, or its type.
 */
bool amct_recipe_settle_channels(amct_layer_recipe *entry, amct_select_kind kind);
/** The part that fusion needs; the recipe is gone. */
amct_recipe_fusion amct_recipe_fusion_of(amct_recipe *recipe);

/** Who may be named in a configuration. */
typedef struct amct_naming {
  amct_lookup lookup;
  amct_candidates layers; /* can be quantized */
  amct_layer_recipe *const *by_layer;
  amct_map skipped; /* nodes named in skip_layers so far */
  amct_map tensors; /* inputs named in tensor_quantize so far, by address */
} amct_naming;      /* zero-initialise */

AMCT_NODISCARD amct_status amct_naming_make(amct_naming *naming,
                                            const amct_layers *layers,
                                            const amct_graph *graph, amct_error *err);
void amct_naming_free(amct_naming *naming);
/** The entry of a layer that is named exactly. Refused: what cannot be quantized, and a
 * name that `seen` holds. */
AMCT_NODISCARD amct_status amct_naming_entry(const amct_naming *naming, const char *name,
                                             amct_map *seen,
                                             const amct_config_place *place,
                                             amct_layer_recipe **entry, amct_error *err);
/** Disables what one element of skip_layers names. */
AMCT_NODISCARD amct_status amct_naming_skip(amct_naming *naming, const char *text,
                                            const amct_config_place *place,
                                            amct_error *err);

/** Makes names of the patterns in skip_fusion_layers, and checks the names. `lines`:
 * where each stands, or NULL. */
AMCT_NODISCARD amct_status amct_recipe_name_unfused(amct_recipe *recipe,
                                                    const amct_graph *graph,
                                                    const char *path,
                                                    const uint32_t *lines,
                                                    amct_error *err);
/** Room for the tensors of tensor_quantize. */
AMCT_NODISCARD amct_status amct_recipe_expect_tensors(amct_recipe *recipe, size_t count,
                                                      amct_error *err);
/** The next of them with the defaults, its op not named yet. */
AMCT_NODISCARD amct_status amct_recipe_add_tensor(amct_recipe *recipe,
                                                  const amct_recipe_fallbacks *fallbacks,
                                                  amct_layer_recipe **entry,
                                                  amct_error *err);
/** Checks what an element of tensor_quantize names, and names the last tensor after it.
 */
AMCT_NODISCARD amct_status amct_recipe_name_tensor(amct_recipe *recipe,
                                                   const amct_tensor_recipe *named,
                                                   amct_naming *naming,
                                                   const amct_config_place *place,
                                                   amct_error *err);
/** Layers with two data inputs are symmetric, whatever is asked of them. */
void amct_recipe_settle_range(amct_layer_recipe *entry);
/** What joint_quant does not do, in the log. */
void amct_recipe_warn_joint(const amct_recipe *recipe, const char *path);

#endif
