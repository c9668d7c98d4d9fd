/*
 * What the worker keeps in Redis: eids that were acted upon, the retry list,
 * dead letters.  Each function is one script, so it happens whole or not at
 * all, whoever dies meanwhile.
 */

#ifndef HAI_EVENTS_STORE_H
#define HAI_EVENTS_STORE_H

#include "args.h"
#include "hai_identity.h"
#include "link.h"
#include "worker.h"

#define HAI_SEEN_MS 900000  /* an eid is remembered so long, */
#define HAI_SEEN_MAX 65536  /* and among so many */
#define HAI_RETRY_MAX 20000 /* deliveries that wait; more are dead letters */
#define HAI_DEAD_MAX 10000
#define HAI_EVENTS_MAX 100000

/*
 * The end of an entry.  Unless its eid was acted upon before: the delivery is
 * put on the retry list (due now; a dead letter where that is full), the derived entries are appended, the eid
 * is noted.  In any case: the entry is acknowledged.
 *
 * delivery: JSON, or NULL.  derived: for each entry the number of its words
 * and these, names and values in turn; may be empty.
 */
void hai_store_commit(struct hai_args *args, const struct hai_worker *w,
                      struct hai_slice id, struct hai_slice eid,
                      const char *delivery, const struct hai_args *derived);

/* Drops eids that are too old or too many. */
void hai_store_forget(struct hai_args *args, const struct hai_worker *w);

/* Removes consumers that owe nothing: this one, and all that have not been
 * heard of for so long. */
void hai_store_tidy(struct hai_args *args, const struct hai_worker *w,
                    const char *consumer, uint64_t idle_ms);

/*
 * Leases deliveries that are due, at most max of them, until `lease`.  The
 * reply is an array: when the next one is due (a number; nil: there is none),
 * then id and data in turn.
 */
void hai_store_take(struct hai_args *args, const struct hai_worker *w,
                    uint64_t lease, size_t max);

/*
 * What became of a leased delivery.  Nothing happens where the lease has
 * ended and another one has it, or it is gone.  Where the list itself was
 * deleted nobody knows of leases any more, and every outcome counts.
 */
void hai_store_done(struct hai_args *args, const struct hai_worker *w,
                    const char *id, uint64_t lease);
void hai_store_later(struct hai_args *args, const struct hai_worker *w,
                     const char *id, uint64_t lease, uint64_t due,
                     const char *data);
void hai_store_dead(struct hai_args *args, const struct hai_worker *w,
                    const char *id, uint64_t lease,
                    const struct hai_args *letter);

#endif
