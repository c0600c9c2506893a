/* SPDX-License-Identifier: Apache-2.0 */
/* QuantArq: brings the weights of a layer, and what is folded into them, to calib/. */
#include "op_kernels.h"

#include "base/alloc.h"
#include "base/number.h"
#include "calib/calibration.h"

enum { BATCH_NORM_INPUTS = 4 };

typedef struct step {
  amct_fold_kind kind;
  float epsilon;
  size_t first, count; /* of a batch norm's values, those of this layer; count 0: all */
} step;

typedef struct arq_kernel {
  amct_kernel base;
  amct_calib_weight_spec spec;
  int64_t *axes; /* of the output channels, ascending, next to each other */
  size_t axis_count;
  step *steps;
  size_t step_count;
  size_t input_count; /* that the steps take, the weight included */
  /* what `spec` borrows */
  char *id, *record_path, *layer_name;
} arq_kernel;

static void clear_arq(amct_kernel *kernel) {
  arq_kernel *k = (arq_kernel *)(void *)kernel;
  amct_free(k->axes);
  amct_free(k->steps);
  amct_free(k->id);
  amct_free(k->record_path);
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

/* "bias", "batch_norm:<epsilon>" or "batch_norm:<epsilon>:<first>:<count>". */
static bool read_step(amct_slice text, step *to) {
  double epsilon = 0;
  *to = (step){.kind = AMCT_FOLD_BIAS};
  if (amct_slice_equal(text, amct_slice_of("bias"))) return true;
  if (!amct_slice_equal(cut(&text), amct_slice_of("batch_norm"))) return false;
  if (!amct_number_read_double(cut(&text), &epsilon) || !(epsilon >= 0)) return false;
  *to = (step){.kind = AMCT_FOLD_BATCH_NORM, .epsilon = (float)epsilon};
  if (text.size == 0) return true;
  return read_count(cut(&text), &to->first) && read_count(text, &to->count) &&
         to->count > 0;
}

static amct_status init_steps(arq_kernel *k, const amct_node_view *node,
                              amct_error *err) {
  amct_slice *texts = NULL;
  AMCT_TRY(amct_node_slices(node, "fold", &texts, &k->step_count, err));
  k->steps = amct_alloc_array(k->step_count + 1, sizeof *k->steps);
  amct_status status = k->steps ? AMCT_OK : amct_fail_memory(err);
  k->input_count = 1;
  for (size_t i = 0; i < k->step_count && status == AMCT_OK; i++) {
    if (!read_step(texts[i], &k->steps[i]))
      status = amct_fail(err, AMCT_INVALID_ARGUMENT, node->name,
                         "step %zu of fold is neither bias nor batch_norm:<epsilon>"
                         "[:<first>:<count>]",
                         i);
    k->input_count += k->steps[i].kind == AMCT_FOLD_BIAS ? 1 : BATCH_NORM_INPUTS;
  }
  amct_free(texts);
  return status;
}

static amct_status init_axes(arq_kernel *k, const amct_node_view *node, amct_error *err) {
  AMCT_TRY(amct_node_ints(node, "channel_axes", &k->axes, &k->axis_count, err));
  bool good = k->axis_count > 0 && k->axes[0] >= 0;
  for (size_t i = 1; good && i < k->axis_count; i++)
    good = k->axes[i] - 1 == k->axes[i - 1];
  if (good) return AMCT_OK;
  return amct_fail(err, AMCT_INVALID_ARGUMENT, node->name,
                   "channel_axes are not neighbours in ascending order");
}

static amct_status init_arq(amct_kernel *kernel, const amct_node_view *node,
                            amct_error *err) {
  arq_kernel *k = (arq_kernel *)(void *)kernel;
  amct_calib_weight_spec *spec = &k->spec;
  AMCT_TRY(amct_node_text(node, "calibration_id", &k->id, err));
  AMCT_TRY(amct_node_text(node, "record_file", &k->record_path, err));
  AMCT_TRY(amct_node_text(node, "layer_name", &k->layer_name, err));
  AMCT_TRY(amct_node_int(node, "layer_total", &spec->key.layer_total, err));
  AMCT_TRY(amct_node_int(node, "layer_index", &spec->layer.index, err));
  AMCT_TRY(amct_node_bool(node, "channel_wise", &spec->channel_wise, err));
  spec->key.id = k->id;
  spec->key.record_path = k->record_path;
  spec->layer.name = k->layer_name;
  spec->layer.weighted = true;
  AMCT_TRY(init_axes(k, node, err));
  return init_steps(k, node, err);
}

/* ---- one run ---- */

/* The inputs of a run as float32. */
typedef struct inputs {
  size_t count;
  amct_tf_view *views;
  const float **values;
  float **owned;
} inputs;

static void close_inputs(inputs *in) {
  for (size_t i = 0; i < in->count; i++) {
    if (in->owned) amct_free(in->owned[i]);
    if (in->views) amct_tf_close(&in->views[i]);
  }
  amct_free(in->owned);
  amct_free(in->values);
  amct_free(in->views);
}

static amct_status open_inputs(const arq_kernel *k, TF_OpKernelContext *context,
                               inputs *in, amct_error *err) {
  const int given = tf.TF_NumInputs(context);
  if (given < 0 || (size_t)given != k->input_count)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "layer \"%s\": %d inputs where its fold takes %zu", k->layer_name,
                     given, k->input_count);
  in->views = amct_alloc_array(k->input_count, sizeof *in->views);
  in->values = amct_alloc_array(k->input_count, sizeof *in->values);
  in->owned = amct_alloc_array(k->input_count, sizeof *in->owned);
  in->count = k->input_count;
  if (!in->views || !in->values || !in->owned) return amct_fail_memory(err);
  for (size_t i = 0; i < in->count; i++) {
    AMCT_TRY(amct_tf_input(context, (int)i, &in->views[i], err));
    AMCT_TRY(amct_tf_floats(&in->views[i], &in->values[i], &in->owned[i], err));
  }
  return AMCT_OK;
}

static amct_status find_layout(const arq_kernel *k, const amct_tf_view *weight,
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
static amct_status check_parameter(const arq_kernel *k, const amct_tf_view *view,
                                   const step *s, size_t channels, amct_error *err) {
  char shape[AMCT_SHAPE_TEXT_BYTES];
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

static amct_status check_parameters(const arq_kernel *k, const inputs *in,
                                    size_t channels, amct_error *err) {
  const amct_tf_view *view = in->views + 1;
  for (size_t i = 0; i < k->step_count; i++) {
    const step *s = &k->steps[i];
    const size_t count = s->kind == AMCT_FOLD_BIAS ? 1 : BATCH_NORM_INPUTS;
    for (size_t n = 0; n < count; n++)
      AMCT_TRY(check_parameter(k, view++, s, channels, err));
  }
  return AMCT_OK;
}

static void fill_steps(const arq_kernel *k, const inputs *in, amct_fold_step *steps) {
  const float *const *at = in->values + 1;
  for (size_t i = 0; i < k->step_count; i++) {
    const step *s = &k->steps[i];
    steps[i] = (amct_fold_step){.kind = s->kind, .epsilon = s->epsilon};
    if (s->kind == AMCT_FOLD_BIAS) {
      steps[i].bias = *at++;
      continue;
    }
    steps[i].scale = at[0] + s->first;
    steps[i].offset = at[1] + s->first;
    steps[i].mean = at[2] + s->first;
    steps[i].variance = at[3] + s->first;
    at += BATCH_NORM_INPUTS;
  }
}

static amct_status compute_arq(const amct_kernel *kernel, TF_OpKernelContext *context,
                               amct_error *err) {
  const arq_kernel *k = (const arq_kernel *)(const void *)kernel;
  inputs in = {0};
  amct_weight_layout layout;
  amct_fold_step *steps = NULL;
  amct_status status;
  if (amct_calib_weights_done(&k->spec)) return AMCT_OK;
  if ((status = open_inputs(k, context, &in, err)) != AMCT_OK) goto done;
  if ((status = find_layout(k, &in.views[0], &layout, err)) != AMCT_OK) goto done;
  if ((status = check_parameters(k, &in, layout.channels, err)) != AMCT_OK) goto done;
  steps = amct_alloc_array(k->step_count + 1, sizeof *steps);
  if (!steps) {
    status = amct_fail_memory(err);
    goto done;
  }
  fill_steps(k, &in, steps);
  status = amct_calib_weigh(&k->spec, in.values[0], layout, steps, k->step_count, err);
done:
  amct_free(steps);
  close_inputs(&in);
  return status;
}

const amct_kernel_class k_quant_arq = {sizeof(arq_kernel), init_arq, compute_arq,
                                       clear_arq};
