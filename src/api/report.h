/* SPDX-License-Identifier: Apache-2.0 */
/* Writing reports: fields and tables that become aligned text or members of one JSON
 * object. Calls do not fail one by one: a lack of memory is kept, and told by finish. */
#ifndef AMCT_REPORT_H
#define AMCT_REPORT_H

#include "amct/inspect.h"
#include "base/arena.h"
#include "base/bytes.h"
#include "base/vec.h"
#include "graph/attrs.h"

/** A value, as people and as JSON see it. */
typedef struct amct_cell {
  const char *shown;
  const char *json; /* NULL: `shown` as a string */
} amct_cell;

typedef struct amct_report {
  amct_buffer text;
  amct_arena arena; /* of cells */
  amct_report_form form;
  bool started; /* something was written */
  bool failed;
} amct_report; /* zero-initialise, but for the form */

enum { AMCT_COLUMNS_MAX = 7 };

typedef struct amct_table {
  const char *key;   /* in JSON */
  const char *title; /* in text */
  const char *column[AMCT_COLUMNS_MAX];
  size_t columns;
  bool is_map;               /* two columns, which are keys and values of a JSON object */
  AMCT_VEC(amct_cell) cells; /* row by row */
} amct_table;

amct_cell amct_cell_text(const char *text); /* borrowed until the table is written */
amct_cell amct_cell_number(amct_report *report, int64_t number);
amct_cell amct_cell_shape(amct_report *report, const amct_shape *shape);
/** "a,b": a list of strings in JSON. */
amct_cell amct_cell_list(amct_report *report, const char *list);
/** printf; a string in JSON. */
amct_cell amct_cell_format(amct_report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/** Raw JSON, shown as something else. */
amct_cell amct_cell_raw(const char *shown, const char *json);

void amct_report_field(amct_report *report, const char *key, amct_cell cell);
void amct_table_row(amct_report *report, amct_table *table, const amct_cell *cells);
/** Writes the table and frees its cells. Text has no empty tables, JSON has. */
void amct_report_table(amct_report *report, amct_table *table);

/** Appends text of files: control characters, which may be terminal commands, as '?'. */
void amct_report_put(amct_buffer *out, const char *text);

/** Hands the text to the caller; nothing is left to free. */
AMCT_NODISCARD amct_status amct_report_finish(amct_report *report, char **text,
                                              amct_error *err);
void amct_report_free(amct_report *report);

/** "float32", as TensorFlow names it. */
const char *amct_report_dtype(amct_dtype dtype);

#endif
