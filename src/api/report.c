/* SPDX-License-Identifier: Apache-2.0 */
#include "api/report.h"

#include <stdarg.h>
#include <stdio.h>

enum { LABEL_WIDTH = 14, GAP = 2, WIDTH_MAX = 60 };

static amct_cell keep(amct_report *report, const char *text) {
  if (!text) report->failed = true;
  return (amct_cell){text ? text : "", NULL};
}

amct_cell amct_cell_text(const char *text) {
  return (amct_cell){text, NULL};
}

amct_cell amct_cell_raw(const char *shown, const char *json) {
  return (amct_cell){shown, json};
}

amct_cell amct_cell_format(amct_report *report, const char *format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return keep(report, amct_arena_text(&report->arena, text, strlen(text)));
}

amct_cell amct_cell_number(amct_report *report, int64_t number) {
  amct_cell cell = amct_cell_format(report, "%lld", (long long)number);
  cell.json = cell.shown;
  return cell;
}

static const char *shape_text(amct_report *report, const amct_shape *shape,
                              const char *unknown) {
  char text[AMCT_RANK_MAX * 24 + 3] = "[";
  size_t size = 1;
  if (shape->rank < 0) return unknown;
  for (int32_t i = 0; i < shape->rank; i++) {
    char dim[24];
    snprintf(dim, sizeof dim, "%lld", (long long)shape->dims[i]);
    size += (size_t)snprintf(text + size, sizeof text - size, "%s%s", i ? "," : "",
                             shape->dims[i] < 0 ? unknown : dim);
  }
  text[size++] = ']';
  return keep(report, amct_arena_text(&report->arena, text, size)).shown;
}

amct_cell amct_cell_shape(amct_report *report, const amct_shape *shape) {
  return (amct_cell){shape_text(report, shape, "?"), shape_text(report, shape, "null")};
}

/* Bytes of the UTF-8 character at `text`; 0: it is none. */
static size_t utf8_size(const unsigned char *text) {
  const unsigned char c = text[0];
  size_t size = c < 0x80   ? 1
                : c < 0xC2 ? 0
                : c < 0xE0 ? 2
                : c < 0xF0 ? 3
                : c < 0xF5 ? 4
                           : 0;
  for (size_t i = 1; i < size; i++)
    if ((text[i] & 0xC0) != 0x80) return 0;
  if ((c == 0xE0 && text[1] < 0xA0) || (c == 0xED && text[1] >= 0xA0) ||
      (c == 0xF0 && text[1] < 0x90) || (c == 0xF4 && text[1] >= 0x90))
    return 0;
  return size;
}

static void put_json_string(amct_buffer *out, const char *text, size_t length) {
  const char *const end = text + length;
  amct_buffer_text(out, "\"");
  while (text < end) {
    const unsigned char c = (unsigned char)*text;
    const size_t size = utf8_size((const unsigned char *)text);
    if (c == '"' || c == '\\')
      amct_buffer_format(out, "\\%c", c);
    else if (c < 0x20 || c == 0x7F)
      amct_buffer_format(out, "\\u%04x", c);
    else if (size)
      amct_buffer_append(out, text, size);
    else
      amct_buffer_text(out, "\\ufffd");
    text += size ? size : 1;
  }
  amct_buffer_text(out, "\"");
}

static void put_json_cell(amct_buffer *out, const amct_cell *cell) {
  if (cell->json)
    amct_buffer_text(out, cell->json);
  else
    put_json_string(out, cell->shown, strlen(cell->shown));
}

amct_cell amct_cell_list(amct_report *report, const char *list) {
  amct_buffer json = {0};
  amct_buffer_text(&json, "[");
  for (const char *at = list; *at;) {
    const size_t size = strcspn(at, ",");
    if (at != list) amct_buffer_text(&json, ", ");
    put_json_string(&json, at, size);
    at += size + (at[size] == ',');
  }
  amct_buffer_text(&json, "]");
  const char *text =
      json.failed ? NULL
                  : amct_arena_text(&report->arena, (const char *)json.data, json.size);
  amct_buffer_free(&json);
  return (amct_cell){list, keep(report, text).shown};
}

static size_t shown_width(const char *text) {
  size_t width = 0;
  for (; *text; text++)
    width += ((unsigned char)*text & 0xC0) != 0x80;
  return width;
}

void amct_report_put(amct_buffer *out, const char *text) {
  for (size_t run; *text; text += run) {
    for (run = 0; (unsigned char)text[run] >= 0x20 && text[run] != 0x7F; run++) {
    }
    amct_buffer_append(out, text, run);
    if (text[run]) {
      amct_buffer_text(out, "?");
      run++;
    }
  }
}

static void put_padded(amct_buffer *out, const char *text, size_t width) {
  const size_t used = shown_width(text);
  amct_report_put(out, text);
  amct_buffer_format(out, "%*s", (int)(used < width ? width - used : 0) + GAP, "");
}

static void begin_member(amct_report *report, const char *key) {
  amct_buffer_text(&report->text, report->started ? ",\n  \"" : "{\n  \"");
  amct_buffer_text(&report->text, key);
  amct_buffer_text(&report->text, "\": ");
  report->started = true;
}

void amct_report_field(amct_report *report, const char *key, amct_cell cell) {
  if (report->form == AMCT_REPORT_JSON) {
    begin_member(report, key);
    put_json_cell(&report->text, &cell);
    return;
  }
  put_padded(&report->text, key, LABEL_WIDTH - GAP);
  amct_report_put(&report->text, cell.shown);
  amct_buffer_text(&report->text, "\n");
  report->started = true;
}

void amct_table_row(amct_report *report, amct_table *table, const amct_cell *cells) {
  for (size_t i = 0; i < table->columns; i++)
    if (!AMCT_VEC_PUSH(&table->cells, cells[i])) report->failed = true;
}

static void put_json_row(amct_buffer *out, const amct_table *table,
                         const amct_cell *cells) {
  if (table->is_map) {
    put_json_cell(out, &cells[0]);
    amct_buffer_text(out, ": ");
    put_json_cell(out, &cells[1]);
    return;
  }
  for (size_t i = 0; i < table->columns; i++) {
    amct_buffer_format(out, "%s\"%s\": ", i ? ", " : "{", table->column[i]);
    put_json_cell(out, &cells[i]);
  }
  amct_buffer_text(out, "}");
}

static void put_json_table(amct_report *report, const amct_table *table) {
  const char *const open = table->is_map ? "{" : "[", *const close =
                                                          table->is_map ? "}" : "]";
  begin_member(report, table->key);
  amct_buffer_text(&report->text, open);
  for (size_t i = 0; i + table->columns <= table->cells.count; i += table->columns) {
    amct_buffer_text(&report->text, i ? ",\n    " : "\n    ");
    put_json_row(&report->text, table, &table->cells.at[i]);
  }
  if (table->cells.count) amct_buffer_text(&report->text, "\n  ");
  amct_buffer_text(&report->text, close);
}

static void put_line(amct_buffer *out, const amct_table *table, const amct_cell *cells,
                     const size_t *width) {
  amct_buffer_text(out, "  ");
  for (size_t i = 0; i + 1 < table->columns; i++)
    put_padded(out, cells[i].shown, width[i]);
  amct_report_put(out, cells[table->columns - 1].shown);
  amct_buffer_text(out, "\n");
}

/* A few very long names do not push all columns away. */
static size_t column_width(const amct_table *table, size_t column) {
  size_t widest = strlen(table->column[column]);
  for (size_t i = column; i < table->cells.count; i += table->columns) {
    const size_t width = shown_width(table->cells.at[i].shown);
    if (width > widest && width <= WIDTH_MAX) widest = width;
  }
  return widest;
}

static void put_text_table(amct_report *report, const amct_table *table) {
  size_t width[AMCT_COLUMNS_MAX];
  amct_cell head[AMCT_COLUMNS_MAX];
  if (table->cells.count == 0) return;
  for (size_t i = 0; i < table->columns; i++) {
    width[i] = column_width(table, i);
    head[i] = amct_cell_text(table->column[i]);
  }
  amct_buffer_format(&report->text, "%s%s\n", report->started ? "\n" : "", table->title);
  report->started = true;
  put_line(&report->text, table, head, width);
  for (size_t i = 0; i + table->columns <= table->cells.count; i += table->columns)
    put_line(&report->text, table, &table->cells.at[i], width);
}

void amct_report_table(amct_report *report, amct_table *table) {
  if (report->form == AMCT_REPORT_JSON)
    put_json_table(report, table);
  else
    put_text_table(report, table);
  AMCT_VEC_FREE(&table->cells);
}

amct_status amct_report_finish(amct_report *report, char **text, amct_error *err) {
  if (report->form == AMCT_REPORT_JSON)
    amct_buffer_text(&report->text, report->started ? "\n}\n" : "{}\n");
  amct_buffer_append(&report->text, "", 1);
  if (report->failed || report->text.failed) {
    amct_report_free(report);
    return amct_fail_memory(err);
  }
  *text = (char *)report->text.data;
  report->text = (amct_buffer){0}; /* moved to the caller */
  amct_report_free(report);
  return AMCT_OK;
}

void amct_report_free(amct_report *report) {
  amct_buffer_free(&report->text);
  amct_arena_free(&report->arena);
}

/* TensorFlow's names are ours in small letters, but for these. */
const char *amct_report_dtype(amct_dtype dtype) {
  static const struct {
    amct_dtype dtype;
    const char *name;
  } k_names[] = {
#define ROW(name, other) {AMCT_DTYPE_##name, other}
      ROW(FLOAT, "float32"),     ROW(DOUBLE, "float64"), ROW(HALF, "float16"),
      ROW(BFLOAT16, "bfloat16"), ROW(INT8, "int8"),      ROW(INT16, "int16"),
      ROW(INT32, "int32"),       ROW(INT64, "int64"),    ROW(UINT8, "uint8"),
      ROW(UINT16, "uint16"),     ROW(UINT32, "uint32"),  ROW(UINT64, "uint64"),
      ROW(QINT8, "qint8"),       ROW(QUINT8, "quint8"),  ROW(QINT16, "qint16"),
      ROW(QUINT16, "quint16"),   ROW(BOOL, "bool"),      ROW(STRING, "string"),
      ROW(RESOURCE, "resource"),
#undef ROW
  };
  for (size_t i = 0; i < sizeof k_names / sizeof *k_names; i++)
    if (k_names[i].dtype == dtype) return k_names[i].name;
  return "?";
}
