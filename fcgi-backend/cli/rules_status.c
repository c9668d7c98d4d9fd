/* hoody-ai rules status: asks the engine what it has loaded. */

#include "cli.h"
#include "engine_status.h"
#include "fcgi_client.h"

#include "lib/options.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NAME "hoody-ai rules status"

static const struct hai_fcgi_param question[] = {
    {"HOODY_ASK", "status"},         {"REQUEST_METHOD", "POST"},
    {"CONTENT_LENGTH", "0"},         {"GATEWAY_INTERFACE", "CGI/1.1"},
    {"SERVER_PROTOCOL", "HTTP/1.1"}, {"SERVER_SOFTWARE", "hoody-ai"},
    {"SCRIPT_NAME", "/status"},      {NULL, NULL},
};

/* A value of the answer in words. */
static void put_value(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_STRING:
        hai_cli_put(stdout, json_string_value(value),
                    json_string_length(value));
        break;
    case JSON_INTEGER:
        printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL:
        printf("%g", json_real_value(value));
        break;
    case JSON_TRUE:
        fputs("yes", stdout);
        break;
    case JSON_FALSE:
        fputs("no", stdout);
        break;
    default:
        fputs("none", stdout);
    }
}

/* A time as milliseconds or seconds since 1970, or as it is. */
static void put_time(const json_t *value) {
    json_int_t n = json_integer_value(value);
    time_t seconds = (time_t) (n > INT64_C(100000000000) ? n / 1000 : n);
    struct tm tm;
    char text[32];

    if (json_is_integer(value) && n > 0 && gmtime_r(&seconds, &tm) != NULL
        && strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &tm) > 0)
    {
        fputs(text, stdout);
    } else {
        put_value(value);
    }
}

static void put_row(json_t *status, const char *label, const char *key) {
    const json_t *value = json_object_get(status, key);

    if (value != NULL) {
        printf("%-16s", label);
        put_value(value);
        putchar('\n');
    }
}

/* The members of an object in one row, or a line each. */
static void put_object(json_t *status, const char *label, const char *key,
                       bool lines) {
    json_t *object = json_object_get(status, key), *value;
    const char *name;
    size_t i = 0;

    if (json_object_size(object) == 0) {
        return;
    }
    json_object_foreach(object, name, value) {
        if (i == 0 || lines) {
            printf("%-16s", i == 0 ? label : "");
        } else {
            fputs(", ", stdout);
        }
        hai_cli_put(stdout, name, strlen(name));
        putchar(' ');
        put_value(value);
        if (lines) {
            putchar('\n');
        }
        i++;
    }
    if (!lines) {
        putchar('\n');
    }
}

/* {"at", "where", "line", "column", "rule", "reason"}, as a compiler says it */
static void put_error(const json_t *error, bool color) {
    const char *where = json_string_value(json_object_get(error, "where"));
    const char *rule = json_string_value(json_object_get(error, "rule"));
    const char *reason = json_string_value(json_object_get(error, "reason"));
    json_int_t line = json_integer_value(json_object_get(error, "line"));
    json_int_t column = json_integer_value(json_object_get(error, "column"));

    printf("%-16s%s", "last error", color ? HAI_CLI_RED : "");
    if (where != NULL && *where != '\0') {
        hai_cli_put(stdout, where, strlen(where));
        if (line > 0) {
            printf(":%" JSON_INTEGER_FORMAT ":%" JSON_INTEGER_FORMAT, line,
                   column);
        }
        fputs(": ", stdout);
    }
    if (rule != NULL && *rule != '\0') {
        fputs("rule \"", stdout);
        hai_cli_put(stdout, rule, strlen(rule));
        fputs("\": ", stdout);
    }
    if (reason != NULL) {
        hai_cli_put(stdout, reason, strlen(reason));
    }
    printf("%s\n", color ? HAI_CLI_PLAIN : "");
    if (json_object_get(error, "at") != NULL) {
        printf("%-16s", "");
        put_time(json_object_get(error, "at"));
        putchar('\n');
    }
}

static void put_status(json_t *status, bool color) {
    json_t *error = json_object_get(status, "last_error");
    json_t *loaded = json_object_get(status, "loaded_at");

    put_row(status, "epoch", "epoch");
    put_row(status, "file", "file");
    put_row(status, "rules", "rules");
    put_row(status, "enabled", "enabled");
    put_row(status, "overlay", "overlay");
    if (loaded != NULL) {
        printf("%-16s", "loaded");
        put_time(loaded);
        putchar('\n');
    }
    put_object(status, "reloads", "reloads", false);
    if (error != NULL && !json_is_null(error)) {
        put_error(error, color);
    }
    put_row(status, "Redis", "redis");
    put_object(status, "questions", "questions", false);
    put_object(status, "answers", "answers", false);
    put_row(status, "dropped entries", "dropped_entries");
    put_row(status, "connections", "connections");
    put_row(status, "threads", "threads");
    put_object(status, "fired", "fired", true);
}

static int print(json_t *status, bool json) {
    json_t *error = json_object_get(status, "last_error");

    if (json) {
        if (json_dumpf(status, stdout, JSON_INDENT(2)) != 0) {
            fprintf(stderr, "%s: standard output cannot be written\n", NAME);
            return HAI_CLI_PROBLEM;
        }
        putchar('\n');
    } else {
        put_status(status, hai_cli_color(stdout, false));
    }

    /* the last reload failed, so the rules in force are older ones */
    return error != NULL && !json_is_null(error) ? HAI_CLI_PROBLEM : HAI_CLI_OK;
}

json_t *hai_cli_engine_status(const char *address, int timeout_ms, char *error,
                              size_t size) {
    struct hai_fcgi_answer answer;
    json_t *status;

    if (hai_fcgi_ask(address, question, timeout_ms, &answer, error, size) != 0)
    {
        return NULL;
    }
    status = json_loadb(answer.body, answer.len, JSON_REJECT_DUPLICATES, NULL);
    if (answer.status != 200 || !json_is_object(status)) {
        snprintf(error, size, "not the answer of a rule engine, status %d",
                 answer.status);
        json_decref(status);
        status = NULL;
    }
    hai_fcgi_answer_free(&answer);
    return status;
}

static int ask(const char *address, int timeout_ms, bool json) {
    char error[256];
    json_t *status =
        hai_cli_engine_status(address, timeout_ms, error, sizeof(error));
    int rc;

    if (status == NULL) {
        fprintf(stderr, "%s: %s: %s\n", NAME, address, error);
        return HAI_CLI_UNREACHABLE;
    }
    rc = print(status, json);
    json_decref(status);
    return rc;
}

int hai_cli_rules_status(int argc, char **argv) {
    const char *address = HAI_CLI_ENGINE_SOCKET, *output = "text";
    long timeout_ms = 2000;
    const struct hai_option options[] = {
        {"socket", HAI_OPT_STRING, &address, "ADDRESS",
         "of the engine: a path or host:port\n(" HAI_CLI_ENGINE_SOCKET ")", 0,
         0, 0},
        {"timeout", HAI_OPT_NUMBER, &timeout_ms, "MS",
         "for the answer, in milliseconds (2000)", 1, 60000, 0},
        {"output", HAI_OPT_STRING, &output, "FORMAT", "text or json (text)", 0,
         0, 'o'},
        {NULL, HAI_OPT_FLAG, NULL, NULL, NULL, 0, 0, 0},
    };
    const struct hai_program program = {
        NAME, "[OPTION...]",
        "Asks the rule engine what it has loaded and how often it was asked.",
        "Exit status: 0 fine, 1 the last reload failed, 2 wrong usage, 3 the "
        "engine is not\nreachable.",
        options};
    bool json;
    int rc;

    if (!hai_cli_begin(&program, argc, argv, NULL, &output, &json, &rc)) {
        return rc;
    }
    return ask(address, (int) timeout_ms, json);
}
