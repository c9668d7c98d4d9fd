/*
 * The cursor over an accepted body, see hai_walk.h.
 *
 * Strings are passed over by the functions of the scanner.  Objects and
 * arrays are passed over without looking at their tokens: of 64 bytes at a
 * time it is found out which quotes are no escaped ones, from these which
 * bytes lie inside of strings, and then only brackets outside of them count.
 */

#include "hai_walk.h"

#define BLOCK 64

/* Which bytes of 64 are what. */
struct block {
    uint64_t quote;
    uint64_t backslash;
    uint64_t open;
    uint64_t close;
};

/* --- places --------------------------------------------------------------- */

void hai_walk_start(struct hai_walk *w, const struct hai_body *body,
                    uint64_t offset) {
    static const struct hai_piece none = {(const uint8_t *) "", 0};

    w->piece = body->n ? body->pieces : &none;
    w->last = body->n ? body->pieces + body->n - 1 : &none;
    w->p = w->piece->data;
    w->end = w->p + w->piece->len;
    w->end_offset = w->piece->len;
    w->skip_strings = hai_skip_strings();

    hai_walk_jump(w, offset);
}

bool hai_walk_next_piece(struct hai_walk *w) {
    while (w->piece < w->last) {
        w->piece++;
        w->p = w->piece->data;
        w->end = w->p + w->piece->len;
        w->end_offset += w->piece->len;
        if (w->p < w->end) {
            return true;
        }
    }

    return false;
}

void hai_walk_jump(struct hai_walk *w, uint64_t offset) {
    while (offset > w->end_offset) {
        w->p = w->end;
        if (!hai_walk_next_piece(w)) {
            return;
        }
    }

    w->p = w->end - (w->end_offset - offset);
}

/* The byte before, which is taken back; there has to be one. */
static uint8_t back(struct hai_walk *w) {
    while (w->p == w->piece->data) {
        w->end_offset -= w->piece->len;
        w->piece--;
        w->end = w->piece->data + w->piece->len;
        w->p = w->end;
    }

    return *--w->p;
}

uint8_t hai_walk_spaces(struct hai_walk *w) {
    uint8_t c;

    while (hai_is_space(c = hai_walk_peek(w))) {
        w->p++;
    }

    return c;
}

bool hai_walk_element(struct hai_walk *w) {
    uint8_t c = hai_walk_space(w);

    if (c == ',') {
        w->p++;
        c = hai_walk_space(w);
    } else if (c == '}' || c == ']') {
        w->p++;
        return false;
    }

    return c != 0;
}

bool hai_walk_member(struct hai_walk *w, struct hai_walk_key *key) {
    if (!hai_walk_element(w)) {
        return false;
    }

    key->start = hai_walk_offset(w);
    key->len = hai_walk_string(w, key->text, HAI_WALK_KEY);

    if (hai_walk_space(w) == ':') {
        w->p++;
    }

    return hai_walk_space(w) != 0;
}

void hai_walk_copy(struct hai_walk *w, char *buf, size_t n) {
    size_t some;

    while (n > 0 && hai_walk_peek(w)) {
        some = (size_t) (w->end - w->p);
        if (some > n) {
            some = n;
        }
        memcpy(buf, w->p, some);
        w->p += some;
        buf += some;
        n -= some;
    }
}

/* --- values --------------------------------------------------------------- */

/* Takes the rest of a string and its closing quote. */
static void skip_string(struct hai_walk *w) {
    uint8_t c;

    while (hai_walk_peek(w)) {
        w->p = w->skip_strings(w->p, w->end);
        if (w->p == w->end) {
            continue;
        }

        /* the quote; or an escape or a character of two pieces */
        c = *w->p++;
        if (c == '"') {
            return;
        }
        if (c == '\\') {
            hai_walk_take(w);
        }
    }
}

#if defined(HAI_JSON_X86)

static inline void classify(struct block *b, const uint8_t *p) {
    __m128i v, small;

    memset(b, 0, sizeof(*b));

#define BITS(x, c)                                                             \
    ((uint64_t) (uint32_t) _mm_movemask_epi8(                                  \
         _mm_cmpeq_epi8((x), _mm_set1_epi8(c)))                                \
     << i)

    for (int i = 0; i < BLOCK; i += 16) {
        v = _mm_loadu_si128((const __m128i *) (p + i));
        small = _mm_or_si128(v, _mm_set1_epi8(0x20)); /* [ is { then */
        b->quote |= BITS(v, '"');
        b->backslash |= BITS(v, '\\');
        b->open |= BITS(small, '{');
        b->close |= BITS(small, '}');
    }

#undef BITS
}

#else

/* A bit for each byte of eight that is zero. */
static inline uint64_t zero_bytes(uint64_t w) {
    const uint64_t low = UINT64_C(0x7f7f7f7f7f7f7f7f);

    w = ~(((w & low) + low) | w | low);
    return (w >> 7) * UINT64_C(0x0102040810204080) >> 56;
}

static inline void classify(struct block *b, const uint8_t *p) {
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t v, small;

    memset(b, 0, sizeof(*b));

    for (int i = 0; i < BLOCK; i += 8) {
        v = load64(p + i);
        small = v | ones * 0x20; /* [ is { then */
        b->quote |= zero_bytes(v ^ ones * '"') << i;
        b->backslash |= zero_bytes(v ^ ones * '\\') << i;
        b->open |= zero_bytes(small ^ ones * '{') << i;
        b->close |= zero_bytes(small ^ ones * '}') << i;
    }
}

#endif

/* Each bit becomes the parity of all up to it. */
static inline uint64_t parity(uint64_t bits) {
    for (int i = 1; i < 64; i *= 2) {
        bits ^= bits << i;
    }

    return bits;
}

/* Takes an object or an array whose opening bracket is next. */
static void skip_container(struct hai_walk *w) {
    uint64_t carry = 0, inside = 0, brackets;
    uint8_t rest[BLOCK];
    size_t depth = 0, n;
    struct block b;

    while (hai_walk_peek(w)) {
        n = (size_t) (w->end - w->p);
        if (n >= BLOCK) {
            n = BLOCK;
            classify(&b, w->p);
        } else {
            memset(rest, 0, sizeof(rest));
            memcpy(rest, w->p, n);
            classify(&b, rest);
        }

        if (b.backslash | carry) {
            b.quote &= ~hai_escaped_bytes(b.backslash, (unsigned) n, &carry);
        }

        inside ^= parity(b.quote);
        brackets = (b.open | b.close) & ~inside;
        inside = inside >> 63 ? UINT64_MAX : 0;

        for (; brackets; brackets &= brackets - 1) {
            if (b.open & brackets & -brackets) {
                depth++;
            } else if (--depth == 0) {
                w->p += __builtin_ctzll(brackets) + 1;
                return;
            }
        }

        w->p += n;
    }
}

void hai_walk_skip(struct hai_walk *w) {
    uint8_t c = hai_walk_peek(w);

    if (c == '"') {
        w->p++;
        skip_string(w);

    } else if (c == '{' || c == '[') {
        skip_container(w);

    } else {
        while (c > ' ' && c != ',' && c != '}' && c != ']') {
            w->p++;
            c = hai_walk_peek(w);
        }
    }
}

void hai_walk_value(struct hai_walk *w, struct hai_json_value *value) {
    value->type = (char) hai_walk_peek(w);
    value->start = hai_walk_offset(w);
    hai_walk_skip(w);
    value->end = hai_walk_offset(w);
}

/* --- strings -------------------------------------------------------------- */

static size_t encode(uint32_t u, char *out) {
    size_t n = u < 0x80 ? 1 : u < 0x800 ? 2 : u < 0x10000 ? 3 : 4;

    if (n == 1) {
        out[0] = (char) u;
        return 1;
    }

    for (size_t i = n - 1; i > 0; i--) {
        out[i] = (char) (0x80 | (u & 0x3f));
        u >>= 6;
    }
    out[0] = (char) ((0xf00 >> n & 0xff) | u);

    return n;
}

static uint32_t take_hex(struct hai_walk *w) {
    uint32_t u = 0;

    for (int i = 0; i < 4; i++) {
        u = u << 4 | (hai_hex_digits[hai_walk_take(w)] & 0xf);
    }

    return u;
}

/* Takes an escape, two of a pair, and returns the length of its character. */
static size_t take_escape(struct hai_walk *w, char *out) {
    uint32_t u;
    uint8_t c;

    w->p++;
    c = hai_walk_take(w);
    if (c != 'u') {
        out[0] = (char) hai_escapes[c];
        return 1;
    }

    u = take_hex(w);
    if (u >= 0xd800 && u <= 0xdbff && hai_walk_peek(w) == '\\') {
        w->p++;
        hai_walk_take(w);
        u = 0x10000 + ((u & 0x3ff) << 10) + (take_hex(w) & 0x3ff);
    }

    return encode(u, out);
}

size_t hai_walk_text(struct hai_walk *w, char *buf, size_t size) {
    size_t len = 0, n;
    uint8_t c;

    while (size - len >= HAI_WALK_SPARE) {
        c = hai_walk_peek(w);
        if (c == '"' || c == 0) {
            break;
        }

        if (c == '\\') {
            len += take_escape(w, buf + len);
            continue;
        }

        n = (size_t) (w->end - w->p);
        if (n > size - len) {
            n = size - len;
        }
        n = (size_t) (hai_skip_text(w->p, w->p + n) - w->p);
        if (n == 0) {
            n = 1; /* of a character that does not end here */
        }

        memcpy(buf + len, w->p, n);
        len += n;
        w->p += n;
    }

    return len;
}

size_t hai_walk_string(struct hai_walk *w, char *buf, size_t max) {
    size_t len = 0, n;

    hai_walk_take(w);

    if (w->end - w->p >= 16 && max >= 16) {
        n = hai_first_special(w->p);
        if (n < 16 && w->p[n] == '"') {
            memcpy(buf, w->p, n);
            w->p += n + 1;
            return n;
        }
    }

    while (len <= max) {
        n = hai_walk_text(w, buf + len, max + HAI_WALK_SPARE - len);
        if (n == 0) {
            hai_walk_take(w);
            return len;
        }
        len += n;
    }

    skip_string(w);
    return max + 1;
}

bool hai_walk_tail(struct hai_walk *w, const struct hai_body *body,
                   uint64_t start, uint64_t end, uint64_t n) {
    struct hai_walk before;
    bool escaped = false;

    start++;
    end--;

    if (end - start <= n) {
        hai_walk_start(w, body, start);
        return true;
    }

    hai_walk_start(w, body, end - n);

    before = *w;
    while (hai_walk_offset(&before) > start && back(&before) == '\\') {
        escaped = !escaped;
    }

    if (escaped) {
        hai_walk_take(w);
    }

    return false;
}
