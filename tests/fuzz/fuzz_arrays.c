/* SPDX-License-Identifier: Apache-2.0 */
/* A .npy, or a .npz where it begins as an archive: what is said to lie in the file does,
 * and its samples can be read, one by one. */
#include "fuzz/fuzz.h"

#include <unistd.h>

#include "data/formats.h"

enum { ROWS_READ = 64 };

static char g_folder[] = "/tmp/amct_fuzz_XXXXXX";
static char g_path[2][sizeof g_folder + sizeof "/in.npy"];

static void clean(void) {
  for (int i = 0; i < 2; i++)
    (void)unlink(g_path[i]);
  (void)rmdir(g_folder);
}

static void make_folder(void) {
  FUZZ_CHECK(mkdtemp(g_folder) != NULL, g_folder);
  snprintf(g_path[0], sizeof g_path[0], "%s/in.npy", g_folder);
  snprintf(g_path[1], sizeof g_path[1], "%s/in.npz", g_folder);
  atexit(clean);
}

static void write_file(const char *path, const uint8_t *data, size_t size) {
  FILE *file = fopen(path, "wb");
  FUZZ_CHECK(file != NULL, path);
  FUZZ_CHECK(fwrite(data, 1, size, file) == size, path);
  FUZZ_CHECK(fclose(file) == 0, path);
}

/* The arrays lie in the file, and have as many values as their shapes say. */
static void check_block(const amct_block *block, uint64_t size) {
  uint64_t bytes = amct_dtype_bytes(block->dtype);
  FUZZ_CHECK(bytes > 0, block->entry);
  FUZZ_CHECK(block->shape.rank >= 0 && block->shape.rank <= AMCT_RANK_MAX, block->entry);
  for (int i = 0; i < block->shape.rank; i++) {
    FUZZ_CHECK(block->shape.dims[i] >= 0, block->entry);
    bytes *= (uint64_t)block->shape.dims[i];
  }
  FUZZ_CHECK(bytes == block->bytes, block->entry);
  if (block->packed.bytes) {
    const amct_packed *packed = &block->packed;
    FUZZ_CHECK(packed->offset <= size && packed->bytes <= size - packed->offset,
               block->entry);
    size = packed->size;
    FUZZ_CHECK(size / 1032 <= packed->bytes, block->entry); /* deflate's most */
  }
  FUZZ_CHECK(block->offset <= size && bytes <= size - block->offset, block->entry);
}

static amct_port port_of(const amct_blocks *blocks) {
  amct_port port = {.name = "x", .dtype = AMCT_DTYPE_FLOAT, .shape = {.rank = -1}};
  if (blocks->count) port.dtype = blocks->at[0].dtype;
  return port;
}

static void read_samples(const char *path, const amct_port *port) {
  const amct_data_options options = {
      .sources = &path, .source_count = 1, .batch_size = 1};
  amct_error err = {0};
  amct_data *data = NULL;
  amct_array array;
  if (fuzz_succeeded(amct_data_open(&data, port, 1, &options, &err), &err)) {
    FUZZ_CHECK(amct_data_samples(data) > 0, path);
    for (int64_t i = 0; i < amct_data_samples(data) && i < ROWS_READ; i++)
      if (!fuzz_succeeded(amct_data_read(data, i, 0, 1, &array, &err), &err)) break;
  }
  amct_data_close(data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *path = g_path[size > 0 && data[0] == 'P'];
  amct_arena arena = {0};
  amct_blocks blocks = {0};
  amct_error err = {0};
  amct_port port = port_of(&blocks);
  if (!*path) make_folder();
  write_file(path, data, size);
  if (fuzz_succeeded(amct_format_of(path)(&blocks, path, &port, &arena, &err), &err))
    for (size_t i = 0; i < blocks.count; i++)
      check_block(&blocks.at[i], size);
  port = port_of(&blocks);
  read_samples(path, &port);
  AMCT_VEC_FREE(&blocks);
  amct_arena_free(&arena);
  return 0;
}
