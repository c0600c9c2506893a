/* SPDX-License-Identifier: Apache-2.0 */
/** @file
 * The flows: configuration, calibration, the quantized model. */
#ifndef AMCT_QUANTIZE_H
#define AMCT_QUANTIZE_H

#include <stdbool.h>

#include "amct/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/** "0.1.0". Static storage. */
AMCT_API const char *amct_version(void);

/** A frozen pb by path, or (data not NULL) a serialized GraphDef in memory that `path`
 * names in messages. */
typedef struct amct_source {
  const char *path; /**< of the file, or its name in messages */
  const void *data; /**< NULL: the file is read */
  size_t size;      /**< bytes of data */
} amct_source;

/** A list of names; `at` may be NULL when count is 0. */
typedef struct amct_strings {
  const char *const *at; /**< the names */
  size_t count;          /**< how many */
} amct_strings;

/** What amct_create_quant_config may be told. */
typedef struct amct_config_options {
  /** that are not quantized: names, patterns ("net/b*"), types ("type:MatMul") or
   * regions ("from:net/a to:net/b") */
  amct_strings skip_layers;
  int64_t batch_num;             /**< calibration batches, > 0 */
  bool activation_offset;        /**< true: asymmetric activations */
  const char *config_defination; /**< path of a simplified configuration (.cfg), which
                                    stands in for the three above; NULL: none */
  const char *preset; /**< "accurate": algorithms of layers that name none; NULL: none */
} amct_config_options;

/** The defaults. */
#define AMCT_CONFIG_OPTIONS_INIT                                                         \
  { {NULL, 0}, 1, true, NULL, NULL }

/**
 * Writes the quantization configuration (JSON) of a graph to `config_file`; an existing
 * file is replaced, with a warning.
 *
 * @return AMCT_OK; AMCT_INVALID_ARGUMENT (batch_num, preset); AMCT_IO; AMCT_BAD_FORMAT,
 * AMCT_BAD_GRAPH (source); AMCT_BAD_FORMAT (the simplified configuration is no protobuf
 * text); AMCT_BAD_CONFIG (it, or a skipped layer, does not fit the graph; nothing left to
 * quantize); AMCT_UNSUPPORTED (the graph holds quantization ops already).
 */
AMCT_API AMCT_NODISCARD amct_status
amct_create_quant_config(const amct_source *source, const char *config_file,
                         const amct_config_options *options, amct_error *err);

/** The edits that make a graph measure itself, or train its quantization (retrain.h). */
typedef struct amct_calibration amct_calibration;

/** Kinds of edit; what each uses stands behind it. */
typedef enum amct_live_kind {
  AMCT_LIVE_ADD = 0,       /**< nodedef: a serialized NodeDef; `near` a node in whose
                              control-flow context it belongs */
  AMCT_LIVE_SET_INPUT = 1, /**< data input `index` of node `name` becomes tensor `near` */
  AMCT_LIVE_VARIABLE = 2,  /**< nodedef: a Const; a variable of its name and value that
                              others read under that name; trainable if `index` is 0 */
} amct_live_kind;

/** One edit of a live graph; strings and bytes live as long as the calibration. */
typedef struct amct_live_edit {
  amct_live_kind kind; /**< which of the fields below count */
  const char *name;    /**< of the node that changes, or is added */
  const char *near;    /**< another node, or a tensor "node:index" */
  const void *nodedef; /**< serialized, NULL where no node is added */
  size_t nodedef_size; /**< bytes of nodedef */
  uint32_t index;      /**< of an input */
} amct_live_edit;

/**
 * Plans the observers for a live graph, begins a calibration and writes an empty record.
 * `outputs` may be empty.
 *
 * @param record_file  any path; made absolute
 * @return as amct_create_quant_config; AMCT_BAD_CONFIG (the configuration does not fit
 * the graph).
 */
AMCT_API AMCT_NODISCARD amct_status amct_quantize_model(
    amct_calibration **out, const amct_source *source, const char *config_file,
    const char *record_file, amct_strings outputs, amct_error *err);
/** Number of edits. */
AMCT_API size_t amct_calibration_size(const amct_calibration *calibration);
/** Edit i, 0 <= i < size; borrowed, valid while the calibration lives. */
AMCT_API AMCT_NODISCARD amct_status amct_calibration_edit(amct_calibration *calibration,
                                                          size_t i, amct_live_edit *edit,
                                                          amct_error *err);
/** Frees the edits; NULL is fine. The calibration itself goes on. */
AMCT_API void amct_calibration_free(amct_calibration *calibration);

/** Writes factors that this process has complete and not yet in their record (NULL: all
 * records that are still there). */
AMCT_API AMCT_NODISCARD amct_status amct_flush_calibration(const char *record_file,
                                                           amct_error *err);

/**
 * Fuses, inserts the deploy ops and writes `<save_path>_quantized.pb` and
 * `<save_path>_quant.json` (save_path "dir/": "dir/quantized.pb").
 *
 * @param outputs  names of output nodes, without ":0"; they keep their names
 * @return AMCT_OK; AMCT_INVALID_ARGUMENT (no outputs, ":0"); AMCT_IO; AMCT_BAD_FORMAT;
 * AMCT_BAD_GRAPH; AMCT_BAD_RECORD; AMCT_NOT_READY (the record is empty);
 * AMCT_UNSUPPORTED. Nothing is written then.
 */
AMCT_API AMCT_NODISCARD amct_status amct_save_model(const char *pb_model,
                                                    amct_strings outputs,
                                                    const char *record_file,
                                                    const char *save_path,
                                                    amct_error *err);
/** The same with a record of the user's own factors, of the original float model. Layers
 * that the record does not name stay float. AMCT_BAD_RECORD where it has none. */
AMCT_API AMCT_NODISCARD amct_status amct_convert_model(const char *pb_model,
                                                       amct_strings outputs,
                                                       const char *record_file,
                                                       const char *save_path,
                                                       amct_error *err);

/**
 * Fuses only, as amct_save_model does first, and writes `<save_path>_fused.pb` (save_path
 * "dir/": "dir/fused.pb"): to compare the float graphs before and after.
 *
 * @return as amct_save_model, without a record. Nothing is written on a failure.
 */
AMCT_API AMCT_NODISCARD amct_status amct_fuse_model(const char *pb_model,
                                                    amct_strings outputs,
                                                    const char *save_path,
                                                    amct_error *err);

/**
 * What would be fused and quantized, as text lines sorted by place in the graph:
 *   `fold <rule> <layer>[,<layer>...] <batch norm>`, `fuse <rule> <batch norm>`, `keep
 * <rule> <batch norm>: <reason>`, `layer <op> <name> <per_channel|per_tensor>
 * <channels>`, `float <op> <name>: <reason>`.
 * @param[out] text  NUL-terminated, freed with amct_text_free
 */
AMCT_API AMCT_NODISCARD amct_status amct_describe_plan(char **text,
                                                       const amct_source *source,
                                                       amct_strings outputs,
                                                       amct_error *err);
/** Frees text that a call returned; NULL is fine. */
AMCT_API void amct_text_free(char *text);

#ifdef __cplusplus
}
#endif

#endif
