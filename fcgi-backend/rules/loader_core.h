/*
 * What the two files of the loader share: loader.c waits and connects, load.c
 * makes sets and publishes them.  All of it runs in the loader's thread.
 *
 *   connected     feed (invalidations) and data (reads, the epoch) belong
 *                 together: when one is lost both are closed
 *   to be done    read_overlay, make_set, look_at_epoch
 *   fresh         the set in force is not the one of the published epoch
 *
 * The feed is begun before the overlay is read, so no change is missed.
 */

#ifndef HAI_RULES_LOADER_CORE_H
#define HAI_RULES_LOADER_CORE_H

#include "engine.h"
#include "loader.h"
#include "watch.h"

#include <semaphore.h>

struct hai_loader {
    struct hai_engine *engine;
    pthread_t thread;
    int wake; /* eventfd */
    atomic_bool reload;
    sem_t tried; /* posted once: the first attempt to load is over */

    struct hai_file_watch file;

    redisContext *feed;
    redisContext *data;
    uint64_t alive_ms; /* when the feed said something */
    uint64_t beat_ms;  /* when the master was asked whether it still is */
    uint64_t next_attempt_ms;
    int pause_ms;
    bool complained; /* about Redis, since it was connected last */

    redisReply *overlay; /* of HGETALL, as it was read last */

    struct hai_rules *rules; /* in force */
    struct hai_epoch epoch;  /* of it */
    bool fresh;

    bool read_overlay;
    bool make_set;
    bool forced; /* SIGHUP */
    bool look_at_epoch;
    uint64_t foreign_ms; /* since when another epoch is there; 0: it is not */
    bool foreign_said;
};

/* Closes both connections; the next attempt comes after a pause. */
void hai_loader_disconnect(struct hai_loader *l, const char *why);

/* With a connection: reads the overlay, so that a set has to be made of it. */
void hai_loader_read_overlay(struct hai_loader *l);

/* With an overlay: makes a set of it and the file, and publishes that. */
void hai_loader_make_set(struct hai_loader *l);

/* With a connection and a set: brings the epoch of Redis and ours together. */
void hai_loader_publish(struct hai_loader *l);

#endif
