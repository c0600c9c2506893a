/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled in only where the library is linked for a glibc older than the one it is
 * compiled with (AMCT_OLD_GLIBC): until 2.33 glibc had these three under other names. */
#include <sys/stat.h>

enum { STAT_VERSION = 1 }; /* of x86-64 */

int __xstat(int version, const char *path, struct stat *info);
int __lxstat(int version, const char *path, struct stat *info);
int __fxstat(int version, int fd, struct stat *info);

int stat(const char *path, struct stat *info) {
  return __xstat(STAT_VERSION, path, info);
}

int lstat(const char *path, struct stat *info) {
  return __lxstat(STAT_VERSION, path, info);
}

int fstat(int fd, struct stat *info) {
  return __fxstat(STAT_VERSION, fd, info);
}
