/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/engine.h"

#include <dlfcn.h>

#define ENGINE(name) extern const amct_engine_class amct_engine_##name;
#include "engine/engines.def"
#undef ENGINE

static const amct_engine_class *const k_engines[] = {
#define ENGINE(name) &amct_engine_##name,
#include "engine/engines.def"
#undef ENGINE
};

const char k_amct_engine_names[] = "auto"
#define ENGINE(name) ", " #name
#include "engine/engines.def"
#undef ENGINE
    ;

size_t amct_engine_count(void) {
  return sizeof k_engines / sizeof *k_engines;
}

const amct_engine_class *amct_engine_at(size_t i) {
  return k_engines[i];
}

const amct_engine_class *amct_engine_named(const char *name) {
  for (size_t i = 0; i < amct_engine_count(); i++)
    if (strcmp(k_engines[i]->name, name) == 0) return k_engines[i];
  return NULL;
}

const char *amct_engine_symbols(void *library, const char *const *names, void *slots,
                                size_t count) {
  void **slot = slots; /* POSIX: a function's address fits a void pointer */
  for (size_t i = 0; i < count; i++) {
    void *symbol = dlsym(library, names[i]);
    if (!symbol) return names[i];
    memcpy(&slot[i], &symbol, sizeof symbol);
  }
  return NULL;
}

const char *amct_engine_dlerror(void) {
  const char *text = dlerror();
  return text ? text : "unknown reason";
}
