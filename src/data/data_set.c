/* SPDX-License-Identifier: Apache-2.0 */
/* Samples and batches out of files. */
#include "data/columns.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <unistd.h>

#include "base/alloc.h"
#include "numeric/sketch.h"

enum { ALIGNMENT = 64 };

static amct_status measure(amct_column *c, amct_error *err) {
  const amct_shape *shape = &c->blocks.at[0].shape;
  c->ends = amct_alloc_array(c->blocks.count, sizeof *c->ends);
  if (!c->ends) return amct_fail_memory(err);
  int64_t end = 0;
  for (size_t i = 0; i < c->blocks.count; i++)
    c->ends[i] = end += c->blocks.at[i].shape.dims[0]; /* of files: far from 2^63 */
  c->row_values = 1;
  for (int i = 1; i < shape->rank; i++)
    c->row_values *= (size_t)shape->dims[i];
  c->row_bytes = c->row_values * amct_dtype_bytes(c->port->dtype);
  return AMCT_OK;
}

/* Columns with data come first; a needed one without is an error. */
static amct_status drop_optional(amct_data *d, amct_error *err) {
  for (size_t i = 0; i < d->ports; i++) {
    amct_column c = d->columns[i];
    if (c.blocks.count == 0 && !c.port->optional)
      return amct_fail(err, AMCT_INVALID_ARGUMENT, c.port->name,
                       "data: none for input \"%s\"", c.port->name);
    if (c.blocks.count == 0) continue;
    d->columns[i] = d->columns[d->count];
    d->columns[d->count++] = c;
  }
  if (d->count > 0) return AMCT_OK;
  return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "data: there are no samples");
}

static int64_t samples_of(const amct_column *c) {
  return c->ends[c->blocks.count - 1];
}

static amct_status fail_samples(const amct_column *a, const amct_column *b,
                                amct_error *err) {
  return amct_fail(err, AMCT_INVALID_ARGUMENT, b->port->name,
                   "data: %lld samples in %zu files for input \"%s\", %lld in %zu for "
                   "\"%s\"",
                   (long long)samples_of(a), a->blocks.count, a->port->name,
                   (long long)samples_of(b), b->blocks.count, b->port->name);
}

static amct_status agree(amct_data *d, amct_error *err) {
  const amct_column *first = d->columns;
  for (size_t i = 1; i < d->count; i++) {
    const amct_column *c = &d->columns[i];
    bool same = samples_of(c) == samples_of(first);
    if (d->batch_size == 0) {
      same = same && c->blocks.count == first->blocks.count;
      for (size_t k = 0; same && k < c->blocks.count; k++)
        same = c->ends[k] == first->ends[k];
    }
    if (!same) return fail_samples(first, c, err);
  }
  return AMCT_OK;
}

/* A graph may take batches of one size only. */
static amct_status check_sizes(const amct_data *d, amct_error *err) {
  for (size_t i = 0; i < d->count; i++) {
    const amct_shape *shape = &d->columns[i].port->shape;
    if (shape->rank < 1 || shape->dims[0] < 0) continue;
    for (int64_t b = 0; b < d->batches; b++) {
      const int64_t rows = amct_data_rows(d, b);
      if (rows == shape->dims[0]) continue;
      return amct_fail(err, AMCT_INVALID_ARGUMENT, d->columns[i].port->name,
                       "data: batch %lld has %lld samples where input \"%s\" takes %lld: "
                       "give a batch_size of %lld, and a multiple of it in samples",
                       (long long)b + 1, (long long)rows, d->columns[i].port->name,
                       (long long)shape->dims[0], (long long)shape->dims[0]);
    }
  }
  return AMCT_OK;
}

static amct_status gather(amct_data *d, const amct_data_options *options,
                          amct_error *err) {
  for (size_t i = 0; i < options->source_count; i++)
    AMCT_TRY(amct_data_add_source(d, options->sources[i], err));
  AMCT_TRY(drop_optional(d, err));
  for (size_t i = 0; i < d->count; i++)
    AMCT_TRY(measure(&d->columns[i], err));
  AMCT_TRY(agree(d, err));
  d->samples = samples_of(d->columns);
  d->batches = (int64_t)d->columns->blocks.count;
  if (d->batch_size > 0)
    d->batches = d->samples / d->batch_size + (d->samples % d->batch_size != 0);
  return check_sizes(d, err);
}

amct_status amct_data_open(amct_data **out, const amct_port *ports, size_t port_count,
                           const amct_data_options *options, amct_error *err) {
  *out = NULL;
  amct_data *d = amct_alloc_array(1, sizeof *d);
  if (!d) return amct_fail_memory(err);
  d->batch_size = options->batch_size;
  d->ports = port_count;
  d->columns = amct_alloc_array(port_count + 1, sizeof *d->columns);
  amct_status status = d->columns ? AMCT_OK : amct_fail_memory(err);
  for (size_t i = 0; i < port_count && status == AMCT_OK; i++)
    d->columns[i].port = &ports[i];
  if (status == AMCT_OK && port_count == 0)
    status = amct_fail(err, AMCT_BAD_GRAPH, NULL, "the graph has no inputs");
  if (status == AMCT_OK) status = gather(d, options, err);
  if (status == AMCT_OK)
    *out = d;
  else
    amct_data_close(d);
  return status;
}

void amct_data_close(amct_data *d) {
  if (!d) return;
  for (size_t i = 0; d->columns && i < d->ports; i++) {
    AMCT_VEC_FREE(&d->columns[i].blocks);
    amct_inflater_close(d->columns[i].inflater);
    amct_free(d->columns[i].ends);
    amct_free(d->columns[i].memory);
  }
  amct_free(d->columns);
  amct_arena_free(&d->arena);
  amct_free(d);
}

int64_t amct_data_samples(const amct_data *data) {
  return data->samples;
}

int64_t amct_data_files(const amct_data *data) {
  return data->files;
}

int64_t amct_data_batches(const amct_data *data) {
  return data->batches;
}

static int64_t batch_start(const amct_data *d, int64_t batch) {
  if (d->batch_size > 0) return batch * d->batch_size;
  return batch > 0 ? d->columns->ends[batch - 1] : 0;
}

int64_t amct_data_rows(const amct_data *d, int64_t batch) {
  const int64_t end = batch + 1 < d->batches ? batch_start(d, batch + 1) : d->samples;
  return end - batch_start(d, batch);
}

size_t amct_data_inputs(const amct_data *data) {
  return data->count;
}

amct_array amct_data_input(const amct_data *data, size_t input) {
  const amct_column *c = &data->columns[input];
  amct_array array = {c->port->name, c->port->dtype, c->blocks.at[0].shape, 0, NULL};
  array.shape.dims[0] = amct_data_rows(data, 0);
  array.count = (size_t)array.shape.dims[0] * c->row_values;
  return array;
}

/* ---- reading ---- */

static amct_status read_at(int fd, const amct_block *block, void *to, uint64_t bytes,
                           uint64_t offset, amct_error *err) {
  uint8_t *at = to;
  while (bytes > 0) {
    const ssize_t got = pread(fd, at, bytes, (off_t)offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return amct_fail_io(err, block->path, errno);
    if (got == 0)
      return amct_fail(err, AMCT_IO, NULL, "%s: has become shorter while it was in use",
                       block->path);
    at += got;
    bytes -= (uint64_t)got;
    offset += (uint64_t)got;
  }
  return AMCT_OK;
}

static amct_status read_file(const amct_block *block, void *to, uint64_t bytes,
                             uint64_t offset, amct_error *err) {
  const int fd = open(block->path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return amct_fail_io(err, block->path, errno);
  const amct_status status = read_at(fd, block, to, bytes, offset, err);
  close(fd);
  return status;
}

static amct_status read_packed(amct_column *c, const amct_block *block, void *to,
                               uint64_t bytes, uint64_t offset, amct_error *err) {
  if (c->inflated != block) {
    amct_inflater_close(c->inflater);
    c->inflated = NULL;
    AMCT_TRY(amct_inflater_open(&c->inflater, block, err));
    c->inflated = block;
  }
  return amct_inflater_read(c->inflater, offset, to, bytes, err);
}

static amct_status read_rows(amct_column *c, size_t block_at, int64_t first, int64_t rows,
                             void *to, amct_error *err) {
  const amct_block *block = &c->blocks.at[block_at];
  const uint64_t bytes = (uint64_t)rows * c->row_bytes;
  const uint64_t offset = block->offset + (uint64_t)first * c->row_bytes;
  const amct_status status = block->packed.bytes
                                 ? read_packed(c, block, to, bytes, offset, err)
                                 : read_file(block, to, bytes, offset, err);
  if (status != AMCT_OK || c->port->dtype != AMCT_DTYPE_FLOAT) return status;
  const size_t count = (size_t)rows * c->row_values;
  const size_t bad = amct_find_not_finite(to, count);
  if (bad == count) return AMCT_OK;
  return amct_fail(err, AMCT_UNSUPPORTED, c->port->name,
                   "%s: sample %lld has %s at index %zu of its data, for input \"%s\"",
                   block->path, (long long)first + (long long)(bad / c->row_values) + 1,
                   isnan(((const float *)to)[bad]) ? "NaN" : "infinity",
                   bad % c->row_values, c->port->name);
}

static void *aligned(void *memory) {
  return (void *)(((uintptr_t)memory + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
}

static amct_status reserve(amct_column *c, uint64_t bytes, amct_error *err) {
  if (bytes <= c->capacity) return AMCT_OK;
  amct_free(c->memory);
  c->capacity = 0;
  c->memory = amct_alloc(bytes + ALIGNMENT);
  if (!c->memory) return amct_fail_memory(err);
  c->capacity = bytes;
  return AMCT_OK;
}

static amct_status read_column(amct_column *c, int64_t start, int64_t rows,
                               amct_array *to, amct_error *err) {
  AMCT_TRY(reserve(c, (uint64_t)rows * c->row_bytes, err));
  uint8_t *at = aligned(c->memory);
  size_t block = 0;
  *to = (amct_array){c->port->name, c->port->dtype, c->blocks.at[0].shape,
                     (size_t)rows * c->row_values, at};
  to->shape.dims[0] = rows;
  while (c->ends[block] <= start)
    block++;
  while (rows > 0) {
    const int64_t before = block > 0 ? c->ends[block - 1] : 0;
    const int64_t left = c->ends[block] - start, n = rows < left ? rows : left;
    AMCT_TRY(read_rows(c, block++, start - before, n, at, err));
    at += (uint64_t)n * c->row_bytes;
    start += n;
    rows -= n;
  }
  return AMCT_OK;
}

amct_status amct_data_read(amct_data *data, int64_t batch, int64_t first, int64_t rows,
                           amct_array *arrays, amct_error *err) {
  const int64_t start = batch_start(data, batch) + first;
  for (size_t i = 0; i < data->count; i++)
    AMCT_TRY(read_column(&data->columns[i], start, rows, &arrays[i], err));
  return AMCT_OK;
}
