/* hoody-ai snapshots list, create, restore, delete; hoody-ai audit log, list. */

#include "api.h"
#include "cli.h"

#include "lib/text.h"

#include <stdlib.h>
#include <string.h>

#define PATH_SIZE 2048

static const struct hai_column columns[] = {
    {"NAME", "name"},          {"ALIAS", "alias"}, {"CREATED", "created_at"},
    {"EXPIRES", "expires_at"}, {"SIZE", "size"},
};

#define N_COLUMNS (sizeof(columns) / sizeof(*columns))

struct wanted {
    struct hai_api api;
    const char *container;
    const char *name;
    const char *alias;
    long expiry;
};

static int usage(const char *command, const char *what) {
    fprintf(stderr, "hoody-ai %s: %s; see --help\n", command, what);

    return HAI_CLI_USAGE;
}

enum { NAME = 1, ALIAS = 2 };

/* 0; or what to end with, less one. */
static int parse(struct wanted *w, int argc, char **argv, const char *name,
                 const char *summary, unsigned more) {
    struct hai_option options[10] = {
        {"container", HAI_OPT_STRING, &w->container, "ID|NAME",
         "whose snapshots", 0, 0, 'c'},
        HAI_API_OPTIONS(w->api),
    };
    size_t n = 5;
    char full[64];
    const struct hai_program program = {
        .name = full,
        .usage = "-c ID|NAME [OPTION...]",
        .summary = summary,
        .footer = HAI_API_EXIT "\n",
        .options = options,
    };
    int rc;

    if (more & NAME) {
        options[n++] = (struct hai_option){
            "name", HAI_OPT_STRING, &w->name, "NAME", "of the snapshot", 0, 0,
            0};
    }
    if (more & ALIAS) {
        options[n++] = (struct hai_option){
            "alias", HAI_OPT_STRING, &w->alias, "TEXT", "for people", 0, 0, 0};
        options[n++] = (struct hai_option){"expiry",
                                           HAI_OPT_NUMBER,
                                           &w->expiry,
                                           "DAYS",
                                           "after which it is deleted",
                                           1,
                                           3650,
                                           0};
    }

    snprintf(full, sizeof(full), "hoody-ai %s", name);

    rc = hai_options_parse(&program, argc, argv, NULL);
    if (rc != 0) {
        return rc > 0 ? HAI_CLI_OK + 1 : HAI_CLI_USAGE + 1;
    }

    if (!hai_api_format(&w->api, name)) {
        return HAI_CLI_USAGE + 1;
    }

    if (w->container == NULL) {
        return usage(name, "-c is missing") + 1;
    }

    if ((more & NAME) && w->name == NULL) {
        return usage(name, "--name is missing") + 1;
    }

    return 0;
}

static bool path_of(const struct wanted *w, const char *command, char *path,
                    int *status) {
    char id[25];

    if (!hai_api_container(&w->api, command, w->container, id, status)) {
        return false;
    }

    snprintf(path, PATH_SIZE, "/containers/%s/snapshots", id);

    if (w->name != NULL) {
        snprintf(path + strlen(path), PATH_SIZE - strlen(path), "/");
        if (!hai_text_escape(path, PATH_SIZE, w->name)) {
            *status = usage(command, "--name: too long");
            return false;
        }
    }

    return true;
}

/* One member of the answer is what is shown. */
static int call(const struct wanted *w, const char *command, const char *method,
                json_t *body, const char *member) {
    char path[PATH_SIZE];
    json_t *data, *shown;
    int status;

    if (!path_of(w, command, path, &status)) {
        json_decref(body);
        return status;
    }

    data = hai_api_call(&w->api, command, method, path, body, &status);
    if (data == NULL) {
        return status;
    }

    shown = json_incref(json_object_get(data, member));
    json_decref(data);

    return hai_api_show(&w->api, shown, columns, N_COLUMNS, "name");
}

int hai_cli_snapshots_list(int argc, char **argv) {
    struct wanted w = {.api = HAI_API_DEFAULT};
    int rc = parse(&w, argc, argv, "snapshots list",
                   "Lists the snapshots of a container.", 0);

    return rc != 0 ? rc - 1
                   : call(&w, "snapshots list", "GET", NULL, "snapshots");
}

int hai_cli_snapshots_create(int argc, char **argv) {
    struct wanted w = {.api = HAI_API_DEFAULT};
    json_t *body;
    int rc = parse(&w, argc, argv, "snapshots create",
                   "Takes a snapshot of a container.", ALIAS);

    if (rc != 0) {
        return rc - 1;
    }

    body = json_object();
    if (w.alias != NULL) {
        json_object_set_new(body, "alias", json_string(w.alias));
    }
    if (w.expiry > 0) {
        json_object_set_new(body, "expiry", json_integer(w.expiry));
    }

    return call(&w, "snapshots create", "POST", body, "snapshot");
}

int hai_cli_snapshots_restore(int argc, char **argv) {
    struct wanted w = {.api = HAI_API_DEFAULT};
    int rc = parse(&w, argc, argv, "snapshots restore",
                   "Makes a container what it was at a snapshot.", NAME);

    return rc != 0 ? rc - 1
                   : call(&w, "snapshots restore", "PUT", NULL, "snapshot");
}

int hai_cli_snapshots_delete(int argc, char **argv) {
    struct wanted w = {.api = HAI_API_DEFAULT};
    char path[PATH_SIZE];
    json_t *data;
    int rc = parse(&w, argc, argv, "snapshots delete",
                   "Throws a snapshot away.", NAME);

    if (rc != 0) {
        return rc - 1;
    }

    if (!path_of(&w, "snapshots delete", path, &rc)) {
        return rc;
    }

    data = hai_api_call(&w.api, "snapshots delete", "DELETE", path, NULL, &rc);
    if (data == NULL) {
        return rc;
    }

    json_decref(data);

    return HAI_CLI_OK;
}

/* --- the audit ------------------------------------------------------------- */

int hai_cli_audit_list(int argc, char **argv) {
    static const struct hai_column shown[] = {
        {"NAME", "name"},          {"STATUS", "status"},
        {"SINCE", "ai_since"},     {"LAST USED", "last_used_at"},
        {"PROJECT", "project_id"},
    };
    struct hai_api api = HAI_API_DEFAULT;
    const struct hai_option options[] = {
        HAI_API_OPTIONS(api),
        {0},
    };
    const struct hai_program program = {
        .name = "hoody-ai audit list",
        .usage = "[OPTION...]",
        .summary = "Which containers may use AI, since when, and when they "
                   "last did, as far as\nRedis' streams reach back.",
        .footer = HAI_API_EXIT "\n",
        .options = options,
    };
    json_t *data, *containers;
    int status = hai_options_parse(&program, argc, argv, NULL);

    if (status != 0) {
        return status > 0 ? HAI_CLI_OK : HAI_CLI_USAGE;
    }

    if (!hai_api_format(&api, "audit list")) {
        return HAI_CLI_USAGE;
    }

    data = hai_api_call(&api, "audit list", "GET", "/audit/ai", NULL, &status);
    if (data == NULL) {
        return status;
    }

    containers = json_incref(json_object_get(data, "containers"));
    json_decref(data);

    return hai_api_show(&api, containers, shown, sizeof(shown) / sizeof(*shown),
                        "name");
}

int hai_cli_audit_log(int argc, char **argv) {
    static const struct hai_column shown[] = {
        {"TIME", "ts"},       {"WHO", "who"},
        {"ACTION", "action"}, {"CONTAINER", "container"},
        {"STATUS", "status"}, {"DETAIL", "detail"},
    };
    struct hai_api api = HAI_API_DEFAULT;
    const char *container = NULL;
    long limit = 100;
    const struct hai_option options[] = {
        {"container", HAI_OPT_STRING, &container, "ID|NAME", "of this one only",
         0, 0, 'c'},
        {"limit", HAI_OPT_NUMBER, &limit, "N", "how many, the newest (100)", 1,
         1000, 0},
        HAI_API_OPTIONS(api),
        {0},
    };
    const struct hai_program program = {
        .name = "hoody-ai audit log",
        .usage = "[OPTION...]",
        .summary = "What was done through the control API and by the "
                   "connector, and by whom.",
        .footer = HAI_API_EXIT "\n",
        .options = options,
    };
    char path[PATH_SIZE];
    json_t *data, *entries;
    int status = hai_options_parse(&program, argc, argv, NULL);

    if (status != 0) {
        return status > 0 ? HAI_CLI_OK : HAI_CLI_USAGE;
    }

    if (!hai_api_format(&api, "audit log")) {
        return HAI_CLI_USAGE;
    }

    snprintf(path, sizeof(path), "/audit?limit=%ld%s", limit,
             container != NULL ? "&container=" : "");
    if (container != NULL) {
        if (!hai_text_escape(path, sizeof(path), container)) {
            return usage("audit log", "--container: too long");
        }
    }

    data = hai_api_call(&api, "audit log", "GET", path, NULL, &status);
    if (data == NULL) {
        return status;
    }

    entries = json_incref(json_object_get(data, "entries"));
    json_decref(data);

    return hai_api_show(&api, entries, shown, sizeof(shown) / sizeof(*shown),
                        "action");
}
