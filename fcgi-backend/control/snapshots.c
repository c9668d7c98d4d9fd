/*
 * Snapshots: the runtime keeps them; alias, expiry and last use are beside
 * them in Redis, in the hash ...:snapshots:<container id>.  See handlers.h.
 */

#include "snapshots.h"

#include "auth.h"
#include "handlers.h"
#include "locks.h"
#include "runtime.h"
#include "sync.h"

#include "lib/log.h"
#include "lib/time_text.h"

#include <hai_identity.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ALIAS_MAX 100
#define EXPIRY_MAX 3650 /* days */
#define DAY_MS (24LL * 3600 * 1000)
#define SNAPSHOTS_MAX 32 /* of one container */

/* --- beside them, in Redis ------------------------------------------------ */

static void key_of(const struct hai_registry_writer *w, const char *id,
                   char *key, size_t size) {
    snprintf(key, size, "hoody:{%s}:snapshots:%s", w->server, id);
}

static json_t *read_extra(struct hai_registry_writer *w, const char *id,
                          const char *name) {
    char key[512], error[256];
    json_t *extra = NULL;
    redisReply *reply;

    key_of(w, id, key, sizeof(key));
    reply =
        hai_redis_command(w->c, error, sizeof(error), "HGET %s %s", key, name);

    if (reply != NULL && reply->type == REDIS_REPLY_STRING) {
        extra = json_loadb(reply->str, reply->len, 0, NULL);
    }
    freeReplyObject(reply);

    return json_is_object(extra) ? extra : json_object();
}

static int write_extra(struct hai_call *call, const char *name,
                       const json_t *extra) {
    char *text = json_dumps(extra, JSON_COMPACT);
    char key[512], error[256];
    redisReply *reply;

    if (text == NULL) {
        return hai_fail_memory(call);
    }

    key_of(call->writer, call->container_id, key, sizeof(key));
    reply = hai_redis_command(call->writer->c, error, sizeof(error),
                              "HSET %s %s %s", key, name, text);
    free(text);

    if (reply == NULL) {
        hai_log(HAI_LOG_ERROR, "snapshots: %s", error);
        return hai_fail_code(call, 503, "REGISTRY_UNAVAILABLE", NULL,
                             "The registry cannot be written now");
    }

    freeReplyObject(reply);

    return 0;
}

static void drop_extra(struct hai_registry_writer *w, const char *id,
                       const char *name) {
    char key[512], error[256];

    key_of(w, id, key, sizeof(key));
    freeReplyObject(
        hai_redis_command(w->c, error, sizeof(error), "HDEL %s %s", key, name));
}

/* --- the API's object ------------------------------------------------------ */

static json_t *or_null(const json_t *extra, const char *name) {
    json_t *value = json_object_get(extra, name);

    return value != NULL ? json_incref(value) : json_null();
}

static json_t *show(const struct hai_runtime_snapshot *s, const json_t *extra) {
    char created[HAI_TIME_SIZE];

    hai_time_text(s->created_ms, created);

    return json_pack("{s:s,s:o,s:s,s:o,s:o,s:b,s:o}", "name", s->name, "alias",
                     or_null(extra, "alias"), "created_at", created,
                     "last_used_at", or_null(extra, "last_used_at"),
                     "expires_at", or_null(extra, "expires_at"), "stateful",
                     s->stateful ? 1 : 0, "size",
                     s->size >= 0 ? json_integer(s->size) : json_null());
}

static int need_runtime(struct hai_call *call) {
    return call->control->runtime != NULL
               ? 0
               : hai_fail_code(call, 503, "SNAPSHOT_INVENTORY_UNAVAILABLE",
                               NULL,
                               "This host has no runtime that makes "
                               "snapshots");
}

/* Letters, digits, dots, "-" and "_". */
static bool name_valid(const char *name) {
    size_t n = strlen(name);

    return n > 0 && n <= ALIAS_MAX && name[0] != '.' && name[0] != '-'
           && strspn(name,
                     "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                     "0123456789._-")
                  == n;
}

static const struct hai_runtime_snapshot *
find(const struct hai_runtime_snapshots *all, const char *name) {
    for (size_t i = 0; i < all->n; i++) {
        if (strcmp(all->item[i].name, name) == 0) {
            return &all->item[i];
        }
    }

    return NULL;
}

/* The container of the path, whose name is locked then: nobody else's, and
 * really the runtime's instance. */
static int lock(struct hai_call *call, char *name) {
    struct hai_container_read read;
    int rc;

    if (hai_wait_begin(call) != 0
        || hai_lock_container(call, "SNAPSHOT_OPERATION_IN_PROGRESS", name,
                              &read)
               != 0)
    {
        return -1;
    }

    rc = need_runtime(call);
    if (rc == 0) {
        rc = hai_need_instance(call, name, &read);
    }

    hai_registry_read_free(&read);
    if (rc != 0) {
        hai_unlock(call->control->locks, name);
    }

    return rc;
}

/* Locks the container and finds the snapshot of the path; all has to be freed
 * and the name to be unlocked where this returns 0. */
static int lock_snapshot(struct hai_call *call, char *name,
                         struct hai_runtime_snapshots *all,
                         const struct hai_runtime_snapshot **one) {
    struct hai_runtime_error e;
    int rc = 0;

    *one = NULL;

    if (lock(call, name) != 0) {
        return -1;
    }

    if (hai_runtime_snapshot_list(call->control->runtime, name,
                                  call->container_id, all, &e)
        != 0)
    {
        hai_fail_runtime(call, &e);
        rc = -1;
    } else if ((*one = find(all, call->segment[5])) == NULL) {
        hai_fail(call, 404, "Snapshot not found");
        rc = -1;
    }

    if (rc != 0) {
        hai_runtime_snapshots_free(all);
        hai_unlock(call->control->locks, name);
    }

    return rc;
}

/* --- operations ------------------------------------------------------------ */

int hai_snapshots_list(struct hai_call *call) {
    struct hai_runtime_snapshots all;
    struct hai_container_read read;
    struct hai_runtime_error e;
    char name[HAI_NAME_MAX + 1];
    json_t *list;

    if (hai_find_container(call, 3, HAI_RIGHT_READ, name, &read) != 0) {
        return -1;
    }
    hai_registry_read_free(&read);

    if (need_runtime(call) != 0 || hai_wait_begin(call) != 0) {
        return -1;
    }

    if (hai_runtime_snapshot_list(call->control->runtime, name,
                                  call->container_id, &all, &e)
        != 0)
    {
        return hai_fail_runtime(call, &e);
    }

    list = json_array();
    for (size_t i = 0; i < all.n; i++) {
        json_t *extra =
            read_extra(call->writer, call->container_id, all.item[i].name);

        json_array_append_new(list, show(&all.item[i], extra));
        json_decref(extra);
    }

    hai_runtime_snapshots_free(&all);

    return hai_ok(call, 200, "Snapshots retrieved successfully",
                  json_pack("{s:s,s:s,s:I,s:i,s:o}", "container_id",
                            call->container_id, "project_id", call->project_id,
                            "snapshot_count",
                            (json_int_t) json_array_size(list), "max_snapshots",
                            SNAPSHOTS_MAX, "snapshots", list));
}

/* alias and expiry of a body; the rest is refused. */
static int read_body(struct hai_call *call, json_t *extra) {
    const json_t *value;
    const char *key;
    char text[HAI_TIME_SIZE];

    json_object_foreach(call->body, key, value) {
        if (json_is_null(value)) {
            continue;
        }

        if (strcmp(key, "alias") == 0) {
            size_t len = json_string_length(value);

            if (!json_is_string(value) || len == 0 || len > ALIAS_MAX) {
                return hai_fail(call, 400,
                                "alias: a string of 1 to %d characters",
                                ALIAS_MAX);
            }
            json_object_set(extra, "alias", (json_t *) value);

        } else if (strcmp(key, "expiry") == 0) {
            json_int_t days = json_integer_value(value);

            if (!json_is_integer(value) || days < 1 || days > EXPIRY_MAX) {
                return hai_fail(call, 400, "expiry: whole days, 1 to %d",
                                EXPIRY_MAX);
            }
            hai_time_text(call->now_ms + days * DAY_MS, text);
            json_object_set_new(extra, "expires_at", json_string(text));

        } else {
            return hai_fail(call, 400, "%.64s: there is no such field", key);
        }
    }

    return 0;
}

/* snap-YYYYMMDD-HHMMSS, with a number where that is there already. */
static void new_name(const struct hai_call *call,
                     const struct hai_runtime_snapshots *all, char *name,
                     size_t size) {
    time_t seconds = (time_t) (call->now_ms / 1000);
    char stem[32];
    struct tm tm;

    gmtime_r(&seconds, &tm);
    strftime(stem, sizeof(stem), "snap-%Y%m%d-%H%M%S", &tm);
    snprintf(name, size, "%s", stem);

    for (unsigned i = 2; find(all, name) != NULL; i++) {
        snprintf(name, size, "%s-%u", stem, i);
    }
}

static int create(struct hai_call *call, const char *container, json_t *extra) {
    struct hai_runtime *rt = call->control->runtime;
    const struct hai_runtime_snapshot *made;
    struct hai_runtime_snapshots all;
    struct hai_runtime_error e;
    json_t *snapshot;
    char name[64];

    if (hai_runtime_snapshot_list(rt, container, call->container_id, &all, &e)
        != 0) {
        return hai_fail_runtime(call, &e);
    }

    if (all.n >= SNAPSHOTS_MAX) {
        json_t *data = json_pack(
            "{s:s,s:s,s:s,s:I,s:i}", "field", "snapshots", "container_id",
            call->container_id, "server_id", call->control->server,
            "current_count", (json_int_t) all.n, "limit", SNAPSHOTS_MAX);

        hai_runtime_snapshots_free(&all);
        return hai_fail_code(call, 400, "CONTAINER_SNAPSHOT_LIMIT", data,
                             "The container has %d snapshots already",
                             SNAPSHOTS_MAX);
    }

    new_name(call, &all, name, sizeof(name));
    hai_runtime_snapshots_free(&all);

    /* first what belongs to it: a snapshot without would never expire */
    if (write_extra(call, name, extra) != 0) {
        return -1;
    }

    if (hai_runtime_snapshot_create(rt, container, call->container_id, name, &e)
        != 0)
    {
        drop_extra(call->writer, call->container_id, name);
        return hai_fail_runtime(call, &e);
    }

    if (hai_runtime_snapshot_list(rt, container, call->container_id, &all, &e)
        != 0) {
        return hai_fail_runtime(call, &e);
    }

    made = find(&all, name);
    snapshot = made != NULL ? show(made, extra) : NULL;
    hai_runtime_snapshots_free(&all);

    if (snapshot == NULL) {
        return hai_fail_code(call, 502, "RUNTIME_REFUSED", NULL,
                             "The snapshot is not there");
    }

    call->after = json_pack("{s:s}", "snapshot", name);

    return hai_ok(call, 200, "Snapshot created successfully",
                  json_pack("{s:s,s:s,s:o}", "container_id", call->container_id,
                            "project_id", call->project_id, "snapshot",
                            snapshot));
}

int hai_snapshots_create(struct hai_call *call) {
    char name[HAI_NAME_MAX + 1];
    json_t *extra;
    int rc;

    if (lock(call, name) != 0) {
        return -1;
    }

    extra = json_object();
    rc = extra != NULL ? read_body(call, extra) : hai_fail_memory(call);
    if (rc == 0) {
        rc = create(call, name, extra);
    }

    hai_unlock(call->control->locks, name);
    json_decref(extra);

    return rc;
}

int hai_snapshots_restore(struct hai_call *call) {
    const struct hai_runtime_snapshot *one;
    struct hai_runtime_snapshots all;
    struct hai_write_result result;
    struct hai_runtime_error e;
    char name[HAI_NAME_MAX + 1], now[HAI_TIME_SIZE];
    json_t *extra;
    int rc;

    if (lock_snapshot(call, name, &all, &one) != 0) {
        return -1;
    }

    rc = hai_runtime_snapshot_restore(call->control->runtime, name,
                                      call->container_id, one->name, &e);

    /* addresses and state may be others now, whether it went well or not */
    if (hai_sync_one(call->control->sync, call->writer, name, HAI_AI_KEEP, 0,
                     &result)
        != HAI_WRITE_OK)
    {
        hai_log(HAI_LOG_WARN, "after a restore: %s", result.text);
    }

    hai_unlock(call->control->locks, name);

    if (rc != 0) {
        hai_runtime_snapshots_free(&all);
        return hai_fail_runtime(call, &e);
    }

    hai_time_text(call->now_ms, now);
    extra = read_extra(call->writer, call->container_id, one->name);
    json_object_set_new(extra, "last_used_at", json_string(now));
    write_extra(call, one->name, extra);

    call->after = json_pack("{s:s}", "snapshot", one->name);
    rc = hai_ok(call, 200, "Snapshot restored successfully",
                json_pack("{s:b,s:s,s:o}", "success", 1, "message",
                          "Snapshot restored successfully", "snapshot",
                          show(one, extra)));

    json_decref(extra);
    hai_runtime_snapshots_free(&all);

    return rc;
}

int hai_snapshots_alias(struct hai_call *call) {
    const struct hai_runtime_snapshot *one;
    struct hai_runtime_snapshots all;
    char name[HAI_NAME_MAX + 1];
    json_t *extra, *alias;
    int rc;

    alias = json_object_get(call->body, "alias");
    if (alias == NULL || json_object_size(call->body) != 1
        || !(json_is_null(alias)
             || (json_is_string(alias) && json_string_length(alias) > 0
                 && json_string_length(alias) <= ALIAS_MAX)))
    {
        return hai_fail(call, 400,
                        "alias: a string of 1 to %d characters, or "
                        "null",
                        ALIAS_MAX);
    }

    if (lock_snapshot(call, name, &all, &one) != 0) {
        return -1;
    }

    extra = read_extra(call->writer, call->container_id, one->name);
    json_object_set(extra, "alias", alias);
    rc = write_extra(call, one->name, extra);
    hai_unlock(call->control->locks, name);

    if (rc == 0) {
        rc = hai_ok(call, 200, "Snapshot alias updated successfully",
                    json_pack("{s:s,s:s,s:o}", "container_id",
                              call->container_id, "project_id",
                              call->project_id, "snapshot", show(one, extra)));
    }

    json_decref(extra);
    hai_runtime_snapshots_free(&all);

    return rc;
}

int hai_snapshots_delete(struct hai_call *call) {
    const struct hai_runtime_snapshot *one;
    struct hai_runtime_snapshots all;
    struct hai_runtime_error e;
    char name[HAI_NAME_MAX + 1];
    int rc;

    if (!name_valid(call->segment[5])) {
        return hai_fail(call, 404, "Snapshot not found");
    }

    if (lock_snapshot(call, name, &all, &one) != 0) {
        return -1;
    }

    rc = hai_runtime_snapshot_delete(call->control->runtime, name,
                                     call->container_id, one->name, &e);
    if (rc == 0) {
        drop_extra(call->writer, call->container_id, one->name);
    }

    hai_unlock(call->control->locks, name);

    if (rc != 0) {
        hai_runtime_snapshots_free(&all);
        return hai_fail_runtime(call, &e);
    }

    call->before = json_pack("{s:s}", "snapshot", one->name);
    rc = hai_ok(call, 200, "Snapshot deleted successfully",
                json_pack("{s:s,s:s,s:s}", "container_id", call->container_id,
                          "project_id", call->project_id, "snapshot_name",
                          one->name));
    hai_runtime_snapshots_free(&all);

    return rc;
}

void hai_snapshots_forget(struct hai_registry_writer *w, const char *id) {
    char key[512], error[256];

    key_of(w, id, key, sizeof(key));
    freeReplyObject(
        hai_redis_command(w->c, error, sizeof(error), "DEL %s", key));
}

/* --- what has expired ------------------------------------------------------ */

void hai_snapshots_expire(struct hai_runtime *rt, struct hai_registry_writer *w,
                          const char *name, const char *id, int64_t now_ms) {
    char key[512], error[256];
    redisReply *all;

    key_of(w, id, key, sizeof(key));
    all = hai_redis_command(w->c, error, sizeof(error), "HGETALL %s", key);

    for (size_t i = 0;
         all != NULL && all->type == REDIS_REPLY_ARRAY && i + 1 < all->elements;
         i += 2)
    {
        json_t *extra = json_loadb(all->element[i + 1]->str,
                                   all->element[i + 1]->len, 0, NULL);
        const char *text =
            json_string_value(json_object_get(extra, "expires_at"));
        struct hai_runtime_error e;
        int64_t at;

        if (text != NULL && hai_time_parse(text, &at) && at <= now_ms
            && (hai_runtime_snapshot_delete(rt, name, id, all->element[i]->str,
                                            &e)
                    == 0
                || e.kind == HAI_RUNTIME_NOT_FOUND))
        {
            drop_extra(w, id, all->element[i]->str);
            hai_log(HAI_LOG_INFO, "%s: snapshot %s has expired", name,
                    all->element[i]->str);
        }

        json_decref(extra);
    }

    freeReplyObject(all);
}
