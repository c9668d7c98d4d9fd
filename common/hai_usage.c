/*
 * Token usage, see hai_usage.h for what is promised.
 *
 * Lines of events have the states that hai_sse.c describes, only that a line
 * which begins like "data:" is matched byte by byte (NAME, then SPACE for the
 * one optional blank, then DATA); all others, comments as well, are OTHER.
 * An event that is whole in a piece and has neither a count's key nor the
 * word "error" nor a word of tool calls in it is not read any further; most
 * of a stream is such.
 *
 * Tool calls are looked for by hai_calls.c, which gets what is read here, but
 * for whole documents without a word of tool calls.  Such words end in _calls,
 * _call or _use and a quote: there is no call without one of them.
 *
 * JSON.  Two stages, no tree.  Stage one ("classify") turns 64 bytes at a
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
 * Nearly every answer that is no stream comes in one piece.  Its first piece,
 * if there is a brace at the end, is read by whole_feed(), which takes the
 * same steps but does not look at each colon, and which gives up, leaving no
 * trace, when the document turns out to go on.
 *
 * What is not JSON is not judged here but it cannot do harm: an answer must
 * begin with a brace; a bracket that does not fit into a watched object ends
 * the search (JSON == OVER) until the next event.  Keys spelled with escapes
 * are not recognised; no provider sends those.
 */

#include "hai_usage.h"

#include "hai_sse.h"

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

#define PAST_SIZE sizeof(((struct hai_usage_scan *) 0)->past)

#define BLOCK 64 /* bytes: one for each bit of a mask */
#define BATCH 16 /* blocks classified at a time */

enum line {
    LINE_BOF,
    LINE_BOM1,
    LINE_BOM2,
    LINE_START,
    LINE_CR, /* LINE_START, but an LF still belongs to the line before */
    LINE_NAME,
    LINE_SPACE,
    LINE_DATA,
    LINE_OTHER
};

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

enum value {
    VALUE_NONE,
    VALUE_BLANK,
    VALUE_ZERO,
    VALUE_DIGITS,
    VALUE_TAIL,
    VALUE_WORD_BLANK,
    VALUE_WORD
};

/* What an event may tell. */
enum words { WORDS_OF_USAGE = 1, WORDS_OF_CALLS = 2 };

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

static const uint8_t data_field[5] = "data:";
static const uint8_t error_word[6] = "error\"";

static inline bool is_blank(uint8_t c) {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/*
 * The bytes behind an odd run of backslashes.  *escaped is true when the byte
 * before the block is an escaping backslash, and becomes the same fact for
 * the byte behind the block's len bytes.
 *
 * Adding the first bit of a run to the run leaves one bit right behind it.
 * Done for runs that begin at even places, that bit is at an odd place where
 * the run is odd, and the other way round.
 */
static inline uint64_t escaped_bytes(uint64_t backslash, unsigned len,
                                     bool *escaped) {
    const uint64_t even = UINT64_C(0x5555555555555555);
    uint64_t before = *escaped;
    uint64_t begin, behind_even, behind_odd, result;

    backslash &= ~before;
    begin = backslash & ~(backslash << 1);

    behind_even = backslash + (begin & even);
    behind_odd = backslash + (begin & ~even);

    result = ((behind_even & ~even) | (behind_odd & even)) & ~backslash;

    if (len < BLOCK) {
        *escaped = (result | before) >> len & 1;

    } else {
        /* a run from an odd place to the end went over */
        *escaped = behind_odd < backslash;
    }

    return result | before;
}

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
    bool escaped = us->escaped;
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
            raw.quote & ~escaped_bytes(raw.backslash, (unsigned) len, &escaped);

        str = parity_prefix(str) ^ in_string;
        in_string = UINT64_C(0) - (str >> 63);

        finish_block(b, &raw, str);
    }

    us->in_string = in_string;
    us->escaped = escaped;
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

__attribute__((target("avx2,pclmul,popcnt"))) static void
classify_avx2(struct hai_usage_scan *us, const uint8_t *start, const uint8_t *p,
              size_t n, struct block *b) {
    const __m256i fold = _mm256_set1_epi8(0x20);
    const __m128i ones = _mm_set1_epi8((char) 0xff);
    uint64_t in_string = us->in_string;
    bool escaped = us->escaped;
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

        str &= ~escaped_bytes(backslash, (unsigned) len, &escaped);

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
 * Whether the bytes before `end` are this key and its quotes.  A backslash in
 * front means that the first quote is inside of a longer key.
 */
#define ENDS_IN(key)                                                           \
    (memcmp(end - (sizeof(key) - 1), key, sizeof(key) - 1) == 0                \
     && end[-(int) sizeof(key)] != '\\')

/* The key whose closing quote is the last of WINDOW bytes before end. */
static enum key look_up(enum node node, const uint8_t *end) {
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
        return look_up(node, end);
    }

    memset(joined, 0, WINDOW);
    memcpy(joined + WINDOW, us->past, us->past_len);
    memcpy(joined + WINDOW + us->past_len, start, n);

    return look_up(node, joined + WINDOW + us->past_len + n);
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

static void take_count(struct hai_usage *usage, enum key key, uint64_t number) {
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

/* An opening bracket in a watched object.  False: it is not entered. */
static bool on_open(struct hai_usage_scan *us, uint8_t c) {
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
static bool on_close(struct hai_usage_scan *us, uint8_t c) {
    us->pending = KEY_NONE;

    if (c != '}' || us->level == 0) {
        return false;
    }

    us->level--;

    return true;
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

static void json_reset(struct hai_usage_scan *us) {
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
        key = look_up(us->path[us->level], quote + 1);

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

    us->pending = (uint8_t) look_up(us->path[us->level], p);

    return true;
}

/* As escaped_bytes(), of a block of which `seen` bytes in front are not new. */
static inline __attribute__((target("avx2"))) uint64_t
escaped_bits(__m256i low, __m256i high, unsigned seen, bool *escaped) {
    const __m256i slash = _mm256_set1_epi8('\\');
    __m256i slashes = _mm256_or_si256(_mm256_cmpeq_epi8(low, slash),
                                      _mm256_cmpeq_epi8(high, slash));

    if (!*escaped && _mm256_testz_si256(slashes, slashes)) {
        return 0;
    }

    return escaped_bytes(equal_bits(low, high, '\\') >> seen, BLOCK - seen,
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
    bool escaped = false;

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

/*
 * Nearly every answer that is no stream comes in one piece, which takes less
 * work.  False: to be read as any other piece.
 */
static bool try_whole(struct hai_usage_scan *us, const uint8_t *start,
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

static void json_feed(struct hai_usage_scan *us, const uint8_t *p,
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

        if (us->kind == HAI_USAGE_JSON && try_whole(us, p, end)) {
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

#if HAVE_AVX2

/*
 * The end of the line at p where the line is all in this piece, and *words
 * says what is in it; else NULL.  A line without such words, taken by itself,
 * cannot change what is known.
 *
 * Keys of counts end in tokens", the other words in error", calls", call" and
 * use".  Tables by the low four bits hold the letters that can be the last two
 * of them.
 */
__attribute__((target("avx2"))) static const uint8_t *
find_telling_eol(const uint8_t *start, const uint8_t *p, const uint8_t *end,
                 unsigned *words) {
    const __m256i srle = _mm256_setr_epi8(
        -1, -1, 'r', 's', -1, 'e', -1, -1, -1, -1, -1, -1, 'l', -1, -1, -1, -1,
        -1, 'r', 's', -1, 'e', -1, -1, -1, -1, -1, -1, 'l', -1, -1, -1);
    const __m256i nols = _mm256_setr_epi8(
        -1, -1, -1, 's', -1, -1, -1, -1, -1, -1, -1, -1, 'l', -1, 'n', 'o', -1,
        -1, -1, 's', -1, -1, -1, -1, -1, -1, -1, -1, 'l', -1, 'n', 'o');
    const __m256i quote = _mm256_set1_epi8('"');
    const __m256i lf = _mm256_set1_epi8('\n');
    const __m256i cr = _mm256_set1_epi8('\r');

    /* what is compared in front of a quote, and the last bytes once more */
    if (p - start < 2 || end - start < 2 + 32) {
        return NULL;
    }

    for (; p < end; p += 32) {
        unsigned seen = 0; /* bytes in front that are not new */

        if (end - p < 32) {
            seen = (unsigned) (32 - (end - p));
            p = end - 32;
        }

        __m256i v = _mm256_loadu_si256((const __m256i *) p);
        __m256i last = _mm256_loadu_si256((const __m256i *) (p - 1));
        __m256i before = _mm256_loadu_si256((const __m256i *) (p - 2));

        __m256i word = _mm256_and_si256(
            _mm256_and_si256(
                _mm256_cmpeq_epi8(v, quote),
                _mm256_cmpeq_epi8(_mm256_shuffle_epi8(srle, last), last)),
            _mm256_cmpeq_epi8(_mm256_shuffle_epi8(nols, before), before));
        __m256i eol =
            _mm256_or_si256(_mm256_cmpeq_epi8(v, lf), _mm256_cmpeq_epi8(v, cr));
        uint32_t bits =
            (uint32_t) _mm256_movemask_epi8(_mm256_or_si256(word, eol));

        bits &= UINT32_MAX << seen;

        for (; bits != 0; bits &= bits - 1) {
            const uint8_t *at = p + __builtin_ctz(bits);

            if (*at != '"') {
                return at;
            }

            if (at - start < 7) {
                return NULL;
            }

            if (memcmp(at - 6, "tokens", 6) == 0
                || memcmp(at - 6, "\"error", 6) == 0) {
                *words |= WORDS_OF_USAGE;

            } else if (is_call_word(start, at)) {
                *words |= WORDS_OF_CALLS;
            }
        }
    }

    return NULL;
}

#endif

/*
 * Most events of a stream carry a piece of text and nothing to be read here.
 * The end of the data at p where that is all of an event, and *words says
 * what is in it; else NULL.
 */
static const uint8_t *find_event(const struct hai_usage_scan *us,
                                 const uint8_t *start, const uint8_t *p,
                                 const uint8_t *end, unsigned *words) {
#if HAVE_AVX2
    const uint8_t *eol, *next;

    if (us->json != JSON_START || !__builtin_cpu_supports("avx2")) {
        return NULL;
    }

    eol = find_telling_eol(start, p, end, words);

    if (eol == NULL) {
        return NULL;
    }

    next = eol + 1;

    if (*eol == '\r' && next < end && *next == '\n') {
        next++;
    }

    return next < end && (*next == '\n' || *next == '\r') ? eol : NULL;
#else
    (void) us, (void) start, (void) p, (void) end, (void) words;

    return NULL;
#endif
}

/* The data of an event, its lines joined by LF, as JSON. */
static void sse_feed(struct hai_usage_scan *us, const uint8_t *p,
                     const uint8_t *end) {
    static const uint8_t lf = '\n';
    const uint8_t *start = p;
    const uint8_t *eol;
    unsigned words;

    while (p < end) {
        switch (us->line) {

        case LINE_CR:
            us->line = LINE_START;
            if (*p == '\n') {
                p++;
            }
            break;

        case LINE_START:
            if (*p == '\n' || *p == '\r') {
                us->line = *p++ == '\r' ? LINE_CR : LINE_START;
                us->joined = false;
                json_reset(us);
                hai_calls_begin(&us->calls);
                break;
            }

            if ((size_t) (end - p) >= sizeof(data_field)
                && memcmp(p, data_field, sizeof(data_field)) == 0)
            {
                p += sizeof(data_field);
                us->line = LINE_SPACE;
                break;
            }

            us->line = LINE_NAME;
            us->matched = 0;
            break;

        case LINE_NAME:
            while (p < end && *p == data_field[us->matched]) {
                p++;
                if (++us->matched == sizeof(data_field)) {
                    us->line = LINE_SPACE;
                    break;
                }
            }

            if (p < end && us->line == LINE_NAME) {
                us->line = LINE_OTHER;
            }
            break;

        case LINE_SPACE:
            us->line = LINE_DATA;

            if (us->joined) {
                json_feed(us, &lf, &lf + 1);
                hai_calls_feed(&us->calls, &lf, 1);
            }
            us->joined = true;

            if (*p == ' ') {
                p++;
            }
            break;

        default:
            words = 0;
            eol = us->line == LINE_DATA ? find_event(us, start, p, end, &words)
                                        : NULL;

            if (eol == NULL) {
                eol = hai_sse_find_eol(start, p, end);
                words =
                    us->line == LINE_DATA ? WORDS_OF_USAGE | WORDS_OF_CALLS : 0;
            }

            if (words & WORDS_OF_USAGE) {
                json_feed(us, p, eol);
            }

            if (words & WORDS_OF_CALLS) {
                hai_calls_feed(&us->calls, p, (size_t) (eol - p));
            }

            p = eol;

            if (p < end) {
                us->line = *p++ == '\r' ? LINE_CR : LINE_START;
            }
        }
    }
}

void hai_usage_init(struct hai_usage_scan *us, enum hai_usage_kind kind) {
    us->usage = (struct hai_usage){
        .input_tokens = -1, .output_tokens = -1, .cached_tokens = -1};
    us->kind = (uint8_t) kind;
    us->line = LINE_BOF;
    us->matched = 0;
    us->joined = false;

    hai_calls_init(&us->calls, kind == HAI_USAGE_SSE);
    json_reset(us);
}

void hai_usage_feed(struct hai_usage_scan *us, const void *data, size_t n) {
    const uint8_t *p = data;
    const uint8_t *end = p + n;

    while (p < end && us->line < LINE_START) {
        if (hai_sse_is_bom(us->line, *p)) {
            us->line++; /* LINE_START after the last */
            p++;

        } else {
            us->line = us->line == LINE_BOF ? LINE_START : LINE_OTHER;
        }
    }

    if (us->kind == HAI_USAGE_SSE) {
        sse_feed(us, p, end);

    } else if (us->line == LINE_START) {
        json_feed(us, p, end);
        hai_calls_feed(&us->calls, p, (size_t) (end - p));
    }
}
