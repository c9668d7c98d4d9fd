/*
 * The thread that keeps the rules current: reads the file again when it
 * changed, the overlay when the change feed names it, and both after SIGHUP or
 * a new connection.  A set that is bad is reported, and the last good one
 * stays; until there is one, the other threads wait.
 */

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "clock.h"
#include "lib/log.h"
#include "link.h"
#include "worker.h"

#define LOOK_MS 50        /* how often the file is looked at */
#define HEARTBEAT_MS 1000 /* how often a silent feed is asked */
#define AGAIN_MS 1000     /* after the overlay could not be read */

struct follower {
    struct hai_worker *w;
    struct hai_link feed;
    struct hai_link data;
    struct stat file; /* as it was read last */
    bool following;
    bool stale;
    uint64_t heartbeat;
    uint64_t again;
};

static void say(void *data, bool is_error, const char *where, int line,
                int column, const char *rule, const char *reason) {
    (void) data;

    hai_log(is_error ? HAI_LOG_ERROR : HAI_LOG_WARN,
            "rules: %s:%d:%d:%s%s%s %s", where, line, column,
            rule[0] != '\0' ? " rule \"" : "", rule,
            rule[0] != '\0' ? "\":" : "", reason);
}

static bool same_file(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino
           && a->st_size == b->st_size
           && memcmp(&a->st_mtim, &b->st_mtim, sizeof(a->st_mtim)) == 0
           && memcmp(&a->st_ctim, &b->st_ctim, sizeof(a->st_ctim)) == 0;
}

/* A file that is gone is like one with other bytes: reading it says so. */
static void look_at_file(struct follower *f) {
    struct stat st;

    if (f->w->rules_file == NULL) {
        return;
    }

    memset(&st, 0, sizeof(st));
    if (stat(f->w->rules_file, &st) != 0) {
        memset(&st, 0, sizeof(st));
    }
    if (!same_file(&st, &f->file)) {
        f->file = st;
        f->stale = true;
    }
}

static struct hai_rules *load(struct follower *f, const redisReply *hash) {
    struct hai_rule_report report = {say, NULL};
    size_t n = hash->elements / 2;
    struct hai_rule_overlay *overlay = calloc(n + 1, sizeof(*overlay));
    struct hai_rules *rules;

    if (overlay == NULL) {
        hai_log(HAI_LOG_ERROR, "rules: no memory");
        return NULL;
    }

    for (size_t i = 0; i < n; i++) {
        overlay[i].id = hash->element[2 * i]->str;
        overlay[i].id_len = hash->element[2 * i]->len;
        overlay[i].json = hash->element[2 * i + 1]->str;
        overlay[i].json_len = hash->element[2 * i + 1]->len;
    }

    rules = hai_rules_load(f->w->rules_file, overlay, n, &report);
    free(overlay);
    return rules;
}

static void drop_feed(struct follower *f, const char *why) {
    hai_log(HAI_LOG_WARN, "rules: the change feed was lost: %s", why);
    hai_link_close(&f->feed);
    f->following = false;
}

static void read_again(struct follower *f) {
    struct hai_rules *rules;
    struct hai_args args;
    redisReply *hash;

    if (!hai_link_up(&f->data)) {
        return;
    }

    /* a change is told on the feed only by the server that it was made on */
    if (!hai_redis_same(f->feed.conf, f->feed.c, f->data.c)) {
        drop_feed(f, "the master is another one");
        hai_link_close(&f->data);
        return;
    }

    hai_args_init(&args);
    hai_args_str(&args, "HGETALL");
    hai_args_str(&args, f->w->overlay);
    hash = hai_link_call(&f->data, &args);
    hai_args_free(&args);

    if (hash == NULL || hash->type != REDIS_REPLY_ARRAY) {
        if (f->data.c != NULL) {
            hai_log(HAI_LOG_ERROR, "rules: reading the overlay: %s",
                    hash == NULL ? f->data.error : "not a hash");
        }
        f->again = hai_now_monotonic() + AGAIN_MS;
        freeReplyObject(hash);
        return;
    }

    f->stale = false;
    rules = load(f, hash);
    freeReplyObject(hash);

    if (rules != NULL) {
        hai_log(HAI_LOG_INFO, "rules: %zu rules, digest %s", rules->n,
                rules->digest);
        hai_worker_set_rules(f->w, rules);
    } else {
        hai_log(HAI_LOG_ERROR, "rules: %s",
                f->w->rules != NULL ? "the last good set stays in force"
                                    : "nothing is read until they are good");
    }
}

/* Subscribes first; what is read afterwards is current. */
static void start_feed(struct follower *f) {
    const char *prefix = f->w->overlay;

    if (f->following || !hai_link_up(&f->feed)) {
        return;
    }

    if (hai_redis_feed_start(f->feed.c, &prefix, 1, f->feed.error,
                             sizeof(f->feed.error))
        != 0)
    {
        drop_feed(f, f->feed.error);
        f->feed.next = hai_now_monotonic() + AGAIN_MS;
        return;
    }
    f->following = true;
    f->stale = true;
    f->heartbeat = hai_now_monotonic() + HEARTBEAT_MS;
}

/* The engine's epoch has the same prefix and is none of our business. */
static bool names_overlay(const struct follower *f, const redisReply *keys) {
    if (keys == NULL) {
        return true;
    }
    for (size_t i = 0; i < keys->elements; i++) {
        if (keys->element[i]->type == REDIS_REPLY_STRING
            && strcmp(keys->element[i]->str, f->w->overlay) == 0)
        {
            return true;
        }
    }
    return false;
}

static void read_feed(struct follower *f) {
    bool beat = hai_now_monotonic() >= f->heartbeat;
    redisReply *keys;
    int rc;

    do {
        /* with a time to wait, a silent feed is asked whether it lives */
        rc = hai_redis_feed_wait(f->feed.c, beat ? 1 : 0, &keys, f->feed.error,
                                 sizeof(f->feed.error));
        if (rc == 1) {
            if (names_overlay(f, keys)) {
                f->stale = true;
            }
            freeReplyObject(keys);
        }
        if (beat) {
            if (rc != -1 && !hai_link_beat(&f->data)) {
                snprintf(f->feed.error, sizeof(f->feed.error), "%s",
                         f->data.error);
                rc = -1;
            }
            f->heartbeat = hai_now_monotonic() + HEARTBEAT_MS;
            beat = false;
        }
    } while (rc == 1);

    if (rc == -1) {
        drop_feed(f, f->feed.error);
    }
}

static void wait_for_change(struct follower *f) {
    struct pollfd fd = {.fd = -1, .events = POLLIN};

    if (f->following) {
        fd.fd = f->feed.c->fd;
        (void) poll(&fd, 1, LOOK_MS);
        read_feed(f);
    } else {
        hai_worker_pause(f->w, LOOK_MS);
    }
}

void *hai_follow(void *worker) {
    struct hai_worker *w = worker;
    struct follower f;

    memset(&f, 0, sizeof(f));
    f.w = w;
    f.stale = true;
    hai_link_init(&f.feed, &w->redis, "hoody-ai-events-feed");
    hai_link_init(&f.data, &w->redis, "hoody-ai-events-rules");

    while (!hai_worker_stopping(w)) {
        start_feed(&f);
        look_at_file(&f);
        if (hai_worker_take(w, &w->reload)) {
            f.stale = true;
        }
        if (f.following && f.stale && hai_now_monotonic() >= f.again) {
            read_again(&f);
        }
        wait_for_change(&f);
    }

    hai_link_close(&f.feed);
    hai_link_close(&f.data);
    return NULL;
}
