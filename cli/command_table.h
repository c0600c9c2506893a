/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of commands.def as arrays, and what a command line gave for them. */
#ifndef AMCT_COMMAND_TABLE_H
#define AMCT_COMMAND_TABLE_H

#include <stdbool.h>
#include <stddef.h>

typedef enum cli_command_id {
  CLI_any = -1,
#define COMMAND(name, operands, least, most, summary, about) CLI_##name,
#include "commands.def"
  CLI_COMMANDS,
} cli_command_id;

typedef enum cli_option_id {
#define OPTION(command, name, kind, need, value, help) CLI_##command##_##name,
#include "commands.def"
  CLI_OPTIONS,
} cli_option_id;

typedef enum cli_status {
#define STATUS(name, number, text) CLI_##name = number,
#include "commands.def"
} cli_status;

typedef enum cli_kind {
  CLI_FLAG,
  CLI_FILE,
  CLI_WORD,
  CLI_NUMBER,
  CLI_PAIR,
  CLI_NAMES,
  CLI_NODES
} cli_kind;

typedef struct cli_option {
  cli_command_id command;
  const char *name;
  cli_kind kind;
  bool needed;
  const char *value; /* what help shows for it */
  const char *help;
} cli_option;

/** A list of texts; `at` is allocated, the texts are argv's. */
typedef struct cli_texts {
  const char **at;
  size_t count;
} cli_texts;

/** A command line, taken apart. */
typedef struct cli_call {
  cli_command_id command;
  bool given[CLI_OPTIONS];
  cli_texts value[CLI_OPTIONS]; /* one text; two of a PAIR; each of NAMES */
  cli_texts operands;
} cli_call;

typedef struct cli_command {
  const char *name;
  const char *operands;
  size_t least, most; /* operands */
  const char *summary;
  const char *about;
  cli_status (*run)(const cli_call *call);
} cli_command;

typedef struct cli_example {
  cli_command_id command;
  const char *line;
} cli_example;

typedef struct cli_exit {
  cli_status status;
  const char *text;
} cli_exit;

extern const cli_command k_commands[CLI_COMMANDS];
extern const cli_option k_options[CLI_OPTIONS];
extern const cli_example k_examples[];
extern const size_t k_example_count;
extern const cli_exit k_exits[];
extern const size_t k_exit_count;

/** CLI_any if there is none of that name. */
cli_command_id cli_find_command(const char *name);
/** True if it takes "a;b", and may come several times. */
bool cli_is_list(const cli_option *option);
/** True if the command has the option, of its own or as every command. */
bool cli_has_option(cli_command_id command, const cli_option *option);

#define COMMAND(name, operands, least, most, summary, about)                             \
  cli_status cli_run_##name(const cli_call *call);
#include "commands.def"

#endif
