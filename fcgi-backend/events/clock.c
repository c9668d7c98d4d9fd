/* Time and chance, see clock.h. */

#include "clock.h"

#include <sys/random.h>
#include <time.h>

static uint64_t milliseconds(clockid_t id) {
    struct timespec t = {0, 0};

    clock_gettime(id, &t);
    return (uint64_t) t.tv_sec * 1000 + (uint64_t) t.tv_nsec / 1000000;
}

uint64_t hai_now_monotonic(void) {
    return milliseconds(CLOCK_MONOTONIC);
}

uint64_t hai_now(void) {
    return milliseconds(CLOCK_REALTIME);
}

uint64_t hai_random(void) {
    uint64_t n;

    if (getrandom(&n, sizeof(n), GRND_NONBLOCK) != (ssize_t) sizeof(n)) {
        n = milliseconds(CLOCK_MONOTONIC) * 6364136223846793005u;
    }
    return n;
}
