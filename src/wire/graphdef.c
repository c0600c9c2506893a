/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/graphdef.h"

#include <string.h>

static const struct {
  const char *name;
  amct_dtype dtype;
  size_t bytes;
} k_dtypes[] = {
#define DTYPE_ROW(name, number, size) {#name, AMCT_DTYPE_##name, size},
    AMCT_DTYPE_MAP(DTYPE_ROW)
#undef DTYPE_ROW
};

enum { DTYPE_COUNT = sizeof k_dtypes / sizeof k_dtypes[0] };

size_t amct_dtype_bytes(amct_dtype dtype) {
  for (size_t i = 0; i < DTYPE_COUNT; i++) {
    if (k_dtypes[i].dtype == dtype) return k_dtypes[i].bytes;
  }
  return 0;
}

const char *amct_dtype_name(amct_dtype dtype) {
  for (size_t i = 0; i < DTYPE_COUNT; i++) {
    if (k_dtypes[i].dtype == dtype) return k_dtypes[i].name;
  }
  return "?";
}

amct_dtype amct_dtype_from_name(const char *name) {
  for (size_t i = 0; i < DTYPE_COUNT; i++) {
    if (strcmp(k_dtypes[i].name, name) == 0) return k_dtypes[i].dtype;
  }
  return AMCT_DTYPE_INVALID;
}
