/* Clocks in milliseconds. */

#ifndef HAI_CLOCK_H
#define HAI_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t hai_clock_ms(clockid_t clock) {
    struct timespec ts;

    clock_gettime(clock, &ts);

    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}

/* Since 1970: for people, and for what other programs compare. */
static inline uint64_t hai_wall_ms(void) {
    return hai_clock_ms(CLOCK_REALTIME);
}

/* For durations. */
static inline uint64_t hai_mono_ms(void) {
    return hai_clock_ms(CLOCK_MONOTONIC);
}

#endif
