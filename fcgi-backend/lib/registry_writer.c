/* Writes containers to the registry, see registry_writer.h. */

#include "registry_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS 8 /* words: four options and their values */

static enum hai_write_error refuse(struct hai_write_result *result,
                                   const char *field, const char *text) {
    result->error = HAI_WRITE_INVALID;
    snprintf(result->field, sizeof(result->field), "%s", field);
    snprintf(result->text, sizeof(result->text), "%s: %s", field, text);
    return result->error;
}

static void pair(struct hai_registry_call *call, const char *name,
                 const char *value, size_t len) {
    hai_registry_call_word(call, name, strlen(name));
    hai_registry_call_word(call, value, len);
}

static void number(struct hai_registry_call *call, const char *name, size_t at,
                   uint64_t value) {
    int len;

    if (value != 0) {
        len = snprintf(call->number[at], sizeof(call->number[at]), "%" PRIu64,
                       value);
        pair(call, name, call->number[at], (size_t) len);
    }
}

static int options(struct hai_registry_call *call,
                   const struct hai_write_options *how, char now[24]) {
    int len;

    if (how == NULL) {
        return 0;
    }
    if (how->now_ms < 0) {
        return -1;
    }
    if (how->now_ms > 0) {
        len = snprintf(now, 24, "%" PRId64, how->now_ms);
        pair(call, "@now", now, (size_t) len);
    }
    number(call, "@if_version", 1, how->if_version);
    number(call, "@source_version", 2, how->source_version);
    return 0;
}

static void fields(struct hai_registry_call *call,
                   const struct hai_container *container) {
    const struct {
        const char *name;
        const char *value;
    } known[] = {
        {"id", container->id},
        {"number", container->number},
        {"addresses", container->addresses},
        {"cgroup", container->cgroup},
        {"tags", container->tags},
        {"status", container->status},
        {"mac", container->mac},
        {"host_interface", container->host_interface},
        {"project_id", container->project_id},
    };
    size_t i;

    for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (known[i].value != NULL) {
            pair(call, known[i].name, known[i].value, strlen(known[i].value));
        }
    }
    for (i = 0; i < container->n_more; i++) {
        const struct hai_container_field *f = &container->more[i];

        pair(call, f->name, f->value != NULL ? f->value : "",
             f->value != NULL ? f->len : 0);
    }
    if (container->ai != HAI_AI_KEEP) {
        pair(call, "@enabled", container->ai == HAI_AI_ON ? "1" : "0", 1);
    }
}

static enum hai_write_error send_call(struct hai_registry_writer *w,
                                      const char *function,
                                      const struct hai_container *container,
                                      const char *new_name,
                                      const struct hai_write_options *how,
                                      struct hai_write_result *result) {
    struct hai_registry_call call;
    char now[24];
    size_t i;

    memset(result, 0, sizeof(*result));
    if (container->name == NULL) {
        return refuse(result, "name", "is missing");
    }
    for (i = 0; i < container->n_more; i++) {
        if (container->more[i].name[0] == '@') { /* an option of a call */
            return refuse(result, "@", "no name of a field");
        }
    }
    if (hai_registry_call_begin(&call, w->server, "FCALL", function,
                                container->name, new_name,
                                OPTIONS + 2 * (10 + container->n_more))
        != 0)
    {
        return refuse(result, "name", "too long, or no memory");
    }
    if (options(&call, how, now) != 0) {
        hai_registry_call_free(&call);
        return refuse(result, "@now", "before 1970");
    }
    fields(&call, container);
    if (hai_registry_call_send(w->c, &call) != 0) {
        hai_registry_failed(w->c, NULL, result);
    }
    hai_registry_call_free(&call);
    return result->error;
}

/* {"ok" or "ignored", version, changed} */
static bool take(const redisReply *reply, struct hai_write_result *result) {
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3
        || reply->element[0]->type != REDIS_REPLY_STRING
        || reply->element[1]->type != REDIS_REPLY_STRING
        || reply->element[2]->type != REDIS_REPLY_INTEGER)
    {
        return false;
    }
    result->ignored = strcmp(reply->element[0]->str, "ignored") == 0;
    result->version = strtoull(reply->element[1]->str, NULL, 10);
    result->changed = reply->element[2]->integer == 1;
    return true;
}

enum hai_write_error hai_registry_receive(struct hai_registry_writer *w,
                                          struct hai_write_result *result) {
    void *reply = NULL;

    memset(result, 0, sizeof(*result));
    if (redisGetReply(w->c, &reply) != REDIS_OK || reply == NULL) {
        return hai_registry_failed(w->c, NULL, result);
    }
    if (!take(reply, result)) {
        hai_registry_failed(w->c, reply, result);
    }
    freeReplyObject(reply);
    return result->error;
}

static enum hai_write_error call_write(struct hai_registry_writer *w,
                                       const char *function,
                                       const struct hai_container *container,
                                       const char *new_name,
                                       const struct hai_write_options *how,
                                       struct hai_write_result *result) {
    if (send_call(w, function, container, new_name, how, result)
        != HAI_WRITE_OK) {
        return result->error;
    }
    return hai_registry_receive(w, result);
}

enum hai_write_error hai_registry_create(struct hai_registry_writer *w,
                                         const struct hai_container *container,
                                         const struct hai_write_options *how,
                                         struct hai_write_result *result) {
    return call_write(w, "hoody_ai_create", container, NULL, how, result);
}

enum hai_write_error hai_registry_update(struct hai_registry_writer *w,
                                         const struct hai_container *container,
                                         const struct hai_write_options *how,
                                         struct hai_write_result *result) {
    return call_write(w, "hoody_ai_update", container, NULL, how, result);
}

enum hai_write_error hai_registry_send(struct hai_registry_writer *w,
                                       bool create,
                                       const struct hai_container *container,
                                       const struct hai_write_options *how,
                                       struct hai_write_result *result) {
    return send_call(w, create ? "hoody_ai_create" : "hoody_ai_update",
                     container, NULL, how, result);
}

static enum hai_write_error call_named(struct hai_registry_writer *w,
                                       const char *function, const char *name,
                                       const struct hai_write_options *how,
                                       struct hai_write_result *result) {
    const struct hai_container container = {.name = name};

    return call_write(w, function, &container, NULL, how, result);
}

enum hai_write_error hai_registry_delete(struct hai_registry_writer *w,
                                         const char *name,
                                         const struct hai_write_options *how,
                                         struct hai_write_result *result) {
    return call_named(w, "hoody_ai_delete", name, how, result);
}

enum hai_write_error hai_registry_enable(struct hai_registry_writer *w,
                                         const char *name,
                                         const struct hai_write_options *how,
                                         struct hai_write_result *result) {
    return call_named(w, "hoody_ai_enable", name, how, result);
}

enum hai_write_error hai_registry_disable(struct hai_registry_writer *w,
                                          const char *name,
                                          const struct hai_write_options *how,
                                          struct hai_write_result *result) {
    return call_named(w, "hoody_ai_disable", name, how, result);
}

enum hai_write_error hai_registry_rename(struct hai_registry_writer *w,
                                         const struct hai_container *container,
                                         const char *new_name,
                                         const struct hai_write_options *how,
                                         struct hai_write_result *result) {
    return call_write(w, "hoody_ai_rename", container, new_name, how, result);
}

enum hai_write_error hai_registry_set_addresses(
    struct hai_registry_writer *w, const char *name, const char *addresses,
    const struct hai_write_options *how, struct hai_write_result *result) {
    const struct hai_container container = {.name = name,
                                            .addresses = addresses};

    return call_write(w, "hoody_ai_set_addresses", &container, NULL, how,
                      result);
}

/* {} or {enabled, version, name, value, ...}, all of the latter strings */
static bool take_fields(redisReply *reply, struct hai_container_read *read) {
    size_t i;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements % 2 != 0) {
        return false;
    }
    read->reply = reply;
    if (reply->elements == 0) {
        return true;
    }
    if (reply->element[0]->type != REDIS_REPLY_INTEGER) {
        return false;
    }
    for (i = 1; i < reply->elements; i++) {
        if (reply->element[i]->type != REDIS_REPLY_STRING) {
            return false;
        }
    }
    read->exists = true;
    read->enabled = reply->element[0]->integer == 1;
    read->version = strtoull(reply->element[1]->str, NULL, 10);
    read->field = (const struct redisReply *const *) reply->element + 2;
    read->n = reply->elements - 2;
    return true;
}

enum hai_write_error hai_registry_read(struct hai_registry_writer *w,
                                       const char *name,
                                       struct hai_container_read *read,
                                       struct hai_write_result *result) {
    struct hai_registry_call call;
    void *reply = NULL;

    memset(result, 0, sizeof(*result));
    memset(read, 0, sizeof(*read));
    if (hai_registry_call_begin(&call, w->server, "FCALL_RO", "hoody_ai_get",
                                name, NULL, 0)
        != 0)
    {
        return refuse(result, "name", "too long, or no memory");
    }
    if (hai_registry_call_send(w->c, &call) != 0
        || redisGetReply(w->c, &reply) != REDIS_OK)
    {
        reply = NULL;
    }
    hai_registry_call_free(&call);
    if (reply == NULL || !take_fields(reply, read)) {
        memset(read, 0, sizeof(*read));
        hai_registry_failed(w->c, reply, result);
        freeReplyObject(reply);
    }
    return result->error;
}

void hai_registry_read_free(struct hai_container_read *read) {
    freeReplyObject(read->reply);
    memset(read, 0, sizeof(*read));
}

const char *hai_registry_read_field(const struct hai_container_read *read,
                                    const char *name, size_t *len) {
    size_t i;

    for (i = 0; i + 1 < read->n; i += 2) {
        if (strcmp(read->field[i]->str, name) == 0) {
            if (len != NULL) {
                *len = read->field[i + 1]->len;
            }
            return read->field[i + 1]->str;
        }
    }
    return NULL;
}

/* The one member "i<id> <name>" of the index. */
static bool take_owner(const redisReply *reply, size_t skip, char name[101]) {
    const redisReply *member;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 1) {
        return false;
    }
    member = reply->element[0];
    if (member->type != REDIS_REPLY_STRING || member->len <= skip
        || member->len - skip > 100)
    {
        return false;
    }
    snprintf(name, 101, "%s", member->str + skip);
    return true;
}

enum hai_write_error hai_registry_find_id(struct hai_registry_writer *w,
                                          const char *id, char name[101],
                                          struct hai_write_result *result) {
    char key[HAI_REGISTRY_KEY_SIZE], first[32], last[32];
    redisReply *reply;

    memset(result, 0, sizeof(*result));
    if (strlen(id) != 24 || strspn(id, "0123456789abcdef") != 24) {
        return refuse(result, "id", "24 lower case hex digits are wanted");
    }
    if (hai_registry_key_text(key, w->server, "index:owners") != 0) {
        return refuse(result, "server", "too long");
    }
    snprintf(first, sizeof(first), "[i%s ", id);
    snprintf(last, sizeof(last), "(i%s!", id);

    /* two owners of one id: nobody's */
    reply =
        redisCommand(w->c, "ZRANGE %s %s %s BYLEX LIMIT 0 2", key, first, last);
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY) {
        hai_registry_failed(w->c, reply, result);
    } else if (!take_owner(reply, 1 + 24 + 1, name)) {
        result->error = HAI_WRITE_NOT_FOUND;
        snprintf(result->text, sizeof(result->text),
                 "there is no such container");
    }
    freeReplyObject(reply);
    return result->error;
}
