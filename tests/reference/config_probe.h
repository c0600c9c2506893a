/* SPDX-License-Identifier: Apache-2.0 */
/* Both readers of configurations, for tests that load them with ctypes. */
#ifndef AMCT_CONFIG_PROBE_H
#define AMCT_CONFIG_PROBE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct config_probe config_probe;

/* A graph in text form, and its layers; NULL: it is none. */
config_probe *config_probe_open(const char *graph);
void config_probe_close(config_probe *probe);
/* Reads a file and prints the configuration that it asks for into `text`, or what is
 * wrong with it. Returns the status. */
int config_probe_take(const config_probe *probe, const char *path, bool retraining,
                      bool simplified, char *text, size_t size);

#endif
