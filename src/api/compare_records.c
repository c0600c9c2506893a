/* SPDX-License-Identifier: Apache-2.0 */
#include "amct/inspect.h"

#include "api/report.h"
#include "base/map.h"
#include "base/names.h"
#include "base/number.h"
#include "factors/record.h"

#include <math.h>

typedef enum field {
  SCALE_D,
  OFFSET_D,
  SCALE_W,
  OFFSET_W,
  SHIFT_BIT,
  SKIP_FUSION,
  FIELDS
} field;

static const char *const k_fields[FIELDS] = {"scale_d",  "offset_d",  "scale_w",
                                             "offset_w", "shift_bit", "skip_fusion"};

static size_t count_of(const amct_factors *f, field which) {
  switch (which) {
  case SCALE_W:
    return f->scale_w_count;
  case OFFSET_W:
    return f->offset_w_count;
  case SHIFT_BIT:
    return f->shift_count;
  case SKIP_FUSION:
    return 1;
  default:
    return f->has_data;
  }
}

static double value_of(const amct_factors *f, field which, size_t i) {
  switch (which) {
  case SCALE_D:
    return (double)f->scale_d;
  case OFFSET_D:
    return f->offset_d;
  case SCALE_W:
    return (double)f->scale_w[i];
  case OFFSET_W:
    return f->offset_w[i];
  case SHIFT_BIT:
    return f->shift_bit[i];
  default:
    return f->skip_fusion;
  }
}

static void print_value(char text[AMCT_NUMBER_BYTES], const amct_factors *f, field which,
                        size_t i) {
  if (which == SKIP_FUSION)
    strcpy(text, f->skip_fusion ? "true" : "false");
  else
    amct_number_print_float(text, (float)value_of(f, which, i));
}

/* Least and most of a field, or its one value, or nothing. */
static amct_cell range_cell(amct_report *report, const amct_factors *f, field which) {
  const size_t count = count_of(f, which);
  char low[AMCT_NUMBER_BYTES], high[AMCT_NUMBER_BYTES];
  size_t least = 0, most = 0;
  if (count == 0) return amct_cell_text("-");
  for (size_t i = 1; i < count; i++) {
    if (value_of(f, which, i) < value_of(f, which, least)) least = i;
    if (value_of(f, which, i) > value_of(f, which, most)) most = i;
  }
  print_value(low, f, which, least);
  print_value(high, f, which, most);
  if (strcmp(low, high) == 0) return amct_cell_format(report, "%s", low);
  return amct_cell_format(report, "%s..%s", low, high);
}

amct_status amct_show_record(char **report, const char *record_file, amct_error *err) {
  amct_report r = {.form = AMCT_REPORT_TEXT};
  amct_record record = {0};
  *report = NULL;
  amct_status status = amct_record_read(&record, record_file, err);
  amct_table table = {
      "layers",
      amct_cell_format(&r, "%zu layers", record.layers.count).shown,
      {"layer", "scale_d", "offset_d", "channels", "scale_w", "shift_bit", "skip_fusion"},
      7,
      false};
  for (size_t i = 0; i < record.layers.count && status == AMCT_OK; i++) {
    const amct_factors *f = &record.layers.at[i];
    const amct_cell row[] = {amct_cell_text(f->key),
                             range_cell(&r, f, SCALE_D),
                             range_cell(&r, f, OFFSET_D),
                             f->scale_w_count
                                 ? amct_cell_number(&r, (int64_t)f->scale_w_count)
                                 : amct_cell_text("-"),
                             range_cell(&r, f, SCALE_W),
                             range_cell(&r, f, SHIFT_BIT),
                             range_cell(&r, f, SKIP_FUSION)};
    amct_table_row(&r, &table, row);
  }
  if (table.cells.count == 0) amct_buffer_text(&r.text, "0 layers\n");
  amct_report_table(&r, &table);
  amct_record_free(&record);
  if (status == AMCT_OK) return amct_report_finish(&r, report, err);
  amct_report_free(&r);
  return status;
}

/* Two records and what was found so far. */
typedef struct comparison {
  amct_record a, b;
  amct_names names;
  amct_map in_b, seen; /* by interned key: factors of b; what a has too */
  amct_report report;
  size_t lines, differ, only_a, only_b;
} comparison;

static bool same(double a, double b) {
  return a == b || (isnan(a) && isnan(b));
}

/* How far b is from a, in parts of a. */
static double relative(double a, double b) {
  const double distance = fabs(b - a) / fabs(a);
  return isnan(distance) ? (double)INFINITY : distance;
}

static void put_head(comparison *c, char sign, const char *key) {
  amct_buffer_format(&c->report.text, "%c ", sign);
  amct_report_put(&c->report.text, key);
  amct_buffer_text(&c->report.text, ": ");
  c->lines++;
}

static void put_change(comparison *c, const amct_factors *a, const amct_factors *b,
                       field which, size_t i) {
  char before[AMCT_NUMBER_BYTES], after[AMCT_NUMBER_BYTES];
  const double part = relative(value_of(a, which, i), value_of(b, which, i));
  print_value(before, a, which, i);
  print_value(after, b, which, i);
  amct_buffer_format(&c->report.text, "%s -> %s", before, after);
  if ((which == SCALE_D || which == SCALE_W) && isfinite(part))
    amct_buffer_format(&c->report.text, " (%.2g %%)", 100 * part);
}

/* True if the field differs. */
static bool compare_field(comparison *c, const amct_factors *a, const amct_factors *b,
                          field which) {
  const size_t count = count_of(a, which);
  size_t differ = 0, most = 0;
  double greatest = -1;
  if (count != count_of(b, which)) {
    put_head(c, '~', a->key);
    amct_buffer_format(&c->report.text, "%s: %zu values -> %zu\n", k_fields[which], count,
                       count_of(b, which));
    return true;
  }
  for (size_t i = 0; i < count; i++) {
    const double before = value_of(a, which, i), after = value_of(b, which, i);
    if (same(before, after)) continue;
    differ++;
    if (relative(before, after) <= greatest) continue;
    greatest = relative(before, after);
    most = i;
  }
  if (differ == 0) return false;
  put_head(c, '~', a->key);
  amct_buffer_format(&c->report.text, "%s: ", k_fields[which]);
  if (count > 1)
    amct_buffer_format(&c->report.text, "%zu of %zu values differ, most at %zu: ", differ,
                       count, most);
  put_change(c, a, b, which, most);
  amct_buffer_text(&c->report.text, "\n");
  return true;
}

static amct_status note_keys(comparison *c, amct_error *err) {
  for (size_t i = 0; i < c->b.layers.count; i++) {
    amct_factors *f = &c->b.layers.at[i];
    amct_name key = amct_names_intern(&c->names, amct_slice_of(f->key));
    if (!key) return amct_fail_memory(err);
    AMCT_TRY(amct_map_set(&c->in_b, key, f, err));
  }
  return AMCT_OK;
}

static amct_status compare_layer(comparison *c, amct_factors *a, amct_error *err) {
  amct_name key = amct_names_find(&c->names, amct_slice_of(a->key));
  const amct_factors *b = key ? amct_map_get(&c->in_b, key) : NULL;
  bool differs = false;
  if (!b) {
    put_head(c, '-', a->key);
    amct_buffer_text(&c->report.text, "only in the first\n");
    c->only_a++;
    return AMCT_OK;
  }
  for (int which = 0; which < FIELDS; which++)
    differs = compare_field(c, a, b, (field)which) || differs;
  c->differ += differs;
  return amct_map_set(&c->seen, b, a, err);
}

static amct_status compare(comparison *c, const char *record_a, const char *record_b,
                           amct_error *err) {
  AMCT_TRY(amct_record_read(&c->a, record_a, err));
  AMCT_TRY(amct_record_read(&c->b, record_b, err));
  AMCT_TRY(note_keys(c, err));
  for (size_t i = 0; i < c->a.layers.count; i++)
    AMCT_TRY(compare_layer(c, &c->a.layers.at[i], err));
  for (size_t i = 0; i < c->b.layers.count; i++) {
    if (amct_map_get(&c->seen, &c->b.layers.at[i])) continue;
    put_head(c, '+', c->b.layers.at[i].key);
    amct_buffer_text(&c->report.text, "only in the second\n");
    c->only_b++;
  }
  amct_buffer_format(&c->report.text,
                     "%zu layers are the same, %zu differ, %zu are only in the first, "
                     "%zu in the second\n",
                     c->a.layers.count - c->only_a - c->differ, c->differ, c->only_a,
                     c->only_b);
  return AMCT_OK;
}

amct_status amct_compare_records(char **report, size_t *differences, const char *record_a,
                                 const char *record_b, amct_error *err) {
  comparison c = {.report = {.form = AMCT_REPORT_TEXT}};
  *report = NULL;
  amct_status status = compare(&c, record_a, record_b, err);
  if (status == AMCT_OK)
    status = amct_report_finish(&c.report, report, err);
  else
    amct_report_free(&c.report);
  if (status == AMCT_OK) *differences = c.lines;
  amct_map_free(&c.in_b);
  amct_map_free(&c.seen);
  amct_names_free(&c.names);
  amct_record_free(&c.a);
  amct_record_free(&c.b);
  return status;
}
