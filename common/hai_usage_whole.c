/*
 * Counts and errors in a document of JSON that comes in one piece, as nearly
 * every answer does that is no stream.  The same steps as hai_usage_json.c
 * takes, but it does not look at each colon; it gives up, leaving no trace,
 * when the document turns out to go on.
 */

#include "hai_usage_core.h"

#if HAVE_AVX2

/* The number behind a colon if it is one that counts, else UINT64_MAX. */
static inline uint64_t whole_number(const uint8_t *colon) {
    const uint8_t *p = colon + 1;
    const uint8_t *first;
    uint64_t number = 0;

    while (is_blank(*p)) {
        p++;
    }

    for (first = p; (uint8_t) (*p - '0') <= 9; p++) {
        number = number * 10 + (uint8_t) (*p - '0');
    }

    /* COUNT_MAX has 16 digits, so many cannot overflow */
    if (p == first || p - first > 16 || number > COUNT_MAX
        || (*first == '0' && p - first > 1))
    {
        return UINT64_MAX;
    }

    while (is_blank(*p)) {
        p++;
    }

    return *p == ',' || *p == '}' ? number : UINT64_MAX;
}

/*
 * The closing quote of a string in a watched object of a whole document.
 * Takes the count of which it is the key.  False: leave it to the automaton,
 * it may be the word of "type":"error", or its beginning is too near.
 */
static inline bool whole_word(struct hai_usage_scan *us, const uint8_t *start,
                              const uint8_t *quote) {
    const uint8_t *p = quote + 1;
    uint64_t number;
    enum key key;

    if (quote - start < (ptrdiff_t) WINDOW) {
        return quote - start < 6
               || (memcmp(quote - 6, "tokens", 6) != 0
                   && memcmp(quote - 5, "error", 5) != 0);
    }

    if (memcmp(quote - 8, "t_tokens", 8) != 0
        && memcmp(quote - 8, "n_tokens", 8) != 0
        && memcmp(quote - 8, "d_tokens", 8) != 0)
    {
        if (us->level != 0 || memcmp(quote - 6, "\"error", 6) != 0) {
            return true;
        }

        p = quote - 6;

        /* ends at the brace before start */
        while (is_blank(p[-1])) {
            p--;
        }

        return p[-1] != ':';
    }

    while (is_blank(*p)) {
        p++;
    }

    if (*p == ':') {
        key = hai_usage_look_up(us->path[us->level], quote + 1 - WINDOW);

        if (key >= KEY_INPUT) {
            number = whole_number(p);

            if (number != UINT64_MAX) {
                take_count(&us->usage, key, number);
            }
        }
    }

    return true;
}

/*
 * The opening brace of an object in a watched one of a whole document.
 * False: leave it to the automaton.
 */
static inline bool whole_object(struct hai_usage_scan *us, const uint8_t *start,
                                const uint8_t *p) {
    /* these loops end at the brace before start */
    while (is_blank(p[-1])) {
        p--;
    }

    if (*--p != ':') {
        return false;
    }

    while (is_blank(p[-1])) {
        p--;
    }

    if (p - start < (ptrdiff_t) WINDOW) {
        return false;
    }

    us->pending = (uint8_t) hai_usage_look_up(us->path[us->level], p - WINDOW);

    return true;
}

/* As hai_escaped_bytes(), of a block whose first `seen` bytes are not new. */
static inline __attribute__((target("avx2"))) uint64_t
escaped_bits(__m256i low, __m256i high, unsigned seen, uint64_t *escaped) {
    const __m256i slash = _mm256_set1_epi8('\\');
    __m256i slashes = _mm256_or_si256(_mm256_cmpeq_epi8(low, slash),
                                      _mm256_cmpeq_epi8(high, slash));

    if (*escaped == 0 && _mm256_testz_si256(slashes, slashes)) {
        return 0;
    }

    return hai_escaped_bytes(equal_bits(low, high, '\\') >> seen, BLOCK - seen,
                             escaped);
}

/*
 * Bytes of the 32 at p that are quotes behind what may be a word of tool
 * calls: l?s, a?l or u?e.  Each letter has a bit that says which of them it
 * is in; so does what else has its low four bits.
 */
static inline __attribute__((target("avx2"))) __m256i
call_ends(const uint8_t *p) {
    /* by low four bits: 1 l?s, 2 a?l, 4 u?e */
    const __m256i last =
        _mm256_setr_epi8(0, 0, 0, 1, 0, 4, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0,
                         0, 1, 0, 4, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0);
    const __m256i third =
        _mm256_setr_epi8(0, 2, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2,
                         0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0);
    __m256i quote = _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *) p),
                                      _mm256_set1_epi8('"'));
    __m256i a = _mm256_shuffle_epi8(
        last, _mm256_loadu_si256((const __m256i *) (p - 1)));
    __m256i b = _mm256_shuffle_epi8(
        third, _mm256_loadu_si256((const __m256i *) (p - 3)));

    return _mm256_and_si256(quote, _mm256_and_si256(a, b));
}

/* Whether one of the 64 bytes at p ends a word of tool calls. */
static inline __attribute__((target("avx2"))) bool
has_calls(const uint8_t *start, const uint8_t *p) {
    __m256i low = call_ends(p);
    __m256i high = call_ends(p + 32);
    const __m256i any = _mm256_or_si256(low, high);
    const __m256i zero = _mm256_setzero_si256();

    if (__builtin_expect(_mm256_testz_si256(any, any), 1)) {
        return false;
    }

    for (uint64_t bits = ~mask_bits(_mm256_cmpeq_epi8(low, zero),
                                    _mm256_cmpeq_epi8(high, zero));
         bits != 0; bits &= bits - 1)
    {
        if (is_call_word(start, p + __builtin_ctzll(bits))) {
            return true;
        }
    }

    return false;
}

/*
 * A document that is all between start, behind its first brace, and end; the
 * last byte that is not blank is a brace, and there are BLOCK + 3 bytes at
 * least.  The same as the automaton, only that keys are found by their last
 * letters (counts) and from the braces of their values (objects), so that most
 * members cost nothing, and that no value is cut.  False: *us is as before,
 * and the automaton has to read it.  *calls becomes false when there is no
 * word of tool calls in it.
 */
__attribute__((target("avx2,bmi,pclmul,popcnt"))) static bool
whole_feed(struct hai_usage_scan *us, const uint8_t *start, const uint8_t *end,
           bool *calls) {
    /* '{' and '}' at the low four bits that each kind of bracket has */
    const __m256i brackets =
        _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '{', 0, '}', 0, 0, 0,
                         0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '{', 0, '}', 0, 0);
    const __m256i fold = _mm256_set1_epi8(0x20);
    const __m256i one = _mm256_set1_epi8(1);
    const __m256i s_or_r = _mm256_set1_epi8('s');
    const __m128i ones = _mm_set1_epi8((char) 0xff);
    const struct hai_usage usage = us->usage;
    const uint8_t *last = end - BLOCK;
    const uint8_t *p = start;
    uint64_t fresh = UINT64_MAX; /* bytes that were not in the last block */
    unsigned seen = 0;           /* those that were, in front */
    uint64_t in_string = 0;
    uint64_t skip = 0;
    uint64_t escaped = 0;

    /* of the first block the bytes in front of it are not read */
    *calls = has_calls(start, start + 3);

    for (;;) {
        __m256i low = _mm256_loadu_si256((const __m256i *) p);
        __m256i high = _mm256_loadu_si256((const __m256i *) (p + 32));
        uint64_t quote = equal_bits(low, high, '"') & fresh;

        quote &= ~(escaped_bits(low, high, seen, &escaped) << seen);

        __m128i product =
            _mm_clmulepi64_si128(_mm_set_epi64x(0, (long long) quote), ones, 0);
        uint64_t str = (uint64_t) _mm_cvtsi128_si64(product) ^ in_string;

        in_string = UINT64_C(0) - (str >> 63);

        if (str == UINT64_MAX) {
            goto next; /* the middle of a long string */
        }

        if (p != start && has_calls(start, p)) {
            *calls = true;
        }

        __m256i low_match = _mm256_cmpeq_epi8(
            _mm256_shuffle_epi8(brackets, low), _mm256_or_si256(low, fold));
        __m256i high_match = _mm256_cmpeq_epi8(
            _mm256_shuffle_epi8(brackets, high), _mm256_or_si256(high, fold));
        uint64_t bits = mask_bits(low_match, high_match) & fresh & ~str;
        uint64_t n = (uint64_t) __builtin_popcountll(bits);

        if (skip > n) {
            if (n != 0) {
                /* '{' and '[' have the bit that is moved, the others not */
                uint64_t open = mask_bits(_mm256_slli_epi16(low, 6),
                                          _mm256_slli_epi16(high, 6))
                                & bits;

                skip += 2 * (uint64_t) __builtin_popcountll(open) - n;
            }
            goto next;
        }

        /* of the quotes only closing ones are not in the string */
        low = _mm256_loadu_si256((const __m256i *) (p - 1));
        high = _mm256_loadu_si256((const __m256i *) (p + 31));
        low = _mm256_cmpeq_epi8(_mm256_or_si256(low, one), s_or_r);
        high = _mm256_cmpeq_epi8(_mm256_or_si256(high, one), s_or_r);

        uint64_t word = mask_bits(low, high) & quote & ~str;

        for (bits |= word; bits != 0; bits &= bits - 1) {
            const uint8_t *at = p + __builtin_ctzll(bits);

            if (skip != 0) {
                if (*at != '"') {
                    skip += (uint64_t) (*at & 2) - 1;
                }

            } else if (*at == '"') {
                if (!whole_word(us, start, at)) {
                    goto not_whole;
                }

            } else if (*at & 2) {
                if (*at == '{' && !whole_object(us, start, at)) {
                    goto not_whole;
                }

                skip = on_open(us, *at) ? 0 : 1;

            } else if (!on_close(us, *at)) {
                if (*at != '}') {
                    goto not_whole;
                }

                us->json = JSON_OVER;
                return true;
            }
        }

    next:

        p += BLOCK;

        if (p > last) {
            if (p >= end) {
                break;
            }

            seen = (unsigned) (p - last);
            fresh <<= seen;
            p = last;
        }
    }

not_whole:

    us->usage = usage;
    us->level = 0;
    us->pending = KEY_NONE;

    return false;
}

#endif

bool hai_usage_whole(struct hai_usage_scan *us, const uint8_t *start,
                     const uint8_t *end) {
#if HAVE_AVX2
    const uint8_t *last = end;
    bool calls;

    if (end - start < BLOCK + 3 || !__builtin_cpu_supports("avx2")
        || !__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("pclmul")
        || !__builtin_cpu_supports("popcnt"))
    {
        return false;
    }

    while (is_blank(last[-1])) {
        last--; /* ends at the brace before start */
    }

    if (last[-1] != '}' || !whole_feed(us, start, end, &calls)) {
        return false;
    }

    if (!calls) {
        hai_calls_end(&us->calls);
    }

    return true;
#else
    (void) us, (void) start, (void) end;

    return false;
#endif
}
