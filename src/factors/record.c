/* SPDX-License-Identifier: Apache-2.0 */
#include "factors/record.h"

#include "base/number.h"
#include "base/output.h"
#include "wire/textproto.h"

amct_status amct_record_read(amct_record *record, const char *path, amct_error *err) {
  amct_file file = {0};
  AMCT_TRY(amct_file_open(&file, path, err));
  amct_status status = amct_record_parse(record, file.bytes, path, err);
  amct_file_close(&file);
  return status;
}

static void print_float(amct_buffer *buffer, const char *name, float value) {
  char text[AMCT_NUMBER_BYTES];
  amct_number_print_float(text, value);
  amct_buffer_text(buffer, name);
  amct_buffer_text(buffer, text);
  amct_buffer_text(buffer, "\n");
}

static void print_value(const amct_factors *f, amct_buffer *buffer) {
  if (f->has_data) {
    print_float(buffer, "    scale_d: ", f->scale_d);
    amct_buffer_format(buffer, "    offset_d: %d\n", (int)f->offset_d);
  }
  for (size_t i = 0; i < f->scale_w_count; i++)
    print_float(buffer, "    scale_w: ", f->scale_w[i]);
  for (size_t i = 0; i < f->offset_w_count; i++)
    amct_buffer_format(buffer, "    offset_w: %d\n", (int)f->offset_w[i]);
  for (size_t i = 0; i < f->shift_count; i++)
    amct_buffer_format(buffer, "    shift_bit: %u\n", (unsigned)f->shift_bit[i]);
  if (f->skip_fusion) amct_buffer_text(buffer, "    skip_fusion: true\n");
}

void amct_record_print(const amct_record *record, amct_buffer *buffer) {
  for (size_t i = 0; i < record->layers.count; i++) {
    amct_buffer_text(buffer, "record {\n  key: ");
    amct_text_put_string(buffer, amct_slice_of(record->layers.at[i].key));
    amct_buffer_text(buffer, "\n  value {\n");
    print_value(&record->layers.at[i], buffer);
    amct_buffer_text(buffer, "  }\n}\n");
  }
}

amct_status amct_record_write(const amct_record *record, const char *path,
                              amct_error *err) {
  amct_buffer buffer = {0};
  amct_record_print(record, &buffer);
  amct_status status = buffer.failed
                           ? amct_fail_memory(err)
                           : amct_output_whole(path, buffer.data, buffer.size, err);
  amct_buffer_free(&buffer);
  return status;
}

const amct_factors *amct_record_get(const amct_record *record, const char *key) {
  for (size_t i = 0; i < record->layers.count; i++)
    if (strcmp(record->layers.at[i].key, key) == 0) return &record->layers.at[i];
  return NULL;
}

void amct_record_free(amct_record *record) {
  AMCT_VEC_FREE(&record->layers);
  amct_arena_free(&record->arena);
  *record = (amct_record){0};
}
