/* The checker's first part: which names and keys there are, by SCAN. */

#include "registry_check_core.h"

#include "hai_identity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT "500" /* a page takes Redis about a millisecond */

/* Keys that there may be besides those of containers, and their types. */
static const struct {
    const char *name;
    const char *type;
    enum {
        OTHERS, /* only told */
        NEEDED, /* the functions cannot look without it */
        INDEX,  /* the same, and can be built anew */
        COUNTER /* the same, and can be taken away */
    } what;
} known[] = {
    {"containers", "set", NEEDED},
    {"ai:enabled", "set", NEEDED},
    {"schema", "string", NEEDED},
    {"generation", "string", OTHERS},
    {"rules", "hash", OTHERS},
    {"rules:epoch", "string", OTHERS},
    {"events", "stream", OTHERS},
    {"events:retry", "zset", OTHERS},
    {"events:retry:data", "hash", OTHERS},
    {"events:dead", "stream", OTHERS},
    {"events:seen", "zset", OTHERS},
    {"audit", "stream", OTHERS},
    {"index:owners", "zset", INDEX},
    {"index:claims", "hash", INDEX},
    {"index:version", "string", COUNTER},
};

#define N_KNOWN (sizeof(known) / sizeof(known[0]))

/* What begins with these is looked at elsewhere, or is reserved. */
static const char *const families[] = {"limit:", "snapshots:", "usage:"};

struct scan {
    const char *what;    /* is being read: for the progress */
    const char *command; /* SCAN, SSCAN, ... */
    const char *key;     /* NULL for SCAN */
    const char *match;   /* for SCAN */
    size_t step;         /* 2 where each item has a value */
    int (*take)(struct hai_registry_checker *check, const struct scan *scan,
                const redisReply *item);
};

static redisReply *page(struct hai_registry_checker *check,
                        const struct scan *s, const char *cursor) {
    if (s->key == NULL) {
        return hai_redis_command(check->w->c, check->error, check->size,
                                 "SCAN %s MATCH %s COUNT " COUNT, cursor,
                                 s->match);
    }
    return hai_redis_command(check->w->c, check->error, check->size,
                             "%s %s %s COUNT " COUNT, s->command, s->key,
                             cursor);
}

static bool is_page(const redisReply *reply, size_t step) {
    const redisReply *list;
    size_t i;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2
        || reply->element[0]->type != REDIS_REPLY_STRING
        || reply->element[1]->type != REDIS_REPLY_ARRAY)
    {
        return false;
    }
    list = reply->element[1];
    for (i = 0; i < list->elements; i++) {
        if (list->element[i]->type != REDIS_REPLY_STRING) {
            return false;
        }
    }
    return list->elements % step == 0;
}

static int run(struct hai_registry_checker *check, const struct scan *s) {
    char cursor[24] = "0";
    size_t seen = 0, i;
    int rc = 0;

    do {
        redisReply *reply = page(check, s, cursor);

        if (reply == NULL) {
            return -1;
        }
        if (!is_page(reply, s->step)) {
            snprintf(check->error, check->size, "not an answer of %s",
                     s->command);
            freeReplyObject(reply);
            return -1;
        }
        snprintf(cursor, sizeof(cursor), "%s", reply->element[0]->str);
        for (i = 0; i < reply->element[1]->elements && rc == 0; i += s->step) {
            rc = s->take(check, s, reply->element[1]->element[i]);
        }
        seen += reply->element[1]->elements / s->step;
        freeReplyObject(reply);
        if (check->options->progress != NULL) {
            check->options->progress(s->what, seen, 0);
        }
    } while (rc == 0 && strcmp(cursor, "0") != 0);
    return rc;
}

static int add(struct hai_registry_checker *check, struct hai_names *names,
               const char *text, size_t len) {
    return hai_names_add(names, text, len) == 0 ? 0
                                                : hai_registry_no_memory(check);
}

/* A member that can belong to no container: one command takes it away. */
static int bad_member(struct hai_registry_checker *check, const struct scan *s,
                      const char *remove, const redisReply *item) {
    struct hai_registry_report *report = check->report;
    redisReply *reply;

    if (check->migrating) {
        return 0;
    }
    if (hai_registry_found(check, "bad_name", item->str,
                           "is no name of a container")
        != 0)
    {
        return -1;
    }
    if (!check->options->repair) {
        return 0;
    }
    reply = hai_redis_command(check->w->c, check->error, check->size,
                              "%s %s %b", remove, s->key, item->str, item->len);
    if (reply == NULL) {
        return -1;
    }
    freeReplyObject(reply);
    report->finding[report->n - 1].repaired = true;
    return 0;
}

static int take_member(struct hai_registry_checker *check, const struct scan *s,
                       const redisReply *item) {
    if (!hai_name_valid(item->str, item->len)) {
        return bad_member(check, s, "SREM", item);
    }
    return add(check, &check->names, item->str, item->len);
}

static int take_claims(struct hai_registry_checker *check, const struct scan *s,
                       const redisReply *item) {
    if (!hai_name_valid(item->str, item->len)) {
        return bad_member(check, s, "HDEL", item);
    }
    return add(check, &check->names, item->str, item->len);
}

/* "<claim> <name>" */
static int take_owner(struct hai_registry_checker *check, const struct scan *s,
                      const redisReply *item) {
    const char *space = memchr(item->str, ' ', item->len);
    size_t at = space != NULL ? (size_t) (space - item->str) + 1 : 0;

    if (at < 2 || memchr(item->str, '\0', item->len) != NULL
        || !hai_name_valid(item->str + at, item->len - at))
    {
        return bad_member(check, s, "ZREM", item);
    }
    if (add(check, &check->names, item->str + at, item->len - at) != 0) {
        return -1;
    }
    return add(check, &check->owners, item->str, item->len);
}

static int take_key(struct hai_registry_checker *check, const struct scan *s,
                    const redisReply *item) {
    static const char *const of_containers[] = {"container:", "index:source:"};
    char prefix[HAI_REGISTRY_KEY_SIZE];
    const char *rest;
    size_t len, i;

    (void) s;
    if (hai_registry_key_text(prefix, check->w->server, "") != 0
        || item->len < strlen(prefix)
        || memcmp(item->str, prefix, strlen(prefix)) != 0)
    {
        return 0;
    }
    rest = item->str + strlen(prefix);
    len = item->len - strlen(prefix);
    for (i = 0; i < 2; i++) {
        size_t n = strlen(of_containers[i]);

        if (len > n && memcmp(rest, of_containers[i], n) == 0
            && hai_name_valid(rest + n, len - n))
        {
            return add(check, &check->names, rest + n, len - n);
        }
    }
    for (i = 0; i < N_KNOWN; i++) {
        if (len == strlen(known[i].name)
            && memcmp(rest, known[i].name, len) == 0) {
            return 0;
        }
    }
    for (i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        if (strncmp(rest, families[i], strlen(families[i])) == 0) {
            return 0;
        }
    }
    return hai_registry_found(check, "foreign_key", item->str,
                              "is no key of the registry");
}

/* Nothing of it can be kept; what is built anew comes afterwards. */
static int drop_counter(struct hai_registry_checker *check, const char *key) {
    redisReply *reply = hai_redis_command(check->w->c, check->error,
                                          check->size, "DEL %s", key);

    if (reply == NULL) {
        return -1;
    }
    freeReplyObject(reply);
    check->report->finding[check->report->n - 1].repaired = true;
    return 0;
}

static int wrong_type(struct hai_registry_checker *check, size_t i,
                      const char *key, const char *type) {
    char detail[96];
    const char *kind = known[i].what == INDEX || known[i].what == COUNTER
                           ? "index_type"
                           : "wrong_type";

    snprintf(detail, sizeof(detail), "is a %.20s, not a %s", type,
             known[i].type);
    if (hai_registry_found(check, kind, key, detail) != 0) {
        return -1;
    }
    if (known[i].what == COUNTER && check->options->repair) {
        return drop_counter(check, key);
    }
    check->rebuild = check->rebuild || known[i].what == INDEX;
    check->unusable =
        check->unusable || known[i].what == NEEDED || known[i].what == COUNTER;
    return 0;
}

int hai_registry_collect_types(struct hai_registry_checker *check) {
    char key[HAI_REGISTRY_KEY_SIZE];
    size_t i;

    for (i = 0; i < N_KNOWN; i++) {
        redisReply *reply;
        int rc = 0;

        if (hai_registry_key_text(key, check->w->server, known[i].name) != 0) {
            snprintf(check->error, check->size,
                     "the server's name is too long");
            return -1;
        }
        reply = hai_redis_command(check->w->c, check->error, check->size,
                                  "TYPE %s", key);
        if (reply == NULL) {
            return -1;
        }
        if (reply->type != REDIS_REPLY_STATUS) {
            snprintf(check->error, check->size, "not an answer of TYPE");
            rc = -1;
        } else if (strcmp(reply->str, "none") != 0
                   && strcmp(reply->str, known[i].type) != 0)
        {
            rc = wrong_type(check, i, key, reply->str);
        }
        freeReplyObject(reply);
        if (rc != 0) {
            return -1;
        }
    }
    return 0;
}

/* The server's name may have characters that a pattern gives a meaning. */
static int pattern(const char *server, char *text, size_t size) {
    size_t n = 0;
    const char *p;

    n += (size_t) snprintf(text, size, "hoody:{");
    for (p = server; *p != '\0'; p++) {
        if (n + 8 > size) {
            return -1;
        }
        if (strchr("*?[]\\^-", *p) != NULL) {
            text[n++] = '\\';
        }
        text[n++] = *p;
    }
    snprintf(text + n, size - n, "}:*");
    return 0;
}

int hai_registry_collect(struct hai_registry_checker *check) {
    char key[4][HAI_REGISTRY_KEY_SIZE], match[2 * HAI_REGISTRY_KEY_SIZE];
    const char *server = check->w->server;
    const struct scan scans[] = {
        {"members of the list", "SSCAN", key[0], NULL, 1, take_member},
        {"members of the gate", "SSCAN", key[1], NULL, 1, take_member},
        {"entries of the index", "HSCAN", key[2], NULL, 2, take_claims},
        {"members of the index", "ZSCAN", key[3], NULL, 2, take_owner},
        {"keys", "SCAN", NULL, match, 1, take_key},
    };
    size_t i;

    if (hai_registry_key_text(key[0], server, "containers") != 0
        || hai_registry_key_text(key[1], server, "ai:enabled") != 0
        || hai_registry_key_text(key[2], server, "index:claims") != 0
        || hai_registry_key_text(key[3], server, "index:owners") != 0
        || pattern(server, match, sizeof(match)) != 0)
    {
        snprintf(check->error, check->size, "the server's name is too long");
        return -1;
    }
    for (i = 0; i < sizeof(scans) / sizeof(scans[0]); i++) {
        if (run(check, &scans[i]) != 0) {
            return -1;
        }
    }
    hai_names_sort(&check->names);
    hai_names_sort(&check->owners);
    return 0;
}
