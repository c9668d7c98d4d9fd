/*
 * What the threads of hoody-ai-events share.  Options and keys never change
 * once the threads run; the rest is behind the lock.
 *
 *     main      signals
 *     follow    rule file and overlay -> the current set of rules
 *     reader    the stream -> audit log, entries `rule`, retry list
 *     deliver   the retry list -> webhooks, dead letters
 */

#ifndef HAI_EVENTS_WORKER_H
#define HAI_EVENTS_WORKER_H

#include <curl/curl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "address.h"
#include "audit.h"
#include "lib/redis.h"
#include "lib/rules.h"

#define HAI_GROUP "hoody-ai-events"

struct hai_worker {
    const char *rules_file; /* or NULL */
    const char *audit_file; /* or NULL */
    const char *ca_file;    /* or NULL */
    struct hai_redis_conf redis;
    struct hai_cidr *allowed;
    size_t n_allowed;
    unsigned attempts;
    unsigned backoff; /* milliseconds */

    char *events;
    char *retry;      /* ZSET: entry id -> when due */
    char *retry_data; /* HASH: entry id -> what is to be sent */
    char *dead;
    char *seen; /* ZSET: eid -> when it was acted upon */
    char *overlay;
    char *container; /* prefix of */

    struct hai_audit audit; /* open where there is a file; the reader's */
    CURLM *multi;           /* of the thread deliver; others only wake it */

    pthread_mutex_t lock;
    pthread_cond_t woken;
    bool stop;
    bool reopen;             /* the audit log */
    bool reload;             /* the rules */
    bool handed_over;        /* something new on the retry list */
    struct hai_rules *rules; /* NULL until both parts were read once */
};

/* 0, or -1 without memory. */
int hai_worker_init(struct hai_worker *w, const char *server);
void hai_worker_free(struct hai_worker *w);

bool hai_worker_stopping(struct hai_worker *w);

/* Waits, at most so long; returns at once when the program is to stop. */
void hai_worker_pause(struct hai_worker *w, unsigned ms);

/* Sets one of the flags and wakes who waits; or takes it. */
void hai_worker_tell(struct hai_worker *w, bool *flag);
bool hai_worker_take(struct hai_worker *w, bool *flag);

/* The current rules, a reference of the caller's; or NULL. */
struct hai_rules *hai_worker_rules(struct hai_worker *w);

/* Takes the caller's reference. */
void hai_worker_set_rules(struct hai_worker *w, struct hai_rules *rules);

/* Says what went wrong, at most once a minute.  *last: 0 at first. */
void hai_tell(uint64_t *last, const char *what, const char *why);

/* Ends the program: a thread cannot begin. */
void hai_worker_fail(const char *why) __attribute__((noreturn));

/* The threads; argument: the worker. */
void *hai_follow(void *worker);
void *hai_reader(void *worker);
void *hai_deliver(void *worker);

#endif
