/* SPDX-License-Identifier: Apache-2.0 */
/* Files found, looked at, and given to the inputs that they are for. */
#include "data/columns.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/logging.h"

static const char k_module[] = "data";

enum { SHAPE_TEXT_BYTES = 200 };

/* What a source says. */
typedef struct source {
  const char *path;
  amct_column *column; /* NULL: its name says it, or there is only one */
} source;

static amct_column *find_column(amct_data *d, const char *name, size_t size) {
  if (size > 2 && memcmp(name + size - 2, ":0", 2) == 0) size -= 2;
  for (size_t i = 0; i < d->ports; i++) {
    const char *port = d->columns[i].port->name;
    if (strlen(port) == size && memcmp(port, name, size) == 0) return &d->columns[i];
  }
  return NULL;
}

/* The inputs, for messages. */
static const char *list_ports(amct_data *d) {
  const char *text = "";
  for (size_t i = 0; i < d->ports && text; i++)
    text = amct_arena_format(&d->arena, "%s%s\"%s\"", text, i ? ", " : "",
                             d->columns[i].port->name);
  return text ? text : "?";
}

static bool exists(const char *path) {
  return access(path, F_OK) == 0;
}

/* "input=path", or a path, which may hold a '=' itself. */
static amct_status parse_source(amct_data *d, const char *text, source *to,
                                amct_error *err) {
  const char *equals = strchr(text, '=');
  *to = (source){text, NULL};
  if (!equals || exists(text)) return AMCT_OK;
  to->column = find_column(d, text, (size_t)(equals - text));
  to->path = equals + 1;
  if (to->column) return AMCT_OK;
  return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                   "data: the graph has no input \"%.*s\"; its inputs: %s",
                   (int)(equals - text), text, list_ports(d));
}

/* The column of an array that a file holds; NULL: one that the source leaves out. */
static amct_status choose_column(amct_data *d, const source *from,
                                 const amct_block *block, size_t in_file,
                                 amct_column **to, amct_error *err) {
  amct_column *named =
      *block->entry ? find_column(d, block->entry, strlen(block->entry)) : NULL;
  if (from->column) {
    *to = in_file == 1 || named == from->column ? from->column : NULL;
    return AMCT_OK;
  }
  *to = named ? named : d->ports == 1 && in_file == 1 ? d->columns : NULL;
  if (*to) return AMCT_OK;
  return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                   "%s: \"%s\" is no input of the graph; its inputs: %s", block->path,
                   block->entry, list_ports(d));
}

static const char *shape_text(const amct_shape *shape, char text[SHAPE_TEXT_BYTES]) {
  int used = snprintf(text, SHAPE_TEXT_BYTES, "[");
  for (int i = 0; i < shape->rank; i++)
    used +=
        shape->dims[i] < 0
            ? snprintf(text + used, SHAPE_TEXT_BYTES - (size_t)used, "%s?", i ? "," : "")
            : snprintf(text + used, SHAPE_TEXT_BYTES - (size_t)used, "%s%lld",
                       i ? "," : "", (long long)shape->dims[i]);
  snprintf(text + used, SHAPE_TEXT_BYTES - (size_t)used, "]");
  return text;
}

/* As NumPy names it. */
static const char *dtype_text(amct_dtype dtype) {
  static const struct {
    amct_dtype dtype;
    const char *text;
  } k_names[] = {
      {AMCT_DTYPE_FLOAT, "float32"}, {AMCT_DTYPE_DOUBLE, "float64"},
      {AMCT_DTYPE_HALF, "float16"},  {AMCT_DTYPE_INT8, "int8"},
      {AMCT_DTYPE_INT16, "int16"},   {AMCT_DTYPE_INT32, "int32"},
      {AMCT_DTYPE_INT64, "int64"},   {AMCT_DTYPE_UINT8, "uint8"},
      {AMCT_DTYPE_UINT16, "uint16"}, {AMCT_DTYPE_UINT32, "uint32"},
      {AMCT_DTYPE_UINT64, "uint64"}, {AMCT_DTYPE_BOOL, "bool"},
  };
  for (size_t i = 0; i < sizeof k_names / sizeof *k_names; i++)
    if (k_names[i].dtype == dtype) return k_names[i].text;
  return amct_dtype_name(dtype);
}

/* A sample alone is a batch of one. */
static void add_axis(amct_block *block, const amct_shape *port) {
  amct_shape *shape = &block->shape;
  if (shape->rank != port->rank - 1) return;
  for (int i = shape->rank; i > 0; i--)
    shape->dims[i] = shape->dims[i - 1];
  shape->dims[0] = 1;
  shape->rank++;
}

static bool tails_agree(const amct_shape *a, const amct_shape *b) {
  bool agree = a->rank == b->rank;
  for (int i = 1; agree && i < a->rank; i++)
    agree = a->dims[i] == b->dims[i] || a->dims[i] < 0 || b->dims[i] < 0;
  return agree;
}

static amct_status check_block(const amct_column *c, amct_block *block, amct_error *err) {
  char has[SHAPE_TEXT_BYTES], wanted[SHAPE_TEXT_BYTES];
  const amct_port *port = c->port;
  const char *entry = *block->entry ? block->entry : "the array";
  if (block->dtype != port->dtype)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, port->name,
                     "%s: %s is of %s where input \"%s\" takes %s", block->path, entry,
                     dtype_text(block->dtype), port->name, dtype_text(port->dtype));
  if (port->shape.rank > 0) add_axis(block, &port->shape);
  if (block->shape.rank < 1 ||
      (port->shape.rank >= 0 && !tails_agree(&block->shape, &port->shape)))
    return amct_fail(err, AMCT_INVALID_ARGUMENT, port->name,
                     "%s: %s has shape %s where input \"%s\" takes %s", block->path,
                     entry, shape_text(&block->shape, has), port->name,
                     shape_text(&port->shape, wanted));
  if (block->bytes == 0) /* of which there may be any number */
    return amct_fail(err, AMCT_INVALID_ARGUMENT, port->name,
                     "%s: %s holds no samples%s%s", block->path, entry,
                     block->shape.dims[0] ? ": its shape is " : "",
                     block->shape.dims[0] ? shape_text(&block->shape, has) : "");
  if (c->blocks.count > 0 && !tails_agree(&block->shape, &c->blocks.at[0].shape))
    return amct_fail(err, AMCT_INVALID_ARGUMENT, port->name,
                     "%s: %s has shape %s where %s has %s: all batches of input \"%s\" "
                     "must have one shape",
                     block->path, entry, shape_text(&block->shape, has),
                     c->blocks.at[0].path, shape_text(&c->blocks.at[0].shape, wanted),
                     port->name);
  return AMCT_OK;
}

static amct_status place_blocks(amct_data *d, const source *from,
                                const amct_blocks *found, amct_error *err) {
  size_t placed = 0;
  for (size_t i = 0; i < found->count; i++) {
    amct_column *to = NULL;
    amct_block block = found->at[i];
    AMCT_TRY(choose_column(d, from, &block, found->count, &to, err));
    if (!to) continue;
    AMCT_TRY(check_block(to, &block, err));
    if (!AMCT_VEC_PUSH(&to->blocks, block)) return amct_fail_memory(err);
    placed++;
  }
  if (placed > 0) return AMCT_OK;
  return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "%s: no array for input \"%s\"",
                   from->path, from->column ? from->column->port->name : "?");
}

static amct_status add_file(amct_data *d, const source *from, amct_error *err) {
  amct_format_read *read = amct_format_of(from->path);
  amct_blocks found = {0};
  const amct_column *c = from->column ? from->column : d->columns;
  if (!exists(from->path)) return amct_fail_io(err, from->path, errno);
  if (!read)
    return amct_fail(err, AMCT_UNSUPPORTED, NULL, "%s: only %s files are read",
                     from->path, k_amct_formats);
  if (!from->column && d->ports > 1 && read != amct_npz_read)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "%s: for which input? Write input=%s; the inputs: %s", from->path,
                     from->path, list_ports(d));
  amct_status status = read(&found, from->path, c->port, &d->arena, err);
  if (status == AMCT_OK) status = place_blocks(d, from, &found, err);
  AMCT_VEC_FREE(&found);
  d->files++;
  return status;
}

/* "2.npy" before "10.npy". */
static int by_name(const struct dirent **a, const struct dirent **b) {
  return strverscmp((*a)->d_name, (*b)->d_name);
}

static int is_visible(const struct dirent *entry) {
  return entry->d_name[0] != '.';
}

static amct_status add_entry(amct_data *d, const source *folder, const char *name,
                             size_t *skipped, amct_error *err) {
  const size_t size = strlen(folder->path);
  const bool slash = size > 0 && folder->path[size - 1] == '/';
  source file = *folder;
  file.path =
      amct_arena_format(&d->arena, "%s%s%s", folder->path, slash ? "" : "/", name);
  if (!file.path) return amct_fail_memory(err);
  if (amct_format_of(file.path)) return add_file(d, &file, err);
  ++*skipped;
  return AMCT_OK;
}

static amct_status add_folder(amct_data *d, const source *from, amct_error *err) {
  struct dirent **entries = NULL;
  const int count = scandir(from->path, &entries, is_visible, by_name);
  if (count < 0) return amct_fail_io(err, from->path, errno);
  amct_status status = AMCT_OK;
  size_t skipped = 0;
  for (int i = 0; i < count; i++) {
    if (status == AMCT_OK) status = add_entry(d, from, entries[i]->d_name, &skipped, err);
    free(entries[i]);
  }
  free(entries);
  if (status != AMCT_OK) return status;
  if ((size_t)count == skipped)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "%s: holds no %s files",
                     from->path, k_amct_formats);
  if (skipped > 0)
    amct_log(AMCT_LOG_WARNING, k_module, "%s: %zu entries are not %s files: left out",
             from->path, skipped, k_amct_formats);
  return AMCT_OK;
}

amct_status amct_data_add_source(amct_data *d, const char *text, amct_error *err) {
  struct stat info;
  source from;
  AMCT_TRY(parse_source(d, text, &from, err));
  if (stat(from.path, &info) == 0 && S_ISDIR(info.st_mode))
    return add_folder(d, &from, err);
  return add_file(d, &from, err);
}
