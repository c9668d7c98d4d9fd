/*
 * Passing over what is valid inside a JSON string; private to the scanner
 * and to hai_walk.c.
 *
 * The contract of every function that skips: p stands at a character or an
 * escape; whole valid UTF-8 characters and whole valid escapes are taken;
 * the result is where the next one begins that is anything else (the closing
 * quote, a control character, something wrong or something that end cuts
 * off).  Nothing is read from end on.  Who calls looks at that place byte by
 * byte and says what is wrong, so that no refusal depends on the processor.
 */

#ifndef HAI_JSON_SKIP_H
#define HAI_JSON_SKIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "hai_escaped.h"
#include "hai_json.h"

#if defined(__x86_64__) && !defined(HAI_JSON_PORTABLE)
#define HAI_JSON_X86 1
#include <immintrin.h>
#elif defined(__aarch64__) && !defined(HAI_JSON_PORTABLE)
#define HAI_JSON_NEON 1
#include <arm_neon.h>
#endif

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

typedef const uint8_t *hai_skip_fn(const uint8_t *p, const uint8_t *end);

/* The fastest for this processor. */
hai_skip_fn *hai_skip_strings(void);

/*
 * Where a message ends with the string and another one follows in the usual
 * way (a role that is user or assistant, then the content), it goes on in that
 * one's content.  Where these messages begin is added to items, unless that is
 * NULL; offset: of p in the body.
 *
 * It may also stop at any character of the last 64 bytes: hai_skip_strings()
 * goes on from there.  The piece of which p is a part has at least so many.
 */
typedef const uint8_t *hai_messages_fn(const uint8_t *p, const uint8_t *end,
                                       struct hai_json_items *items,
                                       uint64_t offset);

/* The one for this processor, or NULL. */
hai_messages_fn *hai_skip_messages(void);

/* As hai_skip_strings(), but it stops at backslashes: what it took is the text
 * itself. */
const uint8_t *hai_skip_text(const uint8_t *p, const uint8_t *end);

/*
 * Over white space that begins at last or before; 8 bytes behind last are
 * read, and that far the result may be.
 */
const uint8_t *hai_skip_space(const uint8_t *p, const uint8_t *last);

/*
 * Bytes that follow the first byte of a UTF-8 sequence, and the range of the
 * first of them (Unicode, table 3-7); 0: no sequence begins so.
 */
unsigned hai_utf8_follow(uint8_t c, uint8_t *low, uint8_t *high);

/* The value of a hexadecimal digit, marked; 0: no digit. */
#define HAI_HEX_DIGIT 0x10

extern const uint8_t hai_hex_digits[256];

/* What a backslash and the index stand for; 0: no such escape, or \u. */
extern const uint8_t hai_escapes[256];

static inline uint64_t load32(const uint8_t *p) {
    return (uint64_t) p[0] | (uint64_t) p[1] << 8 | (uint64_t) p[2] << 16
           | (uint64_t) p[3] << 24;
}

/* Little endian; compilers make one load of it. */
static inline uint64_t load64(const uint8_t *p) {
    return (uint64_t) p[0] | (uint64_t) p[1] << 8 | (uint64_t) p[2] << 16
           | (uint64_t) p[3] << 24 | (uint64_t) p[4] << 32
           | (uint64_t) p[5] << 40 | (uint64_t) p[6] << 48
           | (uint64_t) p[7] << 56;
}

/* Up to 7 bytes as a number. */
static inline uint64_t load_rest(const uint8_t *p, size_t n) {
    if (n >= 4) {
        return load32(p) | load32(p + n - 4) << 8 * (n - 4);
    }
    if (n == 0) {
        return 0;
    }
    return (uint64_t) p[0] | (uint64_t) p[n / 2] << 8 * (n / 2)
           | (uint64_t) p[n - 1] << 8 * (n - 1);
}

/* Index of the first byte of 16 that is not plain, or 16. */
#if defined(HAI_JSON_X86)

static inline unsigned hai_first_special(const uint8_t *p) {
    __m128i v = _mm_loadu_si128((const __m128i *) p);
    __m128i m;

    /* the sign is that of what is below the space; as signed bytes,
       non-ASCII is that as well */
    m = _mm_subs_epi8(v, _mm_set1_epi8(0x20));
    m = _mm_or_si128(m, _mm_cmpeq_epi8(v, _mm_set1_epi8('"')));
    m = _mm_or_si128(m, _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));

    return (unsigned) __builtin_ctz((unsigned) _mm_movemask_epi8(m) | 0x10000U);
}

#elif defined(HAI_JSON_NEON)

static inline unsigned hai_first_special(const uint8_t *p) {
    int8x16_t v = vreinterpretq_s8_u8(vld1q_u8(p));
    uint8x16_t m;
    uint64_t bits;

    m = vcltq_s8(v, vdupq_n_s8(0x20));
    m = vorrq_u8(m, vceqq_s8(v, vdupq_n_s8('"')));
    m = vorrq_u8(m, vceqq_s8(v, vdupq_n_s8('\\')));

    /* four bits of each byte */
    bits = vget_lane_u64(
        vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(m), 4)), 0);

    return bits ? (unsigned) __builtin_ctzll(bits) / 4 : 16;
}

#else

/*
 * Bit 7 of each byte that is not plain.  A borrow can mark bytes behind the
 * first marked one falsely, never before it.
 */
static inline uint64_t hai_special_bits(uint64_t w) {
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t quote = w ^ ones * '"';
    uint64_t backslash = w ^ ones * '\\';

    return (w | (w - ones * 0x20) | ((quote - ones) & ~quote)
            | ((backslash - ones) & ~backslash))
           & ones * 0x80;
}

static inline unsigned hai_first_special(const uint8_t *p) {
    uint64_t m = hai_special_bits(load64(p));

    if (m) {
        return (unsigned) __builtin_ctzll(m) / 8;
    }

    m = hai_special_bits(load64(p + 8));
    return m ? 8 + (unsigned) __builtin_ctzll(m) / 8 : 16;
}

#endif

/* The object at this offset is an element of the array. */
static inline void hai_json_items_add(struct hai_json_items *items,
                                      uint64_t offset) {
    items->start[items->n++ % HAI_JSON_ITEMS] = offset;
}

static inline bool hai_is_space(uint8_t c) {
    return c <= ' ' && (c == ' ' || c == '\n' || c == '\r' || c == '\t');
}

static inline bool hai_is_digit(uint8_t c) {
    return c >= '0' && c <= '9';
}

/* Behind a number without an exponent that ends before end, or NULL. */
static inline const uint8_t *hai_plain_number(const uint8_t *p,
                                              const uint8_t *end) {
    p += *p == '-';

    if (p == end || !hai_is_digit(*p)) {
        return NULL;
    }
    if (*p++ != '0') {
        while (p < end && hai_is_digit(*p)) {
            p++;
        }
    }
    if (p < end && *p == '.') {
        if (++p == end || !hai_is_digit(*p)) {
            return NULL;
        }
        while (p < end && hai_is_digit(*p)) {
            p++;
        }
    }

    return p < end && *p != 'e' && *p != 'E' ? p : NULL;
}

/* Behind the true, false or null at p, or NULL; 5 bytes are read. */
static inline const uint8_t *hai_whole_literal(const uint8_t *p) {
    return memcmp(p, "true", 4) == 0 || memcmp(p, "null", 4) == 0 ? p + 4
           : memcmp(p, "false", 5) == 0                           ? p + 5
                                                                  : NULL;
}

#endif
