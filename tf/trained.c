/* SPDX-License-Identifier: Apache-2.0 */
#include "trained.h"

#include "op_kernels.h"

enum { CLIPS = 2 };

amct_status amct_trained_layer_init(amct_trained_layer *k, const amct_node_view *node,
                                    amct_error *err) {
  amct_slice format;
  AMCT_TRY(amct_node_bool(node, "weighted", &k->weighted, err));
  AMCT_TRY(amct_node_bool(node, "channel_wise", &k->channel_wise, err));
  AMCT_TRY(amct_node_bool(node, "may_split", &k->may_split, err));
  AMCT_TRY(amct_node_bool(node, "fixed_min", &k->fixed_min, err));
  if (amct_node_has(node, "data_format")) {
    AMCT_TRY(amct_node_slice(node, "data_format", &format, err));
    k->channels_first = amct_slice_equal(format, amct_slice_of("NCHW"));
  }
  return k->weighted ? amct_folding_init(&k->folding, node, err)
                     : amct_node_text(node, "layer_name", &k->folding.layer_name, err);
}

void amct_trained_layer_clear(amct_trained_layer *k) {
  amct_folding_clear(&k->folding);
}

amct_status amct_trained_layer_grid(const amct_trained_layer *k,
                                    TF_OpKernelContext *context, int first,
                                    amct_ulq_grid *grid, bool *set, amct_error *err) {
  amct_tf_view views[CLIPS] = {{0}};
  float clips[CLIPS] = {0};
  amct_status status = AMCT_OK;
  for (int i = 0; i < CLIPS && status == AMCT_OK; i++)
    status = amct_tf_input(context, first + i, &views[i], err);
  if (status == AMCT_OK)
    status = amct_tf_clips(&views[0], &views[1], k->folding.layer_name, clips, err);
  for (int i = 0; i < CLIPS; i++)
    amct_tf_close(&views[i]);
  *set = clips[0] != 0 || clips[1] != 0;
  *grid = amct_ulq_grid_of(clips[0], k->fixed_min ? 0.0f : clips[1]);
  return status;
}

amct_trained amct_trained_layer_weights(const amct_trained_layer *k,
                                        const amct_fold_inputs *in,
                                        const amct_ulq_grid *grid) {
  return (amct_trained){.weights = in->values[0],
                        .layout = in->layout,
                        .per_channel = k->channel_wise,
                        .may_split = k->may_split,
                        .steps = in->steps,
                        .step_count = k->folding.step_count,
                        .scale_d = grid->scale};
}

amct_status amct_trained_layer_cut(const amct_trained_layer *k,
                                   const amct_tf_view *output, size_t total,
                                   amct_weight_layout *cut, amct_error *err) {
  char text[AMCT_SHAPE_TEXT_BYTES];
  const int axis = k->channels_first ? 1 : output->rank - 1;
  *cut = (amct_weight_layout){1, 1, 1};
  if (axis < 0 || axis >= output->rank ||
      tf.TF_Dim(output->tensor, axis) != (int64_t)total)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "layer \"%s\": its output of shape %s has not %zu channels",
                     k->folding.layer_name, amct_tf_shape_text(output, text), total);
  for (int i = 0; i < output->rank; i++) {
    size_t *const part = i < axis ? &cut->outer : i > axis ? &cut->inner : &cut->channels;
    *part *= (size_t)tf.TF_Dim(output->tensor, i);
  }
  return AMCT_OK;
}

amct_status amct_trained_layer_fail(const amct_trained_layer *k, amct_status status,
                                    const amct_error *reason, amct_error *err) {
  return amct_fail(err, status, k->folding.layer_name, "layer \"%s\": %s",
                   k->folding.layer_name, reason->text);
}
