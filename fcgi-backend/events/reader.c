/*
 * The thread that reads the stream: new entries, those that it could not end
 * before, and those of consumers that have died.  docs/internals/events.md
 * has the states of an entry.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit.h"
#include "batch.h"
#include "clock.h"
#include "lib/log.h"
#include "link.h"
#include "store.h"
#include "worker.h"

#define BLOCK_MS "500"
#define CLAIM_EVERY_MS 5000
/* an entry of a consumer that has been silent so long is taken over */
#define CLAIM_IDLE_MS "15000"
#define HELD_EVERY_MS 1000
#define PAUSE_MS 1000
#define WAIT_MS 20 /* for the first rules */
#define TIDY_EVERY_MS 3600000
#define COOLDOWNS 65536

struct reader {
    struct hai_worker *w;
    struct hai_link link;
    char consumer[128];
    bool group; /* is there */
    uint64_t next_held;
    uint64_t next_claim;
    uint64_t next_tidy;
    char cursor[64]; /* of XAUTOCLAIM */
    struct hai_batch batch;
};

static redisReply *call(struct reader *r, struct hai_args *args) {
    redisReply *reply = hai_link_call(&r->link, args);

    hai_args_free(args);
    return reply;
}

static bool is_error(const struct reader *r, const char *code) {
    return strncmp(r->link.error, code, strlen(code)) == 0;
}

static void make_group(struct reader *r) {
    struct hai_args args;
    redisReply *reply;

    hai_args_init(&args);
    hai_args_str(&args, "XGROUP");
    hai_args_str(&args, "CREATE");
    hai_args_str(&args, r->w->events);
    hai_args_str(&args, HAI_GROUP);
    hai_args_str(&args, "0");
    hai_args_str(&args, "MKSTREAM");

    reply = call(r, &args);
    if (reply != NULL || (r->link.c != NULL && is_error(r, "BUSYGROUP"))) {
        r->group = true;
    } else if (r->link.c != NULL) {
        hai_tell(&r->batch.told_store, "making the consumer group",
                 r->link.error);
        hai_worker_pause(r->w, PAUSE_MS);
    }
    freeReplyObject(reply);
}

/* The stream may have been deleted, and the group with it. */
static void failed(struct reader *r, const char *what) {
    if (r->link.c == NULL) {
        return;
    }
    if (is_error(r, "NOGROUP")) {
        r->group = false;
        return;
    }
    hai_tell(&r->batch.told_store, what, r->link.error);
    hai_worker_pause(r->w, PAUSE_MS);
}

/*
 * Entries from this id on: ">" new ones, "0" those that this consumer has
 * read and not acknowledged.  Returns how many there were; *done: ended.
 */
static size_t read_entries(struct reader *r, const char *from, size_t *done) {
    struct hai_args args;
    redisReply *reply;
    size_t n = 0;

    hai_args_init(&args);
    hai_args_str(&args, "XREADGROUP");
    hai_args_str(&args, "GROUP");
    hai_args_str(&args, HAI_GROUP);
    hai_args_str(&args, r->consumer);
    hai_args_str(&args, "COUNT");
    hai_args_num(&args, HAI_BATCH);
    hai_args_str(&args, "BLOCK");
    hai_args_str(&args, BLOCK_MS);
    hai_args_str(&args, "STREAMS");
    hai_args_str(&args, r->w->events);
    hai_args_str(&args, from);

    *done = 0;
    reply = call(r, &args);

    if (reply == NULL) {
        failed(r, "reading the stream");
        return 0;
    }

    /* a list of streams, each with its name and a list of entries */
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 1
        && reply->element[0]->type == REDIS_REPLY_ARRAY
        && reply->element[0]->elements == 2
        && reply->element[0]->element[1]->type == REDIS_REPLY_ARRAY)
    {
        const redisReply *list = reply->element[0]->element[1];

        n = list->elements;
        *done = hai_batch_process(&r->batch, list);
    }
    freeReplyObject(reply);
    return n;
}

static void read_held(struct reader *r) {
    size_t n, done;

    r->batch.held = false;
    n = read_entries(r, "0", &done);

    /* a page is the first of maybe more */
    if (n > 0 || r->link.c == NULL) {
        r->batch.held = true;
    }
    if (n > 0 && done == 0) {
        r->next_held = hai_now_monotonic() + HELD_EVERY_MS;
    }
}

/* Entries of consumers that have died. */
static void claim(struct reader *r) {
    struct hai_args args;
    redisReply *reply;

    hai_args_init(&args);
    hai_args_str(&args, "XAUTOCLAIM");
    hai_args_str(&args, r->w->events);
    hai_args_str(&args, HAI_GROUP);
    hai_args_str(&args, r->consumer);
    hai_args_str(&args, CLAIM_IDLE_MS);
    hai_args_str(&args, r->cursor);
    hai_args_str(&args, "COUNT");
    hai_args_num(&args, HAI_BATCH);

    r->next_claim = hai_now_monotonic() + CLAIM_EVERY_MS;

    reply = call(r, &args);
    if (reply == NULL) {
        failed(r, "claiming entries");
        return;
    }

    if (reply->type == REDIS_REPLY_ARRAY && reply->elements >= 2
        && reply->element[0]->type == REDIS_REPLY_STRING
        && reply->element[1]->type == REDIS_REPLY_ARRAY)
    {
        if (reply->element[1]->elements > 0) {
            hai_log(HAI_LOG_INFO, "took over %zu entries that were not ended",
                    reply->element[1]->elements);
            hai_batch_process(&r->batch, reply->element[1]);
        }
        snprintf(r->cursor, sizeof(r->cursor), "%s", reply->element[0]->str);
        if (strcmp(r->cursor, "0-0") != 0) {
            r->next_claim = 0;
        }
    }
    freeReplyObject(reply);
}

/* Consumers of programs that ended long ago; at the end also ourselves. */
static void tidy(struct reader *r, bool own) {
    struct hai_args args;

    hai_args_init(&args);
    hai_store_tidy(&args, r->w, own ? r->consumer : "", TIDY_EVERY_MS);
    freeReplyObject(call(r, &args));
    r->next_tidy = hai_now_monotonic() + TIDY_EVERY_MS;
}

static void reopen(struct reader *r) {
    char error[256];

    if (r->w->audit_file == NULL) {
        return;
    }
    if (hai_audit_reopen(&r->w->audit, error, sizeof(error)) != 0) {
        hai_log(HAI_LOG_ERROR, "audit log, the old file stays open: %s", error);
    } else {
        hai_log(HAI_LOG_INFO, "audit log: opened again");
    }
}

/* One turn; rules are there. */
static void turn(struct reader *r) {
    uint64_t now = hai_now_monotonic();
    size_t done;

    if (r->link.c == NULL) {
        if (!hai_link_up(&r->link)) {
            hai_worker_pause(r->w, hai_link_pause(&r->link));
            return;
        }
        /* an answer may have been lost on the way */
        r->batch.held = true;
    }
    if (!r->group) {
        make_group(r);
        return;
    }

    if (now >= r->next_tidy) {
        tidy(r, false);
    } else if (now >= r->next_claim) {
        claim(r);
    } else if (r->batch.held && now >= r->next_held) {
        read_held(r);
    } else {
        (void) read_entries(r, ">", &done);
    }
}

static void begin(struct reader *r) {
    char host[64] = "host";

    if (gethostname(host, sizeof(host) - 1) != 0) {
        snprintf(host, sizeof(host), "host");
    }
    snprintf(r->consumer, sizeof(r->consumer), "%s-%ld-%08" PRIx64, host,
             (long) getpid(), hai_random() & 0xffffffff);

    r->batch.cooldown = hai_cooldown_new(COOLDOWNS);
    if (r->batch.cooldown == NULL) {
        hai_worker_fail("no memory");
    }
}

void *hai_reader(void *worker) {
    struct hai_worker *w = worker;
    struct reader *r = calloc(1, sizeof(*r));

    if (r == NULL) {
        hai_worker_fail("no memory");
    }

    r->w = w;
    r->batch.w = w;
    r->batch.link = &r->link;
    snprintf(r->cursor, sizeof(r->cursor), "0-0");
    hai_link_init(&r->link, &w->redis, "hoody-ai-events-reader");

    begin(r);

    while (!hai_worker_stopping(w)) {
        struct hai_rules *rules = hai_worker_rules(w);

        if (hai_worker_take(w, &w->reopen)) {
            reopen(r);
        }
        if (rules == NULL) {
            hai_worker_pause(w, WAIT_MS);
            continue;
        }
        hai_rules_unref(rules);
        turn(r);
    }

    if (r->link.c != NULL) {
        tidy(r, true);
    }
    hai_link_close(&r->link);
    hai_cooldown_free(r->batch.cooldown);
    free(r);
    return NULL;
}
