/* SPDX-License-Identifier: Apache-2.0 */
#include "api/paths.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

amct_status amct_path_absolute(amct_arena *arena, const char *path, const char **absolute,
                               amct_error *err) {
  char folder[PATH_MAX];
  if (path[0] == '/') {
    *absolute = amct_arena_text(arena, path, strlen(path));
    return *absolute ? AMCT_OK : amct_fail_memory(err);
  }
  if (!getcwd(folder, sizeof folder))
    return amct_fail(err, AMCT_IO, NULL, "working folder of \"%s\": %s", path,
                     strerror(errno));
  while (strncmp(path, "./", 2) == 0)
    path += 2;
  *absolute =
      amct_arena_format(arena, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder, path);
  return *absolute ? AMCT_OK : amct_fail_memory(err);
}

const char *amct_path_prefixed(amct_arena *arena, const char *prefix, const char *name) {
  size_t size = strlen(prefix);
  bool bare = size == 0 || prefix[size - 1] == '/';
  return amct_arena_format(arena, "%s%s%s", prefix, bare ? "" : "_", name);
}

bool amct_path_exists(const char *path) {
  return access(path, F_OK) == 0;
}
