/* start, stop and so on.  See handlers.h. */

#include "auth.h"
#include "handlers.h"
#include "locks.h"
#include "runtime.h"
#include "sync.h"

#include "lib/log.h"

#include <hai_identity.h>
#include <stdio.h>
#include <string.h>

static const struct operation {
    const char *name;
    enum hai_runtime_action action;
    const char *status; /* afterwards, where there is no runtime to ask */
    const char *done;
} operations[] = {
    {"start", HAI_RUNTIME_START, "running", "Container started successfully"},
    {"stop", HAI_RUNTIME_STOP, "stopped", "Container stopped successfully"},
    {"force-stop", HAI_RUNTIME_FORCE_STOP, "stopped",
     "Container stopped successfully"},
    {"restart", HAI_RUNTIME_RESTART, "running",
     "Container restarted successfully"},
    {"pause", HAI_RUNTIME_PAUSE, "paused", "Container paused successfully"},
    {"resume", HAI_RUNTIME_RESUME, "running", "Container resumed successfully"},
};

int hai_fail_runtime(struct hai_call *call, const struct hai_runtime_error *e) {
    hai_log(HAI_LOG_WARN, "runtime: %s: %s", call->container, e->text);

    switch (e->kind) {
    case HAI_RUNTIME_NOT_FOUND:
        return hai_fail(call, 404, "%s", e->text);

    case HAI_RUNTIME_CONFLICT:
        return hai_fail(call, 409, "%s", e->text);

    case HAI_RUNTIME_UNSUPPORTED:
        return hai_fail(call, 501, "%s", e->text);

    case HAI_RUNTIME_INVALID:
        return hai_fail(call, 400, "%s", e->text);

    case HAI_RUNTIME_REFUSED:
        return hai_fail_code(call, 502, "RUNTIME_REFUSED", NULL, "%s", e->text);

    case HAI_RUNTIME_MEMORY:
        return hai_fail_memory(call);

    case HAI_RUNTIME_UNREACHABLE:
    default:
        call->retry_after = 2;
        return hai_fail_code(call, 503, "RUNTIME_UNAVAILABLE", NULL, "%s",
                             e->text);
    }
}

static const struct operation *find(const char *name) {
    for (size_t i = 0; i < sizeof(operations) / sizeof(*operations); i++) {
        if (strcmp(operations[i].name, name) == 0) {
            return &operations[i];
        }
    }

    return NULL;
}

static int operate(struct hai_call *call, const struct operation *op,
                   const char *name, const struct hai_container_read *read) {
    struct hai_control *control = call->control;
    struct hai_container c = {.name = name, .status = op->status};
    struct hai_write_options how = {.now_ms = call->now_ms,
                                    .if_version = read->version};
    struct hai_write_result result;
    struct hai_runtime_error e;

    if (control->runtime != NULL && hai_need_instance(call, name, read) != 0) {
        return -1;
    }

    /* who is to stop has no access from here on; the runtime may take long */
    if (strcmp(op->status, "running") != 0 || control->runtime == NULL) {
        if (hai_registry_update(call->writer, &c, &how, &result)
            != HAI_WRITE_OK) {
            return hai_fail_change(call, &result);
        }
    }

    if (control->runtime == NULL) {
        return 0;
    }

    if (hai_runtime_act(control->runtime, name, op->action, &e) != 0) {
        /* as it really is; where nobody answers, the next pass asks again */
        if (e.kind == HAI_RUNTIME_UNREACHABLE) {
            hai_sync_wake(control->sync);
        } else {
            hai_sync_one(control->sync, call->writer, name, HAI_AI_KEEP, 0,
                         &result);
        }
        return hai_fail_runtime(call, &e);
    }

    return hai_sync_one(control->sync, call->writer, name, HAI_AI_KEEP, 0,
                        &result)
                   == HAI_WRITE_OK
               ? 0
               : hai_fail_write(call, &result);
}

static int operate_once(struct hai_call *call, const struct operation *op) {
    struct hai_container_read read;
    char name[HAI_NAME_MAX + 1];
    int rc;

    if (hai_wait_begin(call) != 0
        || hai_lock_container(call, "container_finalizing", name, &read) != 0)
    {
        return -1;
    }

    rc = operate(call, op, name, &read);
    hai_registry_read_free(&read);
    hai_unlock(call->control->locks, name);

    return rc;
}

int hai_containers_operate(struct hai_call *call) {
    const struct operation *op = find(call->segment[4]);
    unsigned tries = 0;
    int rc;

    do {
        rc = operate_once(call, op);
    } while (rc != 0 && hai_again(call, &tries));

    if (rc != 0) {
        return -1;
    }

    return hai_ok(call, 200, op->done,
                  json_pack("{s:s,s:s,s:s,s:s,s:s}", "operation", op->name,
                            "container_id", call->container_id, "project_id",
                            call->project_id, "message", op->done, "status",
                            op->status));
}
