/*
 * The FastCGI server, see fcgi_server.h.
 *
 * libfcgi reads and writes the records, but is given connections one by one:
 * left alone, FCGX_Accept_r() waits for the next question of a kept connection
 * with a thread of its own.  So one epoll set has the listening socket and all
 * idle connections, each armed for one event; the thread that gets it calls
 * FCGX_Accept_r(), which finds the question there.
 *
 * For that two fields of FCGX_Request are set that are not meant for us,
 * ipcFd and keepConnection (FCGX_Accept_r() begins by finishing what was
 * before).  The request has no listening socket, so FCGX_Accept_r() fails
 * where the connection turns out to be of no use, and does not wait.
 *
 * A connection has two descriptors.  libfcgi closes its own when it likes; the
 * other is ours and is what epoll knows and shutdown() is called with, so that
 * neither meets a number that already belongs to somebody else.
 */

#define _GNU_SOURCE

#include "fcgi_server.h"

#include "clock.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define CONNECTIONS_KEPT 1024 /* beyond: closed after the answer */
#define CONNECTIONS_MAX 2048  /* beyond: not accepted */
#define IO_SECONDS 5          /* of one read or write */
#define CUT_MS 1000           /* at the end, for those that were cut off */
#define RESPONDER 1

struct connection {
    int fd;     /* ours; libfcgi's is request.ipcFd */
    bool known; /* to epoll */
    /* epoll hands it from thread to thread; this makes what one has written
     * be seen by the next */
    atomic_bool idle;
    FCGX_Request request;
    struct connection *next, *prev; /* all of them, under server->lock */
};

struct hai_fcgi_thread {
    struct hai_fcgi_server *server;
    pthread_t thread;
    void *scratch;
    int fd; /* of the request that it is at; its own business */

    pthread_mutex_t lock; /* for all below */
    bool taken;
    int timed_fd; /* to be cut off in time; -1: none */
    uint64_t since_ms;
};

struct hai_fcgi_server {
    struct hai_fcgi_owner owner;
    int listen_fd;
    int epoll_fd;
    int stop_fd;              /* eventfd: readable once it is time to end */
    atomic_bool accept_later; /* the listening socket is not armed */
    atomic_bool stopping;
    size_t started;
    size_t joined;
    struct hai_fcgi_thread *threads;

    pthread_mutex_t lock;
    struct connection *connections;
};

/* What an event of epoll is about, where it is no connection. */
static char listening, stopping;

static int arm(struct hai_fcgi_server *s, int op, int fd, void *what) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT,
                                .data.ptr = what};

    return epoll_ctl(s->epoll_fd, op, fd, &event);
}

/* Nothing of the connection may be touched afterwards, another thread may
 * have it. */
static int wait_for_request(struct hai_fcgi_server *s, struct connection *c) {
    int op = c->known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd = c->fd;

    c->known = true;
    atomic_store(&c->idle, true);

    return arm(s, op, fd, c);
}

static void accept_again(struct hai_fcgi_server *s) {
    if (!atomic_load(&s->stopping)
        && atomic_load(&s->owner.counters->connections) < CONNECTIONS_MAX
        && atomic_exchange(&s->accept_later, false)
        && arm(s, EPOLL_CTL_MOD, s->listen_fd, &listening) != 0)
    {
        atomic_store(&s->accept_later, true);
    }
}

static void connection_close(struct hai_fcgi_server *s, struct connection *c) {
    pthread_mutex_lock(&s->lock);

    if (c->prev != NULL) {
        c->prev->next = c->next;

    } else {
        s->connections = c->next;
    }

    if (c->next != NULL) {
        c->next->prev = c->prev;
    }

    pthread_mutex_unlock(&s->lock);

    /* takes its streams and descriptor, whatever state they are in */
    FCGX_Free(&c->request, 1);
    close(c->fd);
    free(c);

    atomic_fetch_sub(&s->owner.counters->connections, 1);
    accept_again(s);
}

static struct connection *connection_new(struct hai_fcgi_server *s, int fd) {
    static const struct timeval limit = {.tv_sec = IO_SECONDS};
    struct connection *c;
    int on = 1;

    c = calloc(1, sizeof(*c));
    if (c == NULL) {
        return NULL;
    }

    c->fd = fd;
    FCGX_InitRequest(&c->request, -1, FCGI_FAIL_ACCEPT_ON_INTR);
    c->request.keepConnection = 1;
    c->request.ipcFd = fcntl(fd, F_DUPFD_CLOEXEC, 3);

    if (c->request.ipcFd < 0
        || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0
        || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) != 0)
    {
        FCGX_Free(&c->request, c->request.ipcFd >= 0);
        free(c);
        return NULL;
    }

    /* else libfcgi, before it closes, reads for as long as a peer sends */
    FCGX_Detach(&c->request);

    /* of TCP, and without effect elsewhere */
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));

    pthread_mutex_lock(&s->lock);

    c->next = s->connections;
    if (c->next != NULL) {
        c->next->prev = c;
    }

    s->connections = c;

    pthread_mutex_unlock(&s->lock);

    return c;
}

/* fd: whose time begins now. */
static void at_work(struct hai_fcgi_thread *t, bool taken, int fd) {
    pthread_mutex_lock(&t->lock);
    t->taken = taken;
    t->timed_fd = fd;
    t->since_ms = hai_mono_ms();
    pthread_mutex_unlock(&t->lock);
}

void hai_fcgi_pause(struct hai_fcgi_thread *thread) {
    at_work(thread, true, -1);
}

void hai_fcgi_resume(struct hai_fcgi_thread *thread) {
    at_work(thread, true, thread->fd);
}

/* One request of a connection that has something to read. */
static void serve(struct hai_fcgi_thread *t, struct connection *c) {
    const struct hai_fcgi_owner *owner = &t->server->owner;
    bool keep = false;

    atomic_exchange(&c->idle, false);
    t->fd = c->fd;
    at_work(t, true, c->fd);

    if (FCGX_Accept_r(&c->request) == 0) {
        keep =
            c->request.role == RESPONDER
            && owner->answer(owner->data, t->scratch, t, &c->request) == 0
            && atomic_load(&owner->counters->connections) <= CONNECTIONS_KEPT;

        FCGX_Finish_r(&c->request);

        if (owner->scratch_reset != NULL) {
            owner->scratch_reset(t->scratch);
        }
    }

    at_work(t, false, -1);

    /* libfcgi has closed what was not to be kept, or is broken */
    keep = keep && c->request.ipcFd >= 0;

    if (!keep || wait_for_request(t->server, c) != 0) {
        connection_close(t->server, c);
    }
}

static void accept_one(struct hai_fcgi_thread *t) {
    struct hai_fcgi_server *s = t->server;
    struct connection *c = NULL;
    char byte;
    int fd;

    fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM)) {
        hai_log(HAI_LOG_ERROR, "accept: %s", strerror(errno));
        atomic_store(&s->accept_later, true);
        return;
    }

    if (fd >= 0
        && atomic_fetch_add(&s->owner.counters->connections, 1) + 1
               >= CONNECTIONS_MAX)
    {
        atomic_store(&s->accept_later, true);

    } else if (arm(s, EPOLL_CTL_MOD, s->listen_fd, &listening) != 0) {
        atomic_store(&s->accept_later, true);
    }

    if (fd < 0) {
        return;
    }

    atomic_fetch_add_explicit(&s->owner.counters->accepted, 1,
                              memory_order_relaxed);

    c = connection_new(s, fd);
    if (c == NULL) {
        hai_log(HAI_LOG_ERROR, "a connection is refused: %s", strerror(errno));
        close(fd);
        atomic_fetch_sub(&s->owner.counters->connections, 1);
        return;
    }

    /* mostly the request is there already */
    if (recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0) {
        serve(t, c);
        return;
    }

    if (wait_for_request(s, c) == 0) {
        return;
    }

    hai_log(HAI_LOG_ERROR, "epoll_ctl: %s", strerror(errno));
    connection_close(s, c);
}

/* The peers shall not send another request to who will not read it. */
static void end_idle(struct hai_fcgi_server *s) {
    struct connection *c;

    pthread_mutex_lock(&s->lock);

    for (c = s->connections; c != NULL; c = c->next) {
        if (atomic_load(&c->idle)) {
            shutdown(c->fd, SHUT_RDWR);
        }
    }

    pthread_mutex_unlock(&s->lock);
}

/*
 * Until it is told to stop; then until nothing is ready any more: epoll goes
 * round, so meeting the stop event twice in a row means that.
 */
static void *thread_main(void *data) {
    struct hai_fcgi_thread *t = data;
    struct hai_fcgi_server *s = t->server;
    struct epoll_event event;
    int stops = 0;

    while (stops < 2) {
        int n = epoll_wait(s->epoll_fd, &event, 1, -1);

        if (n < 0 && errno != EINTR) {
            hai_log(HAI_LOG_ERROR, "epoll_wait: %s", strerror(errno));
            break;
        }

        if (n != 1) {
            continue;
        }

        if (event.data.ptr == &stopping) {
            stops++;
            continue;
        }

        stops = 0;

        if (event.data.ptr == &listening) {
            accept_one(t);

        } else {
            serve(t, event.data.ptr);
        }
    }

    end_idle(s);

    return NULL;
}

/* A connection has two descriptors; what is missing is not accepted. */
static void raise_files(void) {
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0
        && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int open_epoll(struct hai_fcgi_server *s) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &stopping};
    int flags = fcntl(s->listen_fd, F_GETFL);

    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    return flags >= 0 && s->epoll_fd >= 0 && s->stop_fd >= 0
                   && fcntl(s->listen_fd, F_SETFL, flags | O_NONBLOCK) == 0
                   && epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, s->stop_fd, &event)
                          == 0
                   && arm(s, EPOLL_CTL_ADD, s->listen_fd, &listening) == 0
               ? 0
               : -1;
}

static int start_thread(struct hai_fcgi_server *s, struct hai_fcgi_thread *t) {
    t->server = s;
    t->timed_fd = -1;

    t->scratch = s->owner.scratch_new(s->owner.data);
    if (t->scratch == NULL) {
        errno = ENOMEM;
        return -1;
    }

    pthread_mutex_init(&t->lock, NULL);

    errno = pthread_create(&t->thread, NULL, thread_main, t);

    return errno == 0 ? 0 : -1;
}

struct hai_fcgi_server *
hai_fcgi_server_start(const struct hai_fcgi_owner *owner, int fd) {
    struct hai_fcgi_server *s;
    size_t n = owner->threads;

    raise_files();

    if (FCGX_Init() != 0) {
        hai_log(HAI_LOG_ERROR, "libfcgi: %s", strerror(errno));
        return NULL;
    }

    s = calloc(1, sizeof(*s));
    if (s == NULL || (s->threads = calloc(n, sizeof(*s->threads))) == NULL) {
        hai_log(HAI_LOG_ERROR, "no memory");
        free(s);
        return NULL;
    }

    s->owner = *owner;
    s->listen_fd = fd;
    pthread_mutex_init(&s->lock, NULL);

    /* a failure ends the program: what was begun goes with it */
    if (open_epoll(s) != 0) {
        hai_log(HAI_LOG_ERROR, "epoll: %s", strerror(errno));
        return NULL;
    }

    for (; s->started < n; s->started++) {
        if (start_thread(s, &s->threads[s->started]) != 0) {
            hai_log(HAI_LOG_ERROR, "cannot start a thread: %s",
                    strerror(errno));
            return NULL;
        }
    }

    return s;
}

/* Does nobody have time for a connection that has something to read? */
static bool others_wait(struct hai_fcgi_server *s) {
    struct pollfd ready = {.fd = s->epoll_fd, .events = POLLIN};
    bool taken = true;

    for (size_t i = 0; taken && i < s->started; i++) {
        pthread_mutex_lock(&s->threads[i].lock);
        taken = s->threads[i].taken;
        pthread_mutex_unlock(&s->threads[i].lock);
    }

    return taken && poll(&ready, 1, 0) == 1;
}

/* Whoever holds a thread for longer than that is cut off. */
static void cut(struct hai_fcgi_server *s, uint64_t limit_ms) {
    uint64_t now = hai_mono_ms();

    for (size_t i = 0; i < s->started; i++) {
        struct hai_fcgi_thread *t = &s->threads[i];

        pthread_mutex_lock(&t->lock);

        if (t->timed_fd >= 0 && now - t->since_ms >= limit_ms) {
            shutdown(t->timed_fd, SHUT_RDWR);
        }

        pthread_mutex_unlock(&t->lock);
    }
}

static void cut_slow(struct hai_fcgi_server *s) {
    const struct hai_fcgi_owner *owner = &s->owner;

    cut(s, owner->hurry_ms > 0 && others_wait(s) ? owner->hurry_ms
                                                 : owner->limit_ms);
}

void hai_fcgi_server_tick(struct hai_fcgi_server *s) {
    cut_slow(s);
    accept_again(s);
}

/* Until this moment of CLOCK_MONOTONIC. */
static bool join_all(struct hai_fcgi_server *s, uint64_t end) {
    struct timespec until;

    for (; s->joined < s->started; s->joined++) {
        uint64_t now = hai_mono_ms(), left = end > now ? end - now : 0;

        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += (time_t) (left / 1000);
        until.tv_nsec += (long) (left % 1000) * 1000000;

        if (until.tv_nsec >= 1000000000) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000;
        }

        if (pthread_clockjoin_np(s->threads[s->joined].thread, NULL,
                                 CLOCK_MONOTONIC, &until)
            != 0)
        {
            return false;
        }
    }

    return true;
}

/* Those that stall are cut off meanwhile too, and all when time is over. */
static bool end_all(struct hai_fcgi_server *s, unsigned timeout_ms) {
    uint64_t now = hai_mono_ms(), end = now + timeout_ms;

    while (now < end) {
        uint64_t tick = now + HAI_FCGI_TICK_MS;

        if (join_all(s, tick < end ? tick : end)) {
            return true;
        }

        cut_slow(s);
        now = hai_mono_ms();
    }

    cut(s, 0);

    return join_all(s, now + CUT_MS);
}

bool hai_fcgi_server_stop(struct hai_fcgi_server *s, unsigned timeout_ms) {
    uint64_t one = 1;

    atomic_store(&s->stopping, true);

    /* closed when nobody can be using its number any more */
    epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, s->listen_fd, NULL);
    (void) !write(s->stop_fd, &one, sizeof(one));

    if (!end_all(s, timeout_ms)) {
        return false;
    }

    while (s->connections != NULL) {
        connection_close(s, s->connections);
    }

    for (size_t i = 0; i < s->started; i++) {
        s->owner.scratch_free(s->threads[i].scratch);
        pthread_mutex_destroy(&s->threads[i].lock);
    }

    close(s->listen_fd);
    close(s->epoll_fd);
    close(s->stop_fd);
    pthread_mutex_destroy(&s->lock);
    free(s->threads);
    free(s);

    return true;
}
