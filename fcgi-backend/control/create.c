/*
 * Containers are made: the registry says so first, then the runtime makes it,
 * then the registry says what it is.  See handlers.h.
 */

#include "auth.h"
#include "handlers.h"
#include "locks.h"
#include "runtime.h"
#include "sync.h"
#include "view.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

static bool random_hex(char *text, size_t digits) {
    unsigned char bytes[12];

    if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
        return false;
    }

    for (size_t i = 0; i < digits; i++) {
        text[i] = "0123456789abcdef"[bytes[i / 2] >> (i % 2 * 4) & 15];
    }
    text[digits] = '\0';

    return true;
}

/* The registry knows it, and admits nobody yet. */
static enum hai_write_error register_new(struct hai_call *call,
                                         const struct hai_change_request *new,
                                         struct hai_write_result *result) {
    bool runtime = call->control->runtime != NULL;
    struct hai_write_options how = {.now_ms = call->now_ms};
    struct hai_container c = new->container;

    c.name = new->name;
    c.id = call->container_id;
    c.project_id = call->project_id;
    c.status = runtime ? "creating" : "running";
    c.ai = runtime ? HAI_AI_OFF
                   : (!new->has_ai || new->ai ? HAI_AI_ON : HAI_AI_OFF);

    return hai_registry_create(call->writer, &c, &how, result);
}

static bool is(const struct hai_container_read *read, const char *field,
               const char *text) {
    const char *value = hai_registry_read_field(read, field, NULL);

    return strcmp(value != NULL ? value : "", text) == 0;
}

/*
 * The name is taken.  By one of the same project that could not be made, and
 * of which the runtime has nothing: that one goes.  id: which one it was.
 */
static bool make_way(struct hai_call *call, const char *name, char id[25]) {
    struct hai_write_options how = {.now_ms = call->now_ms};
    struct hai_container_read read;
    struct hai_write_result result;
    struct hai_runtime_error e;
    struct hai_instance one;
    const char *old;
    bool gone = false;

    if (hai_registry_read(call->writer, name, &read, &result) != HAI_WRITE_OK) {
        return false;
    }

    old = hai_registry_read_field(&read, "id", NULL);

    if (old != NULL && is(&read, "status", "failed") && is(&read, "runtime", "")
        && is(&read, "project_id", call->project_id))
    {
        if (hai_runtime_get(call->control->runtime, name, &one, &e) == 0) {
            hai_instance_free(&one);
        } else {
            gone = e.kind == HAI_RUNTIME_NOT_FOUND;
        }
    }

    if (gone) {
        hai_remember(call, name, &read);
        snprintf(id, 25, "%s", old);
        how.if_version = read.version;
        gone = hai_registry_delete(call->writer, name, &how, &result)
                   == HAI_WRITE_OK
               && result.changed;
    }

    hai_registry_read_free(&read);

    return gone;
}

/* The one that has made way was still under way at the runtime. */
static bool came_late(struct hai_call *call, const char *name, const char *id) {
    struct hai_runtime *rt = call->control->runtime;
    struct hai_runtime_error e;
    struct hai_instance one;
    bool late;

    if (*id == '\0' || hai_runtime_get(rt, name, &one, &e) != 0) {
        return false;
    }

    late = strcmp(one.hoody_id, id) == 0;
    hai_instance_free(&one);

    return late && hai_runtime_delete(rt, name, &e) == 0;
}

/* The runtime has it; now the registry says what it is.  version: as it was
 * made; instead: the id of the one that has made way, or "". */
static int finish_create(struct hai_call *call,
                         const struct hai_change_request *new, uint64_t version,
                         const char *instead) {
    struct hai_runtime *rt = call->control->runtime;
    struct hai_runtime_spec spec = {
        .name = new->name,
        .id = call->container_id,
        .image =
            json_string_value(json_object_get(call->body, "container_image")),
        .environment = json_object_get(call->body, "environment_vars"),
        .autostart = json_is_true(json_object_get(call->body, "autostart")),
        .ai = !new->has_ai || new->ai,
    };
    struct hai_write_options how = {.now_ms = call->now_ms};
    struct hai_write_result result;
    struct hai_runtime_error e;
    int rc = hai_runtime_create(rt, &spec, &e);

    if (rc != 0 && came_late(call, new->name, instead)) {
        rc = hai_runtime_create(rt, &spec, &e);
    }

    if (rc != 0) {
        const struct hai_container_field more[] = {{HAI_SYNC_AI_WANTED, "", 0},
                                                   {HAI_SYNC_MAKER, "", 0}};
        struct hai_container failed = {
            .name = new->name, .status = "failed", .more = more, .n_more = 2};

        hai_registry_update(call->writer, &failed, &how, &result);
        return hai_fail_runtime(call, &e);
    }

    return hai_sync_one(call->control->sync, call->writer, new->name,
                        spec.ai ? HAI_AI_ON : HAI_AI_OFF, version, &result)
                   == HAI_WRITE_OK
               ? 0
               : hai_fail_write(call, &result);
}

/* Its name is locked. */
static int create(struct hai_call *call, struct hai_change_request *new) {
    const char *maker = hai_locks_mark(call->control->locks);
    bool runtime = call->control->runtime != NULL;
    struct hai_write_result result;
    char instead[25] = "";

    if (runtime) { /* who looks after it should this process die */
        new->more[new->container.n_more++] =
            (struct hai_container_field){HAI_SYNC_MAKER, maker, strlen(maker)};
    }

    if (register_new(call, new, &result) == HAI_WRITE_EXISTS && runtime
        && make_way(call, new->name, instead))
    {
        register_new(call, new, &result);
    }

    if (result.error != HAI_WRITE_OK) {
        return hai_fail_write(call, &result);
    }

    return runtime ? finish_create(call, new, result.version, instead) : 0;
}

int hai_containers_create(struct hai_call *call) {
    struct hai_control *control = call->control;
    struct hai_change_request change;
    char random[13];
    int rc;

    if (hai_find_project(call, HAI_RIGHT_WRITE) != 0 || hai_can_make(call) != 0
        || hai_wait_begin(call) != 0)
    {
        return -1;
    }

    if (hai_view_parse(call, true, &change) != 0) {
        hai_change_request_free(&change);
        return -1;
    }

    if (!random_hex(call->container_id, 24) || !random_hex(random + 2, 10)) {
        hai_change_request_free(&change);
        return hai_fail(call, 500, "no random bytes");
    }

    if (hai_may_set(
            call, &change.container,
            control->runtime != NULL ? hai_runtime_name(control->runtime) : "")
        != 0)
    {
        hai_change_request_free(&change);
        return -1;
    }

    if (change.name == NULL) {
        random[0] = 'c';
        random[1] = '-';
        change.name = random;
    }

    snprintf(call->container, sizeof(call->container), "%s", change.name);

    if (!hai_lock_name(call, change.name)) {
        hai_change_request_free(&change);
        return hai_fail(call, 409, "The name is in use just now");
    }

    rc = create(call, &change);
    hai_unlock(control->locks, change.name);

    if (rc == 0) {
        rc = hai_show(call, 201, "Container created successfully");
    }

    hai_change_request_free(&change);

    return rc;
}
