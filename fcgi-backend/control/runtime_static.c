/*
 * The connector for hosts without a runtime: a file says what there is.
 *
 *   {"containers": [{"name": "dev-env", "addresses": ["10.0.0.5"],
 *     "mac": "...", "host_interface": "...", "cgroup": "...", "tags": ["prod"],
 *     "ai": true, "project_id": "...", "id": "...", "status": "running"}]}
 *
 * Its changes are seen within 200 ms.  A bad file changes nothing.
 */

#include "runtime.h"

#include "lib/file.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_MAX (64UL * 1024 * 1024)
#define LOOK_MS 200

struct state {
    char *path;
    struct stat seen; /* of the last list() */
};

static int st_open(const char *spec, void **state,
                   struct hai_runtime_error *e) {
    struct state *s;

    if (*spec == '\0') {
        return hai_runtime_fail(e, HAI_RUNTIME_REFUSED,
                                "static=: the file is missing");
    }

    s = calloc(1, sizeof(*s));
    if (s == NULL || (s->path = strdup(spec)) == NULL) {
        free(s);
        return hai_runtime_fail(e, HAI_RUNTIME_MEMORY, "no memory");
    }

    *state = s;

    return 0;
}

static void st_close(void *state) {
    struct state *s = state;

    free(s->path);
    free(s);
}

static char *text_of(const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));

    return strdup(text != NULL ? text : "");
}

/* A string, or a list of them. */
static char *words_of(const json_t *object, const char *name) {
    const json_t *value = json_object_get(object, name), *item;
    size_t size = 1, len = 0, i;
    char *text;

    if (!json_is_array(value)) {
        return text_of(object, name);
    }

    json_array_foreach(value, i, item) {
        size += json_string_length(item) + 1;
    }

    text = malloc(size);
    if (text == NULL) {
        return NULL;
    }

    text[0] = '\0';
    json_array_foreach(value, i, item) {
        if (json_is_string(item)) {
            len +=
                (size_t) snprintf(text + len, size - len, "%s%s",
                                  len > 0 ? " " : "", json_string_value(item));
        }
    }

    return text;
}

static const char *status_of(const json_t *object) {
    static const char *const known[] = {"running", "paused", "stopped",
                                        "creating", "failed"};
    const char *text = json_string_value(json_object_get(object, "status"));

    for (size_t i = 0; text != NULL && i < sizeof(known) / sizeof(*known); i++)
    {
        if (strcmp(known[i], text) == 0) {
            return known[i];
        }
    }

    return text == NULL ? "running" : NULL;
}

static int read_one(const struct state *s, size_t n, const json_t *object,
                    struct hai_instance *one, struct hai_runtime_error *e) {
    const json_t *ai = json_object_get(object, "ai");

    one->name = text_of(object, "name");
    one->id = strdup("");
    one->status = status_of(object);
    one->addresses = words_of(object, "addresses");
    one->mac = words_of(object, "mac");
    one->host_interface = text_of(object, "host_interface");
    one->cgroup = text_of(object, "cgroup");
    one->image = strdup("");
    one->hoody_id = text_of(object, "id");
    one->project_id = text_of(object, "project_id");
    one->tags = words_of(object, "tags");
    one->ai = json_is_boolean(ai) ? json_is_true(ai) : -1;

    if (one->name == NULL || one->id == NULL || one->addresses == NULL
        || one->mac == NULL || one->host_interface == NULL
        || one->cgroup == NULL || one->image == NULL || one->hoody_id == NULL
        || one->project_id == NULL || one->tags == NULL)
    {
        return hai_runtime_fail(e, HAI_RUNTIME_MEMORY, "no memory");
    }

    if (*one->name == '\0' || one->status == NULL) {
        return hai_runtime_fail(
            e, HAI_RUNTIME_REFUSED, "%s: containers[%zu]: %s", s->path, n,
            one->status == NULL ? "\"status\" is none of running, paused, "
                                  "stopped, creating, failed"
                                : "\"name\" is missing");
    }

    return 0;
}

static int st_list(void *state, struct hai_instances *all,
                   struct hai_runtime_error *e) {
    struct state *s = state;
    json_t *root, *list, *object;
    json_error_t wrong;
    char cause[160];
    char *text;
    size_t len, i;
    int rc = 0;

    if (stat(s->path, &s->seen) != 0) {
        memset(&s->seen, 0, sizeof(s->seen));
    }

    text = hai_file_read(s->path, FILE_MAX, &len, cause, sizeof(cause));
    if (text == NULL) {
        return hai_runtime_fail(e, HAI_RUNTIME_UNREACHABLE, "%s: %s", s->path,
                                cause);
    }

    root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &wrong);
    free(text);

    if (root == NULL) {
        return hai_runtime_fail(e, HAI_RUNTIME_REFUSED, "%s:%d:%d: %s", s->path,
                                wrong.line, wrong.column, wrong.text);
    }

    list = json_object_get(root, "containers");
    if (!json_is_array(list)) {
        json_decref(root);
        return hai_runtime_fail(e, HAI_RUNTIME_REFUSED,
                                "%s: \"containers\" is no list", s->path);
    }

    all->item = calloc(json_array_size(list) + 1, sizeof(*all->item));
    if (all->item == NULL) {
        json_decref(root);
        return hai_runtime_fail(e, HAI_RUNTIME_MEMORY, "no memory");
    }

    json_array_foreach(list, i, object) {
        rc = read_one(s, i, object, &all->item[all->n++], e);
        if (rc != 0) {
            hai_instances_free(all);
            break;
        }
    }

    json_decref(root);

    return rc;
}

static int st_get(void *state, const char *name, struct hai_instance *one,
                  struct hai_runtime_error *e) {
    struct hai_instances all = {0};

    if (st_list(state, &all, e) != 0) {
        return -1;
    }

    for (size_t i = 0; i < all.n; i++) {
        if (strcmp(all.item[i].name, name) == 0) {
            *one = all.item[i];
            all.item[i] = (struct hai_instance){0};
            hai_instances_free(&all);
            return 0;
        }
    }

    hai_instances_free(&all);

    return hai_runtime_fail(e, HAI_RUNTIME_NOT_FOUND,
                            "the file has no container \"%s\"", name);
}

static int st_wait(void *state, int timeout_ms, const atomic_bool *stop,
                   struct hai_runtime_error *e) {
    struct state *s = state;
    struct stat now;

    (void) e;

    for (int spent = 0; spent < timeout_ms && !atomic_load(stop);
         spent += LOOK_MS) {
        if (stat(s->path, &now) != 0) {
            memset(&now, 0, sizeof(now));
        }

        if (now.st_ino != s->seen.st_ino || now.st_size != s->seen.st_size
            || now.st_mtim.tv_sec != s->seen.st_mtim.tv_sec
            || now.st_mtim.tv_nsec != s->seen.st_mtim.tv_nsec)
        {
            return 1;
        }

        poll(NULL, 0, LOOK_MS);
    }

    return 0;
}

/* What there is, its file says: nothing is made or ended from here. */
const struct hai_runtime_ops hai_runtime_static = {
    .name = "static",
    .open = st_open,
    .close = st_close,
    .list = st_list,
    .get = st_get,
    .wait = st_wait,
};
