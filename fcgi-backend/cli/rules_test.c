/*
 * hoody-ai rules test: a request's body through the rules, as the engine takes
 * it: which rules fire, which do not and why, and what would be sent.
 */

#include "cli.h"
#include "diff.h"

#include "lib/evaluate.h"
#include "lib/options.h"

#include "hai_json.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME "hoody-ai rules test"
#define BODY_MAX (64 * 1024 * 1024)

struct test {
    const char *file;
    const char *container;
    const char *container_id;
    const char *tags;
    const char *api;
    long depth;
    bool raw;
    bool color;
    FILE *out; /* the report; standard error where the body goes out */
    char *body;
    size_t len;
};

static const struct {
    const char *name;
    bool opaque; /* its bodies are not looked into */
} apis[] = {
    {"openai.chat", false},        {"openai.responses", false},
    {"openai.completions", false}, {"anthropic.messages", false},
    {"openai.embeddings", false},  {"openai.images", false},
    {"openai.audio", false},       {"openai.moderations", false},
    {"openai.files", true},        {"openai.batches", true},
    {"anthropic.batches", true},
};

static void say(void *data, bool is_error, const char *where, int line,
                int column, const char *rule, const char *reason) {
    (void) data;
    hai_cli_finding(is_error, where, line, column, rule, reason);
}

static void put_rule(const struct test *t, const char *sign, const char *color,
                     const struct hai_rule *rule,
                     const struct hai_rule_facts *facts) {
    fprintf(t->out, "%s%s %s%s (%s, %s", t->color ? color : "", sign, rule->id,
            t->color ? HAI_CLI_PLAIN : "", hai_rule_event_name(rule->event),
            hai_rule_action_name(rule->action));
    if (facts->tool.data != NULL) {
        fputs(", tool ", t->out);
        if (facts->tool.len > 0) {
            hai_cli_put(t->out, facts->tool.data, facts->tool.len);
        } else {
            fputs("unknown", t->out);
        }
    }
    fputs("): ", t->out);
}

static void fired(void *data, const struct hai_rule *rule,
                  const struct hai_rule_facts *facts, const char *text,
                  size_t len) {
    const struct test *t = data;

    put_rule(t, "+", HAI_CLI_GREEN, rule, facts);
    switch (rule->action) {
    case HAI_ACT_LOG:
        fputs("logs ", t->out);
        hai_cli_put(t->out, text, len);
        break;
    case HAI_ACT_WEBHOOK:
        fputs("posts to ", t->out);
        hai_cli_put(t->out, rule->url, strlen(rule->url));
        break;
    default:
        fputs(text != NULL ? "refuses" : "changes the request", t->out);
    }
    putc('\n', t->out);
}

static void skipped(void *data, const struct hai_rule *rule,
                    const struct hai_rule_facts *facts, const char *why) {
    static const struct {
        const char *why, *text;
    } texts[] = {
        {"disabled", "is not enabled"},
        {"event", "its event is seen in answers, not in requests"},
        {"api", "its event does not happen with this API"},
        {"tool", "no new result of a tool"},
        {"cooldown", "its pause is not over"},
        {"seen", "it has fired for this result"},
        {"refused", "an earlier rule refused the request"},
    };
    const struct test *t = data;
    size_t i;

    put_rule(t, "-", HAI_CLI_RED, rule, facts);
    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (strcmp(texts[i].why, why) == 0) {
            fprintf(t->out, "%s\n", texts[i].text);
            return;
        }
    }
    fprintf(t->out, "\"%s\" does not match\n", why);
}

/* The whole body; 0, or -1 after a message. */
static int read_body(struct test *t) {
    size_t room = 65536, n;
    char *larger;

    if (isatty(STDIN_FILENO)) {
        fprintf(stderr, "%s: the body comes from standard input\n", NAME);
    }
    t->body = malloc(room);
    while (t->body != NULL) {
        n = fread(t->body + t->len, 1, room - t->len, stdin);
        t->len += n;
        if (ferror(stdin) || t->len > BODY_MAX) {
            fprintf(stderr, "%s: standard input: %s\n", NAME,
                    ferror(stdin) ? "cannot be read" : "more than 64 MB");
            return -1;
        }
        if (n == 0) {
            return 0;
        }
        if (t->len == room) {
            room *= 2;
            larger = realloc(t->body, room);
            if (larger == NULL) {
                free(t->body);
            }
            t->body = larger;
        }
    }
    fprintf(stderr, "%s: no memory\n", NAME);
    return -1;
}

/* A body with the edits in it, hai_edits_result_size() bytes; NULL without
 * memory. */
static char *edited(const struct test *t, const struct hai_edits *edits,
                    size_t *len) {
    size_t i, from = 0;
    char *body, *p;

    *len = (size_t) hai_edits_result_size(edits, t->len);
    body = malloc(*len + 1);
    p = body;
    if (body == NULL) {
        return NULL;
    }
    for (i = 0; i < edits->n; i++) {
        const struct hai_edit *e = &edits->list[i];

        memcpy(p, t->body + from, (size_t) e->offset - from);
        p += e->offset - from;
        if (e->len > 0) {
            memcpy(p, e->text, e->len);
        }
        p += e->len;
        from = (size_t) (e->offset + e->del);
    }
    memcpy(p, t->body + from, t->len - from);
    return body;
}

/* The worker scans what it sends once more. */
static const char *scan_again(const char *body, size_t len) {
    struct hai_json *js = hai_json_new();
    enum hai_json_status st = HAI_JSON_NO_MEMORY;

    if (js != NULL) {
        hai_json_feed(js, body, len);
        st = hai_json_finish(js);
    }
    hai_json_free(js);
    return st == HAI_JSON_OK ? NULL : hai_json_strerror(st);
}

static int show_result(const struct test *t, const char *body, size_t len) {
    const char *reason = scan_again(body, len);

    if (reason != NULL) {
        fprintf(t->out,
                "\nrefused with 503 rules_unavailable: the rules make "
                "a body that may not be sent: %s\n",
                reason);
        return HAI_CLI_PROBLEM;
    }
    if (len == t->len && memcmp(body, t->body, len) == 0) {
        fputs("\nsent as it is\n", t->out);
    } else {
        putc('\n', t->out);
        if (hai_diff_json(t->out, t->body, t->len, body, len, t->color) != 0) {
            fprintf(stderr, "%s: no memory for the differences\n", NAME);
            return HAI_CLI_PROBLEM;
        }
    }
    if (t->raw && (fwrite(body, 1, len, stdout) != len || fflush(stdout) != 0))
    {
        fprintf(stderr, "%s: standard output cannot be written\n", NAME);
        return HAI_CLI_PROBLEM;
    }
    return HAI_CLI_OK;
}

static int apply(const struct test *t, const struct hai_request *request,
                 const struct hai_evaluation *e) {
    struct hai_edits edits;
    enum hai_change_status st;
    const char *why = NULL;
    int status = HAI_CLI_PROBLEM;
    size_t len;
    char *body;

    hai_edits_init(&edits, 2 * (size_t) BODY_MAX);
    st = hai_changes_apply(request->body, request->api, e->changes, e->n,
                           &edits, &why);
    if (st == HAI_CHANGE_OK) {
        body = edited(t, &edits, &len);
        if (body != NULL) {
            status = show_result(t, body, len);
        } else {
            fprintf(stderr, "%s: no memory\n", NAME);
        }
        free(body);
    } else if (st == HAI_CHANGE_SHAPE) {
        fprintf(t->out, "\nrefused with 400 invalid_body: %s\n", why);
    } else {
        fprintf(stderr, "%s: no memory\n", NAME);
    }
    hai_edits_free(&edits);
    return status;
}

static int show(const struct test *t, const struct hai_request *request,
                const struct hai_evaluation *e) {
    switch (e->verdict) {
    case HAI_VERDICT_PASS:
        if (request->opaque) {
            fputs("\nsent as it is\n", t->out);
            return HAI_CLI_OK;
        }
        return show_result(t, t->body, t->len);
    case HAI_VERDICT_CHANGES:
        return apply(t, request, e);
    case HAI_VERDICT_REFUSED:
        fputs("\nrefused with 403 blocked_by_rule: ", t->out);
        hai_cli_put(t->out, e->text, e->len);
        putc('\n', t->out);
        return HAI_CLI_PROBLEM;
    case HAI_VERDICT_INVALID:
        fprintf(t->out, "\nrefused with 400 invalid_body: %s\n", e->why);
        return HAI_CLI_PROBLEM;
    case HAI_VERDICT_ASK_BODY:
    case HAI_VERDICT_NO_MEMORY:
        break;
    }
    fprintf(stderr, "%s: no memory\n", NAME);
    return HAI_CLI_PROBLEM;
}

static struct hai_slice slice(const char *text) {
    return (struct hai_slice){text, strlen(text)};
}

static int evaluate(struct test *t, const struct hai_rules *rules,
                    struct hai_request *request) {
    struct hai_evaluate_hooks hooks = {fired, skipped, t};
    struct hai_evaluation e;
    int status;

    if (request->opaque) {
        hai_evaluate_plan(&e, rules, request, &hooks);
    } else {
        hai_evaluate(&e, rules, request, NULL, &hooks);
    }
    status = show(t, request, &e);
    hai_evaluation_free(&e);
    return status;
}

/* The body has to be one that the worker would pass on. */
static int test_body(struct test *t, const struct hai_rules *rules,
                     const struct hai_request *general) {
    struct hai_request request = *general;
    struct hai_piece piece;
    struct hai_body body = {.pieces = &piece, .n = 1};
    struct hai_json *js;
    enum hai_json_status st;
    int status = HAI_CLI_PROBLEM;

    if (read_body(t) != 0) {
        return HAI_CLI_PROBLEM;
    }
    js = hai_json_new();
    if (js == NULL) {
        fprintf(stderr, "%s: no memory\n", NAME);
        return HAI_CLI_PROBLEM;
    }
    hai_json_feed(js, t->body, t->len);
    st = hai_json_finish(js);
    if (st != HAI_JSON_OK) {
        fprintf(t->out, "refused with 400 invalid_body: %s, at byte %llu\n",
                hai_json_strerror(st),
                (unsigned long long) hai_json_error_offset(js));
    } else {
        piece = (struct hai_piece){(const uint8_t *) t->body, t->len};
        body.size = t->len;
        body.facts = hai_json_facts(js);
        body.items = hai_json_items(js);
        request.body = &body;
        request.facts.model =
            (struct hai_slice){body.facts->model, body.facts->model_len};
        /* a prompt that is stored at the provider */
        request.opaque = body.facts->top[HAI_KEY_PROMPT].type == '{';
        status = evaluate(t, rules, &request);
    }
    hai_json_free(js);
    return status;
}

static int run(struct test *t) {
    struct hai_rule_report report = {say, NULL};
    struct hai_request request = {
        .facts = {.container = slice(t->container),
                  .container_id = slice(t->container_id),
                  .tags = slice(t->tags),
                  .depth = (unsigned) t->depth},
        .api = hai_api_of(t->api, strlen(t->api))};
    struct hai_rules *rules;
    size_t i;
    int status;

    for (i = 0; i < sizeof(apis) / sizeof(apis[0]); i++) {
        if (strcmp(apis[i].name, t->api) == 0) {
            request.opaque = apis[i].opaque;
            break;
        }
    }
    if (i == sizeof(apis) / sizeof(apis[0])) {
        fprintf(stderr, "%s: --api: there is no \"%s\"; see --help\n", NAME,
                t->api);
        return HAI_CLI_USAGE;
    }
    rules = hai_rules_load(t->file, NULL, 0, &report);
    if (rules == NULL) {
        return HAI_CLI_PROBLEM;
    }
    status = request.opaque ? evaluate(t, rules, &request)
                            : test_body(t, rules, &request);
    hai_rules_unref(rules);
    free(t->body);
    return status;
}

int hai_cli_rules_test(int argc, char **argv) {
    struct test t = {
        .container_id = "", .tags = "", .api = "openai.chat", .depth = 1};
    bool no_color = false;
    const struct hai_option options[] = {
        {"container", HAI_OPT_STRING, &t.container, "NAME",
         "the container that asks; needed", 0, 0, 0},
        {"container-id", HAI_OPT_STRING, &t.container_id, "ID", "its id", 0, 0,
         0},
        {"tags", HAI_OPT_STRING, &t.tags, "\"A B\"",
         "its tags, separated by spaces", 0, 0, 0},
        {"api", HAI_OPT_STRING, &t.api, "API",
         "openai.chat (default), openai.responses,\n"
         "openai.completions, anthropic.messages,\n"
         "openai.embeddings, openai.images, openai.audio,\n"
         "openai.moderations; without a body openai.files,\n"
         "openai.batches, anthropic.batches",
         0, 0, 0},
        {"depth", HAI_OPT_NUMBER, &t.depth, "N",
         "of the event, see \"maxDepth\" (1)", 1, 100, 0},
        {"raw", HAI_OPT_FLAG, &t.raw, NULL,
         "the bytes to be sent on standard output, all else\n"
         "on standard error",
         0, 0, 0},
        {"no-color", HAI_OPT_FLAG, &no_color, NULL, "no colours", 0, 0, 0},
        {NULL, HAI_OPT_FLAG, NULL, NULL, NULL, 0, 0, 0},
    };
    const struct hai_program program = {
        NAME, "[OPTION...] --container NAME FILE < BODY",
        "Shows what the rules of a file do to a request: which of them fire, "
        "why\nothers do not, and what is sent.  Nothing is logged or sent.",
        "Exit status: 0 the request would be sent, 1 it would be refused, or "
        "the file is\nwrong, 2 wrong usage.",
        options};
    int rest, rc = hai_options_parse(&program, argc, argv, &rest);

    if (rc != 0) {
        return rc > 0 ? HAI_CLI_OK : HAI_CLI_USAGE;
    }
    if (argc - rest != 1 || t.container == NULL) {
        fprintf(stderr, "%s: one FILE and --container are wanted; see --help\n",
                NAME);
        return HAI_CLI_USAGE;
    }
    t.file = argv[rest];
    t.out = t.raw ? stderr : stdout;
    t.color = hai_cli_color(t.out, no_color);
    return run(&t);
}
