/*
 * Keeps the registry true to the runtime: docs/internals/control.md,
 * "Reconciling".  A thread with a connection to Redis of its own.
 */

#ifndef HAI_CONTROL_SYNC_H
#define HAI_CONTROL_SYNC_H

#include "control.h"

struct hai_sync;

/* NULL after a message. */
struct hai_sync *hai_sync_start(struct hai_control *control);

/* control->stopping is set: waits for the thread, which may be in the middle
 * of a runtime's answer, at most timeout_ms.  false: it does not end. */
bool hai_sync_stop(struct hai_sync *sync, int timeout_ms);

/* Do it all again now (SIGHUP). */
void hai_sync_wake(struct hai_sync *sync);

/* Fields of one that is being made: its AI was switched off meanwhile, which
 * changes nothing else, and so the version; and hai_locks_mark() of who makes
 * it. */
#define HAI_SYNC_AI_WANTED "ai_wanted"
#define HAI_SYNC_MAKER "maker"

/*
 * One container that was just made or acted upon: what the runtime says of
 * it, and with ai other than KEEP its gate, written by the calling thread,
 * which holds the lock of the name.  version: the gate only over this one,
 * where somebody has switched AI meanwhile that stays; 0: over any.
 */
enum hai_write_error hai_sync_one(struct hai_sync *sync,
                                  struct hai_registry_writer *w,
                                  const char *name, enum hai_container_ai ai,
                                  uint64_t version,
                                  struct hai_write_result *result);

/* When the last full reconcile ended well, milliseconds since 1970; 0: not
 * yet. */
int64_t hai_sync_last(const struct hai_sync *sync);

#endif
