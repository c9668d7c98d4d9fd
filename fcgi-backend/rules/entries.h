/*
 * Entries for the stream of events.  Any thread hands one over and goes on at
 * once; a thread of its own writes them to Redis.  The queue is bounded, what
 * does not fit is dropped and counted.
 */

#ifndef HAI_RULES_ENTRIES_H
#define HAI_RULES_ENTRIES_H

#include "hai_identity.h"
#include "lib/redis.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define HAI_ENTRIES_MAX 4096  /* waiting */
#define HAI_ENTRY_FIELDS 24   /* of one entry */
#define HAI_STREAM_MAX 100000 /* entries of the stream, roughly */

struct hai_entry;

struct hai_entries {
    const struct hai_redis_conf *redis;
    const char *key; /* of the stream */
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* for what follows */
    pthread_cond_t wake;
    bool stopping;
    struct hai_entry *ring[HAI_ENTRIES_MAX];
    size_t first;
    size_t n;

    /* of the thread that calls hai_entries_look() */
    unsigned long long told;
    uint64_t told_ms;

    atomic_ullong dropped;
    atomic_ullong serial;
    uint64_t run; /* makes the ids of this run unlike others */
};

struct hai_field {
    const char *name;
    struct hai_slice value;
};

/* redis and key have to live as long.  0, or -1. */
int hai_entries_start(struct hai_entries *e, const struct hai_redis_conf *redis,
                      const char *key);

/* Copies the fields; eid and ts come from here. */
void hai_entries_add(struct hai_entries *e, const char *type,
                     const struct hai_field *fields, size_t n);

/* Called now and then: says in the log that entries were dropped, at most once
 * a minute. */
void hai_entries_look(struct hai_entries *e);

/* Writes what is waiting, for a second at most, and ends the thread. */
void hai_entries_stop(struct hai_entries *e);

#endif
