/* Time and chance, see clock.h. */

#include "clock.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define LAST_YEAR_MS 253402300799999 /* of 9999 */

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

void hai_iso(uint64_t ms, char out[HAI_ISO_SIZE]) {
    struct tm tm;
    time_t seconds;
    size_t n;

    if (ms > LAST_YEAR_MS) {
        ms = LAST_YEAR_MS;
    }
    seconds = (time_t) (ms / 1000);

    memset(&tm, 0, sizeof(tm));
    gmtime_r(&seconds, &tm);
    n = strftime(out, HAI_ISO_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, HAI_ISO_SIZE - n, ".%03uZ", (unsigned) (ms % 1000));
}
