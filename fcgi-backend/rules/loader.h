/*
 * The life of the rule set: a thread that notices changes of the file and of
 * the overlay, makes the set of both, and publishes its epoch.  A document
 * that is not right is refused whole, the last good set stays in force.
 */

#ifndef HAI_RULES_LOADER_H
#define HAI_RULES_LOADER_H

#include "engine.h"

struct hai_loader;

/* NULL with a message in the log. */
struct hai_loader *hai_loader_start(struct hai_engine *engine);

/* Until there was one attempt to load, or the time is over.  Called once. */
void hai_loader_wait(struct hai_loader *loader, int timeout_ms);

/* SIGHUP: reads everything again. */
void hai_loader_reload(struct hai_loader *loader);

void hai_loader_stop(struct hai_loader *loader);

#endif
