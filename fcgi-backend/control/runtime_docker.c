/*
 * Docker Engine and Podman, through the API that both have on a unix socket
 * (Docker Engine API 1.41, https://docs.docker.com/reference/api/engine/).
 *
 *   docker=<socket>[,network=<name>][,image=<default>]
 *
 * An instance is a container of any state.  The labels that count: hoody.ai
 * (true, false), hoody.id, hoody.project, hoody.tags.  One that the image has
 * as well does not: whoever made the image is not who may say so.
 *
 * The runtime takes the beginning of an id for a name as well, so each name
 * is looked up first, and what is done is done to the id that has it.
 */

#include "runtime_docker.h"

#include "connector.h"
#include "http.h"
#include "process.h"

#include "lib/text.h"

#include <hai_identity.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void dk_close(void *state) {
    struct hai_docker *s = state;

    hai_docker_events_close(s);
    free(s->socket);
    free(s->network);
    free(s->image);
    free(s);
}

static int dk_open(const char *spec, void **state,
                   struct hai_runtime_error *e) {
    struct hai_docker *s = calloc(1, sizeof(*s));

    if (s == NULL) {
        return hai_runtime_fail(e, HAI_RUNTIME_MEMORY, "no memory");
    }

    const struct hai_connector_word words[] = {{"network", &s->network},
                                               {"image", &s->image}};

    if (hai_connector_spec("docker", spec, &s->socket, words, 2, e) != 0) {
        dk_close(s);
        return -1;
    }

    *state = s;

    return 0;
}

/* --- asking ---------------------------------------------------------------- */

int hai_docker_request(struct hai_docker *s, const char *method,
                       const char *path, const json_t *body, long timeout_ms,
                       json_t **reply, struct hai_runtime_error *e) {
    json_t *got;
    long status = hai_http(s->socket, method, path, body, timeout_ms, &got, e);
    int rc = 0;

    if (!((status >= 200 && status < 300) || status == 304)) {
        rc = hai_http_fail(status, got, "message", e);
    }

    if (rc == 0 && reply != NULL) {
        *reply = got;
    } else {
        json_decref(got);
    }

    return rc;
}

int hai_docker_request_list(struct hai_docker *s, const char *path,
                            json_t **list, struct hai_runtime_error *e) {
    if (hai_docker_request(s, "GET", path, NULL, LOOK_MS, list, e) != 0) {
        return -1;
    }

    /* "none" is an answer, something else is not */
    if (!json_is_array(*list)) {
        json_decref(*list);
        return hai_runtime_fail(e, HAI_RUNTIME_UNREACHABLE,
                                "the runtime's list is not one");
    }

    return 0;
}

static bool container_path(char *path, size_t size, const char *name,
                           const char *rest) {
    size_t len;

    snprintf(path, size, API "/containers/");
    if (!hai_text_escape(path, size, name)) {
        return false;
    }

    len = strlen(path);

    return (size_t) snprintf(path + len, size - len, "%s", rest) < size - len;
}

static int on_id(struct hai_docker *s, const char *method, const char *id,
                 const char *rest, const json_t *body, long timeout_ms,
                 json_t **reply, struct hai_runtime_error *e) {
    char path[PATH_SIZE];

    if (!container_path(path, sizeof(path), id, rest)) {
        return hai_runtime_fail(e, HAI_RUNTIME_INVALID, "too long a name");
    }

    return hai_docker_request(s, method, path, body, timeout_ms, reply, e);
}

const json_t *hai_docker_at(const json_t *object, const char *a,
                            const char *b) {
    return json_object_get(json_object_get(object, a), b);
}

/* "/name" */
static const char *name_of(const json_t *inspected) {
    const char *name = hai_connector_text(inspected, "Name");

    return *name == '/' ? name + 1 : name;
}

int hai_docker_inspect(struct hai_docker *s, const char *name,
                       json_t **inspected, struct hai_runtime_error *e) {
    *inspected = NULL;

    if (on_id(s, "GET", name, "/json", NULL, LOOK_MS, inspected, e) != 0) {
        return -1;
    }

    if (strcmp(name_of(*inspected), name) != 0
        || *hai_connector_text(*inspected, "Id") == '\0')
    {
        json_decref(*inspected);
        return hai_runtime_fail(e, HAI_RUNTIME_NOT_FOUND,
                                "no such container: %s", name);
    }

    return 0;
}

int hai_docker_on_container(struct hai_docker *s, const char *method,
                            const char *name, const char *rest, long timeout_ms,
                            struct hai_runtime_error *e) {
    json_t *inspected = NULL;
    int rc;

    if (hai_docker_inspect(s, name, &inspected, e) != 0) {
        return -1;
    }

    rc = on_id(s, method, hai_connector_text(inspected, "Id"), rest, NULL,
               timeout_ms, NULL, e);
    json_decref(inspected);

    return rc;
}

/* The labels of an image; *labels may be NULL then. */
static int image_labels(struct hai_docker *s, const char *image,
                        json_t **labels, struct hai_runtime_error *e) {
    char path[PATH_SIZE] = API "/images/";
    json_t *inspected = NULL;

    *labels = NULL;

    if (!hai_text_escape(path, sizeof(path) - sizeof("/json"), image)) {
        return hai_runtime_fail(e, HAI_RUNTIME_INVALID,
                                "too long a name of an image");
    }
    snprintf(path + strlen(path), sizeof(path) - strlen(path), "/json");

    if (hai_docker_request(s, "GET", path, NULL, LOOK_MS, &inspected, e) != 0) {
        return -1;
    }

    *labels =
        json_incref((json_t *) hai_docker_at(inspected, "Config", "Labels"));
    json_decref(inspected);

    return 0;
}

/* --- what there is --------------------------------------------------------- */

static const char *status_of(const json_t *inspected) {
    const char *text =
        json_string_value(hai_docker_at(inspected, "State", "Status"));

    if (text != NULL && strcmp(text, "running") == 0) {
        return "running";
    }

    return text != NULL && strcmp(text, "paused") == 0 ? "paused" : "stopped";
}

static int read_networks(const json_t *inspected, pid_t pid,
                         struct hai_instance *one) {
    const json_t *networks =
        hai_docker_at(inspected, "NetworkSettings", "Networks");
    const json_t *network;
    const char *name;
    char interface[64];

    one->addresses = strdup("");
    one->mac = strdup("");
    one->host_interface = strdup("");

    json_object_foreach((json_t *) networks, name, network) {
        const char *mac = hai_connector_text(network, "MacAddress");

        if (one->addresses != NULL) {
            one->addresses = hai_connector_add(
                one->addresses, hai_connector_text(network, "IPAddress"));
        }
        if (one->addresses != NULL) {
            one->addresses = hai_connector_add(
                one->addresses,
                hai_connector_text(network, "GlobalIPv6Address"));
        }
        if (one->mac != NULL) {
            one->mac = hai_connector_add(one->mac, mac);
        }
        if (one->host_interface != NULL && one->host_interface[0] == '\0'
            && hai_process_interface(pid, mac, interface, sizeof(interface)))
        {
            one->host_interface =
                hai_connector_add(one->host_interface, interface);
        }
    }

    return one->addresses != NULL && one->mac != NULL
                   && one->host_interface != NULL
               ? 0
               : -1;
}

/* The image that was asked for last: neighbours often have the same one. */
struct image {
    char *id;
    json_t *labels;
};

static void image_free(struct image *image) {
    free(image->id);
    json_decref(image->labels);
}

/* Made here, with the container's own labels.  What podman puts before the
 * name of such an image is nobody else's to publish. */
static bool is_restored(const char *image) {
    static const char *const before[] = {"", "localhost/",
                                         "docker.io/library/"};

    for (size_t i = 0; i < sizeof(before) / sizeof(*before); i++) {
        size_t n = strlen(before[i]);

        if (strncmp(image, before[i], n) == 0
            && strncmp(image + n, RESTORED ":", sizeof(RESTORED)) == 0)
        {
            return true;
        }
    }

    return false;
}

/* What was said of this container and not of its image; the caller frees it.
 * NULL with *e where that cannot be known now. */
static json_t *own_labels(struct hai_docker *s, const json_t *inspected,
                          struct image *image, struct hai_runtime_error *e) {
    static const char *const names[] = {"hoody.ai", "hoody.id", "hoody.project",
                                        "hoody.tags"};
    const json_t *labels = hai_docker_at(inspected, "Config", "Labels");
    const char *id = hai_connector_text(inspected, "Image");
    json_t *own = json_object();
    bool known = true;

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        json_t *label = json_object_get(labels, names[i]);

        if (json_is_string(label)) {
            json_object_set(own, names[i], label);
        }
    }

    if (own == NULL) {
        hai_runtime_fail(e, HAI_RUNTIME_MEMORY, "no memory");
        return NULL;
    }

    if (json_object_size(own) == 0
        || is_restored(
            hai_connector_text(json_object_get(inspected, "Config"), "Image")))
    {
        return own;
    }

    if (image->id == NULL || strcmp(image->id, id) != 0) {
        image_free(image);
        *image = (struct image){.id = strdup(id)};

        if (image_labels(s, id, &image->labels, e) != 0) {
            free(image->id);
            image->id = NULL;

            if (e->kind == HAI_RUNTIME_UNREACHABLE
                || e->kind == HAI_RUNTIME_MEMORY) {
                json_decref(own);
                return NULL;
            }
            known = false; /* an image that was removed */
        }
    }

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        const json_t *label = json_object_get(own, names[i]);

        if (label != NULL
            && (!known
                || json_equal(label, json_object_get(image->labels, names[i]))))
        {
            json_object_del(own, names[i]);
        }
    }

    return own;
}

/* The name of which this one is the rest of a restore; NULL: of none. */
static int read_aside(struct hai_instance *one) {
    size_t len = strlen(one->name), n = sizeof(ASIDE) - 1;

    if (len > n && strcmp(one->name + len - n, ASIDE) == 0) {
        one->aside_of = strndup(one->name, len - n);
        return one->aside_of != NULL ? 0 : -1;
    }

    return 0;
}

static int read_instance(struct hai_docker *s, const json_t *inspected,
                         struct image *image, struct hai_instance *one,
                         struct hai_runtime_error *e) {
    const char *mode = json_string_value(
        hai_docker_at(inspected, "HostConfig", "NetworkMode"));
    const char *id = hai_connector_text(inspected, "Id");
    pid_t pid =
        (pid_t) json_integer_value(hai_docker_at(inspected, "State", "Pid"));
    json_t *labels = own_labels(s, inspected, image, e);
    int rc;

    if (labels == NULL) {
        return -1;
    }

    one->name = strdup(name_of(inspected));
    one->id = strdup(id);
    one->status = status_of(inspected);
    one->image = strdup(
        hai_connector_text(json_object_get(inspected, "Config"), "Image"));
    one->cgroup = hai_process_cgroup(pid, id);
    one->hoody_id = strdup(hai_connector_text(labels, "hoody.id"));
    one->project_id = strdup(hai_connector_text(labels, "hoody.project"));
    one->tags = strdup(hai_connector_text(labels, "hoody.tags"));
    one->ai = hai_connector_label(labels, "hoody.ai");
    one->host_network = mode != NULL && strcmp(mode, "host") == 0;
    json_decref(labels);

    rc = read_networks(inspected, pid, one);

    if (rc != 0 || one->name == NULL || one->id == NULL || one->image == NULL
        || one->cgroup == NULL || one->hoody_id == NULL
        || one->project_id == NULL || one->tags == NULL || read_aside(one) != 0)
    {
        hai_instance_free(one);
        return hai_runtime_fail(e, HAI_RUNTIME_MEMORY, "no memory");
    }

    return 0;
}

static int dk_get(void *state, const char *name, struct hai_instance *one,
                  struct hai_runtime_error *e) {
    struct image image = {0};
    json_t *inspected = NULL;
    int rc;

    *one = (struct hai_instance){0};

    if (hai_docker_inspect(state, name, &inspected, e) != 0) {
        return -1;
    }

    rc = read_instance(state, inspected, &image, one, e);
    json_decref(inspected);
    image_free(&image);

    return rc;
}

/* One that the runtime lists and cannot describe: it is there, and nobody is
 * admitted as it. */
static int broken(const json_t *item, struct hai_instance *one,
                  struct hai_runtime_error *e) {
    const char *name =
        json_string_value(json_array_get(json_object_get(item, "Names"), 0));

    if (name == NULL) {
        name = "";
    }

    *one = (struct hai_instance){
        .name = strdup(*name == '/' ? name + 1 : name),
        .id = strdup(hai_connector_text(item, "Id")),
        .status = "failed",
        .addresses = strdup(""),
        .mac = strdup(""),
        .host_interface = strdup(""),
        .cgroup = strdup(""),
        .image = strdup(hai_connector_text(item, "Image")),
        .hoody_id = strdup(""),
        .project_id = strdup(""),
        .tags = strdup(""),
        .ai = -1,
    };

    if (one->name == NULL || one->id == NULL || one->addresses == NULL
        || one->mac == NULL || one->host_interface == NULL
        || one->cgroup == NULL || one->image == NULL || one->hoody_id == NULL
        || one->project_id == NULL || one->tags == NULL)
    {
        hai_instance_free(one);
        return hai_runtime_fail(e, HAI_RUNTIME_MEMORY, "no memory");
    }

    return 0;
}

/* One of the list. */
static int look(struct hai_docker *s, const json_t *item, struct image *image,
                struct hai_instance *one, struct hai_runtime_error *e) {
    json_t *inspected = NULL;
    int rc;

    if (on_id(s, "GET", hai_connector_text(item, "Id"), "/json", NULL, LOOK_MS,
              &inspected, e)
        != 0)
    {
        return e->kind == HAI_RUNTIME_REFUSED ? broken(item, one, e) : -1;
    }

    rc = json_is_object(inspected) ? read_instance(s, inspected, image, one, e)
                                   : broken(item, one, e);
    json_decref(inspected);

    return rc;
}

/* Has the new container of a restore been started?  Then the restore was only
 * not told to end the old one.  1, 0, or -1. */
static int was_started(struct hai_docker *s, const char *name) {
    static const char never[] = "0001-01-01T";
    struct hai_runtime_error ignored;
    json_t *inspected;
    const char *text;
    int started;

    if (hai_docker_inspect(s, name, &inspected, &ignored) != 0) {
        return -1;
    }

    text = json_string_value(hai_docker_at(inspected, "State", "StartedAt"));
    started = text == NULL ? -1 : strncmp(text, never, sizeof(never) - 1) != 0;
    json_decref(inspected);

    return started;
}

static int dk_settle(void *state, const char *name,
                     struct hai_runtime_error *e) {
    struct hai_docker *s = state;
    char aside[HAI_NAME_MAX + 32];
    struct hai_instance old, new;
    int started;

    snprintf(aside, sizeof(aside), "%.*s" ASIDE, HAI_NAME_MAX, name);

    /* since the list was made the restore may have ended by itself */
    if (dk_get(s, aside, &old, e) != 0) {
        return -1;
    }
    hai_instance_free(&old);

    if (dk_get(s, name, &new, e) == 0) {
        started = is_restored(new.image) ? was_started(s, name) : -1;
        hai_instance_free(&new);

        if (started == 1) {
            return hai_docker_on_container(s, "DELETE", aside, "?force=true",
                                           CHANGE_MS, e);
        }

        if (started != 0) {
            return hai_runtime_fail(e, HAI_RUNTIME_CONFLICT,
                                    "%s is another one by now", name);
        }

        if (hai_docker_on_container(s, "DELETE", name, "?force=true&v=true",
                                    CHANGE_MS, e)
            != 0)
        {
            return -1;
        }

    } else if (e->kind != HAI_RUNTIME_NOT_FOUND) {
        return -1;
    }

    return hai_docker_rename(s, aside, name, e);
}

static int dk_list(void *state, struct hai_instances *all,
                   struct hai_runtime_error *e) {
    struct image image = {0};
    json_t *list = NULL, *item;
    size_t i;
    int rc = 0;

    if (hai_docker_request_list(state, API "/containers/json?all=true", &list,
                                e)
        != 0)
    {
        return -1;
    }

    all->item = calloc(json_array_size(list) + 1, sizeof(*all->item));
    if (all->item == NULL) {
        json_decref(list);
        return hai_runtime_fail(e, HAI_RUNTIME_MEMORY, "no memory");
    }

    json_array_foreach(list, i, item) {
        rc = look(state, item, &image, &all->item[all->n], e);

        if (rc == 0) {
            all->n++;
        } else if (e->kind == HAI_RUNTIME_NOT_FOUND) {
            rc = 0; /* gone since the list was made */
        } else {
            break;
        }
    }

    json_decref(list);
    image_free(&image);

    if (rc != 0) {
        hai_instances_free(all);
    }

    return rc;
}

/* --- making and ending ----------------------------------------------------- */

static json_t *environment(const json_t *vars) {
    json_t *list = json_array();
    const json_t *value;
    const char *name;

    json_object_foreach((json_t *) vars, name, value) {
        json_array_append_new(
            list, json_sprintf("%s=%s", name, json_string_value(value)));
    }

    return list;
}

int hai_docker_start_new(struct hai_docker *s, const char *name,
                         const json_t *body, struct hai_runtime_error *e) {
    char path[PATH_SIZE] = API "/containers/create?name=";
    struct hai_runtime_error ignored;

    if (!hai_text_escape(path, sizeof(path), name)) {
        return hai_runtime_fail(e, HAI_RUNTIME_INVALID, "too long a name");
    }

    if (hai_docker_request(s, "POST", path, body, CHANGE_MS, NULL, e) != 0) {
        return -1;
    }

    if (hai_docker_on_container(s, "POST", name, "/start", CHANGE_MS, e) != 0) {
        /* one that cannot start is of no use to anybody */
        hai_docker_on_container(s, "DELETE", name, "?force=true&v=true",
                                CHANGE_MS, &ignored);
        return -1;
    }

    return 0;
}

/* A snapshot is its container's alone, by whatever name or id of an image it
 * is asked for. */
static int image_allowed(struct hai_docker *s, const char *image,
                         struct hai_runtime_error *e) {
    json_t *labels;
    bool snapshot;

    if (image_labels(s, image, &labels, e) != 0) {
        return -1;
    }

    snapshot = json_object_get(labels, "hoody.snapshot.of") != NULL;
    json_decref(labels);

    return snapshot ? hai_runtime_fail(e, HAI_RUNTIME_NOT_FOUND,
                                       "no such image: %s", image)
                    : 0;
}

static int dk_create(void *state, const struct hai_runtime_spec *spec,
                     struct hai_runtime_error *e) {
    struct hai_docker *s = state;
    const char *image = spec->image != NULL ? spec->image : s->image;
    json_t *body;
    int rc;

    if (image == NULL) {
        return hai_runtime_fail(e, HAI_RUNTIME_INVALID,
                                "container_image is missing");
    }

    if (image_allowed(s, image, e) != 0) {
        return -1;
    }

    body = json_pack("{s:s,s:o,s:{s:s,s:s},s:{s:{s:s}}}", "Image", image, "Env",
                     environment(spec->environment), "Labels", "hoody.id",
                     spec->id, "hoody.ai", spec->ai ? "true" : "false",
                     "HostConfig", "RestartPolicy", "Name",
                     spec->autostart ? "unless-stopped" : "no");
    if (body == NULL) {
        return hai_runtime_fail(e, HAI_RUNTIME_MEMORY, "no memory");
    }

    if (s->network != NULL) {
        json_object_set_new(json_object_get(body, "HostConfig"), "NetworkMode",
                            json_string(s->network));
    }

    rc = hai_docker_start_new(s, spec->name, body, e);
    json_decref(body);

    return rc;
}

void hai_docker_drop_image(struct hai_docker *s, const char *image) {
    char path[PATH_SIZE] = API "/images/";
    struct hai_runtime_error ignored;

    if (is_restored(image) && hai_text_escape(path, sizeof(path), image)) {
        hai_docker_request(s, "DELETE", path, NULL, CHANGE_MS, NULL, &ignored);
    }
}

static int dk_remove(void *state, const char *name,
                     struct hai_runtime_error *e) {
    struct hai_instance one;
    int rc;

    if (dk_get(state, name, &one, e) != 0) {
        return -1;
    }

    rc = on_id(state, "DELETE", one.id, "?force=true&v=true", NULL, CHANGE_MS,
               NULL, e);
    if (rc == 0) {
        hai_docker_drop_image(state, one.image);
    }

    hai_instance_free(&one);

    return rc;
}

int hai_docker_rename(void *state, const char *name, const char *new_name,
                      struct hai_runtime_error *e) {
    char rest[PATH_SIZE] = "/rename?name=";

    if (!hai_text_escape(rest, sizeof(rest), new_name)) {
        return hai_runtime_fail(e, HAI_RUNTIME_INVALID, "too long a name");
    }

    return hai_docker_on_container(state, "POST", name, rest, CHANGE_MS, e);
}

static int dk_act(void *state, const char *name, enum hai_runtime_action action,
                  struct hai_runtime_error *e) {
    static const char *const paths[] = {
        [HAI_RUNTIME_START] = "/start",
        [HAI_RUNTIME_STOP] = "/stop?t=10",
        [HAI_RUNTIME_FORCE_STOP] = "/stop?t=0",
        [HAI_RUNTIME_RESTART] = "/restart?t=10",
        [HAI_RUNTIME_PAUSE] = "/pause",
        [HAI_RUNTIME_RESUME] = "/unpause",
    };

    return hai_docker_on_container(state, "POST", name, paths[action],
                                   CHANGE_MS, e);
}

const struct hai_runtime_ops hai_runtime_docker = {
    .name = "docker",
    .open = dk_open,
    .close = dk_close,
    .list = dk_list,
    .get = dk_get,
    .create = dk_create,
    .remove = dk_remove,
    .rename = hai_docker_rename,
    .act = dk_act,
    .snapshot_list = hai_docker_snapshot_list,
    .snapshot_create = hai_docker_snapshot_create,
    .snapshot_restore = hai_docker_snapshot_restore,
    .snapshot_delete = hai_docker_snapshot_delete,
    .settle = dk_settle,
    .wait = hai_docker_wait,
};
