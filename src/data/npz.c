/* SPDX-License-Identifier: Apache-2.0 */
/* .npz: a zip archive of .npy files. Read from its central directory; entries as they
 * are, as numpy.savez writes them, or deflated, as savez_compressed does. */
#include "data/inflate.h"

#include "base/alloc.h"

enum {
  END_BYTES = 22,
  END64_LOCATOR_BYTES = 20,
  END64_BYTES = 56,
  ENTRY_BYTES = 46,
  LOCAL_BYTES = 30,
  COMMENT_MAX = 65535,
  END_MARK = 0x06054b50,
  END64_LOCATOR_MARK = 0x07064b50,
  END64_MARK = 0x06064b50,
  ENTRY_MARK = 0x02014b50,
  LOCAL_MARK = 0x04034b50,
  ZIP64_EXTRA = 1,
  ENCRYPTED = 1,
  STORED = 0,
  DEFLATED = 8,
};

/* Little-endian numbers at a place that the caller has checked. */
static uint16_t get16(const uint8_t *at) {
  return (uint16_t)(at[0] | at[1] << 8);
}
static uint32_t get32(const uint8_t *at) {
  return get16(at) | (uint32_t)get16(at + 2) << 16;
}
static uint64_t get64(const uint8_t *at) {
  return get32(at) | (uint64_t)get32(at + 4) << 32;
}

/* The directory of an archive. */
typedef struct directory {
  amct_slice zip;
  uint64_t offset, count;
} directory;

typedef struct entry {
  amct_slice name;
  uint32_t flags, method, crc;
  uint64_t packed, size, local;
} entry;

static bool holds(amct_slice zip, uint64_t offset, uint64_t bytes) {
  return offset <= zip.size && bytes <= zip.size - offset;
}

static bool find_directory(directory *d) {
  const amct_slice zip = d->zip;
  if (zip.size < END_BYTES) return false;
  const size_t last = zip.size - END_BYTES;
  const size_t least = last > COMMENT_MAX ? last - COMMENT_MAX : 0;
  size_t at = last;
  while (get32(zip.data + at) != END_MARK)
    if (at-- == least) return false;
  d->count = get16(zip.data + at + 10);
  d->offset = get32(zip.data + at + 16);
  if (d->offset != UINT32_MAX && d->count != UINT16_MAX) return true;
  if (at < END64_LOCATOR_BYTES) return true; /* checked entry by entry */
  const uint8_t *locator = zip.data + at - END64_LOCATOR_BYTES;
  if (get32(locator) != END64_LOCATOR_MARK) return true;
  const uint64_t end64 = get64(locator + 8);
  if (!holds(zip, end64, END64_BYTES) || get32(zip.data + end64) != END64_MARK)
    return false;
  d->count = get64(zip.data + end64 + 32);
  d->offset = get64(zip.data + end64 + 48);
  return true;
}

/* Sizes that did not fit 32 bits stand in an extra field, in this order. */
static bool read_zip64(entry *e, amct_slice extra) {
  uint64_t *const wide[] = {&e->size, &e->packed, &e->local};
  while (extra.size >= 4) {
    const size_t size = get16(extra.data + 2);
    if (size > extra.size - 4) return false;
    size_t used = 0;
    for (size_t i = 0; i < 3 && get16(extra.data) == ZIP64_EXTRA; i++) {
      if (*wide[i] != UINT32_MAX) continue;
      if (used + 8 > size) return false;
      *wide[i] = get64(extra.data + 4 + used);
      used += 8;
    }
    extra = (amct_slice){extra.data + 4 + size, extra.size - 4 - size};
  }
  return true;
}

static bool read_entry(const directory *d, uint64_t *at, entry *e) {
  if (!holds(d->zip, *at, ENTRY_BYTES)) return false;
  const uint8_t *from = d->zip.data + *at;
  if (get32(from) != ENTRY_MARK) return false;
  const size_t name = get16(from + 28), extra = get16(from + 30);
  const size_t comment = get16(from + 32);
  if (!holds(d->zip, *at + ENTRY_BYTES, name + extra + comment)) return false;
  e->flags = get16(from + 8);
  e->method = get16(from + 10);
  e->crc = get32(from + 16);
  e->packed = get32(from + 20);
  e->size = get32(from + 24);
  e->local = get32(from + 42);
  e->name = (amct_slice){from + ENTRY_BYTES, name};
  *at += ENTRY_BYTES + name + extra + comment;
  return read_zip64(e, (amct_slice){from + ENTRY_BYTES + name, extra});
}

/* Where the bytes of an entry begin. */
static bool find_content(const directory *d, const entry *e, uint64_t *offset) {
  if (!holds(d->zip, e->local, LOCAL_BYTES)) return false;
  const uint8_t *local = d->zip.data + e->local;
  if (get32(local) != LOCAL_MARK) return false;
  *offset = e->local + LOCAL_BYTES + get16(local + 26) + get16(local + 28);
  return holds(d->zip, *offset, e->method == STORED ? e->size : e->packed);
}

static amct_status fail_zip(const char *path, amct_error *err) {
  return amct_fail(err, AMCT_BAD_FORMAT, NULL, "%s: not an archive of NumPy, or cut off",
                   path);
}

static amct_status check_method(const char *path, const amct_block *block, const entry *e,
                                amct_error *err) {
  if (e->flags & ENCRYPTED)
    return amct_fail(err, AMCT_UNSUPPORTED, NULL, "%s: %s: encrypted", path,
                     block->entry);
  if (e->method == STORED || e->method == DEFLATED) return AMCT_OK;
  return amct_fail(err, AMCT_UNSUPPORTED, NULL,
                   "%s: %s: compressed in a way (%u) that is not numpy's: write it with "
                   "numpy.savez or savez_compressed",
                   path, block->entry, e->method);
}

static amct_status read_packed_head(amct_block *block, uint8_t *head, amct_error *err) {
  amct_inflater *inflater = NULL;
  const uint64_t size = block->packed.size;
  const size_t bytes = size < AMCT_NPY_HEAD_BYTES ? (size_t)size : AMCT_NPY_HEAD_BYTES;
  amct_status status = amct_inflater_open(&inflater, block, err);
  if (status == AMCT_OK) status = amct_inflater_read(inflater, 0, head, bytes, err);
  if (status == AMCT_OK)
    status = amct_npy_head(block, (amct_slice){head, bytes}, size, err);
  amct_inflater_close(inflater);
  return status;
}

static amct_status read_head(amct_block *block, const directory *d, const entry *e,
                             amct_error *err) {
  if (e->method == STORED)
    return amct_npy_head(block, (amct_slice){d->zip.data + block->offset, e->size},
                         e->size, err);
  block->packed = (amct_packed){block->offset, e->packed, e->size, e->crc};
  block->offset = 0;
  uint8_t *head = amct_alloc(AMCT_NPY_HEAD_BYTES);
  const amct_status status =
      head ? read_packed_head(block, head, err) : amct_fail_memory(err);
  amct_free(head);
  return status;
}

static amct_status add_entry(amct_blocks *blocks, const char *path, const directory *d,
                             const entry *e, amct_arena *arena, amct_error *err) {
  static const char k_suffix[] = ".npy";
  const size_t suffix = sizeof k_suffix - 1;
  const bool is_array =
      e->name.size > suffix &&
      memcmp(e->name.data + e->name.size - suffix, k_suffix, suffix) == 0;
  if (!is_array) return AMCT_OK;
  amct_block block = {.path = path};
  block.entry = amct_arena_text(arena, (const char *)e->name.data, e->name.size - suffix);
  if (!block.entry) return amct_fail_memory(err);
  AMCT_TRY(check_method(path, &block, e, err));
  if (!find_content(d, e, &block.offset)) return fail_zip(path, err);
  AMCT_TRY(read_head(&block, d, e, err));
  return AMCT_VEC_PUSH(blocks, block) ? AMCT_OK : amct_fail_memory(err);
}

static amct_status read_archive(amct_blocks *blocks, const char *path, amct_slice zip,
                                amct_arena *arena, amct_error *err) {
  directory d = {zip, 0, 0};
  if (!find_directory(&d)) return fail_zip(path, err);
  uint64_t at = d.offset;
  for (uint64_t i = 0; i < d.count; i++) {
    entry e;
    if (!read_entry(&d, &at, &e)) return fail_zip(path, err);
    AMCT_TRY(add_entry(blocks, path, &d, &e, arena, err));
  }
  return AMCT_OK;
}

amct_status amct_npz_read(amct_blocks *blocks, const char *path, const amct_port *port,
                          amct_arena *arena, amct_error *err) {
  amct_file file = {0};
  (void)port;
  AMCT_TRY(amct_file_open(&file, path, err));
  const amct_status status = read_archive(blocks, path, file.bytes, arena, err);
  amct_file_close(&file);
  return status;
}
