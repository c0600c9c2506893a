/* SPDX-License-Identifier: Apache-2.0 */
/* The table for the shells that complete it. */
#include "help.h"
#include "parse.h"

#include <string.h>

static void print_bash(void);
static void print_zsh(void);
static void print_fish(void);

static const struct {
  const char *name;
  void (*print)(void);
} k_shells[] = {{"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};
enum { SHELLS = sizeof k_shells / sizeof *k_shells };

/* Text within single quotes; characters of `escaped` get a backslash too. */
static void put(const char *text, const char *escaped) {
  for (; *text; text++) {
    if (*text == '\'')
      fputs("'\\''", stdout);
    else
      printf("%s%c", strchr(escaped, *text) ? "\\" : "", *text);
  }
}

static bool takes_file(const cli_option *option) {
  return option->kind == CLI_FILE || option->kind == CLI_PAIR;
}

/* Several commands may have an option of that name. */
static bool came_before(int place) {
  for (int i = 0; i < place; i++)
    if (takes_file(&k_options[i]) &&
        strcmp(k_options[i].name, k_options[place].name) == 0)
      return true;
  return false;
}

/* The words behind which a file stands. */
static void print_file_options(void) {
  const char *separator = "";
  for (int i = 0; i < CLI_OPTIONS; i++) {
    if (!takes_file(&k_options[i]) || came_before(i)) continue;
    printf("%s--%s", separator, k_options[i].name);
    separator = "|";
  }
}

static void print_words(cli_command_id command) {
  for (int i = 0; i < CLI_OPTIONS; i++)
    if (cli_has_option(command, &k_options[i])) printf(" --%s", k_options[i].name);
  for (int i = 0; i < CLI_COMMANDS && command == CLI_help; i++)
    printf(" %s", k_commands[i].name);
  for (size_t i = 0; i < SHELLS && command == CLI_completion; i++)
    printf(" %s", k_shells[i].name);
}

static void print_bash(void) {
  fputs("# bash completion of amct\n_amct() {\n  local word=${COMP_WORDS[COMP_CWORD]} "
        "words=\n  COMPREPLY=()\n  if [ \"$COMP_CWORD\" = 1 ]; then\n    words='",
        stdout);
  for (int i = 0; i < CLI_COMMANDS; i++)
    printf("%s%s", i ? " " : "", k_commands[i].name);
  fputs("'\n  else\n    case ${COMP_WORDS[COMP_CWORD-1]} in\n      ", stdout);
  print_file_options();
  fputs(") COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n    esac\n    case "
        "${COMP_WORDS[1]} in\n",
        stdout);
  for (int i = 0; i < CLI_COMMANDS; i++) {
    printf("      %s) words='", k_commands[i].name);
    print_words((cli_command_id)i);
    fputs("' ;;\n", stdout);
  }
  fputs(
      "    esac\n  fi\n  COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n  [ "
      "${#COMPREPLY[@]} != 0 ] || COMPREPLY=($(compgen -f -- \"$word\"))\n}\ncomplete -o "
      "filenames -F _amct amct\n",
      stdout);
}

/* What stands behind a command: '*:file:_files', or words. */
static void print_zsh_operands(cli_command_id command) {
  if (command != CLI_help && command != CLI_completion) {
    fputs(" '*:file:_files'", stdout);
    return;
  }
  printf(" '1:%s:(", k_commands[command].name);
  for (int i = 0; i < CLI_COMMANDS && command == CLI_help; i++)
    printf("%s%s", i ? " " : "", k_commands[i].name);
  for (size_t i = 0; i < SHELLS && command == CLI_completion; i++)
    printf("%s%s", i ? " " : "", k_shells[i].name);
  fputs(")'", stdout);
}

static void print_zsh_options(cli_command_id command) {
  for (int i = 0; i < CLI_OPTIONS; i++) {
    const cli_option *option = &k_options[i];
    if (!cli_has_option(command, option)) continue;
    printf(" \\\n      '%s--%s%s[", cli_is_list(option) ? "*" : "", option->name,
           option->kind == CLI_FLAG ? "" : "=");
    put(option->help, "[]:\\");
    putchar(']');
    for (int k = option->kind == CLI_PAIR ? 2 : option->kind != CLI_FLAG; k > 0; k--) {
      putchar(':');
      put(option->value, "[]:\\");
      fputs(takes_file(option) ? ":_files" : ":", stdout);
    }
    putchar('\'');
  }
}

static void print_zsh(void) {
  fputs("#compdef amct\n# zsh completion of amct\n_amct() {\n  local -a commands\n  "
        "commands=(\n",
        stdout);
  for (int i = 0; i < CLI_COMMANDS; i++) {
    printf("    '%s:", k_commands[i].name);
    put(k_commands[i].summary, ":\\");
    fputs("'\n", stdout);
  }
  fputs("  )\n  if (( CURRENT == 2 )); then\n    _describe command commands\n    "
        "return\n  fi\n  local command=$words[2]\n  shift words\n  (( CURRENT-- ))\n  "
        "case $command in\n",
        stdout);
  for (int i = 0; i < CLI_COMMANDS; i++) {
    printf("    %s) _arguments", k_commands[i].name);
    print_zsh_options((cli_command_id)i);
    print_zsh_operands((cli_command_id)i);
    fputs(" ;;\n", stdout);
  }
  fputs("  esac\n}\ncompdef _amct amct\n", stdout);
}

static void print_fish_option(cli_command_id command, const cli_option *option) {
  printf("complete -c amct -n '__fish_seen_subcommand_from %s' -l %s%s -d '",
         k_commands[command].name, option->name,
         option->kind == CLI_FLAG ? ""
         : takes_file(option)     ? " -r -F"
                                  : " -x");
  put(option->help, "");
  fputs("'\n", stdout);
}

static void print_fish(void) {
  fputs("# fish completion of amct\n", stdout);
  for (int i = 0; i < CLI_COMMANDS; i++) {
    printf("complete -c amct -f -n __fish_use_subcommand -a %s -d '", k_commands[i].name);
    put(k_commands[i].summary, "");
    fputs("'\n", stdout);
  }
  for (int c = 0; c < CLI_COMMANDS; c++)
    for (int i = 0; i < CLI_OPTIONS; i++)
      if (cli_has_option((cli_command_id)c, &k_options[i]))
        print_fish_option((cli_command_id)c, &k_options[i]);
  fputs("complete -c amct -f -n '__fish_seen_subcommand_from completion' -a '", stdout);
  for (size_t i = 0; i < SHELLS; i++)
    printf("%s%s", i ? " " : "", k_shells[i].name);
  fputs("'\n", stdout);
}

cli_status cli_run_completion(const cli_call *call) {
  for (size_t i = 0; i < SHELLS; i++)
    if (strcmp(call->operands.at[0], k_shells[i].name) == 0) {
      k_shells[i].print();
      return CLI_DONE;
    }
  return cli_usage(CLI_completion, "%s: bash, zsh and fish are the shells that are known",
                   call->operands.at[0]);
}
