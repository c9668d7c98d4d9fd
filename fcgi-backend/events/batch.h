/*
 * A page of entries, from their reading to their acknowledgement.  Used by the
 * thread reader.
 */

#ifndef HAI_EVENTS_BATCH_H
#define HAI_EVENTS_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "effects.h"
#include "entry.h"
#include "link.h"
#include "worker.h"

#define HAI_BATCH 64

struct hai_item {
    struct hai_entry entry;
    struct hai_effects effects;
    struct hai_slice eid;
    struct hai_slice tags;
    redisReply *tags_reply;
    bool wanted; /* rules are to be asked */
    bool seen;   /* its eid was acted upon */
    bool held;   /* not to be acknowledged yet */
    bool done;
};

struct hai_batch {
    struct hai_worker *w;
    struct hai_link *link;
    struct hai_cooldown *cooldown;
    uint64_t told_audit; /* last message about the log; 0: it is well */
    uint64_t told_store;
    bool held; /* some entry waits, it has to be read again */
    struct hai_item item[HAI_BATCH];
    size_t n;
};

/*
 * Does all that the entries of a list cause, and acknowledges them.  Returns
 * how many were ended; sets b->held where some were not.
 */
size_t hai_batch_process(struct hai_batch *b, const redisReply *list);

#endif
