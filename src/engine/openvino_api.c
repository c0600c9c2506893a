/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/openvino_api.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const k_functions[] = {
#define OV_NAME(result, name, arguments) #name,
    OV_API(OV_NAME)
#undef OV_NAME
};

enum {
  OLDEST = 2023, /* that reads TensorFlow's files */
  FUNCTIONS = sizeof k_functions / sizeof *k_functions,
  REASON_BYTES = 400,
};

/* Its words in one line: without where in its sources they come from. */
amct_status amct_openvino_fail(const ov_table *ov, amct_status status, const char *what,
                               amct_error *err) {
  char reason[REASON_BYTES];
  size_t used = 0;
  const char *at = ov->ov_get_last_err_msg ? ov->ov_get_last_err_msg() : NULL;
  for (at = at ? at : ""; *at && used + 1 < sizeof reason;) {
    const size_t size = strcspn(at, "\n");
    const bool noise = strncmp(at, "Exception from", 14) == 0 ||
                       strncmp(at, "Check '", 7) == 0 || size == 0;
    const size_t room = sizeof reason - 1 - used, taken = size < room ? size : room;
    if (!noise) {
      memcpy(reason + used, at, taken);
      used += taken;
      if (used < sizeof reason - 1) reason[used++] = ' ';
    }
    at += size + (at[size] == '\n');
  }
  while (used > 0 && reason[used - 1] == ' ')
    used--;
  reason[used] = '\0';
  return amct_fail(err, status, NULL, "OpenVINO %s: %s", what,
                   *reason ? reason : "no reason given");
}

amct_status amct_openvino_load(ov_table *ov, char text[AMCT_ENGINE_VERSION_BYTES],
                               amct_packages *packages, amct_error *err) {
  const char *path = amct_packages_file(packages, "openvino/libs/libopenvino_c.so*");
  if (!path)
    return amct_fail(err, AMCT_NOT_READY, NULL,
                     "OpenVINO is not installed (looked in %s): pip install openvino",
                     amct_packages_list(packages));
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return amct_fail(err, AMCT_NOT_READY, NULL, "OpenVINO cannot be loaded: %s",
                     amct_engine_dlerror());
  const char *missing = amct_engine_symbols(library, k_functions, ov, FUNCTIONS);
  if (missing)
    return amct_fail(err, AMCT_NOT_READY, NULL,
                     "%s lacks %s: OpenVINO from %d on is wanted", path, missing, OLDEST);
  ov_version version = {0};
  if (ov->ov_get_openvino_version(&version) != 0)
    return amct_openvino_fail(ov, AMCT_NOT_READY, "does not tell its version", err);
  const int year = atoi(version.build);
  snprintf(text, AMCT_ENGINE_VERSION_BYTES, "OpenVINO %.*s (%s)",
           (int)strcspn(version.build, "-"), version.build, path);
  ov->ov_version_free(&version);
  if (year >= OLDEST) return AMCT_OK;
  return amct_fail(err, AMCT_NOT_READY, NULL,
                   "%s is too old: OpenVINO from %d on is wanted", text, OLDEST);
}
