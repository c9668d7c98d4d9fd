/* hoody-ai tokens create, list and delete: the file of the control API. */

#include "cli.h"

#include "lib/options.h"
#include "lib/time_text.h"
#include "lib/tokens.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TOKENS_DEFAULT "/etc/hoody-ai/tokens.json"
#define DAY_MS (24LL * 3600 * 1000)

static int64_t now_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);

    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int complain(const char *name, const char *reason, int status) {
    fprintf(stderr, "hoody-ai tokens %s: ", name);
    hai_cli_put(stderr, reason, strlen(reason));
    putc('\n', stderr);

    return status;
}

int hai_cli_tokens_create(int argc, char **argv) {
    const char *file = TOKENS_DEFAULT, *name = "";
    struct hai_option_list scopes = {0};
    char token[HAI_TOKEN_LEN + 1], id[HAI_TOKEN_ID_MAX + 1], error[512];
    long days = 0;
    const struct hai_option options[] = {
        {"scope", HAI_OPT_LIST, &scopes, "SCOPE",
         "read, write, read:PROJECT or write:PROJECT; may repeat", 0, 0, 0},
        {"tokens", HAI_OPT_STRING, &file, "FILE",
         "as hoody-ai-control has it (" TOKENS_DEFAULT ")", 0, 0, 0},
        {"name", HAI_OPT_STRING, &name, "TEXT", "what it is for", 0, 0, 0},
        {"days", HAI_OPT_NUMBER, &days, "N",
         "how long it is valid (without: until it is deleted)", 1, 36500, 0},
        {0},
    };
    const struct hai_program program = {
        .name = "hoody-ai tokens create",
        .usage = "--scope SCOPE... [OPTION...]",
        .summary = "Makes a token for the control API and prints it, this one "
                   "time.",
        .footer = "Only a digest of it is kept.\n" HAI_CLI_EXIT "\n",
        .options = options,
    };
    int64_t now = now_ms();
    int rc = hai_options_parse(&program, argc, argv, NULL);

    if (rc != 0) {
        return rc > 0 ? HAI_CLI_OK : HAI_CLI_USAGE;
    }

    if (scopes.n == 0) {
        return complain("create", "--scope is missing; see --help",
                        HAI_CLI_USAGE);
    }

    if (hai_tokens_create(file, name, scopes.item, scopes.n, now,
                          days > 0 ? now + days * DAY_MS : 0, token, id, error,
                          sizeof(error))
        != 0)
    {
        return complain("create", error, HAI_CLI_USAGE);
    }

    printf("%s\n", token);
    fprintf(stderr, "hoody-ai tokens create: %s was added to %s\n", id, file);

    return HAI_CLI_OK;
}

static void print_text(const struct hai_tokens *tokens) {
    printf("%-16s  %-24s  %-24s  %-32s  %s\n", "ID", "CREATED", "EXPIRES",
           "SCOPES", "NAME");

    for (size_t i = 0; i < hai_tokens_n(tokens); i++) {
        struct hai_token_info t = hai_tokens_info(tokens, i);

        printf("%-16s  %-24s  %-24s  %-32s  ", t.id, t.created_at,
               t.expires_at != NULL ? t.expires_at : "never", t.scopes);
        hai_cli_put(stdout, t.name, strlen(t.name));
        putchar('\n');
    }
}

static int print_json(const struct hai_tokens *tokens) {
    json_t *list = json_array();
    int rc;

    for (size_t i = 0; i < hai_tokens_n(tokens); i++) {
        struct hai_token_info t = hai_tokens_info(tokens, i);

        json_array_append_new(
            list, json_pack("{s:s,s:s,s:s,s:s,s:s?}", "id", t.id, "name",
                            t.name, "scopes", t.scopes, "created_at",
                            t.created_at, "expires_at", t.expires_at));
    }

    rc = json_dumpf(list, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(list);

    return rc == 0 ? HAI_CLI_OK : HAI_CLI_PROBLEM;
}

int hai_cli_tokens_list(int argc, char **argv) {
    const char *file = TOKENS_DEFAULT, *output = "text";
    struct hai_tokens *tokens;
    char error[512];
    bool json;
    const struct hai_option options[] = {
        {"tokens", HAI_OPT_STRING, &file, "FILE",
         "as hoody-ai-control has it (" TOKENS_DEFAULT ")", 0, 0, 0},
        {"output", HAI_OPT_STRING, &output, "FORMAT", "text or json (text)", 0,
         0, 'o'},
        {0},
    };
    const struct hai_program program = {
        .name = "hoody-ai tokens list",
        .usage = "[OPTION...]",
        .summary = "Lists the tokens of the control API: what they may do, not "
                   "what they are.",
        .footer = HAI_CLI_EXIT "\n",
        .options = options,
    };
    int rc;

    if (!hai_cli_begin(&program, argc, argv, NULL, &output, &json, &rc)) {
        return rc;
    }

    tokens = hai_tokens_read(file, error, sizeof(error));
    if (tokens == NULL) {
        return complain("list", error, HAI_CLI_USAGE);
    }

    rc = HAI_CLI_OK;
    if (json) {
        rc = print_json(tokens);
    } else {
        print_text(tokens);
    }

    hai_tokens_free(tokens);

    return rc;
}

int hai_cli_tokens_delete(int argc, char **argv) {
    const char *file = TOKENS_DEFAULT;
    char error[512];
    int rc, rest;
    const struct hai_option options[] = {
        {"tokens", HAI_OPT_STRING, &file, "FILE",
         "as hoody-ai-control has it (" TOKENS_DEFAULT ")", 0, 0, 0},
        {0},
    };
    const struct hai_program program = {
        .name = "hoody-ai tokens delete",
        .usage = "[OPTION...] ID",
        .summary = "Takes a token of the control API back: its next call is "
                   "refused.",
        .footer = HAI_CLI_EXIT "\n",
        .options = options,
    };

    rc = hai_options_parse(&program, argc, argv, &rest);
    if (rc != 0) {
        return rc > 0 ? HAI_CLI_OK : HAI_CLI_USAGE;
    }

    if (argc - rest != 1) {
        return complain("delete", "the id of one token is wanted; see --help",
                        HAI_CLI_USAGE);
    }

    rc = hai_tokens_revoke(file, argv[rest], error, sizeof(error));
    if (rc < 0) {
        return complain("delete", error, HAI_CLI_USAGE);
    }

    return rc == 0 ? HAI_CLI_OK
                   : complain("delete", "there is no token of this id",
                              HAI_CLI_PROBLEM);
}
