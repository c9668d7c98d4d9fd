/* The audit log, see audit.h. */

#include "audit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK_TRIES 100
#define LOCK_PAUSE_NS 10000000 /* so others have a second to finish */

static int failed(const struct hai_audit *audit, const char *what, char *error,
                  size_t size) {
    snprintf(error, size, "%s: %s: %s", audit->path, what, strerror(errno));
    return -1;
}

/* Readable too, because begin() looks at the last byte. */
static int open_file(const char *path, char *error, size_t size) {
    int fd =
        open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0640);
    struct stat st;

    if (fd == -1) {
        snprintf(error, size, "%s: %s", path, strerror(errno));
        return -1;
    }

    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        snprintf(error, size, "%s: not a regular file", path);
        close(fd);
        return -1;
    }
    return fd;
}

int hai_audit_open(struct hai_audit *audit, const char *path, char *error,
                   size_t size) {
    audit->path = path;
    audit->fd = open_file(path, error, size);
    return audit->fd == -1 ? -1 : 0;
}

void hai_audit_close(struct hai_audit *audit) {
    if (audit->fd != -1) {
        close(audit->fd);
        audit->fd = -1;
    }
}

int hai_audit_reopen(struct hai_audit *audit, char *error, size_t size) {
    int fd = open_file(audit->path, error, size);

    if (fd == -1) {
        return -1;
    }
    close(audit->fd);
    audit->fd = fd;
    return 0;
}

static int lock(const struct hai_audit *audit) {
    const struct timespec pause = {0, LOCK_PAUSE_NS};

    for (int i = 0; i < LOCK_TRIES; i++) {
        if (flock(audit->fd, LOCK_EX | LOCK_NB) == 0) {
            return 0;
        }
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return -1;
        }
        nanosleep(&pause, NULL);
    }
    errno = EWOULDBLOCK;
    return -1;
}

static void unlock(const struct hai_audit *audit) {
    (void) flock(audit->fd, LOCK_UN);
}

int hai_audit_begin(struct hai_audit *audit, char *error, size_t size) {
    struct stat st;
    char last = '\n';

    if (lock(audit) != 0) {
        return failed(audit, "lock", error, size);
    }

    if (fstat(audit->fd, &st) != 0
        || (st.st_size > 0 && pread(audit->fd, &last, 1, st.st_size - 1) != 1))
    {
        failed(audit, "read", error, size);
        unlock(audit);
        return -1;
    }

    /* the host went down in the middle of a line */
    if (last != '\n' && hai_audit_write(audit, "\n", 1, error, size) != 0) {
        unlock(audit);
        return -1;
    }
    return 0;
}

int hai_audit_write(struct hai_audit *audit, const char *line, size_t len,
                    char *error, size_t size) {
    struct stat st;
    ssize_t n;

    if (fstat(audit->fd, &st) != 0) {
        return failed(audit, "stat", error, size);
    }

    do {
        n = write(audit->fd, line, len);
    } while (n == -1 && errno == EINTR);

    if (n == (ssize_t) len) {
        return 0;
    }

    if (n >= 0) {
        errno = ENOSPC;
    }
    failed(audit, "write", error, size);

    if (n > 0 && ftruncate(audit->fd, st.st_size) != 0) {
        return failed(audit, "truncate", error, size);
    }
    return -1;
}

int hai_audit_end(struct hai_audit *audit, char *error, size_t size) {
    int rc = 0;

    if (fdatasync(audit->fd) != 0) {
        rc = failed(audit, "fdatasync", error, size);
    }
    unlock(audit);
    return rc;
}
