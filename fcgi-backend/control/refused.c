/* Counting of refused calls, see refused.h. */

#include "refused.h"

#include "audit.h"
#include "connection.h"

#include "lib/clock.h"
#include "lib/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOURCES 15 /* of a second, with their reasons; all others are one */
#define SECOND_MS 1000

struct source {
    char who[80];    /* "uid:<n>", "address:<ip>" */
    char reason[48]; /* the call's message */
    unsigned long count;
};

struct hai_refused {
    struct hai_control *control;
    pthread_t thread;
    struct hai_connection connection; /* the thread's */

    pthread_mutex_t lock; /* for all below */
    pthread_cond_t changed;
    bool stop;
    size_t n;
    unsigned long others;
    struct source source[SOURCES];
};

/* From which uid or address; nginx says so, not the caller. */
static void source_of(const struct hai_call *call, char *who, size_t size) {
    const char *uid = hai_call_param(call, "HOODY_PEER_UID");

    if (*uid != '\0') {
        snprintf(who, size, "uid:%s", uid);
    } else {
        snprintf(who, size, "address:%s", hai_call_param(call, "REMOTE_ADDR"));
    }
}

void hai_refused_count(struct hai_refused *r, const struct hai_call *call) {
    struct source one = {.count = 1};
    size_t i = 0;

    source_of(call, one.who, sizeof(one.who));
    snprintf(one.reason, sizeof(one.reason), "%.47s", call->message);

    pthread_mutex_lock(&r->lock);

    while (i < r->n
           && (strcmp(r->source[i].who, one.who) != 0
               || strcmp(r->source[i].reason, one.reason) != 0))
    {
        i++;
    }

    if (i < r->n) {
        r->source[i].count++;
    } else if (r->n < SOURCES) {
        r->source[r->n++] = one;
    } else {
        r->others++;
    }

    /* the first of a second; the thread need not hear of the others */
    if (r->n == 1 && r->source[0].count == 1) {
        pthread_cond_signal(&r->changed);
    }

    pthread_mutex_unlock(&r->lock);
}

static void write_down(struct hai_refused *r, const struct source *source,
                       size_t n, unsigned long others) {
    struct hai_audit_log *audit = r->control->audit;
    struct hai_registry_writer *w =
        hai_connection_open(&r->connection, r->control);

    for (size_t i = 0; i < n; i++) {
        hai_audit_refused(audit, w, source[i].who, source[i].reason,
                          source[i].count);
    }

    if (others > 0) {
        hai_audit_refused(audit, w, "others", "", others);
    }
}

/* Under the lock: from the first of them for a second, or until the end. */
static void wait_second(struct hai_refused *r) {
    uint64_t end;

    while (!r->stop && r->n == 0) {
        pthread_cond_wait(&r->changed, &r->lock);
    }

    end = hai_mono_ms() + SECOND_MS;

    while (!r->stop && hai_mono_ms() < end) {
        struct timespec until = {.tv_sec = (time_t) (end / 1000),
                                 .tv_nsec = (long) (end % 1000) * 1000000};

        pthread_cond_timedwait(&r->changed, &r->lock, &until);
    }
}

static void *run(void *data) {
    struct hai_refused *r = data;
    bool stop = false;

    while (!stop) {
        struct source source[SOURCES];
        unsigned long others;
        size_t n;

        pthread_mutex_lock(&r->lock);
        wait_second(r);

        stop = r->stop;
        n = r->n;
        others = r->others;
        memcpy(source, r->source, n * sizeof(*source));
        r->n = 0;
        r->others = 0;

        pthread_mutex_unlock(&r->lock);

        if (n > 0) {
            write_down(r, source, n, others);
        }
    }

    hai_connection_close(&r->connection);

    return NULL;
}

struct hai_refused *hai_refused_start(struct hai_control *control) {
    struct hai_refused *r = calloc(1, sizeof(*r));
    pthread_condattr_t attr;

    if (r == NULL) {
        hai_log(HAI_LOG_ERROR, "no memory");
        return NULL;
    }

    r->control = control;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&r->lock, NULL);

    if (pthread_create(&r->thread, NULL, run, r) != 0) {
        hai_log(HAI_LOG_ERROR, "a thread cannot be made");
        pthread_mutex_destroy(&r->lock);
        pthread_cond_destroy(&r->changed);
        free(r);
        return NULL;
    }

    return r;
}

void hai_refused_stop(struct hai_refused *r) {
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);

    pthread_join(r->thread, NULL);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->changed);
    free(r);
}
