/*
 * Threads that take calls, see server.h.  The listening socket does not
 * block: a thread polls it together with the end, and whoever is first
 * accepts.
 */

#define _GNU_SOURCE

#include "server.h"

#include "audit.h"
#include "call.h"
#include "route.h"

#include "lib/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct taker {
    struct hai_control_server *server;
    pthread_t thread;
    redisContext *c;
    struct hai_registry_writer writer;
};

struct hai_control_server {
    struct hai_control *control;
    int fd;
    int stop_fd;
    unsigned n;
    struct taker taker[];
};

static int64_t now_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);

    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void disconnect(struct taker *t) {
    redisFree(t->c);
    t->c = NULL;
}

/* A connection that works; NULL after a message. */
static struct hai_registry_writer *writer_of(struct taker *t) {
    struct hai_control *control = t->server->control;
    char error[256];
    redisReply *pong;

    if (t->c != NULL && t->c->err != 0) {
        disconnect(t);
    }

    /* a connection that has ended, or leads to another than the master, shows
     * itself now and not in the middle */
    if (t->c != NULL) {
        pong = hai_redis_command(t->c, error, sizeof(error), "PING");
        if (pong == NULL
            || hai_redis_beat(t->c, &control->redis, error, sizeof(error)) != 0)
        {
            disconnect(t);
        }
        freeReplyObject(pong);
    }

    if (t->c == NULL) {
        t->c = hai_redis_connect(&control->redis, "hoody-ai-control", error,
                                 sizeof(error));
        if (t->c == NULL) {
            hai_log(HAI_LOG_ERROR, "Redis: %s", error);
            return NULL;
        }

        if (hai_registry_writer_init(&t->writer, t->c, control->server, error,
                                     sizeof(error))
            != 0)
        {
            hai_log(HAI_LOG_ERROR, "registry: %s", error);
            disconnect(t);
            return NULL;
        }
    }

    return &t->writer;
}

static void take(struct taker *t, FCGX_Request *fcgi) {
    struct hai_control *control = t->server->control;
    struct hai_call call = {
        .control = control,
        .fcgi = fcgi,
        .now_ms = now_ms(),
    };

    if (hai_call_read(&call) == 0) {
        call.writer = writer_of(t);
        hai_route(&call);
    }

    /* before the answer: what was done is written down when it is heard of */
    if (call.writer != NULL) {
        hai_audit_call(control->audit, &call);
    }

    if (hai_call_write(&call) != 0) {
        hai_log(HAI_LOG_INFO, "the caller has gone");
    }

    hai_call_free(&call);
}

static void *run(void *data) {
    struct taker *t = data;
    struct hai_control_server *s = t->server;
    struct pollfd fds[] = {{.fd = s->fd, .events = POLLIN},
                           {.fd = s->stop_fd, .events = POLLIN}};
    FCGX_Request fcgi;

    if (FCGX_InitRequest(&fcgi, s->fd, 0) != 0) {
        hai_log(HAI_LOG_ERROR, "FastCGI cannot be used");
        return NULL;
    }

    while (!atomic_load(&s->control->stopping)) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR) {
            hai_log(HAI_LOG_ERROR, "poll: %s", strerror(errno));
            break;
        }

        if ((fds[1].revents & POLLIN) != 0) {
            break;
        }

        /* -1 also where another thread was first */
        if ((fds[0].revents & POLLIN) != 0 && FCGX_Accept_r(&fcgi) == 0) {
            take(t, &fcgi);
            FCGX_Finish_r(&fcgi);
        }
    }

    FCGX_Free(&fcgi, 1);
    disconnect(t);

    return NULL;
}

struct hai_control_server *hai_control_server_start(struct hai_control *control,
                                                    int fd, unsigned threads) {
    struct hai_control_server *s;
    int flags = fcntl(fd, F_GETFL);

    s = calloc(1, sizeof(*s) + threads * sizeof(s->taker[0]));
    if (s == NULL || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0
        || FCGX_Init() != 0)
    {
        hai_log(HAI_LOG_ERROR, "cannot serve: %s", strerror(errno));
        free(s);
        return NULL;
    }

    s->control = control;
    s->fd = fd;
    s->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (s->stop_fd < 0) {
        hai_log(HAI_LOG_ERROR, "eventfd: %s", strerror(errno));
        free(s);
        return NULL;
    }

    for (; s->n < threads; s->n++) {
        s->taker[s->n].server = s;
        if (pthread_create(&s->taker[s->n].thread, NULL, run, &s->taker[s->n])
            != 0) {
            hai_log(HAI_LOG_ERROR, "a thread cannot be made");
            atomic_store(&control->stopping, true);
            hai_control_server_stop(s, 1000);
            return NULL;
        }
    }

    return s;
}

bool hai_control_server_stop(struct hai_control_server *server,
                             int timeout_ms) {
    uint64_t one = 1;
    struct timespec until;
    bool ended = true;

    if (write(server->stop_fd, &one, sizeof(one)) < 0) {
        return false;
    }

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += timeout_ms / 1000;

    for (unsigned i = 0; i < server->n; i++) {
        ended = pthread_timedjoin_np(server->taker[i].thread, NULL, &until) == 0
                && ended;
    }

    if (ended) {
        close(server->stop_fd);
        free(server);
    }

    return ended;
}
