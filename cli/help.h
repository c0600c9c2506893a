/* SPDX-License-Identifier: Apache-2.0 */
/* What the table says of itself. */
#ifndef AMCT_HELP_H
#define AMCT_HELP_H

#include "command_table.h"

#include <stdio.h>

/** The help of a command; CLI_any: the list of them. */
void cli_print_help(FILE *to, cli_command_id command);
/** "--model M.pb", "--json". In `text`. */
const char *cli_option_usage(const cli_option *option, char text[80]);

#endif
