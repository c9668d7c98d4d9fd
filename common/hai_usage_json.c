/*
 * Counts and errors in one document of JSON, which may come in any pieces.
 *
 * Two stages, no tree.  Stage one ("classify") turns 64 bytes at a
 * time into bit masks: where brackets open, where they close, where colons
 * are, each only outside of strings.  It carries two facts from block to
 * block and from piece to piece: is this inside of a string, and is the next
 * byte escaped.  That is what makes text of a model harmless: a string that
 * looks like a usage object has no bits.
 *
 * Stage two walks over the bits.  It knows a path of at most four watched
 * objects, the innermost one last:
 *
 *   TOP --"response", "message"--> INNER --"usage"--> USAGE
 *    +-----------------------------------"usage"------> |
 *                          "prompt_tokens_details", --> DETAILS
 *                          "input_tokens_details"
 *
 * and `skip`, the number of containers open inside of it which are not
 * watched; while that is not 0 nothing but brackets counts, most blocks then
 * cost one comparison.  At a colon of a watched object the key before it is
 * looked at: backwards, in the piece itself or, where it began in an earlier
 * piece, in `past`, the last bytes of the pieces before (blanks between
 * tokens at their end left out, so that any number of them may follow a
 * key).  A wanted key either makes the next opening brace a step of the path
 * (`pending`) or starts the reading of the plain value that follows
 * (`value`), which is a byte-wise automaton of its own:
 *
 *   BLANK --0--> ZERO -----------+--blank--> TAIL --,}--> taken
 *     +--1..9--> DIGITS (0..9) --+--,}--> taken
 *   WORD_BLANK --"--> WORD: the letters of error"
 *
 * Any other byte means that the value is not the count looked for: signs,
 * fractions, exponents and leading zeros never become a number, nor does
 * anything above COUNT_MAX.
 *
 * What is not JSON is not judged here but it cannot do harm: an answer must
 * begin with a brace; a bracket that does not fit into a watched object ends
 * the search (JSON == OVER) until the next event.  Keys spelled with escapes
 * are not recognised; no provider sends those.
 */

#include "hai_usage_core.h"

#define BATCH 16 /* blocks classified at a time */

#define PAST_SIZE sizeof(((struct hai_usage_scan *) 0)->past)

enum value {
    VALUE_NONE,
    VALUE_BLANK,
    VALUE_ZERO,
    VALUE_DIGITS,
    VALUE_TAIL,
    VALUE_WORD_BLANK,
    VALUE_WORD
};

struct block {
    uint64_t open;
    uint64_t close;
    uint64_t colon;
    uint32_t opens; /* bits in open */
    uint32_t closes;
};

/* Bit masks of a block before strings are known. */
struct raw {
    uint64_t quote;
    uint64_t backslash;
    uint64_t open;
    uint64_t close;
    uint64_t colon;
};

static const uint8_t error_word[6] = "error\"";

/* Keeps what lies outside of strings; str has a bit for each byte in one. */
static inline void finish_block(struct block *b, const struct raw *raw,
                                uint64_t str) {
    b->open = raw->open & ~str;
    b->close = raw->close & ~str;
    b->colon = raw->colon & ~str;
    b->opens = (uint32_t) __builtin_popcountll(b->open);
    b->closes = (uint32_t) __builtin_popcountll(b->close);
}

/* Bit i of the result is the parity of the bits 0 .. i. */
static inline uint64_t parity_prefix(uint64_t bits) {
    bits ^= bits << 1;
    bits ^= bits << 2;
    bits ^= bits << 4;
    bits ^= bits << 8;
    bits ^= bits << 16;
    bits ^= bits << 32;

    return bits;
}

/*
 * Where to read the 64 bytes of a block of which only len are there, *shift
 * says how many of those in front do not belong to it.  Bytes of the piece in
 * front are read again where there are enough of them, otherwise the block is
 * copied; what is filled up has no bits.
 */
static inline const uint8_t *block_bytes(const uint8_t *start, const uint8_t *p,
                                         size_t len, uint8_t *copy,
                                         unsigned *shift) {
    *shift = 0;

    if (len == BLOCK) {
        return p;
    }

    if ((size_t) (p - start) + len >= BLOCK) {
        *shift = (unsigned) (BLOCK - len);
        return p - *shift;
    }

    memset(copy, 0, BLOCK);
    memcpy(copy, p, len);

    return copy;
}

static inline void shift_raw(struct raw *raw, unsigned shift) {
    raw->quote >>= shift;
    raw->backslash >>= shift;
    raw->open >>= shift;
    raw->close >>= shift;
    raw->colon >>= shift;
}

static inline void load_raw(struct raw *raw, const uint8_t *p) {
#if HAVE_SSE2
    memset(raw, 0, sizeof(*raw));

    for (unsigned i = 0; i < BLOCK; i += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *) (p + i));
        /* '[' and '{', ']' and '}' differ in this bit only */
        __m128i folded = _mm_or_si128(v, _mm_set1_epi8(0x20));

#define HAI_BITS(x, c)                                                         \
    ((uint64_t) (uint32_t) _mm_movemask_epi8(                                  \
         _mm_cmpeq_epi8((x), _mm_set1_epi8(c)))                                \
     << i)

        raw->quote |= HAI_BITS(v, '"');
        raw->backslash |= HAI_BITS(v, '\\');
        raw->colon |= HAI_BITS(v, ':');
        raw->open |= HAI_BITS(folded, '{');
        raw->close |= HAI_BITS(folded, '}');
#undef HAI_BITS
    }
#else
    memset(raw, 0, sizeof(*raw));

    for (unsigned i = 0; i < BLOCK; i++) {
        uint64_t bit = UINT64_C(1) << i;

        switch (p[i]) {

        case '"':
            raw->quote |= bit;
            break;

        case '\\':
            raw->backslash |= bit;
            break;

        case ':':
            raw->colon |= bit;
            break;

        case '{':
        case '[':
            raw->open |= bit;
            break;

        case '}':
        case ']':
            raw->close |= bit;
            break;

        default:
            break;
        }
    }
#endif
}

/*
 * Stage one over n bytes, at most BATCH blocks of them; the piece they are
 * part of begins at start.
 */
static void classify(struct hai_usage_scan *us, const uint8_t *start,
                     const uint8_t *p, size_t n, struct block *b) {
    uint64_t in_string = us->in_string;
    uint64_t escaped = us->escaped;
    uint8_t copy[BLOCK];
    struct raw raw;

    for (size_t done = 0; done < n; done += BLOCK, b++) {
        size_t len = n - done < BLOCK ? n - done : BLOCK;
        unsigned shift;

        load_raw(&raw, block_bytes(start, p + done, len, copy, &shift));
        if (shift != 0) {
            shift_raw(&raw, shift);
        }

        uint64_t str =
            raw.quote
            & ~hai_escaped_bytes(raw.backslash, (unsigned) len, &escaped);

        str = parity_prefix(str) ^ in_string;
        in_string = UINT64_C(0) - (str >> 63);

        finish_block(b, &raw, str);
    }

    us->in_string = in_string;
    us->escaped = escaped;
}

#if HAVE_AVX2

__attribute__((target("avx2,pclmul,popcnt"))) static void
classify_avx2(struct hai_usage_scan *us, const uint8_t *start, const uint8_t *p,
              size_t n, struct block *b) {
    const __m256i fold = _mm256_set1_epi8(0x20);
    const __m128i ones = _mm_set1_epi8((char) 0xff);
    uint64_t in_string = us->in_string;
    uint64_t escaped = us->escaped;
    uint8_t copy[BLOCK];

    for (size_t done = 0; done < n; done += BLOCK, b++) {
        size_t len = n - done < BLOCK ? n - done : BLOCK;
        unsigned shift;
        const uint8_t *q = block_bytes(start, p + done, len, copy, &shift);
        __m256i low = _mm256_loadu_si256((const __m256i *) q);
        __m256i high = _mm256_loadu_si256((const __m256i *) (q + 32));
        __m256i low_folded, high_folded;

        uint64_t backslash = equal_bits(low, high, '\\') >> shift;
        uint64_t str = equal_bits(low, high, '"') >> shift;

        str &= ~hai_escaped_bytes(backslash, (unsigned) len, &escaped);

        /* a carry-less product with all ones is the parity prefix */
        __m128i product =
            _mm_clmulepi64_si128(_mm_set_epi64x(0, (long long) str), ones, 0);

        str = (uint64_t) _mm_cvtsi128_si64(product) ^ in_string;
        in_string = UINT64_C(0) - (str >> 63);

        if (str == UINT64_MAX) {
            memset(b, 0, sizeof(*b)); /* the middle of a long string */
            continue;
        }

        low_folded = _mm256_or_si256(low, fold);
        high_folded = _mm256_or_si256(high, fold);

        b->colon = equal_bits(low, high, ':') >> shift & ~str;
        b->open = equal_bits(low_folded, high_folded, '{') >> shift & ~str;
        b->close = equal_bits(low_folded, high_folded, '}') >> shift & ~str;
        b->opens = (uint32_t) __builtin_popcountll(b->open);
        b->closes = (uint32_t) __builtin_popcountll(b->close);
    }

    us->in_string = in_string;
    us->escaped = escaped;
}

#endif

static void classify_best(struct hai_usage_scan *us, const uint8_t *start,
                          const uint8_t *p, size_t n, struct block *b) {
#if HAVE_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("pclmul")
        && __builtin_cpu_supports("popcnt"))
    {
        classify_avx2(us, start, p, n, b);
        return;
    }
#endif

    classify(us, start, p, n, b);
}

/*
 * Whether the WINDOW bytes at p end in this key and its quotes.  A backslash in
 * front means that the first quote is inside of a longer key.
 */
#define ENDS_IN(key)                                                           \
    (memcmp(p + WINDOW - (sizeof(key) - 1), key, sizeof(key) - 1) == 0         \
     && p[WINDOW - sizeof(key)] != '\\')

enum key hai_usage_look_up(enum node node, const uint8_t *p) {
    switch (node) {

    case NODE_TOP:
        if (ENDS_IN("\"type\"")) {
            return KEY_TYPE;
        }
        if (ENDS_IN("\"message\"") || ENDS_IN("\"response\"")) {
            return KEY_INNER;
        }
        if (ENDS_IN("\"input_tokens\"")) {
            return KEY_INPUT;
        }
        /* fall through */

    case NODE_INNER:
        if (ENDS_IN("\"usage\"")) {
            return KEY_USAGE;
        }
        return ENDS_IN("\"error\"") ? KEY_ERROR : KEY_NONE;

    case NODE_USAGE:
        if (ENDS_IN("\"prompt_tokens\"") || ENDS_IN("\"input_tokens\"")) {
            return KEY_INPUT;
        }
        if (ENDS_IN("\"completion_tokens\"") || ENDS_IN("\"output_tokens\"")) {
            return KEY_OUTPUT;
        }
        if (ENDS_IN("\"cache_read_input_tokens\"")) {
            return KEY_CACHED;
        }
        return ENDS_IN("\"prompt_tokens_details\"")
                       || ENDS_IN("\"input_tokens_details\"")
                   ? KEY_DETAILS
                   : KEY_NONE;

    case NODE_DETAILS:
        return ENDS_IN("\"cached_tokens\"") ? KEY_CACHED : KEY_NONE;
    }

    return KEY_NONE;
}

#undef ENDS_IN

#define PAIR(a, b) ((unsigned) (a) << 8 | (b))

/*
 * Whether the two letters and the quote before `end` could be the end of a
 * wanted key.  Without branches: nearly every key fails, in no order that a
 * processor could learn.
 */
static inline bool maybe_wanted(const uint8_t *end) {
    unsigned pair = PAIR(end[-3], end[-2]);
    unsigned wanted = pair == PAIR('g', 'e'); /* usage, message */

    wanted |= pair == PAIR('s', 'e'); /* response */
    wanted |= pair == PAIR('o', 'r'); /* error */
    wanted |= pair == PAIR('p', 'e'); /* type */
    wanted |= pair == PAIR('n', 's'); /* ..._tokens */
    wanted |= pair == PAIR('l', 's'); /* ..._details */
    wanted &= end[-1] == '"';

    return wanted != 0;
}

#undef PAIR

/* The key in front of the colon at `colon`, in the piece from start on. */
static enum key key_of(const struct hai_usage_scan *us, const uint8_t *start,
                       const uint8_t *colon) {
    enum node node = us->path[us->level];
    uint8_t joined[WINDOW + sizeof(us->past) + WINDOW];
    const uint8_t *end = colon;
    size_t n;

    while (end > start && is_blank(end[-1])) {
        end--;
    }

    n = (size_t) (end - start);

    if (n >= WINDOW) {
        return hai_usage_look_up(node, end - WINDOW);
    }

    memset(joined, 0, WINDOW);
    memcpy(joined + WINDOW, us->past, us->past_len);
    memcpy(joined + WINDOW + us->past_len, start, n);

    return hai_usage_look_up(node, joined + us->past_len + n);
}

/* Keeps the last bytes of a piece for key_of(). */
static void keep_past(struct hai_usage_scan *us, const uint8_t *p, size_t n) {
    if (!us->in_string) {
        size_t all = n;

        while (n > 0 && is_blank(p[n - 1])) {
            n--;
        }

        /* no JSON: what follows must not look as if it were escaped */
        if (n < all && (n > 0 ? p[n - 1] : us->past[us->past_len - 1]) == '\\')
        {
            n++;
        }
    }

    if (n >= PAST_SIZE) {
        memcpy(us->past, p + n - PAST_SIZE, PAST_SIZE);
        us->past_len = PAST_SIZE;
        return;
    }

    size_t keep = us->past_len < PAST_SIZE - n ? us->past_len : PAST_SIZE - n;

    memmove(us->past, us->past + us->past_len - keep, keep);
    memcpy(us->past + keep, p, n);
    us->past_len = (uint8_t) (keep + n);
}

/* What may follow a complete number. */
static void end_number(struct hai_usage_scan *us, uint8_t c) {
    if (c == ',' || c == '}') {
        take_count(&us->usage, us->slot, us->number);
        us->value = VALUE_NONE;

    } else {
        us->value = is_blank(c) ? VALUE_TAIL : VALUE_NONE;
    }
}

static void read_value(struct hai_usage_scan *us, const uint8_t *p,
                       const uint8_t *end) {
    for (; p < end && us->value != VALUE_NONE; p++) {
        uint8_t c = *p;

        switch (us->value) {

        case VALUE_BLANK:
            if (c >= '1' && c <= '9') {
                us->number = c - '0';
                us->value = VALUE_DIGITS;

            } else if (c == '0') {
                us->number = 0;
                us->value = VALUE_ZERO;

            } else if (!is_blank(c)) {
                us->value = VALUE_NONE;
            }
            break;

        case VALUE_DIGITS:
            if (c >= '0' && c <= '9') {
                us->number = us->number * 10 + (c - '0');
                if (us->number > COUNT_MAX) {
                    us->value = VALUE_NONE;
                }
                break;
            }
            end_number(us, c);
            break;

        case VALUE_WORD_BLANK:
            if (c == '"') {
                us->value = VALUE_WORD;
                us->number = 0;

            } else if (!is_blank(c)) {
                us->value = VALUE_NONE;
            }
            break;

        case VALUE_WORD:
            if (c != error_word[us->number]) {
                us->value = VALUE_NONE;

            } else if (++us->number == sizeof(error_word)) {
                us->usage.error = true;
                us->value = VALUE_NONE;
            }
            break;

        default: /* VALUE_ZERO, VALUE_TAIL */
            end_number(us, c);
        }
    }
}

static inline void on_colon(struct hai_usage_scan *us, const uint8_t *start,
                            const uint8_t *colon, const uint8_t *end) {
    enum key key;

    us->value = VALUE_NONE;
    us->pending = KEY_NONE;

    if (colon - start >= 3 && !is_blank(colon[-1]) && !maybe_wanted(colon)) {
        return;
    }

    key = key_of(us, start, colon);

    if (key >= KEY_INPUT) {
        us->slot = (uint8_t) key;
        us->value = VALUE_BLANK;
        read_value(us, colon + 1, end);

    } else if (key == KEY_TYPE) {
        if (end - colon > 2 && colon[1] == '"' && colon[2] != error_word[0]) {
            return; /* what nearly every event has */
        }

        us->value = VALUE_WORD_BLANK;
        read_value(us, colon + 1, end);

    } else {
        us->pending = (uint8_t) key;
    }
}

/* Stage two over one block, which begins at p; the piece is start .. end. */
static void walk(struct hai_usage_scan *us, const struct block *b,
                 const uint8_t *start, const uint8_t *p, const uint8_t *end) {
    uint64_t skip = us->skip;
    uint64_t bits = b->open | b->close;

    if (skip == 0) {
        bits |= b->colon;
    }

    while (bits != 0) {
        unsigned i = (unsigned) __builtin_ctzll(bits);

        bits &= bits - 1;

        if (skip != 0) {
            if (b->open >> i & 1) {
                skip++;

            } else if (--skip == 0) {
                bits |= b->colon & (~UINT64_C(1) << i);
            }

        } else if (p[i] == ':') {
            on_colon(us, start, p + i, end);

        } else if (b->open >> i & 1) {
            if (!on_open(us, p[i])) {
                skip = 1;
                bits &= ~b->colon;
            }

        } else if (!on_close(us, p[i])) {
            us->json = JSON_OVER;
            return;
        }
    }

    us->skip = skip;
}

void hai_usage_json_reset(struct hai_usage_scan *us) {
    us->json = JSON_START;
    us->skip = 0;
    us->in_string = 0;
    us->escaped = false;
    us->level = 0;
    us->path[0] = NODE_TOP;
    us->pending = KEY_NONE;
    us->value = VALUE_NONE;
    us->past_len = 0;
}

void hai_usage_json_feed(struct hai_usage_scan *us, const uint8_t *p,
                         const uint8_t *end) {
    struct block blocks[BATCH];
    const uint8_t *start;

    if (us->json == JSON_START) {
        while (p < end && is_blank(*p)) {
            p++;
        }

        if (p == end) {
            return;
        }

        if (*p != '{') {
            us->json = JSON_OVER;
            return;
        }

        us->json = JSON_OPEN;
        us->past[0] = *p++;
        us->past_len = 1;

        if (us->kind == HAI_USAGE_JSON && hai_usage_whole(us, p, end)) {
            return;
        }
    }

    if (us->json == JSON_OVER || p == end) {
        return;
    }

    start = p;

    read_value(us, p, end);

    while (p < end) {
        size_t n = (size_t) (end - p);

        if (n > BLOCK * BATCH) {
            n = BLOCK * BATCH;
        }

        classify_best(us, start, p, n, blocks);

        for (size_t i = 0; i * BLOCK < n; i++) {
            const struct block *b = &blocks[i];

            if (us->skip > b->closes) {
                us->skip += b->opens;
                us->skip -= b->closes;
                continue;
            }

            walk(us, b, start, p + i * BLOCK, end);

            if (us->json == JSON_OVER) {
                return;
            }
        }

        p += n;
    }

    if (us->skip == 0) {
        keep_past(us, start, (size_t) (end - start));
    }
}
