/*
 * Before an operation touches the runtime: the container is nobody else's
 * meanwhile, and the runtime's instance of its name is really it.  See
 * handlers.h.
 */

#include "handlers.h"
#include "locks.h"
#include "runtime.h"

#include <hai_identity.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TRIES 100
#define RENAMES 100  /* while a call waits for the lock */
#define LOCK_MS 5000 /* for others to end */

static int busy(struct hai_call *call, const char *code) {
    call->retry_after = 2;

    return hai_fail_code(call, 409, code, NULL,
                         "Another operation on the container is under way");
}

bool hai_lock_name(struct hai_call *call, const char *name) {
    struct hai_lock_table *locks = call->control->locks;

    /* whoever has it may be waiting for the runtime */
    return hai_lock(locks, name, 0)
           || (hai_wait_begin(call) == 0 && hai_lock(locks, name, LOCK_MS));
}

int hai_lock_container(struct hai_call *call, const char *code, char *name,
                       struct hai_container_read *read) {
    struct hai_lock_table *locks = call->control->locks;
    char was[HAI_NAME_MAX + 1];

    if (hai_find_container(call, 3, HAI_RIGHT_WRITE, was, read) != 0) {
        return -1;
    }

    for (unsigned i = 0; i < RENAMES; i++) {
        hai_registry_read_free(read);

        if (!hai_lock_name(call, was)) {
            break;
        }

        /* while this one waited, another one may have got the name */
        if (hai_find_container(call, 3, HAI_RIGHT_WRITE, name, read) != 0) {
            hai_unlock(locks, was);
            return -1;
        }

        if (strcmp(name, was) == 0) {
            return 0;
        }

        hai_unlock(locks, was);
        snprintf(was, sizeof(was), "%s", name);
    }

    hai_registry_read_free(read);

    return busy(call, code);
}

int hai_fail_change(struct hai_call *call, struct hai_write_result *result) {
    if (result->error == HAI_WRITE_NOT_FOUND || result->error == HAI_WRITE_OK) {
        result->error = HAI_WRITE_CONFLICT;
    }

    return hai_fail_write(call, result);
}

bool hai_again(struct hai_call *call, unsigned *tries) {
    /* not all at the same moments */
    struct timespec pause = {.tv_nsec =
                                 1000000 + (long) (random() % 5000) * 1000};

    if (call->status != 412 || *hai_call_param(call, "HTTP_IF_MATCH") != '\0') {
        return false;
    }

    json_decref(call->data);
    json_decref(call->before);
    call->data = NULL;
    call->before = NULL;
    call->error[0] = '\0';

    if (++*tries == TRIES) {
        busy(call, "container_finalizing");
        return false;
    }

    nanosleep(&pause, NULL);

    return true;
}

int hai_find_instance(struct hai_call *call, const char *name,
                      const struct hai_container_read *read, bool *there) {
    struct hai_runtime *rt = call->control->runtime;
    const char *runtime = hai_registry_read_field(read, "runtime", NULL);
    struct hai_runtime_error e;
    struct hai_instance one;
    bool own;

    /* the connector has found it under this name */
    *there = true;
    if (runtime != NULL && strcmp(runtime, hai_runtime_name(rt)) == 0) {
        return 0;
    }

    if (hai_runtime_get(rt, name, &one, &e) != 0) {
        *there = false;
        return e.kind == HAI_RUNTIME_NOT_FOUND
                       || e.kind == HAI_RUNTIME_UNSUPPORTED
                   ? 0
                   : hai_fail_runtime(call, &e);
    }

    own = strcmp(one.hoody_id, call->container_id) == 0;
    hai_instance_free(&one);

    return own ? 0
               : hai_fail(call, 409,
                          "The runtime's instance of this name is another "
                          "container");
}

int hai_need_instance(struct hai_call *call, const char *name,
                      const struct hai_container_read *read) {
    bool there;

    if (hai_find_instance(call, name, read, &there) != 0) {
        return -1;
    }

    return there ? 0 : hai_fail(call, 404, "The runtime has no such container");
}
