/* Time and chance. */

#ifndef HAI_EVENTS_CLOCK_H
#define HAI_EVENTS_CLOCK_H

#include <stdint.h>

/* Milliseconds: since some moment, never set; and since 1970. */
uint64_t hai_now_monotonic(void);
uint64_t hai_now(void);

/* Any 64 bits; good enough to spread retries. */
uint64_t hai_random(void);

/* "2026-01-31T12:00:00.123Z" of milliseconds since 1970. */
#define HAI_ISO_SIZE 32
void hai_iso(uint64_t ms, char out[HAI_ISO_SIZE]);

#endif
