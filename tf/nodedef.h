/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes of a node, read from the bytes of its NodeDef. */
#ifndef AMCT_NODEDEF_H
#define AMCT_NODEDEF_H

#include "base/bytes.h"
#include "wire/graphdef.h"

enum { AMCT_NODE_ATTRS_MAX = 64 };

/** A NodeDef taken apart; slices point into `bytes`. */
typedef struct amct_node_view {
  uint8_t *bytes; /* owned */
  size_t size;
  char *name; /* owned, NUL-terminated */
  amct_slice op;
  size_t count;
  struct {
    amct_slice key;
    amct_slice value; /* an AttrValue */
  } attrs[AMCT_NODE_ATTRS_MAX];
} amct_node_view;

/** Takes `bytes`, also on failure. AMCT_BAD_FORMAT; AMCT_OUT_OF_MEMORY; AMCT_UNSUPPORTED
 * (more attributes than AMCT_NODE_ATTRS_MAX). */
AMCT_NODISCARD amct_status amct_node_view_open(amct_node_view *view, uint8_t *bytes,
                                               size_t size, amct_error *err);
void amct_node_view_close(amct_node_view *view);

/* Each reads attribute `key`. AMCT_INVALID_ARGUMENT names node and key where it is
 * missing or of another kind. */

AMCT_NODISCARD amct_status amct_node_int(const amct_node_view *view, const char *key,
                                         int64_t *value, amct_error *err);
AMCT_NODISCARD amct_status amct_node_bool(const amct_node_view *view, const char *key,
                                          bool *value, amct_error *err);
AMCT_NODISCARD amct_status amct_node_float(const amct_node_view *view, const char *key,
                                           float *value, amct_error *err);
AMCT_NODISCARD amct_status amct_node_type(const amct_node_view *view, const char *key,
                                          amct_dtype *value, amct_error *err);
AMCT_NODISCARD amct_status amct_node_slice(const amct_node_view *view, const char *key,
                                           amct_slice *value, amct_error *err);
/** NUL-terminated copy, to be freed with amct_free; refuses text that holds a NUL. */
AMCT_NODISCARD amct_status amct_node_text(const amct_node_view *view, const char *key,
                                          char **value, amct_error *err);
/** Lists: `*values` has `*count` elements and is freed with amct_free; never NULL on
 * success. */
AMCT_NODISCARD amct_status amct_node_ints(const amct_node_view *view, const char *key,
                                          int64_t **values, size_t *count,
                                          amct_error *err);
AMCT_NODISCARD amct_status amct_node_slices(const amct_node_view *view, const char *key,
                                            amct_slice **values, size_t *count,
                                            amct_error *err);

/** True if the node has the attribute. */
bool amct_node_has(const amct_node_view *view, const char *key);

#endif
