/*
 * Token usage, see hai_usage.h for what is promised.  The lines of events are
 * here, what is in their data and in other answers is read by
 * hai_usage_json.c, or hai_usage_whole.c where it is all there.
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
 */

#include "hai_usage_core.h"

#include "hai_sse.h"

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

/* What an event may tell. */
enum words { WORDS_OF_USAGE = 1, WORDS_OF_CALLS = 2 };

static const uint8_t data_field[5] = "data:";

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
                hai_usage_json_reset(us);
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
                hai_usage_json_feed(us, &lf, &lf + 1);
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
                hai_usage_json_feed(us, p, eol);
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
    hai_usage_json_reset(us);
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
        hai_usage_json_feed(us, p, end);
        hai_calls_feed(&us->calls, p, (size_t) (end - p));
    }
}
