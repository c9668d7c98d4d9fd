/*
 * Finds the ends of server-sent events (WHATWG HTML, "9.2.6 Interpreting an
 * event stream").  Nothing is changed, nothing is kept.
 */

#ifndef HAI_SSE_H
#define HAI_SSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Feed consecutive pieces; any split gives the same ends. */
struct hai_sse {
    uint8_t state; /* private */
    bool in_event; /* true: bytes of an unfinished event (a line that is
                      neither blank nor a comment) have been seen since the
                      last end */
};

void hai_sse_init(struct hai_sse *sse);

/*
 * Looks at the next n bytes and returns how many of them, from the front, may
 * be passed on because an event, or a comment or blank line outside an event,
 * ends there (LF, CR and CRLF count as line ends; a CR at the very end of the
 * piece counts as an end, an LF that follows it belongs to it and passes at
 * once).  0 .. n.  Bytes behind that belong to an unfinished event or line.
 */
size_t hai_sse_feed(struct hai_sse *sse, const void *data, size_t n);

/*
 * For other readers of such lines: the first LF or CR in p .. end, or end;
 * reading is allowed from start on.
 */
const uint8_t *hai_sse_find_eol(const uint8_t *start, const uint8_t *p,
                                const uint8_t *end);

/* Is c byte number `at`, 0 .. 2, of the byte order mark? */
static inline bool hai_sse_is_bom(unsigned at, uint8_t c) {
    return c == (0xbfbbefu >> 8 * at & 0xff);
}

#endif
