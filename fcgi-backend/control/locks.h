/*
 * One change of a container at a time, by its name: in this process, and with
 * hai_locks_share() in all that have the same file open.  The kernel lets go
 * what a process held that died.
 */

#ifndef HAI_CONTROL_LOCKS_H
#define HAI_CONTROL_LOCKS_H

#include <stdbool.h>
#include <stddef.h>

struct hai_lock_table;

/* For at most n holders at once: threads, and the reconciler. */
struct hai_lock_table *hai_locks_new(unsigned n);
void hai_locks_free(struct hai_lock_table *t);

/*
 * Before the first lock: with whoever has this file, which is made where it is
 * not there, and locks names of this server in it.  0; or -1 with a message in
 * error.
 */
int hai_locks_share(struct hai_lock_table *t, const char *path,
                    const char *server, char *error, size_t size);

/* Says which file that is, the same to all who share it and to nobody else,
 * this side of a restart of the host; "": none. */
const char *hai_locks_mark(const struct hai_lock_table *t);

/* Waits at most wait_ms; false: still held by another, or longer than a name
 * can be. */
bool hai_lock(struct hai_lock_table *t, const char *id, long wait_ms);
void hai_unlock(struct hai_lock_table *t, const char *id);

#endif
