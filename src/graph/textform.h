/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text form of a graph, for golden tests and dumps. A line a node:
 *
 *   name = Op(input, other:1, ^control) {attr=value, ...} @device
 *
 * Values: 3, 0.5, true, "text", DT_FLOAT, [1,2], shape [1,?,8] or ?, tensors
 * float[2,3](1,2,3,...).
 * `# ...` is a comment. Reading accepts a subset that suffices to write graphs by hand
 * (see text_parse.c).
 */
#ifndef AMCT_TEXTFORM_H
#define AMCT_TEXTFORM_H

#include "graph/edits.h"

/** Attributes T, dtype and shapes that follow from the values are left out; tensors over
 * 8 values are cut. */
void amct_graph_print(const amct_graph *graph, amct_buffer *buffer);

/** The value of an attribute, counted as amct_attr_at does, as the text form has it. */
void amct_attr_print(const amct_node *node, size_t i, amct_buffer *buffer);

/** Builds a graph from text form. AMCT_BAD_FORMAT names the line. Attribute T and dtype
 * default to DT_FLOAT. */
AMCT_NODISCARD amct_status amct_graph_from_text(amct_graph **out, amct_slice text,
                                                amct_error *err);

#endif
