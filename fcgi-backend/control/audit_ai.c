/*
 * Who may use AI, since when, and when it was last used: the registry says
 * who; the two streams say when, as far back as they reach.  Neither is
 * metering: an entry that Redis was not given is not seen here.
 */

#include "auth.h"
#include "handlers.h"

#include "lib/log.h"
#include "lib/time_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES_MAX 100000 /* as many as the streams keep */

struct one {
    const char *id; /* of the object */
    json_t *object;
    bool told; /* what was looked for was found, or cannot be */
};

struct all {
    struct one *item;
    size_t n;
    size_t told;
};

static int by_id(const void *a, const void *b) {
    return strcmp(((const struct one *) a)->id, ((const struct one *) b)->id);
}

static struct one *find(const struct all *all, const char *id) {
    struct one key = {.id = id};

    return id != NULL && all->n > 0
               ? bsearch(&key, all->item, all->n, sizeof(key), by_id)
               : NULL;
}

static void tell(struct all *all, struct one *one, const char *member,
                 json_t *value) {
    one->told = true;
    all->told++;
    json_object_set_new(one->object, member, value);
}

/* --- entries --------------------------------------------------------------- */

static const redisReply *field_of(const redisReply *fields, const char *name) {
    for (size_t i = 0; i + 1 < fields->elements; i += 2) {
        if (fields->element[i]->type == REDIS_REPLY_STRING
            && fields->element[i + 1]->type == REDIS_REPLY_STRING
            && strcmp(fields->element[i]->str, name) == 0)
        {
            return fields->element[i + 1];
        }
    }

    return NULL;
}

/* The newest change of the switch decides.  One that says "off" of what is on
 * now was followed by a change that nobody wrote down. */
static bool look_at_audit(void *data, const redisReply *fields) {
    const redisReply *text = field_of(fields, "entry");
    json_t *entry, *before, *after, *ts;
    struct all *all = data;
    struct one *one;

    if (text == NULL) {
        return true;
    }

    entry = json_loadb(text->str, text->len, 0, NULL);
    before = json_object_get(json_object_get(entry, "before"), "ai");
    after = json_object_get(json_object_get(entry, "after"), "ai");
    ts = json_object_get(entry, "ts");
    one = find(all, json_string_value(json_object_get(entry, "container_id")));

    if (one != NULL && !one->told && json_is_boolean(after)
        && json_is_true(before) != json_is_true(after))
    {
        tell(all, one, "ai_since",
             json_is_true(after) && json_is_string(ts) ? json_incref(ts)
                                                       : json_null());
    }

    json_decref(entry);

    return all->told < all->n;
}

static bool look_at_event(void *data, const redisReply *fields) {
    const redisReply *type = field_of(fields, "type");
    const redisReply *id = field_of(fields, "container_id");
    const redisReply *ts = field_of(fields, "ts");
    char text[HAI_TIME_SIZE];
    struct all *all = data;
    struct one *one;

    if (type == NULL || id == NULL || ts == NULL
        || strcmp(type->str, "request") != 0)
    {
        return true;
    }

    one = find(all, id->str);
    if (one != NULL && !one->told) {
        hai_time_text(strtoll(ts->str, NULL, 10), text);
        tell(all, one, "last_used_at", json_string(text));
    }

    return all->told < all->n;
}

/* --- streams --------------------------------------------------------------- */

/* The newest first, until everything is told.  *since: of the oldest entry
 * that was looked at, 0: there is none.  -1: Redis does not answer. */
static int walk(struct hai_call *call, const char *stream, struct all *all,
                bool (*look)(void *, const redisReply *), int64_t *since) {
    for (size_t i = 0; i < all->n; i++) {
        all->item[i].told = false;
    }
    all->told = 0;
    *since = 0;

    return all->n > 0
               ? hai_stream_walk(call, stream, ENTRIES_MAX, look, all, since)
               : 0;
}

static json_t *time_or_null(int64_t ms) {
    char text[HAI_TIME_SIZE];

    if (ms == 0) {
        return json_null();
    }

    hai_time_text(ms, text);

    return json_string(text);
}

/* --- the operation --------------------------------------------------------- */

static json_t *short_of(const json_t *container) {
    return json_pack(
        "{s:O,s:O,s:O,s:O,s:O,s:n,s:n}", "id", json_object_get(container, "id"),
        "name", json_object_get(container, "name"), "project_id",
        json_object_get(container, "project_id"), "status",
        json_object_get(container, "status"), "ai",
        json_object_get(container, "ai"), "ai_since", "last_used_at");
}

/* Of the containers; list: what is shown of them. */
static int collect(const json_t *containers, json_t *list, struct all *all) {
    json_t *container;
    size_t i;

    all->item = calloc(json_array_size(containers) + 1, sizeof(*all->item));
    if (all->item == NULL) {
        return -1;
    }

    json_array_foreach(containers, i, container) {
        json_t *object = short_of(container);
        const char *id = json_string_value(json_object_get(object, "id"));

        if (object == NULL || json_array_append_new(list, object) != 0) {
            return -1;
        }

        if (id != NULL) {
            all->item[all->n++] = (struct one){.id = id, .object = object};
        }
    }

    if (all->n > 0) {
        qsort(all->item, all->n, sizeof(*all->item), by_id);
    }

    return 0;
}

int hai_audit_ai(struct hai_call *call) {
    json_t *containers, *list = json_array();
    int64_t audit, events;
    struct all all = {0};
    int rc;

    containers = hai_containers_with_ai(call);
    if (containers == NULL) {
        json_decref(list);
        return -1;
    }

    rc = list != NULL ? collect(containers, list, &all) : -1;
    json_decref(containers);

    if (rc != 0) {
        rc = hai_fail_memory(call);
    } else if (walk(call, "audit", &all, look_at_audit, &audit) != 0
               || walk(call, "events", &all, look_at_event, &events) != 0)
    {
        call->retry_after = 1;
        rc = hai_fail_code(call, 503, "REGISTRY_UNAVAILABLE", NULL,
                           "The audit cannot be read now");
    } else {
        rc = hai_ok(call, 200, "Audit retrieved successfully",
                    json_pack("{s:O,s:o,s:o}", "containers", list, "audit_from",
                              time_or_null(audit), "events_from",
                              time_or_null(events)));
    }

    free(all.item);
    json_decref(list);

    return rc;
}
