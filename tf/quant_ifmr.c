/* SPDX-License-Identifier: Apache-2.0 */
/* QuantIfmr: brings batches of an observed tensor to calib/. */
#include "op_kernels.h"

#include "base/alloc.h"
#include "base/number.h"
#include "calib/calibration.h"

/* A window for each layer, or none. */
typedef struct window_list {
  amct_window *at;
  const amct_window **of;
} window_list;

typedef struct ifmr_kernel {
  amct_kernel base;
  amct_calib_range_spec spec;
  /* what `spec` borrows */
  char *id, *record_path;
  amct_calib_layer *layers;
  window_list means, rows;
} ifmr_kernel;

static ifmr_kernel *self_of(amct_kernel *kernel) {
  return (ifmr_kernel *)(void *)kernel;
}

static void clear_ifmr(amct_kernel *kernel) {
  ifmr_kernel *k = self_of(kernel);
  for (size_t i = 0; k->layers && i < k->spec.layer_count; i++)
    amct_free((void *)(uintptr_t)k->layers[i].name);
  amct_free(k->layers);
  amct_free(k->means.at);
  amct_free(k->means.of);
  amct_free(k->rows.at);
  amct_free(k->rows.of);
  amct_free(k->record_path);
  amct_free(k->id);
}

static amct_status copy_name(char **copy, amct_slice text, amct_error *err) {
  if (text.size > 0 && memchr(text.data, 0, text.size))
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "a layer name holds a NUL character");
  *copy = amct_alloc_array(text.size + 1, 1);
  if (!*copy) return amct_fail_memory(err);
  if (text.size > 0) memcpy(*copy, text.data, text.size);
  return AMCT_OK;
}

/* Three lists of one length: the layers that read the tensor. */
static amct_status init_layers(ifmr_kernel *k, const amct_node_view *node,
                               amct_error *err) {
  amct_slice *names = NULL;
  int64_t *indices = NULL, *weighted = NULL;
  size_t count[3] = {0};
  amct_status status;
  if ((status = amct_node_slices(node, "layer_names", &names, &count[0], err)) !=
          AMCT_OK ||
      (status = amct_node_ints(node, "layer_indices", &indices, &count[1], err)) !=
          AMCT_OK ||
      (status = amct_node_ints(node, "layer_weighted", &weighted, &count[2], err)) !=
          AMCT_OK)
    goto done;
  if (count[0] == 0 || count[0] != count[1] || count[0] != count[2]) {
    status =
        amct_fail(err, AMCT_INVALID_ARGUMENT, node->name,
                  "layer_names, layer_indices and layer_weighted have %zu, %zu and %zu "
                  "values",
                  count[0], count[1], count[2]);
    goto done;
  }
  k->layers = amct_alloc_array(count[0], sizeof *k->layers);
  if (!k->layers) {
    status = amct_fail_memory(err);
    goto done;
  }
  k->spec.layers = k->layers;
  k->spec.layer_count = count[0];
  for (size_t i = 0; i < count[0] && status == AMCT_OK; i++) {
    char *name = NULL;
    status = copy_name(&name, names[i], err);
    k->layers[i] =
        (amct_calib_layer){name, indices[i], weighted[i] != 0, weighted[i] == 2};
  }
done:
  amct_free(weighted);
  amct_free(indices);
  amct_free(names);
  return status;
}

/* A text for each layer, "" where nothing is wanted; no texts at all in graphs of before.
 */
static amct_status init_windows(const ifmr_kernel *k, window_list *list,
                                const char *attribute, const amct_node_view *node,
                                amct_error *err) {
  amct_slice *texts = NULL;
  size_t count = 0;
  AMCT_TRY(amct_node_slices(node, attribute, &texts, &count, err));
  bool good = count == 0 || count == k->spec.layer_count;
  amct_status status = AMCT_OK;
  list->at = amct_alloc_array(count + 1, sizeof *list->at);
  list->of = amct_alloc_array(k->spec.layer_count, sizeof *list->of);
  if (!list->at || !list->of) {
    amct_free(texts);
    return amct_fail_memory(err);
  }
  for (size_t i = 0; good && i < count; i++) {
    if (texts[i].size == 0) continue;
    good = amct_window_read(texts[i], &list->at[i]);
    list->of[i] = &list->at[i];
  }
  amct_free(texts);
  if (!good)
    status = amct_fail(err, AMCT_INVALID_ARGUMENT, node->name,
                       "%s holds %zu texts: one for each of %zu layers, empty or a "
                       "window, is wanted",
                       attribute, count, k->spec.layer_count);
  return status;
}

static amct_status init_algorithm(amct_range_options *o, const amct_node_view *node,
                                  amct_error *err) {
  amct_slice name;
  AMCT_TRY(amct_node_slice(node, "act_algo", &name, err));
  AMCT_TRY(amct_node_int(node, "num_of_bins", &o->num_of_bins, err));
  o->algorithm = amct_range_named(name);
  if (o->algorithm != AMCT_RANGE_ALGORITHMS) return AMCT_OK;
  return amct_fail(err, AMCT_INVALID_ARGUMENT, node->name, "act_algo is \"%.*s\"",
                   (int)(name.size < 40 ? name.size : 40), (const char *)name.data);
}

static amct_status init_options(ifmr_kernel *k, const amct_node_view *node,
                                amct_error *err) {
  amct_range_options *o = &k->spec.options;
  double *const to[] = {&o->max_percentile, &o->min_percentile, &o->search_start,
                        &o->search_end, &o->search_step};
  enum { COUNT = sizeof to / sizeof *to };
  amct_slice *texts = NULL;
  size_t count = 0;
  AMCT_TRY(amct_node_bool(node, "asymmetric", &o->asymmetric, err));
  AMCT_TRY(init_algorithm(o, node, err));
  AMCT_TRY(amct_node_slices(node, "ifmr", &texts, &count, err));
  bool good = count == COUNT;
  for (size_t i = 0; good && i < COUNT; i++)
    good = amct_number_read_double(texts[i], to[i]);
  amct_free(texts);
  if (good) return AMCT_OK;
  return amct_fail(err, AMCT_INVALID_ARGUMENT, node->name,
                   "ifmr holds %zu texts; it takes %d numbers", count, COUNT);
}

static amct_status init_ifmr(amct_kernel *kernel, const amct_node_view *node,
                             amct_error *err) {
  ifmr_kernel *k = self_of(kernel);
  AMCT_TRY(amct_node_text(node, "calibration_id", &k->id, err));
  AMCT_TRY(amct_node_text(node, "record_file", &k->record_path, err));
  AMCT_TRY(amct_node_int(node, "layer_total", &k->spec.key.layer_total, err));
  AMCT_TRY(amct_node_int(node, "batch_num", &k->spec.batch_num, err));
  AMCT_TRY(amct_node_int(node, "turns", &k->spec.turns, err));
  k->spec.key.id = k->id;
  k->spec.key.record_path = k->record_path;
  AMCT_TRY(init_layers(k, node, err));
  AMCT_TRY(init_windows(k, &k->means, "windows", node, err));
  AMCT_TRY(init_windows(k, &k->rows, "row_windows", node, err));
  k->spec.windows = k->means.of;
  k->spec.row_windows = k->rows.of;
  return init_options(k, node, err);
}

enum { DIMS_MAX = 16 };

static amct_status bring(const ifmr_kernel *k, const amct_tf_view *x, const float *values,
                         amct_error *err) {
  int64_t dims[DIMS_MAX];
  const bool fits = x->rank <= DIMS_MAX;
  for (int i = 0; fits && i < x->rank; i++)
    dims[i] = tf.TF_Dim(x->tensor, i);
  const amct_calib_batch batch = {values, x->count, fits ? dims : NULL, x->rank};
  return amct_calib_observe(&k->spec, &batch, err);
}

static amct_status compute_ifmr(const amct_kernel *kernel, TF_OpKernelContext *context,
                                amct_error *err) {
  const ifmr_kernel *k = (const ifmr_kernel *)(const void *)kernel;
  amct_tf_view x = {0};
  const float *values = NULL;
  float *owned = NULL;
  amct_status status;
  if (amct_calib_range_done(&k->spec)) return AMCT_OK;
  if ((status = amct_tf_input(context, 0, &x, err)) != AMCT_OK) goto done;
  if ((status = amct_tf_floats(&x, &values, &owned, err)) != AMCT_OK) goto done;
  status = bring(k, &x, values, err);
done:
  amct_free(owned);
  amct_tf_close(&x);
  return status;
}

const amct_kernel_class k_quant_ifmr = {sizeof(ifmr_kernel), init_ifmr, compute_ifmr,
                                        clear_ifmr};
