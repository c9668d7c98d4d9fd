/* A small table under one mutex, see locks.h. */

#include "locks.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct holder {
    char id[128]; /* "": free */
};

struct hai_lock_table {
    pthread_mutex_t lock;
    pthread_cond_t released;
    unsigned n;
    struct holder holder[];
};

struct hai_lock_table *hai_locks_new(unsigned n) {
    struct hai_lock_table *t;
    pthread_condattr_t attr;

    t = calloc(1, sizeof(*t) + n * sizeof(t->holder[0]));
    if (t == NULL) {
        return NULL;
    }

    t->n = n;

    if (pthread_condattr_init(&attr) != 0
        || pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) != 0
        || pthread_mutex_init(&t->lock, NULL) != 0
        || pthread_cond_init(&t->released, &attr) != 0)
    {
        free(t);
        return NULL;
    }

    pthread_condattr_destroy(&attr);

    return t;
}

void hai_locks_free(struct hai_lock_table *t) {
    if (t != NULL) {
        pthread_cond_destroy(&t->released);
        pthread_mutex_destroy(&t->lock);
        free(t);
    }
}

/* Takes a free place unless somebody has the id. */
static bool take(struct hai_lock_table *t, const char *id) {
    struct holder *place = NULL;

    for (unsigned i = 0; i < t->n; i++) {
        if (strcmp(t->holder[i].id, id) == 0) {
            return false;
        }
        if (place == NULL && t->holder[i].id[0] == '\0') {
            place = &t->holder[i];
        }
    }

    if (place == NULL) {
        return false;
    }

    snprintf(place->id, sizeof(place->id), "%s", id);

    return true;
}

bool hai_lock(struct hai_lock_table *t, const char *id, long wait_ms) {
    struct timespec until;
    bool taken;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += wait_ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }

    pthread_mutex_lock(&t->lock);

    while (!(taken = take(t, id))
           && pthread_cond_timedwait(&t->released, &t->lock, &until)
                  != ETIMEDOUT)
    {
        /* somebody has let one go */
    }

    pthread_mutex_unlock(&t->lock);

    return taken;
}

void hai_unlock(struct hai_lock_table *t, const char *id) {
    pthread_mutex_lock(&t->lock);

    for (unsigned i = 0; i < t->n; i++) {
        if (strcmp(t->holder[i].id, id) == 0) {
            t->holder[i].id[0] = '\0';
        }
    }

    pthread_cond_broadcast(&t->released);
    pthread_mutex_unlock(&t->lock);
}
