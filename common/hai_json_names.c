/*
 * Names that decide and names that only look like one, see hai_json_names.h.
 */

#include "hai_json_names.h"

#include "hai_json.h"
#include "hai_json_skip.h"

#include <string.h>

#define FOLDED_BYTES 24 /* more than the longest deciding key */

/* In the order of enum hai_json_key. */
static const struct {
    char name[FOLDED_BYTES];
    uint8_t len;
} top_keys[HAI_KEY_COUNT] = {
    { "model", 5 },
    { "stream", 6 },
    { "messages", 8 },
    { "system", 6 },
    { "instructions", 12 },
    { "input", 5 },
    { "prompt", 6 },
    { "tools", 5 },
    { "previous_response_id", 20 },
    { "conversation", 12 }
};

/*
 * One step of Unicode case folding, as far as it ends in ASCII that occurs
 * in a deciding key: the letter or letters at p, *n the bytes taken; NULL:
 * p folds to something else.  Dotted and dotless i count as i, a combining
 * dot above (what a dotted capital I leaves when folded) as nothing.
 * Ligatures with f are left out, no deciding key has ff, fi or fl.
 */
static const char *fold(const uint8_t *p, size_t left, size_t *n) {
    static const struct {
        char from[4];
        char to[3];
    } folds[] = {
        { "\xc3\x9f", "ss" },     /* U+00DF sharp s */
        { "\xc4\xb0", "i" },      /* U+0130 I with dot above */
        { "\xc4\xb1", "i" },      /* U+0131 dotless i */
        { "\xc5\xbf", "s" },      /* U+017F long s */
        { "\xcc\x87", "" },       /* U+0307 combining dot above */
        { "\xe1\xba\x9e", "ss" }, /* U+1E9E capital sharp s */
        { "\xe2\x84\xaa", "k" },  /* U+212A Kelvin sign */
        { "\xef\xac\x85", "st" }, /* U+FB05 ligature long s t */
        { "\xef\xac\x86", "st" }  /* U+FB06 ligature s t */
    };

    for (size_t i = 0; i < sizeof(folds) / sizeof(folds[0]); i++) {
        *n = strlen(folds[i].from);
        if (left >= *n && memcmp(p, folds[i].from, *n) == 0) {
            return folds[i].to;
        }
    }

    return NULL;
}

/*
 * The name that a key becomes when folded and read without NUL; *cut is its
 * length up to the first NUL.  Returns the whole length; 0: no name that the
 * gateway knows, which *cut can be nevertheless.
 */
static size_t fold_key(const uint8_t *p, size_t len, char out[FOLDED_BYTES],
                       size_t *cut) {
    size_t n, out_len = 0;
    char ascii[2] = "";
    bool nul = false;
    const char *to;

    *cut = 0;

    for (size_t i = 0; i < len; i += n) {
        n = 1;
        if (p[i] == '\0') {
            if (!nul) {
                *cut = out_len;
                nul = true;
            }
            continue;
        }

        if (p[i] >= 0x80) {
            to = fold(p + i, len - i, &n);
            if (to == NULL) {
                return 0;
            }
        } else {
            ascii[0] = (char) (p[i] >= 'A' && p[i] <= 'Z' ? p[i] | 0x20
                                                          : p[i]);
            to = ascii;
        }

        for ( ; *to; to++) {
            if (out_len == FOLDED_BYTES) {
                return 0;
            }
            out[out_len++] = *to;
        }
    }

    return out_len;
}

int hai_json_top_key(const char *name, size_t len) {
    for (int i = 0; i < HAI_KEY_COUNT; i++) {
        if (top_keys[i].len == len
            && memcmp(top_keys[i].name, name, len) == 0) {
            return i;
        }
    }

    return -1;
}

static bool is_role_key(const char *name, size_t len) {
    return (len == 4 && (memcmp(name, "role", 4) == 0
                         || memcmp(name, "type", 4) == 0))
           || (len == 7 && memcmp(name, "content", 7) == 0);
}

/* Bit 7 of some byte is set when one of 8 is NUL, a capital or not ASCII. */
static inline uint64_t foldable_bits(uint64_t w) {
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t ascii = w & ones * 0x7f;
    uint64_t capital = (ascii + ones * (0x80 - 'A'))
                       & ~(ascii + ones * (0x80 - 'Z' - 1));

    return (w | capital | ~(ascii + ones * 0x7f)) & ones * 0x80;
}

/* Whether folding, or reading without NUL, could change the key at all. */
static bool bytes_may_fold(const uint8_t *p, size_t len) {
    uint64_t bits = 0;

    for ( ; len >= 8; len -= 8, p += 8) {
        bits |= foldable_bits(load64(p));
    }

    /* the bytes that are missing to a word must not look like NUL */
    return bits || foldable_bits(load_rest(p, len)
                                 | UINT64_C(0x2020202020202020) << 8 * len);
}

bool hai_json_like_top_key(const uint8_t *p, size_t len) {
    char name[FOLDED_BYTES];
    size_t n, cut;

    if (!bytes_may_fold(p, len)) {
        return false;
    }

    n = fold_key(p, len, name, &cut);
    return hai_json_top_key(name, n) >= 0 || hai_json_top_key(name, cut) >= 0;
}

bool hai_json_like_role_key(const uint8_t *p, size_t len) {
    char name[FOLDED_BYTES];
    size_t n, cut;

    if (!bytes_may_fold(p, len)) {
        return false;
    }

    n = fold_key(p, len, name, &cut);
    return is_role_key(name, n) || is_role_key(name, cut);
}
