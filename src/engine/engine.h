/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inference libraries that the user has, loaded at run time: open a graph, run a batch,
 * hand out tensors. One is a row of engines.def and a file.
 */
#ifndef AMCT_ENGINE_H
#define AMCT_ENGINE_H

#include "data/data.h"
#include "engine/packages.h"

typedef struct amct_engine_job {
  amct_graph *graph;        /* float; with our ops where the engine runs them. An engine
                               may add nodes to it */
  const amct_array *inputs; /* data NULL; shapes of the first batch */
  size_t input_count;
  const char *const *fetches; /* tensors of every run: "name" or "name:1" */
  size_t fetch_count;
  bool splits;  /* samples may be run in any order and number, if the graph allows it */
  bool untuned; /* the library's own settings, as in a program that only infers */
  const amct_packages *packages;
} amct_engine_job;

/** A tensor came out: fetch `fetch` of samples from `row` of the batch on. Borrowed until
 * it returns. May be called from several threads at once, for different fetches. */
typedef amct_status amct_engine_visit(void *context, size_t fetch, int64_t row,
                                      const amct_array *tensor, amct_error *err);

enum { AMCT_ENGINE_VERSION_BYTES = 256 };

typedef struct amct_engine amct_engine;

typedef struct amct_engine_class {
  const char *name;
  bool runs_our_ops; /* observers are ops of the graph; else tensors are fetched */
  /** AMCT_NOT_READY: not installed, or a version that does not do, and what would;
   * AMCT_UNSUPPORTED: it cannot run the graph. */
  amct_status (*open)(amct_engine **out, const amct_engine_job *job, amct_error *err);
  /** `inputs` in the order of the job's. */
  amct_status (*run)(amct_engine *engine, const amct_array *inputs,
                     amct_engine_visit *visit, void *context, amct_error *err);
  /** After the last run: what observers have not written yet. NULL: nothing is. */
  amct_status (*finish)(amct_engine *engine, const char *record_path, amct_error *err);
  void (*close)(amct_engine *engine);
} amct_engine_class;

/** First member of every engine. */
struct amct_engine {
  const amct_engine_class *class;
  int64_t rows; /* samples of one run inside; 0: the batch as it comes */
  char version[AMCT_ENGINE_VERSION_BYTES]; /* "OpenVINO 2026.4.1 in /path" */
};

size_t amct_engine_count(void);
const amct_engine_class *amct_engine_at(size_t i);
/** NULL if there is none of that name. */
const amct_engine_class *amct_engine_named(const char *name);
/** "auto, openvino, tensorflow". */
extern const char k_amct_engine_names[];

/** Fills a table of function pointers from a loaded library: `names` in the order of the
 * slots. NULL, or the first name that is missing. */
const char *amct_engine_symbols(void *library, const char *const *names, void *slots,
                                size_t count);
/** What dlerror says, in one line without the path in front. */
const char *amct_engine_dlerror(void);

#endif
