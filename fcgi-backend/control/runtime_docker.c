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
 *
 * A snapshot is an image made by commit, "hoody-snapshot:<id>-<name>", with
 * the labels hoody.snapshot.of (the registry's id) and hoody.snapshot.name.
 * Restoring replaces the container by a new one of that image with the same
 * configuration; the old one is put aside first and taken back where that
 * fails.  The new one has the image by another tag, "hoody-restored:...", so
 * that the snapshot can be deleted while it runs; that tag goes with it.
 */

#include "connector.h"
#include "http.h"
#include "process.h"
#include "runtime.h"

#include "lib/text.h"

#include <ctype.h>
#include <hai_identity.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define API "/v1.41"
#define LOOK_MS 10000L   /* for what only looks */
#define CHANGE_MS 60000L /* for what changes something */
#define REPO "hoody-snapshot"
#define RESTORED "hoody-restored"
#define ASIDE ".before-restore" /* a dot: no token can name it */
#define PATH_SIZE 1024

struct state {
    char *socket;
    char *network; /* or NULL: the runtime's default */
    char *image;   /* or NULL */

    /* the stream of events; one thread's */
    CURLM *multi;
    CURL *events;
    bool begun; /* its head has come */
    bool told;  /* and that was said */
    bool happened;

    atomic_uint restoring; /* calls that are in the middle of it */
};

static void events_close(struct state *s) {
    if (s->events != NULL) {
        curl_multi_remove_handle(s->multi, s->events);
        curl_easy_cleanup(s->events);
        s->events = NULL;
    }
    if (s->multi != NULL) {
        curl_multi_cleanup(s->multi);
        s->multi = NULL;
    }
}

static void dk_close(void *state) {
    struct state *s = state;

    events_close(s);
    free(s->socket);
    free(s->network);
    free(s->image);
    free(s);
}

static int dk_open(const char *spec, void **state,
                   struct hai_runtime_error *e) {
    struct state *s = calloc(1, sizeof(*s));

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

/* A status of 2xx and 304 ("it is so already") is right. */
static int request(struct state *s, const char *method, const char *path,
                   const json_t *body, long timeout_ms, json_t **reply,
                   struct hai_runtime_error *e) {
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

static int on_id(struct state *s, const char *method, const char *id,
                 const char *rest, const json_t *body, long timeout_ms,
                 json_t **reply, struct hai_runtime_error *e) {
    char path[PATH_SIZE];

    if (!container_path(path, sizeof(path), id, rest)) {
        return hai_runtime_fail(e, HAI_RUNTIME_INVALID, "too long a name");
    }

    return request(s, method, path, body, timeout_ms, reply, e);
}

static const json_t *at(const json_t *object, const char *a, const char *b) {
    return json_object_get(json_object_get(object, a), b);
}

/* "/name" */
static const char *name_of(const json_t *inspected) {
    const char *name = hai_connector_text(inspected, "Name");

    return *name == '/' ? name + 1 : name;
}

/* The container that has this name, and not one whose id begins so. */
static int inspect(struct state *s, const char *name, json_t **inspected,
                   struct hai_runtime_error *e) {
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

static int on_container(struct state *s, const char *method, const char *name,
                        const char *rest, long timeout_ms,
                        struct hai_runtime_error *e) {
    json_t *inspected = NULL;
    int rc;

    if (inspect(s, name, &inspected, e) != 0) {
        return -1;
    }

    rc = on_id(s, method, hai_connector_text(inspected, "Id"), rest, NULL,
               timeout_ms, NULL, e);
    json_decref(inspected);

    return rc;
}

/* The labels of an image; *labels may be NULL then. */
static int image_labels(struct state *s, const char *image, json_t **labels,
                        struct hai_runtime_error *e) {
    char path[PATH_SIZE] = API "/images/";
    json_t *inspected = NULL;

    *labels = NULL;

    if (!hai_text_escape(path, sizeof(path) - sizeof("/json"), image)) {
        return hai_runtime_fail(e, HAI_RUNTIME_INVALID,
                                "too long a name of an image");
    }
    snprintf(path + strlen(path), sizeof(path) - strlen(path), "/json");

    if (request(s, "GET", path, NULL, LOOK_MS, &inspected, e) != 0) {
        return -1;
    }

    *labels = json_incref((json_t *) at(inspected, "Config", "Labels"));
    json_decref(inspected);

    return 0;
}

/* --- what there is --------------------------------------------------------- */

static const char *status_of(const json_t *inspected) {
    const char *text = json_string_value(at(inspected, "State", "Status"));

    if (text != NULL && strcmp(text, "running") == 0) {
        return "running";
    }

    return text != NULL && strcmp(text, "paused") == 0 ? "paused" : "stopped";
}

static int read_networks(const json_t *inspected, pid_t pid,
                         struct hai_instance *one) {
    const json_t *networks = at(inspected, "NetworkSettings", "Networks");
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
static json_t *own_labels(struct state *s, const json_t *inspected,
                          struct image *image, struct hai_runtime_error *e) {
    static const char *const names[] = {"hoody.ai", "hoody.id", "hoody.project",
                                        "hoody.tags"};
    const json_t *labels = at(inspected, "Config", "Labels");
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

static int read_instance(struct state *s, const json_t *inspected,
                         struct image *image, struct hai_instance *one,
                         struct hai_runtime_error *e) {
    const char *mode =
        json_string_value(at(inspected, "HostConfig", "NetworkMode"));
    const char *id = hai_connector_text(inspected, "Id");
    pid_t pid = (pid_t) json_integer_value(at(inspected, "State", "Pid"));
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
        || one->project_id == NULL || one->tags == NULL)
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

    if (inspect(state, name, &inspected, e) != 0) {
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
static int look(struct state *s, const json_t *item, struct image *image,
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

static int dk_rename(void *state, const char *name, const char *new_name,
                     struct hai_runtime_error *e);

static struct hai_instance *find(const struct hai_instances *all,
                                 const char *name) {
    for (size_t i = 0; i < all->n; i++) {
        if (strcmp(all->item[i].name, name) == 0) {
            return &all->item[i];
        }
    }

    return NULL;
}

/* Has the new container of a restore been started?  Then the restore was only
 * not told to end the old one.  1, 0, or -1. */
static int was_started(struct state *s, const char *name) {
    static const char never[] = "0001-01-01T";
    struct hai_runtime_error ignored;
    json_t *inspected;
    const char *text;
    int started;

    if (inspect(s, name, &inspected, &ignored) != 0) {
        return -1;
    }

    text = json_string_value(at(inspected, "State", "StartedAt"));
    started = text == NULL ? -1 : strncmp(text, never, sizeof(never) - 1) != 0;
    json_decref(inspected);

    return started;
}

/* One that a restore had put aside; name: the one it had.  It gets it back
 * unless somebody has it by now: true, then the text is its own. */
static bool settle(struct state *s, struct hai_instances *all,
                   struct hai_instance *aside, char *name) {
    struct hai_instance *new = find(all, name);
    struct hai_runtime_error ignored;

    if (new != NULL) {
        int started = is_restored(new->image) ? was_started(s, name) : -1;

        if (started == 1) {
            on_container(s, "DELETE", aside->name, "?force=true", CHANGE_MS,
                         &ignored);
        }

        if (started != 0
            || on_container(s, "DELETE", name, "?force=true&v=true", CHANGE_MS,
                            &ignored)
                   != 0)
        {
            return false;
        }
    }

    if (dk_rename(s, aside->name, name, &ignored) != 0) {
        return false;
    }

    free(aside->name);
    aside->name = name;

    if (new != NULL) {
        hai_instance_free(new);
        *new = all->item[--all->n];
    }

    return true;
}

/* What a restore was doing when this program was killed in the middle. */
static void take_back(struct state *s, struct hai_instances *all) {
    for (size_t i = 0; i < all->n; i++) {
        const char *aside = all->item[i].name;
        size_t len = strlen(aside), n = sizeof(ASIDE) - 1;
        char *name;

        if (len <= n || strcmp(aside + len - n, ASIDE) != 0) {
            continue;
        }

        name = strndup(aside, len - n);
        if (name != NULL && !settle(s, all, &all->item[i], name)) {
            free(name);
        }
    }
}

static int dk_list(void *state, struct hai_instances *all,
                   struct hai_runtime_error *e) {
    struct image image = {0};
    json_t *list = NULL, *item;
    size_t i;
    int rc = 0;

    if (request(state, "GET", API "/containers/json?all=true", NULL, LOOK_MS,
                &list, e)
        != 0)
    {
        return -1;
    }

    /* "none" is an answer, something else is not */
    if (!json_is_array(list)) {
        json_decref(list);
        return hai_runtime_fail(e, HAI_RUNTIME_UNREACHABLE,
                                "the runtime's list is not one");
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

    if (rc == 0 && atomic_load(&((struct state *) state)->restoring) == 0) {
        take_back(state, all);
    }

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

static int start_new(struct state *s, const char *name, const json_t *body,
                     struct hai_runtime_error *e) {
    char path[PATH_SIZE] = API "/containers/create?name=";
    struct hai_runtime_error ignored;

    if (!hai_text_escape(path, sizeof(path), name)) {
        return hai_runtime_fail(e, HAI_RUNTIME_INVALID, "too long a name");
    }

    if (request(s, "POST", path, body, CHANGE_MS, NULL, e) != 0) {
        return -1;
    }

    if (on_container(s, "POST", name, "/start", CHANGE_MS, e) != 0) {
        /* one that cannot start is of no use to anybody */
        on_container(s, "DELETE", name, "?force=true&v=true", CHANGE_MS,
                     &ignored);
        return -1;
    }

    return 0;
}

/* A snapshot is its container's alone, by whatever name or id of an image it
 * is asked for. */
static int image_allowed(struct state *s, const char *image,
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
    struct state *s = state;
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

    rc = start_new(s, spec->name, body, e);
    json_decref(body);

    return rc;
}

/* The image of a container that was restored: nobody else's. */
static void drop_image(struct state *s, const char *image) {
    char path[PATH_SIZE] = API "/images/";
    struct hai_runtime_error ignored;

    if (is_restored(image) && hai_text_escape(path, sizeof(path), image)) {
        request(s, "DELETE", path, NULL, CHANGE_MS, NULL, &ignored);
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
        drop_image(state, one.image);
    }

    hai_instance_free(&one);

    return rc;
}

static int dk_rename(void *state, const char *name, const char *new_name,
                     struct hai_runtime_error *e) {
    char rest[PATH_SIZE] = "/rename?name=";

    if (!hai_text_escape(rest, sizeof(rest), new_name)) {
        return hai_runtime_fail(e, HAI_RUNTIME_INVALID, "too long a name");
    }

    return on_container(state, "POST", name, rest, CHANGE_MS, e);
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

    return on_container(state, "POST", name, paths[action], CHANGE_MS, e);
}

/* --- snapshots ------------------------------------------------------------- */

/* A tag: what the registry calls the container, and the snapshot. */
static bool image_of(char *out, size_t size, const char *id,
                     const char *snapshot) {
    int n = snprintf(out, size, "%.24s-%s", id, snapshot);

    return n > 0 && (size_t) n < size;
}

/* Is it there under a snapshot's name?  Podman puts "localhost/" before. */
static bool has_tag(const json_t *image, const char *id, const char *snapshot) {
    const json_t *tags = json_object_get(image, "RepoTags"), *item;
    char tag[192];
    size_t i, n;

    n = (size_t) snprintf(tag, sizeof(tag), REPO ":%.24s-%.100s", id, snapshot);

    json_array_foreach(tags, i, item) {
        const char *text = json_string_value(item);
        size_t len = text != NULL ? strlen(text) : 0;

        if (text != NULL && len >= n && strcmp(text + len - n, tag) == 0
            && (len == n || text[len - n - 1] == '/'))
        {
            return true;
        }
    }

    return false;
}

static int dk_snapshot_list(void *state, const char *name, const char *id,
                            struct hai_runtime_snapshots *all,
                            struct hai_runtime_error *e) {
    char path[PATH_SIZE] = API "/images/json?filters=";
    char filter[128];
    json_t *list = NULL, *item;
    size_t i;

    (void) name;

    snprintf(filter, sizeof(filter),
             "{\"label\":[\"hoody.snapshot.of=%.24s\"]}", id);
    if (!hai_text_escape(path, sizeof(path), filter)) {
        return hai_runtime_fail(e, HAI_RUNTIME_INVALID, "too long an id");
    }

    if (request(state, "GET", path, NULL, LOOK_MS, &list, e) != 0) {
        return -1;
    }

    if (!json_is_array(list)) {
        json_decref(list);
        return hai_runtime_fail(e, HAI_RUNTIME_UNREACHABLE,
                                "the runtime's list is not one");
    }

    all->item = calloc(json_array_size(list) + 1, sizeof(*all->item));
    if (all->item == NULL) {
        json_decref(list);
        return hai_runtime_fail(e, HAI_RUNTIME_MEMORY, "no memory");
    }

    json_array_foreach(list, i, item) {
        const json_t *size = json_object_get(item, "Size");
        const json_t *labels = json_object_get(item, "Labels");
        const char *snapshot =
            hai_connector_text(labels, "hoody.snapshot.name");
        const char *of = hai_connector_text(labels, "hoody.snapshot.of");

        /* one that was deleted may still be the image of a container */
        if (*snapshot == '\0' || strcmp(of, id) != 0
            || !has_tag(item, id, snapshot)) {
            continue;
        }

        all->item[all->n].name = strdup(snapshot);
        all->item[all->n].created_ms =
            json_integer_value(json_object_get(item, "Created")) * 1000;
        all->item[all->n].size =
            json_is_integer(size) ? json_integer_value(size) : -1;
        if (all->item[all->n].name == NULL) {
            json_decref(list);
            hai_runtime_snapshots_free(all);
            return hai_runtime_fail(e, HAI_RUNTIME_MEMORY, "no memory");
        }
        all->n++;
    }

    json_decref(list);

    return 0;
}

/* Adds "&name=value" to a path. */
static bool add_query(char *path, size_t size, const char *name,
                      const char *value) {
    size_t len = strlen(path);
    int n = snprintf(path + len, size - len, "&%s=", name);

    return n > 0 && (size_t) n < size - len
           && hai_text_escape(path, size, value);
}

static int dk_snapshot_create(void *state, const char *name, const char *id,
                              const char *snapshot,
                              struct hai_runtime_error *e) {
    char path[PATH_SIZE] = API "/commit?pause=true&repo=" REPO;
    char tag[160], of[64], named[160];
    json_t *body, *inspected;
    bool fits;
    int rc;

    if (!image_of(tag, sizeof(tag), id, snapshot)) {
        return hai_runtime_fail(e, HAI_RUNTIME_INVALID, "too long a name");
    }

    snprintf(of, sizeof(of), "LABEL hoody.snapshot.of=%.24s", id);
    snprintf(named, sizeof(named), "LABEL hoody.snapshot.name=%.100s",
             snapshot);

    if (inspect(state, name, &inspected, e) != 0) {
        return -1;
    }

    fits = add_query(path, sizeof(path), "container",
                     hai_connector_text(inspected, "Id"))
           && add_query(path, sizeof(path), "tag", tag)
           && add_query(path, sizeof(path), "changes", of)
           && add_query(path, sizeof(path), "changes", named);
    json_decref(inspected);

    if (!fits) {
        return hai_runtime_fail(e, HAI_RUNTIME_INVALID, "too long a name");
    }

    body = json_object();
    rc = request(state, "POST", path, body, CHANGE_MS, NULL, e);
    json_decref(body);

    return rc;
}

static int dk_snapshot_delete(void *state, const char *name, const char *id,
                              const char *snapshot,
                              struct hai_runtime_error *e) {
    char path[PATH_SIZE] = API "/images/";
    char image[192] = REPO ":";

    (void) name;

    if (!image_of(image + strlen(image), sizeof(image) - strlen(image), id,
                  snapshot)
        || !hai_text_escape(path, sizeof(path), image))
    {
        return hai_runtime_fail(e, HAI_RUNTIME_INVALID, "too long a name");
    }

    return request(state, "DELETE", path, NULL, CHANGE_MS, NULL, e);
}

/* Podman shows "RLIMIT_NOFILE" and takes "nofile" only. */
static void name_limits(json_t *host) {
    json_t *limits = json_object_get(host, "Ulimits"), *limit;
    char name[32];
    size_t i, n;

    json_array_foreach(limits, i, limit) {
        const char *was = hai_connector_text(limit, "Name");

        if (strncmp(was, "RLIMIT_", 7) != 0 || strlen(was) >= sizeof(name)) {
            continue;
        }

        for (n = 0; was[7 + n] != '\0'; n++) {
            name[n] = (char) tolower((unsigned char) was[7 + n]);
        }
        name[n] = '\0';

        json_object_set_new(limit, "Name", json_string(name));
    }
}

/* The configuration of a container as one for a new one. */
static json_t *again(const json_t *inspected, const char *image) {
    json_t *body = json_deep_copy(json_object_get(inspected, "Config"));
    json_t *host = json_deep_copy(json_object_get(inspected, "HostConfig"));
    const json_t *networks = at(inspected, "NetworkSettings", "Networks");
    json_t *endpoints = json_object();
    const json_t *network;
    const char *name;

    if (body == NULL || host == NULL || endpoints == NULL) {
        json_decref(body);
        json_decref(host);
        json_decref(endpoints);
        return NULL;
    }

    name_limits(host);

    /* the host's name is made of the id of the old one */
    json_object_del(body, "Hostname");
    json_object_set_new(body, "Image", json_string(image));
    json_object_set_new(body, "HostConfig", host);

    /* where the address was asked for, it is asked for again */
    json_object_foreach((json_t *) networks, name, network) {
        json_t *ipam = json_object_get(network, "IPAMConfig");
        json_t *endpoint = json_object();

        if (json_is_object(ipam) && json_object_size(ipam) > 0) {
            json_object_set(endpoint, "IPAMConfig", ipam);
        }
        json_object_set_new(endpoints, name, endpoint);
        break; /* one network when it is made, in this version of the API */
    }

    if (json_object_size(endpoints) > 0) {
        json_object_set_new(body, "NetworkingConfig",
                            json_pack("{s:o}", "EndpointsConfig", endpoints));
    } else {
        json_decref(endpoints);
    }

    return body;
}

/* The snapshot's image by its other name. */
static int tag_restored(struct state *s, const char *tag,
                        struct hai_runtime_error *e) {
    char path[PATH_SIZE] = API "/images/" REPO "%3A";

    if (!hai_text_escape(path, sizeof(path), tag)
        || strlen(path) + sizeof("/tag?repo=" RESTORED) >= sizeof(path))
    {
        return hai_runtime_fail(e, HAI_RUNTIME_INVALID, "too long a name");
    }

    snprintf(path + strlen(path), sizeof(path) - strlen(path),
             "/tag?repo=" RESTORED);
    if (!add_query(path, sizeof(path), "tag", tag)) {
        return hai_runtime_fail(e, HAI_RUNTIME_INVALID, "too long a name");
    }

    return request(s, "POST", path, NULL, CHANGE_MS, NULL, e);
}

/* A new container under the name; the old one is back where that fails. */
static int replace(struct state *s, const char *name, const json_t *body,
                   struct hai_runtime_error *e) {
    char aside[HAI_NAME_MAX + 32];
    struct hai_runtime_error ignored;
    int rc;

    snprintf(aside, sizeof(aside), "%.*s" ASIDE, HAI_NAME_MAX, name);
    atomic_fetch_add(&s->restoring, 1);

    rc = on_container(s, "POST", name, "/stop?t=10", CHANGE_MS, e);
    if (rc == 0) {
        rc = dk_rename(s, name, aside, e);
    }

    if (rc == 0) {
        rc = start_new(s, name, body, e);

        if (rc == 0) {
            on_container(s, "DELETE", aside, "?force=true", CHANGE_MS,
                         &ignored);
        } else {
            dk_rename(s, aside, name, &ignored);
            on_container(s, "POST", name, "/start", CHANGE_MS, &ignored);
        }
    }

    atomic_fetch_sub(&s->restoring, 1);

    return rc;
}

static int dk_snapshot_restore(void *state, const char *name, const char *id,
                               const char *snapshot,
                               struct hai_runtime_error *e) {
    struct state *s = state;
    char tag[160], image[192], *old;
    json_t *inspected = NULL, *body;
    int rc;

    if (!image_of(tag, sizeof(tag), id, snapshot)) {
        return hai_runtime_fail(e, HAI_RUNTIME_INVALID, "too long a name");
    }

    if (inspect(s, name, &inspected, e) != 0) {
        return -1;
    }

    snprintf(image, sizeof(image), RESTORED ":%s", tag);
    old = strdup(
        hai_connector_text(json_object_get(inspected, "Config"), "Image"));
    body = again(inspected, image);
    json_decref(inspected);

    if (body == NULL || old == NULL) {
        rc = hai_runtime_fail(e, HAI_RUNTIME_MEMORY, "no memory");
    } else {
        rc = tag_restored(s, tag, e);
    }

    if (rc == 0) {
        rc = replace(s, name, body, e);
    }

    if (rc == 0 && strstr(old, image) == NULL) {
        drop_image(s, old);
    }

    json_decref(body);
    free(old);

    return rc;
}

/* --- events ---------------------------------------------------------------- */

/* curl_write_callback has no const */
static size_t on_event(char *data, /* NOLINT(readability-non-const-parameter) */
                       size_t one, size_t n, void *to) {
    struct state *s = to;

    (void) data;
    (void) one;
    s->happened = true;

    return n;
}

static size_t on_head(char *data, size_t one, size_t n, void *to) {
    struct state *s = to;

    (void) one;

    /* "HTTP/1.1 200 OK" */
    if (n > 12 && strncmp(data, "HTTP/", 5) == 0
        && strncmp(data + 8, " 200", 4) == 0)
    {
        s->begun = true;
    }

    return n;
}

static int events_open(struct state *s, struct hai_runtime_error *e) {
    /* {"type":["container","network"]} */
    static const char url[] =
        "http://runtime" API
        "/events?filters=%7B%22type%22%3A%5B%22container%22%2C%22network%22"
        "%5D%7D";

    s->multi = curl_multi_init();
    s->events = curl_easy_init();
    s->begun = false;
    s->told = false;
    s->happened = false;

    if (s->multi == NULL || s->events == NULL) {
        events_close(s);
        return hai_runtime_fail(e, HAI_RUNTIME_MEMORY, "no memory");
    }

    curl_easy_setopt(s->events, CURLOPT_URL, url);
    curl_easy_setopt(s->events, CURLOPT_UNIX_SOCKET_PATH, s->socket);
    curl_easy_setopt(s->events, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(s->events, CURLOPT_PROXY, "");
    curl_easy_setopt(s->events, CURLOPT_CONNECTTIMEOUT_MS, 2000L);
    curl_easy_setopt(s->events, CURLOPT_WRITEFUNCTION, on_event);
    curl_easy_setopt(s->events, CURLOPT_WRITEDATA, s);
    curl_easy_setopt(s->events, CURLOPT_HEADERFUNCTION, on_head);
    curl_easy_setopt(s->events, CURLOPT_HEADERDATA, s);

    if (curl_multi_add_handle(s->multi, s->events) != CURLM_OK) {
        events_close(s);
        return hai_runtime_fail(e, HAI_RUNTIME_MEMORY, "no memory");
    }

    return 0;
}

static int64_t now_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);

    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int dk_wait(void *state, int timeout_ms, const atomic_bool *stop,
                   struct hai_runtime_error *e) {
    struct state *s = state;
    int64_t until = now_ms() + timeout_ms;
    int running;

    if (s->multi == NULL && events_open(s, e) != 0) {
        return -1;
    }

    while (!atomic_load(stop) && now_ms() < until) {
        if (curl_multi_perform(s->multi, &running) != CURLM_OK || running == 0)
        {
            events_close(s);
            return hai_runtime_fail(e, HAI_RUNTIME_UNREACHABLE,
                                    "%s: the stream of events has ended",
                                    s->socket);
        }

        /* what happened before the stream began, nobody told */
        if (s->happened || (s->begun && !s->told)) {
            s->happened = false;
            s->told = s->begun;
            return 1;
        }

        curl_multi_poll(s->multi, NULL, 0, 200, NULL);
    }

    return 0;
}

const struct hai_runtime_ops hai_runtime_docker = {
    .name = "docker",
    .open = dk_open,
    .close = dk_close,
    .list = dk_list,
    .get = dk_get,
    .create = dk_create,
    .remove = dk_remove,
    .rename = dk_rename,
    .act = dk_act,
    .snapshot_list = dk_snapshot_list,
    .snapshot_create = dk_snapshot_create,
    .snapshot_restore = dk_snapshot_restore,
    .snapshot_delete = dk_snapshot_delete,
    .wait = dk_wait,
};
