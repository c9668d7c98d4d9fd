/* Listeners, TLS and the loop of each thread, see server.h. */

#define _GNU_SOURCE 1

#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "conn.h"
#include "record.h"

#define BACKLOG 4096
#define EVENTS 256
#define ACCEPTS 64 /* connections taken before others have their turn */
#define NS_PER_MS UINT64_C(1000000)

/* An address, bound once or once per thread. */
struct listener {
    const char *name;
    struct sockaddr_storage addr;
    socklen_t addr_len;
    bool local; /* a unix socket: one descriptor for all threads */
    int fd[HAI_SP_MAX_THREADS];
};

struct thread {
    pthread_t id;
    struct server *server;
    int index;
    int spare; /* a descriptor to give up when there are no more */
    struct hai_sp_loop loop;
};

struct server {
    const struct hai_sp_options *opt;
    struct hai_sp_keys keys;
    SSL_CTX *tls;
    int stop; /* eventfd, readable for all threads when it is over */
    struct listener listener[HAI_SP_MAX_LISTEN];
    size_t nlisteners;
    bool bad_option;
    struct thread thread[HAI_SP_MAX_THREADS];
};

static void report(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void report(const char *fmt, ...) {
    va_list ap;

    fputs("hoody-ai-sample-provider: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

static uint64_t monotonic(void) {
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t) ts.tv_sec * UINT64_C(1000000000) + (uint64_t) ts.tv_nsec;
}

/* A file that is no socket, or a socket that somebody serves, stays. */
static int clear_path(const struct sockaddr_un *un) {
    struct stat st;
    int fd, rc;

    if (lstat(un->sun_path, &st) != 0) {
        return errno == ENOENT ? 0 : -1;
    }
    if (!S_ISSOCK(st.st_mode)) {
        errno = EEXIST;
        return -1;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    rc = connect(fd, (const struct sockaddr *) un, sizeof(*un));
    close(fd);
    if (rc == 0) {
        errno = EADDRINUSE;
        return -1;
    }
    return unlink(un->sun_path);
}

static int resolve_local(struct listener *l, const char *path) {
    struct sockaddr_un *un = (struct sockaddr_un *) &l->addr;

    if (*path == '\0' || strlen(path) >= sizeof(un->sun_path)) {
        report("bad path in \"%s\"", l->name);
        return -1;
    }
    memset(un, 0, sizeof(*un));
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, strlen(path) + 1);
    l->addr_len = sizeof(*un);
    l->local = true;
    if (clear_path(un) != 0) {
        report("cannot use \"%s\": %s", l->name, strerror(errno));
        return -1;
    }
    return 0;
}

static int resolve(struct listener *l) {
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
    };
    struct addrinfo *found;
    const char *colon, *start = l->name;
    char host[256];
    size_t n;
    int rc;

    if (strncmp(l->name, "unix:", 5) == 0) {
        return resolve_local(l, l->name + 5);
    }
    colon = strrchr(l->name, ':');
    n = colon != NULL ? (size_t) (colon - start) : 0;
    if (n >= 2 && start[0] == '[' && start[n - 1] == ']') {
        start++;
        n -= 2;
    } else if (n > 0 && memchr(start, ':', n) != NULL) {
        n = 0; /* IPv6 without brackets: where would the port begin? */
    }
    if (n == 0 || n >= sizeof(host) || colon[1] == '\0') {
        report("\"%s\" is not host:port, [ipv6]:port or unix:PATH", l->name);
        return -1;
    }
    memcpy(host, start, n);
    host[n] = '\0';
    rc = getaddrinfo(host, colon + 1, &hints, &found);
    if (rc != 0) {
        report("cannot use \"%s\": %s", l->name, gai_strerror(rc));
        return -1;
    }
    memcpy(&l->addr, found->ai_addr, found->ai_addrlen);
    l->addr_len = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

static int bind_one(struct listener *l, bool shared) {
    int family = l->addr.ss_family;
    int one = 1;
    int fd;

    fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    if (!l->local) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        /* accepted sockets inherit it */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (shared) {
            setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
        }
        if (family == AF_INET6) {
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
        }
    }
    if (bind(fd, (struct sockaddr *) &l->addr, l->addr_len) != 0
        || listen(fd, BACKLOG) != 0
        /* with port 0 the other threads need the port that was found */
        || getsockname(fd, (struct sockaddr *) &l->addr, &l->addr_len) != 0)
    {
        int saved = errno;

        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static void announce(const struct listener *l) {
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (l->local) {
        printf("listening on %s\n", l->name);
    } else if (getnameinfo((const struct sockaddr *) &l->addr, l->addr_len,
                           host, sizeof(host), port, sizeof(port),
                           NI_NUMERICHOST | NI_NUMERICSERV)
               == 0)
    {
        printf(strchr(host, ':') != NULL ? "listening on [%s]:%s\n"
                                         : "listening on %s:%s\n",
               host, port);
    }
}

static int bind_all(struct server *s) {
    size_t i;
    int t;

    for (i = 0; i < s->opt->nlisten; i++) {
        struct listener *l = &s->listener[i];

        l->name = s->opt->listen[i];
        for (t = 0; t < HAI_SP_MAX_THREADS; t++) {
            l->fd[t] = -1;
        }
        if (resolve(l) != 0) {
            s->bad_option = true;
            return -1;
        }
        s->nlisteners++;
        for (t = 0; t < s->opt->threads; t++) {
            if (l->local && t > 0) {
                l->fd[t] = l->fd[0];
                continue;
            }
            l->fd[t] = bind_one(l, s->opt->threads > 1);
            if (l->fd[t] < 0) {
                report("cannot listen on \"%s\": %s", l->name, strerror(errno));
                return -1;
            }
        }
    }
    return 0;
}

static void unbind_all(struct server *s) {
    size_t i;
    int t;

    for (i = 0; i < s->nlisteners; i++) {
        struct listener *l = &s->listener[i];

        for (t = 0; t < s->opt->threads; t++) {
            if (l->fd[t] >= 0 && (t == 0 || !l->local)) {
                close(l->fd[t]);
            }
        }
        if (l->local && l->fd[0] >= 0) {
            unlink(((struct sockaddr_un *) &l->addr)->sun_path);
        }
    }
}

static int choose_alpn(SSL *ssl, const unsigned char **out,
                       unsigned char *outlen, const unsigned char *in,
                       unsigned int inlen, void *arg) {
    static const unsigned char ours[] = "\x08http/1.1";

    (void) ssl;
    (void) arg;
    return SSL_select_next_proto((unsigned char **) out, outlen, ours,
                                 sizeof(ours) - 1, in, inlen)
                   == OPENSSL_NPN_NEGOTIATED
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_NOACK;
}

static int make_tls(struct server *s) {
    const struct hai_sp_options *opt = s->opt;

    if (opt->tls_cert == NULL) {
        return 0;
    }
    s->tls = SSL_CTX_new(TLS_server_method());
    if (s->tls == NULL) {
        report("no TLS: %s", ERR_reason_error_string(ERR_get_error()));
        return -1;
    }
    SSL_CTX_set_min_proto_version(s->tls, TLS1_2_VERSION);
    SSL_CTX_set_mode(s->tls, SSL_MODE_ENABLE_PARTIAL_WRITE
                                 | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                                 | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(s->tls, choose_alpn, NULL);
    if (SSL_CTX_use_certificate_chain_file(s->tls, opt->tls_cert) != 1) {
        report("cannot use certificate \"%s\": %s", opt->tls_cert,
               ERR_reason_error_string(ERR_get_error()));
        return -1;
    }
    if (SSL_CTX_use_PrivateKey_file(s->tls, opt->tls_key, SSL_FILETYPE_PEM) != 1
        || SSL_CTX_check_private_key(s->tls) != 1)
    {
        report("cannot use key \"%s\": %s", opt->tls_key,
               ERR_reason_error_string(ERR_get_error()));
        return -1;
    }
    return 0;
}

static void take_connection(struct thread *t, int fd) {
    struct epoll_event ev = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
    };
    struct hai_sp_conn *c;
    SSL *ssl = NULL;

    hai_sp_count(&hai_sp_stats.accepted, 1);
    if (t->server->tls != NULL) {
        ssl = SSL_new(t->server->tls);
        if (ssl == NULL || SSL_set_fd(ssl, fd) != 1) {
            SSL_free(ssl);
            close(fd);
            return;
        }
        SSL_set_accept_state(ssl);
    }
    c = hai_sp_conn_new(&t->loop, fd, ssl);
    if (c == NULL) {
        SSL_free(ssl);
        close(fd);
        return;
    }
    ev.data.ptr = c;
    if (epoll_ctl(t->loop.epfd, EPOLL_CTL_ADD, fd, &ev) != 0) {
        hai_sp_conn_close(c);
    }
}

static int open_spare(void) {
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void accept_some(struct thread *t, int listener) {
    int i;

    for (i = 0; i < ACCEPTS; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            take_connection(t, fd);
            continue;
        }
        if (errno != EMFILE && errno != ENFILE) {
            return;
        }
        /* take it with the spare descriptor and hang up at once: left in
           the queue it would wake this loop for ever */
        report("no descriptor left for a connection");
        close(t->spare);
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            close(fd);
        }
        t->spare = open_spare();
        return;
    }
}

/* Milliseconds until the next timer, rounded up; -1: none. */
static int next_timeout(const struct hai_sp_loop *loop) {
    struct hai_sp_timer *t = hai_sp_timer_first(&loop->timers);
    uint64_t ms;

    if (t == NULL) {
        return -1;
    }
    if (t->when <= loop->now) {
        return 0;
    }
    ms = (t->when - loop->now + NS_PER_MS - 1) / NS_PER_MS;
    return ms < 60000 ? (int) ms : 60000;
}

static void run_timers(struct hai_sp_loop *loop) {
    uint64_t now = loop->now;
    struct hai_sp_timer *t;

    while ((t = hai_sp_timer_first(&loop->timers)) != NULL && t->when <= now) {
        hai_sp_timer_cancel(&loop->timers, t);
        /* what is armed for "now" meanwhile has its turn after the sockets */
        loop->now = now + 1;
        hai_sp_conn_timeout((struct hai_sp_conn *) t);
    }
}

/* Which listener an event is about, or -1: a connection. */
static int listener_of(const struct thread *t, const void *ptr) {
    const struct listener *first = t->server->listener;
    const struct listener *l = ptr;
    size_t i;

    for (i = 0; i < t->server->nlisteners; i++) {
        if (l == first + i) {
            return l->fd[t->index];
        }
    }
    return -1;
}

static void *serve(void *arg) {
    struct thread *t = arg;
    struct hai_sp_loop *loop = &t->loop;
    struct epoll_event events[EVENTS];

    for (;;) {
        int i, n;

        n = epoll_wait(loop->epfd, events, EVENTS, next_timeout(loop));
        if (n < 0 && errno != EINTR) {
            report("epoll_wait: %s", strerror(errno));
            break;
        }
        loop->now = monotonic();
        for (i = 0; i < n; i++) {
            void *ptr = events[i].data.ptr;
            int listener;

            if (ptr == &t->server->stop) {
                goto out;
            }
            listener = listener_of(t, ptr);
            if (listener >= 0) {
                accept_some(t, listener);
            } else {
                hai_sp_conn_event(ptr, events[i].events);
            }
        }
        run_timers(loop);
    }
out:
    while (loop->conns != NULL) {
        hai_sp_conn_close(loop->conns);
    }
    /* OpenSSL keeps a list of errors per thread */
    OPENSSL_thread_stop();
    return NULL;
}

static int watch(int epfd, int fd, uint32_t events, void *ptr) {
    struct epoll_event ev = {.events = events, .data.ptr = ptr};

    return epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev);
}

static int prepare_thread(struct server *s, int index) {
    struct thread *t = &s->thread[index];
    size_t i;

    t->server = s;
    t->index = index;
    t->loop.keys = &s->keys;
    hai_sp_timers_init(&t->loop.timers);
    t->loop.now = monotonic();
    t->spare = open_spare();
    t->loop.epfd = epoll_create1(EPOLL_CLOEXEC);
    if (t->loop.epfd < 0 || t->spare < 0 || hai_sp_ids_init(&t->loop.ids) != 0
        || watch(t->loop.epfd, s->stop, EPOLLIN, &s->stop) != 0)
    {
        return -1;
    }
    for (i = 0; i < s->nlisteners; i++) {
        struct listener *l = &s->listener[i];

        if (watch(t->loop.epfd, l->fd[index],
                  EPOLLIN | (l->local ? EPOLLEXCLUSIVE : 0), l)
            != 0)
        {
            return -1;
        }
    }
    return 0;
}

static void wait_for_end(const struct hai_sp_options *opt,
                         const sigset_t *signals) {
    int sig;

    for (;;) {
        if (sigwait(signals, &sig) != 0 || sig != SIGHUP) {
            return;
        }
        if (hai_sp_record_reopen() != 0) {
            report("cannot open \"%s\": %s", opt->log, strerror(errno));
        } else if (!opt->quiet) {
            report("log file opened anew");
        }
    }
}

/* Thousands of connections need more than the usual soft limit. */
static void raise_limits(void) {
    struct rlimit lim;

    if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
        lim.rlim_cur = lim.rlim_max;
        setrlimit(RLIMIT_NOFILE, &lim);
    }
}

static int start(struct server *s, const sigset_t *signals) {
    const struct hai_sp_options *opt = s->opt;
    uint64_t one = 1;
    size_t i;
    int t, started;
    int rc = -1;

    for (t = 0; t < opt->threads; t++) {
        if (prepare_thread(s, t) != 0) {
            report("cannot start: %s", strerror(errno));
            return -1;
        }
    }
    for (started = 0; started < opt->threads; started++) {
        struct thread *th = &s->thread[started];

        errno = pthread_create(&th->id, NULL, serve, th);
        if (errno != 0) {
            report("cannot start a thread: %s", strerror(errno));
            break;
        }
    }
    if (started == opt->threads) {
        for (i = 0; i < s->nlisteners; i++) {
            announce(&s->listener[i]);
        }
        fflush(stdout);
        wait_for_end(opt, signals);
        rc = 0;
    }
    if (write(s->stop, &one, sizeof(one)) != (ssize_t) sizeof(one)) {
        report("cannot stop the threads: %s", strerror(errno));
        return -1;
    }
    while (started > 0) {
        pthread_join(s->thread[--started].id, NULL);
    }
    return rc;
}

static void free_thread(struct thread *t) {
    if (t->server == NULL) {
        return;
    }
    if (t->loop.epfd >= 0) {
        close(t->loop.epfd);
    }
    if (t->spare >= 0) {
        close(t->spare);
    }
    hai_sp_timers_free(&t->loop.timers);
}

int hai_sp_server_run(const struct hai_sp_options *opt) {
    struct server *s = calloc(1, sizeof(*s));
    sigset_t signals;
    int rc = -1;
    int t;

    if (s == NULL) {
        report("no memory");
        return 1;
    }
    s->opt = opt;
    s->keys.key = opt->key;
    s->keys.count = opt->nkeys;
    raise_limits();

    /*
     * Threads inherit the mask: signals are the main thread's business.  From
     * the first listener on, whoever reaches it can have it stopped.
     */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);

    s->stop = eventfd(0, EFD_CLOEXEC);
    if (s->stop < 0) {
        report("eventfd: %s", strerror(errno));
    } else if (hai_sp_record_open(opt->log, opt->log_body, !opt->no_record)
               != 0) {
        report("cannot open \"%s\": %s", opt->log, strerror(errno));
    } else if (make_tls(s) == 0 && bind_all(s) == 0) {
        rc = start(s, &signals);
    }
    if (rc == 0 && !opt->quiet) {
        report("stopped");
    }

    unbind_all(s);
    for (t = 0; t < opt->threads; t++) {
        free_thread(&s->thread[t]);
    }
    if (s->stop >= 0) {
        close(s->stop);
    }
    SSL_CTX_free(s->tls);
    hai_sp_record_close();
    if (rc != 0) {
        rc = s->bad_option ? 2 : 1;
    }
    free(s);
    return rc;
}
