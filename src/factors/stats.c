/* SPDX-License-Identifier: Apache-2.0 */
#include "factors/stats.h"

#include <inttypes.h>

#include "base/digest.h"
#include "base/number.h"
#include "base/output.h"
#include "wire/textproto.h"

enum { DIGEST_DIGITS = 16, TAPS_MAX = 1 << 20, HEX_AT_ONCE = 2048 };

const char *amct_stats_path(amct_arena *arena, const char *record_path) {
  return amct_arena_format(arena, "%s" AMCT_STATS_SUFFIX, record_path);
}

uint64_t amct_stats_of_factors(const amct_factors *factors) {
  uint64_t digest = 0;
  digest = amct_digest(digest, &factors->scale_d, sizeof factors->scale_d);
  digest = amct_digest(digest, &factors->offset_d, sizeof factors->offset_d);
  return amct_digest(digest, factors->scale_w,
                     factors->scale_w_count * sizeof *factors->scale_w);
}

/* ---- writing ---- */

static void print_rounded(const amct_layer_stats *layer, amct_buffer *buffer) {
  static const char k_digits[] = "0123456789abcdef";
  char text[HEX_AT_ONCE * 2];
  amct_buffer_text(buffer, "  rounded: \"");
  for (size_t done = 0; done < layer->rounded_count;) {
    size_t size = 0;
    for (; size < sizeof text && done < layer->rounded_count; done++) {
      const uint8_t byte = (uint8_t)layer->rounded[done];
      text[size++] = k_digits[byte >> 4];
      text[size++] = k_digits[byte & 15];
    }
    amct_buffer_append(buffer, text, size);
  }
  amct_buffer_text(buffer, "\"\n");
}

static void print_floats(const char *field, const float *values, size_t count,
                         amct_buffer *buffer) {
  char number[AMCT_NUMBER_BYTES];
  for (size_t i = 0; i < count; i++) {
    amct_number_print_float(number, values[i]);
    amct_buffer_text(buffer, field);
    amct_buffer_text(buffer, number);
    amct_buffer_text(buffer, "\n");
  }
}

static void print_layer(const amct_layer_stats *layer, amct_buffer *buffer) {
  amct_buffer_text(buffer, "layer {\n  key: ");
  amct_text_put_string(buffer, amct_slice_of(layer->key));
  amct_buffer_format(buffer,
                     "\n  record: \"%016" PRIx64 "\"\n  weights: \"%016" PRIx64
                     "\"\n  taps: %zu\n",
                     layer->record, layer->weights, layer->taps);
  print_floats("  mean: ", layer->mean, layer->mean_count, buffer);
  if (layer->rounded_count != 0) print_rounded(layer, buffer);
  print_floats("  bias: ", layer->bias, layer->bias_count, buffer);
  amct_buffer_text(buffer, "}\n");
}

void amct_stats_print(const amct_stats *stats, amct_buffer *buffer) {
  for (size_t i = 0; i < stats->layers.count; i++)
    print_layer(&stats->layers.at[i], buffer);
}

amct_status amct_stats_write(const amct_stats *stats, const char *path, amct_error *err) {
  amct_buffer buffer = {0};
  amct_stats_print(stats, &buffer);
  const amct_status status = buffer.failed
                                 ? amct_fail_memory(err)
                                 : amct_output_whole(path, buffer.data, buffer.size, err);
  amct_buffer_free(&buffer);
  return status;
}

/* ---- reading ---- */

typedef AMCT_VEC(float) floats;

typedef struct parser {
  amct_stats *stats;
  const char *label;
  amct_text_reader reader;
  amct_layer_stats now;
  floats mean, bias;
  amct_error *err;
} parser;

static amct_status fail(parser *p, const char *what) {
  return amct_fail_at(p->err, AMCT_BAD_FORMAT, p->now.key,
                      (uint64_t)(p->reader.at - p->reader.start), "%s:%u: %s", p->label,
                      (unsigned)p->reader.line, what);
}

static amct_status next(parser *p, amct_text_event *event) {
  amct_error wrong = {0};
  const amct_status status = amct_text_next(&p->reader, event, &wrong);
  if (status == AMCT_OK) return AMCT_OK;
  return amct_fail_at(p->err, status, NULL, wrong.byte_offset, "%s: %s", p->label,
                      wrong.text);
}

static amct_status take_key(parser *p) {
  const amct_slice value = p->reader.value;
  if (!p->reader.quoted || value.size == 0 || memchr(value.data, 0, value.size) != NULL)
    return fail(p, "key: a name in quotes is wanted");
  p->now.key = amct_arena_text(&p->stats->arena, (const char *)value.data, value.size);
  return p->now.key != NULL ? AMCT_OK : amct_fail_memory(p->err);
}

/* -1: not a digit of those that are written. */
static int hex_of(uint8_t c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static amct_status take_rounded(parser *p) {
  const amct_slice value = p->reader.value;
  const size_t count = value.size / 2;
  if (p->now.rounded) return fail(p, "rounded: it stands twice");
  int8_t *rounded = amct_arena_array(&p->stats->arena, count + 1, sizeof *rounded);
  if (rounded == NULL) return amct_fail_memory(p->err);
  bool good = p->reader.quoted && value.size % 2 == 0 && count != 0;
  for (size_t i = 0; good && i < count; i++) {
    const int high = hex_of(value.data[2 * i]), low = hex_of(value.data[2 * i + 1]);
    good = high >= 0 && low >= 0;
    if (!good) break;
    rounded[i] = (int8_t)(uint8_t)(high * 16 + low);
  }
  if (!good) return fail(p, "rounded: two hexadecimal digits for each weight are wanted");
  p->now.rounded = rounded;
  p->now.rounded_count = count;
  return AMCT_OK;
}

static amct_status take_digest(parser *p, uint64_t *digest) {
  const amct_slice value = p->reader.value;
  if (value.size != DIGEST_DIGITS)
    return fail(p, "a digest of 16 hexadecimal digits is wanted");
  *digest = 0;
  for (size_t i = 0; i < value.size; i++) {
    const int digit = hex_of(value.data[i]);
    if (digit < 0) return fail(p, "a digest of 16 hexadecimal digits is wanted");
    *digest = *digest << 4 | (uint64_t)digit;
  }
  return AMCT_OK;
}

static amct_status take_taps(parser *p) {
  int64_t taps = 0;
  if (p->reader.quoted || !amct_number_read_int(p->reader.value, &taps) || taps < 1 ||
      taps > TAPS_MAX)
    return fail(p, "taps: a whole number over 0 is wanted");
  p->now.taps = (size_t)taps;
  return AMCT_OK;
}

static amct_status take_float(parser *p, floats *values) {
  double value = 0;
  if (p->reader.quoted || !amct_number_read_double(p->reader.value, &value) ||
      !(value > -3.4e38 && value < 3.4e38))
    return fail(p, values == &p->mean ? "mean: a finite number is wanted"
                                      : "bias: a finite number is wanted");
  return AMCT_VEC_PUSH(values, (float)value) ? AMCT_OK : amct_fail_memory(p->err);
}

static amct_status take_field(parser *p) {
  const amct_slice name = p->reader.name;
  if (amct_slice_equal(name, amct_slice_of("mean"))) return take_float(p, &p->mean);
  if (amct_slice_equal(name, amct_slice_of("bias"))) return take_float(p, &p->bias);
  if (amct_slice_equal(name, amct_slice_of("key"))) return take_key(p);
  if (amct_slice_equal(name, amct_slice_of("taps"))) return take_taps(p);
  if (amct_slice_equal(name, amct_slice_of("record")))
    return take_digest(p, &p->now.record);
  if (amct_slice_equal(name, amct_slice_of("weights")))
    return take_digest(p, &p->now.weights);
  if (amct_slice_equal(name, amct_slice_of("rounded"))) return take_rounded(p);
  return fail(
      p, "not a field of a layer: key, record, weights, taps, mean, rounded and bias "
         "are");
}

static const float *copy_floats(parser *p, const floats *values) {
  float *to = amct_arena_array(&p->stats->arena, values->count + 1, sizeof *to);
  if (to != NULL && values->count != 0)
    memcpy(to, values->at, values->count * sizeof *to);
  return to;
}

static amct_status keep_layer(parser *p) {
  if (p->now.key == NULL || p->now.taps == 0)
    return fail(p, "a layer without key or taps");
  if (p->mean.count % p->now.taps != 0)
    return fail(p, "a layer whose means are not a multiple of its taps");
  p->now.mean = copy_floats(p, &p->mean);
  p->now.mean_count = p->mean.count;
  p->now.bias = copy_floats(p, &p->bias);
  p->now.bias_count = p->bias.count;
  if (p->now.mean == NULL || p->now.bias == NULL) return amct_fail_memory(p->err);
  return AMCT_VEC_PUSH(&p->stats->layers, p->now) ? AMCT_OK : amct_fail_memory(p->err);
}

static amct_status parse_layer(parser *p) {
  amct_text_event event;
  p->now = (amct_layer_stats){0};
  p->mean.count = p->bias.count = 0;
  for (;;) {
    AMCT_TRY(next(p, &event));
    if (event == AMCT_TEXT_CLOSE) return keep_layer(p);
    if (event != AMCT_TEXT_SCALAR) return fail(p, "not a field of a layer");
    AMCT_TRY(take_field(p));
  }
}

static amct_status parse_all(parser *p) {
  amct_text_event event;
  for (;;) {
    p->now = (amct_layer_stats){0};
    AMCT_TRY(next(p, &event));
    if (event == AMCT_TEXT_END) return AMCT_OK;
    if (event != AMCT_TEXT_OPEN ||
        !amct_slice_equal(p->reader.name, amct_slice_of("layer")))
      return fail(p, "\"layer {\" is wanted");
    AMCT_TRY(parse_layer(p));
  }
}

amct_status amct_stats_parse(amct_stats *stats, amct_slice text, const char *label,
                             amct_error *err) {
  parser p = {.stats = stats, .label = label, .err = err};
  amct_text_reader_open(&p.reader, text);
  const amct_status status = parse_all(&p);
  amct_text_reader_close(&p.reader);
  AMCT_VEC_FREE(&p.mean);
  AMCT_VEC_FREE(&p.bias);
  return status;
}

amct_status amct_stats_read(amct_stats *stats, const char *path, amct_error *err) {
  amct_file file = {0};
  AMCT_TRY(amct_file_open(&file, path, err));
  const amct_status status = amct_stats_parse(stats, file.bytes, path, err);
  amct_file_close(&file);
  return status;
}

const amct_layer_stats *amct_stats_get(const amct_stats *stats, const char *key) {
  for (size_t i = 0; i < stats->layers.count; i++)
    if (strcmp(stats->layers.at[i].key, key) == 0) return &stats->layers.at[i];
  return NULL;
}

void amct_stats_free(amct_stats *stats) {
  AMCT_VEC_FREE(&stats->layers);
  amct_arena_free(&stats->arena);
  *stats = (amct_stats){0};
}
