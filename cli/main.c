/* SPDX-License-Identifier: Apache-2.0 */
/* amct: the command line of AMCT for TensorFlow. */
#include "amct/log.h"

#include "help.h"
#include "parse.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static cli_status start_log(const cli_call *call) {
  const amct_log_level level = call->given[CLI_any_verbose] ? AMCT_LOG_INFO
                               : call->given[CLI_any_quiet] ? AMCT_LOG_ERROR
                                                            : AMCT_LOG_WARNING;
  amct_error err = {0};
  if (amct_log_configure(level, AMCT_LOG_NONE, NULL, &err) == AMCT_OK) return CLI_DONE;
  cli_error("%s", err.text);
  return CLI_FAILED;
}

static cli_status run(cli_call *call, int count, char **arguments) {
  cli_status status = cli_parse(call, count, arguments);
  if (status != CLI_DONE) return status;
  if (call->given[CLI_any_help]) {
    cli_print_help(stdout, call->command);
    return CLI_DONE;
  }
  if (call->given[CLI_any_quiet] && call->given[CLI_any_verbose])
    return cli_usage(call->command, "--quiet and --verbose exclude each other");
  status = start_log(call);
  return status == CLI_DONE ? k_commands[call->command].run(call) : status;
}

static const char *command_word(const char *word) {
  if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) return "help";
  return strcmp(word, "--version") == 0 ? "version" : word;
}

int main(int argc, char **argv) {
  cli_call call = {.command = CLI_any};
  if (argc < 2) {
    cli_print_help(stderr, CLI_any);
    return (int)CLI_USAGE;
  }
  call.command = cli_find_command(command_word(argv[1]));
  if (call.command == CLI_any && argv[1][0] == '-')
    return (int)cli_usage(CLI_any, "%s: a command comes first", argv[1]);
  if (call.command == CLI_any)
    return (int)cli_usage(CLI_any, "%s: no such command", argv[1]);
  cli_status status = run(&call, argc - 2, argv + 2);
  cli_call_free(&call);
  if (fflush(stdout) != 0 || ferror(stdout)) {
    cli_error("standard output: %s", strerror(errno));
    status = CLI_FAILED;
  }
  return (int)status;
}
