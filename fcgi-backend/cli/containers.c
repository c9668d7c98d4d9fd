/* hoody-ai containers: list, get, create, update, delete, start and so on. */

#define _GNU_SOURCE

#include "api.h"
#include "cli.h"

#include "lib/text.h"

#include <stdlib.h>
#include <string.h>

#define PATH_SIZE 2048
#define PAGE 500

static const struct hai_column columns[] = {
    {"ID", "id"},         {"NAME", "name"},           {"AI", "ai"},
    {"STATUS", "status"}, {"ADDRESSES", "addresses"}, {"TAGS", "tags"},
};

#define N_COLUMNS (sizeof(columns) / sizeof(*columns))

static int usage(const char *command, const char *what) {
    fprintf(stderr, "hoody-ai %s: %s; see --help\n", command, what);

    return HAI_CLI_USAGE;
}

/* --- list and get ---------------------------------------------------------- */

struct filter {
    const char *project;
    const char *status;
    const char *name;
    const char *sort_by;
    const char *sort_order;
    bool ai;
    bool no_ai;
};

static bool add(char *path, const char *name, const char *value) {
    size_t len = strlen(path);

    if (value == NULL) {
        return true;
    }

    if (len + strlen(name) + 3 >= PATH_SIZE) {
        return false;
    }

    snprintf(path + len, PATH_SIZE - len, "&%s=", name);

    return hai_text_escape(path, PATH_SIZE, value);
}

/* What the whole list is sorted by, as the API sorts a page. */
struct order {
    const char *by;
    bool descending;
};

static const char *text_of(const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));

    return text != NULL ? text : "";
}

static int compare(const void *a, const void *b, void *data) {
    const json_t *x = *(json_t *const *) a, *y = *(json_t *const *) b;
    const struct order *o = data;
    int order = strcmp(text_of(x, o->by), text_of(y, o->by));

    if (order == 0) {
        order = strcmp(text_of(x, "name"), text_of(y, "name"));
    }

    return o->descending ? -order : order;
}

static json_t *sorted(json_t *all, const struct filter *f) {
    struct order o = {
        .by = f->sort_by != NULL ? f->sort_by : "created_at",
        .descending =
            f->sort_order != NULL && strcmp(f->sort_order, "desc") == 0,
    };
    size_t n = json_array_size(all);
    json_t **item = calloc(n + 1, sizeof(json_t *)), *list = json_array();

    for (size_t i = 0; item != NULL && i < n; i++) {
        item[i] = json_array_get(all, i);
    }

    if (item != NULL && list != NULL) {
        qsort_r(item, n, sizeof(json_t *), compare, &o);
    }

    for (size_t i = 0; item != NULL && i < n; i++) {
        json_array_append(list, item[i]);
    }

    free(item);
    json_decref(all);

    return list;
}

static bool one_of(const char *text, const char *const *words) {
    while (text != NULL && *words != NULL && strcmp(text, *words) != 0) {
        words++;
    }

    return text == NULL || *words != NULL;
}

/* One page: those behind "after". */
static json_t *read_page(const struct hai_api *api, const struct filter *f,
                         const char *after, int *status) {
    char path[PATH_SIZE] = "";

    if (f->project != NULL) {
        snprintf(path, sizeof(path), "/projects/");
        if (!hai_text_escape(path, sizeof(path), f->project)) {
            *status = usage("containers list", "--project: too long");
            return NULL;
        }
    }

    snprintf(path + strlen(path), sizeof(path) - strlen(path),
             "/containers?sort_by=id&limit=%d", PAGE);

    if (!add(path, "after", after) || !add(path, "status", f->status)
        || !add(path, "name", f->name)
        || !add(path, "ai",
                f->ai      ? "true"
                : f->no_ai ? "false"
                           : NULL))
    {
        *status = usage("containers list", "too long a value");
        return NULL;
    }

    return hai_api_call(api, "containers list", "GET", path, NULL, status);
}

/* All of them, by id so that none is left out or there twice when others are
 * made and deleted meanwhile. */
static json_t *read_all(const struct hai_api *api, const struct filter *f,
                        int *status) {
    static const char *const keys[] = {"created_at", "id",         "name",
                                       "status",     "updated_at", NULL};
    static const char *const orders[] = {"asc", "desc", NULL};
    json_t *all = json_array(), *data;
    char after[128] = "";
    const char *next;
    bool more = true;

    if (!one_of(f->sort_by, keys) || !one_of(f->sort_order, orders)) {
        json_decref(all);
        *status = usage("containers list", "there is no such order");
        return NULL;
    }

    while (more) {
        data = read_page(api, f, after, status);
        if (data == NULL) {
            json_decref(all);
            return NULL;
        }

        json_array_extend(all, json_object_get(data, "containers"));
        next = text_of(json_object_get(data, "pagination"), "next");
        /* who names the same place again would do so for ever */
        more = *next != '\0' && strcmp(next, after) != 0;
        snprintf(after, sizeof(after), "%s", next);
        json_decref(data);
        *status = HAI_CLI_OK;
    }

    return sorted(all, f);
}

int hai_cli_containers_list(int argc, char **argv) {
    struct hai_api api = HAI_API_DEFAULT;
    struct filter f = {0};
    const struct hai_option options[] = {
        {"project", HAI_OPT_STRING, &f.project, "ID", "of this project", 0, 0,
         0},
        {"ai", HAI_OPT_FLAG, &f.ai, NULL, "that may use AI", 0, 0, 0},
        {"no-ai", HAI_OPT_FLAG, &f.no_ai, NULL, "that may not", 0, 0, 0},
        {"status", HAI_OPT_STRING, &f.status, "STATUS", "running, stopped ...",
         0, 0, 0},
        {"name", HAI_OPT_STRING, &f.name, "NAME", "exactly this one", 0, 0, 0},
        {"sort-by", HAI_OPT_STRING, &f.sort_by, "FIELD",
         "id, name, status, created_at or updated_at (created_at)", 0, 0, 0},
        {"sort-order", HAI_OPT_STRING, &f.sort_order, "ORDER",
         "asc or desc (asc)", 0, 0, 0},
        HAI_API_OPTIONS(api),
        {0},
    };
    const struct hai_program program = {
        .name = "hoody-ai containers list",
        .usage = "[OPTION...]",
        .summary = "Lists containers, all pages of them.",
        .footer = HAI_API_EXIT "\n",
        .options = options,
    };
    int status = hai_options_parse(&program, argc, argv, NULL);
    json_t *all;

    if (status != 0) {
        return status > 0 ? HAI_CLI_OK : HAI_CLI_USAGE;
    }

    if (!hai_api_format(&api, "containers list")) {
        return HAI_CLI_USAGE;
    }

    if (f.ai && f.no_ai) {
        return usage("containers list", "yes and no at the same time");
    }

    all = read_all(&api, &f, &status);

    return all != NULL ? hai_api_show(&api, all, columns, N_COLUMNS, "name")
                       : status;
}

int hai_cli_containers_get(int argc, char **argv) {
    struct hai_api api = HAI_API_DEFAULT;
    const struct hai_option options[] = {
        HAI_API_OPTIONS(api),
        {0},
    };
    const struct hai_program program = {
        .name = "hoody-ai containers get",
        .usage = "[OPTION...] ID|NAME",
        .summary = "Shows one container.",
        .footer = HAI_API_EXIT "\n",
        .options = options,
    };
    char path[64], id[25];
    json_t *data;
    int status, rest;

    status = hai_options_parse(&program, argc, argv, &rest);
    if (status != 0) {
        return status > 0 ? HAI_CLI_OK : HAI_CLI_USAGE;
    }

    if (argc - rest != 1) {
        return usage("containers get", "one container is wanted");
    }

    if (!hai_api_format(&api, "containers get")
        || !hai_api_container(&api, "containers get", argv[rest], id, &status))
    {
        return status != 0 ? status : HAI_CLI_USAGE;
    }

    snprintf(path, sizeof(path), "/containers/%s", id);
    data = hai_api_call(&api, "containers get", "GET", path, NULL, &status);

    return data != NULL ? hai_api_show(&api, data, columns, N_COLUMNS, "name")
                        : status;
}

/* --- create and update ----------------------------------------------------- */

/* What both take; "" takes a value away. */
struct fields {
    const char *name;
    const char *image;
    const char *number;
    const char *cgroup;
    const char *mac;
    const char *host_interface;
    const char *comment;
    const char *color;
    struct hai_option_list addresses;
    struct hai_option_list tags;
    struct hai_option_list environment;
    bool ai;
    bool no_ai;
    bool autostart;
    bool no_autostart;
};

#define FIELD_OPTIONS(f)                                                        \
    {"ai", HAI_OPT_FLAG, &(f).ai, NULL, "it may use AI", 0, 0, 0},              \
        {"no-ai", HAI_OPT_FLAG, &(f).no_ai, NULL, "it may not", 0, 0, 0},       \
        {"name",                                                                \
         HAI_OPT_STRING,                                                        \
         &(f).name,                                                             \
         "NAME",                                                                \
         "which its token says: container-NAME",                                \
         0,                                                                     \
         0,                                                                     \
         0},                                                                    \
        {"address",                                                             \
         HAI_OPT_TEXTS,                                                         \
         &(f).addresses,                                                        \
         "ADDRESS",                                                             \
         "IPv4, IPv6 or a prefix; may repeat",                                  \
         0,                                                                     \
         0,                                                                     \
         0},                                                                    \
        {"tag", HAI_OPT_TEXTS, &(f).tags, "TAG", "for rules; may repeat", 0, 0, \
         0},                                                                    \
        {"env",                                                                 \
         HAI_OPT_LIST,                                                          \
         &(f).environment,                                                      \
         "NAME=VALUE",                                                          \
         "a variable in it; may repeat",                                        \
         0,                                                                     \
         0,                                                                     \
         0},                                                                    \
        {"cgroup", HAI_OPT_TEXT, &(f).cgroup, "PATH", "for unix sockets", 0, 0, \
         0},                                                                    \
        {"mac", HAI_OPT_TEXT, &(f).mac, "MAC", "for the firewall", 0, 0, 0},    \
        {"host-interface",                                                      \
         HAI_OPT_TEXT,                                                          \
         &(f).host_interface,                                                   \
         "NAME",                                                                \
         "for the firewall",                                                    \
         0,                                                                     \
         0,                                                                     \
         0},                                                                    \
        {"comment", HAI_OPT_TEXT, &(f).comment, "TEXT", "for people", 0, 0, 0}, \
        {"color", HAI_OPT_TEXT, &(f).color, "#RRGGBB", "for people", 0, 0, 0},  \
        {"autostart",                                                           \
         HAI_OPT_FLAG,                                                          \
         &(f).autostart,                                                        \
         NULL,                                                                  \
         "starts with the host",                                                \
         0,                                                                     \
         0,                                                                     \
         0},                                                                    \
    {                                                                           \
        "no-autostart", HAI_OPT_FLAG, &(f).no_autostart, NULL, "does not", 0,   \
            0, 0                                                                \
    }

static void set_text(json_t *body, const char *name, const char *text) {
    if (text != NULL) {
        json_object_set_new(body, name,
                            *text != '\0' ? json_string(text) : json_null());
    }
}

static void set_list(json_t *body, const char *name,
                     const struct hai_option_list *list) {
    json_t *array;

    if (list->n == 0) {
        return;
    }

    array = json_array();
    for (size_t i = 0; i < list->n; i++) {
        if (*list->item[i] != '\0') {
            json_array_append_new(array, json_string(list->item[i]));
        }
    }
    json_object_set_new(body, name, array);
}

/* NULL after a message. */
static json_t *body_of(const char *command, const struct fields *f) {
    json_t *body = json_object();

    if ((f->ai && f->no_ai) || (f->autostart && f->no_autostart)) {
        usage(command, "yes and no at the same time");
        json_decref(body);
        return NULL;
    }

    if (f->ai || f->no_ai) {
        json_object_set_new(body, "ai", json_boolean(f->ai));
    }
    if (f->autostart || f->no_autostart) {
        json_object_set_new(body, "autostart", json_boolean(f->autostart));
    }

    set_text(body, "name", f->name);
    set_text(body, "container_image", f->image);
    set_text(body, "number", f->number);
    set_text(body, "cgroup", f->cgroup);
    set_text(body, "mac", f->mac);
    set_text(body, "host_interface", f->host_interface);
    set_text(body, "comment", f->comment);
    set_text(body, "color", f->color);
    set_list(body, "addresses", &f->addresses);
    set_list(body, "tags", &f->tags);

    for (size_t i = 0; i < f->environment.n; i++) {
        const char *text = f->environment.item[i], *at = strchr(text, '=');
        json_t *all = json_object_get(body, "environment_vars");
        char name[256];

        if (at == NULL || (size_t) (at - text) >= sizeof(name)) {
            usage(command, "--env: NAME=VALUE is wanted");
            json_decref(body);
            return NULL;
        }

        if (all == NULL) {
            all = json_object();
            json_object_set_new(body, "environment_vars", all);
        }

        snprintf(name, sizeof(name), "%.*s", (int) (at - text), text);
        json_object_set_new(all, name, json_string(at + 1));
    }

    return body;
}

int hai_cli_containers_create(int argc, char **argv) {
    struct hai_api api = HAI_API_DEFAULT;
    const char *project = NULL;
    struct fields f = {0};
    const struct hai_option options[] = {
        {"project", HAI_OPT_STRING, &project, "ID",
         "whose it is: 24 hex digits (all zero)", 0, 0, 0},
        {"image", HAI_OPT_STRING, &f.image, "IMAGE",
         "what the runtime makes it of", 0, 0, 0},
        {"number", HAI_OPT_STRING, &f.number, "N", "a second name: container-N",
         0, 0, 0},
        FIELD_OPTIONS(f),
        HAI_API_OPTIONS(api),
        {0},
    };
    const struct hai_program program = {
        .name = "hoody-ai containers create",
        .usage = "[OPTION...]",
        .summary = "Makes a container, which may use AI unless --no-ai is "
                   "given.",
        .footer = HAI_API_EXIT "\n",
        .options = options,
    };
    char path[PATH_SIZE] = "/projects/";
    json_t *body, *data;
    int status = hai_options_parse(&program, argc, argv, NULL);

    if (status != 0) {
        return status > 0 ? HAI_CLI_OK : HAI_CLI_USAGE;
    }

    body = body_of("containers create", &f);
    if (body == NULL || !hai_api_format(&api, "containers create")) {
        json_decref(body);
        return HAI_CLI_USAGE;
    }

    if (!hai_text_escape(path, sizeof(path),
                         project != NULL ? project : "000000000000000000000000")
        || !hai_text_add(path, sizeof(path), "/containers"))
    {
        json_decref(body);
        return usage("containers create", "--project: too long");
    }

    data = hai_api_call(&api, "containers create", "POST", path, body, &status);

    return data != NULL ? hai_api_show(&api, data, columns, N_COLUMNS, "name")
                        : status;
}

int hai_cli_containers_update(int argc, char **argv) {
    struct hai_api api = HAI_API_DEFAULT;
    struct fields f = {0};
    const struct hai_option options[] = {
        FIELD_OPTIONS(f),
        HAI_API_OPTIONS(api),
        {0},
    };
    const struct hai_program program = {
        .name = "hoody-ai containers update",
        .usage = "[OPTION...] ID|NAME",
        .summary = "Changes what is given and nothing else; an empty value "
                   "takes one away.",
        .footer = HAI_API_EXIT "\n",
        .options = options,
    };
    char path[64], id[25];
    json_t *body, *data;
    int status, rest;

    status = hai_options_parse(&program, argc, argv, &rest);
    if (status != 0) {
        return status > 0 ? HAI_CLI_OK : HAI_CLI_USAGE;
    }

    if (argc - rest != 1) {
        return usage("containers update", "one container is wanted");
    }

    body = body_of("containers update", &f);
    if (body == NULL || !hai_api_format(&api, "containers update")) {
        json_decref(body);
        return HAI_CLI_USAGE;
    }

    if (json_object_size(body) == 0) {
        json_decref(body);
        return usage("containers update", "nothing is to be changed");
    }

    if (!hai_api_container(&api, "containers update", argv[rest], id, &status))
    {
        json_decref(body);
        return status;
    }

    snprintf(path, sizeof(path), "/containers/%s", id);
    data =
        hai_api_call(&api, "containers update", "PATCH", path, body, &status);

    return data != NULL ? hai_api_show(&api, data, columns, N_COLUMNS, "name")
                        : status;
}

/* --- what has no answer to show -------------------------------------------- */

/* verb: "" to delete. */
static int act(int argc, char **argv, const char *verb, const char *summary) {
    struct hai_api api = HAI_API_DEFAULT;
    const struct hai_option options[] = {
        HAI_API_OPTIONS(api),
        {0},
    };
    const struct hai_program program = {
        .name = "hoody-ai containers",
        .usage = "COMMAND [OPTION...] ID|NAME...",
        .summary = summary,
        .footer = HAI_API_EXIT "\n",
        .options = options,
    };
    char command[64], path[128], id[25];
    int rest, status, worst = HAI_CLI_OK;

    snprintf(command, sizeof(command), "containers %s",
             *verb != '\0' ? verb : "delete");

    status = hai_options_parse(&program, argc, argv, &rest);
    if (status != 0) {
        return status > 0 ? HAI_CLI_OK : HAI_CLI_USAGE;
    }

    if (rest == argc) {
        return usage(command, "a container is wanted");
    }

    for (; rest < argc; rest++) {
        json_t *data = NULL;

        if (hai_api_container(&api, command, argv[rest], id, &status)) {
            snprintf(path, sizeof(path), "/containers/%s%s%s", id,
                     *verb != '\0' ? "/" : "", verb);
            data =
                hai_api_call(&api, command, *verb != '\0' ? "POST" : "DELETE",
                             path, NULL, &status);
        }

        if (data == NULL && status > worst) {
            worst = status;
        }
        json_decref(data);
    }

    return worst;
}

int hai_cli_containers_delete(int argc, char **argv) {
    return act(argc, argv, "", "Ends containers; their access ends first.");
}

int hai_cli_containers_act(int argc, char **argv) {
    return act(argc, argv, argv[0],
               "Has the runtime start, stop, force-stop, restart, pause or "
               "resume containers.");
}
