/* The thread that writes to the stream of events, see entries.h. */

#include "entries.h"

#include "lib/clock.h"
#include "lib/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define TELL_MS 60000 /* between two lines about lost entries */
#define BATCH 64
#define COMMAND_WORDS 6  /* XADD key MAXLEN ~ max * */
#define PAUSE_MIN_MS 100 /* between attempts to connect */
#define PAUSE_MAX_MS 5000
#define STOP_MS 1000

struct hai_entry {
    int argc;
    const char *argv[COMMAND_WORDS + 2 * HAI_ENTRY_FIELDS];
    size_t len[COMMAND_WORDS + 2 * HAI_ENTRY_FIELDS];
    char eid[48];
    char ts[24];
    char data[]; /* values of the fields */
};

/* What the writing thread has at hand. */
struct writer {
    struct hai_entries *e;
    redisContext *redis;
    struct hai_entry *batch[BATCH];
    size_t n;
    uint64_t give_up_ms; /* 0: not stopping */
    int pause_ms;
    time_t complained;
};

static void word(struct hai_entry *entry, const char *data, size_t len) {
    entry->argv[entry->argc] = data;
    entry->len[entry->argc] = len;
    entry->argc++;
}

static void pair(struct hai_entry *entry, const char *name, const char *data,
                 size_t len) {
    word(entry, name, strlen(name));
    word(entry, data, len);
}

static struct hai_entry *entry_new(struct hai_entries *e, const char *type,
                                   const struct hai_field *fields, size_t n) {
    static const char max[] = "100000";
    struct hai_entry *entry;
    size_t size = 0, i;
    char *p;
    int len;

    _Static_assert(HAI_STREAM_MAX == 100000, "the text says the same");

    for (i = 0; i < n; i++) {
        size += fields[i].value.len;
    }

    entry = malloc(sizeof(*entry) + size);
    if (entry == NULL) {
        return NULL;
    }

    entry->argc = 0;
    p = entry->data;

    word(entry, "XADD", 4);
    word(entry, e->key, strlen(e->key));
    word(entry, "MAXLEN", 6);
    word(entry, "~", 1);
    word(entry, max, sizeof(max) - 1);
    word(entry, "*", 1);

    len = snprintf(entry->eid, sizeof(entry->eid), "%016" PRIx64 "-%llu",
                   e->run, atomic_fetch_add(&e->serial, 1));
    pair(entry, "eid", entry->eid, (size_t) len);
    pair(entry, "type", type, strlen(type));

    len = snprintf(entry->ts, sizeof(entry->ts), "%" PRIu64, hai_wall_ms());
    pair(entry, "ts", entry->ts, (size_t) len);

    for (i = 0; i < n; i++) {
        if (fields[i].value.len > 0) {
            memcpy(p, fields[i].value.data, fields[i].value.len);
        }

        pair(entry, fields[i].name, p, fields[i].value.len);
        p += fields[i].value.len;
    }

    return entry;
}

void hai_entries_add(struct hai_entries *e, const char *type,
                     const struct hai_field *fields, size_t n) {
    struct hai_entry *entry = NULL;

    if (n <= HAI_ENTRY_FIELDS - 3) {
        entry = entry_new(e, type, fields, n);
    }

    if (entry != NULL) {
        pthread_mutex_lock(&e->lock);

        if (e->n < HAI_ENTRIES_MAX && !e->stopping) {
            e->ring[(e->first + e->n) % HAI_ENTRIES_MAX] = entry;
            e->n++;
            entry = NULL;
            pthread_cond_signal(&e->wake);
        }

        pthread_mutex_unlock(&e->lock);

        if (entry == NULL) {
            return;
        }
    }

    free(entry);
    atomic_fetch_add(&e->dropped, 1);
}

void hai_entries_look(struct hai_entries *e) {
    unsigned long long dropped = atomic_load(&e->dropped);
    uint64_t now = hai_mono_ms();

    if (dropped == e->told || (e->told_ms != 0 && now - e->told_ms < TELL_MS)) {
        return;
    }

    hai_log(HAI_LOG_ERROR, "%llu entries are lost: Redis does not take them",
            dropped - e->told);
    e->told = dropped;
    e->told_ms = now;
}

static void complain(struct writer *w, const char *what, const char *why) {
    time_t now = (time_t) (hai_mono_ms() / 1000);

    if (w->complained == 0 || now - w->complained >= 10) {
        w->complained = now;
        hai_log(HAI_LOG_WARN, "%s: %s", what, why);
    }
}

/* Fills the batch; waits where there is nothing.  False: the end. */
static bool next_batch(struct writer *w) {
    struct hai_entries *e = w->e;

    pthread_mutex_lock(&e->lock);

    while (e->n == 0 && w->n == 0 && !e->stopping) {
        pthread_cond_wait(&e->wake, &e->lock);
    }

    while (e->n > 0 && w->n < BATCH) {
        w->batch[w->n++] = e->ring[e->first];
        e->first = (e->first + 1) % HAI_ENTRIES_MAX;
        e->n--;
    }

    if (e->stopping && w->give_up_ms == 0) {
        w->give_up_ms = hai_mono_ms() + STOP_MS;
    }

    pthread_mutex_unlock(&e->lock);

    return w->n > 0 && (w->give_up_ms == 0 || hai_mono_ms() < w->give_up_ms);
}

/* Until the pause is over or the end has come. */
static void pause_a_while(struct writer *w) {
    struct hai_entries *e = w->e;
    struct timespec until;
    uint64_t ms;

    w->pause_ms =
        hai_redis_pause(e->redis, w->pause_ms, PAUSE_MIN_MS, PAUSE_MAX_MS);

    ms = hai_mono_ms() + (uint64_t) w->pause_ms / 2
         + (uint64_t) random() % ((uint64_t) w->pause_ms / 2);

    pthread_mutex_lock(&e->lock);

    if (e->stopping && ms > w->give_up_ms && w->give_up_ms != 0) {
        ms = w->give_up_ms;
    }

    until.tv_sec = (time_t) (ms / 1000);
    until.tv_nsec = (long) (ms % 1000) * 1000000;

    /* entries that come wake it too: the time is what counts */
    while ((!e->stopping || w->give_up_ms != 0)
           && pthread_cond_timedwait(&e->wake, &e->lock, &until) == 0)
    {
        continue;
    }

    pthread_mutex_unlock(&e->lock);
}

static void disconnect(struct writer *w) {
    if (w->redis != NULL) {
        redisFree(w->redis);
        w->redis = NULL;
    }
}

/* Is an error reply one that passes, so that the entry is worth keeping? */
static bool passes(const char *error) {
    static const char *const words[] = {"LOADING", "OOM", "MISCONF", "BUSY"};
    size_t i, len;

    if (hai_redis_elsewhere(error)) {
        return true;
    }

    for (i = 0; i < sizeof(words) / sizeof(*words); i++) {
        len = strlen(words[i]);

        if (strncmp(error, words[i], len) == 0 && error[len] == ' ') {
            return true;
        }
    }

    return false;
}

/* Sends the whole batch; what was answered leaves it.  -1: try again. */
static int write_batch(struct writer *w) {
    redisReply *reply;
    size_t done, i;
    int rc = 0;

    for (i = 0; i < w->n; i++) {
        struct hai_entry *entry = w->batch[i];

        if (redisAppendCommandArgv(w->redis, entry->argc, entry->argv,
                                   entry->len)
            != REDIS_OK)
        {
            complain(w, "cannot write entries", w->redis->errstr);
            return -1;
        }
    }

    for (done = 0; done < w->n; done++) {
        if (redisGetReply(w->redis, (void **) &reply) != REDIS_OK) {
            complain(w, "cannot write entries", w->redis->errstr);
            rc = -1;
            break;
        }

        if (reply->type == REDIS_REPLY_ERROR) {
            complain(w, "Redis refuses an entry", reply->str);

            if (passes(reply->str)) {
                freeReplyObject(reply);
                rc = -1;
                break;
            }

            atomic_fetch_add(&w->e->dropped, 1);
        }

        freeReplyObject(reply);
        free(w->batch[done]);
    }

    w->n -= done;
    memmove(w->batch, w->batch + done, w->n * sizeof(*w->batch));

    return rc;
}

static void *writer_main(void *data) {
    struct writer w = {.e = data};
    char error[256];
    size_t i;

    while (next_batch(&w)) {
        if (w.redis == NULL) {
            w.redis = hai_redis_connect(w.e->redis, "hoody-ai-rules-entries",
                                        error, sizeof(error));
            if (w.redis == NULL) {
                complain(&w, "cannot write entries", error);
                pause_a_while(&w);
                continue;
            }
        }

        if (write_batch(&w) == 0) {
            w.pause_ms = 0;
            continue;
        }

        /* replies may still be on their way: another connection */
        disconnect(&w);
        pause_a_while(&w);
    }

    disconnect(&w);

    for (i = 0; i < w.n; i++) {
        free(w.batch[i]);
    }

    atomic_fetch_add(&w.e->dropped, w.n);

    return NULL;
}

int hai_entries_start(struct hai_entries *e, const struct hai_redis_conf *redis,
                      const char *key) {
    pthread_condattr_t attr;

    *e = (struct hai_entries){.redis = redis, .key = key};

    if (getrandom(&e->run, sizeof(e->run), 0) != (ssize_t) sizeof(e->run)
        || pthread_condattr_init(&attr) != 0)
    {
        return -1;
    }

    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);

    if (pthread_mutex_init(&e->lock, NULL) != 0
        || pthread_cond_init(&e->wake, &attr) != 0)
    {
        pthread_condattr_destroy(&attr);
        return -1;
    }

    pthread_condattr_destroy(&attr);

    if (pthread_create(&e->thread, NULL, writer_main, e) != 0) {
        return -1;
    }

    e->started = true;

    return 0;
}

void hai_entries_stop(struct hai_entries *e) {
    if (!e->started) {
        return;
    }

    pthread_mutex_lock(&e->lock);
    e->stopping = true;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);

    pthread_join(e->thread, NULL);

    while (e->n > 0) {
        free(e->ring[e->first]);
        e->first = (e->first + 1) % HAI_ENTRIES_MAX;
        e->n--;
        atomic_fetch_add(&e->dropped, 1);
    }

    if (atomic_load(&e->dropped) > 0) {
        hai_log(HAI_LOG_WARN, "%llu entries were not written",
                atomic_load(&e->dropped));
    }

    pthread_cond_destroy(&e->wake);
    pthread_mutex_destroy(&e->lock);
}
