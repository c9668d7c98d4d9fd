/*
 * Reads a registry, see registry.h.  The two sets first, then the hashes of
 * their union in bounded windows, then a scan for hashes that are in neither:
 * as the gateway's replica loads it.
 */

#define _GNU_SOURCE /* asprintf() */

#include "registry.h"

#include "redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW 500 /* containers that are read at once */

/* Ceilings of the gateway's replica, in bytes. */
#define ID_MAX 255
#define CGROUP_MAX 4096
#define TAGS_MAX 8192
#define ADDRESSES_MAX 16384

enum { LISTED = 1, ENABLED = 2 };

struct name {
    const char *text; /* NUL ended, of a reply or its own */
    size_t len;
    unsigned flags;
};

struct names {
    struct name *item;
    size_t n, size;
};

/* The fields of struct hai_registry_entry, in the order in which they are read. */
static const char *const fields[] = {"id",     "number", "addresses",
                                     "cgroup", "tags",   "status"};

#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

struct reader {
    redisContext *redis;
    const char *server;
    const struct hai_registry_hooks *hooks;
    struct hai_registry_sum *sum;
    struct names known;  /* of the sets, borrowed from their replies */
    struct names strays; /* own their texts */
    size_t done;
    char *error;
    size_t size;
};

char *hai_registry_key(const char *server, const char *rest) {
    char *key;

    return asprintf(&key, "hoody:{%s}:%s", server, rest) >= 0 ? key : NULL;
}

bool hai_container_runs(const struct hai_registry_entry *c) {
    return c->exists && c->fault == NULL
           && (c->status.len == 0
               || (c->status.len == 7
                   && memcmp(c->status.data, "running", 7) == 0));
}

size_t hai_container_addresses(struct hai_slice list,
                               struct hai_addr addr[HAI_REGISTRY_ADDRESSES],
                               size_t *bad) {
    const char *p = list.data, *end = p + list.len, *start;
    struct hai_addr one;
    size_t n = 0, i;

    if (bad != NULL) {
        *bad = 0;
    }
    while (p < end) {
        if (*p == ' ') {
            p++;
            continue;
        }
        start = p;
        while (p < end && *p != ' ') {
            p++;
        }
        if (n == HAI_REGISTRY_ADDRESSES) {
            return n + 1;
        }
        if (hai_addr_parse(start, (size_t) (p - start), &one) != 0) {
            if (bad != NULL) {
                (*bad)++;
            }
            continue;
        }
        for (i = 0; i < n && memcmp(&addr[i], &one, sizeof(one)) != 0; i++) {
        }
        if (i == n) {
            addr[n++] = one;
        }
    }
    return n;
}

static int say(struct reader *r, const char *reason) {
    snprintf(r->error, r->size, "%s", reason);
    return -1;
}

static int names_add(struct reader *r, struct names *names, const char *text,
                     size_t len, unsigned flags) {
    struct name *item;
    size_t size;

    if (names->n == HAI_REGISTRY_MAX) {
        return say(r, "there are too many containers");
    }
    if (names->n == names->size) {
        size = names->size > 0 ? names->size * 2 : 256;
        item = realloc(names->item, size * sizeof(*item));
        if (item == NULL) {
            return say(r, "no memory");
        }
        names->item = item;
        names->size = size;
    }
    names->item[names->n++] = (struct name){text, len, flags};
    return 0;
}

static int compare(const void *a, const void *b) {
    return strcmp(((const struct name *) a)->text,
                  ((const struct name *) b)->text);
}

/* Sorts them; one entry for each name, with the flags of all. */
static void names_sort(struct names *names, bool own) {
    size_t i, n = 0;

    if (names->n == 0) {
        return;
    }
    qsort(names->item, names->n, sizeof(*names->item), compare);
    for (i = 1; i < names->n; i++) {
        if (compare(&names->item[n], &names->item[i]) == 0) {
            names->item[n].flags |= names->item[i].flags;
            if (own) {
                free((char *) names->item[i].text);
            }
        } else {
            names->item[++n] = names->item[i];
        }
    }
    names->n = n + 1;
}

static const struct name *names_find(const struct names *names,
                                     const char *text) {
    struct name key = {text, strlen(text), 0};

    return names->n > 0
               ? bsearch(&key, names->item, names->n, sizeof(key), compare)
               : NULL;
}

static bool is_wrong_type(const redisReply *reply) {
    return reply->type == REDIS_REPLY_ERROR
           && strncmp(reply->str, "WRONGTYPE", 9) == 0;
}

/* The names of one set; its reply has to outlive them. */
static redisReply *read_set(struct reader *r, const char *rest, unsigned flag,
                            size_t *n, bool *wrong) {
    char *key = hai_registry_key(r->server, rest);
    redisReply *reply = NULL;
    char error[256];
    size_t i;

    if (key == NULL) {
        say(r, "no memory");
        return NULL;
    }
    reply = hai_redis_members(r->redis, key, error, sizeof(error));
    if (reply == NULL && strncmp(error, "NOPERM", 6) == 0) {
        /* a gateway's user of an older version may do this only */
        reply = redisCommand(r->redis, "SMEMBERS %s", key);
        snprintf(error, sizeof(error), "%s", r->redis->errstr);
    } else if (reply == NULL && strncmp(error, "WRONGTYPE", 9) == 0) {
        free(key);
        *wrong = true; /* an empty set to the gateway */
        return calloc(1, sizeof(*reply));
    }
    free(key);
    if (reply == NULL) {
        say(r, error);
        return NULL;
    }
    if (is_wrong_type(reply)) {
        *wrong = true;
        return reply;
    }
    if (reply->type != REDIS_REPLY_ARRAY) {
        say(r, reply->type == REDIS_REPLY_ERROR ? reply->str
                                                : "no set was answered");
        freeReplyObject(reply);
        return NULL;
    }
    *n = reply->elements;
    for (i = 0; i < reply->elements; i++) {
        const redisReply *item = reply->element[i];

        if (item->type != REDIS_REPLY_STRING
            || !hai_name_valid(item->str, item->len)) {
            r->sum->foreign++;
        } else if (names_add(r, &r->known, item->str, item->len, flag) != 0) {
            freeReplyObject(reply);
            return NULL;
        }
    }
    return reply;
}

/* The reads of one container are sent. */
static int append_reads(struct reader *r, const struct name *name) {
    const char *argv[2 + N_FIELDS];
    char *rest, *key = NULL;
    int rc = -1;

    if (asprintf(&rest, "container:%s", name->text) >= 0) {
        key = hai_registry_key(r->server, rest);
        free(rest);
    }
    if (key == NULL) {
        return say(r, "no memory");
    }
    argv[0] = "HMGET";
    argv[1] = key;
    memcpy(&argv[2], fields, sizeof(fields));
    if (redisAppendCommand(r->redis, "PTTL %s", key) != REDIS_OK
        || redisAppendCommandArgv(r->redis, 2 + N_FIELDS, argv, NULL)
               != REDIS_OK)
    {
        say(r, r->redis->errstr);
    } else {
        rc = 0;
    }
    free(key);
    return rc;
}

static redisReply *next_reply(struct reader *r) {
    void *reply;

    if (redisGetReply(r->redis, &reply) != REDIS_OK) {
        say(r, r->redis->errstr);
        return NULL;
    }
    return reply;
}

static const char *find_fault(const struct hai_registry_entry *c) {
    struct hai_addr addr[HAI_REGISTRY_ADDRESSES];

    if (c->id.len > ID_MAX || c->cgroup.len > CGROUP_MAX
        || c->tags.len > TAGS_MAX || c->addresses.len > ADDRESSES_MAX)
    {
        return "has a field that is too long";
    }
    if (hai_container_addresses(c->addresses, addr, NULL)
        > HAI_REGISTRY_ADDRESSES) {
        return "has too many addresses";
    }
    return NULL;
}

/* What was answered to append_reads(). */
static int take(struct reader *r, const struct name *name,
                const redisReply *ttl, const redisReply *values) {
    struct hai_registry_entry c = {.name = {name->text, name->len},
                                   .ttl_ms = -1,
                                   .listed = (name->flags & LISTED) != 0,
                                   .enabled = (name->flags & ENABLED) != 0};
    struct hai_slice *const to[N_FIELDS] = {&c.id,     &c.number, &c.addresses,
                                            &c.cgroup, &c.tags,   &c.status};
    size_t i;

    if (ttl->type != REDIS_REPLY_INTEGER) {
        return say(r, ttl->type == REDIS_REPLY_ERROR
                          ? ttl->str
                          : "unexpected answer to PTTL");
    }
    c.exists = ttl->integer != -2;
    c.ttl_ms = ttl->integer >= 0 ? ttl->integer : -1;
    if (is_wrong_type(values)) {
        c.fault = "is not a hash";
        return r->hooks->container(r->hooks->data, &c);
    }
    if (values->type != REDIS_REPLY_ARRAY || values->elements != N_FIELDS) {
        return say(r, values->type == REDIS_REPLY_ERROR
                          ? values->str
                          : "unexpected answer to HMGET");
    }
    for (i = 0; i < N_FIELDS; i++) {
        if (values->element[i]->type == REDIS_REPLY_STRING) {
            *to[i] = (struct hai_slice){values->element[i]->str,
                                        values->element[i]->len};
        }
    }
    if (c.exists) {
        c.fault = find_fault(&c);
    }
    return r->hooks->container(r->hooks->data, &c);
}

/* The answers to append_reads(); those of the next ones are under way. */
static int take_window(struct reader *r, const struct name *name, size_t n) {
    redisReply *ttl, *values;
    size_t i;
    int rc = 0;

    for (i = 0; i < n && rc == 0; i++) {
        ttl = next_reply(r);
        values = ttl != NULL ? next_reply(r) : NULL;
        rc = values != NULL ? take(r, &name[i], ttl, values) : -1;
        freeReplyObject(ttl);
        freeReplyObject(values);
    }
    return rc;
}

static int send_window(struct reader *r, const struct names *names, size_t i) {
    size_t end = names->n - i < WINDOW ? names->n : i + WINDOW;
    int done = 0;

    for (; i < end; i++) {
        if (append_reads(r, &names->item[i]) != 0) {
            return -1;
        }
    }
    while (!done) {
        if (redisBufferWrite(r->redis, &done) != REDIS_OK) {
            return say(r, r->redis->errstr);
        }
    }
    return 0;
}

/* Two windows are under way, so that Redis never waits for us. */
static int read_containers(struct reader *r, const struct names *names) {
    size_t i, n, sent = 0;

    for (i = 0; i < names->n; i += n) {
        for (; sent < names->n && sent < i + 2 * WINDOW; sent += WINDOW) {
            if (send_window(r, names, sent) != 0) {
                return -1;
            }
        }
        n = names->n - i < WINDOW ? names->n - i : WINDOW;
        if (take_window(r, &names->item[i], n) != 0) {
            return -1;
        }
        r->done += n;
        if (r->hooks->progress != NULL) {
            r->hooks->progress(r->hooks->data, r->done,
                               r->known.n + r->strays.n);
        }
    }
    return 0;
}

/* One page of the scan: notes what is in no set. */
static int take_page(struct reader *r, const redisReply *keys, size_t prefix) {
    const redisReply *key;
    char *text;
    size_t i;

    for (i = 0; i < keys->elements; i++) {
        key = keys->element[i];
        if (key->type != REDIS_REPLY_STRING || key->len < prefix) {
            continue;
        }
        if (!hai_name_valid(key->str + prefix, key->len - prefix)) {
            r->sum->foreign++;
            continue;
        }
        if (names_find(&r->known, key->str + prefix) != NULL) {
            continue;
        }
        text = strdup(key->str + prefix);
        if (text == NULL) {
            return say(r, "no memory");
        }
        if (names_add(r, &r->strays, text, key->len - prefix, 0) != 0) {
            free(text);
            return -1;
        }
    }
    return 0;
}

static int scan(struct reader *r) {
    char *pattern = hai_registry_key(r->server, "container:*");
    char cursor[32] = "0";
    redisReply *reply;
    int rc = pattern != NULL ? 0 : say(r, "no memory");

    while (rc == 0) {
        reply =
            hai_redis_command(r->redis, r->error, r->size,
                              "SCAN %s MATCH %s COUNT 1000", cursor, pattern);
        if (reply == NULL) {
            rc = -1;
            break;
        }
        if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2
            || reply->element[0]->type != REDIS_REPLY_STRING
            || reply->element[0]->len >= sizeof(cursor)
            || reply->element[1]->type != REDIS_REPLY_ARRAY)
        {
            rc = say(r, "unexpected answer to SCAN");
        } else {
            memcpy(cursor, reply->element[0]->str, reply->element[0]->len + 1);
            rc = take_page(r, reply->element[1], strlen(pattern) - 1);
        }
        freeReplyObject(reply);
        if (strcmp(cursor, "0") == 0) {
            break;
        }
    }
    free(pattern);
    return rc;
}

int hai_registry_each(redisContext *redis, const char *server,
                      const struct hai_registry_hooks *hooks,
                      struct hai_registry_sum *sum, char *error, size_t size) {
    struct reader r = {.redis = redis,
                       .server = server,
                       .hooks = hooks,
                       .sum = sum,
                       .error = error,
                       .size = size};
    redisReply *enabled, *listed = NULL;
    size_t i;
    int rc = -1;

    memset(sum, 0, sizeof(*sum));
    *error = '\0';
    enabled =
        read_set(&r, "ai:enabled", ENABLED, &sum->enabled, &sum->enabled_wrong);
    if (enabled != NULL) {
        listed = read_set(&r, "containers", LISTED, &sum->listed,
                          &sum->listed_wrong);
    }
    if (listed != NULL) {
        names_sort(&r.known, false);
        rc = read_containers(&r, &r.known);
    }
    if (rc == 0) {
        rc = scan(&r);
    }
    if (rc == 0) {
        names_sort(&r.strays, true);
        sum->strays = r.strays.n;
        rc = read_containers(&r, &r.strays);
    }
    for (i = 0; i < r.strays.n; i++) {
        free((char *) r.strays.item[i].text);
    }
    free(r.strays.item);
    free(r.known.item);
    freeReplyObject(enabled);
    freeReplyObject(listed);
    return rc;
}
