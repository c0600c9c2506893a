/* SPDX-License-Identifier: Apache-2.0 */
#include "data/formats.h"

static amct_status read_npy(amct_blocks *blocks, const char *path, const amct_port *port,
                            amct_arena *arena, amct_error *err) {
  amct_block block = {.path = path, .entry = ""};
  amct_file file = {0};
  (void)port, (void)arena;
  AMCT_TRY(amct_file_open(&file, path, err));
  const amct_status status = amct_npy_head(&block, file.bytes, file.bytes.size, err);
  amct_file_close(&file);
  AMCT_TRY(status);
  return AMCT_VEC_PUSH(blocks, block) ? AMCT_OK : amct_fail_memory(err);
}

/* Bytes of a sample of a port; 0: its shape does not say. */
static uint64_t sample_bytes(const amct_port *port) {
  uint64_t bytes = amct_dtype_bytes(port->dtype);
  if (port->shape.rank < 1) return 0;
  for (int i = 1; i < port->shape.rank; i++)
    if (port->shape.dims[i] < 1 ||
        __builtin_mul_overflow(bytes, (uint64_t)port->shape.dims[i], &bytes))
      return 0;
  return bytes;
}

/* Values and nothing else: all but their number comes from the graph. */
static amct_status read_bin(amct_blocks *blocks, const char *path, const amct_port *port,
                            amct_arena *arena, amct_error *err) {
  amct_file file = {0};
  (void)arena;
  const uint64_t each = sample_bytes(port);
  if (each == 0)
    return amct_fail(err, AMCT_UNSUPPORTED, port->name,
                     "%s: the graph does not say how large a sample of input \"%s\" is: "
                     "use .npy",
                     path, port->name);
  AMCT_TRY(amct_file_open(&file, path, err));
  const uint64_t bytes = file.bytes.size;
  amct_file_close(&file);
  if (bytes == 0 || bytes % each != 0)
    return amct_fail(
        err, AMCT_BAD_FORMAT, NULL,
        "%s: %llu bytes are no whole number of samples of input \"%s\", %llu "
        "bytes each",
        path, (unsigned long long)bytes, port->name, (unsigned long long)each);
  amct_block block = {.path = path,
                      .entry = "",
                      .bytes = bytes,
                      .dtype = port->dtype,
                      .shape = port->shape};
  block.shape.dims[0] = (int64_t)(bytes / each);
  return AMCT_VEC_PUSH(blocks, block) ? AMCT_OK : amct_fail_memory(err);
}

const char k_amct_formats[] = ".npy, .npz or .bin";

amct_format_read *amct_format_of(const char *path) {
  static const struct {
    const char *suffix;
    amct_format_read *read;
  } k_formats[] = {{".npy", read_npy}, {".npz", amct_npz_read}, {".bin", read_bin}};
  const char *dot = strrchr(path, '.');
  for (size_t i = 0; dot && i < sizeof k_formats / sizeof *k_formats; i++)
    if (strcmp(dot, k_formats[i].suffix) == 0) return k_formats[i].read;
  return NULL;
}
