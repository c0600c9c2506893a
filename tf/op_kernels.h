/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels of the library. */
#ifndef AMCT_OP_KERNELS_H
#define AMCT_OP_KERNELS_H

#include "kernel_base.h"

/* deploy_ops.c */
extern const amct_kernel_class k_ascend_quant;
extern const amct_kernel_class k_ascend_dequant;
extern const amct_kernel_class k_ascend_weight_quant;
extern const amct_kernel_class k_ascend_antiquant;
/* quant_ifmr.c, quant_arq.c */
extern const amct_kernel_class k_quant_ifmr;
extern const amct_kernel_class k_quant_arq;
/* ulq_ops.c, ulq_guard.c, ulq_range.c, trained_ops.c, trained_output.c */
extern const amct_kernel_class k_ulq;
extern const amct_kernel_class k_ulq_grad;
extern const amct_kernel_class k_ulq_guard;
extern const amct_kernel_class k_ulq_range;
extern const amct_kernel_class k_arq_retrain;
extern const amct_kernel_class k_retrain_factors;
extern const amct_kernel_class k_retrain_record;
extern const amct_kernel_class k_retrain_output;

/** Two clips, checked: one finite value each. */
AMCT_NODISCARD amct_status amct_tf_clips(const amct_tf_view *clip_max,
                                         const amct_tf_view *clip_min, const char *layer,
                                         float clips[2], amct_error *err);

#endif
