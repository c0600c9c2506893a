/* SPDX-License-Identifier: Apache-2.0 */
/* Registration: the ops as rows, registered when tf.load_op_library loads this library.
 */
#include "op_kernels.h"

#include "base/logging.h"

enum { LINES_MAX = 16 };

typedef struct op_row {
  const char *name;
  const char *attrs[LINES_MAX];
  const char *inputs[LINES_MAX];
  const char *outputs[LINES_MAX];
  tf_create_kernel *create;
  bool any_types;        /* inputs of several types, or of one: no constraint on T */
  tf_infer_shape *infer; /* NULL: y has the shape of input 0, or there are no outputs */
} op_row;

#define TYPES "{half, float, double}"
#define CREATE(class)                                                                    \
  static void *create_##class(TF_OpKernelConstruction * construction) {                  \
    return amct_kernel_create(&k_##class, construction);                                 \
  }
CREATE(ascend_quant)
CREATE(ascend_dequant)
CREATE(ascend_weight_quant)
CREATE(ascend_antiquant)
CREATE(quant_ifmr)
CREATE(quant_arq)
CREATE(ulq)
CREATE(ulq_grad)
CREATE(ulq_range)
CREATE(ulq_guard)
CREATE(arq_retrain)
CREATE(retrain_factors)
CREATE(retrain_record)
CREATE(retrain_output)

/* y has the shape of input 0; there may be no outputs. */
static void keep_shape(TF_ShapeInferenceContext *context, TF_Status *status) {
  TF_ShapeHandle *shape = tf.TF_NewShapeHandle();
  tf.TF_ShapeInferenceContextGetInput(context, 0, shape, status);
  if (tf.TF_GetCode(status) == TF_OK)
    tf.TF_ShapeInferenceContextSetOutput(context, 0, shape, status);
  tf.TF_DeleteShapeHandle(shape);
}

static void unknown_shapes(TF_ShapeInferenceContext *context, TF_Status *status) {
  tf.TF_ShapeInferenceContextSetUnknownShape(context, status);
}

/* The first output alone; 1.15 sets no other. */
static void keep_first_shape(TF_ShapeInferenceContext *context, TF_Status *status) {
  unknown_shapes(context, status);
  if (tf.TF_GetCode(status) == TF_OK) keep_shape(context, status);
}

static void no_shape(TF_ShapeInferenceContext *context, TF_Status *status) {
  (void)context;
  tf.TF_SetStatus(status, TF_OK, "");
}

// clang-format off
static const op_row k_ops[] = {
  {"AscendQuant",
   {"T: " TYPES " = DT_FLOAT", "quant_bits: int = 8", "dst_type: {'INT4', 'INT8'} = 'INT8'", "scale: float",
    "offset: float"},
   {"x: T"}, {"y: T"}, create_ascend_quant, false},
  {"AscendDequant",
   {"T: " TYPES " = DT_FLOAT", "ksize: list(int)", "data_format: string = 'NHWC'"},
   {"x: T", "deq_scale: uint64"}, {"y: T"}, create_ascend_dequant, false},
  {"AscendWeightQuant",
   {"T: " TYPES " = DT_FLOAT", "dst_type: {'INT4', 'INT8'} = 'INT8'"},
   {"x: int8", "offset_w: int8"}, {"y: T"}, create_ascend_weight_quant, false},
  {"AscendAntiQuant",
   {"T: " TYPES " = DT_FLOAT", "scale: float", "offset: float"},
   {"x: T"}, {"y: T"}, create_ascend_antiquant, false},
  {"QuantIfmr",
   {"T: " TYPES " = DT_FLOAT", "calibration_id: string", "record_file: string", "batch_num: int", "layer_total: int",
    "layer_names: list(string)", "layer_indices: list(int)", "layer_weighted: list(int)", "asymmetric: bool",
    "ifmr: list(string)", "act_algo: string = 'ifmr'", "num_of_bins: int = 4096",
    "windows: list(string) = []", "row_windows: list(string) = []", "turns: int = 1"},
   {"x: T"}, {NULL}, create_quant_ifmr, false},
  {"QuantArq",
   {"Tin: list(" TYPES ") >= 1", "calibration_id: string", "record_file: string", "layer_total: int",
    "layer_name: string", "layer_index: int", "channel_axes: list(int)", "channel_wise: bool", "fold: list(string)",
    "damping: float = 0"},
   {"inputs: Tin"}, {NULL}, create_quant_arq, true},
  {"Ulq",
   {"layer_name: string", "fixed_min: bool", "batch_num: int"},
   {"x: float", "clip_max: float", "clip_min: float"}, {"y: float"}, create_ulq, true},
  {"UlqGrad",
   {"layer_name: string", "fixed_min: bool", "batch_num: int"},
   {"x: float", "dy: float", "clip_max: float", "clip_min: float"},
   {"dx: float", "d_clip_max: float", "d_clip_min: float", "add_clip_max: float", "add_clip_min: float"},
   create_ulq_grad, true, keep_first_shape},
  {"UlqRange",
   {"layer_name: string", "fixed_min: bool", "batch_num: int"},
   {"state: float", "x: float"}, {"y: float"}, create_ulq_range, true},
  {"UlqGuard",
   {"layer_name: string", "fixed_min: bool"},
   {"clip_max: float", "clip_min: float", "clip_max_pre: float", "clip_min_pre: float"},
   {"add_clip_max: float", "add_clip_min: float", "add_clip_max_pre: float", "add_clip_min_pre: float"},
   create_ulq_guard, true, keep_first_shape},
  {"ArqRetrain",
   {"layer_name: string", "channel_axes: list(int)", "channel_wise: bool"},
   {"w: float"}, {"y: float"}, create_arq_retrain, true},
  {"RetrainFactors",
   {"Tin: list({float}) >= 2", "layer_name: string", "weighted: bool", "channel_axes: list(int)", "channel_wise: bool",
    "may_split: bool", "fixed_min: bool", "fold: list(string)", "search_batches: int = 0",
    "data_format: string = 'NHWC'"},
   {"inputs: Tin"}, {"factors: float"}, create_retrain_factors, true, unknown_shapes},
  {"RetrainRecord",
   {"Tin: list({float}) >= 1", "record_file: string", "layer_names: list(string)", "search_n: bool = false"},
   {"factors: Tin"}, {"layers: int32"}, create_retrain_record, true, unknown_shapes},
  {"RetrainOutput",
   {"Tin: list({float}) >= 2", "layer_name: string", "weighted: bool", "channel_axes: list(int)", "channel_wise: bool",
    "may_split: bool", "fixed_min: bool", "fold: list(string)", "data_format: string = 'NHWC'", "first: int = 0",
    "total: int = 0", "ksize: list(int)",
    "trains: bool = false"},
   {"x: float", "inputs: Tin"}, {"y: float"}, create_retrain_output, true},
};
// clang-format on

/* All are stateful: TensorFlow neither prunes, merges nor folds them. */
static void define_op(const op_row *row, TF_Status *status) {
  TF_OpDefinitionBuilder *builder = tf.TF_NewOpDefinitionBuilder(row->name);
  for (size_t i = 0; i < LINES_MAX && row->attrs[i]; i++)
    tf.TF_OpDefinitionBuilderAddAttr(builder, row->attrs[i]);
  for (size_t i = 0; i < LINES_MAX && row->inputs[i]; i++)
    tf.TF_OpDefinitionBuilderAddInput(builder, row->inputs[i]);
  for (size_t i = 0; i < LINES_MAX && row->outputs[i]; i++)
    tf.TF_OpDefinitionBuilderAddOutput(builder, row->outputs[i]);
  tf.TF_OpDefinitionBuilderSetIsStateful(builder, true);
  tf_infer_shape *infer = row->infer        ? row->infer
                          : row->outputs[0] ? keep_shape
                                            : no_shape;
  tf.TF_OpDefinitionBuilderSetShapeInferenceFunction(builder, infer);
  tf.TF_RegisterOpDefinition(builder, status); /* takes the builder */
}

static void register_kernel(const op_row *row, amct_dtype type, TF_Status *status) {
  TF_KernelBuilder *builder = tf.TF_NewKernelBuilder(
      row->name, "CPU", row->create, amct_kernel_compute, amct_kernel_delete);
  if (type != AMCT_DTYPE_INVALID)
    tf.TF_KernelBuilder_TypeConstraint(builder, "T", (int)type, status);
  if (tf.TF_GetCode(status) == TF_OK)
    tf.TF_RegisterKernelBuilder(row->name, builder, status); /* takes the builder */
}

static void register_kernels(const op_row *row, TF_Status *status) {
  static const amct_dtype k_types[] = {AMCT_DTYPE_HALF, AMCT_DTYPE_FLOAT,
                                       AMCT_DTYPE_DOUBLE};
  if (row->any_types) {
    register_kernel(row, AMCT_DTYPE_INVALID, status);
    return;
  }
  for (size_t i = 0; i < sizeof k_types / sizeof *k_types; i++)
    if (tf.TF_GetCode(status) == TF_OK) register_kernel(row, k_types[i], status);
}

/* Another copy of this library, or another library with these ops, was loaded before:
 * a second kernel for an op breaks every graph that uses it. */
static bool is_taken(const op_row *row, TF_Status *status) {
  TF_Buffer *kernels = tf.TF_GetRegisteredKernelsForOp(row->name, status);
  const bool taken = kernels && kernels->length > 0;
  if (kernels) tf.TF_DeleteBuffer(kernels);
  tf.TF_SetStatus(status, TF_OK, "");
  return taken;
}

static void register_op(const op_row *row, TF_Status *status) {
  if (is_taken(row, status)) {
    amct_log(AMCT_LOG_INFO, "ops", "%s is registered already: that one is used",
             row->name);
    return;
  }
  define_op(row, status);
  if (tf.TF_GetCode(status) == TF_OK) register_kernels(row, status);
  if (tf.TF_GetCode(status) != TF_OK)
    amct_log(AMCT_LOG_ERROR, "ops", "%s cannot be registered: %s", row->name,
             tf.TF_Message(status));
}

__attribute__((constructor)) static void register_all(void) {
  const char *reason = amct_tf_load();
  if (reason) {
    amct_log(AMCT_LOG_ERROR, "ops", "no ops were registered: %s", reason);
    return;
  }
  for (size_t i = 0; i < sizeof k_ops / sizeof *k_ops; i++) {
    TF_Status *status = tf.TF_NewStatus();
    register_op(&k_ops[i], status);
    tf.TF_DeleteStatus(status);
  }
}
