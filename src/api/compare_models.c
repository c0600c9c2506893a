/* SPDX-License-Identifier: Apache-2.0 */
#include "amct/inspect.h"

#include "api/report.h"
#include "api/study.h"
#include "base/number.h"
#include "graph/textform.h"

#include <math.h>
#include <stdlib.h>

typedef struct comparison {
  amct_study a, b;
  amct_report report;
  amct_arena scratch; /* values and attributes of the nodes compared now */
  size_t lines, same, differ, only_a, only_b;
} comparison;

static amct_buffer *put_head(comparison *c, char sign, const char *name) {
  amct_buffer *out = &c->report.text;
  amct_buffer_format(out, "%c ", sign);
  amct_report_put(out, name);
  amct_buffer_text(out, ": ");
  c->lines++;
  return out;
}

static void put_only(comparison *c, char sign, const amct_node *node) {
  amct_buffer *out = put_head(c, sign, node->name);
  amct_report_put(out, node->op);
  amct_buffer_text(out, "\n");
}

static void put_edge(amct_buffer *out, const amct_node *node, uint32_t i) {
  if (i >= node->input_count) {
    amct_buffer_text(out, "none");
    return;
  }
  const amct_edge edge = node->inputs[i];
  if (edge.port == AMCT_CONTROL) amct_buffer_text(out, "^");
  amct_report_put(out, edge.node->name);
  if (edge.port > 0) amct_buffer_format(out, ":%d", (int)edge.port);
}

static bool same_edge(const amct_node *a, const amct_node *b, uint32_t i) {
  return i < a->input_count && i < b->input_count &&
         a->inputs[i].port == b->inputs[i].port &&
         strcmp(a->inputs[i].node->name, b->inputs[i].node->name) == 0;
}

static void compare_inputs(comparison *c, const amct_node *a, const amct_node *b) {
  const uint32_t count =
      a->input_count > b->input_count ? a->input_count : b->input_count;
  for (uint32_t i = 0; i < count; i++) {
    if (same_edge(a, b, i)) continue;
    amct_buffer *out = put_head(c, '~', a->name);
    amct_buffer_format(out, "input %u: ", (unsigned)i);
    put_edge(out, a, i);
    amct_buffer_text(out, " -> ");
    put_edge(out, b, i);
    amct_buffer_text(out, "\n");
  }
}

static void put_slice(comparison *c, amct_buffer *out, amct_slice text) {
  const char *copy = amct_arena_text(&c->scratch, (const char *)text.data, text.size);
  if (!copy) c->report.failed = true;
  amct_report_put(out, copy ? copy : "");
}

static void compare_heads(comparison *c, const amct_node *a, const amct_node *b) {
  if (strcmp(a->op, b->op) != 0) {
    amct_buffer *out = put_head(c, '~', a->name);
    amct_buffer_text(out, "op: ");
    amct_report_put(out, a->op);
    amct_buffer_text(out, " -> ");
    amct_report_put(out, b->op);
    amct_buffer_text(out, "\n");
  }
  if (!amct_slice_equal(a->device, b->device)) {
    amct_buffer *out = put_head(c, '~', a->name);
    amct_buffer_text(out, "device: \"");
    put_slice(c, out, a->device);
    amct_buffer_text(out, "\" -> \"");
    put_slice(c, out, b->device);
    amct_buffer_text(out, "\"\n");
  }
  compare_inputs(c, a, b);
}

/* How two tensors of one dtype and shape differ. */
typedef struct distance {
  size_t differ, most; /* elements; the one furthest apart */
  double greatest, before, after;
} distance;

static void add_distance(distance *d, size_t i, double a, double b) {
  double apart = fabs(b - a);
  if (a == b || (isnan(a) && isnan(b))) return;
  if (isnan(apart)) apart = (double)INFINITY;
  if (d->differ++ && apart <= d->greatest) return;
  d->most = i;
  d->greatest = apart;
  d->before = a;
  d->after = b;
}

static bool is_real(amct_dtype dtype) {
  return dtype == AMCT_DTYPE_FLOAT || dtype == AMCT_DTYPE_DOUBLE ||
         dtype == AMCT_DTYPE_HALF || dtype == AMCT_DTYPE_BFLOAT16;
}

/* Elements that hold all the values written in either file; the others repeat the last.
 */
static size_t written(const amct_tensor tensor[2]) {
  const size_t a = tensor[0].message.size, b = tensor[1].message.size;
  const size_t most = a > b ? a : b; /* a value takes a byte at least */
  return tensor[0].count < most ? tensor[0].count : most;
}

static amct_status measure(comparison *c, const amct_node *node[2],
                           const amct_tensor given[2], distance *d, amct_error *err) {
  const float *floats[2];
  const int64_t *ints[2];
  const bool real = is_real(given[0].dtype);
  const size_t count = given[0].count, first = written(given);
  amct_tensor tensor[2] = {given[0], given[1]};
  tensor[0].count = tensor[1].count = first;
  for (int k = 0; k < 2; k++)
    AMCT_TRY(real ? amct_tensor_floats(&tensor[k], &c->scratch, &floats[k], node[k], err)
                  : amct_tensor_ints(&tensor[k], &c->scratch, &ints[k], node[k], err));
  size_t before = 0;
  for (size_t i = 0; i < first; i++) {
    before = d->differ;
    add_distance(d, i, real ? (double)floats[0][i] : (double)ints[0][i],
                 real ? (double)floats[1][i] : (double)ints[1][i]);
  }
  if (d->differ > before) d->differ += count - first;
  return AMCT_OK;
}

static void put_type(comparison *c, amct_buffer *out, const amct_tensor *tensor) {
  amct_buffer_format(out, "%s%s", amct_report_dtype(tensor->dtype),
                     amct_cell_shape(&c->report, &tensor->shape).shown);
}

static void put_distance(comparison *c, const amct_node *node, const amct_tensor *tensor,
                         const distance *d) {
  char before[AMCT_NUMBER_BYTES], after[AMCT_NUMBER_BYTES];
  amct_buffer *out = put_head(c, '~', node->name);
  amct_number_print_float(before, (float)d->before);
  amct_number_print_float(after, (float)d->after);
  put_type(c, out, tensor);
  amct_buffer_format(out,
                     ": %zu of %zu values differ, by at most %.3g, at %zu: %s -> %s\n",
                     d->differ, tensor->count, d->greatest, d->most, before, after);
}

static bool same_shape(const amct_shape *a, const amct_shape *b) {
  return a->rank == b->rank &&
         memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0;
}

/* Values as numbers: the same values may be encoded in several ways. */
static amct_status compare_values(comparison *c, const amct_node *a, const amct_node *b,
                                  amct_error *err) {
  const amct_node *node[2] = {a, b};
  amct_tensor tensor[2];
  distance d = {0};
  AMCT_TRY(amct_const_tensor(a, &tensor[0], err));
  AMCT_TRY(amct_const_tensor(b, &tensor[1], err));
  if (amct_slice_equal(tensor[0].message, tensor[1].message)) return AMCT_OK;
  if (tensor[0].dtype != tensor[1].dtype ||
      !same_shape(&tensor[0].shape, &tensor[1].shape)) {
    amct_buffer *out = put_head(c, '~', a->name);
    put_type(c, out, &tensor[0]);
    amct_buffer_text(out, " -> ");
    put_type(c, out, &tensor[1]);
    amct_buffer_text(out, "\n");
    return AMCT_OK;
  }
  if (amct_dtype_bytes(tensor[0].dtype) == 0) {
    amct_buffer *out = put_head(c, '~', a->name);
    put_type(c, out, &tensor[0]);
    amct_buffer_text(out, ": values differ\n");
    return AMCT_OK;
  }
  AMCT_TRY(measure(c, node, tensor, &d, err));
  if (d.differ) put_distance(c, a, &tensor[0], &d);
  return AMCT_OK;
}

typedef struct attribute {
  amct_slice key, value;
  size_t place;
} attribute;

static int compare_keys(const attribute *a, const attribute *b) {
  const size_t size = a->key.size < b->key.size ? a->key.size : b->key.size;
  const int order = size ? memcmp(a->key.data, b->key.data, size) : 0;
  if (order) return order;
  return (a->key.size > b->key.size) - (a->key.size < b->key.size);
}

static int by_key(const void *left, const void *right) {
  const attribute *a = left, *b = right;
  const int order = compare_keys(a, b);
  return order ? order : (a->place > b->place) - (a->place < b->place);
}

/* Attributes by key; of one key, the last. NULL: no memory. */
static attribute *sorted_attributes(comparison *c, const amct_node *node, size_t *count) {
  amct_slice key, value;
  size_t all = 0, kept = 0;
  while (amct_attr_at(node, all, &key, &value))
    all++;
  attribute *list = amct_arena_array(&c->scratch, all + 1, sizeof *list);
  if (!list) return NULL;
  for (size_t i = 0; i < all; i++) {
    list[i].place = i;
    (void)amct_attr_at(node, i, &list[i].key, &list[i].value);
  }
  qsort(list, all, sizeof *list, by_key);
  for (size_t i = 0; i < all; i++)
    if (i + 1 == all || !amct_slice_equal(list[i].key, list[i + 1].key))
      list[kept++] = list[i];
  *count = kept;
  return list;
}

static void put_attribute(comparison *c, const amct_node *a, const attribute *in_a,
                          const amct_node *b, const attribute *in_b) {
  amct_buffer *out = put_head(c, '~', a->name);
  put_slice(c, out, in_a ? in_a->key : in_b->key);
  amct_buffer_text(out, ": ");
  if (in_a)
    amct_attr_print(a, in_a->place, out);
  else
    amct_buffer_text(out, "none");
  amct_buffer_text(out, " -> ");
  if (in_b)
    amct_attr_print(b, in_b->place, out);
  else
    amct_buffer_text(out, "none");
  amct_buffer_text(out, "\n");
}

/* What compare_values looks at. */
static bool is_value(const amct_node *node, const attribute *attr) {
  return strcmp(node->op, "Const") == 0 &&
         (amct_slice_equal(attr->key, amct_slice_of("value")) ||
          amct_slice_equal(attr->key, amct_slice_of("dtype")));
}

static amct_status compare_attributes(comparison *c, const amct_node *a,
                                      const amct_node *b, amct_error *err) {
  size_t counts[2] = {0}, i = 0, j = 0;
  const attribute *in_a = sorted_attributes(c, a, &counts[0]);
  const attribute *in_b = sorted_attributes(c, b, &counts[1]);
  if (!in_a || !in_b) return amct_fail_memory(err);
  while (i < counts[0] || j < counts[1]) {
    const attribute *x = &in_a[i], *y = &in_b[j];
    const int order = i == counts[0] ? 1 : j == counts[1] ? -1 : compare_keys(x, y);
    if (order > 0) x = NULL;
    if (order < 0) y = NULL;
    i += x != NULL;
    j += y != NULL;
    if (is_value(a, x ? x : y) || (x && y && amct_slice_equal(x->value, y->value)))
      continue;
    put_attribute(c, a, x, b, y);
  }
  return AMCT_OK;
}

static amct_status compare_nodes(comparison *c, const amct_node *a, const amct_node *b,
                                 amct_error *err) {
  const size_t lines = c->lines;
  const bool same_op = strcmp(a->op, b->op) == 0;
  compare_heads(c, a, b);
  if (same_op) AMCT_TRY(compare_attributes(c, a, b, err));
  if (same_op && strcmp(a->op, "Const") == 0) {
    AMCT_TRY(compare_values(c, a, b, err));
    amct_const_forget(a);
    amct_const_forget(b);
  }
  amct_arena_free(&c->scratch);
  c->scratch = (amct_arena){0};
  c->same += c->lines == lines;
  c->differ += c->lines != lines;
  return AMCT_OK;
}

static amct_status compare(comparison *c, const char *pb_a, const char *pb_b,
                           amct_error *err) {
  const amct_source a = {.path = pb_a}, b = {.path = pb_b};
  const amct_strings no_outputs = {NULL, 0};
  AMCT_TRY(amct_study_load(&c->a, &a, no_outputs, err));
  AMCT_TRY(amct_study_load(&c->b, &b, no_outputs, err));
  for (size_t i = 0; i < amct_graph_count(c->a.graph); i++) {
    const amct_node *node = amct_graph_at(c->a.graph, i);
    const amct_node *other = amct_graph_find(c->b.graph, node->name);
    if (other) {
      AMCT_TRY(compare_nodes(c, node, other, err));
      continue;
    }
    put_only(c, '-', node);
    c->only_a++;
  }
  for (size_t i = 0; i < amct_graph_count(c->b.graph); i++) {
    const amct_node *node = amct_graph_at(c->b.graph, i);
    if (amct_graph_find(c->a.graph, node->name)) continue;
    put_only(c, '+', node);
    c->only_b++;
  }
  amct_buffer_format(&c->report.text,
                     "%zu nodes are the same, %zu differ, %zu are only in the first, %zu "
                     "in the second\n",
                     c->same, c->differ, c->only_a, c->only_b);
  return AMCT_OK;
}

amct_status amct_compare_models(char **report, size_t *differences, const char *pb_a,
                                const char *pb_b, amct_error *err) {
  comparison c = {.report = {.form = AMCT_REPORT_TEXT}};
  *report = NULL;
  amct_status status = compare(&c, pb_a, pb_b, err);
  if (status == AMCT_OK)
    status = amct_report_finish(&c.report, report, err);
  else
    amct_report_free(&c.report);
  if (status == AMCT_OK) *differences = c.lines;
  amct_arena_free(&c.scratch);
  amct_study_free(&c.a);
  amct_study_free(&c.b);
  return status;
}
