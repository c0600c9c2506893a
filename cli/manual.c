/* SPDX-License-Identifier: Apache-2.0 */
/* The table for man. */
#include "amct/quantize.h"

#include "help.h"

#include <stdio.h>

/* Text for troff. */
static void put(const char *text) {
  if (*text == '.' || *text == '\'') fputs("\\&", stdout);
  for (; *text; text++) {
    if (*text == '-')
      fputs("\\-", stdout);
    else if (*text == '\\')
      fputs("\\e", stdout);
    else if (*text == '"')
      fputs("\\(dq", stdout);
    else
      putchar(*text);
  }
}

static void put_line(const char *request, const char *text) {
  fputs(request, stdout);
  put(text);
  putchar('\n');
}

static void put_options(cli_command_id owner) {
  char text[80];
  for (int i = 0; i < CLI_OPTIONS; i++) {
    const cli_option *option = &k_options[i];
    if (option->command != owner) continue;
    fputs(".TP\n", stdout);
    put_line(".B ", cli_option_usage(option, text));
    put(option->help);
    fputs(option->needed ? " (needed)\n" : "\n", stdout);
  }
}

static void put_command(cli_command_id command) {
  const cli_command *row = &k_commands[command];
  printf(".SS amct %s %s\n", row->name, row->operands);
  put_line("", row->summary);
  if (*row->about) {
    fputs(".PP\n", stdout);
    put_line("", row->about);
  }
  put_options(command);
}

cli_status cli_run_manual(const cli_call *call) {
  (void)call;
  printf(
      ".TH AMCT 1 \"\" \"AMCT %s\" \"AMCT for TensorFlow\"\n.SH NAME\namct \\- quantize "
      "frozen TensorFlow models\n.SH SYNOPSIS\n.B amct\n.I command\n[options]\n"
      ".SH DESCRIPTION\n",
      amct_version());
  fputs(
      "Options may be shortened while they stay unambiguous, and written\n.BR "
      "\\-\\-name=value .\nReports go to standard output, errors and the log to standard "
      "error.\n.SH COMMANDS\n",
      stdout);
  for (int i = 0; i < CLI_COMMANDS; i++)
    put_command((cli_command_id)i);
  fputs(".SH OPTIONS OF EVERY COMMAND\n", stdout);
  put_options(CLI_any);
  fputs(".SH EXIT STATUS\n", stdout);
  for (size_t i = 0; i < k_exit_count; i++) {
    printf(".TP\n%d\n", (int)k_exits[i].status);
    put_line("", k_exits[i].text);
  }
  fputs(".SH EXAMPLES\n.nf\n", stdout);
  for (size_t i = 0; i < k_example_count; i++)
    put_line("", k_examples[i].line);
  fputs(".fi\n", stdout);
  return CLI_DONE;
}
