/*
 * What the threads of hoody-ai-rules share.
 *
 *   main       signals, and ends what takes too long (lib/fcgi_server.c)
 *   workers    answer questions (lib/fcgi_server.c, question.c)
 *   loader     watches file and Redis, makes sets, publishes (loader.c)
 *   writer     writes entries to the stream (entries.c)
 *
 * Nothing here is changed after the threads were started, but for what says
 * so.
 */

#ifndef HAI_RULES_ENGINE_H
#define HAI_RULES_ENGINE_H

#include "entries.h"
#include "lib/evaluate.h"
#include "lib/fcgi_server.h"
#include "lib/redis.h"
#include "set.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* The statuses that an answer may have; the index of a counter. */
enum hai_answer_status {
    HAI_ANSWER_200,
    HAI_ANSWER_204,
    HAI_ANSWER_400,
    HAI_ANSWER_403,
    HAI_ANSWER_413,
    HAI_ANSWER_503,
    HAI_ANSWER_COUNT
};

extern const int hai_answer_codes[HAI_ANSWER_COUNT];

struct hai_counters {
    atomic_ullong plan;
    atomic_ullong body;
    atomic_ullong answers[HAI_ANSWER_COUNT];
    atomic_ullong reloads;
    atomic_ullong reloads_failed;
};

/* Why the last load was refused. */
struct hai_load_error {
    char where[256];
    int line;
    int column;
    char rule[128];
    char reason[512];
    uint64_t at; /* milliseconds since 1970; 0: the last one was fine */
};

/* What status tells of the loader; with a lock of its own. */
struct hai_load_state {
    pthread_mutex_t lock;
    bool redis;         /* connected */
    uint64_t loaded_at; /* milliseconds since 1970 */
    unsigned overlay;   /* fields of the overlay in force */
    struct hai_load_error error;
};

struct hai_engine {
    const char *file; /* of the rules; NULL: only the overlay */
    const char *server;
    bool no_plan;
    long threads;
    struct hai_redis_conf redis;
    char *rules_key;
    char *epoch_key;
    char *events_key;

    /* with locks of their own, or atomic */
    struct hai_current current;
    struct hai_load_state state;
    struct hai_counters counters;
    struct hai_entries entries;
    struct hai_cooldown *cooldown;
    struct hai_seen *seen;
    struct hai_fcgi_counters fcgi;
    atomic_bool stopping;
};

#endif
