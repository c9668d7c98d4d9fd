/* Signals, privileges, the listening socket, see service.h. */

#define _GNU_SOURCE /* setresuid() */

#include "service.h"

#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG 1024
#define LISTEN_FIRST 3 /* SD_LISTEN_FDS_START */

static void signals_of_interest(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
}

int hai_service_signals(void) {
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t set;

    signals_of_interest(&set);
    if (sigaction(SIGPIPE, &ignore, NULL) != 0
        || pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
    {
        return -1;
    }
    return 0;
}

static int64_t now_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int hai_service_wait(int timeout_ms) {
    int64_t end = now_ms() + timeout_ms;
    sigset_t set;
    int number;

    signals_of_interest(&set);
    for (;;) {
        int64_t left = end - now_ms();
        struct timespec time = {0, 0};

        if (left > 0) {
            time.tv_sec = left / 1000;
            time.tv_nsec = left % 1000 * 1000000;
        }
        number = timeout_ms < 0 ? sigwaitinfo(&set, NULL)
                                : sigtimedwait(&set, NULL, &time);
        if (number == SIGINT) {
            return SIGTERM;
        }
        if (number > 0) {
            return number;
        }
        if (errno == EAGAIN) {
            return 0;
        }
    }
}

bool hai_service_server_valid(const char *name) {
    size_t len = strlen(name), i;

    for (i = 0; i < len; i++) {
        if (name[i] <= ' ' || name[i] >= 0x7f
            || strchr("{}*?[]\\:", name[i]) != NULL) {
            return false;
        }
    }
    return len > 0 && len <= HAI_SERVER_MAX;
}

int hai_service_log(const char *program, const char *level) {
    enum hai_log_level parsed;

    if (hai_log_level_parse(level, &parsed) != 0) {
        fprintf(stderr,
                "%s: --log-level: \"%s\" is none of error, warn, info, debug\n",
                program, level);
        return -1;
    }
    hai_log_init(program, parsed);
    return 0;
}

int hai_service_server(const char *program, const char **server) {
    static char host[HAI_SERVER_MAX + 1];

    if (*server == NULL) {
        if (gethostname(host, sizeof(host) - 1) != 0) {
            host[0] = '\0';
        }
        *server = host;
    }
    if (!hai_service_server_valid(*server)) {
        fprintf(stderr, "%s: --server: \"%s\" is no name for a server\n",
                program, *server);
        return -1;
    }
    return 0;
}

int hai_service_user(const char *user, char *error, size_t size) {
    struct passwd *pw;

    errno = 0;
    pw = getpwnam(user);
    if (pw == NULL) {
        snprintf(error, size, "user \"%s\": %s", user,
                 errno != 0 ? strerror(errno) : "there is none");
        return -1;
    }
    if (geteuid() == pw->pw_uid && getegid() == pw->pw_gid) {
        return 0;
    }
    if (initgroups(user, pw->pw_gid) != 0
        || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) != 0
        || setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) != 0)
    {
        snprintf(error, size, "cannot become user \"%s\": %s", user,
                 strerror(errno));
        return -1;
    }
    if (pw->pw_uid != 0 && setuid(0) == 0) {
        snprintf(error, size, "user \"%s\" could become root again", user);
        return -1;
    }
    return 0;
}

static bool is_listening(int fd) {
    int on = 0;
    socklen_t len = sizeof(on);

    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on;
}

static int set_cloexec(int fd) {
    int flags = fcntl(fd, F_GETFD);

    return flags < 0 ? -1 : fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
}

/* The socket of systemd: its descriptor, -1 after a message, -2 none. */
static int listen_passed(char *error, size_t size) {
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    bool mine = pid != NULL && fds != NULL
                && strtoll(pid, NULL, 10) == (long long) getpid();
    bool one = mine && strcmp(fds, "1") == 0;

    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (!mine) {
        return -2;
    }
    if (!one || !is_listening(LISTEN_FIRST)) {
        snprintf(error, size,
                 "systemd passed something else than one listening socket");
        return -1;
    }
    if (set_cloexec(LISTEN_FIRST) != 0) {
        snprintf(error, size, "fcntl: %s", strerror(errno));
        return -1;
    }
    return LISTEN_FIRST;
}

static int parse_group(const char *group, gid_t *gid) {
    struct group *gr = getgrnam(group);
    char *end;
    unsigned long number;

    if (gr != NULL) {
        *gid = gr->gr_gid;
        return 0;
    }
    errno = 0;
    number = strtoul(group, &end, 10);
    if (*group < '0' || *group > '9' || *end != '\0' || errno != 0
        || number >= (gid_t) -1)
    {
        return -1;
    }
    *gid = (gid_t) number;
    return 0;
}

static int parse_mode(const char *text, mode_t *mode) {
    char *end;
    unsigned long number = strtoul(text, &end, 8);

    if (*text < '0' || *text > '7' || *end != '\0' || number > 0777) {
        return -1;
    }
    *mode = (mode_t) number;
    return 0;
}

/*
 * Takes a socket that nobody answers on out of the way.  What is there and is
 * no socket stays: bind() says so.
 */
static int remove_stale(const struct sockaddr_un *addr, char *error,
                        size_t size) {
    struct stat st;
    int fd, rc;

    if (lstat(addr->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode)) {
        return 0;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        snprintf(error, size, "socket: %s", strerror(errno));
        return -1;
    }
    rc = connect(fd, (const struct sockaddr *) addr, sizeof(*addr));
    if (rc != 0 && errno == ECONNREFUSED) {
        rc = unlink(addr->sun_path);
        if (rc != 0) {
            snprintf(error, size, "%s: %s", addr->sun_path, strerror(errno));
        }
    } else {
        snprintf(error, size, "%s: another program listens there",
                 addr->sun_path);
        rc = -1;
    }
    close(fd);
    return rc;
}

static int listen_unix(const char *path, const char *mode_text,
                       const char *group, char *error, size_t size) {
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    mode_t mode = 0660, old;
    gid_t gid = (gid_t) -1;
    int fd, rc;

    if (strlen(path) >= sizeof(addr.sun_path)) {
        snprintf(error, size, "%s: longer than %zu bytes", path,
                 sizeof(addr.sun_path) - 1);
        return -1;
    }
    strncpy(addr.sun_path, path, sizeof(addr.sun_path) - 1);
    if (mode_text != NULL && parse_mode(mode_text, &mode) != 0) {
        snprintf(error, size, "mode \"%s\": three octal digits are wanted",
                 mode_text);
        return -1;
    }
    if (group != NULL && parse_group(group, &gid) != 0) {
        snprintf(error, size, "group \"%s\": there is none", group);
        return -1;
    }
    if (remove_stale(&addr, error, size) != 0) {
        return -1;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        snprintf(error, size, "socket: %s", strerror(errno));
        return -1;
    }

    /* closed to all until it has its group and mode; a connect() needs
     * listen() as well, which comes last */
    old = umask(0777);
    rc = bind(fd, (struct sockaddr *) &addr, sizeof(addr));
    umask(old);
    if (rc == 0) {
        rc = gid != (gid_t) -1 ? chown(path, (uid_t) -1, gid) : 0;
        if (rc == 0) {
            rc = chmod(path, mode);
        }
        if (rc == 0) {
            rc = listen(fd, BACKLOG);
        }
        if (rc != 0) {
            snprintf(error, size, "%s: %s", path, strerror(errno));
            unlink(path);
        }
    } else {
        snprintf(error, size, "%s: %s", path, strerror(errno));
    }
    if (rc != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* getaddrinfo() takes numbers beyond the last port, and cuts bits off them */
static bool port_valid(const char *text) {
    return strlen(text) <= 5 && text[strspn(text, "0123456789")] == '\0'
           && strtoul(text, NULL, 10) <= 65535;
}

/* The first address that can be bound. */
static int listen_addresses(const struct addrinfo *list) {
    const struct addrinfo *ai;
    int fd, on = 1, saved = EADDRNOTAVAIL;

    for (ai = list; ai != NULL; ai = ai->ai_next) {
        fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC,
                    ai->ai_protocol);
        if (fd < 0) {
            saved = errno;
            continue;
        }
        if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0
            && bind(fd, ai->ai_addr, ai->ai_addrlen) == 0
            && listen(fd, BACKLOG) == 0)
        {
            return fd;
        }
        saved = errno;
        close(fd);
    }
    errno = saved;
    return -1;
}

static int listen_tcp(const char *spec, char *error, size_t size) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list;
    const char *colon = strrchr(spec, ':'), *host = spec;
    char name[256];
    size_t len = colon != NULL ? (size_t) (colon - spec) : 0;
    int fd, rc;

    if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
        host++;
        len -= 2;
    }
    if (len == 0 || len >= sizeof(name) || colon[1] == '\0') {
        snprintf(error, size,
                 "\"%s\": a path that begins with / or host:port is wanted",
                 spec);
        return -1;
    }
    if (!port_valid(colon + 1)) {
        snprintf(error, size, "\"%s\": a port up to 65535 is wanted", spec);
        return -1;
    }
    memcpy(name, host, len);
    name[len] = '\0';
    rc = getaddrinfo(name, colon + 1, &hints, &list);
    if (rc != 0) {
        snprintf(error, size, "%s: %s", spec, gai_strerror(rc));
        return -1;
    }
    fd = listen_addresses(list);
    if (fd < 0) {
        snprintf(error, size, "%s: %s", spec, strerror(errno));
    }
    freeaddrinfo(list);
    return fd;
}

const char *hai_service_path(const char *spec) {
    return strncmp(spec, "unix:", 5) == 0 ? spec + 5 : spec;
}

int hai_service_listen(const char *spec, const char *mode, const char *group,
                       bool *own, char *error, size_t size) {
    const char *path = hai_service_path(spec);
    int fd = listen_passed(error, size);

    *own = false;
    if (fd != -2) {
        return fd;
    }
    if (is_listening(STDIN_FILENO)) {
        return STDIN_FILENO;
    }
    if (*path != '/') {
        return listen_tcp(spec, error, size);
    }
    fd = listen_unix(path, mode, group, error, size);
    *own = fd >= 0;
    return fd;
}
