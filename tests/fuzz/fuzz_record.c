/* SPDX-License-Identifier: Apache-2.0 */
/* A record, and the same text as stats: read, printed, read again, printed the same. */
#include "fuzz/fuzz.h"

#include "factors/stats.h"

static void run_stats(amct_slice text) {
  amct_error err = {0};
  amct_stats stats = {0}, again = {0};
  amct_buffer first = {0}, second = {0};
  if (fuzz_succeeded(amct_stats_parse(&stats, text, "input", &err), &err)) {
    amct_stats_print(&stats, &first);
    const amct_slice printed = {first.data, first.size};
    FUZZ_CHECK(amct_stats_parse(&again, printed, "printed", &err) == AMCT_OK, err.text);
    amct_stats_print(&again, &second);
    FUZZ_CHECK(amct_slice_equal(printed, (amct_slice){second.data, second.size}), "text");
  }
  amct_buffer_free(&first);
  amct_buffer_free(&second);
  amct_stats_free(&stats);
  amct_stats_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  amct_error err = {0};
  amct_record record = {0}, again = {0};
  amct_buffer first = {0}, second = {0};
  const amct_slice text = {data, size};
  if (fuzz_succeeded(amct_record_parse(&record, text, "input", &err), &err)) {
    amct_record_print(&record, &first);
    const amct_slice printed = {first.data, first.size};
    FUZZ_CHECK(amct_record_parse(&again, printed, "printed", &err) == AMCT_OK, err.text);
    FUZZ_CHECK(record.layers.count == again.layers.count, "number of layers");
    amct_record_print(&again, &second);
    FUZZ_CHECK(amct_slice_equal(printed, (amct_slice){second.data, second.size}), "text");
  }
  amct_buffer_free(&first);
  amct_buffer_free(&second);
  amct_record_free(&record);
  amct_record_free(&again);
  run_stats(text);
  return 0;
}
