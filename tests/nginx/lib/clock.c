/*
 * Preloaded into a program, it lets a test set that program's wall clock: the
 * file that FAULT_CLOCK names holds the seconds to be added, as an int64_t.
 * The monotonic clock stays what it is, as when a host's clock is set.
 */

#define _GNU_SOURCE

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *added;

__attribute__((constructor)) static void map_it(void) {
    const char *name = getenv("FAULT_CLOCK");
    int fd = name != NULL ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    void *p;

    if (fd < 0) {
        return;
    }

    p = mmap(NULL, sizeof(*added), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);

    if (p != MAP_FAILED) {
        added = p;
    }
}

int clock_gettime(clockid_t id, struct timespec *ts) {
    int rc = (int) syscall(SYS_clock_gettime, id, ts);

    if (rc == 0 && added != NULL
        && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
    {
        ts->tv_sec += (time_t) *added;
    }

    return rc;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone) {
    struct timespec ts;
    int rc = clock_gettime(CLOCK_REALTIME, &ts);

    (void) zone;

    tv->tv_sec = ts.tv_sec;
    tv->tv_usec = (suseconds_t) (ts.tv_nsec / 1000);

    return rc;
}

time_t time(time_t *out) {
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);

    if (out != NULL) {
        *out = ts.tv_sec;
    }

    return ts.tv_sec;
}
