/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel of UlqGuard: what is to be added to trained clips, and to the copies of them
 * that the step before left. A clip on the wrong side of 0 gets its copy back, as both do
 * where there is no range between them; clips in order are copied.
 */
#include "op_kernels.h"

#include <float.h>

#include "base/alloc.h"

enum { CLIPS, COPIES = 2, INPUTS = 4 }; /* of each the upper comes first */

typedef struct guard_kernel {
  amct_kernel base;
  char *layer_name;
  bool fixed_min;
} guard_kernel;

static void clear_guard(amct_kernel *kernel) {
  amct_free(((guard_kernel *)(void *)kernel)->layer_name);
}

static amct_status init_guard(amct_kernel *kernel, const amct_node_view *node,
                              amct_error *err) {
  guard_kernel *k = (guard_kernel *)(void *)kernel;
  AMCT_TRY(amct_node_text(node, "layer_name", &k->layer_name, err));
  return amct_node_bool(node, "fixed_min", &k->fixed_min, err);
}

/* Copies of 0 and 0 are none yet: a clip on the wrong side counts as 0 then, as in Ulq.
 */
static void find_additions(float add[INPUTS], const float clips[2], const float copies[2],
                           bool fixed_min) {
  const float low = fixed_min ? 0.0f : clips[1];
  const bool no_range = !(clips[0] - low > FLT_EPSILON);
  const bool bad[2] = {no_range || clips[0] < 0, !fixed_min && (no_range || low > 0)};
  const bool has_copies = copies[0] != 0 || copies[1] != 0;
  for (int i = 0; i < 2; i++) {
    if (bad[i] && has_copies)
      add[CLIPS + i] = copies[i] - clips[i];
    else if (!bad[0] && !bad[1])
      add[COPIES + i] = clips[i] - copies[i];
  }
}

static amct_status put_additions(TF_OpKernelContext *context, const amct_tf_view *like,
                                 const float add[INPUTS], amct_error *err) {
  for (int i = 0; i < INPUTS; i++) {
    amct_tf_view to = {0};
    AMCT_TRY(amct_tf_new_output(context, i, like, AMCT_DTYPE_FLOAT, &to, err));
    *(float *)to.data = add[i];
    amct_tf_close(&to);
  }
  return AMCT_OK;
}

static amct_status compute_guard(const amct_kernel *kernel, TF_OpKernelContext *context,
                                 amct_error *err) {
  const guard_kernel *k = (const guard_kernel *)(const void *)kernel;
  amct_tf_view views[INPUTS] = {{0}};
  float clips[2] = {0}, copies[2] = {0}, add[INPUTS] = {0};
  amct_status status = AMCT_OK;
  for (int i = 0; i < INPUTS && status == AMCT_OK; i++)
    status = amct_tf_input(context, i, &views[i], err);
  if (status == AMCT_OK)
    status = amct_tf_clips(&views[CLIPS], &views[CLIPS + 1], k->layer_name, clips, err);
  if (status == AMCT_OK)
    status =
        amct_tf_clips(&views[COPIES], &views[COPIES + 1], k->layer_name, copies, err);
  if (status == AMCT_OK) {
    find_additions(add, clips, copies, k->fixed_min);
    status = put_additions(context, &views[CLIPS], add, err);
  }
  for (int i = 0; i < INPUTS; i++)
    amct_tf_close(&views[i]);
  return status;
}

const amct_kernel_class k_ulq_guard = {sizeof(guard_kernel), init_guard, compute_guard,
                                       clear_guard};
