/* The shared part, see worker.h. */

#include "worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "lib/log.h"

#define TELL_EVERY_MS 60000

static char *key(const char *server, const char *name) {
    size_t size = strlen(server) + strlen(name) + sizeof("hoody:{}:");
    char *text = malloc(size);

    if (text != NULL) {
        snprintf(text, size, "hoody:{%s}:%s", server, name);
    }
    return text;
}

int hai_worker_init(struct hai_worker *w, const char *server) {
    pthread_condattr_t attr;

    if (pthread_mutex_init(&w->lock, NULL) != 0
        || pthread_condattr_init(&attr) != 0
        || pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) != 0
        || pthread_cond_init(&w->woken, &attr) != 0)
    {
        return -1;
    }
    pthread_condattr_destroy(&attr);

    w->events = key(server, "events");
    w->retry = key(server, "events:retry");
    w->retry_data = key(server, "events:retry:data");
    w->dead = key(server, "events:dead");
    w->seen = key(server, "events:seen");
    w->overlay = key(server, "rules");
    w->container = key(server, "container:");

    return w->events != NULL && w->retry != NULL && w->retry_data != NULL
                   && w->dead != NULL && w->seen != NULL && w->overlay != NULL
                   && w->container != NULL
               ? 0
               : -1;
}

void hai_worker_free(struct hai_worker *w) {
    if (w->rules != NULL) {
        hai_rules_unref(w->rules);
    }
    hai_redis_conf_free(&w->redis);
    free(w->allowed);
    free(w->events);
    free(w->retry);
    free(w->retry_data);
    free(w->dead);
    free(w->seen);
    free(w->overlay);
    free(w->container);
    pthread_cond_destroy(&w->woken);
    pthread_mutex_destroy(&w->lock);
}

bool hai_worker_stopping(struct hai_worker *w) {
    bool stop;

    pthread_mutex_lock(&w->lock);
    stop = w->stop;
    pthread_mutex_unlock(&w->lock);
    return stop;
}

void hai_worker_pause(struct hai_worker *w, unsigned ms) {
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long) (ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }

    pthread_mutex_lock(&w->lock);
    while (!w->stop && pthread_cond_timedwait(&w->woken, &w->lock, &until) == 0)
    {
        /* woken for something else */
    }
    pthread_mutex_unlock(&w->lock);
}

void hai_worker_tell(struct hai_worker *w, bool *flag) {
    pthread_mutex_lock(&w->lock);
    *flag = true;
    pthread_cond_broadcast(&w->woken);
    pthread_mutex_unlock(&w->lock);
}

bool hai_worker_take(struct hai_worker *w, bool *flag) {
    bool was;

    pthread_mutex_lock(&w->lock);
    was = *flag;
    *flag = false;
    pthread_mutex_unlock(&w->lock);
    return was;
}

struct hai_rules *hai_worker_rules(struct hai_worker *w) {
    struct hai_rules *rules;

    pthread_mutex_lock(&w->lock);
    rules = w->rules != NULL ? hai_rules_ref(w->rules) : NULL;
    pthread_mutex_unlock(&w->lock);
    return rules;
}

void hai_worker_set_rules(struct hai_worker *w, struct hai_rules *rules) {
    struct hai_rules *old;

    pthread_mutex_lock(&w->lock);
    old = w->rules;
    w->rules = rules;
    pthread_cond_broadcast(&w->woken);
    pthread_mutex_unlock(&w->lock);

    if (old != NULL) {
        hai_rules_unref(old);
    }
}

void hai_tell(uint64_t *last, const char *what, const char *why) {
    uint64_t now = hai_now_monotonic();

    if (*last == 0 || now - *last >= TELL_EVERY_MS) {
        hai_log(HAI_LOG_ERROR, "%s: %s", what, why);
        *last = now;
    }
}

void hai_worker_fail(const char *why) {
    hai_log(HAI_LOG_ERROR, "%s", why);
    _exit(EXIT_FAILURE);
}
