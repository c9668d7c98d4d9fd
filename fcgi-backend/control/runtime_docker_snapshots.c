/*
 * Snapshots of Docker and Podman.
 *
 * A snapshot is an image made by commit, "hoody-snapshot:<id>-<name>", with
 * the labels hoody.snapshot.of (the registry's id) and hoody.snapshot.name.
 * Restoring replaces the container by a new one of that image with the same
 * configuration; the old one is put aside first and taken back where that
 * fails.  The new one has the image by another tag, "hoody-restored:...", so
 * that the snapshot can be deleted while it runs; that tag goes with it.
 */

#include "runtime_docker.h"

#include "connector.h"

#include "lib/text.h"

#include <ctype.h>
#include <hai_identity.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPO "hoody-snapshot"

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

int hai_docker_snapshot_list(void *state, const char *name, const char *id,
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

    if (hai_docker_request_list(state, path, &list, e) != 0) {
        return -1;
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

int hai_docker_snapshot_create(void *state, const char *name, const char *id,
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

    if (hai_docker_inspect(state, name, &inspected, e) != 0) {
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
    rc = hai_docker_request(state, "POST", path, body, CHANGE_MS, NULL, e);
    json_decref(body);

    return rc;
}

int hai_docker_snapshot_delete(void *state, const char *name, const char *id,
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

    return hai_docker_request(state, "DELETE", path, NULL, CHANGE_MS, NULL, e);
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
    const json_t *networks =
        hai_docker_at(inspected, "NetworkSettings", "Networks");
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
static int tag_restored(struct hai_docker *s, const char *tag,
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

    return hai_docker_request(s, "POST", path, NULL, CHANGE_MS, NULL, e);
}

/* A new container under the name; the old one is back where that fails. */
static int replace(struct hai_docker *s, const char *name, const json_t *body,
                   struct hai_runtime_error *e) {
    char aside[HAI_NAME_MAX + 32];
    struct hai_runtime_error ignored;
    int rc;

    snprintf(aside, sizeof(aside), "%.*s" ASIDE, HAI_NAME_MAX, name);

    rc = hai_docker_on_container(s, "POST", name, "/stop?t=10", CHANGE_MS, e);
    if (rc == 0) {
        rc = hai_docker_rename(s, name, aside, e);
    }

    if (rc == 0) {
        rc = hai_docker_start_new(s, name, body, e);

        if (rc == 0) {
            hai_docker_on_container(s, "DELETE", aside, "?force=true",
                                    CHANGE_MS, &ignored);
        } else {
            hai_docker_rename(s, aside, name, &ignored);
            hai_docker_on_container(s, "POST", name, "/start", CHANGE_MS,
                                    &ignored);
        }
    }

    return rc;
}

int hai_docker_snapshot_restore(void *state, const char *name, const char *id,
                                const char *snapshot,
                                struct hai_runtime_error *e) {
    struct hai_docker *s = state;
    char tag[160], image[192], *old;
    json_t *inspected = NULL, *body;
    int rc;

    if (!image_of(tag, sizeof(tag), id, snapshot)) {
        return hai_runtime_fail(e, HAI_RUNTIME_INVALID, "too long a name");
    }

    if (hai_docker_inspect(s, name, &inspected, e) != 0) {
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
        hai_docker_drop_image(s, old);
    }

    json_decref(body);
    free(old);

    return rc;
}
