/* SPDX-License-Identifier: Apache-2.0 */
/* What the user asked for: the configuration, its defaults, its JSON file. */
#ifndef AMCT_RECIPE_H
#define AMCT_RECIPE_H

#include "numeric/range.h"
#include "numeric/weights.h"
#include "op/layers.h"

/** What a configuration is for: each has keys of its own. */
typedef enum amct_recipe_purpose {
  AMCT_FOR_CALIBRATION = 0,
  AMCT_FOR_RETRAINING = 1,
} amct_recipe_purpose;

/** Clips of an activation that training starts from; max and min 0: taken from data. */
typedef struct amct_clips {
  double max, min;
  bool fixed_min; /* min stays 0 */
} amct_clips;

typedef enum amct_preset {
#define PRESET(id, name, range, weighting) AMCT_PRESET_##id,
#include "recipe/presets.def"
#undef PRESET
  AMCT_PRESETS
} amct_preset;

/** The preset of a name; AMCT_PRESETS: there is none. */
amct_preset amct_preset_named(amct_slice name);

/** One layer of the configuration. */
typedef struct amct_layer_recipe {
  const char *name;
  const amct_layer *layer;  /* borrowed from the layers that the recipe was made for */
  bool enabled;             /* quant_enable, retrain_enable */
  amct_range_options range; /* activation_quant_params; asymmetric resolved */
  amct_clips clips;         /* retrain_data_config */
  bool channel_wise;        /* weight_quant_params; false for layers without weights */
  int64_t weighting;        /* an amct_weight_algorithm */
  double damping;           /* of AMCT_WEIGHT_GPTQ */
} amct_layer_recipe;

typedef struct amct_recipe {
  amct_recipe_purpose purpose; /* set before anything else is */
  int64_t batch_num;           /* > 0 */
  bool activation_offset;      /* asymmetric by default */
  bool joint_quant;
  bool do_fusion;
  bool bias_correction;
  bool search_n;  /* retraining: the record gets shifts */
  int64_t preset; /* an amct_preset */
  const char **skip_fusion_layers;
  size_t skip_fusion_count;
  amct_layer_recipe *layers; /* in file order of the graph */
  size_t layer_count;
  amct_layer_recipe *tensors; /* tensor_quantize, in file order; named "<op>:<input>" */
  size_t tensor_count;
  amct_arena arena; /* owns all of the above */
} amct_recipe;      /* zero-initialise */

typedef struct amct_recipe_options {
  const char *const *skip_layers; /* not quantized */
  size_t skip_count;
  int64_t batch_num;
  bool activation_offset;
  amct_preset preset;
} amct_recipe_options;

/**
 * The default recipe for the layers that can be quantized. skip_layers: names, patterns,
 * types, regions (selector.h). AMCT_BAD_CONFIG: a skipped name twice, not in the graph
 * (nearest names suggested), or not quantizable (its reason); nothing left to quantize.
 */
AMCT_NODISCARD amct_status amct_recipe_defaults(amct_recipe *recipe,
                                                const amct_layers *layers,
                                                const amct_graph *graph,
                                                const amct_recipe_options *options,
                                                amct_error *err);
/** Appends the JSON: key order of amct.md 3, layers by name, indent 4, "," and ":"
 * without blanks. */
AMCT_NODISCARD amct_status amct_recipe_print(const amct_recipe *recipe,
                                             amct_buffer *buffer, amct_error *err);
/** Prints and writes atomically. */
AMCT_NODISCARD amct_status amct_recipe_write(const amct_recipe *recipe, const char *path,
                                             amct_error *err);
/**
 * Reads and checks a configuration. Missing keys get defaults; a layer gets the entry of
 * its name, else the last of a pattern, type or region that takes it, else it is not
 * quantized. AMCT_IO; AMCT_BAD_FORMAT (not JSON, duplicate key: line and column);
 * AMCT_BAD_CONFIG naming file, layer, key, value and what is allowed.
 */
AMCT_NODISCARD amct_status amct_recipe_read(amct_recipe *recipe, const char *path,
                                            const amct_layers *layers,
                                            const amct_graph *graph, amct_error *err);
/** The two globals that fusion needs, read without a graph's layers (which depend on
 * fusion); patterns made names. */
typedef struct amct_recipe_fusion {
  bool do_fusion;
  const char **skip_fusion_layers;
  size_t skip_fusion_count;
  amct_arena arena;
} amct_recipe_fusion; /* zero-initialise; free the arena */
AMCT_NODISCARD amct_status amct_recipe_read_fusion(amct_recipe_fusion *fusion,
                                                   const char *path,
                                                   const amct_graph *graph,
                                                   amct_error *err);
/** How many layers are enabled; tensors do not count. */
size_t amct_recipe_enabled(const amct_recipe *recipe);
void amct_recipe_free(amct_recipe *recipe);

#endif
