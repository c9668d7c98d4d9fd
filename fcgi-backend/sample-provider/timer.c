/* The heap of deadlines, see timer.h. */

#include "timer.h"

#include <stdlib.h>
#include <string.h>

void hai_sp_timers_init(struct hai_sp_timers *ts) {
    memset(ts, 0, sizeof(*ts));
}

void hai_sp_timers_free(struct hai_sp_timers *ts) {
    free(ts->heap);
    hai_sp_timers_init(ts);
}

static void place(struct hai_sp_timers *ts, size_t i, struct hai_sp_timer *t) {
    ts->heap[i] = t;
    t->slot = i + 1;
}

static void sift_up(struct hai_sp_timers *ts, size_t i,
                    struct hai_sp_timer *t) {
    while (i > 0) {
        size_t parent = (i - 1) / 2;

        if (ts->heap[parent]->when <= t->when) {
            break;
        }
        place(ts, i, ts->heap[parent]);
        i = parent;
    }
    place(ts, i, t);
}

static void sift_down(struct hai_sp_timers *ts, size_t i,
                      struct hai_sp_timer *t) {
    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= ts->count) {
            break;
        }
        if (child + 1 < ts->count
            && ts->heap[child + 1]->when < ts->heap[child]->when) {
            child++;
        }
        if (ts->heap[child]->when >= t->when) {
            break;
        }
        place(ts, i, ts->heap[child]);
        i = child;
    }
    place(ts, i, t);
}

int hai_sp_timer_set(struct hai_sp_timers *ts, struct hai_sp_timer *t,
                     uint64_t when) {
    hai_sp_timer_cancel(ts, t);

    if (ts->count == ts->cap) {
        size_t cap = ts->cap > 0 ? ts->cap * 2 : 64;
        struct hai_sp_timer **heap;

        heap = realloc(ts->heap, cap * sizeof(*heap));
        if (heap == NULL) {
            return -1;
        }
        ts->heap = heap;
        ts->cap = cap;
    }
    t->when = when;
    ts->count++;
    sift_up(ts, ts->count - 1, t);
    return 0;
}

void hai_sp_timer_cancel(struct hai_sp_timers *ts, struct hai_sp_timer *t) {
    struct hai_sp_timer *last;
    size_t i;

    if (t->slot == 0) {
        return;
    }
    i = t->slot - 1;
    t->slot = 0;
    last = ts->heap[--ts->count];
    if (last == t) {
        return;
    }
    if (i > 0 && ts->heap[(i - 1) / 2]->when > last->when) {
        sift_up(ts, i, last);
    } else {
        sift_down(ts, i, last);
    }
}

struct hai_sp_timer *hai_sp_timer_first(const struct hai_sp_timers *ts) {
    return ts->count > 0 ? ts->heap[0] : NULL;
}
