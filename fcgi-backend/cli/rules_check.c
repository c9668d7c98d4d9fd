/* hoody-ai rules check: what the engine would say to a file of rules. */

#include "cli.h"

#include "lib/options.h"
#include "lib/rules.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define NAME "hoody-ai rules check"

struct findings {
    bool json;
    json_t *list; /* of -o json */
    bool failed;
};

static int add(struct findings *f, bool is_error, const char *where, int line,
               int column, const char *rule, const char *reason) {
    json_t *item =
        json_pack("{s:s, s:s, s:i, s:i, s:s, s:s}", "level",
                  is_error ? "error" : "warning", "file", where, "line", line,
                  "column", column, "rule", rule, "reason", reason);

    return json_array_append_new(f->list, item);
}

static void say(void *data, bool is_error, const char *where, int line,
                int column, const char *rule, const char *reason) {
    struct findings *f = data;

    if (f->json) {
        if (add(f, is_error, where, line, column, rule, reason) != 0) {
            f->failed = true;
        }
        return;
    }
    hai_cli_finding(is_error, where, line, column, rule, reason);
}

static int print_json(struct findings *f, const char *file,
                      const struct hai_rules *rules, size_t enabled) {
    json_t *all = json_pack(
        "{s:s, s:b, s:I, s:I, s:s, s:O}", "file", file, "ok", rules != NULL,
        "rules", (json_int_t) (rules != NULL ? rules->n : 0), "enabled",
        (json_int_t) enabled, "digest", rules != NULL ? rules->digest : "",
        "problems", f->list);
    int rc = all != NULL && !f->failed ? json_dumpf(all, stdout, JSON_INDENT(2))
                                       : -1;

    json_decref(all);
    if (rc != 0) {
        fprintf(stderr, "%s: no memory, or a name that is not UTF-8\n", NAME);
        return -1;
    }
    putchar('\n');
    return 0;
}

static int check(const char *file, bool json) {
    struct findings findings = {.json = json};
    struct hai_rule_report report = {say, &findings};
    struct hai_rules *rules;
    size_t i, enabled = 0;
    int status;

    findings.list = json_array();
    rules = hai_rules_load(file, NULL, 0, &report);
    for (i = 0; rules != NULL && i < rules->n; i++) {
        enabled += rules->rule[i].enabled;
    }
    status = rules != NULL ? HAI_CLI_OK : HAI_CLI_PROBLEM;
    if (json) {
        if (print_json(&findings, file, rules, enabled) != 0) {
            status = HAI_CLI_PROBLEM;
        }
    } else if (rules != NULL) {
        hai_cli_put(stdout, file, strlen(file));
        printf(": fine, %zu rules, %zu of them enabled\n", rules->n, enabled);
    }
    json_decref(findings.list);
    hai_rules_unref(rules);
    return status;
}

int hai_cli_rules_check(int argc, char **argv) {
    const char *output = "text";
    const struct hai_option options[] = {
        {"output", HAI_OPT_STRING, &output, "FORMAT", "text or json (text)", 0,
         0, 'o'},
        {NULL, HAI_OPT_FLAG, NULL, NULL, NULL, 0, 0, 0},
    };
    const struct hai_program program = {
        NAME, "[OPTION...] FILE",
        "Reads a file of rules as the engine does and says what is wrong "
        "with it.",
        HAI_CLI_EXIT, options};
    bool json;
    int rest, rc;

    if (!hai_cli_begin(&program, argc, argv, &rest, &output, &json, &rc)) {
        return rc;
    }
    if (argc - rest != 1) {
        fprintf(stderr, "%s: one FILE is wanted; see --help\n", NAME);
        return HAI_CLI_USAGE;
    }
    return check(argv[rest], json);
}
