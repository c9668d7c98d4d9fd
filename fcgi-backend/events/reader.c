/*
 * The thread that reads the stream.  An entry is acknowledged in the same
 * step in which what it causes is handed over; a line of the audit log is on
 * the disk before that.  What cannot be done yet stays with this consumer
 * ("held") and is read again.  docs/internals/events.md has the states.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit.h"
#include "clock.h"
#include "effects.h"
#include "lib/log.h"
#include "link.h"
#include "store.h"
#include "worker.h"

#define BATCH 64
#define BLOCK_MS "500"
#define CLAIM_EVERY_MS 5000
#define CLAIM_IDLE_MS                                                          \
    "15000" /* an entry of a consumer that is silent so long */
#define HELD_EVERY_MS 1000
#define PAUSE_MS 1000
#define TELL_EVERY_MS 60000
#define TIDY_EVERY_MS 3600000
#define COOLDOWNS 65536

struct item {
    struct hai_entry entry;
    struct hai_effects effects;
    struct hai_slice eid;
    struct hai_slice tags;
    redisReply *tags_reply;
    bool wanted; /* rules are to be asked */
    bool seen;   /* its eid was acted upon */
    bool held;   /* not to be acknowledged yet */
    bool done;
};

struct reader {
    struct hai_worker *w;
    struct hai_link link;
    struct hai_cooldown *cooldown;
    char consumer[128];
    bool group; /* is there */
    bool held;  /* this consumer may have entries that wait */
    uint64_t next_held;
    uint64_t next_claim;
    uint64_t next_tidy;
    uint64_t told_audit;
    uint64_t told_store;
    char cursor[64]; /* of XAUTOCLAIM */
    struct item item[BATCH];
    size_t n;
};

/* At most once a minute. */
static void tell(uint64_t *last, const char *what, const char *why) {
    uint64_t now = hai_now_monotonic();

    if (*last == 0 || now - *last >= TELL_EVERY_MS) {
        hai_log(HAI_LOG_ERROR, "%s: %s", what, why);
        *last = now;
    }
}

static redisReply *call(struct reader *r, struct hai_args *args) {
    redisReply *reply = hai_link_call(&r->link, args);

    hai_args_free(args);
    return reply;
}

/* The items of a batch.  What was trimmed before it was read is gone. */
static void take_items(struct reader *r, const redisReply *list) {
    size_t trimmed = 0;

    r->n = 0;

    for (size_t i = 0; i < list->elements && r->n < BATCH; i++) {
        struct item *item = &r->item[r->n];

        memset(item, 0, sizeof(*item));
        hai_effects_init(&item->effects);

        switch (hai_entry_of(&item->entry, list->element[i])) {
        case 0:
            item->eid = hai_entry_get(&item->entry, "eid");
            break;
        case 1:
            item->seen = true;
            trimmed++;
            break;
        default:
            continue;
        }
        r->n++;
    }

    if (trimmed > 0) {
        hai_log(HAI_LOG_ERROR, "%zu entries were trimmed before they were read",
                trimmed);
    }
}

static void free_items(struct reader *r) {
    for (size_t i = 0; i < r->n; i++) {
        freeReplyObject(r->item[i].tags_reply);
        hai_effects_free(&r->item[i].effects);
    }
    r->n = 0;
}

/* An entry whose eid is that of an earlier one of the same batch. */
static bool repeats(const struct reader *r, size_t i) {
    const struct hai_slice *eid = &r->item[i].eid;

    for (size_t k = 0; eid->len > 0 && k < i; k++) {
        const struct hai_slice *other = &r->item[k].eid;

        if (!r->item[k].seen && other->len == eid->len
            && memcmp(other->data, eid->data, eid->len) == 0)
        {
            return true;
        }
    }
    return false;
}

static int send_questions(struct reader *r) {
    struct hai_args args;
    int rc;

    hai_args_init(&args);
    hai_args_str(&args, "ZMSCORE");
    hai_args_str(&args, r->w->seen);
    for (size_t i = 0; i < r->n; i++) {
        hai_args_add(&args, r->item[i].eid.data, r->item[i].eid.len);
    }
    rc = hai_link_send(&r->link, &args);
    hai_args_free(&args);

    for (size_t i = 0; rc == 0 && i < r->n; i++) {
        struct item *item = &r->item[i];
        struct hai_slice name;
        size_t prefix = strlen(r->w->container);
        char key[512];

        if (!item->wanted) {
            continue;
        }

        name = hai_entry_get(&item->entry, "container");
        if (name.len == 0 || name.len > sizeof(key) - prefix) {
            name = (struct hai_slice){"", 0};
        }
        memcpy(key, r->w->container, prefix);
        memcpy(key + prefix, name.data, name.len);

        hai_args_str(&args, "HGET");
        hai_args_add(&args, key, prefix + name.len);
        hai_args_str(&args, "tags");
        rc = hai_link_send(&r->link, &args);
        hai_args_free(&args);
    }
    return rc;
}

static int read_answers(struct reader *r) {
    redisReply *scores = hai_link_read(&r->link);

    if (scores == NULL && r->link.c == NULL) {
        return -1;
    }
    if (scores == NULL || scores->type != REDIS_REPLY_ARRAY) {
        tell(&r->told_store, "reading what was acted upon", r->link.error);
    } else {
        for (size_t i = 0; i < r->n && i < scores->elements; i++) {
            if (scores->element[i]->type != REDIS_REPLY_NIL) {
                r->item[i].seen = true;
            }
        }
    }
    freeReplyObject(scores);

    for (size_t i = 0; i < r->n; i++) {
        struct item *item = &r->item[i];
        redisReply *tags;

        if (!item->wanted) {
            continue;
        }
        tags = hai_link_read(&r->link);
        if (tags == NULL && r->link.c == NULL) {
            return -1;
        }
        item->tags_reply = tags;
        if (tags != NULL && tags->type == REDIS_REPLY_STRING) {
            item->tags = (struct hai_slice){tags->str, tags->len};
        }
    }
    return 0;
}

/* Was an entry's eid seen, what are its container's tags?  One round trip. */
static int ask_redis(struct reader *r, const struct hai_rules *rules) {
    for (size_t i = 0; i < r->n; i++) {
        struct item *item = &r->item[i];

        item->seen = item->seen || repeats(r, i);
        item->wanted = !item->seen && hai_effects_wanted(&item->entry, rules);
        item->tags = (struct hai_slice){"", 0};
    }

    if (send_questions(r) != 0) {
        return -1;
    }
    return read_answers(r);
}

/* What the entries say themselves. */
static void find_direct(struct reader *r) {
    bool audit = r->w->audit_file != NULL;

    for (size_t i = 0; i < r->n; i++) {
        struct item *item = &r->item[i];

        if (!item->seen
            && hai_effects_direct(&item->effects, &item->entry, audit) != 0) {
            tell(&r->told_store, "an entry waits", "no memory");
            item->held = true;
        }
    }
}

/* What the rules say to them: asked last, because cooldowns begin here. */
static void find_rules(struct reader *r, const struct hai_rules *rules) {
    uint64_t now = hai_now_monotonic();

    for (size_t i = 0; i < r->n; i++) {
        struct item *item = &r->item[i];

        if (item->wanted && !item->seen && !item->held
            && hai_effects_rules(&item->effects, &item->entry, rules,
                                 item->tags, r->cooldown, now)
                   != 0)
        {
            tell(&r->told_store, "an entry waits", "no memory");
            item->held = true;
        }
    }
}

/* All lines of the batch; those that are not on the disk are held. */
static void write_audit(struct reader *r) {
    char error[256] = "";
    size_t written = 0, lines = 0;
    int rc;

    for (size_t i = 0; i < r->n; i++) {
        if (r->item[i].effects.line != NULL && !r->item[i].held) {
            lines++;
        }
    }
    if (lines == 0) {
        return;
    }

    rc = hai_audit_begin(&r->w->audit, error, sizeof(error));
    if (rc == 0) {
        for (size_t i = 0; rc == 0 && i < r->n; i++) {
            struct item *item = &r->item[i];

            if (item->effects.line == NULL || item->held) {
                continue;
            }
            rc = hai_audit_write(&r->w->audit, item->effects.line,
                                 item->effects.line_len, error, sizeof(error));
            if (rc == 0) {
                written++;
            }
        }
        if (hai_audit_end(&r->w->audit, error, sizeof(error)) != 0) {
            written = 0;
        }
    }

    for (size_t i = 0; i < r->n; i++) {
        struct item *item = &r->item[i];

        if (item->effects.line == NULL || item->held) {
            continue;
        }
        if (written > 0) {
            written--;
        } else {
            item->held = true;
        }
    }

    if (error[0] != '\0') {
        tell(&r->told_audit, "audit log, entries wait", error);
    } else if (r->told_audit != 0) {
        hai_log(HAI_LOG_WARN, "audit log: is written again");
        r->told_audit = 0;
    }
}

static int send_end(struct reader *r, const struct item *item) {
    struct hai_args args;
    int rc;

    hai_args_init(&args);

    if (!item->seen && hai_effects_any(&item->effects)) {
        hai_store_commit(&args, r->w, item->entry.id, item->eid,
                         item->effects.delivery, &item->effects.derived);
    } else {
        hai_args_str(&args, "XACK");
        hai_args_str(&args, r->w->events);
        hai_args_str(&args, HAI_GROUP);
        hai_args_add(&args, item->entry.id.data, item->entry.id.len);
    }

    rc = hai_link_send(&r->link, &args);
    hai_args_free(&args);
    return rc;
}

/* Ends all items that are neither held nor done.  True when that is so. */
static bool try_commit(struct reader *r) {
    bool sent[BATCH] = {false};
    bool all = true;

    if (!hai_link_up(&r->link)) {
        return false;
    }

    for (size_t i = 0; i < r->n; i++) {
        if (!r->item[i].held && !r->item[i].done) {
            if (send_end(r, &r->item[i]) != 0) {
                return false;
            }
            sent[i] = true;
        }
    }

    for (size_t i = 0; i < r->n; i++) {
        redisReply *reply;

        if (!sent[i]) {
            continue;
        }
        reply = hai_link_read(&r->link);
        if (reply != NULL) {
            r->item[i].done = true;
            freeReplyObject(reply);
            continue;
        }
        if (r->link.c == NULL) {
            return false;
        }
        tell(&r->told_store, "an entry waits", r->link.error);
        all = false;
    }
    return all;
}

/*
 * What was found out is kept until Redis has it: asking the rules once more
 * would meet their cooldowns.
 */
static void commit(struct reader *r) {
    bool delivery = false, any = false;

    while (!try_commit(r)) {
        unsigned pause = PAUSE_MS;

        if (hai_worker_stopping(r->w)) {
            break;
        }
        if (r->link.c == NULL) {
            pause = hai_link_pause(&r->link);
            r->held = true;
        }
        hai_worker_pause(r->w, pause);
    }

    for (size_t i = 0; i < r->n; i++) {
        const struct item *item = &r->item[i];

        r->held = r->held || item->held || !item->done;
        any = any || hai_effects_any(&item->effects);
        delivery = delivery || item->effects.delivery != NULL;
    }

    if (delivery) {
        hai_worker_tell(r->w, &r->w->handed_over);
        curl_multi_wakeup(r->w->multi);
    }

    if (any && r->link.c != NULL) {
        struct hai_args args;

        hai_args_init(&args);
        hai_store_forget(&args, r->w);
        freeReplyObject(call(r, &args));
    }
}

/* How many entries of the list were ended. */
static size_t process(struct reader *r, const redisReply *list) {
    struct hai_rules *rules = hai_worker_rules(r->w);
    size_t done = 0;

    take_items(r, list);

    if (r->n > 0 && ask_redis(r, rules) == 0) {
        find_direct(r);
        write_audit(r);
        find_rules(r, rules);
        commit(r);
    } else if (r->n > 0) {
        r->held = true;
    }

    for (size_t i = 0; i < r->n; i++) {
        done += r->item[i].done ? 1 : 0;
    }

    free_items(r);
    hai_rules_unref(rules);
    return done;
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
        tell(&r->told_store, "making the consumer group", r->link.error);
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
    tell(&r->told_store, what, r->link.error);
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
    hai_args_num(&args, BATCH);
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
        *done = process(r, list);
    }
    freeReplyObject(reply);
    return n;
}

static void read_held(struct reader *r) {
    size_t n, done;

    r->held = false;
    n = read_entries(r, "0", &done);

    /* a page is the first of maybe more */
    if (n > 0 || r->link.c == NULL) {
        r->held = true;
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
    hai_args_num(&args, BATCH);

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
            process(r, reply->element[1]);
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
        r->held = true;
    }
    if (!r->group) {
        make_group(r);
        return;
    }

    if (now >= r->next_tidy) {
        tidy(r, false);
    } else if (now >= r->next_claim) {
        claim(r);
    } else if (r->held && now >= r->next_held) {
        read_held(r);
    } else {
        (void) read_entries(r, ">", &done);
    }
}

static int begin(struct reader *r) {
    char host[64] = "host";

    if (gethostname(host, sizeof(host) - 1) != 0) {
        snprintf(host, sizeof(host), "host");
    }
    snprintf(r->consumer, sizeof(r->consumer), "%s-%ld-%08" PRIx64, host,
             (long) getpid(), hai_random() & 0xffffffff);

    r->cooldown = hai_cooldown_new(COOLDOWNS);
    return r->cooldown != NULL ? 0 : -1;
}

void *hai_reader(void *worker) {
    struct hai_worker *w = worker;
    struct reader *r = calloc(1, sizeof(*r));

    if (r == NULL) {
        return NULL;
    }

    r->w = w;
    snprintf(r->cursor, sizeof(r->cursor), "0-0");
    hai_link_init(&r->link, &w->redis, "hoody-ai-events-reader");

    if (begin(r) == 0) {
        while (!hai_worker_stopping(w)) {
            struct hai_rules *rules = hai_worker_rules(w);

            if (hai_worker_take(w, &w->reopen)) {
                reopen(r);
            }
            if (rules == NULL) {
                hai_worker_pause(w, 20);
                continue;
            }
            hai_rules_unref(rules);
            turn(r);
        }
        if (r->link.c != NULL) {
            tidy(r, true);
        }
    }

    hai_link_close(&r->link);
    if (r->cooldown != NULL) {
        hai_cooldown_free(r->cooldown);
    }
    free(r);
    return NULL;
}
