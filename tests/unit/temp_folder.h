/* SPDX-License-Identifier: Apache-2.0 */
/* A folder of one test's own, removed with all that is in it. */
#ifndef AMCT_TEST_TEMP_FOLDER_H
#define AMCT_TEST_TEMP_FOLDER_H

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEMP_PATH_BYTES = 4096 };

typedef struct temp_folder {
  char path[256];
} temp_folder;

static inline void temp_folder_make(temp_folder *folder) {
  const char *root = getenv("TMPDIR");
  snprintf(folder->path, sizeof folder->path, "%s/amct_test_XXXXXX",
           root != NULL ? root : "/tmp");
  assert_non_null(mkdtemp(folder->path));
}

static inline int temp_remove_one(const char *path, const struct stat *info, int type,
                                  struct FTW *where) {
  (void)info, (void)type, (void)where;
  return remove(path);
}

static inline void temp_folder_remove(temp_folder *folder) {
  assert_int_equal(nftw(folder->path, temp_remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* "<folder>/<name>" in storage that the next-but-seven call reuses */
static inline const char *temp_path(const temp_folder *folder, const char *name) {
  static char paths[8][TEMP_PATH_BYTES];
  static unsigned next;
  char *path = paths[next++ % 8];
  snprintf(path, TEMP_PATH_BYTES, "%s/%s", folder->path, name);
  return path;
}

static inline void temp_write(const char *path, const char *text) {
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  assert_int_equal(fputs(text, file) >= 0, 1);
  assert_int_equal(fclose(file), 0);
}

/* The whole file, NUL-terminated; the caller frees it. NULL when there is none. */
static inline char *temp_read(const char *path) {
  FILE *file = fopen(path, "r");
  if (file == NULL) return NULL;
  assert_int_equal(fseek(file, 0, SEEK_END), 0);
  long size = ftell(file);
  assert_true(size >= 0);
  rewind(file);
  char *text = calloc(1, (size_t)size + 1);
  assert_non_null(text);
  assert_int_equal(fread(text, 1, (size_t)size, file), size);
  fclose(file);
  return text;
}

static inline int temp_count_entries(const char *path) {
  DIR *dir = opendir(path);
  assert_non_null(dir);
  int count = 0;
  for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
    count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
  closedir(dir);
  return count;
}

#endif
