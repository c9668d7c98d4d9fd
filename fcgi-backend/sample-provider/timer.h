/*
 * A binary heap of deadlines.  The owner embeds struct hai_sp_timer; arming,
 * moving and cancelling cost O(log n), the next deadline O(1).
 */

#ifndef HAI_SP_TIMER_H
#define HAI_SP_TIMER_H

#include <stddef.h>
#include <stdint.h>

struct hai_sp_timer {
    uint64_t when; /* nanoseconds of CLOCK_MONOTONIC */
    size_t slot;   /* place in the heap plus one; 0: not armed */
};

struct hai_sp_timers {
    struct hai_sp_timer **heap;
    size_t count;
    size_t cap;
};

void hai_sp_timers_init(struct hai_sp_timers *ts);
void hai_sp_timers_free(struct hai_sp_timers *ts);

/* Arms or moves t.  Returns 0, or -1 without memory. */
int hai_sp_timer_set(struct hai_sp_timers *ts, struct hai_sp_timer *t,
                     uint64_t when);

/* Does nothing when t is not armed. */
void hai_sp_timer_cancel(struct hai_sp_timers *ts, struct hai_sp_timer *t);

/* The earliest timer, still armed, or NULL. */
struct hai_sp_timer *hai_sp_timer_first(const struct hai_sp_timers *ts);

#endif
