/*
 * hoody-ai, the operator's command: what its subcommands share.  A subcommand
 * is a row of the table in main.c and a function in a file of its own.
 */

#ifndef HAI_CLI_H
#define HAI_CLI_H

#include "lib/options.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Exit statuses, the same for every subcommand. */
enum hai_cli_status {
    HAI_CLI_OK = 0,
    HAI_CLI_PROBLEM = 1,    /* found one: bad document, refused request */
    HAI_CLI_USAGE = 2,      /* the command line, or what it names */
    HAI_CLI_UNREACHABLE = 3 /* nobody answers, or not what was asked */
};

/* For the end of each --help. */
#define HAI_CLI_EXIT                                                           \
    "Exit status: 0 fine, 1 a problem was found, 2 wrong usage, 3 the engine " \
    "is\nnot reachable."

struct hai_cli_command {
    const char *group;
    const char *name; /* NULL: the group is the command */
    const char *summary;
    int (*run)(int argc, char **argv);
};

/* All of them, the commands of a group together; main.c. */
extern const struct hai_cli_command hai_cli_commands[];
extern const size_t hai_cli_n_commands;

/* argv[0] is the name of the subcommand; each returns an exit status. */
int hai_cli_rules_check(int argc, char **argv);
int hai_cli_rules_test(int argc, char **argv);
int hai_cli_rules_status(int argc, char **argv);
int hai_cli_containers_list(int argc, char **argv);
int hai_cli_containers_get(int argc, char **argv);
int hai_cli_containers_create(int argc, char **argv);
int hai_cli_containers_update(int argc, char **argv);
int hai_cli_containers_delete(int argc, char **argv);
int hai_cli_containers_act(int argc, char **argv); /* argv[0] says what */
int hai_cli_snapshots_list(int argc, char **argv);
int hai_cli_snapshots_create(int argc, char **argv);
int hai_cli_snapshots_restore(int argc, char **argv);
int hai_cli_snapshots_delete(int argc, char **argv);
int hai_cli_audit_list(int argc, char **argv);
int hai_cli_audit_log(int argc, char **argv);
int hai_cli_tokens_create(int argc, char **argv);
int hai_cli_tokens_list(int argc, char **argv);
int hai_cli_tokens_delete(int argc, char **argv);
int hai_cli_secrets_check(int argc, char **argv);
int hai_cli_registry_load(int argc, char **argv);
int hai_cli_registry_migrate(int argc, char **argv);
int hai_cli_registry_check(int argc, char **argv);
int hai_cli_completion(int argc, char **argv); /* argv[0]: the shell */
int hai_cli_firewall_print(int argc, char **argv);
int hai_cli_firewall_apply(int argc, char **argv);
int hai_cli_firewall_remove(int argc, char **argv);
int hai_cli_firewall_watch(int argc, char **argv);
int hai_cli_why(int argc, char **argv);
int hai_cli_doctor(int argc, char **argv);

/*
 * Reads the command line of a subcommand with "--output text|json", which is
 * behind *output then; rest as in hai_options_parse().  False: it is done,
 * with *status as its exit status.
 */
bool hai_cli_begin(const struct hai_program *program, int argc, char **argv,
                   int *rest, const char *const *output, bool *json,
                   int *status);

/* Sets *json for "json", clears it for "text"; -1 after a message. */
int hai_cli_format(const char *program, const char *value, bool *json);

/* Are colours of use: a terminal, and nobody said no? */
bool hai_cli_color(FILE *out, bool no_color);

/* Writes text that comes from elsewhere: no control characters reach the
 * terminal. */
void hai_cli_put(FILE *out, const char *text, size_t len);

/* The same for what has to stay on its line. */
void hai_cli_put_line(FILE *out, const char *text, size_t len);

/* The same for the text of a JSON document, which stays what it says: what
 * JSON lets through of them is escaped. */
void hai_cli_put_json(FILE *out, const char *text);

/* A line of standard error about a document: file:line:column, what is wrong. */
void hai_cli_finding(bool is_error, const char *where, int line, int column,
                     const char *rule, const char *reason);

/* The exit status: what could not be written is a problem. */
int hai_cli_end(int status);

#define HAI_CLI_RED "\033[31m"
#define HAI_CLI_GREEN "\033[32m"
#define HAI_CLI_CYAN "\033[36m"
#define HAI_CLI_BOLD "\033[1m"
#define HAI_CLI_PLAIN "\033[0m"

#endif
