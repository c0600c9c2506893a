/* SPDX-License-Identifier: Apache-2.0 */
#include "api/study.h"

#include <sys/stat.h>

static amct_status check_output(const amct_study *study, const char *name,
                                amct_error *err) {
  if (!name || !*name)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "outputs: an empty name");
  if (strchr(name, ':'))
    return amct_fail(
        err, AMCT_INVALID_ARGUMENT, name,
        "outputs: \"%s\" is a tensor: give the name of its node, without \":0\"", name);
  if (!amct_graph_find(study->graph, name))
    return amct_fail(err, AMCT_INVALID_ARGUMENT, name, "outputs: %s has no node \"%s\"",
                     amct_graph_label(study->graph), name);
  return AMCT_OK;
}

/* Refuses what people have before it is frozen, as its path tells. */
static amct_status check_frozen(const char *path, amct_error *err) {
  static const char *const k_kinds[][2] = {
      {"", "a folder"},
      {".keras", "a Keras model"},
      {".h5", "a Keras model"},
      {".hdf5", "a Keras model"},
      {".meta", "a checkpoint's meta graph"},
      {"saved_model.pb", "a SavedModel"},
  };
  struct stat info;
  if (stat(path, &info) != 0) return AMCT_OK; /* who opens it says why */
  const bool folder = S_ISDIR(info.st_mode);
  const size_t length = strlen(path);
  for (size_t i = !folder; i < sizeof k_kinds / sizeof k_kinds[0]; i++) {
    const size_t size = strlen(k_kinds[i][0]);
    if (length >= size && strcmp(path + length - size, k_kinds[i][0]) == 0)
      return amct_fail(err, folder ? AMCT_IO : AMCT_BAD_FORMAT, NULL,
                       "%s: %s, no frozen pb: amct_tensorflow.freeze, in Python, makes "
                       "one of a SavedModel, a Keras model or a checkpoint",
                       path, k_kinds[i][1]);
  }
  return AMCT_OK;
}

static amct_status load(amct_study *study, const amct_source *source, const char *label,
                        amct_error *err) {
  const amct_slice bytes = {source->data, source->size};
  if (source->data)
    AMCT_TRY(amct_graph_read(&study->graph, bytes, label, err));
  else
    AMCT_TRY(amct_graph_load(&study->graph, label, err));
  return amct_graph_verify(study->graph, err);
}

/* What is wrong with a file, with its name and the place in it. */
static amct_status fail_file(const char *label, const amct_error *wrong,
                             amct_error *err) {
  const char *node = *wrong->node ? wrong->node : NULL;
  if (wrong->status == AMCT_IO || wrong->status == AMCT_OUT_OF_MEMORY)
    return amct_fail(err, wrong->status, node, "%s", wrong->text);
  if (wrong->byte_offset == 0)
    return amct_fail(err, wrong->status, node, "%s: %s", label, wrong->text);
  return amct_fail_at(err, wrong->status, node, wrong->byte_offset, "%s: byte %llu: %s",
                      label, (unsigned long long)wrong->byte_offset, wrong->text);
}

amct_status amct_study_load(amct_study *study, const amct_source *source,
                            amct_strings outputs, amct_error *err) {
  const char *label = source->path ? source->path : "graph";
  amct_error wrong = {0};
  if (!source->data && (!source->path || !*source->path))
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "the path of the model is empty");
  if (!source->data) AMCT_TRY(check_frozen(source->path, err));
  if (load(study, source, label, &wrong) != AMCT_OK) return fail_file(label, &wrong, err);
  for (size_t i = 0; i < outputs.count; i++)
    AMCT_TRY(check_output(study, outputs.at[i], err));
  return AMCT_OK;
}

amct_status amct_study_is_float(const amct_study *study, amct_error *err) {
  const amct_node *op = amct_layers_quantized(study->graph);
  if (!op) return AMCT_OK;
  return amct_fail(err, AMCT_UNSUPPORTED, op->name,
                   "%s holds the quantization op %s \"%s\" already: start from the "
                   "original float model",
                   amct_graph_label(study->graph), op->op, op->name);
}

amct_status amct_study_plan(amct_study *study, const amct_plan_options *options,
                            amct_error *err) {
  AMCT_TRY(amct_plan_make(&study->plan, study->graph, options, err));
  return amct_layers_find(&study->layers, study->graph, options->outputs,
                          options->output_count, err);
}

amct_status amct_study_save(const amct_study *study, const char *path, amct_error *err) {
  amct_output *output = NULL;
  AMCT_TRY(amct_output_open(&output, path, err));
  const amct_status status = amct_graph_save(study->graph, output, err);
  if (status == AMCT_OK) return amct_output_commit(output, err);
  amct_output_discard(output);
  return status;
}

void amct_study_free(amct_study *study) {
  amct_layers_free(&study->layers);
  amct_plan_free(study->plan);
  amct_graph_free(study->graph);
  *study = (amct_study){0};
}
