/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/packages.h"

#include <glob.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"

enum { LISTED = 3 };

static bool add_folder(amct_packages *p, const char *path) {
  for (size_t i = 0; i < p->folders.count; i++)
    if (strcmp(p->folders.at[i], path) == 0) return true;
  const char *copy = amct_arena_text(&p->arena, path, strlen(path));
  return copy && AMCT_VEC_PUSH(&p->folders, copy);
}

/* All folders that fit, the newest Python first. */
static bool add_matching(amct_packages *p, const char *pattern) {
  glob_t found;
  bool good = pattern != NULL;
  if (!good || glob(pattern, GLOB_ONLYDIR, NULL, &found) != 0) return good;
  for (size_t i = found.gl_pathc; i > 0 && good; i--)
    good = add_folder(p, found.gl_pathv[i - 1]);
  globfree(&found);
  return good;
}

/* Packages of the Python whose programs are in <prefix>/bin. */
static bool add_prefix(amct_packages *p, const char *prefix, const char *kind) {
  if (!prefix || !*prefix) return true;
  return add_matching(p,
                      amct_arena_format(&p->arena, "%s/lib/python3*/%s", prefix, kind));
}

/* A folder in which programs lie, without its last part; NULL: it has none. */
static const char *parent(amct_packages *p, const char *folder, size_t size) {
  while (size > 1 && folder[size - 1] == '/')
    size--;
  while (size > 0 && folder[size - 1] != '/')
    size--;
  return size > 1 ? amct_arena_text(&p->arena, folder, size - 1) : NULL;
}

static bool add_beside_program(amct_packages *p) {
  char path[PATH_MAX];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof path);
  if (size <= 0) return true;
  const char *bin = parent(p, path, (size_t)size);
  return !bin || add_prefix(p, parent(p, bin, strlen(bin)), "site-packages");
}

static bool add_beside_pythons(amct_packages *p) {
  const char *at = getenv("PATH");
  for (bool good = true; at && *at;) {
    const size_t size = strcspn(at, ":");
    const char *python = amct_arena_format(&p->arena, "%.*s/python3", (int)size, at);
    const char *prefix = parent(p, at, size);
    if (!python) return false;
    if (prefix && access(python, X_OK) == 0)
      good = add_prefix(p, prefix, "site-packages") &&
             add_prefix(p, prefix, "dist-packages");
    if (!good) return false;
    at += size + (at[size] == ':');
  }
  return true;
}

static bool add_list(amct_packages *p, const char *list) {
  for (bool good = true; *list;) {
    const size_t size = strcspn(list, ":");
    const char *folder = amct_arena_text(&p->arena, list, size);
    good = folder && (size == 0 || add_folder(p, folder));
    if (!good) return false;
    list += size + (list[size] == ':');
  }
  return true;
}

static bool add_usual(amct_packages *p) {
  const char *home = getenv("HOME");
  return add_prefix(p, getenv("VIRTUAL_ENV"), "site-packages") &&
         add_prefix(p, getenv("CONDA_PREFIX"), "site-packages") &&
         add_beside_program(p) && add_beside_pythons(p) &&
         (!home || add_prefix(p, amct_arena_format(&p->arena, "%s/.local", home),
                              "site-packages")) &&
         add_matching(p, "/usr/local/lib/python3*/dist-packages") &&
         add_matching(p, "/usr/lib/python3/dist-packages");
}

amct_status amct_packages_find(amct_packages *packages, const char *folder,
                               amct_error *err) {
  const char *given = folder ? folder : getenv("AMCT_ENGINE_DIR");
  if (folder && !*folder)
    return amct_fail(err, AMCT_INVALID_ARGUMENT, NULL, "the engine's folder is empty");
  const bool good = given && *given ? add_list(packages, given) : add_usual(packages);
  return good ? AMCT_OK : amct_fail_memory(err);
}

amct_status amct_packages_find_own(amct_packages *p) {
  char path[PATH_MAX];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof path);
  const char *bin = size > 0 ? parent(p, path, (size_t)size) : NULL;
  const char *prefix = bin ? parent(p, bin, strlen(bin)) : NULL;
  const char *lib = prefix ? amct_arena_format(&p->arena, "%s/lib", prefix) : NULL;
  const bool good = (!bin || add_folder(p, bin)) && (!lib || add_folder(p, lib));
  return good ? AMCT_OK : AMCT_OUT_OF_MEMORY;
}

void amct_packages_free(amct_packages *packages) {
  AMCT_VEC_FREE(&packages->folders);
  amct_arena_free(&packages->arena);
}

static const char *last_match(amct_packages *p, const char *pattern) {
  glob_t found;
  const char *best = NULL;
  if (!pattern || glob(pattern, 0, NULL, &found) != 0) return NULL;
  for (size_t i = 0; i < found.gl_pathc; i++)
    if (!best || strverscmp(best, found.gl_pathv[i]) < 0) best = found.gl_pathv[i];
  if (best) best = amct_arena_text(&p->arena, best, strlen(best));
  globfree(&found);
  return best;
}

const char *amct_packages_file(amct_packages *p, const char *pattern) {
  const char *file = NULL;
  for (size_t i = 0; i < p->folders.count && !file; i++)
    file =
        last_match(p, amct_arena_format(&p->arena, "%s/%s", p->folders.at[i], pattern));
  return file;
}

const char *amct_packages_list(amct_packages *p) {
  const char *text = "";
  const size_t count = p->folders.count;
  if (count == 0) return "no folder of Python packages";
  for (size_t i = 0; i < count && i < LISTED && text; i++)
    text = amct_arena_format(&p->arena, "%s%s%s", text, i ? ", " : "", p->folders.at[i]);
  if (count > LISTED && text)
    text = amct_arena_format(&p->arena, "%s and %zu others", text, count - LISTED);
  return text;
}
