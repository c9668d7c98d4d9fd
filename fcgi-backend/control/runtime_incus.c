/*
 * Incus and LXD, through their API on a unix socket
 * (https://linuxcontainers.org/incus/docs/main/rest-api/).
 *
 *   incus=<socket>[,image=<alias>][,profile=<name>]
 *
 * Configuration keys that count: user.hoody.ai (true, false), user.hoody.id,
 * user.hoody.project, user.hoody.tags.  Snapshots are the runtime's own.
 */

#include "connector.h"
#include "http.h"
#include "process.h"
#include "runtime.h"
#include "websocket.h"

#include "lib/text.h"
#include "lib/time_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define INSTANCES "/1.0/instances"
#define LOOK_MS 10000L
#define CHANGE_MS 90000L
#define STOP_S 10
#define PATH_SIZE 1024

struct state {
    char *socket;
    char *image;                  /* or NULL */
    char *profile;                /* or NULL: "default" */
    struct hai_websocket *events; /* one thread's */
};

static void in_close(void *state) {
    struct state *s = state;

    hai_websocket_close(s->events);
    free(s->socket);
    free(s->image);
    free(s->profile);
    free(s);
}

static int in_open(const char *spec, void **state,
                   struct hai_runtime_error *e) {
    struct state *s = calloc(1, sizeof(*s));

    if (s == NULL) {
        return hai_runtime_fail(e, HAI_RUNTIME_MEMORY, "no memory");
    }

    const struct hai_connector_word words[] = {{"image", &s->image},
                                               {"profile", &s->profile}};

    if (hai_connector_spec("incus", spec, &s->socket, words, 2, e) != 0) {
        in_close(s);
        return -1;
    }

    *state = s;

    return 0;
}

/* --- asking ---------------------------------------------------------------- */

static int failed(long status, const json_t *reply,
                  struct hai_runtime_error *e) {
    json_t *code = json_object_get(reply, "error_code");

    if (status >= 0 && json_is_integer(code)) {
        status = (long) json_integer_value(code);
    }

    return hai_http_fail(status, reply, "error", e);
}

/* An operation that failed has only words. */
static enum hai_runtime_failure kind_of(const char *why) {
    if (strstr(why, "already") != NULL) {
        return HAI_RUNTIME_CONFLICT;
    }

    return strstr(why, "not found") != NULL
                   || strstr(why, "Image not provided") != NULL
               ? HAI_RUNTIME_NOT_FOUND
               : HAI_RUNTIME_REFUSED;
}

/* The runtime says yes at once and does it in the background: waits for it. */
static int finish(struct state *s, const json_t *reply,
                  struct hai_runtime_error *e) {
    char path[PATH_SIZE];
    json_t *done;
    const json_t *operation;
    const char *why;
    long status;
    int rc = 0;

    if (strcmp(hai_connector_text(reply, "type"), "async") != 0) {
        return 0;
    }

    snprintf(path, sizeof(path), "%.200s/wait?timeout=%ld",
             hai_connector_text(reply, "operation"), CHANGE_MS / 1000 - 5);

    status = hai_http(s->socket, "GET", path, NULL, CHANGE_MS, &done, e);
    if (status != 200) {
        rc = failed(status, done, e);
        json_decref(done);
        return rc;
    }

    operation = json_object_get(done, "metadata");
    why = hai_connector_text(operation, "err");
    if (*why == '\0') {
        why = hai_connector_text(done, "error");
    }

    if (json_integer_value(json_object_get(operation, "status_code")) != 200) {
        rc = hai_runtime_fail(e, kind_of(why), "%s",
                              *why != '\0' ? why : "it did not end in time");
    }

    json_decref(done);

    return rc;
}

/* With reply, the caller gets the answer; an operation has ended then. */
static int request(struct state *s, const char *method, const char *path,
                   const json_t *body, json_t **reply,
                   struct hai_runtime_error *e) {
    bool looks = strcmp(method, "GET") == 0;
    json_t *got;
    long status = hai_http(s->socket, method, path, body,
                           looks ? LOOK_MS : CHANGE_MS, &got, e);
    int rc;

    rc = status >= 200 && status < 300 ? finish(s, got, e)
                                       : failed(status, got, e);

    if (rc == 0 && reply != NULL) {
        *reply = got;
    } else {
        json_decref(got);
    }

    return rc;
}

/* name and last are escaped, the words between are not. */
static int on_instance(struct state *s, const char *method, const char *name,
                       const char *rest, const char *last, const json_t *body,
                       json_t **reply, struct hai_runtime_error *e) {
    char path[PATH_SIZE] = INSTANCES "/";

    if (!hai_text_escape(path, sizeof(path), name)
        || strlen(path) + strlen(rest) >= sizeof(path))
    {
        return hai_runtime_fail(e, HAI_RUNTIME_INVALID, "too long a name");
    }

    snprintf(path + strlen(path), sizeof(path) - strlen(path), "%s", rest);
    if (last != NULL && !hai_text_escape(path, sizeof(path), last)) {
        return hai_runtime_fail(e, HAI_RUNTIME_INVALID, "too long a name");
    }

    return request(s, method, path, body, reply, e);
}

/* --- what there is --------------------------------------------------------- */

static const char *status_of(const json_t *instance) {
    const char *text = hai_connector_text(instance, "status");

    if (strcmp(text, "Running") == 0) {
        return "running";
    }
    if (strcmp(text, "Frozen") == 0) {
        return "paused";
    }

    return strcmp(text, "Error") == 0 ? "failed" : "stopped";
}

static int read_network(const json_t *network, struct hai_instance *one) {
    const json_t *addresses = json_object_get(network, "addresses"), *address;
    size_t i;

    json_array_foreach(addresses, i, address) {
        if (strcmp(hai_connector_text(address, "scope"), "global") == 0
            && one->addresses != NULL)
        {
            one->addresses = hai_connector_add(
                one->addresses, hai_connector_text(address, "address"));
        }
    }

    if (one->mac != NULL) {
        one->mac =
            hai_connector_add(one->mac, hai_connector_text(network, "hwaddr"));
    }

    if (one->host_interface != NULL && one->host_interface[0] == '\0') {
        one->host_interface = hai_connector_add(
            one->host_interface, hai_connector_text(network, "host_name"));
    }

    return one->addresses != NULL && one->mac != NULL
                   && one->host_interface != NULL
               ? 0
               : -1;
}

static int read_networks(const json_t *networks, struct hai_instance *one) {
    const json_t *network;
    const char *name;

    one->addresses = strdup("");
    one->mac = strdup("");
    one->host_interface = strdup("");

    json_object_foreach((json_t *) networks, name, network) {
        if (strcmp(hai_connector_text(network, "type"), "loopback") == 0
            || strcmp(name, "lo") == 0)
        {
            continue;
        }
        if (read_network(network, one) != 0) {
            return -1;
        }
    }

    return one->addresses != NULL && one->mac != NULL
                   && one->host_interface != NULL
               ? 0
               : -1;
}

static int read_instance(const json_t *instance, struct hai_instance *one,
                         struct hai_runtime_error *e) {
    const json_t *config = json_object_get(instance, "expanded_config");
    const json_t *now = json_object_get(instance, "state");
    pid_t pid = (pid_t) json_integer_value(json_object_get(now, "pid"));
    char mark[256];
    int rc;

    snprintf(mark, sizeof(mark), "lxc.payload.%.200s",
             hai_connector_text(instance, "name"));

    one->name = strdup(hai_connector_text(instance, "name"));
    one->id = strdup(hai_connector_text(config, "volatile.uuid"));
    one->status = status_of(instance);
    one->image = strdup(hai_connector_text(config, "image.description"));
    one->cgroup = hai_process_cgroup(pid, mark);
    one->hoody_id = strdup(hai_connector_text(config, "user.hoody.id"));
    one->project_id = strdup(hai_connector_text(config, "user.hoody.project"));
    one->tags = strdup(hai_connector_text(config, "user.hoody.tags"));
    one->ai = hai_connector_label(config, "user.hoody.ai");

    rc = read_networks(json_object_get(now, "network"), one);

    if (rc != 0 || one->name == NULL || one->id == NULL || one->image == NULL
        || one->cgroup == NULL || one->hoody_id == NULL
        || one->project_id == NULL || one->tags == NULL)
    {
        hai_instance_free(one);
        return hai_runtime_fail(e, HAI_RUNTIME_MEMORY, "no memory");
    }

    return 0;
}

static int in_get(void *state, const char *name, struct hai_instance *one,
                  struct hai_runtime_error *e) {
    json_t *reply = NULL;
    int rc;

    if (on_instance(state, "GET", name, "?recursion=1", NULL, NULL, &reply, e)
        != 0) {
        return -1;
    }

    rc = read_instance(json_object_get(reply, "metadata"), one, e);
    json_decref(reply);

    return rc;
}

static int in_list(void *state, struct hai_instances *all,
                   struct hai_runtime_error *e) {
    json_t *reply = NULL, *list, *item;
    size_t i;
    int rc = 0;

    if (request(state, "GET", INSTANCES "?recursion=2", NULL, &reply, e) != 0) {
        return -1;
    }

    list = json_object_get(reply, "metadata");

    /* "none" is an answer, something else is not */
    if (!json_is_array(list)) {
        json_decref(reply);
        return hai_runtime_fail(e, HAI_RUNTIME_UNREACHABLE,
                                "the runtime's list is not one");
    }

    all->item = calloc(json_array_size(list) + 1, sizeof(*all->item));
    if (all->item == NULL) {
        json_decref(reply);
        return hai_runtime_fail(e, HAI_RUNTIME_MEMORY, "no memory");
    }

    json_array_foreach(list, i, item) {
        rc = read_instance(item, &all->item[all->n], e);
        if (rc != 0) {
            hai_instances_free(all);
            break;
        }
        all->n++;
    }

    json_decref(reply);

    return rc;
}

/* --- making and ending ----------------------------------------------------- */

static int set_state(struct state *s, const char *name, const char *action,
                     bool force, struct hai_runtime_error *e) {
    json_t *body = json_pack("{s:s,s:i,s:b}", "action", action, "timeout",
                             STOP_S, "force", force ? 1 : 0);
    int rc;

    rc = on_instance(s, "PUT", name, "/state", NULL, body, NULL, e);
    json_decref(body);

    return rc;
}

static json_t *config_of(const struct hai_runtime_spec *spec) {
    json_t *config =
        json_pack("{s:s,s:s,s:s}", "user.hoody.id", spec->id, "user.hoody.ai",
                  spec->ai ? "true" : "false", "boot.autostart",
                  spec->autostart ? "true" : "false");
    const json_t *value;
    const char *name;

    json_object_foreach((json_t *) spec->environment, name, value) {
        char key[256];

        snprintf(key, sizeof(key), "environment.%.200s", name);
        json_object_set(config, key, (json_t *) value);
    }

    return config;
}

static int in_remove(void *state, const char *name,
                     struct hai_runtime_error *e);

static int in_create(void *state, const struct hai_runtime_spec *spec,
                     struct hai_runtime_error *e) {
    struct state *s = state;
    const char *image = spec->image != NULL ? spec->image : s->image;
    struct hai_runtime_error ignored;
    json_t *body;
    int rc;

    if (image == NULL) {
        return hai_runtime_fail(e, HAI_RUNTIME_INVALID,
                                "container_image is missing");
    }

    body =
        json_pack("{s:s,s:{s:s,s:s},s:o,s:[s]}", "name", spec->name, "source",
                  "type", "image", "alias", image, "config", config_of(spec),
                  "profiles", s->profile != NULL ? s->profile : "default");
    if (body == NULL) {
        return hai_runtime_fail(e, HAI_RUNTIME_MEMORY, "no memory");
    }

    rc = request(s, "POST", INSTANCES, body, NULL, e);
    json_decref(body);

    if (rc == 0 && set_state(s, spec->name, "start", false, e) != 0) {
        in_remove(s, spec->name, &ignored);
        rc = -1;
    }

    return rc;
}

static int in_remove(void *state, const char *name,
                     struct hai_runtime_error *e) {
    struct hai_runtime_error ignored;

    /* one that is stopped already says no to that */
    set_state(state, name, "stop", true, &ignored);

    return on_instance(state, "DELETE", name, "", NULL, NULL, NULL, e);
}

static int in_rename(void *state, const char *name, const char *new_name,
                     struct hai_runtime_error *e) {
    json_t *body = json_pack("{s:s}", "name", new_name);
    int rc = on_instance(state, "POST", name, "", NULL, body, NULL, e);

    json_decref(body);

    return rc;
}

static int in_act(void *state, const char *name, enum hai_runtime_action action,
                  struct hai_runtime_error *e) {
    static const struct {
        const char *name;
        bool force;
    } actions[] = {
        [HAI_RUNTIME_START] = {"start", false},
        [HAI_RUNTIME_STOP] = {"stop", false},
        [HAI_RUNTIME_FORCE_STOP] = {"stop", true},
        [HAI_RUNTIME_RESTART] = {"restart", true},
        [HAI_RUNTIME_PAUSE] = {"freeze", false},
        [HAI_RUNTIME_RESUME] = {"unfreeze", false},
    };

    return set_state(state, name, actions[action].name, actions[action].force,
                     e);
}

/* --- snapshots ------------------------------------------------------------- */

static int in_snapshot_list(void *state, const char *name, const char *id,
                            struct hai_runtime_snapshots *all,
                            struct hai_runtime_error *e) {
    json_t *reply = NULL, *list, *item;
    size_t i;

    (void) id;

    if (on_instance(state, "GET", name, "/snapshots?recursion=1", NULL, NULL,
                    &reply, e)
        != 0)
    {
        return -1;
    }

    list = json_object_get(reply, "metadata");
    all->item = calloc(json_array_size(list) + 1, sizeof(*all->item));
    if (all->item == NULL) {
        json_decref(reply);
        return hai_runtime_fail(e, HAI_RUNTIME_MEMORY, "no memory");
    }

    json_array_foreach(list, i, item) {
        struct hai_runtime_snapshot *one = &all->item[all->n++];
        const json_t *size = json_object_get(item, "size");
        const char *at = hai_connector_text(item, "created_at");
        char text[HAI_TIME_SIZE];

        /* nanoseconds; seconds are enough */
        snprintf(text, sizeof(text), "%.19sZ", at);
        one->name = strdup(hai_connector_text(item, "name"));
        one->size = json_is_integer(size) && json_integer_value(size) >= 0
                        ? json_integer_value(size)
                        : -1;
        one->stateful = json_is_true(json_object_get(item, "stateful"));

        if (!hai_time_parse(text, &one->created_ms)) {
            one->created_ms = 0;
        }

        if (one->name == NULL) {
            json_decref(reply);
            hai_runtime_snapshots_free(all);
            return hai_runtime_fail(e, HAI_RUNTIME_MEMORY, "no memory");
        }
    }

    json_decref(reply);

    return 0;
}

static int in_snapshot_create(void *state, const char *name, const char *id,
                              const char *snapshot,
                              struct hai_runtime_error *e) {
    json_t *body = json_pack("{s:s}", "name", snapshot);
    int rc;

    (void) id;
    rc = on_instance(state, "POST", name, "/snapshots", NULL, body, NULL, e);
    json_decref(body);

    return rc;
}

static int in_snapshot_restore(void *state, const char *name, const char *id,
                               const char *snapshot,
                               struct hai_runtime_error *e) {
    json_t *body = json_pack("{s:s}", "restore", snapshot);
    int rc;

    (void) id;
    rc = on_instance(state, "PUT", name, "", NULL, body, NULL, e);
    json_decref(body);

    return rc;
}

static int in_snapshot_delete(void *state, const char *name, const char *id,
                              const char *snapshot,
                              struct hai_runtime_error *e) {
    (void) id;

    return on_instance(state, "DELETE", name, "/snapshots/", snapshot, NULL,
                       NULL, e);
}

/* --- events ---------------------------------------------------------------- */

static int in_wait(void *state, int timeout_ms, const atomic_bool *stop,
                   struct hai_runtime_error *e) {
    struct state *s = state;
    char error[160];
    int rc;

    if (s->events == NULL) {
        s->events = hai_websocket_open(s->socket, "/1.0/events?type=lifecycle",
                                       error, sizeof(error));
        if (s->events == NULL) {
            return hai_runtime_fail(e, HAI_RUNTIME_UNREACHABLE, "%s: %s",
                                    s->socket, error);
        }

        return 1; /* what happened before, nobody told */
    }

    rc = hai_websocket_wait(s->events, timeout_ms, stop);
    if (rc < 0) {
        hai_websocket_close(s->events);
        s->events = NULL;
        return hai_runtime_fail(e, HAI_RUNTIME_UNREACHABLE,
                                "%s: the stream of events has ended",
                                s->socket);
    }

    return rc;
}

const struct hai_runtime_ops hai_runtime_incus = {
    .name = "incus",
    .open = in_open,
    .close = in_close,
    .list = in_list,
    .get = in_get,
    .create = in_create,
    .remove = in_remove,
    .rename = in_rename,
    .act = in_act,
    .snapshot_list = in_snapshot_list,
    .snapshot_create = in_snapshot_create,
    .snapshot_restore = in_snapshot_restore,
    .snapshot_delete = in_snapshot_delete,
    .wait = in_wait,
};
