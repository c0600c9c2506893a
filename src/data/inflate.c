/* SPDX-License-Identifier: Apache-2.0 */
#include "data/inflate.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"

/* ---- zlib, as its manual describes it; the layout has not changed since 1.0 ---- */

enum {
  Z_OK = 0,
  Z_STREAM_END = 1,
  Z_MEM_ERROR = -4,
  Z_NO_FLUSH = 0,
  RAW_DEFLATE = -15, /* no head; the largest window */
};

typedef struct z_stream {
  const uint8_t *next_in;
  unsigned avail_in;
  unsigned long total_in;
  uint8_t *next_out;
  unsigned avail_out;
  unsigned long total_out;
  const char *msg;
  void *state;
  void *(*alloc)(void *opaque, unsigned items, unsigned size);
  void (*free)(void *opaque, void *address);
  void *opaque;
  int data_type;
  unsigned long adler, reserved;
} z_stream;

/* In the order of k_names. */
typedef struct zlib {
  int (*init)(z_stream *stream, int window, const char *version, int stream_bytes);
  int (*inflate)(z_stream *stream, int flush);
  int (*reset)(z_stream *stream);
  int (*end)(z_stream *stream);
  unsigned long (*crc32)(unsigned long crc, const uint8_t *data, unsigned size);
} zlib;

static const char *const k_names[] = {"inflateInit2_", "inflate", "inflateReset",
                                      "inflateEnd", "crc32"};
enum { NAMES = sizeof k_names / sizeof *k_names, REASON_BYTES = 256 };

static union {
  zlib functions;
  void *symbols[NAMES];
} g_zlib;
static char g_missing[REASON_BYTES]; /* why there is none; "": there is */
static pthread_once_t g_once = PTHREAD_ONCE_INIT;

static void load_zlib(void) {
  void *library = dlopen("libz.so.1", RTLD_NOW | RTLD_LOCAL);
  for (size_t i = 0; library && i < NAMES; i++)
    if (!(g_zlib.symbols[i] = dlsym(library, k_names[i]))) library = NULL;
  if (library) return;
  const char *reason = dlerror();
  snprintf(g_missing, sizeof g_missing, "%s", reason ? reason : "libz.so.1: ?");
}

static void *allocate(void *opaque, unsigned items, unsigned size) {
  (void)opaque;
  return amct_alloc_array(items, size);
}

static void release(void *opaque, void *address) {
  (void)opaque;
  amct_free(address);
}

/* ---- an entry ---- */

enum { INPUT_BYTES = 1 << 16, SKIP_BYTES = 1 << 14, RATIO_MOST = 1032 };

struct amct_inflater {
  const amct_block *block;
  int fd;
  z_stream stream;
  bool begun;     /* the stream is zlib's to free */
  bool ended;     /* it has said so */
  uint64_t given; /* packed bytes that were read */
  uint64_t done;  /* bytes unpacked */
  unsigned long crc;
  uint8_t input[INPUT_BYTES];
};

static amct_status fail(const amct_inflater *f, const char *what, amct_error *err) {
  return amct_fail(err, AMCT_BAD_FORMAT, NULL, "%s: %s: damaged: %s", f->block->path,
                   f->block->entry, what);
}

static amct_status open_stream(amct_inflater *f, amct_error *err) {
  const amct_block *block = f->block;
  pthread_once(&g_once, load_zlib);
  if (*g_missing)
    return amct_fail(err, AMCT_NOT_READY, NULL,
                     "%s: %s: compressed, and zlib cannot be loaded: %s: install it "
                     "(zlib1g, in Debian), or write the file with numpy.savez",
                     block->path, block->entry, g_missing);
  if (block->packed.size / RATIO_MOST > block->packed.bytes)
    return amct_fail(err, AMCT_BAD_FORMAT, NULL,
                     "%s: %s: %llu compressed bytes cannot hold %llu", block->path,
                     block->entry, (unsigned long long)block->packed.bytes,
                     (unsigned long long)block->packed.size);
  f->fd = open(block->path, O_RDONLY | O_CLOEXEC);
  if (f->fd < 0) return amct_fail_io(err, block->path, errno);
  f->stream = (z_stream){.alloc = allocate, .free = release};
  const int code =
      g_zlib.functions.init(&f->stream, RAW_DEFLATE, "1", (int)sizeof f->stream);
  f->begun = code == Z_OK;
  if (code == Z_MEM_ERROR) return amct_fail_memory(err);
  return f->begun ? AMCT_OK
                  : amct_fail(err, AMCT_NOT_READY, NULL,
                              "%s: %s: compressed, and this zlib does not unpack it",
                              block->path, block->entry);
}

amct_status amct_inflater_open(amct_inflater **out, const amct_block *block,
                               amct_error *err) {
  *out = NULL;
  amct_inflater *f = amct_alloc_array(1, sizeof *f);
  if (!f) return amct_fail_memory(err);
  f->block = block;
  f->fd = -1;
  const amct_status status = open_stream(f, err);
  if (status == AMCT_OK)
    *out = f;
  else
    amct_inflater_close(f);
  return status;
}

void amct_inflater_close(amct_inflater *f) {
  if (!f) return;
  if (f->begun) (void)g_zlib.functions.end(&f->stream);
  if (f->fd >= 0) close(f->fd);
  amct_free(f);
}

/* ---- reading ---- */

static amct_status fill_input(amct_inflater *f, amct_error *err) {
  const amct_packed *packed = &f->block->packed;
  const uint64_t left = packed->bytes - f->given;
  const size_t wanted = left < INPUT_BYTES ? (size_t)left : INPUT_BYTES;
  ssize_t got = 0;
  if (wanted == 0) return fail(f, "its compressed bytes are cut off", err);
  do
    got = pread(f->fd, f->input, wanted, (off_t)(packed->offset + f->given));
  while (got < 0 && errno == EINTR);
  if (got < 0) return amct_fail_io(err, f->block->path, errno);
  if (got == 0)
    return amct_fail(err, AMCT_IO, NULL, "%s: has become shorter while it was in use",
                     f->block->path);
  f->given += (uint64_t)got;
  f->stream.next_in = f->input;
  f->stream.avail_in = (unsigned)got;
  return AMCT_OK;
}

/* At most `bytes` more, fewer where it ends; they fit an unsigned. */
static amct_status unpack(amct_inflater *f, uint8_t *to, unsigned bytes,
                          amct_error *err) {
  f->stream.next_out = to;
  f->stream.avail_out = bytes;
  while (f->stream.avail_out > 0 && !f->ended) {
    if (f->stream.avail_in == 0) AMCT_TRY(fill_input(f, err));
    const int code = g_zlib.functions.inflate(&f->stream, Z_NO_FLUSH);
    if (code == Z_MEM_ERROR) return amct_fail_memory(err);
    if (code != Z_OK && code != Z_STREAM_END)
      return fail(f, f->stream.msg ? f->stream.msg : "unknown to zlib", err);
    f->ended = code == Z_STREAM_END;
  }
  const unsigned got = bytes - f->stream.avail_out;
  f->crc = g_zlib.functions.crc32(f->crc, to, got);
  f->done += got;
  return AMCT_OK;
}

/* All `bytes`. */
static amct_status take(amct_inflater *f, uint8_t *to, uint64_t bytes, amct_error *err) {
  while (bytes > 0) {
    const unsigned some = bytes < INT32_MAX ? (unsigned)bytes : (unsigned)INT32_MAX;
    const uint64_t before = f->done;
    AMCT_TRY(unpack(f, to, some, err));
    const uint64_t got = f->done - before;
    if (got < some)
      return amct_fail(err, AMCT_BAD_FORMAT, NULL,
                       "%s: %s: ends after %llu bytes where the archive speaks of %llu",
                       f->block->path, f->block->entry, (unsigned long long)f->done,
                       (unsigned long long)f->block->packed.size);
    to += got;
    bytes -= got;
  }
  return AMCT_OK;
}

static amct_status skip_to(amct_inflater *f, uint64_t offset, amct_error *err) {
  uint8_t scratch[SKIP_BYTES];
  while (f->done < offset) {
    const uint64_t left = offset - f->done;
    AMCT_TRY(take(f, scratch, left < SKIP_BYTES ? left : SKIP_BYTES, err));
  }
  return AMCT_OK;
}

static amct_status rewind_to_start(amct_inflater *f, amct_error *err) {
  f->given = f->done = f->crc = 0;
  f->stream.avail_in = 0;
  f->ended = false;
  return g_zlib.functions.reset(&f->stream) == Z_OK
             ? AMCT_OK
             : fail(f, "it does not begin again", err);
}

/* Nothing may follow the last byte, and all are as they were. */
static amct_status check_end(amct_inflater *f, amct_error *err) {
  const amct_packed *packed = &f->block->packed;
  const unsigned long crc = f->crc;
  uint8_t more;
  AMCT_TRY(unpack(f, &more, 1, err));
  if (f->done > packed->size)
    return amct_fail(err, AMCT_BAD_FORMAT, NULL,
                     "%s: %s: goes on after the %llu bytes that the archive speaks of",
                     f->block->path, f->block->entry, (unsigned long long)packed->size);
  if (crc == packed->crc) return AMCT_OK;
  return amct_fail(err, AMCT_BAD_FORMAT, NULL,
                   "%s: %s: damaged: its checksum is %08lx where the archive speaks of "
                   "%08lx",
                   f->block->path, f->block->entry, crc, (unsigned long)packed->crc);
}

amct_status amct_inflater_read(amct_inflater *f, uint64_t offset, void *to,
                               uint64_t bytes, amct_error *err) {
  const amct_block *block = f->block;
  if (offset < f->done) AMCT_TRY(rewind_to_start(f, err));
  AMCT_TRY(skip_to(f, offset, err));
  AMCT_TRY(take(f, to, bytes, err));
  if (block->bytes == 0 || f->done < block->offset + block->bytes) return AMCT_OK;
  AMCT_TRY(skip_to(f, block->packed.size, err));
  return check_end(f, err);
}
