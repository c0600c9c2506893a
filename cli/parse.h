/* SPDX-License-Identifier: Apache-2.0 */
/* A command line taken apart, and errors told. */
#ifndef AMCT_PARSE_H
#define AMCT_PARSE_H

#include "command_table.h"

#include <stdint.h>

/** Options as `--name value`, `--name=value`, or a beginning that no other option of the
 * command shares; '-' in a name is '_'. What comes behind `--` are operands. Says what is
 * wrong on standard error. Options are not checked for presence where --help is given. */
cli_status cli_parse(cli_call *call, int count, char **arguments);
void cli_call_free(cli_call *call);

/** The one value of an option; NULL where it is not given. */
const char *cli_text(const cli_call *call, cli_option_id option);
/** A NUMBER, which parsing has checked. */
int64_t cli_number(const char *text);

/** `amct: <text>` on standard error, in one printable line. */
void cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/** The same about the command line, with where to read on. Returns CLI_USAGE. */
cli_status cli_usage(cli_command_id command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
