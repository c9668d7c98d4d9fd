/*
 * Ends of events, see hai_sse.h for what is promised.
 *
 * States of a line; the byte order mark is looked for at the very beginning
 * of a stream only:
 *
 *   BOF --EF--> BOM1 --BB--> BOM2 --BF--> START      (another byte after EF
 *    | other                                          or BB: an odd line)
 *    +-------> START --LF, CR--> (event ends) START, CR
 *                | ':'      --> COMMENT ---+
 *                | other    --> FIELD -----+--LF, CR--> START, CR
 *              CR --LF--> START, without being a line of its own
 */

#include "hai_sse.h"

/* HAI_SSE_SIMD lowers the code path for tests: 0 portable, 1 SSE2. */
#ifndef HAI_SSE_SIMD
#define HAI_SSE_SIMD 1
#endif

#if defined(__x86_64__) && HAI_SSE_SIMD > 0
#define HAVE_SSE2 1
#include <immintrin.h>
#else
#define HAVE_SSE2 0
#endif

enum line {
    LINE_BOF,
    LINE_BOM1,
    LINE_BOM2,
    LINE_START,
    LINE_CR, /* LINE_START, but an LF still belongs to the line before */
    LINE_COMMENT,
    LINE_FIELD
};

#if HAVE_SSE2

/* The bytes of p[0 .. 16) that are LF or CR, as a mask of bytes. */
static inline __m128i eol_bytes(const uint8_t *p) {
    __m128i v = _mm_loadu_si128((const __m128i *) p);

    return _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('\n')),
                        _mm_cmpeq_epi8(v, _mm_set1_epi8('\r')));
}

#endif

const uint8_t *hai_sse_find_eol(const uint8_t *start, const uint8_t *p,
                                const uint8_t *end) {
#if HAVE_SSE2
    for (; end - p >= 64; p += 64) {
        __m128i low = _mm_or_si128(eol_bytes(p), eol_bytes(p + 16));
        __m128i high = _mm_or_si128(eol_bytes(p + 32), eol_bytes(p + 48));

        if (_mm_movemask_epi8(_mm_or_si128(low, high)) != 0) {
            break;
        }
    }

    for (; p < end; p += 16) {
        size_t back = 0;

        if (end - p < 16) {
            if (end - start < 16) {
                break;
            }
            back = (size_t) (16 - (end - p));
        }

        uint32_t bits = (uint32_t) _mm_movemask_epi8(eol_bytes(p - back));

        bits >>= back;

        if (bits != 0) {
            return p + __builtin_ctz(bits);
        }

        if (back != 0) {
            return end;
        }
    }
#else
    (void) start;
#endif

    while (p < end && *p != '\n' && *p != '\r') {
        p++;
    }

    return p;
}

void hai_sse_init(struct hai_sse *sse) {
    sse->state = LINE_BOF;
    sse->in_event = false;
}

size_t hai_sse_feed(struct hai_sse *sse, const void *data, size_t n) {
    const uint8_t *start = data;
    const uint8_t *p = start;
    const uint8_t *end = start + n;
    const uint8_t *pass = start;
    uint8_t state = sse->state;
    bool in_event = sse->in_event;

    while (p < end) {
        switch (state) {

        case LINE_BOF:
        case LINE_BOM1:
        case LINE_BOM2:
            if (hai_sse_is_bom(state, *p)) {
                p++;
                state++; /* LINE_START after the last */
                break;
            }

            in_event = state != LINE_BOF;
            state = in_event ? LINE_FIELD : LINE_START;
            break;

        case LINE_CR:
            state = LINE_START;

            if (*p == '\n') {
                p++;
                if (!in_event) {
                    pass = p;
                }
            }
            break;

        case LINE_START:
            if (*p == '\n' || *p == '\r') {
                state = *p++ == '\r' ? LINE_CR : LINE_START;
                in_event = false;
                pass = p;
                break;
            }

            if (*p == ':') {
                state = LINE_COMMENT;

            } else {
                state = LINE_FIELD;
                in_event = true;
            }
            break;

        default:
            p = hai_sse_find_eol(start, p, end);

            if (p < end) {
                state = *p++ == '\r' ? LINE_CR : LINE_START;
                if (!in_event) {
                    pass = p;
                }
            }
        }
    }

    sse->state = state;
    sse->in_event = in_event;

    return (size_t) (pass - start);
}
