/* What the reconciler does for snapshots. */

#ifndef HAI_CONTROL_SNAPSHOTS_H
#define HAI_CONTROL_SNAPSHOTS_H

#include "control.h"
#include "runtime.h"

/* Deletes those of this container whose time is over. */
void hai_snapshots_expire(struct hai_runtime *rt, struct hai_registry_writer *w,
                          const char *name, const char *id, int64_t now_ms);

/* The container is gone: so is what was kept about its snapshots. */
void hai_snapshots_forget(struct hai_registry_writer *w, const char *id);

#endif
