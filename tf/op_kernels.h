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

#endif
