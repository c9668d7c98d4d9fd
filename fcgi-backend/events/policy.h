/*
 * What an attempt to deliver a webhook came to, and when the next one is due.
 * Pure functions.
 */

#ifndef HAI_EVENTS_POLICY_H
#define HAI_EVENTS_POLICY_H

#include <stdint.h>

#define HAI_RETRY_AFTER_MAX 3600 /* seconds; what a receiver may ask for */
#define HAI_BACKOFF_FACTOR 300   /* longest pause, in units of the shortest */

enum hai_outcome {
    HAI_OUTCOME_DONE,  /* the receiver has it */
    HAI_OUTCOME_LATER, /* another attempt may help */
    HAI_OUTCOME_DEAD   /* it will not */
};

/* Of an answer's status. */
enum hai_outcome hai_outcome_of(long status);

/*
 * Milliseconds to wait after the attempt of this number (1: the first):
 * anything between the shortest pause and twice as much for each attempt so
 * far, at most HAI_BACKOFF_FACTOR times the shortest ("full jitter").
 * retry_after is in seconds, 0: not asked for.
 */
uint64_t hai_backoff(uint64_t shortest, unsigned attempt, long retry_after,
                     uint64_t random);

#endif
