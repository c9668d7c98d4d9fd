/* Containers: get, update, delete.  See handlers.h. */

#include "auth.h"
#include "handlers.h"
#include "locks.h"
#include "runtime.h"
#include "snapshots.h"
#include "sync.h"
#include "view.h"

#include "lib/log.h"

#include <errno.h>
#include <hai_identity.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIND_TRIES 10 /* while it is renamed again and again */
#define NAME_SIZE (HAI_NAME_MAX + 1)

/* --- one ------------------------------------------------------------------- */

static const char *text_of(const struct hai_container_read *read,
                           const char *field) {
    const char *text = hai_registry_read_field(read, field, NULL);

    return text != NULL ? text : "";
}

/* The call's container, by whatever name it has now.  0 with name and *read,
 * which has to be freed; or -1: answered. */
static int read_it(struct hai_call *call, char *name,
                   struct hai_container_read *read) {
    const char *id = call->container_id;
    struct hai_write_result result;

    for (unsigned i = 0; i < FIND_TRIES; i++) {
        if (hai_registry_find_id(call->writer, id, name, &result)
                != HAI_WRITE_OK
            || hai_registry_read(call->writer, name, read, &result)
                   != HAI_WRITE_OK)
        {
            return hai_fail_write(call, &result);
        }

        if (read->exists && strcmp(text_of(read, "id"), id) == 0) {
            return 0;
        }

        /* renamed or deleted between the two */
        hai_registry_read_free(read);
    }

    return hai_fail(call, 404, "Container not found");
}

int hai_find_container(struct hai_call *call, size_t n, enum hai_right right,
                       char *name, struct hai_container_read *read) {
    const char *id = call->segment[n], *project;

    if (!hai_view_id_valid(id)) {
        return hai_fail(call, 400, "The container id is not 24 hex digits");
    }

    snprintf(call->container_id, sizeof(call->container_id), "%s", id);

    if (read_it(call, name, read) != 0) {
        return -1;
    }

    project = text_of(read, "project_id");

    /* nobody that the caller may know of */
    if (!hai_auth_may(call, HAI_RIGHT_READ, project)) {
        hai_registry_read_free(read);
        return hai_fail(call, 404, "Container not found");
    }

    snprintf(call->container, sizeof(call->container), "%s", name);
    snprintf(call->project_id, sizeof(call->project_id), "%s", project);

    if (!hai_auth_may(call, right, project)) {
        hai_registry_read_free(read);
        return hai_fail(call, 403,
                        "The token may not change containers of "
                        "this project");
    }

    return 0;
}

int hai_show(struct hai_call *call, int status, const char *message) {
    struct hai_container_read read;
    char name[NAME_SIZE];
    json_t *object;

    if (read_it(call, name, &read) != 0) {
        return -1;
    }

    object = hai_view_container(call->control, name, &read);
    call->version = read.version;
    hai_registry_read_free(&read);

    if (object == NULL) {
        return hai_fail_memory(call);
    }

    if (call->action != NULL) {
        json_decref(call->after);
        call->after = hai_view_audit(object);
    }

    return hai_ok(call, status, message, object);
}

int hai_containers_get(struct hai_call *call) {
    struct hai_container_read read;
    char name[NAME_SIZE];

    if (hai_find_container(call, 3, HAI_RIGHT_READ, name, &read) != 0) {
        return -1;
    }

    hai_registry_read_free(&read);

    return hai_show(call, 200, "Container retrieved successfully");
}

/* --- of a project ---------------------------------------------------------- */

int hai_find_project(struct hai_call *call, enum hai_right right) {
    const char *id = call->segment[3];

    if (!hai_view_id_valid(id)) {
        return hai_fail(call, 400, "The project id is not 24 hex digits");
    }

    snprintf(call->project_id, sizeof(call->project_id), "%s", id);

    if (!hai_auth_may(call, HAI_RIGHT_READ, id)) {
        return hai_fail(call, 404, "Project not found");
    }

    return hai_auth_may(call, right, id)
               ? 0
               : hai_fail(call, 403,
                          "The token may not change containers of "
                          "this project");
}

int hai_containers_list_project(struct hai_call *call) {
    if (hai_find_project(call, HAI_RIGHT_READ) != 0) {
        return -1;
    }

    return hai_list_answer(call, call->project_id);
}

int hai_can_make(struct hai_call *call) {
    struct hai_runtime *rt = call->control->runtime;

    return rt == NULL || hai_runtime_makes(rt)
               ? 0
               : hai_fail(call, 501,
                          "The runtime \"%s\" cannot make or remove containers",
                          hai_runtime_name(rt));
}

int hai_may_set(struct hai_call *call, const struct hai_container *c,
                const char *runtime) {
    const struct hai_runtime *rt = call->control->runtime;

    if (rt == NULL || strcmp(runtime, hai_runtime_name(rt)) != 0
        || (c->addresses == NULL && c->cgroup == NULL && c->mac == NULL
            && c->host_interface == NULL))
    {
        return 0;
    }

    return hai_fail(call, 400, "%s: the runtime says what it is",
                    c->addresses != NULL ? "addresses"
                    : c->cgroup != NULL  ? "cgroup"
                    : c->mac != NULL     ? "mac"
                                         : "host_interface");
}

/* --- update ---------------------------------------------------------------- */

/* If-Match: the version that the caller has seen; 0: none given. */
static int if_match(struct hai_call *call, uint64_t *version) {
    const char *text = hai_call_param(call, "HTTP_IF_MATCH");
    char *end;

    *version = 0;

    if (*text == '\0' || strcmp(text, "*") == 0) {
        return 0;
    }

    if (*text == '"' && text[1] >= '0' && text[1] <= '9') {
        errno = 0;
        *version = strtoull(text + 1, &end, 10);
        if (errno == 0 && *end == '"' && end[1] == '\0') {
            return 0;
        }
    }

    return hai_fail(call, 400, "If-Match is not an ETag of a container");
}

/* The runtime's name, then the registry's with all else in one step.  Died in
 * between: the reconciler gives the registry the runtime's name. */
static int rename_it(struct hai_call *call, const struct hai_container *c,
                     const char *new_name, const struct hai_write_options *how,
                     const struct hai_container_read *read) {
    struct hai_runtime *rt = call->control->runtime;
    struct hai_write_result result;
    struct hai_runtime_error e;
    bool there = false;

    if (rt != NULL && hai_find_instance(call, c->name, read, &there) != 0) {
        return -1;
    }

    if (there && hai_runtime_rename(rt, c->name, new_name, &e) != 0) {
        return hai_fail_runtime(call, &e);
    }

    if (hai_registry_rename(call->writer, c, new_name, how, &result)
        == HAI_WRITE_OK)
    {
        return 0;
    }

    if (there && hai_runtime_rename(rt, new_name, c->name, &e) != 0) {
        hai_log(HAI_LOG_WARN, "runtime: %s: %s", new_name, e.text);
        hai_sync_wake(call->control->sync);
    }

    return hai_fail_change(call, &result);
}

static int update(struct hai_call *call, const char *name,
                  const struct hai_container_read *read,
                  const struct hai_change_request *change) {
    struct hai_write_options how = {.now_ms = call->now_ms};
    struct hai_container c = change->container;
    struct hai_write_result result;
    int rc;

    if (if_match(call, &how.if_version) != 0
        || hai_may_set(call, &c, text_of(read, "runtime")) != 0)
    {
        return -1;
    }

    if (how.if_version != 0 && how.if_version != read->version) {
        result = (struct hai_write_result){.error = HAI_WRITE_CONFLICT,
                                           .version = read->version};
        return hai_fail_change(call, &result);
    }

    /* what was read is what is changed, not who has the name by then */
    how.if_version = read->version;

    c.name = name;
    c.ai = !change->has_ai ? HAI_AI_KEEP : change->ai ? HAI_AI_ON : HAI_AI_OFF;

    if (change->name == NULL || strcmp(change->name, name) == 0) {
        return hai_registry_update(call->writer, &c, &how, &result)
                       == HAI_WRITE_OK
                   ? 0
                   : hai_fail_change(call, &result);
    }

    /* without waiting: who has it may be waiting for this one's name */
    if (!hai_lock(call->control->locks, change->name, 0)) {
        call->retry_after = 1;
        return hai_fail(call, 409, "The new name is in use just now");
    }

    rc = rename_it(call, &c, change->name, &how, read);
    hai_unlock(call->control->locks, change->name);

    return rc;
}

void hai_remember(struct hai_call *call, const char *name,
                  const struct hai_container_read *read) {
    json_t *before = hai_view_container(call->control, name, read);

    json_decref(call->before);
    call->before = before != NULL ? hai_view_audit(before) : NULL;
    json_decref(before);
}

/* Is AI to be switched off, and nothing else? */
static bool only_ends_ai(const struct hai_call *call) {
    return json_object_size(call->body) == 1
           && json_is_false(json_object_get(call->body, "ai"));
}

/*
 * Taking access away waits for nobody: who has the name locked may be waiting
 * for a runtime that hangs.  So the version alone says that it is still the
 * container that was found.
 */
static int end_ai(struct hai_call *call) {
    const struct hai_container_field off = {HAI_SYNC_AI_WANTED, "off", 3};
    struct hai_write_options how = {.now_ms = call->now_ms};
    struct hai_container_read read;
    struct hai_write_result result;
    char name[NAME_SIZE];
    struct hai_container c = {.name = name, .ai = HAI_AI_OFF, .more = &off};

    if (if_match(call, &how.if_version) != 0
        || hai_find_container(call, 3, HAI_RIGHT_WRITE, name, &read) != 0)
    {
        return -1;
    }

    hai_remember(call, name, &read);

    if (how.if_version == 0) {
        how.if_version = read.version;
    }

    /* where it is off until it is made, the version has to say so */
    c.n_more = strcmp(text_of(&read, "status"), "creating") == 0 ? 1 : 0;
    hai_registry_read_free(&read);

    return hai_registry_update(call->writer, &c, &how, &result) == HAI_WRITE_OK
               ? 0
               : hai_fail_change(call, &result);
}

static int update_once(struct hai_call *call) {
    struct hai_change_request change;
    struct hai_container_read read;
    char name[NAME_SIZE];
    int rc;

    if (only_ends_ai(call)) {
        return end_ai(call);
    }

    /* the runtime has to be told of a new name */
    if ((json_object_get(call->body, "name") != NULL
         && hai_wait_begin(call) != 0)
        || hai_lock_container(call, "container_finalizing", name, &read) != 0)
    {
        return -1;
    }

    hai_remember(call, name, &read);

    rc = hai_view_parse(call, false, &change);
    if (rc == 0) {
        rc = update(call, name, &read, &change);
    }

    hai_registry_read_free(&read);
    hai_unlock(call->control->locks, name);
    hai_change_request_free(&change);

    return rc;
}

int hai_containers_update(struct hai_call *call) {
    unsigned tries = 0;
    int rc;

    do {
        rc = update_once(call);
    } while (rc != 0 && hai_again(call, &tries));

    return rc == 0 ? hai_show(call, 200, "Container updated successfully") : -1;
}

/* --- delete ---------------------------------------------------------------- */

/* Nobody could name them any more. */
static void drop_snapshots(struct hai_call *call, const char *name) {
    struct hai_runtime *rt = call->control->runtime;
    struct hai_runtime_snapshots all;
    struct hai_runtime_error e;

    if (hai_runtime_snapshot_list(rt, name, call->container_id, &all, &e) != 0)
    {
        return; /* with most runtimes they go with the instance */
    }

    for (size_t i = 0; i < all.n; i++) {
        if (hai_runtime_snapshot_delete(rt, name, call->container_id,
                                        all.item[i].name, &e)
            != 0)
        {
            hai_log(HAI_LOG_WARN, "%s: snapshot %s stays: %s", name,
                    all.item[i].name, e.text);
        }
    }

    hai_runtime_snapshots_free(&all);
}

static int delete_it(struct hai_call *call, const char *name,
                     const struct hai_container_read *read) {
    struct hai_container gone = {
        .name = name, .status = "deleting", .ai = HAI_AI_OFF};
    struct hai_write_options how = {.now_ms = call->now_ms,
                                    .if_version = read->version};
    struct hai_write_result result;
    struct hai_runtime_error e;
    bool there;

    if (call->control->runtime != NULL) {
        if (hai_find_instance(call, name, read, &there) != 0) {
            return -1;
        }

        if (hai_registry_update(call->writer, &gone, &how, &result)
            != HAI_WRITE_OK) {
            return hai_fail_change(call, &result);
        }
        how.if_version = result.version;

        /* access has ended, whatever the runtime says */
        if (there && hai_runtime_delete(call->control->runtime, name, &e) != 0
            && e.kind != HAI_RUNTIME_NOT_FOUND)
        {
            return hai_fail_runtime(call, &e);
        }

        drop_snapshots(call, name);
    }

    /* nothing was there: it has another name, or somebody else was first */
    if (hai_registry_delete(call->writer, name, &how, &result) != HAI_WRITE_OK
        || !result.changed)
    {
        return hai_fail_change(call, &result);
    }

    hai_snapshots_forget(call->writer, call->container_id);

    return hai_ok(call, 200, "Container deleted successfully", NULL);
}

static int delete_once(struct hai_call *call) {
    struct hai_container_read read;
    char name[NAME_SIZE];
    int rc;

    if (hai_wait_begin(call) != 0
        || hai_lock_container(call, "container_finalizing", name, &read) != 0)
    {
        return -1;
    }

    hai_remember(call, name, &read);

    rc = hai_can_make(call);
    if (rc == 0) {
        rc = delete_it(call, name, &read);
    }

    hai_registry_read_free(&read);
    hai_unlock(call->control->locks, name);

    return rc;
}

int hai_containers_delete(struct hai_call *call) {
    unsigned tries = 0;
    int rc;

    do {
        rc = delete_once(call);
    } while (rc != 0 && hai_again(call, &tries));

    return rc;
}
