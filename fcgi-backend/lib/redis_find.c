/*
 * Where the master is, see redis.h.
 *
 * Sentinel: each sentinel in turn is asked for the master's address.  Cluster:
 * each node in turn is asked for the owner of our slot.  What they say is only
 * a hint: the server that was named has to be a master that takes writes, else
 * the next one is asked.  The one whose answer was right is asked first next
 * time.  A search ends after SEARCH_TIMES the time for one connection, and the
 * next one goes on with the next sentinel or node.
 */

#include "redis_internal.h"

#include "log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KNOWN_MAX 64 /* those of --redis, and nodes that were heard of */
#define FAILED_MAX 8
#define HOPS 3 /* MOVED after MOVED */
#define SEARCH_TIMES 3

/* Whom to ask.  Those of --redis come first and stay. */
struct hai_redis_known {
    pthread_mutex_t lock;
    struct hai_redis_address node[KNOWN_MAX];
    size_t n;
    size_t first;                    /* to ask */
    struct hai_redis_address master; /* found last; no name: none yet */
};

/* One search.  Only its own thread has it. */
struct search {
    const struct hai_redis_conf *conf;
    const char *client_name;
    int64_t end;
    struct hai_redis_address node[KNOWN_MAX]; /* a copy of what is known */
    size_t n;
    size_t first;
    struct hai_redis_address failed[FAILED_MAX]; /* they were no master */
    size_t n_failed;
    char *error; /* of the caller's */
    size_t size;
};

struct hai_redis_known *hai_redis_known_new(const struct hai_redis_conf *conf) {
    struct hai_redis_known *known = calloc(1, sizeof(*known));

    if (known == NULL) {
        return NULL;
    }
    if (pthread_mutex_init(&known->lock, NULL) != 0) {
        free(known);
        return NULL;
    }
    _Static_assert(HAI_REDIS_ADDRESSES <= KNOWN_MAX, "all of --redis fit");
    memcpy(known->node, conf->address, conf->n * sizeof(*known->node));
    known->n = conf->n;
    return known;
}

void hai_redis_known_free(struct hai_redis_known *known) {
    if (known != NULL) {
        pthread_mutex_destroy(&known->lock);
        free(known);
    }
}

static void begin(struct search *s) {
    struct hai_redis_known *known = s->conf->known;

    pthread_mutex_lock(&known->lock);
    memcpy(s->node, known->node, known->n * sizeof(*s->node));
    s->n = known->n;
    s->first = known->first;
    pthread_mutex_unlock(&known->lock);
}

/* Whoever is at this place of the copy is to be asked first. */
static void ask_first(const struct search *s, size_t at) {
    struct hai_redis_known *known = s->conf->known;

    pthread_mutex_lock(&known->lock);
    for (size_t i = 0; i < known->n; i++) {
        if (hai_redis_address_equal(&known->node[i], &s->node[at])) {
            known->first = i;
        }
    }
    pthread_mutex_unlock(&known->lock);
}

static void found(const struct search *s,
                  const struct hai_redis_address *master) {
    struct hai_redis_known *known = s->conf->known;
    char text[300];
    bool other;

    pthread_mutex_lock(&known->lock);
    other = !hai_redis_address_equal(&known->master, master);
    known->master = *master;
    pthread_mutex_unlock(&known->lock);

    if (other) {
        hai_redis_address_text(master, text, sizeof(text));
        hai_log(HAI_LOG_INFO, "Redis: the master is %s", text);
    }
}

/* The message gets the address in front. */
static void failed_at(struct search *s, const char *what,
                      const struct hai_redis_address *address) {
    char text[300], reason[128];

    hai_redis_address_text(address, text, sizeof(text));
    snprintf(reason, sizeof(reason), "%s", s->error);
    snprintf(s->error, s->size, "%s %s: %s", what, text, reason);
}

static bool has_failed(const struct search *s,
                       const struct hai_redis_address *address) {
    for (size_t i = 0; i < s->n_failed; i++) {
        if (hai_redis_address_equal(&s->failed[i], address)) {
            return true;
        }
    }
    return false;
}

static bool too_late(const struct search *s) {
    return hai_redis_now_ms() >= s->end;
}

/* "MOVED <slot> <host>:<port>"; no host: the one that says it. */
static bool moved_to(const char *error, const struct hai_redis_address *from,
                     struct hai_redis_address *to) {
    char host[sizeof(to->name)];
    const char *at, *colon;
    char *end;
    long port;

    at = strncmp(error, "MOVED ", 6) == 0 ? strchr(error, ' ') : NULL;
    if (at == NULL) {
        return false;
    }
    at = strchr(at + 1, ' ');
    colon = strrchr(error, ':');
    if (at == NULL || colon == NULL || colon < at + 1
        || (size_t) (colon - at - 1) >= sizeof(host))
    {
        return false;
    }
    port = strtol(colon + 1, &end, 10);
    if (*end != '\0' || port < 1 || port > 65535) {
        return false;
    }
    snprintf(host, sizeof(host), "%.*s", (int) (colon - at - 1), at + 1);
    if (host[0] == '\0' && from->port != 0) {
        snprintf(host, sizeof(host), "%s", from->name);
    }
    return hai_redis_address_set(to, host, (int) port) == 0;
}

/* The server at the address, if it is the master; where a node of a cluster
 * says that another one is, that one. */
static redisContext *try_master(struct search *s,
                                struct hai_redis_address address) {
    const struct hai_redis_conf *conf = s->conf;
    struct hai_redis_address next;
    redisContext *c;
    bool moved;

    for (int hop = 0; hop < HOPS && !has_failed(s, &address); hop++) {
        c = hai_redis_reach(conf, &address, s->error, s->size);
        if (c != NULL
            && hai_redis_log_in(c, conf->user, conf->password_file, s->error,
                                s->size)
                   == 0
            && hai_redis_enter(c, conf, s->client_name, s->error, s->size) == 0)
        {
            found(s, &address);
            return c;
        }
        redisFree(c);
        moved = moved_to(s->error, &address, &next);
        failed_at(s, "Redis", &address);
        if (s->n_failed < FAILED_MAX) {
            s->failed[s->n_failed++] = address;
        }
        if (!moved || too_late(s)) {
            break;
        }
        address = next;
    }
    return NULL;
}

static bool is_string(const redisReply *reply) {
    return reply->type == REDIS_REPLY_STRING
           || reply->type == REDIS_REPLY_STATUS;
}

/* Where this sentinel says that the master is. */
static int ask_sentinel(struct search *s,
                        const struct hai_redis_address *sentinel,
                        struct hai_redis_address *master) {
    const struct hai_redis_conf *conf = s->conf;
    redisContext *c = hai_redis_reach(conf, sentinel, s->error, s->size);
    redisReply *reply = NULL;
    int rc = -1;
    char *end;
    long port;

    if (c != NULL
        && hai_redis_log_in(c, conf->sentinel_user,
                            conf->sentinel_password_file, s->error, s->size)
               == 0)
    {
        reply = hai_redis_command(c, s->error, s->size,
                                  "SENTINEL get-master-addr-by-name %s",
                                  conf->master);
    }
    if (reply != NULL) {
        snprintf(s->error, s->size, "the master \"%s\" is not known there",
                 conf->master);
    }
    if (reply != NULL && reply->type == REDIS_REPLY_ARRAY
        && reply->elements == 2 && is_string(reply->element[0])
        && is_string(reply->element[1]))
    {
        port = strtol(reply->element[1]->str, &end, 10);
        if (*end == '\0' && port >= 1 && port <= 65535) {
            rc = hai_redis_address_set(master, reply->element[0]->str,
                                       (int) port);
        }
    }
    freeReplyObject(reply);
    redisFree(c);
    return rc;
}

/* A node in the answer to CLUSTER SLOTS; no host: the one that was asked. */
static int read_node(const redisReply *reply,
                     const struct hai_redis_address *asked,
                     struct hai_redis_address *node) {
    const char *host = "";

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 2
        || reply->element[1]->type != REDIS_REPLY_INTEGER
        || reply->element[1]->integer < 1 || reply->element[1]->integer > 65535)
    {
        return -1;
    }
    if (is_string(reply->element[0])) {
        host = reply->element[0]->str;
    }
    if (*host == '\0' && asked->port != 0) {
        host = asked->name;
    }
    if (strcmp(host, "?") == 0) {
        return -1;
    }
    return hai_redis_address_set(node, host, (int) reply->element[1]->integer);
}

/* The nodes that it names take the place of those heard of before. */
static void remember(const struct search *s, const redisReply *slots,
                     const struct hai_redis_address *asked) {
    struct hai_redis_known *known = s->conf->known;
    struct hai_redis_address node;

    pthread_mutex_lock(&known->lock);
    known->n = s->conf->n;

    for (size_t i = 0; i < slots->elements; i++) {
        const redisReply *range = slots->element[i];

        if (range->type != REDIS_REPLY_ARRAY) {
            continue;
        }
        for (size_t k = 2; k < range->elements; k++) {
            bool there = read_node(range->element[k], asked, &node) != 0;

            for (size_t j = 0; j < known->n && !there; j++) {
                there = hai_redis_address_equal(&known->node[j], &node);
            }
            if (!there && known->n < KNOWN_MAX) {
                known->node[known->n++] = node;
            }
        }
    }

    if (known->first >= known->n) {
        known->first = 0;
    }
    pthread_mutex_unlock(&known->lock);
}

/* [[first, last, master, replica, ...], ...] */
static int owner_in(const struct search *s, const redisReply *slots,
                    const struct hai_redis_address *asked,
                    struct hai_redis_address *owner) {
    for (size_t i = 0; i < slots->elements; i++) {
        const redisReply *range = slots->element[i];

        if (range->type == REDIS_REPLY_ARRAY && range->elements >= 3
            && range->element[0]->type == REDIS_REPLY_INTEGER
            && range->element[1]->type == REDIS_REPLY_INTEGER
            && range->element[0]->integer <= (long long) s->conf->slot
            && range->element[1]->integer >= (long long) s->conf->slot)
        {
            return read_node(range->element[2], asked, owner);
        }
    }
    return -1;
}

/* Who owns our slot, says this node. */
static int ask_node(struct search *s, const struct hai_redis_address *node,
                    struct hai_redis_address *owner) {
    const struct hai_redis_conf *conf = s->conf;
    redisContext *c = hai_redis_reach(conf, node, s->error, s->size);
    redisReply *reply = NULL;
    int rc = -1;

    if (c != NULL
        && hai_redis_log_in(c, conf->user, conf->password_file, s->error,
                            s->size)
               == 0)
    {
        reply = hai_redis_command(c, s->error, s->size, "CLUSTER SLOTS");
    }
    if (reply != NULL) {
        snprintf(s->error, s->size, "nobody owns slot %u", conf->slot);
    }
    if (reply != NULL && reply->type == REDIS_REPLY_ARRAY) {
        rc = owner_in(s, reply, node, owner);
        if (rc == 0) {
            remember(s, reply, node);
        }
    }
    freeReplyObject(reply);
    redisFree(c);
    return rc;
}

redisContext *hai_redis_find(const struct hai_redis_conf *conf,
                             const char *client_name, char *error,
                             size_t size) {
    bool sentinel = conf->mode == HAI_REDIS_SENTINEL;
    struct hai_redis_address master;
    struct search s = {.conf = conf, .client_name = client_name};
    redisContext *c;
    size_t i, at;

    s.error = error;
    s.size = size;
    begin(&s);
    s.end = hai_redis_now_ms() + SEARCH_TIMES * conf->connect_timeout_ms;

    for (i = 0; i < s.n && (i == 0 || !too_late(&s)); i++) {
        at = (s.first + i) % s.n;

        if (sentinel ? ask_sentinel(&s, &s.node[at], &master) != 0
                     : ask_node(&s, &s.node[at], &master) != 0)
        {
            failed_at(&s, sentinel ? "sentinel" : "Redis", &s.node[at]);
            continue;
        }
        c = try_master(&s, master);
        if (c != NULL) {
            ask_first(&s, at);
            return c;
        }
    }

    ask_first(&s, (s.first + i) % s.n);
    return NULL;
}
