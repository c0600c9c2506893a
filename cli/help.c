/* SPDX-License-Identifier: Apache-2.0 */
#include "help.h"

#include "parse.h"

#include <string.h>

enum { COLUMNS = 80, INDENT = 2 };

const char *cli_option_usage(const cli_option *option, char text[80]) {
  snprintf(text, 80, "--%s%s%s", option->name, *option->value ? " " : "", option->value);
  return text;
}

/* Words in lines of at most COLUMNS, the later ones indented; the first begins at `at`.
 */
static void print_wrapped(FILE *to, const char *text, int at, int indent) {
  bool first = true;
  while (*text) {
    const int size = (int)strcspn(text, " ");
    if (!first && at + 1 + size > COLUMNS) {
      fprintf(to, "\n%*s", indent, "");
      at = indent;
      first = true;
    }
    fprintf(to, "%s%.*s", first ? "" : " ", size, text);
    at += size + !first;
    first = false;
    text += size + (text[size] == ' ');
  }
  fputc('\n', to);
}

static int widest_option(cli_command_id command) {
  char text[80];
  int widest = 0;
  for (int i = 0; i < CLI_OPTIONS; i++) {
    if (!cli_has_option(command, &k_options[i])) continue;
    const int width = (int)strlen(cli_option_usage(&k_options[i], text));
    if (width > widest) widest = width;
  }
  return widest;
}

static void print_options(FILE *to, cli_command_id command, cli_command_id owner,
                          const char *title) {
  const int column = INDENT + widest_option(command) + 2;
  bool any = false;
  char text[80];
  for (int i = 0; i < CLI_OPTIONS; i++) {
    const cli_option *option = &k_options[i];
    if (option->command != owner) continue;
    if (!any) fprintf(to, "\n%s\n", title);
    any = true;
    fprintf(to, "%*s%-*s", INDENT, "", column - INDENT, cli_option_usage(option, text));
    print_wrapped(to, option->help, column, column);
  }
}

/* Needed options in full. */
static void print_usage(FILE *to, cli_command_id command) {
  char text[80];
  bool more = false;
  fprintf(to, "usage: amct %s", k_commands[command].name);
  for (int i = 0; i < CLI_OPTIONS; i++) {
    if (k_options[i].needed && k_options[i].command == command)
      fprintf(to, " %s", cli_option_usage(&k_options[i], text));
    more = more || (!k_options[i].needed && k_options[i].command == command);
  }
  fprintf(to, "%s%s", *k_commands[command].operands ? " " : "",
          k_commands[command].operands);
  fputs(more ? " [options]\n" : "\n", to);
}

static void print_examples(FILE *to, cli_command_id command) {
  bool any = false;
  for (size_t i = 0; i < k_example_count; i++) {
    if (k_examples[i].command != command) continue;
    if (!any) fputs("\nfor example\n", to);
    any = true;
    fprintf(to, "%*s%s\n", INDENT, "", k_examples[i].line);
  }
}

static void print_command_help(FILE *to, cli_command_id command) {
  const cli_command *row = &k_commands[command];
  print_usage(to, command);
  fputc('\n', to);
  print_wrapped(to, row->summary, 0, 0);
  if (*row->about) {
    fputc('\n', to);
    print_wrapped(to, row->about, 0, 0);
  }
  print_options(to, command, command, "options");
  print_options(to, command, CLI_any, "options of every command");
  print_examples(to, command);
}

static void print_commands(FILE *to) {
  char text[80];
  fputs("usage: amct COMMAND [options]\n\ncommands\n", to);
  for (int i = 0; i < CLI_COMMANDS; i++) {
    snprintf(text, sizeof text, "%s %s", k_commands[i].name, k_commands[i].operands);
    fprintf(to, "%*s%-18s", INDENT, "", text);
    print_wrapped(to, k_commands[i].summary, INDENT + 18, INDENT + 18);
  }
  print_options(to, CLI_any, CLI_any, "options of every command");
  fputs("\nexit codes\n", to);
  for (size_t i = 0; i < k_exit_count; i++)
    fprintf(to, "%*s%d  %s\n", INDENT, "", (int)k_exits[i].status, k_exits[i].text);
  fputs("\nOptions may be shortened while they stay unambiguous, and written "
        "--name=value.\n",
        to);
}

void cli_print_help(FILE *to, cli_command_id command) {
  if (command == CLI_any)
    print_commands(to);
  else
    print_command_help(to, command);
}

cli_status cli_run_help(const cli_call *call) {
  cli_command_id command = CLI_any;
  if (call->operands.count) {
    command = cli_find_command(call->operands.at[0]);
    if (command == CLI_any)
      return cli_usage(CLI_any, "%s: no such command", call->operands.at[0]);
  }
  cli_print_help(stdout, command);
  return CLI_DONE;
}
