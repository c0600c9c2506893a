/* SPDX-License-Identifier: Apache-2.0 */
#include "folding.h"

#include "base/alloc.h"
#include "base/number.h"

enum { BATCH_NORM_INPUTS = 4 };

void amct_folding_clear(amct_folding *k) {
  amct_free(k->axes);
  amct_free(k->steps);
  amct_free(k->layer_name);
}

/* Cuts off what stands before the next ':'. */
static amct_slice cut(amct_slice *text) {
  const uint8_t *colon = text->size ? memchr(text->data, ':', text->size) : NULL;
  const size_t size = colon ? (size_t)(colon - text->data) : text->size;
  const amct_slice part = {text->data, size};
  const size_t taken = colon ? size + 1 : size;
  *text = (amct_slice){text->data + taken, text->size - taken};
  return part;
}

static bool read_count(amct_slice text, size_t *count) {
  double value = 0;
  if (!amct_number_read_double(text, &value)) return false;
  if (!(value >= 0 && value <= INT32_MAX) || value != (double)(size_t)value) return false;
  *count = (size_t)value;
  return true;
}

static bool is_arithmetic(amct_fold_kind kind) {
  return kind != AMCT_FOLD_BIAS && kind != AMCT_FOLD_BATCH_NORM;
}

static bool read_kind(amct_slice name, amct_fold_kind *kind) {
  for (int i = 0; i < AMCT_FOLD_KINDS; i++) {
    *kind = (amct_fold_kind)i;
    if (amct_slice_equal(name, amct_slice_of(amct_fold_kind_name(*kind)))) return true;
  }
  return false;
}

/* "bias", "multiply", ..., "batch_norm:<epsilon>"; behind it, perhaps, the layer's part
 * of the values, ":<first>:<count>". */
static bool read_step(amct_slice text, amct_folding_step *to) {
  double epsilon = 0;
  *to = (amct_folding_step){.kind = AMCT_FOLD_BIAS};
  if (text.size == 0 || text.data[text.size - 1] == ':') return false;
  if (!read_kind(cut(&text), &to->kind)) return false;
  if (to->kind == AMCT_FOLD_BATCH_NORM) {
    if (!amct_number_read_double(cut(&text), &epsilon) || !(epsilon >= 0)) return false;
    to->epsilon = (float)epsilon;
  }
  if (text.size == 0) return true;
  return read_count(cut(&text), &to->first) && read_count(text, &to->count) &&
         to->count > 0;
}

static amct_status init_steps(amct_folding *k, const amct_node_view *node,
                              amct_error *err) {
  amct_slice *texts = NULL;
  AMCT_TRY(amct_node_slices(node, "fold", &texts, &k->step_count, err));
  k->steps = amct_alloc_array(k->step_count + 1, sizeof *k->steps);
  amct_status status = k->steps ? AMCT_OK : amct_fail_memory(err);
  k->input_count = 1;
  for (size_t i = 0; i < k->step_count && status == AMCT_OK; i++) {
    if (!read_step(texts[i], &k->steps[i]))
      status = amct_fail(err, AMCT_INVALID_ARGUMENT, node->name,
                         "step %zu of fold is neither bias nor batch_norm:<epsilon> nor "
                         "arithmetic, of all values or of a part, :<first>:<count>",
                         i);
    k->input_count += k->steps[i].kind == AMCT_FOLD_BATCH_NORM ? BATCH_NORM_INPUTS : 1;
  }
  amct_free(texts);
  return status;
}

amct_status amct_folding_init_axes(amct_folding *k, const amct_node_view *node,
                                   amct_error *err) {
  AMCT_TRY(amct_node_text(node, "layer_name", &k->layer_name, err));
  AMCT_TRY(amct_node_ints(node, "channel_axes", &k->axes, &k->axis_count, err));
  bool good = k->axis_count > 0 && k->axes[0] >= 0;
  for (size_t i = 1; good && i < k->axis_count; i++)
    good = k->axes[i] - 1 == k->axes[i - 1];
  if (good) return AMCT_OK;
  return amct_fail(err, AMCT_INVALID_ARGUMENT, node->name,
                   "channel_axes are not neighbours in ascending order");
}

amct_status amct_folding_init(amct_folding *k, const amct_node_view *node,
                              amct_error *err) {
  AMCT_TRY(amct_folding_init_axes(k, node, err));
  return init_steps(k, node, err);
}

/* ---- one run ---- */

void amct_fold_inputs_close(amct_fold_inputs *in) {
  for (size_t i = 0; i < in->count; i++) {
    if (in->owned) amct_free(in->owned[i]);
    if (in->views) amct_tf_close(&in->views[i]);
  }
  amct_free(in->steps);
  amct_free(in->owned);
  amct_free(in->values);
  amct_free(in->views);
}

static amct_status open_inputs(const amct_folding *k, TF_OpKernelContext *context,
                               amct_fold_inputs *in, size_t extra, amct_error *err) {
  const size_t count = k->input_count + extra;
  const int given = tf.TF_NumInputs(context);
  if (given < 0 || (size_t)given != k->first_input + count)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "layer \"%s\": %d inputs where its fold takes %zu", k->layer_name,
                     given, k->first_input + count);
  in->views = amct_alloc_array(count, sizeof *in->views);
  in->values = amct_alloc_array(count, sizeof *in->values);
  in->owned = amct_alloc_array(count, sizeof *in->owned);
  in->count = count;
  if (!in->views || !in->values || !in->owned) return amct_fail_memory(err);
  for (size_t i = 0; i < in->count; i++) {
    AMCT_TRY(amct_tf_input(context, (int)(k->first_input + i), &in->views[i], err));
    AMCT_TRY(amct_tf_floats(&in->views[i], &in->values[i], &in->owned[i], err));
  }
  return AMCT_OK;
}

amct_status amct_folding_layout(const amct_folding *k, const amct_tf_view *weight,
                                amct_weight_layout *layout, amct_error *err) {
  char shape[AMCT_SHAPE_TEXT_BYTES];
  const int64_t first = k->axes[0], last = k->axes[k->axis_count - 1];
  if (weight->count == 0 || last >= weight->rank)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "layer \"%s\": weights of shape %s with channels on axis %lld",
                     k->layer_name, amct_tf_shape_text(weight, shape), (long long)last);
  *layout = (amct_weight_layout){1, 1, 1};
  for (int i = 0; i < weight->rank; i++) {
    size_t *const part = i < first  ? &layout->outer
                         : i > last ? &layout->inner
                                    : &layout->channels;
    *part *= (size_t)tf.TF_Dim(weight->tensor, i);
  }
  return AMCT_OK;
}

/* A parameter has one value a channel, along one axis: [C], [1,1,1,C], [1,C,1,1]; or
 * more, of which the layer has a part. */
static amct_status check_parameter(const amct_folding *k, const amct_tf_view *view,
                                   const amct_folding_step *s, size_t channels,
                                   amct_error *err) {
  char shape[AMCT_SHAPE_TEXT_BYTES];
  if (is_arithmetic(s->kind) && view->count == 1) return AMCT_OK; /* for all channels */
  bool good = view->rank > 0 &&
              (s->count ? s->count == channels && s->first + s->count <= view->count
                        : view->count == channels);
  int long_axes = 0;
  for (int i = 0; i < view->rank; i++)
    long_axes += tf.TF_Dim(view->tensor, i) != 1;
  if (good && long_axes <= 1) return AMCT_OK;
  return amct_fail(
      err, AMCT_INVALID_ARGUMENT, NULL,
      "layer \"%s\": a folded parameter of shape %s for %zu channels from %zu",
      k->layer_name, amct_tf_shape_text(view, shape), channels, s->first);
}

static amct_status check_parameters(const amct_folding *k, const amct_fold_inputs *in,
                                    size_t channels, amct_error *err) {
  const amct_tf_view *view = in->views + 1;
  for (size_t i = 0; i < k->step_count; i++) {
    const amct_folding_step *s = &k->steps[i];
    const size_t count = s->kind == AMCT_FOLD_BATCH_NORM ? BATCH_NORM_INPUTS : 1;
    for (size_t n = 0; n < count; n++)
      AMCT_TRY(check_parameter(k, view++, s, channels, err));
  }
  return AMCT_OK;
}

static void fill_steps(const amct_folding *k, amct_fold_inputs *in) {
  amct_fold_step *steps = in->steps;
  const float *const *at = in->values + 1;
  for (size_t i = 0; i < k->step_count; i++) {
    const amct_folding_step *s = &k->steps[i];
    steps[i] = (amct_fold_step){.kind = s->kind, .epsilon = s->epsilon};
    if (s->kind != AMCT_FOLD_BATCH_NORM) {
      steps[i].single = is_arithmetic(s->kind) && in->views[at - in->values].count == 1;
      steps[i].bias = *at++ + (steps[i].single ? 0 : s->first);
      continue;
    }
    steps[i].scale = at[0] + s->first;
    steps[i].offset = at[1] + s->first;
    steps[i].mean = at[2] + s->first;
    steps[i].variance = at[3] + s->first;
    at += BATCH_NORM_INPUTS;
  }
}

amct_status amct_fold_inputs_open(amct_fold_inputs *in, const amct_folding *k,
                                  TF_OpKernelContext *context, size_t extra,
                                  amct_error *err) {
  AMCT_TRY(open_inputs(k, context, in, extra, err));
  AMCT_TRY(amct_folding_layout(k, &in->views[0], &in->layout, err));
  AMCT_TRY(check_parameters(k, in, in->layout.channels, err));
  in->steps = amct_alloc_array(k->step_count + 1, sizeof *in->steps);
  if (!in->steps) return amct_fail_memory(err);
  fill_steps(k, in);
  return AMCT_OK;
}
