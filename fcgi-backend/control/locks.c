/*
 * A small table under one mutex, see locks.h.  In the file that others share a
 * name is one byte, at an offset that is a hash of it; nothing is ever written
 * there.
 */

#define _GNU_SOURCE /* F_OFD_SETLK */

#include "locks.h"

#include "lib/clock.h"
#include "lib/log.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS 10 /* while another process holds it */

struct holder {
    char id[128]; /* "": free */
};

struct hai_lock_table {
    pthread_mutex_t lock;
    pthread_cond_t released;
    int fd; /* of the file; -1: not shared */
    char server[128];
    char mark[128];
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
    t->fd = -1;

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
        if (t->fd >= 0) {
            close(t->fd);
        }
        free(t);
    }
}

/* --- with other processes -------------------------------------------------- */

/* "<id of this boot>:<device>:<inode>" */
static int mark(struct hai_lock_table *t, const struct stat *st) {
    char boot[64];
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    bool read = file != NULL && fgets(boot, sizeof(boot), file) != NULL;

    if (file != NULL) {
        fclose(file);
    }

    if (!read) {
        return -1;
    }

    boot[strcspn(boot, "\n")] = '\0';
    snprintf(t->mark, sizeof(t->mark), "%s:%ju:%ju", boot,
             (uintmax_t) st->st_dev, (uintmax_t) st->st_ino);

    return 0;
}

int hai_locks_share(struct hai_lock_table *t, const char *path,
                    const char *server, char *error, size_t size) {
    struct stat st;

    snprintf(t->server, sizeof(t->server), "%s", server);

    t->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
                 0600);

    if (t->fd < 0 || fstat(t->fd, &st) != 0) {
        snprintf(error, size, "%s: %s", path, strerror(errno));
        return -1;
    }

    /* who else may open it can hold up everything */
    if (!S_ISREG(st.st_mode) || (st.st_mode & 022) != 0
        || (st.st_uid != 0 && st.st_uid != geteuid()))
    {
        snprintf(error, size, "%s: not a file of ours alone", path);
        return -1;
    }

    if (mark(t, &st) != 0) {
        snprintf(error, size,
                 "/proc/sys/kernel/random/boot_id: cannot be "
                 "read");
        return -1;
    }

    return 0;
}

const char *hai_locks_mark(const struct hai_lock_table *t) {
    return t->mark;
}

/* Two names never have the same byte, as far as anybody can find any. */
static int byte_of(const struct hai_lock_table *t, const char *id,
                   struct flock *byte) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    char text[sizeof(t->server) + sizeof(t->holder[0].id) + 1];
    uint64_t at = 0;
    int len = snprintf(text, sizeof(text), "%s/%s", t->server, id);

    if (EVP_Digest(text, (size_t) len, digest, NULL, EVP_sha256(), NULL) != 1) {
        return -1;
    }

    for (size_t i = 0; i < sizeof(at); i++) {
        at = at << 8 | digest[i];
    }

    *byte = (struct flock){
        .l_whence = SEEK_SET, .l_start = (off_t) (at >> 2), .l_len = 1};

    return 0;
}

/* Nobody else of this process has it. */
static bool take_byte(const struct hai_lock_table *t, const char *id,
                      uint64_t until) {
    struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
    struct flock byte;

    if (byte_of(t, id, &byte) != 0) {
        return false;
    }

    for (;;) {
        byte.l_type = F_WRLCK;

        if (fcntl(t->fd, F_OFD_SETLK, &byte) == 0) {
            return true;
        }

        if (errno != EAGAIN && errno != EACCES && errno != EINTR) {
            hai_log(HAI_LOG_ERROR, "the lock of %s: %s", id, strerror(errno));
            return false;
        }

        if (hai_mono_ms() >= until) {
            return false;
        }

        nanosleep(&pause, NULL);
    }
}

static void drop_byte(const struct hai_lock_table *t, const char *id) {
    struct flock byte;

    if (byte_of(t, id, &byte) == 0) {
        byte.l_type = F_UNLCK;
        fcntl(t->fd, F_OFD_SETLK, &byte);
    }
}

/* --- in this process ------------------------------------------------------- */

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

static void drop(struct hai_lock_table *t, const char *id) {
    pthread_mutex_lock(&t->lock);

    for (unsigned i = 0; i < t->n; i++) {
        if (strcmp(t->holder[i].id, id) == 0) {
            t->holder[i].id[0] = '\0';
        }
    }

    pthread_cond_broadcast(&t->released);
    pthread_mutex_unlock(&t->lock);
}

bool hai_lock(struct hai_lock_table *t, const char *id, long wait_ms) {
    uint64_t end = hai_mono_ms() + (uint64_t) wait_ms;
    struct timespec until;
    bool taken;

    if (strlen(id) >= sizeof(t->holder[0].id)) {
        return false;
    }

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

    if (taken && t->fd >= 0 && !take_byte(t, id, end)) {
        drop(t, id);
        return false;
    }

    return taken;
}

void hai_unlock(struct hai_lock_table *t, const char *id) {
    if (t->fd >= 0) {
        drop_byte(t, id);
    }

    drop(t, id);
}
