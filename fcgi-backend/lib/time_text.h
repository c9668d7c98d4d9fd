/* Times as the API writes them: ISO 8601, UTC, milliseconds (RFC 3339). */

#ifndef HAI_TIME_TEXT_H
#define HAI_TIME_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#define HAI_TIME_SIZE 32

/* ms: since 1970. */
void hai_time_text(int64_t ms, char text[HAI_TIME_SIZE]);

/* "2026-01-31T12:00:00.000Z", also without the fraction. */
bool hai_time_parse(const char *text, int64_t *ms);

#endif
