/* SPDX-License-Identifier: Apache-2.0 */
/* QuantArq: brings the weights of a layer, and what is folded into them, to calib/. */
#include "folding.h"
#include "op_kernels.h"

#include "base/alloc.h"
#include "calib/calibration.h"

typedef struct arq_kernel {
  amct_kernel base;
  amct_calib_weight_spec spec;
  amct_folding folding;
  /* what `spec` borrows, besides the layer's name */
  char *id, *record_path;
} arq_kernel;

static void clear_arq(amct_kernel *kernel) {
  arq_kernel *k = (arq_kernel *)(void *)kernel;
  amct_folding_clear(&k->folding);
  amct_free(k->id);
  amct_free(k->record_path);
}

static amct_status init_arq(amct_kernel *kernel, const amct_node_view *node,
                            amct_error *err) {
  arq_kernel *k = (arq_kernel *)(void *)kernel;
  amct_calib_weight_spec *spec = &k->spec;
  AMCT_TRY(amct_node_text(node, "calibration_id", &k->id, err));
  AMCT_TRY(amct_node_text(node, "record_file", &k->record_path, err));
  AMCT_TRY(amct_node_int(node, "layer_total", &spec->key.layer_total, err));
  AMCT_TRY(amct_node_int(node, "layer_index", &spec->layer.index, err));
  AMCT_TRY(amct_node_bool(node, "channel_wise", &spec->channel_wise, err));
  float damping = 0;
  AMCT_TRY(amct_node_float(node, "damping", &damping, err));
  if (!(damping >= 0 && damping <= 1))
    return amct_fail(err, AMCT_INVALID_ARGUMENT, node->name, "damping is %g, not 0 to 1",
                     (double)damping);
  spec->damping = (double)damping;
  AMCT_TRY(amct_folding_init(&k->folding, node, err));
  spec->key.id = k->id;
  spec->key.record_path = k->record_path;
  spec->layer.name = k->folding.layer_name;
  spec->layer.weighted = true;
  return AMCT_OK;
}

static amct_status compute_arq(const amct_kernel *kernel, TF_OpKernelContext *context,
                               amct_error *err) {
  const arq_kernel *k = (const arq_kernel *)(const void *)kernel;
  amct_fold_inputs in = {0};
  if (amct_calib_weights_done(&k->spec)) return AMCT_OK;
  amct_status status = amct_fold_inputs_open(&in, &k->folding, context, 0, err);
  if (status == AMCT_OK)
    status = amct_calib_weigh(&k->spec, in.values[0], in.layout, in.steps,
                              k->folding.step_count, err);
  amct_fold_inputs_close(&in);
  return status;
}

const amct_kernel_class k_quant_arq = {sizeof(arq_kernel), init_arq, compute_arq,
                                       clear_arq};
