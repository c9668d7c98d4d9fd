/*
 * The inside of JSON strings at full speed, see hai_json_skip.h: 64 bytes a
 * step with AVX2 where the processor has it, 16 with SSE2 or NEON, else 8.
 * With AVX2 also what mostly is between the contents of two messages.
 */

#include "hai_json_skip.h"

#include <stdbool.h>
#include <stddef.h>

/* Anything in a string but quote, backslash, control and non-ASCII. */
static bool is_plain(uint8_t c) {
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

unsigned hai_utf8_follow(uint8_t c, uint8_t *low, uint8_t *high) {
    *low = 0x80;
    *high = 0xbf;

    if (c < 0xc2 || c > 0xf4) {
        return 0;
    }
    if (c < 0xe0) {
        return 1;
    }
    if (c < 0xf0) {
        if (c == 0xe0) {
            *low = 0xa0;
        } else if (c == 0xed) {
            *high = 0x9f;
        }
        return 2;
    }
    if (c == 0xf0) {
        *low = 0x90;
    } else if (c == 0xf4) {
        *high = 0x8f;
    }
    return 3;
}

/* Length of the whole and valid non-ASCII character at p, or 0. */
static unsigned utf8_character(const uint8_t *p, const uint8_t *end) {
    uint8_t low, high;
    unsigned follow = hai_utf8_follow(*p, &low, &high);

    if (follow == 0 || (size_t) (end - p) <= follow || p[1] < low
        || p[1] > high) {
        return 0;
    }

    for (unsigned i = 2; i <= follow; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }

    return follow + 1;
}

#define D(x) (HAI_HEX_DIGIT | (x))

const uint8_t hai_hex_digits[256] = {
    ['0'] = D(0),  ['1'] = D(1),  ['2'] = D(2),  ['3'] = D(3),  ['4'] = D(4),
    ['5'] = D(5),  ['6'] = D(6),  ['7'] = D(7),  ['8'] = D(8),  ['9'] = D(9),
    ['a'] = D(10), ['b'] = D(11), ['c'] = D(12), ['d'] = D(13), ['e'] = D(14),
    ['f'] = D(15), ['A'] = D(10), ['B'] = D(11), ['C'] = D(12), ['D'] = D(13),
    ['E'] = D(14), ['F'] = D(15)};

#undef D

/* The four digits at p as a number, or -1. */
static int32_t hex_number(const uint8_t *p) {
    uint8_t a = hai_hex_digits[p[0]];
    uint8_t b = hai_hex_digits[p[1]];
    uint8_t c = hai_hex_digits[p[2]];
    uint8_t d = hai_hex_digits[p[3]];

    if (!(a & b & c & d & HAI_HEX_DIGIT)) {
        return -1;
    }

    return (a & 0xf) << 12 | (b & 0xf) << 8 | (c & 0xf) << 4 | (d & 0xf);
}

const uint8_t hai_escapes[256] = {
    ['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
    ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t'};

/*
 * Length of the whole and valid escape at p, a surrogate pair counting as
 * one, or 0.
 */
static unsigned whole_escape(const uint8_t *p, const uint8_t *end) {
    int32_t u;

    if (end - p < 2) {
        return 0;
    }
    if (hai_escapes[p[1]]) {
        return 2;
    }
    if (p[1] != 'u' || end - p < 6) {
        return 0;
    }

    u = hex_number(p + 2);
    if (u < 0) {
        return 0;
    }
    if (__builtin_expect((u & 0xf800) != 0xd800, 1)) {
        return 6;
    }
    if (u >= 0xdc00 || end - p < 12 || p[6] != '\\' || p[7] != 'u') {
        return 0;
    }

    u = hex_number(p + 8);
    return u >= 0xdc00 && u <= 0xdfff ? 12 : 0;
}

/* Without escapes it stops at backslashes: what it took is the text. */
static inline const uint8_t *skip_portable(const uint8_t *p, const uint8_t *end,
                                           bool escapes) {
    unsigned n;

    for (;;) {
        if (end - p >= 16) {
            n = hai_first_special(p);
            p += n;
            if (n == 16) {
                continue;
            }

        } else {
            while (p < end && is_plain(*p)) {
                p++;
            }
            if (p == end) {
                return p;
            }
        }

        while (p < end && !is_plain(*p)) {
            n = 0;
            if (*p >= 0x80) {
                n = utf8_character(p, end);
            } else if (*p == '\\' && escapes) {
                n = whole_escape(p, end);
            }
            if (n == 0) {
                return p;
            }
            p += n;
        }
    }
}

const uint8_t *hai_skip_text(const uint8_t *p, const uint8_t *end) {
    return skip_portable(p, end, false);
}

static const uint8_t *skip_strings(const uint8_t *p, const uint8_t *end) {
    return skip_portable(p, end, true);
}

const uint8_t *hai_skip_space(const uint8_t *p, const uint8_t *last) {
    for (; p <= last && hai_is_space(*p); p++) {
        while (p < last && load64(p + 1) == UINT64_C(0x2020202020202020)) {
            p += 8;
        }
    }

    return p;
}

#if defined(HAI_JSON_X86)

#define HAI_AVX2 __attribute__((target("avx2,bmi,popcnt")))

/*
 * UTF-8 by table lookup, after Keiser and Lemire, "Validating UTF-8 in less
 * than one instruction per byte" (2021).  Each bit is one way in which two
 * neighbouring bytes can be wrong; three tables, looked up by the nibbles of
 * the pair, say which ways each nibble allows, and a pair is wrong in a way
 * that all three allow.
 */
enum {
    U_SHORT = 0x01, /* a first byte without a following byte */
    U_LONG = 0x02,  /* a following byte behind ASCII */
    U_OVER3 = 0x04, /* e0 80..9f */
    U_SURR = 0x08,  /* ed a0..bf */
    U_OVER2 = 0x10, /* c0, c1 */
    U_LARGE = 0x20, /* f4 90.., f5.. and up */
    U_EDGE4 = 0x40, /* f0 80..8f is too long, f5.. 80..8f too large */
    U_CONTS = 0x80, /* two following bytes: right only as third, fourth */
    U_ANY = U_SHORT | U_LONG | U_CONTS
};

#define U(x) ((char) (x))
#define TABLE16(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)                \
    _mm256_setr_epi8(U(a), U(b), U(c), U(d), U(e), U(f), U(g), U(h), U(i),     \
                     U(j), U(k), U(l), U(m), U(n), U(o), U(p), U(a), U(b),     \
                     U(c), U(d), U(e), U(f), U(g), U(h), U(i), U(j), U(k),     \
                     U(l), U(m), U(n), U(o), U(p))

HAI_AVX2 static inline __m256i high_nibbles(__m256i v) {
    return _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(0x0f));
}

/* Not zero where v, which follows prev, is not UTF-8. */
HAI_AVX2 static inline __m256i utf8_errors(__m256i v, __m256i prev) {
    const __m256i first_high =
        TABLE16(U_LONG, U_LONG, U_LONG, U_LONG, U_LONG, U_LONG, U_LONG, U_LONG,
                U_CONTS, U_CONTS, U_CONTS, U_CONTS, U_SHORT | U_OVER2, U_SHORT,
                U_SHORT | U_OVER3 | U_SURR, U_SHORT | U_LARGE | U_EDGE4);
    const __m256i first_low =
        TABLE16(U_ANY | U_OVER3 | U_OVER2 | U_EDGE4, U_ANY | U_OVER2, U_ANY,
                U_ANY, U_ANY | U_LARGE, U_ANY | U_LARGE | U_EDGE4,
                U_ANY | U_LARGE | U_EDGE4, U_ANY | U_LARGE | U_EDGE4,
                U_ANY | U_LARGE | U_EDGE4, U_ANY | U_LARGE | U_EDGE4,
                U_ANY | U_LARGE | U_EDGE4, U_ANY | U_LARGE | U_EDGE4,
                U_ANY | U_LARGE | U_EDGE4, U_ANY | U_LARGE | U_EDGE4 | U_SURR,
                U_ANY | U_LARGE | U_EDGE4, U_ANY | U_LARGE | U_EDGE4);
    const __m256i second_high =
        TABLE16(U_SHORT, U_SHORT, U_SHORT, U_SHORT, U_SHORT, U_SHORT, U_SHORT,
                U_SHORT, U_LONG | U_OVER2 | U_CONTS | U_OVER3 | U_EDGE4,
                U_LONG | U_OVER2 | U_CONTS | U_OVER3 | U_LARGE,
                U_LONG | U_OVER2 | U_CONTS | U_SURR | U_LARGE,
                U_LONG | U_OVER2 | U_CONTS | U_SURR | U_LARGE, U_SHORT, U_SHORT,
                U_SHORT, U_SHORT);
    __m256i across, back1, back2, back3, wrong, third, fourth;

    /* v moved by one, two, three bytes, filled up from prev */
    across = _mm256_permute2x128_si256(prev, v, 0x21);
    back1 = _mm256_alignr_epi8(v, across, 15);
    back2 = _mm256_alignr_epi8(v, across, 14);
    back3 = _mm256_alignr_epi8(v, across, 13);

    wrong = _mm256_shuffle_epi8(first_high, high_nibbles(back1));
    wrong = _mm256_and_si256(
        wrong, _mm256_shuffle_epi8(
                   first_low, _mm256_and_si256(back1, _mm256_set1_epi8(0x0f))));
    wrong = _mm256_and_si256(wrong,
                             _mm256_shuffle_epi8(second_high, high_nibbles(v)));

    /* bit 7 where a third or fourth byte is due: there, and only there,
       U_CONTS has to be set */
    third = _mm256_subs_epu8(back2, _mm256_set1_epi8(0xe0 - 0x80));
    fourth = _mm256_subs_epu8(back3, _mm256_set1_epi8(0xf0 - 0x80));
    third = _mm256_and_si256(_mm256_or_si256(third, fourth),
                             _mm256_set1_epi8(U(0x80)));

    return _mm256_xor_si256(wrong, third);
}

/* Whether v ends inside a sequence. */
HAI_AVX2 static inline bool utf8_open(__m256i v) {
    const __m256i most = _mm256_setr_epi8(
        -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
        -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, U(0xef), U(0xdf), U(0xbf));
    __m256i over = _mm256_subs_epu8(v, most);

    return !_mm256_testz_si256(over, over);
}

HAI_AVX2 static inline uint64_t bits64(__m256i a, __m256i b) {
    return (uint32_t) _mm256_movemask_epi8(a)
           | (uint64_t) (uint32_t) _mm256_movemask_epi8(b) << 32;
}

/* Bits of the bytes that may stand behind a backslash, u excepted. */
HAI_AVX2 static inline uint64_t simple_escapes(__m256i a, __m256i b) {
    /* by low nibbles, 2 and b apart, which differ in one bit; a byte from 80
       up selects zero, and zero itself is none */
    const __m256i same =
        TABLE16(1, 0, 'r', 0, 't', 0, 'f', 0, 0, 0, 0, 0, '\\', 0, 'n', '/');
    const __m256i one_bit = _mm256_set1_epi8(U(~('"' ^ 'b')));
    const __m256i quote = _mm256_set1_epi8('"');

    return bits64(
        _mm256_or_si256(_mm256_cmpeq_epi8(_mm256_shuffle_epi8(same, a), a),
                        _mm256_cmpeq_epi8(_mm256_and_si256(a, one_bit), quote)),
        _mm256_or_si256(
            _mm256_cmpeq_epi8(_mm256_shuffle_epi8(same, b), b),
            _mm256_cmpeq_epi8(_mm256_and_si256(b, one_bit), quote)));
}

/* v with every byte from number n on set to zero. */
HAI_AVX2 static inline __m256i first_bytes(__m256i v, int n) {
    const __m256i number = _mm256_setr_epi8(
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19,
        20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31);

    return _mm256_and_si256(
        v, _mm256_cmpgt_epi8(_mm256_set1_epi8((char) n), number));
}

/*
 * Where the last character before p begins when it is not complete there,
 * else p.  The bytes from start on are valid so far, but for a last byte
 * with which no character begins: that one is found as well.
 */
static const uint8_t *character_start(const uint8_t *p, const uint8_t *start) {
    uint8_t low, high;
    int follow;

    for (int i = 1; i <= 3 && p - i >= start; i++) {
        if (p[-i] >= 0xc0) {
            follow = (int) hai_utf8_follow(p[-i], &low, &high);
            return follow == 0 || follow >= i ? p - i : p;
        }
        if (p[-i] < 0x80) {
            break;
        }
    }

    return p;
}

/* For many escapes and for characters beyond ASCII. */
HAI_AVX2 static const uint8_t *skip_dense_avx2(const uint8_t *p,
                                               const uint8_t *end) {
    const uint8_t *start = p;
    __m256i a, b, a_low, b_low, a_quote, b_quote, a_back, b_back, any;
    __m256i prev = _mm256_setzero_si256();
    uint64_t high, escaped, stop, wrong, carried, carry = 0;
    bool open = false;
    unsigned n;

    while (end - p >= 64) {
        a = _mm256_loadu_si256((const __m256i *) p);
        b = _mm256_loadu_si256((const __m256i *) (p + 32));

        /* as signed bytes, non-ASCII is below the space as well */
        a_low = _mm256_cmpgt_epi8(_mm256_set1_epi8(0x20), a);
        b_low = _mm256_cmpgt_epi8(_mm256_set1_epi8(0x20), b);
        a_quote = _mm256_cmpeq_epi8(a, _mm256_set1_epi8('"'));
        b_quote = _mm256_cmpeq_epi8(b, _mm256_set1_epi8('"'));
        a_back = _mm256_cmpeq_epi8(a, _mm256_set1_epi8('\\'));
        b_back = _mm256_cmpeq_epi8(b, _mm256_set1_epi8('\\'));

        any = _mm256_or_si256(
            _mm256_or_si256(_mm256_or_si256(a_low, a_quote), a_back),
            _mm256_or_si256(_mm256_or_si256(b_low, b_quote), b_back));

        if (_mm256_testz_si256(any, any) && !(carry | open)) {
            p += 64;
            continue;
        }

        /* quotes and controls: below the space and no sign bit */
        stop = bits64(_mm256_or_si256(a_quote, _mm256_andnot_si256(a, a_low)),
                      _mm256_or_si256(b_quote, _mm256_andnot_si256(b, b_low)));
        high = bits64(a, b);
        escaped = bits64(a_back, b_back);
        wrong = 0;
        carried = carry;

        if (escaped | carry) {
            escaped = hai_escaped_bytes(escaped, 64, &carry);
            wrong = escaped & ~simple_escapes(a, b);
            stop = (stop & ~escaped) | wrong;
        }

        n = 64;

        if (stop) {
            n = (unsigned) __builtin_ctzll(stop);
            high &= (stop & -stop) - 1;
        }

        if (high | open) {
            if (n < 64) {
                a = first_bytes(a, (int) n);
                b = first_bytes(b, (int) n - 32);
            }
            prev = _mm256_or_si256(utf8_errors(a, prev), utf8_errors(b, a));
            if (!_mm256_testz_si256(prev, prev)) {
                /* only one of both can be cut by the block's beginning */
                p = carried ? p - 1 : character_start(p, start);
                return skip_strings(p, end);
            }
            open = utf8_open(b);
            prev = b;

        } else {
            prev = _mm256_setzero_si256();
        }

        p += n;

        if (stop) {
            if (!(wrong & stop & -stop)) {
                return p;
            }

            /* \u, or no escape at all: p is behind the backslash */
            p--;
            n = whole_escape(p, end);
            if (n == 0) {
                return p;
            }
            do {
                p += n;
                n = end - p >= 2 && *p == '\\' ? whole_escape(p, end) : 0;
            } while (n);

            start = p;
            prev = _mm256_setzero_si256();
            carry = 0;
            open = false;
        }
    }

    p = carry ? p - 1 : character_start(p, start);
    return skip_strings(p, end);
}

/* Sets the signs of quotes, backslashes, controls and non-ASCII. */
HAI_AVX2 static inline __m256i special_bytes(__m256i v) {
    /* by low nibbles: 22, 5c; a byte from 80 up selects zero */
    const __m256i same =
        TABLE16(0, 0, '"', 0, 0, 0, 0, 0, 0, 0, 0, 0, '\\', 0, 0, 0);

    return _mm256_or_si256(_mm256_cmpeq_epi8(_mm256_shuffle_epi8(same, v), v),
                           _mm256_subs_epi8(v, _mm256_set1_epi8(0x20)));
}

HAI_AVX2 static inline uint64_t equal_bits(__m256i a, __m256i b, char c) {
    __m256i v = _mm256_set1_epi8(c);

    return bits64(_mm256_cmpeq_epi8(a, v), _mm256_cmpeq_epi8(b, v));
}

/*
 * Marks quotes, controls, non-ASCII and what is no simple escape among the 64
 * bytes at p.  *carry says whether the byte before escapes the first of them,
 * and then the same of the next 64.  However many escapes there are, a block
 * takes the same way.  As a function of its own it would load its constants
 * for each block.
 */
HAI_AVX2 static inline __attribute__((always_inline)) uint64_t
string_stops(const uint8_t *p, uint64_t *carry) {
    __m256i a = _mm256_loadu_si256((const __m256i *) p);
    __m256i b = _mm256_loadu_si256((const __m256i *) (p + 32));
    uint64_t stop = bits64(special_bytes(a), special_bytes(b));
    uint64_t escaped;

    if ((stop | *carry) == 0) {
        return 0;
    }

    escaped = equal_bits(a, b, '\\');
    if ((escaped | *carry) == 0) {
        return stop;
    }

    stop &= ~escaped;
    escaped = hai_escaped_bytes(escaped, 64, carry);

    return (stop & ~escaped) | (escaped & ~simple_escapes(a, b));
}

/* Plain text with simple escapes; what is more goes to skip_dense_avx2(). */
HAI_AVX2 static const uint8_t *skip_strings_avx2(const uint8_t *p,
                                                 const uint8_t *end) {
    const uint8_t *last, *text;
    uint64_t stop, carry = 0;

    if (end - p < 64) {
        return skip_strings(p, end);
    }

    last = end - 64;

    do {
        text = p - carry;
        stop = string_stops(p, &carry);

        if (stop) {
            p += __builtin_ctzll(stop);
            return likely(*p == '"') ? p : skip_dense_avx2(text, end);
        }
        p += 64;
    } while (p <= last);

    return skip_strings(p - carry, end);
}

/*
 * Bytes from behind the quote that ends a message's content to behind the one
 * that begins the next one's; 0 where it is not the usual 28 or 33.  These
 * are read.
 */
HAI_AVX2 static inline unsigned message_gap(const uint8_t *p) {
    static const char user[33] = "},{\"role\":\"user\",\"content\":\"";
    static const char assistant[] = "},{\"role\":\"assistant\",\"content\":\"";
    const uint32_t user_bits = (UINT32_C(1) << 28) - 1;
    __m256i v = _mm256_loadu_si256((const __m256i *) p);
    __m256i w = _mm256_loadu_si256((const __m256i *) user);

    w = _mm256_cmpeq_epi8(v, w);
    if (((uint32_t) _mm256_movemask_epi8(w) & user_bits) == user_bits) {
        return 28;
    }

    w = _mm256_loadu_si256((const __m256i *) assistant);
    w = _mm256_cmpeq_epi8(v, w);
    if ((uint32_t) _mm256_movemask_epi8(w) == UINT32_MAX && p[32] == '"') {
        return 33;
    }

    return 0;
}

/*
 * The blocks do not begin where a message does: where they begin depends on
 * no text, so the processor reads the next ones before it knows where this
 * message ends.
 */
HAI_AVX2 static const uint8_t *skip_messages_avx2(const uint8_t *p,
                                                  const uint8_t *end,
                                                  struct hai_json_items *items,
                                                  uint64_t offset) {
    const uint8_t *const begin = p;
    const uint8_t *const last = end - 64;
    const uint8_t *text;
    uint64_t stop, carried, carry = 0;
    unsigned n, gap, from = 0; /* where in the block the text begins */

    while (p <= last) {
        carried = carry;
        stop = string_stops(p, &carry);

        if (stop) {
            text = p + from - carried;
            stop &= UINT64_MAX << from;
        }
        from = 0;

        while (stop) {
            n = (unsigned) __builtin_ctzll(stop);

            if (unlikely(p[n] != '"')) {
                text = skip_dense_avx2(text, end);
                if (text > last || *text != '"') {
                    return text;
                }
                p = text;
                carry = 0;
                goto next;
            }

            text = p + n;
            gap = text < last ? message_gap(text + 1) : 0;
            if (gap == 0) {
                return text;
            }
            if (items) {
                hai_json_items_add(items,
                                   offset + (uint64_t) (text + 3 - begin));
            }

            n += 1 + gap;
            text = p + n;
            if (n >= 64) {
                from = n - 64;
                break;
            }
            stop &= UINT64_MAX << n;
        }

        p += 64;
    next:;
    }

    return p + from - carry;
}

#endif

hai_skip_fn *hai_skip_strings(void) {
#if defined(HAI_JSON_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi")
        && __builtin_cpu_supports("popcnt"))
    {
        return skip_strings_avx2;
    }
#endif

    return skip_strings;
}

hai_messages_fn *hai_skip_messages(void) {
#if defined(HAI_JSON_X86)
    if (hai_skip_strings() == skip_strings_avx2) {
        return skip_messages_avx2;
    }
#endif

    return NULL;
}
