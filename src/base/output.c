/* SPDX-License-Identifier: Apache-2.0 */
#include "base/output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"

enum {
  NAME_BYTES_MAX = 254,
  LINKS_MAX = 40, /* as the kernel's */
  TEMP_TRIES_MAX = 100,
  BUFFER_BYTES = 1 << 16,
  PARENT_MODE = 0750,
  FILE_MODE = 0640,
};

struct amct_output {
  int fd;
  int error_number; /* of the first write that did not succeed */
  char *target;     /* the path with symbolic links of the last component followed */
  char *temp;
  size_t used;
  uint8_t buffer[BUFFER_BYTES];
};

static size_t folder_size(const char *path) { /* up to and with the last '/' */
  const char *slash = strrchr(path, '/');
  return slash != NULL ? (size_t)(slash - path) + 1 : 0;
}

static char *join(const char *folder, size_t size, const char *name) {
  size_t name_size = strlen(name);
  char *path = amct_alloc(size + name_size + 1);
  if (path == NULL) return NULL;
  memcpy(path, folder, size);
  memcpy(path + size, name, name_size + 1);
  return path;
}

static bool is_folder(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

amct_status amct_output_make_parents(const char *path, amct_error *err) {
  amct_status status = AMCT_OK;
  size_t size = folder_size(path);
  char *folder = join(path, size, "");
  if (folder == NULL) return amct_fail_memory(err);

  for (size_t i = 1; i < size; i++) {
    if (folder[i] != '/' || folder[i - 1] == '/') continue;
    folder[i] = '\0';
    if (mkdir(folder, PARENT_MODE) != 0) {
      int reason = errno == EEXIST ? ENOTDIR : errno;
      if (!is_folder(folder)) {
        status = amct_fail_io(err, folder, reason);
        goto done;
      }
    }
    folder[i] = '/';
  }
done:
  amct_free(folder);
  return status;
}

/* Where the link *path points; *path is replaced. A relative target lies beside the link.
 */
static amct_status follow_link(char **path, amct_error *err) {
  char where[PATH_MAX];
  ssize_t size = readlink(*path, where, sizeof where - 1);
  if (size < 0) return amct_fail_io(err, *path, errno);
  where[size] = '\0';
  char *next = join(*path, where[0] == '/' ? 0 : folder_size(*path), where);
  if (next == NULL) return amct_fail_memory(err);
  amct_free(*path);
  *path = next;
  return AMCT_OK;
}

/* Follows *path through symbolic links, existing target or not, and refuses what rename
 * would destroy: a device, a pipe, a folder. */
static amct_status resolve(char **path, amct_error *err) {
  for (int i = 0; i < LINKS_MAX; i++) {
    struct stat info;
    if (lstat(*path, &info) != 0) {
      return errno == ENOENT ? AMCT_OK : amct_fail_io(err, *path, errno);
    }
    if (S_ISDIR(info.st_mode)) return amct_fail_io(err, *path, EISDIR);
    if (S_ISREG(info.st_mode)) return AMCT_OK;
    if (!S_ISLNK(info.st_mode))
      return amct_fail(err, AMCT_IO, NULL, "%.800s: not a regular file", *path);
    AMCT_TRY(follow_link(path, err));
  }
  return amct_fail_io(err, *path, ELOOP);
}

static amct_status check_name(const char *path, amct_error *err) {
  if (path == NULL || path[0] == '\0')
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "the output path is empty");
  const char *name = path + folder_size(path);
  size_t size = strlen(name);
  if (size == 0)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "%.800s: a folder where a file name is wanted", path);
  if (size > NAME_BYTES_MAX)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL,
                     "%.400s...: file name of %zu bytes, %d are allowed", name, size,
                     NAME_BYTES_MAX);
  return AMCT_OK;
}

/* Six letters that differ between processes, threads and calls; O_EXCL settles the rest.
 */
static void fill_suffix(char *suffix, const void *salt, unsigned attempt) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
  struct timespec now = {0};
  clock_gettime(CLOCK_REALTIME, &now);
  uint64_t x = (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 30 ^
               (uint64_t)getpid() << 16 ^ (uint64_t)(uintptr_t)salt ^
               (uint64_t)attempt << 56;
  for (int i = 0; i < 6; i++) {
    x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    suffix[i] = letters[(x >> 33) % (sizeof letters - 1)];
  }
}

/* Opens <target>.tmpXXXXXX. Not mkostemp: that makes files of mode 0600 whatever the
 * umask says. */
static amct_status open_temp(amct_output *output, amct_error *err) {
  static const char ending[] = ".tmpXXXXXX";
  size_t folder = folder_size(output->target);
  size_t size = strlen(output->target);
  if (size - folder >
      NAME_MAX - (sizeof ending - 1)) /* a long name is cut, to leave room */
    size = folder + NAME_MAX - (sizeof ending - 1);
  output->temp = join(output->target, size, ending);
  if (output->temp == NULL) return amct_fail_memory(err);

  for (unsigned i = 0; i < TEMP_TRIES_MAX; i++) {
    fill_suffix(output->temp + size + 4, output, i);
    output->fd = open(output->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                      FILE_MODE);
    if (output->fd >= 0) return AMCT_OK;
    if (errno != EEXIST && errno != EINTR) break;
  }
  int reason = errno;
  amct_free(output->temp);
  output->temp = NULL; /* not ours to remove */
  return amct_fail_io(err, output->target, reason);
}

static amct_output *make_output(const char *path) {
  amct_output *output = amct_alloc(sizeof *output);
  if (output == NULL) return NULL;
  output->fd = -1;
  output->error_number = 0;
  output->temp = NULL;
  output->used = 0;
  output->target = join(path, strlen(path), "");
  if (output->target != NULL) return output;
  amct_free(output);
  return NULL;
}

amct_status amct_output_open(amct_output **out, const char *path, amct_error *err) {
  amct_status status = AMCT_OK;
  amct_output *output = NULL;
  *out = NULL;
  if ((status = check_name(path, err)) != AMCT_OK) goto done;
  if ((output = make_output(path)) == NULL) {
    status = amct_fail_memory(err);
    goto done;
  }
  if ((status = resolve(&output->target, err)) != AMCT_OK) goto done;
  if ((status = check_name(output->target, err)) != AMCT_OK) goto done;
  if ((status = amct_output_make_parents(output->target, err)) != AMCT_OK) goto done;
  if ((status = open_temp(output, err)) != AMCT_OK) goto done;

  *out = output;
  output = NULL; /* moved to the caller */
done:
  amct_output_discard(output);
  return status;
}

/* All of it, through interruptions and short writes; the first error is kept. */
static void write_through(amct_output *output, const uint8_t *data, size_t size) {
  while (size != 0 && output->error_number == 0) {
    ssize_t written = write(output->fd, data, size);
    if (written > 0) {
      data += written;
      size -= (size_t)written;
    } else if (written == 0) {
      output->error_number = EIO;
    } else if (errno != EINTR) {
      output->error_number = errno;
    }
  }
}

static amct_status kept_error(const amct_output *output, amct_error *err) {
  if (output->error_number == 0) return AMCT_OK;
  return amct_fail_io(err, output->target, output->error_number);
}

amct_status amct_output_write(amct_output *output, const void *data, size_t size,
                              amct_error *err) {
  if (size > BUFFER_BYTES - output->used) {
    write_through(output, output->buffer, output->used);
    output->used = 0;
  }
  if (size >= BUFFER_BYTES) {
    write_through(output, data, size);
  } else if (size != 0) {
    memcpy(output->buffer + output->used, data, size);
    output->used += size;
  }
  return kept_error(output, err);
}

/* A rename is on the disk only with its folder. Best effort: not every file system can.
 */
static void sync_folder(const char *path) {
  size_t size = folder_size(path);
  char *folder = size != 0 ? join(path, size, "") : join(".", 1, "");
  if (folder == NULL) return;
  int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) {
    (void)fsync(fd);
    close(fd);
  }
  amct_free(folder);
}

static int sync_file(int fd) {
  int result = 0;
  do {
    result = fsync(fd);
  } while (result != 0 && errno == EINTR);
  /* a file system without fsync says EINVAL or ENOSYS; the data are written all the same
   */
  return result != 0 && errno != EINVAL && errno != ENOSYS ? errno : 0;
}

amct_status amct_output_ready(amct_output *output, amct_error *err) {
  if (output->fd < 0) return kept_error(output, err);
  write_through(output, output->buffer, output->used);
  output->used = 0;
  if (output->error_number == 0) output->error_number = sync_file(output->fd);
  /* after close the number is gone even when close reports an error, EINTR included */
  if (close(output->fd) != 0 && errno != EINTR && output->error_number == 0)
    output->error_number = errno;
  output->fd = -1;
  return kept_error(output, err);
}

amct_status amct_output_commit(amct_output *output, amct_error *err) {
  amct_status status = amct_output_ready(output, err);
  if (status != AMCT_OK) goto done;
  if (rename(output->temp, output->target) != 0) {
    status = amct_fail_io(err, output->target, errno);
    goto done;
  }
  amct_free(output->temp);
  output->temp = NULL; /* is the target now: nothing to remove */
  sync_folder(output->target);
done:
  amct_output_discard(output);
  return status;
}

void amct_output_discard(amct_output *output) {
  if (output == NULL) return;
  if (output->fd >= 0) close(output->fd);
  if (output->temp != NULL) (void)unlink(output->temp);
  amct_free(output->temp);
  amct_free(output->target);
  amct_free(output);
}

amct_status amct_output_whole(const char *path, const void *data, size_t size,
                              amct_error *err) {
  amct_output *output = NULL;
  AMCT_TRY(amct_output_open(&output, path, err));
  if (amct_output_write(output, data, size, err) != AMCT_OK) {
    amct_output_discard(output);
    return AMCT_IO;
  }
  return amct_output_commit(output, err);
}
