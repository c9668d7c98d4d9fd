/* One change of a container at a time, by its id. */

#ifndef HAI_CONTROL_LOCKS_H
#define HAI_CONTROL_LOCKS_H

#include <stdbool.h>

struct hai_lock_table;

/* For at most n holders at once: threads, and the reconciler. */
struct hai_lock_table *hai_locks_new(unsigned n);
void hai_locks_free(struct hai_lock_table *t);

/* Waits at most wait_ms; false: still held by another. */
bool hai_lock(struct hai_lock_table *t, const char *id, long wait_ms);
void hai_unlock(struct hai_lock_table *t, const char *id);

#endif
