/* hoody-ai registry load, migrate and check: the registry in Redis. */

#include "cli.h"

#include "lib/options.h"
#include "lib/registry_check.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EXIT_TEXT                                                              \
    "Exit status: 0 fine, 1 something was found, also when it was put right, " \
    "2 it could\nnot be done."

enum { FAILED = 2 };

/* What every one of them is told. */
struct place {
    const char *redis;
    const char *server;
    long timeout_ms;
    char host[256];
};

static const char *name; /* of the command that runs */
static time_t told;

static int complain(const char *reason) {
    fprintf(stderr, "%s: ", name);
    hai_cli_put(stderr, reason, strlen(reason));
    putc('\n', stderr);
    return FAILED;
}

/* A line a second, for what takes longer. */
static void progress(const char *what, size_t done, size_t of) {
    time_t now = time(NULL);

    if (now == told) {
        return;
    }
    told = now;
    if (of > 0) {
        fprintf(stderr, "%s: %s: %zu of %zu\n", name, what, done, of);
    } else {
        fprintf(stderr, "%s: %s: %zu\n", name, what, done);
    }
}

static int place_init(struct place *place) {
    place->redis = HAI_REDIS_DEFAULT;
    place->timeout_ms = 10000;
    if (gethostname(place->host, sizeof(place->host)) != 0) {
        place->host[0] = '\0';
    }
    place->host[sizeof(place->host) - 1] = '\0';
    place->server = place->host;
    told = time(NULL);
    return 0;
}

static redisContext *connect_to(const struct place *place, char *error,
                                size_t size) {
    struct hai_redis_conf conf;
    struct timeval timeout = {place->timeout_ms / 1000,
                              place->timeout_ms % 1000 * 1000};
    redisContext *c;

    if (*place->server == '\0' || strpbrk(place->server, "{}") != NULL) {
        snprintf(error, size, "--server: the name of the host is wanted");
        return NULL;
    }
    if (hai_redis_conf_parse(&conf, place->redis, place->server, error, size)
        != 0) {
        return NULL;
    }
    c = hai_redis_connect(&conf, "hoody-ai", error, size);
    hai_redis_conf_free(&conf);
    if (c != NULL && redisSetTimeout(c, timeout) != REDIS_OK) {
        snprintf(error, size, "%s", c->errstr);
        redisFree(c);
        return NULL;
    }
    return c;
}

#define PLACE_OPTIONS(place)                                                   \
    {"redis",                                                                  \
     HAI_OPT_STRING,                                                           \
     &(place).redis,                                                           \
     "ADDRESS",                                                                \
     "as the directive hoody_ai_redis has it\n(" HAI_REDIS_DEFAULT ")",        \
     0,                                                                        \
     0,                                                                        \
     0},                                                                       \
        {"server",                                                             \
         HAI_OPT_STRING,                                                       \
         &(place).server,                                                      \
         "NAME",                                                               \
         "of the host in the keys (its host name)",                            \
         0,                                                                    \
         0,                                                                    \
         0},                                                                   \
    {                                                                          \
        "timeout", HAI_OPT_NUMBER, &(place).timeout_ms, "MS",                  \
            "for each answer, in milliseconds (10000)", 1, 600000, 0           \
    }

/* Options, then a connection; NULL with the exit status in *rc. */
static redisContext *begin(const struct hai_program *program,
                           const struct place *place, int argc, char **argv,
                           int *rc) {
    char error[256];
    redisContext *c;

    name = program->name;
    *rc = hai_options_parse(program, argc, argv, NULL);
    if (*rc != 0) {
        *rc = *rc > 0 ? HAI_CLI_OK : FAILED;
        return NULL;
    }
    c = connect_to(place, error, sizeof(error));
    if (c == NULL) {
        *rc = complain(error);
    }
    return c;
}

int hai_cli_registry_load(int argc, char **argv) {
    struct place place;
    const struct hai_option options[] = {
        PLACE_OPTIONS(place),
        {NULL, HAI_OPT_FLAG, NULL, NULL, NULL, 0, 0, 0},
    };
    const struct hai_program program = {
        "hoody-ai registry load", "[OPTION...]",
        "Puts the functions that write the registry into Redis, where they are "
        "missing\nor older.",
        "Exit status: 0 they are there, 2 it could not be done.", options};
    struct hai_registry_writer w;
    char error[256];
    redisContext *c;
    int rc = place_init(&place);

    c = begin(&program, &place, argc, argv, &rc);
    if (c == NULL) {
        return rc;
    }
    w = (struct hai_registry_writer){c, place.server};
    rc = hai_registry_load(&w, false, error, sizeof(error));
    if (rc < 0) {
        rc = complain(error);
    } else {
        printf("%s\n", rc == 1 ? "loaded" : "is loaded already");
        rc = HAI_CLI_OK;
    }
    redisFree(c);
    return rc;
}

int hai_cli_registry_migrate(int argc, char **argv) {
    struct place place;
    const struct hai_option options[] = {
        PLACE_OPTIONS(place),
        {NULL, HAI_OPT_FLAG, NULL, NULL, NULL, 0, 0, 0},
    };
    const struct hai_program program = {
        "hoody-ai registry migrate", "[OPTION...]",
        "Brings the layout of the registry up to date.  It may be interrupted "
        "and run again;\ngateways go on meanwhile, of the functions only "
        "disable and delete do.",
        "Exit status: 0 it is up to date, 2 it could not be done.", options};
    const struct hai_registry_check_options how = {.progress = progress};
    struct hai_registry_writer w;
    size_t containers = 0;
    char error[256];
    redisContext *c;
    int rc = place_init(&place);

    c = begin(&program, &place, argc, argv, &rc);
    if (c == NULL) {
        return rc;
    }
    w = (struct hai_registry_writer){c, place.server};
    rc = hai_registry_migrate(&w, &how, &containers, error, sizeof(error));
    if (rc < 0) {
        rc = complain(error);
    } else if (rc == 1) {
        printf("layout %d now, %zu containers\n", HAI_REGISTRY_SCHEMA,
               containers);
        rc = HAI_CLI_OK;
    } else {
        printf("layout %d already\n", HAI_REGISTRY_SCHEMA);
    }
    redisFree(c);
    return rc;
}

static void put_text(const struct hai_registry_report *report) {
    size_t i;

    for (i = 0; i < report->n; i++) {
        const struct hai_registry_finding *f = &report->finding[i];

        printf("%s: ", f->kind);
        hai_cli_put(stdout, f->subject, strlen(f->subject));
        fputs(": ", stdout);
        hai_cli_put(stdout, f->detail, strlen(f->detail));
        puts(f->repaired ? " (repaired)" : f->can_repair ? "" : " (by hand)");
    }
    printf("%zu containers, %zu found, %zu repaired\n", report->containers,
           report->n, report->repaired);
}

/* Text that may not be UTF-8: then "?" stands for it. */
static json_t *text_of(const char *text) {
    json_t *value = json_string(text);

    return value != NULL ? value : json_string("?");
}

static int put_json(const struct hai_registry_report *report,
                    const char *server) {
    json_t *list = json_array(), *document;
    size_t i;
    int rc = 0;

    for (i = 0; i < report->n && rc == 0; i++) {
        const struct hai_registry_finding *f = &report->finding[i];

        rc = json_array_append_new(
            list, json_pack("{s:s,s:o,s:o,s:b,s:b}", "kind", f->kind, "subject",
                            text_of(f->subject), "detail", text_of(f->detail),
                            "repairable", (int) f->can_repair, "repaired",
                            (int) f->repaired));
    }
    document = json_pack("{s:o,s:I,s:I,s:I,s:I,s:o}", "server", text_of(server),
                         "layout", (json_int_t) report->schema, "containers",
                         (json_int_t) report->containers, "found",
                         (json_int_t) report->n, "repaired",
                         (json_int_t) report->repaired, "findings", list);
    if (rc != 0 || document == NULL
        || json_dumpf(document, stdout, JSON_INDENT(2)) != 0)
    {
        rc = -1;
    }
    putchar('\n');
    json_decref(document);
    return rc;
}

static int check(redisContext *c, const struct place *place, bool repair,
                 bool json) {
    const struct hai_registry_check_options how = {.repair = repair,
                                                   .progress = progress};
    struct hai_registry_writer w = {c, place->server};
    struct hai_registry_report report;
    char error[256];
    int rc = hai_registry_load(&w, !repair, error, sizeof(error));

    if (rc < 0) {
        return complain(error);
    }
    if (rc == 1 && !repair) {
        return complain("the functions are not in Redis, or older: run "
                        "\"hoody-ai registry load\"");
    }
    rc = hai_registry_check(&w, &how, &report, error, sizeof(error));
    if (rc != 0) {
        rc = complain(error);
    } else {
        if (json && put_json(&report, place->server) != 0) {
            rc = complain("no memory");
        } else if (!json) {
            put_text(&report);
        }
        if (rc == 0 && report.n > 0) {
            rc = HAI_CLI_PROBLEM;
        }
    }
    hai_registry_report_free(&report);
    return rc;
}

int hai_cli_registry_check(int argc, char **argv) {
    struct place place;
    const char *output = "text";
    bool repair = false, json;
    const struct hai_option options[] = {
        {"repair", HAI_OPT_FLAG, &repair, NULL,
         "put right what is beyond doubt; never enables\nanything", 0, 0, 0},
        {"output", HAI_OPT_STRING, &output, "FORMAT", "text or json (text)", 0,
         0, 'o'},
        PLACE_OPTIONS(place),
        {NULL, HAI_OPT_FLAG, NULL, NULL, NULL, 0, 0, 0},
    };
    const struct hai_program program = {
        "hoody-ai registry check", "[OPTION...]",
        "Finds what does not fit together in the registry.", EXIT_TEXT,
        options};
    redisContext *c;
    int rc = place_init(&place);

    c = begin(&program, &place, argc, argv, &rc);
    if (c == NULL) {
        return rc;
    }
    if (hai_cli_format(program.name, output, &json) != 0) {
        rc = FAILED;
    } else {
        rc = check(c, &place, repair, json);
    }
    redisFree(c);
    return rc;
}
