/* The thread that loads rules: waits, connects; see loader_core.h. */

#define _GNU_SOURCE

#include "loader_core.h"

#include "lib/clock.h"
#include "lib/log.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS 400   /* looks at the file */
#define QUIET_MS 1000 /* then the feed has to prove that it is alive */
#define PAUSE_MIN_MS 100
#define PAUSE_MAX_MS 5000
#define FOREIGN_MS 1000 /* that long another engine may be ahead of us */

void hai_loader_disconnect(struct hai_loader *l, const char *why) {
    struct hai_load_state *state = &l->engine->state;

    if (l->feed != NULL) {
        redisFree(l->feed);
    }

    if (l->data != NULL) {
        redisFree(l->data);
    }

    l->feed = NULL;
    l->data = NULL;

    pthread_mutex_lock(&state->lock);
    state->redis = false;
    pthread_mutex_unlock(&state->lock);

    if (!l->complained) {
        l->complained = true;
        hai_log(HAI_LOG_ERROR, "Redis: %s", why);
    }

    l->pause_ms = hai_redis_pause(&l->engine->redis, l->pause_ms, PAUSE_MIN_MS,
                                  PAUSE_MAX_MS);

    l->next_attempt_ms = hai_mono_ms() + (uint64_t) l->pause_ms / 2
                         + (uint64_t) random() % ((uint64_t) l->pause_ms / 2);
}

static void connect_redis(struct hai_loader *l) {
    const char *const prefixes[] = {l->engine->rules_key};
    const struct hai_redis_conf *conf = &l->engine->redis;
    char error[256];

    l->feed =
        hai_redis_connect(conf, "hoody-ai-rules-feed", error, sizeof(error));
    if (l->feed == NULL
        || hai_redis_feed_start(l->feed, prefixes, 1, error, sizeof(error))
               != 0)
    {
        hai_loader_disconnect(l, error);
        return;
    }

    l->data = hai_redis_connect(conf, "hoody-ai-rules", error, sizeof(error));
    if (l->data == NULL) {
        hai_loader_disconnect(l, error);
        return;
    }

    /* the master may have changed between the two */
    if (!hai_redis_same(conf, l->feed, l->data)) {
        hai_loader_disconnect(l, "two masters were found");
        return;
    }

    l->beat_ms = hai_mono_ms();
    l->alive_ms = hai_mono_ms();
    l->read_overlay = true;
    l->look_at_epoch = true;
}

/* Everything that a connection is for has worked. */
static void connected(struct hai_loader *l) {
    struct hai_load_state *state = &l->engine->state;
    bool before;

    l->pause_ms = 0;
    l->complained = false;

    pthread_mutex_lock(&state->lock);
    before = state->redis;
    state->redis = true;
    pthread_mutex_unlock(&state->lock);

    if (!before) {
        hai_log(HAI_LOG_INFO, "Redis: connected");
    }
}

/* Takes all that the feed has to say. */
static void read_feed(struct hai_loader *l) {
    bool quiet = hai_mono_ms() - l->alive_ms >= QUIET_MS;
    redisReply *keys;
    char error[256];
    size_t i;
    int rc;

    /* with a time to wait it sends a heartbeat where there is nothing */
    while (
        (rc = hai_redis_feed_wait(l->feed, quiet, &keys, error, sizeof(error)))
        > 0)
    {
        quiet = false;
        l->alive_ms = hai_mono_ms();

        if (keys == NULL) {
            l->read_overlay = true;
            l->look_at_epoch = true;
            continue;
        }

        for (i = 0; i < keys->elements; i++) {
            const redisReply *key = keys->element[i];

            if (key->type != REDIS_REPLY_STRING) {
                continue;
            }

            if (strcmp(key->str, l->engine->rules_key) == 0) {
                l->read_overlay = true;

            } else if (strcmp(key->str, l->engine->epoch_key) == 0) {
                l->look_at_epoch = true;
            }
        }

        freeReplyObject(keys);
    }

    if (rc < 0) {
        hai_loader_disconnect(l, error);

    } else if (quiet) {
        l->alive_ms = hai_mono_ms();
    }
}

/* A feed that lives may be one of a master that is none any more. */
static void beat(struct hai_loader *l) {
    char error[256];

    if (hai_mono_ms() - l->beat_ms < QUIET_MS) {
        return;
    }

    l->beat_ms = hai_mono_ms();

    if (hai_redis_beat(l->data, &l->engine->redis, error, sizeof(error)) != 0) {
        hai_loader_disconnect(l, error);
    }
}

static void complain_foreign(struct hai_loader *l) {
    if (l->foreign_ms != 0 && !l->foreign_said
        && hai_mono_ms() - l->foreign_ms >= FOREIGN_MS)
    {
        l->foreign_said = true;
        hai_log(HAI_LOG_ERROR,
                "another engine published other rules for \"%s\""
                ": the gateway refuses the plans of this one",
                l->engine->server);
    }
}

/* Waits for something to do. */
static void wait_for_change(struct hai_loader *l) {
    struct pollfd fds[4];
    int timeout = TICK_MS;
    uint64_t now, value;

    fds[0] = (struct pollfd){.fd = l->wake, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = -1, .events = POLLIN};
    fds[2] = (struct pollfd){.fd = -1, .events = POLLIN};
    fds[3] = (struct pollfd){.fd = -1, .events = POLLIN};

    if (l->engine->file != NULL) {
        fds[1].fd = l->file.fd;
    }

    if (l->feed != NULL) {
        fds[2].fd = l->feed->fd;
        fds[3].fd = l->data->fd;

    } else {
        now = hai_mono_ms();

        if (l->next_attempt_ms <= now) {
            timeout = 0;

        } else if (l->next_attempt_ms - now < TICK_MS) {
            timeout = (int) (l->next_attempt_ms - now);
        }
    }

    if (poll(fds, 4, timeout) < 0 && errno != EINTR) {
        hai_log(HAI_LOG_ERROR, "poll: %s", strerror(errno));
    }

    if (fds[0].revents != 0) {
        (void) !read(l->wake, &value, sizeof(value));
    }

    if (l->engine->file != NULL
        && (fds[1].revents != 0 ? hai_file_watch_notified(&l->file)
                                : hai_file_watch_poll(&l->file)))
    {
        l->make_set = true;
    }

    /* nothing was asked on this connection: it is over */
    if (fds[3].revents != 0) {
        hai_loader_disconnect(l, "the connection was closed");
    }
}

static void *loader_main(void *data) {
    struct hai_loader *l = data;
    struct hai_engine *engine = l->engine;
    bool first = true;

    while (!atomic_load(&engine->stopping)) {
        if (atomic_exchange(&l->reload, false)) {
            l->forced = true;
            l->make_set = true;
            l->read_overlay = true;
        }

        if (l->feed == NULL && hai_mono_ms() >= l->next_attempt_ms) {
            connect_redis(l);
        }

        if (l->feed != NULL) {
            read_feed(l);
        }

        if (l->data != NULL) {
            beat(l);
        }

        if (l->read_overlay && l->data != NULL) {
            hai_loader_read_overlay(l);
        }

        /* the file alone is not the whole: wait for the overlay */
        if (l->make_set && l->overlay != NULL) {
            hai_loader_make_set(l);
        }

        if (l->look_at_epoch && l->data != NULL && l->rules != NULL) {
            hai_loader_publish(l);
        }

        if (l->data != NULL && !l->read_overlay) {
            connected(l);
        }

        if (first) {
            first = false;
            sem_post(&l->tried);
        }

        complain_foreign(l);
        wait_for_change(l);
    }

    return NULL;
}

struct hai_loader *hai_loader_start(struct hai_engine *engine) {
    struct hai_loader *l;

    l = calloc(1, sizeof(*l));
    if (l == NULL) {
        hai_log(HAI_LOG_ERROR, "no memory");
        return NULL;
    }

    l->engine = engine;
    l->make_set = true;
    l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (l->wake < 0 || sem_init(&l->tried, 0, 0) != 0
        || (engine->file != NULL
            && hai_file_watch_init(&l->file, engine->file) != 0)
        || pthread_create(&l->thread, NULL, loader_main, l) != 0)
    {
        hai_log(HAI_LOG_ERROR, "cannot start the loader: %s", strerror(errno));

        if (l->wake >= 0) {
            close(l->wake);
        }

        free(l);
        return NULL;
    }

    return l;
}

void hai_loader_wait(struct hai_loader *l, int timeout_ms) {
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long) timeout_ms % 1000 * 1000000;
    until.tv_sec += timeout_ms / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;

    while (sem_clockwait(&l->tried, CLOCK_MONOTONIC, &until) != 0
           && errno == EINTR) {
        continue;
    }
}

static void wake(struct hai_loader *l) {
    uint64_t one = 1;

    (void) !write(l->wake, &one, sizeof(one));
}

void hai_loader_reload(struct hai_loader *l) {
    atomic_store(&l->reload, true);
    wake(l);
}

void hai_loader_stop(struct hai_loader *l) {
    wake(l);
    pthread_join(l->thread, NULL);

    if (l->feed != NULL) {
        redisFree(l->feed);
    }

    if (l->data != NULL) {
        redisFree(l->data);
    }

    if (l->overlay != NULL) {
        freeReplyObject(l->overlay);
    }

    if (l->engine->file != NULL) {
        hai_file_watch_free(&l->file);
    }

    hai_rules_unref(l->rules);
    sem_destroy(&l->tried);
    close(l->wake);
    free(l);
}
