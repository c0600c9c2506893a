/* SPDX-License-Identifier: Apache-2.0 */
/** @file
 * Looking at models and records: reports for people, and JSON for programs. Texts that
 * these calls return end in a line break and are freed with amct_text_free. */
#ifndef AMCT_INSPECT_H
#define AMCT_INSPECT_H

#include "amct/quantize.h"

#ifdef __cplusplus
extern "C" {
#endif

/** How a report is written. */
typedef enum amct_report_form {
  AMCT_REPORT_TEXT = 0, /**< tables */
  AMCT_REPORT_JSON = 1, /**< one object; bytes that are not UTF-8 become U+FFFD */
} amct_report_form;

/**
 * What a model holds and what would be done with it. The JSON object:
 *   model, bytes, nodes, functions; parameters {constants, values, bytes};
 *   inputs [{name, op, dtype, shape}]   placeholders
 *   outputs [{name, op, shape}]         `outputs`, or, where empty, what nobody reads
 *   ops {op: count}
 *   quantized_by                        the first quantization op, else null: of a model
 *                                       that has one, no fusions and layers are listed
 *   fusions [{rule, node, layers}]      done
 *   declined [{rule, node, reason}]     fusions that are not
 *   layers [{name, op, granularity, channels}]   that can be quantized
 *   float_layers [{name, op, reason}]   that cannot
 *   tensors [{name, op, inputs}]        ops whose input tensors may be quantized one by
 *                                       one, by tensor_quantize
 * A dtype is named as TensorFlow does ("float32"); a shape is a list with null for
 * unknown sizes, or null; channels is null where there are none or they are unknown.
 *
 * @param[out] left    declined fusions and float layers, also in functions; may be NULL
 * @param[in]  outputs  names of output nodes, without ":0"; they are not fused away
 * @return AMCT_OK; AMCT_INVALID_ARGUMENT (outputs); AMCT_IO; AMCT_BAD_FORMAT,
 * AMCT_BAD_GRAPH (source).
 */
AMCT_API AMCT_NODISCARD amct_status amct_inspect_model(char **report, size_t *left,
                                                       const amct_source *source,
                                                       amct_strings outputs,
                                                       amct_report_form form,
                                                       amct_error *err);

/**
 * How model b differs from model a, a line a difference: `- name: op` only in a, `+ name:
 * op` only in b, `~ name: what a has -> what b has`; constants value by value, as
 * numbers. The order of nodes does not count; functions are not looked into.
 *
 * @param[out] differences  lines but the last, which sums up
 * @return AMCT_OK; AMCT_IO; AMCT_BAD_FORMAT; AMCT_BAD_GRAPH.
 */
AMCT_API AMCT_NODISCARD amct_status amct_compare_models(char **report,
                                                        size_t *differences,
                                                        const char *pb_a,
                                                        const char *pb_b,
                                                        amct_error *err);

/** The fusion rules in the order in which they run, a line each; `with_patterns`: with
 * what they look for and what they make of it. */
AMCT_API AMCT_NODISCARD amct_status amct_list_passes(char **report, bool with_patterns,
                                                     amct_error *err);

/**
 * Does all that amct_save_model does with a record, and writes nothing.
 *
 * @param[out] quantized  layers that would be quantized; may be NULL
 * @return as amct_save_model, but `outputs` may be empty.
 */
AMCT_API AMCT_NODISCARD amct_status amct_check_record(size_t *quantized,
                                                      const char *pb_model,
                                                      amct_strings outputs,
                                                      const char *record_file,
                                                      amct_error *err);

/** A record as a table, a line a layer. @return AMCT_OK; AMCT_IO; AMCT_BAD_RECORD;
 * AMCT_BAD_FORMAT. */
AMCT_API AMCT_NODISCARD amct_status amct_show_record(char **report,
                                                     const char *record_file,
                                                     amct_error *err);

/**
 * How record b differs from record a, a line a layer and field; the order of layers does
 * not count. Of fields with many values, how many differ, and the greatest difference.
 *
 * @param[out] differences  lines but the last, which sums up
 * @return as amct_show_record.
 */
AMCT_API AMCT_NODISCARD amct_status amct_compare_records(char **report,
                                                         size_t *differences,
                                                         const char *record_a,
                                                         const char *record_b,
                                                         amct_error *err);

#ifdef __cplusplus
}
#endif

#endif
