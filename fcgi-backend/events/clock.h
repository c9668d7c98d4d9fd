/* Time and chance. */

#ifndef HAI_EVENTS_CLOCK_H
#define HAI_EVENTS_CLOCK_H

#include <stdint.h>

/* Milliseconds: since some moment, never set; and since 1970. */
uint64_t hai_now_monotonic(void);
uint64_t hai_now(void);

/* Any 64 bits; good enough to spread retries. */
uint64_t hai_random(void);

#endif
