/*
 * What the parts of hai_usage.c share: the steps on the path of watched
 * objects, and masks of bytes.  Private to them.
 */

#ifndef HAI_USAGE_CORE_H
#define HAI_USAGE_CORE_H

#include "hai_escaped.h"
#include "hai_usage.h"

#include <string.h>

/*
 * HAI_USAGE_SIMD lowers the code path for tests: 0 portable, 1 SSE2, 2 AVX2
 * where the processor has it.
 */
#ifndef HAI_USAGE_SIMD
#define HAI_USAGE_SIMD 2
#endif

#if defined(__x86_64__) && HAI_USAGE_SIMD > 0
#define HAVE_SSE2 1
#include <immintrin.h>
#else
#define HAVE_SSE2 0
#endif

#if HAVE_SSE2 && HAI_USAGE_SIMD > 1
#define HAVE_AVX2 1
#else
#define HAVE_AVX2 0
#endif

/* The largest integer that JSON readers and Lua (Redis) keep exactly. */
#define COUNT_MAX ((UINT64_C(1) << 53) - 1)

/* The longest key in its quotes, and the byte before. */
#define WINDOW sizeof("\"cache_read_input_tokens\"")

#define BLOCK 64 /* bytes: one for each bit of a mask */

enum json { JSON_START, JSON_OPEN, JSON_OVER };

enum node { NODE_TOP, NODE_INNER, NODE_USAGE, NODE_DETAILS };

enum key {
    KEY_NONE,
    KEY_INNER, /* up to here: objects that are entered */
    KEY_USAGE,
    KEY_DETAILS,
    KEY_ERROR,
    KEY_TYPE,
    KEY_INPUT, /* from here on: counts */
    KEY_OUTPUT,
    KEY_CACHED
};

static inline bool is_blank(uint8_t c) {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline void take_count(struct hai_usage *usage, enum key key,
                              uint64_t number) {
    int64_t count = (int64_t) number;

    switch (key) {

    case KEY_INPUT:
        usage->input_tokens = count;
        break;

    case KEY_OUTPUT:
        usage->output_tokens = count;
        break;

    default:
        usage->cached_tokens = count;
    }

    usage->reported = true;
}

/* An opening bracket in a watched object.  False: it is not entered. */
static inline bool on_open(struct hai_usage_scan *us, uint8_t c) {
    enum key key = us->pending;
    enum node node;

    us->pending = KEY_NONE;

    if (c != '{') {
        return false;
    }

    switch (key) {

    case KEY_INNER:
        node = NODE_INNER;
        break;

    case KEY_USAGE:
        node = NODE_USAGE;
        break;

    case KEY_DETAILS:
        node = NODE_DETAILS;
        break;

    case KEY_ERROR:
        us->usage.error = true;
        return false;

    default:
        return false;
    }

    us->path[++us->level] = (uint8_t) node;

    return true;
}

/* A closing bracket of a watched object.  False: the search is over. */
static inline bool on_close(struct hai_usage_scan *us, uint8_t c) {
    us->pending = KEY_NONE;

    if (c != '}' || us->level == 0) {
        return false;
    }

    us->level--;

    return true;
}

/*
 * Whether a word of tool calls ends before the quote at p, in the piece from
 * start on.  Other words that end in tool_calls are in many answers.
 */
static inline bool is_call_word(const uint8_t *start, const uint8_t *p) {
    if (p - start < 11) {
        return true; /* too near to tell */
    }

    return memcmp(p - 5, "_call", 5) == 0 || memcmp(p - 9, "\"tool_use", 9) == 0
           || memcmp(p - 11, "\"tool_calls", 11) == 0;
}

#if HAVE_AVX2

/* The highest bit of each byte. */
static inline __attribute__((target("avx2"))) uint64_t mask_bits(__m256i low,
                                                                 __m256i high) {
    uint32_t l = (uint32_t) _mm256_movemask_epi8(low);
    uint32_t h = (uint32_t) _mm256_movemask_epi8(high);

    return l | (uint64_t) h << 32;
}

static inline __attribute__((target("avx2"))) uint64_t
equal_bits(__m256i low, __m256i high, char c) {
    __m256i v = _mm256_set1_epi8(c);

    return mask_bits(_mm256_cmpeq_epi8(low, v), _mm256_cmpeq_epi8(high, v));
}

#endif

/* --- hai_usage_json.c ----------------------------------------------------- */

/* Makes ready for the next document. */
void hai_usage_json_reset(struct hai_usage_scan *us);

/* The next bytes of a document, of which no byte is missing. */
void hai_usage_json_feed(struct hai_usage_scan *us, const uint8_t *p,
                         const uint8_t *end);

/* The key whose closing quote is the last of the WINDOW bytes at p. */
enum key hai_usage_look_up(enum node node, const uint8_t *p);

/* --- hai_usage_whole.c ---------------------------------------------------- */

/*
 * Reads a document that may be all between start, behind its first brace, and
 * end: nearly every answer that is no stream comes so, and it takes less work.
 * False: it has to be read as any other piece.
 */
bool hai_usage_whole(struct hai_usage_scan *us, const uint8_t *start,
                     const uint8_t *end);

#endif
