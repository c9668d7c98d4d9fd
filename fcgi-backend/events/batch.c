/*
 * Pages of entries, see batch.h.  An entry is acknowledged in the same step in
 * which what it causes is handed over; a line of the audit log is on the disk
 * before that.  What cannot be done yet stays with this consumer ("held") and
 * is read again.
 */

#include "batch.h"

#include <stdio.h>
#include <string.h>

#include "audit.h"
#include "clock.h"
#include "lib/log.h"
#include "store.h"

#define PAUSE_MS 1000
#define EID_MAX 256 /* bytes; a longer one is none of the gateway's */

/* The items of a batch.  What was trimmed before it was read is gone. */
static void take_items(struct hai_batch *b, const redisReply *list) {
    size_t trimmed = 0;

    b->n = 0;

    for (size_t i = 0; i < list->elements && b->n < HAI_BATCH; i++) {
        struct hai_item *item = &b->item[b->n];

        memset(item, 0, sizeof(*item));
        hai_effects_init(&item->effects);

        switch (hai_entry_of(&item->entry, list->element[i])) {
        case 0:
            item->eid = hai_entry_get(&item->entry, "eid");
            if (item->eid.len > EID_MAX) {
                item->eid.len = 0;
            }
            break;
        case 1:
            item->seen = true;
            trimmed++;
            break;
        default:
            continue;
        }
        b->n++;
    }

    if (trimmed > 0) {
        hai_log(HAI_LOG_ERROR, "%zu entries were trimmed before they were read",
                trimmed);
    }
}

static void free_items(struct hai_batch *b) {
    for (size_t i = 0; i < b->n; i++) {
        freeReplyObject(b->item[i].tags_reply);
        hai_effects_free(&b->item[i].effects);
    }
    b->n = 0;
}

/* An entry whose eid is that of an earlier one of the same batch. */
static bool repeats(const struct hai_batch *b, size_t i) {
    const struct hai_slice *eid = &b->item[i].eid;

    for (size_t k = 0; eid->len > 0 && k < i; k++) {
        const struct hai_slice *other = &b->item[k].eid;

        if (!b->item[k].seen && other->len == eid->len
            && memcmp(other->data, eid->data, eid->len) == 0)
        {
            return true;
        }
    }
    return false;
}

static int send_questions(struct hai_batch *b) {
    struct hai_args args;
    int rc;

    hai_args_init(&args);
    hai_args_str(&args, "ZMSCORE");
    hai_args_str(&args, b->w->seen);
    for (size_t i = 0; i < b->n; i++) {
        hai_args_add(&args, b->item[i].eid.data, b->item[i].eid.len);
    }
    rc = hai_link_send(b->link, &args);
    hai_args_free(&args);

    for (size_t i = 0; rc == 0 && i < b->n; i++) {
        struct hai_item *item = &b->item[i];
        struct hai_slice name;
        size_t prefix = strlen(b->w->container);
        char key[512];

        if (!item->wanted) {
            continue;
        }

        name = hai_entry_get(&item->entry, "container");
        if (name.len == 0 || name.len > sizeof(key) - prefix) {
            name = (struct hai_slice){"", 0};
        }
        memcpy(key, b->w->container, prefix);
        memcpy(key + prefix, name.data, name.len);

        hai_args_str(&args, "HGET");
        hai_args_add(&args, key, prefix + name.len);
        hai_args_str(&args, "tags");
        rc = hai_link_send(b->link, &args);
        hai_args_free(&args);
    }
    return rc;
}

static int read_answers(struct hai_batch *b) {
    redisReply *scores = hai_link_read(b->link);

    if (scores == NULL && b->link->c == NULL) {
        return -1;
    }
    if (scores == NULL || scores->type != REDIS_REPLY_ARRAY) {
        hai_tell(&b->told_store, "reading what was acted upon", b->link->error);
    } else {
        for (size_t i = 0; i < b->n && i < scores->elements; i++) {
            if (scores->element[i]->type != REDIS_REPLY_NIL) {
                b->item[i].seen = true;
            }
        }
    }
    freeReplyObject(scores);

    for (size_t i = 0; i < b->n; i++) {
        struct hai_item *item = &b->item[i];
        redisReply *tags;

        if (!item->wanted) {
            continue;
        }
        tags = hai_link_read(b->link);
        if (tags == NULL && b->link->c == NULL) {
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
static int ask_redis(struct hai_batch *b, const struct hai_rules *rules) {
    for (size_t i = 0; i < b->n; i++) {
        struct hai_item *item = &b->item[i];

        item->seen = item->seen || repeats(b, i);
        item->wanted = !item->seen && hai_effects_wanted(&item->entry, rules);
        item->tags = (struct hai_slice){"", 0};
    }

    if (send_questions(b) != 0) {
        return -1;
    }
    return read_answers(b);
}

/* What the entries say themselves. */
static void find_direct(struct hai_batch *b) {
    bool audit = b->w->audit_file != NULL;

    for (size_t i = 0; i < b->n; i++) {
        struct hai_item *item = &b->item[i];

        if (!item->seen
            && hai_effects_direct(&item->effects, &item->entry, audit) != 0) {
            hai_tell(&b->told_store, "an entry waits", "no memory");
            item->held = true;
        }
    }
}

/* What the rules say to them: asked last, because cooldowns begin here. */
static void find_rules(struct hai_batch *b, const struct hai_rules *rules) {
    uint64_t now = hai_now_monotonic();

    for (size_t i = 0; i < b->n; i++) {
        struct hai_item *item = &b->item[i];

        if (item->wanted && !item->seen && !item->held
            && hai_effects_rules(&item->effects, &item->entry, rules,
                                 item->tags, b->cooldown, now)
                   != 0)
        {
            hai_tell(&b->told_store, "an entry waits", "no memory");
            item->held = true;
        }
    }
}

/* All lines of the batch; those that are not on the disk are held. */
static void write_audit(struct hai_batch *b) {
    char error[256] = "";
    size_t written = 0, lines = 0;
    int rc;

    for (size_t i = 0; i < b->n; i++) {
        if (b->item[i].effects.line != NULL && !b->item[i].held) {
            lines++;
        }
    }
    if (lines == 0) {
        return;
    }

    rc = hai_audit_begin(&b->w->audit, error, sizeof(error));
    if (rc == 0) {
        for (size_t i = 0; rc == 0 && i < b->n; i++) {
            struct hai_item *item = &b->item[i];

            if (item->effects.line == NULL || item->held) {
                continue;
            }
            rc = hai_audit_write(&b->w->audit, item->effects.line,
                                 item->effects.line_len, error, sizeof(error));
            if (rc == 0) {
                written++;
            }
        }
        if (hai_audit_end(&b->w->audit, error, sizeof(error)) != 0) {
            written = 0;
        }
    }

    for (size_t i = 0; i < b->n; i++) {
        struct hai_item *item = &b->item[i];

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
        hai_tell(&b->told_audit, "audit log, entries wait", error);
    } else if (b->told_audit != 0) {
        hai_log(HAI_LOG_WARN, "audit log: is written again");
        b->told_audit = 0;
    }
}

static int send_end(struct hai_batch *b, const struct hai_item *item) {
    struct hai_args args;
    int rc;

    hai_args_init(&args);

    if (!item->seen && hai_effects_any(&item->effects)) {
        hai_store_commit(&args, b->w, item->entry.id, item->eid,
                         item->effects.delivery, &item->effects.derived);
    } else {
        hai_args_str(&args, "XACK");
        hai_args_str(&args, b->w->events);
        hai_args_str(&args, HAI_GROUP);
        hai_args_add(&args, item->entry.id.data, item->entry.id.len);
    }

    rc = hai_link_send(b->link, &args);
    hai_args_free(&args);
    return rc;
}

/* Ends all items that are neither held nor done.  True when that is so. */
static bool try_commit(struct hai_batch *b) {
    bool sent[HAI_BATCH] = {false};
    bool all = true;

    if (!hai_link_up(b->link)) {
        return false;
    }

    for (size_t i = 0; i < b->n; i++) {
        if (!b->item[i].held && !b->item[i].done) {
            if (send_end(b, &b->item[i]) != 0) {
                return false;
            }
            sent[i] = true;
        }
    }

    for (size_t i = 0; i < b->n; i++) {
        redisReply *reply;

        if (!sent[i]) {
            continue;
        }
        reply = hai_link_read(b->link);
        if (reply != NULL) {
            b->item[i].done = true;
            freeReplyObject(reply);
            continue;
        }
        if (b->link->c == NULL) {
            return false;
        }
        hai_tell(&b->told_store, "an entry waits", b->link->error);
        all = false;
    }
    return all;
}

/*
 * What was found out is kept until Redis has it: asking the rules once more
 * would meet their cooldowns.
 */
static void commit(struct hai_batch *b) {
    bool delivery = false, any = false;

    while (!try_commit(b)) {
        unsigned pause = PAUSE_MS;

        if (hai_worker_stopping(b->w)) {
            break;
        }
        if (b->link->c == NULL) {
            pause = hai_link_pause(b->link);
            b->held = true;
        }
        hai_worker_pause(b->w, pause);
    }

    for (size_t i = 0; i < b->n; i++) {
        const struct hai_item *item = &b->item[i];

        b->held = b->held || item->held || !item->done;
        any = any || hai_effects_any(&item->effects);
        delivery = delivery || item->effects.delivery != NULL;
    }

    if (delivery) {
        hai_worker_tell(b->w, &b->w->handed_over);
        curl_multi_wakeup(b->w->multi);
    }

    if (any && b->link->c != NULL) {
        struct hai_args args;

        hai_args_init(&args);
        hai_store_forget(&args, b->w);
        freeReplyObject(hai_link_call(b->link, &args));
        hai_args_free(&args);
    }
}

size_t hai_batch_process(struct hai_batch *b, const redisReply *list) {
    struct hai_rules *rules = hai_worker_rules(b->w);
    size_t done = 0;

    take_items(b, list);

    if (b->n > 0 && ask_redis(b, rules) == 0) {
        find_direct(b);
        write_audit(b);
        find_rules(b, rules);
        commit(b);
    } else if (b->n > 0) {
        b->held = true;
    }

    for (size_t i = 0; i < b->n; i++) {
        done += b->item[i].done ? 1 : 0;
    }

    free_items(b);
    hai_rules_unref(rules);
    return done;
}
