/* SPDX-License-Identifier: Apache-2.0 */
/* replay FOLDER: calls the target that it is linked with on each file of a corpus. */
#include "fuzz/fuzz.h"

#include <dirent.h>

static void run_file(const char *path) {
  amct_file file = {0};
  amct_error err = {0};
  FUZZ_CHECK(amct_file_open(&file, path, &err) == AMCT_OK, err.text);
  /* a copy of exact size, so that sanitizers see a read past the end */
  uint8_t *copy = malloc(file.bytes.size + 1);
  FUZZ_CHECK(copy != NULL, path);
  uint8_t *data = copy + 1;
  if (file.bytes.size != 0) memcpy(data, file.bytes.data, file.bytes.size);
  fprintf(stderr, "%s\n", path);
  LLVMFuzzerTestOneInput(data, file.bytes.size);
  free(copy);
  amct_file_close(&file);
}

int main(int argc, char **argv) {
  if (argc != 2 || LLVMFuzzerInitialize(&argc, &argv) != 0) return 2;
  DIR *folder = opendir(argv[1]);
  FUZZ_CHECK(folder != NULL, argv[1]);
  size_t count = 0;
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
    char path[4096];
    if (entry->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
    run_file(path);
    count++;
  }
  closedir(folder);
  FUZZ_CHECK(count > 0, argv[1]);
  printf("%zu files\n", count);
  return 0;
}
