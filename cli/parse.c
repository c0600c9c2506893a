/* SPDX-License-Identifier: Apache-2.0 */
#include "parse.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 2048 };

static void print_error(const char *format, va_list arguments, const char *hint) {
  char line[LINE_BYTES];
  vsnprintf(line, sizeof line, format, arguments);
  for (char *c = line; *c; c++)
    if ((unsigned char)*c < 0x20 || *c == 0x7F) *c = '?';
  fprintf(stderr, "amct: %s%s\n", line, hint);
}

void cli_error(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  print_error(format, arguments, "");
  va_end(arguments);
}

cli_status cli_usage(cli_command_id command, const char *format, ...) {
  char hint[80];
  va_list arguments;
  const bool any = command == CLI_any;
  snprintf(hint, sizeof hint, "; see 'amct help%s%s'", any ? "" : " ",
           any ? "" : k_commands[command].name);
  va_start(arguments, format);
  print_error(format, arguments, hint);
  va_end(arguments);
  return CLI_USAGE;
}

static void add(cli_texts *texts, const char *text) {
  const char **at = realloc(texts->at, (texts->count + 1) * sizeof *at);
  if (!at) {
    cli_error("out of memory");
    exit(CLI_FAILED);
  }
  texts->at = at;
  texts->at[texts->count++] = text;
}

/* True if the first `size` characters of `given` begin `name`. */
static bool begins(const char *name, const char *given, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (name[i] != (given[i] == '-' ? '_' : given[i])) return false;
  return true;
}

/* The option that `given` names; the number of those that it may mean is in *found. */
static cli_option_id find_option(cli_command_id command, const char *given, size_t size,
                                 int *found) {
  cli_option_id match = CLI_OPTIONS;
  *found = 0;
  for (int i = 0; i < CLI_OPTIONS && size; i++) {
    const cli_option *option = &k_options[i];
    if (!cli_has_option(command, option) || !begins(option->name, given, size)) continue;
    match = (cli_option_id)i;
    if (strlen(option->name) == size) {
      *found = 1;
      return match;
    }
    ++*found;
  }
  return match;
}

/* Cuts "a;b" into names, in place. */
static bool add_names(cli_texts *texts, char *list) {
  char *name = list;
  for (char *end; name; name = end) {
    if ((end = strchr(name, ';')) != NULL) *end++ = '\0';
    if (!*name) return false;
    add(texts, name);
  }
  return true;
}

/* "a:0;b" becomes "a;b", in place. The name of an index other than 0; NULL: none. */
static const char *drop_indices(char *list) {
  char *to = list;
  for (char *name = list; *name;) {
    const size_t size = strcspn(name, ";"), bare = strcspn(name, ":;");
    if (bare < size && (size - bare != 2 || name[bare + 1] != '0')) return name;
    const char *from = name;
    name += size;
    memmove(to, from, bare);
    to += bare;
    if (*name) *to++ = *name++;
  }
  *to = '\0';
  return NULL;
}

int64_t cli_number(const char *text) {
  char *end;
  errno = 0;
  const long long number = strtoll(text, &end, 10);
  const bool digits = *text >= '0' && *text <= '9';
  return digits && !*end && errno == 0 ? number : 0;
}

/* Where parsing is. */
typedef struct cursor {
  cli_call *call;
  int at, count;
  char **arguments;
} cursor;

static cli_status take_value(cursor *c, cli_option_id id, char *value) {
  const cli_option *option = &k_options[id];
  cli_texts *texts = &c->call->value[id];
  const cli_command_id command = c->call->command;
  if (!*value) return cli_usage(command, "--%s: the value is empty", option->name);
  if (option->kind == CLI_NUMBER && cli_number(value) <= 0)
    return cli_usage(command, "--%s: \"%s\" is not a number over 0", option->name, value);
  if (!cli_is_list(option)) {
    add(texts, value);
    return CLI_DONE;
  }
  if (option->kind == CLI_NODES) {
    const char *wrong = drop_indices(value);
    if (wrong)
      return cli_usage(command,
                       "--%s: \"%.*s\": the first output of a node, \":0\", can be one "
                       "of the model, no other",
                       option->name, (int)strcspn(wrong, ";"), wrong);
  }
  return add_names(texts, value)
             ? CLI_DONE
             : cli_usage(command, "--%s: an empty name", option->name);
}

static cli_status take_option(cursor *c, cli_option_id id, char *value) {
  const cli_option *option = &k_options[id];
  const cli_command_id command = c->call->command;
  const bool repeats = cli_is_list(option) || option->kind == CLI_FLAG;
  if (c->call->given[id] && !repeats)
    return cli_usage(command, "--%s is given twice", option->name);
  c->call->given[id] = true;
  if (option->kind == CLI_FLAG)
    return value ? cli_usage(command, "--%s takes no value", option->name) : CLI_DONE;
  for (int left = option->kind == CLI_PAIR ? 2 : 1; left > 0; left--, value = NULL) {
    if (!value && c->at >= c->count)
      return cli_usage(command, "--%s: %s is missing", option->name, option->value);
    const cli_status status = take_value(c, id, value ? value : c->arguments[c->at++]);
    if (status != CLI_DONE) return status;
  }
  return CLI_DONE;
}

static cli_status take_argument(cursor *c) {
  char *const argument = c->arguments[c->at++];
  const char *given = strcmp(argument, "-h") == 0 ? "--help" : argument;
  const cli_command_id command = c->call->command;
  int found;
  if (strcmp(given, "--") == 0) {
    while (c->at < c->count)
      add(&c->call->operands, c->arguments[c->at++]);
    return CLI_DONE;
  }
  if (given[0] != '-' || !given[1]) {
    add(&c->call->operands, argument);
    return CLI_DONE;
  }
  const size_t size = given[1] == '-' ? strcspn(given + 2, "=") : 0;
  const cli_option_id id = find_option(command, given + 2, size, &found);
  if (found == 0) return cli_usage(command, "%s: no such option", given);
  if (found > 1) return cli_usage(command, "%s may mean several options", given);
  return take_option(c, id, given[2 + size] ? argument + 2 + size + 1 : NULL);
}

static cli_status check_presence(const cli_call *call) {
  const cli_command *command = &k_commands[call->command];
  for (int i = 0; i < CLI_OPTIONS; i++)
    if (k_options[i].needed && !call->given[i] && k_options[i].command == call->command)
      return cli_usage(call->command, "--%s %s is missing", k_options[i].name,
                       k_options[i].value);
  if (call->operands.count > command->most)
    return cli_usage(call->command, "\"%s\" is one argument too many",
                     call->operands.at[command->most]);
  if (call->operands.count < command->least)
    return cli_usage(call->command, "%s is wanted", command->operands);
  return CLI_DONE;
}

cli_status cli_parse(cli_call *call, int count, char **arguments) {
  cursor c = {call, 0, count, arguments};
  while (c.at < c.count) {
    const cli_status status = take_argument(&c);
    if (status != CLI_DONE) return status;
  }
  return call->given[CLI_any_help] ? CLI_DONE : check_presence(call);
}

const char *cli_text(const cli_call *call, cli_option_id option) {
  return call->given[option] ? call->value[option].at[0] : NULL;
}

void cli_call_free(cli_call *call) {
  for (int i = 0; i < CLI_OPTIONS; i++)
    free(call->value[i].at);
  free(call->operands.at);
}
