/* hoody-ai: finds the subcommand and hands over to it. */

#include "cli.h"

#include "lib/options.h"

#include <string.h>

const struct hai_cli_command hai_cli_commands[] = {
    {"rules", "check", "is this file of rules right?", hai_cli_rules_check},
    {"rules", "test", "what do rules do to a request?", hai_cli_rules_test},
    {"rules", "status", "what has the rule engine loaded?",
     hai_cli_rules_status},
    {"containers", "list", "which containers are there?",
     hai_cli_containers_list},
    {"containers", "get", "what is known of one?", hai_cli_containers_get},
    {"containers", "create", "make one", hai_cli_containers_create},
    {"containers", "update", "change one: --ai, --no-ai, ...",
     hai_cli_containers_update},
    {"containers", "delete", "end it", hai_cli_containers_delete},
    {"containers", "start", "have the runtime start it",
     hai_cli_containers_act},
    {"containers", "stop", "have it end by itself", hai_cli_containers_act},
    {"containers", "force-stop", "end it at once", hai_cli_containers_act},
    {"containers", "restart", "stop and start it", hai_cli_containers_act},
    {"containers", "pause", "freeze it", hai_cli_containers_act},
    {"containers", "resume", "and go on", hai_cli_containers_act},
    {"snapshots", "list", "which snapshots has a container?",
     hai_cli_snapshots_list},
    {"snapshots", "create", "take one", hai_cli_snapshots_create},
    {"snapshots", "restore", "back to it", hai_cli_snapshots_restore},
    {"snapshots", "delete", "throw it away", hai_cli_snapshots_delete},
    {"audit", "list", "who may use AI, since when, last used?",
     hai_cli_audit_list},
    {"audit", "log", "what was done, by whom?", hai_cli_audit_log},
    {"tokens", "create", "make a token for the control API",
     hai_cli_tokens_create},
    {"tokens", "list", "which tokens are there?", hai_cli_tokens_list},
    {"tokens", "delete", "take a token back", hai_cli_tokens_delete},
    {"secrets", "check", "are the files with keys as they must be?",
     hai_cli_secrets_check},
    {"registry", "load", "put the functions that write it into Redis",
     hai_cli_registry_load},
    {"registry", "migrate", "bring its layout up to date",
     hai_cli_registry_migrate},
    {"registry", "check", "find what does not fit together in it",
     hai_cli_registry_check},
    {"firewall", "print", "which nftables rules does the registry ask for?",
     hai_cli_firewall_print},
    {"firewall", "apply", "have the kernel take them", hai_cli_firewall_apply},
    {"firewall", "remove", "take them away again", hai_cli_firewall_remove},
    {"firewall", "watch", "keep them as the registry changes",
     hai_cli_firewall_watch},
    {"why", NULL, "what is a request answered, and why?", hai_cli_why},
    {"doctor", NULL, "is everything as it should be?", hai_cli_doctor},
    {"completion", "bash", "the completion of bash", hai_cli_completion},
    {"completion", "zsh", "that of zsh", hai_cli_completion},
    {"completion", "fish", "that of fish", hai_cli_completion},
};

#define N_COMMANDS (sizeof(hai_cli_commands) / sizeof(hai_cli_commands[0]))

const size_t hai_cli_n_commands = N_COMMANDS;

/* The commands of a group; NULL: of all. */
static void list(FILE *out, const char *group) {
    size_t i;

    fprintf(out, "Usage: hoody-ai %s COMMAND [ARGUMENT...]\n\n",
            group != NULL ? group : "GROUP");
    for (i = 0; i < N_COMMANDS; i++) {
        if (group == NULL || strcmp(hai_cli_commands[i].group, group) == 0) {
            char name[32];

            snprintf(name, sizeof(name), "%s %s", hai_cli_commands[i].group,
                     hai_cli_commands[i].name != NULL ? hai_cli_commands[i].name
                                                      : "");
            fprintf(out, "  %-24s %s\n", name, hai_cli_commands[i].summary);
        }
    }
    fprintf(out, "\nEach of them has --help.\n%s\n", HAI_CLI_EXIT);
}

static bool is_group(const char *name) {
    size_t i;

    for (i = 0; i < N_COMMANDS; i++) {
        if (strcmp(hai_cli_commands[i].group, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_help(const char *word) {
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0
           || strcmp(word, "help") == 0;
}

int main(int argc, char **argv) {
    const char *group = argc > 1 ? argv[1] : NULL;
    const char *name = argc > 2 ? argv[2] : NULL;
    size_t i;

    if (group != NULL && is_help(group)) {
        list(stdout, NULL);
        return HAI_CLI_OK;
    }
    if (group != NULL && strcmp(group, "--version") == 0) {
        printf("hoody-ai %s\n", HAI_VERSION);
        return HAI_CLI_OK;
    }
    if (group == NULL || !is_group(group)) {
        if (group != NULL) {
            fprintf(stderr, "hoody-ai: there is no \"%s\"\n\n", group);
        }
        list(stderr, NULL);
        return HAI_CLI_USAGE;
    }
    for (i = 0; i < N_COMMANDS; i++) {
        if (hai_cli_commands[i].name == NULL
            && strcmp(hai_cli_commands[i].group, group) == 0)
        {
            return hai_cli_end(hai_cli_commands[i].run(argc - 1, argv + 1));
        }
    }
    if (name != NULL && is_help(name)) {
        list(stdout, group);
        return HAI_CLI_OK;
    }
    for (i = 0; name != NULL && i < N_COMMANDS; i++) {
        if (strcmp(hai_cli_commands[i].group, group) == 0
            && hai_cli_commands[i].name != NULL
            && strcmp(hai_cli_commands[i].name, name) == 0)
        {
            return hai_cli_end(hai_cli_commands[i].run(argc - 2, argv + 2));
        }
    }
    if (name != NULL) {
        fprintf(stderr, "hoody-ai %s: there is no \"%s\"\n\n", group, name);
    }
    list(stderr, group);
    return HAI_CLI_USAGE;
}
