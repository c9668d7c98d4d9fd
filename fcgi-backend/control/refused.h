/*
 * Calls of nobody: without a token, or with one that is not valid.  In the
 * audit they are counted for a second, so that whoever makes many of them
 * does not push out what others did.
 */

#ifndef HAI_CONTROL_REFUSED_H
#define HAI_CONTROL_REFUSED_H

#include "call.h"

struct hai_refused;

/* A thread with a connection of its own.  NULL after a message. */
struct hai_refused *hai_refused_start(struct hai_control *control);

/* Counts a call that was answered with 401. */
void hai_refused_count(struct hai_refused *refused,
                       const struct hai_call *call);

/* Writes what has been counted, and ends.  No call is under way any more. */
void hai_refused_stop(struct hai_refused *refused);

#endif
