/* SPDX-License-Identifier: Apache-2.0 */
#include "calib/retrained.h"

#include "factors/record.h"

static amct_status put_layer(amct_record *record, const amct_retrained *layer,
                             amct_error *err) {
  const size_t count = layer->scale_count;
  amct_factors to = {.key = layer->name,
                     .has_data = true,
                     .scale_d = layer->scale_d,
                     .offset_d = layer->offset_d,
                     .scale_w_count = count,
                     .offset_w_count = count};
  to.scale_w = amct_arena_array(&record->arena, count + 1, sizeof *to.scale_w);
  to.offset_w = amct_arena_array(&record->arena, count + 1, sizeof *to.offset_w);
  to.shift_bit = amct_arena_array(&record->arena, count + 1, sizeof *to.shift_bit);
  if (!to.scale_w || !to.offset_w || !to.shift_bit) return amct_fail_memory(err);
  if (layer->shift_bit) to.shift_count = count;
  for (size_t i = 0; i < count; i++)
    to.scale_w[i] = layer->scale_w[i];
  for (size_t i = 0; i < to.shift_count; i++)
    to.shift_bit[i] = (uint32_t)layer->shift_bit[i];
  return AMCT_VEC_PUSH(&record->layers, to) ? AMCT_OK : amct_fail_memory(err);
}

amct_status amct_retrained_write(const char *record_path, const amct_retrained *layers,
                                 size_t count, amct_error *err) {
  amct_record record = {0};
  amct_status status = AMCT_OK;
  for (size_t i = 0; i < count && status == AMCT_OK; i++)
    status = put_layer(&record, &layers[i], err);
  if (status == AMCT_OK) status = amct_record_write(&record, record_path, err);
  amct_record_free(&record);
  return status;
}
