/* SPDX-License-Identifier: Apache-2.0 */
#include "command_table.h"

#include <string.h>

// clang-format off
enum { OPTIONAL = false, NEEDED = true };

const cli_command k_commands[CLI_COMMANDS] = {
#define COMMAND(name, operands, least, most, summary, about) \
  {#name, operands, least, most, summary, about, cli_run_##name},
#include "commands.def"
};

const cli_option k_options[CLI_OPTIONS] = {
#define OPTION(command, name, kind, need, value, help) \
  {CLI_##command, #name, CLI_##kind, need, value, help},
#include "commands.def"
};

const cli_example k_examples[] = {
#define EXAMPLE(command, line) {CLI_##command, line},
#include "commands.def"
};
const size_t k_example_count = sizeof k_examples / sizeof *k_examples;

const cli_exit k_exits[] = {
#define STATUS(name, number, text) {CLI_##name, text},
#include "commands.def"
};
const size_t k_exit_count = sizeof k_exits / sizeof *k_exits;
// clang-format on

cli_command_id cli_find_command(const char *name) {
  for (int i = 0; i < CLI_COMMANDS; i++)
    if (strcmp(k_commands[i].name, name) == 0) return (cli_command_id)i;
  return CLI_any;
}

bool cli_has_option(cli_command_id command, const cli_option *option) {
  return option->command == CLI_any || option->command == command;
}

bool cli_is_list(const cli_option *option) {
  return option->kind == CLI_NAMES || option->kind == CLI_NODES;
}
