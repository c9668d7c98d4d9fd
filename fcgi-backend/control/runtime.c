/* Chooses the connector and calls it, see runtime.h. */

#include "runtime.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct hai_runtime {
    const struct hai_runtime_ops *ops;
    void *state;
};

static const struct hai_runtime_ops *const connectors[] = {
    &hai_runtime_docker, &hai_runtime_incus, &hai_runtime_static};

int hai_runtime_fail(struct hai_runtime_error *e, enum hai_runtime_failure kind,
                     const char *format, ...) {
    va_list args;

    e->kind = kind;

    va_start(args, format);
    vsnprintf(e->text, sizeof(e->text), format, args);
    va_end(args);

    for (char *p = e->text; *p != '\0'; p++) {
        if ((unsigned char) *p < 0x20 || *p == 0x7f) {
            *p = ' ';
        }
    }

    return -1;
}

struct hai_runtime *hai_runtime_open(const char *spec, char *error,
                                     size_t size) {
    size_t len = strcspn(spec, "=");
    struct hai_runtime_error e;
    struct hai_runtime *rt;

    for (size_t i = 0; i < sizeof(connectors) / sizeof(*connectors); i++) {
        const struct hai_runtime_ops *ops = connectors[i];

        if (spec[len] != '=' || strlen(ops->name) != len
            || memcmp(ops->name, spec, len) != 0)
        {
            continue;
        }

        rt = calloc(1, sizeof(*rt));
        if (rt == NULL) {
            snprintf(error, size, "no memory");
            return NULL;
        }

        rt->ops = ops;
        if (ops->open(spec + len + 1, &rt->state, &e) != 0) {
            snprintf(error, size, "%s", e.text);
            free(rt);
            return NULL;
        }

        return rt;
    }

    snprintf(error, size,
             "\"%s\" is none of docker=<socket> (Docker or Podman), "
             "incus=<socket>, static=<file>",
             spec);

    return NULL;
}

void hai_runtime_close(struct hai_runtime *rt) {
    if (rt != NULL) {
        rt->ops->close(rt->state);
        free(rt);
    }
}

const char *hai_runtime_name(const struct hai_runtime *rt) {
    return rt->ops->name;
}

bool hai_runtime_makes(const struct hai_runtime *rt) {
    return rt->ops->create != NULL && rt->ops->remove != NULL;
}

static int unsupported(const struct hai_runtime *rt,
                       struct hai_runtime_error *e) {
    return hai_runtime_fail(e, HAI_RUNTIME_UNSUPPORTED,
                            "the runtime \"%s\" cannot do that", rt->ops->name);
}

/* Calls what the connector has. */
#define CALL(function, ...)                                                    \
    (rt->ops->function != NULL ? rt->ops->function(rt->state, __VA_ARGS__)     \
                               : unsupported(rt, e))

int hai_runtime_list(struct hai_runtime *rt, struct hai_instances *all,
                     struct hai_runtime_error *e) {
    *all = (struct hai_instances){0};

    return CALL(list, all, e);
}

int hai_runtime_get(struct hai_runtime *rt, const char *name,
                    struct hai_instance *one, struct hai_runtime_error *e) {
    *one = (struct hai_instance){0};

    return CALL(get, name, one, e);
}

int hai_runtime_create(struct hai_runtime *rt,
                       const struct hai_runtime_spec *spec,
                       struct hai_runtime_error *e) {
    return CALL(create, spec, e);
}

int hai_runtime_delete(struct hai_runtime *rt, const char *name,
                       struct hai_runtime_error *e) {
    return CALL(remove, name, e);
}

int hai_runtime_rename(struct hai_runtime *rt, const char *name,
                       const char *new_name, struct hai_runtime_error *e) {
    return CALL(rename, name, new_name, e);
}

int hai_runtime_act(struct hai_runtime *rt, const char *name,
                    enum hai_runtime_action action,
                    struct hai_runtime_error *e) {
    return CALL(act, name, action, e);
}

int hai_runtime_snapshot_list(struct hai_runtime *rt, const char *name,
                              const char *id, struct hai_runtime_snapshots *all,
                              struct hai_runtime_error *e) {
    *all = (struct hai_runtime_snapshots){0};

    return CALL(snapshot_list, name, id, all, e);
}

int hai_runtime_snapshot_create(struct hai_runtime *rt, const char *name,
                                const char *id, const char *snapshot,
                                struct hai_runtime_error *e) {
    return CALL(snapshot_create, name, id, snapshot, e);
}

int hai_runtime_snapshot_restore(struct hai_runtime *rt, const char *name,
                                 const char *id, const char *snapshot,
                                 struct hai_runtime_error *e) {
    return CALL(snapshot_restore, name, id, snapshot, e);
}

int hai_runtime_snapshot_delete(struct hai_runtime *rt, const char *name,
                                const char *id, const char *snapshot,
                                struct hai_runtime_error *e) {
    return CALL(snapshot_delete, name, id, snapshot, e);
}

int hai_runtime_settle(struct hai_runtime *rt, const char *name,
                       struct hai_runtime_error *e) {
    return CALL(settle, name, e);
}

int hai_runtime_wait(struct hai_runtime *rt, int timeout_ms,
                     const atomic_bool *stop, struct hai_runtime_error *e) {
    return CALL(wait, timeout_ms, stop, e);
}

void hai_instance_free(struct hai_instance *one) {
    free(one->name);
    free(one->id);
    free(one->addresses);
    free(one->mac);
    free(one->host_interface);
    free(one->cgroup);
    free(one->image);
    free(one->hoody_id);
    free(one->project_id);
    free(one->tags);
    free(one->aside_of);
    *one = (struct hai_instance){0};
}

void hai_instances_free(struct hai_instances *all) {
    for (size_t i = 0; i < all->n; i++) {
        hai_instance_free(&all->item[i]);
    }
    free(all->item);
    *all = (struct hai_instances){0};
}

void hai_runtime_snapshots_free(struct hai_runtime_snapshots *all) {
    for (size_t i = 0; i < all->n; i++) {
        free(all->item[i].name);
    }
    free(all->item);
    *all = (struct hai_runtime_snapshots){0};
}
