/* SPDX-License-Identifier: Apache-2.0 */
/** @file
 * Status codes and the error record that every fallible function fills. */
#ifndef AMCT_STATUS_H
#define AMCT_STATUS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** @def AMCT_API
 * A function of the library. */
#if defined(AMCT_BUILDING)
#define AMCT_API __attribute__((visibility("default")))
#else
#define AMCT_API
#endif
/** The result must be looked at. */
#define AMCT_NODISCARD __attribute__((warn_unused_result))

/** X(name, number, meaning) for each status. One list: enum, names and documentation come
 * from it. Numbers are pinned; append only. */
#define AMCT_STATUS_MAP(X)                                                               \
  X(OK, 0, "success")                                                                    \
  X(INVALID_ARGUMENT, 1, "caller broke a documented precondition")                       \
  X(OUT_OF_MEMORY, 2, "allocation failed")                                               \
  X(IO, 3, "file could not be read or written")                                          \
  X(BAD_FORMAT, 4, "input is not a well-formed file of its kind")                        \
  X(BAD_GRAPH, 5, "graph breaks a structural invariant")                                 \
  X(UNSUPPORTED, 6, "well-formed, but outside what this version handles")                \
  X(BAD_CONFIG, 7, "configuration names or values do not fit the graph or the schema")   \
  X(BAD_RECORD, 8, "record of factors does not fit the graph or the schema")             \
  X(NOT_READY, 9, "calibration has not produced what is asked for")

/** How a call ended: AMCT_OK, or a row of AMCT_STATUS_MAP. */
typedef enum amct_status {
/** A row as an enumerator. */
#define AMCT_STATUS_ENUM(name, number, text) AMCT_##name = number,
  AMCT_STATUS_MAP(AMCT_STATUS_ENUM)
#undef AMCT_STATUS_ENUM
} amct_status;

enum { AMCT_ERROR_NODE_BYTES = 256, AMCT_ERROR_TEXT_BYTES = 1024 };

/**
 * What went wrong, in memory that the caller owns. Zero-initialise it once; the first
 * failure is kept, later ones do not overwrite it.
 */
typedef struct amct_error {
  amct_status status;   /**< the kind of failure; AMCT_OK: none yet */
  uint64_t byte_offset; /**< position in the file, 0 where it has none */
  char
      node[AMCT_ERROR_NODE_BYTES]; /**< offending node, layer or key; "" where it has none
                                    */
  char text[AMCT_ERROR_TEXT_BYTES]; /**< one line, lower case, no full stop */
} amct_error;

/** Name of a status, such as "BAD_GRAPH". Static storage; "UNKNOWN" for other numbers. */
AMCT_API const char *amct_status_name(amct_status status);

/** One-line meaning of a status. Static storage. */
AMCT_API const char *amct_status_text(amct_status status);

#ifdef __cplusplus
}
#endif

#endif
