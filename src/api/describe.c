/* SPDX-License-Identifier: Apache-2.0 */
#include "amct/quantize.h"

#include "api/study.h"

const char *amct_version(void) {
  return AMCT_VERSION;
}

static void print_decision(amct_buffer *text, const amct_decision *decision) {
  if (decision->reason)
    amct_buffer_format(text, "keep %s %s: %s\n", decision->rule, decision->node,
                       decision->reason);
  else if (!*decision->layer)
    amct_buffer_format(text, "fuse %s %s\n", decision->rule, decision->node);
  else
    amct_buffer_format(text, "fold %s %s %s\n", decision->rule, decision->layer,
                       decision->node);
}

static void print_layer(amct_buffer *text, const amct_layer *layer) {
  if (layer->reason)
    amct_buffer_format(text, "float %s %s: %s\n", layer->node->op, layer->node->name,
                       layer->reason);
  else
    amct_buffer_format(text, "layer %s %s %s %lld\n", layer->node->op, layer->node->name,
                       layer->grid == AMCT_PER_CHANNEL ? "per_channel" : "per_tensor",
                       (long long)layer->channels);
}

amct_status amct_describe_plan(char **text, const amct_source *source,
                               amct_strings outputs, amct_error *err) {
  const amct_plan_options options = {
      .outputs = outputs.at, .output_count = outputs.count, .do_fusion = true};
  amct_study study = {0};
  amct_buffer buffer = {0};
  amct_status status;

  *text = NULL;
  if ((status = amct_study_load(&study, source, outputs, err)) != AMCT_OK ||
      (status = amct_study_is_float(&study, err)) != AMCT_OK ||
      (status = amct_study_plan(&study, &options, err)) != AMCT_OK)
    goto done;
  for (size_t i = 0; i < study.plan->decisions.count; i++)
    print_decision(&buffer, &study.plan->decisions.at[i]);
  for (size_t i = 0; i < study.layers.count; i++)
    print_layer(&buffer, &study.layers.at[i]);
  amct_buffer_append(&buffer, "", 1);
  if (buffer.failed) {
    status = amct_fail_memory(err);
    goto done;
  }
  *text = (char *)buffer.data;
  buffer = (amct_buffer){0}; /* moved to the caller */
done:
  amct_buffer_free(&buffer);
  amct_study_free(&study);
  return status;
}

void amct_text_free(char *text) {
  amct_free(text);
}
