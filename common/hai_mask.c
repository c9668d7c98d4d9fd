/*
 * The search for keys, see hai_mask.h for what is promised.
 *
 * Search.  A key can begin only where its two rarest bytes (rare among what
 * models write, decided once by add) stand at their places.  These two are
 * compared at 16 or 32 positions at a time; the whole key is compared only
 * where both are found.  The two bytes are read from the key itself each
 * time, so nothing of a key lies outside of its locked memory.  Time is
 * linear in bytes times keys: whole comparisons are long only where a long
 * part of the key is there, and those parts can overlap only as far as the
 * key repeats itself, which a random key does not.
 *
 * Overlaps.  All occurrences are found on the bytes as they came: for each
 * key its next occurrence is known, the first of them is taken, and a range
 * is overwritten only when no search will read it any more:
 *
 *   ....[ range to overwrite ).....next occurrences (each >= range's begin)
 *        written once the first of the next ones is at or behind its end
 *
 * Stream.  The caller holds back the tail that apply speaks of, puts the next
 * piece behind it and searches both together.  The tail is measured on the
 * bytes as they came, but held as they are after masking: where it overlaps
 * an occurrence, what would have been a second one is broken already.
 */

#include "hai_mask.h"

#include <string.h>

/*
 * HAI_MASK_SIMD lowers the code path for tests: 0 portable, 1 SSE2, 2 AVX2
 * where the processor has it.
 */
#ifndef HAI_MASK_SIMD
#define HAI_MASK_SIMD 2
#endif

#if defined(__x86_64__) && HAI_MASK_SIMD > 0
#define HAVE_SSE2 1
#include <immintrin.h>
#else
#define HAVE_SSE2 0
#endif

#if HAVE_SSE2 && HAI_MASK_SIMD > 1
#define HAVE_AVX2 1
#else
#define HAVE_AVX2 0
#endif

#define KEY_MAX 8192

/* Two bytes of a key and where they are in it, the beginning first. */
struct pair {
    uint8_t a;
    uint8_t b;
    size_t at_a;
    size_t at_b;
};

/* Common bytes of JSON, English and source code, the most common first. */
static const char common[] =
    " etaoinsrhld\"ucm,pgfy:wbv.k{}_x-0/()1\\2jq3z'ETSA45[]I6789CNRO";

static size_t min(size_t a, size_t b) {
    return a < b ? a : b;
}

void hai_mask_init(struct hai_mask *m) {
    memset(m, 0, sizeof(*m));
}

static size_t rarity(uint8_t c) {
    const char *at = memchr(common, c, sizeof(common) - 1);

    return at != NULL ? (size_t) (at - common) : sizeof(common);
}

/* The rarest byte of a key that is not the one at `other`. */
static uint16_t rarest(const uint8_t *key, size_t len, size_t other) {
    size_t best = other == 0 && len > 1 ? 1 : 0;

    for (size_t i = best + 1; i < len; i++) {
        if (i != other && rarity(key[i]) > rarity(key[best])) {
            best = i;
        }
    }

    return (uint16_t) best;
}

/* Letters, digits, and what else is in the keys of providers. */
static bool is_token(uint8_t c) {
    uint8_t letter = c | 0x20;

    return (letter >= 'a' && letter <= 'z') || (c >= '-' && c <= '9')
           || c == '_' || c == '=' || c == '+';
}

int hai_mask_add(struct hai_mask *m, const void *key, size_t len) {
    if (len == 0 || len > KEY_MAX) {
        return -1;
    }

    for (size_t i = 0; i < m->n; i++) {
        if (m->key[i].len == len && memcmp(m->key[i].data, key, len) == 0) {
            return 0;
        }
    }

    if (m->n == HAI_MASK_MAX_KEYS) {
        return -1;
    }

    m->key[m->n].data = key;
    m->key[m->n].len = len;
    m->rare[m->n][0] = rarest(key, len, len);
    m->rare[m->n][1] = rarest(key, len, m->rare[m->n][0]);
    m->n++;

    for (size_t i = 0; i < len; i++) {
        m->odd |= !is_token(((const uint8_t *) key)[i]);
    }

    if (len > m->longest) {
        m->longest = len;
    }

    return 0;
}

/*
 * The first position in from .. to where both bytes of the pair are, or `to`.
 * Readable are the bytes up to to - 1 + the larger of at_a and at_b.
 */
static size_t find_pair_bytes(const struct pair *pair, const uint8_t *p,
                              size_t from, size_t to) {
    const uint8_t *a = p + pair->at_a;
    const uint8_t *b = p + pair->at_b;

    while (from < to && (a[from] != pair->a || b[from] != pair->b)) {
        from++;
    }

    return from;
}

#if HAVE_SSE2

static size_t find_pair_sse2(const struct pair *pair, const uint8_t *p,
                             size_t from, size_t to) {
    const __m128i a = _mm_set1_epi8((char) pair->a);
    const __m128i b = _mm_set1_epi8((char) pair->b);

    if (to - from < 16) {
        return find_pair_bytes(pair, p, from, to);
    }

    for (;;) {
        const uint8_t *q = p + from;
        __m128i va = _mm_loadu_si128((const __m128i *) (q + pair->at_a));
        __m128i vb = _mm_loadu_si128((const __m128i *) (q + pair->at_b));
        uint32_t hits = (uint32_t) _mm_movemask_epi8(
            _mm_and_si128(_mm_cmpeq_epi8(va, a), _mm_cmpeq_epi8(vb, b)));

        if (hits != 0) {
            return from + (size_t) __builtin_ctz(hits);
        }

        from += 16;

        if (to - from < 16) {
            if (from == to) {
                return to;
            }
            from = to - 16; /* some positions twice, without a hit */
        }
    }
}

#endif

#if HAVE_AVX2

__attribute__((target("avx2"))) static size_t
find_pair_avx2(const struct pair *pair, const uint8_t *p, size_t from,
               size_t to) {
    const __m256i a = _mm256_set1_epi8((char) pair->a);
    const __m256i b = _mm256_set1_epi8((char) pair->b);
    const uint8_t *pa = p + pair->at_a;
    const uint8_t *pb = p + pair->at_b;

#define HAI_HITS(i)                                                            \
    _mm256_and_si256(_mm256_cmpeq_epi8(                                        \
                         _mm256_loadu_si256((const __m256i *) (pa + (i))), a), \
                     _mm256_cmpeq_epi8(                                        \
                         _mm256_loadu_si256((const __m256i *) (pb + (i))), b))

    while (to - from >= 64) {
        __m256i low = HAI_HITS(from);
        __m256i high = HAI_HITS(from + 32);

        if (_mm256_movemask_epi8(_mm256_or_si256(low, high)) != 0) {
            uint64_t hits = (uint32_t) _mm256_movemask_epi8(low)
                            | (uint64_t) (uint32_t) _mm256_movemask_epi8(high)
                                  << 32;

            return from + (size_t) __builtin_ctzll(hits);
        }

        from += 64;
    }

    while (from < to) {
        if (to - from < 32) {
            from = to - 32; /* some positions twice, without a hit */
        }

        uint32_t hits = (uint32_t) _mm256_movemask_epi8(HAI_HITS(from));

        if (hits != 0) {
            return from + (size_t) __builtin_ctz(hits);
        }

        from += 32;
    }

#undef HAI_HITS

    return to;
}

#endif

static size_t find_pair(const struct pair *pair, const uint8_t *p, size_t from,
                        size_t to) {
#if HAVE_AVX2
    if (to - from >= 32 && __builtin_cpu_supports("avx2")) {
        return find_pair_avx2(pair, p, from, to);
    }
#endif

#if HAVE_SSE2
    return find_pair_sse2(pair, p, from, to);
#else
    return find_pair_bytes(pair, p, from, to);
#endif
}

/* Where key k is next in p[0..n), at `from` or behind it; n for nowhere. */
static size_t find_key(const struct hai_mask *m, size_t k, const uint8_t *p,
                       size_t from, size_t n) {
    const uint8_t *key = m->key[k].data;
    size_t len = m->key[k].len;
    struct pair pair = {
        .a = key[m->rare[k][0]],
        .b = key[m->rare[k][1]],
        .at_a = m->rare[k][0],
        .at_b = m->rare[k][1],
    };

    if (len > n) {
        return n;
    }

    for (size_t end = n - len + 1; from < end; from++) {
        from = find_pair(&pair, p, from, end);

        if (from < end && memcmp(p + from, key, len) == 0) {
            return from;
        }
    }

    return n;
}

/*
 * The length of the longest tail of p[0..n) that is the beginning of a key
 * without being all of it.
 */
static size_t find_tail(const struct hai_mask *m, const uint8_t *p, size_t n) {
    size_t best = 0;

    /* pieces mostly end at the end of an event or answer */
    if (n == 0 || (!m->odd && !is_token(p[n - 1]))) {
        return 0;
    }

    for (size_t k = 0; k < m->n; k++) {
        const uint8_t *data = m->key[k].data;
        size_t from = n - min(n, m->key[k].len - 1);

        if (n - from <= best) {
            continue;
        }

        struct pair pair = {.a = data[0], .b = data[1], .at_b = 1};

        for (; n - from > best; from++) {
            if (n - from > 1) {
                from = find_pair(&pair, p, from, n - 1);
            }

            if (n - from <= best) {
                break;
            }

            if (memcmp(p + from, data, n - from) == 0) {
                best = n - from;
                break;
            }
        }
    }

    return best;
}

static void overwrite_all(const struct hai_mask *m, uint8_t *p, size_t n) {
    size_t next[HAI_MASK_MAX_KEYS];
    size_t begin = 0;
    size_t end = 0;
    bool found = false;

    for (size_t k = 0; k < m->n; k++) {
        next[k] = find_key(m, k, p, 0, n);
        found |= next[k] < n;
    }

    while (found) {
        size_t first = 0;

        for (size_t k = 1; k < m->n; k++) {
            if (next[k] < next[first]) {
                first = k;
            }
        }

        size_t at = next[first];

        if (at >= end) {
            memset(p + begin, '*', end - begin);
            begin = at;
        }

        if (at >= n) {
            break;
        }

        if (at + m->key[first].len > end) {
            end = at + m->key[first].len;
        }

        next[first] = find_key(m, first, p, at + 1, n);
    }
}

size_t hai_mask_apply(const struct hai_mask *m, void *p, size_t n) {
    size_t tail = find_tail(m, p, n);

    overwrite_all(m, p, n);

    return tail;
}
