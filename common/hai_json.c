/*
 * The scanner of request bodies, see hai_json.h for what it promises.
 *
 * It is a state machine without a tree.  Between two calls of
 * hai_json_feed() the whole knowledge is
 *
 *   state    what the next byte may be (enum state below),
 *   frames   one per open object or array: which kind, which checks apply in
 *            it and in what it holds, where its keys begin,
 *   keys     two 64-bit words for each key of each open object in which a
 *            repeated key is refused, as a stack over all frames
 *            (hai_json_names.c),
 *   kept     the beginning of a key or of the model, while it cannot be read
 *            in place because it holds escapes or arrives in pieces.
 *
 *   START ---{---> FIRST_KEY --"--> [string] ---> COLON --:--> VALUE
 *                     |                ^                        |  | { [
 *                     } (close)        "                        |  +--> FIRST_
 *                     v                |                        v       KEY or
 *   DONE <--(last)- AFTER -----,-----> KEY (object)     [string, number,  _ITEM
 *                     ^  \-----,-----> VALUE (array)     literal]
 *                     |                                         |
 *                     +-----------------------------------------+
 *
 * The states of the second half of the enum are entered only where the input
 * ends inside a token.  A refusal has the same status and the same offset
 * however the body was split: grammar is judged byte by byte, what a key or
 * the model means at its closing quote.
 *
 * There are two ways through the graph.  structure_bytes() knows all of it
 * and takes one token a turn: the slow path, and the only one that refuses.
 * fast_path() knows the shapes of which bodies consist (keys up to 15 bytes
 * of ASCII without escapes, strings, plain numbers, literals, containers,
 * white space between them; of messages also what usually is between two of
 * their strings) and keeps its state in registers and in the
 * place in its code.  It needs FAST_BYTES ahead, so that it can look at whole
 * words without a check for each byte.  Where anything is unusual it stores
 * the state of the token's beginning, and structure_bytes() reads that token
 * before it tries the fast path again.
 *
 * Nearly all bytes of a chat body are the inside of long strings; those are
 * passed over by hai_json_skip.c, which never refuses.  The byte-wise code
 * here says what is wrong, so that no refusal depends on the processor.
 *
 * Repeated keys: a key up to 15 bytes is its own two words, of a longer one
 * the first is its keyed SipHash-1-3.  Equal keys always have equal words; two
 * different long keys have them with a chance of 2^-64, and then the body is
 * refused although it is innocent.
 */

#include "hai_json.h"

#include "hai_json_names.h"
#include "hai_json_skip.h"
#include "hai_sip.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define KEPT_BYTES 264 /* more than the model and any folded name needs */

/*
 * The fast path looks once for how many bytes are left.  Behind a value it
 * reads at most: comma, space, a key of 15 bytes with its quotes, colon,
 * space, and a number, a literal or 33 bytes of a string.
 */
#define FAST_BYTES 64

#define ITEM_DEPTH 3 /* of what is in an array that is in the body */

enum state {
    ST_START,      /* before the opening brace */
    ST_FIRST_KEY,  /* behind an opening brace: a key or the closing brace */
    ST_KEY,        /* behind a comma in an object */
    ST_COLON,      /* behind a key */
    ST_FIRST_ITEM, /* behind an opening bracket: a value or the closing one */
    ST_VALUE,      /* behind a colon, or behind a comma in an array */
    ST_AFTER,      /* behind a value */
    ST_DONE,       /* behind the closing brace of the body */

    ST_STRING,      /* inside a string, at a character */
    ST_CHARACTER,   /* inside a UTF-8 sequence */
    ST_ESCAPE,      /* behind a backslash */
    ST_HEX,         /* inside the four digits of an escape */
    ST_SURROGATE,   /* behind a high surrogate: only a backslash may follow */
    ST_SURROGATE_U, /* ... and then only a u */
    ST_LITERAL,     /* inside true, false or null */
    ST_MINUS,       /* a number: behind the minus */
    ST_ZERO,        /* behind a leading zero */
    ST_INTEGER,     /* behind any other digit */
    ST_POINT,       /* behind the decimal point */
    ST_FRACTION,    /* behind a digit of the fraction */
    ST_EXP,         /* behind the e */
    ST_EXP_SIGN,    /* behind its sign */
    ST_EXP_DIGIT    /* behind a digit of the exponent */
};

/* What a string is for. */
enum purpose { FOR_NOTHING, FOR_KEY, FOR_MODEL };

/* Checks that apply to the keys of an object. */
enum {
    CHECK_REPEATED = 1, /* no key twice */
    CHECK_ROLE = 2      /* nothing that only looks like role, content, type */
};

struct hai_json {
    enum hai_json_status status;
    enum state state;
    uint32_t depth;
    int top_key; /* enum hai_json_key whose value is due, or -1 */

    const uint8_t *data; /* this call's bytes ... */
    uint64_t offset;     /* ... and where they begin in the body */
    uint64_t error_offset;
    uint64_t string_offset; /* of the opening quote of a key or the model */
    hai_skip_fn *skip_strings;
    hai_messages_fn *skip_messages; /* or NULL */

    enum purpose purpose; /* of the string that is being read */
    uint8_t utf8_left;    /* ST_CHARACTER: bytes to come, and the range */
    uint8_t utf8_low;     /* of the next one */
    uint8_t utf8_high;
    uint8_t hex_left; /* ST_HEX */
    bool kept_nul;
    uint32_t hex;
    uint32_t high_surrogate; /* or 0 */
    const char *literal;     /* ST_LITERAL: what must follow */

    size_t kept_len;    /* bytes so far, also those beyond kept[] */
    uint64_t kept_word; /* bytes that do not fill a word yet */
    struct hai_sip kept_sip;

    struct hai_json_facts facts;
    struct hai_json_items items;
    uint8_t kept[KEPT_BYTES];
    struct hai_json_frame frames[HAI_JSON_MAX_DEPTH + 1]; /* [0]: the body */
    struct hai_json_keys keys;
};

/* Checks in the values of the keys that decide. */
static const uint8_t checks_inside[HAI_KEY_COUNT] = {
    [HAI_KEY_MESSAGES] = CHECK_REPEATED | CHECK_ROLE,
    [HAI_KEY_SYSTEM] = CHECK_REPEATED | CHECK_ROLE,
    [HAI_KEY_INPUT] = CHECK_REPEATED | CHECK_ROLE,
    [HAI_KEY_INSTRUCTIONS] = CHECK_REPEATED,
    [HAI_KEY_TOOLS] = CHECK_REPEATED,
};

static _Atomic uint64_t process_seed[2];

/* --- refusing ----------------------------------------------------------- */

static uint64_t offset_of(const struct hai_json *js, const uint8_t *p) {
    return js->offset + (uint64_t) (p - js->data);
}

/* Returns NULL, which ends every loop over the bytes. */
static const uint8_t *refuse_at(struct hai_json *js, uint64_t offset,
                                enum hai_json_status status) {
    js->status = status;
    js->error_offset = offset;
    return NULL;
}

static const uint8_t *refuse(struct hai_json *js, const uint8_t *p,
                             enum hai_json_status status) {
    return refuse_at(js, offset_of(js, p), status);
}

/* --- keys: their words -------------------------------------------------- */

static uint64_t hash(const struct hai_json *js, const uint8_t *p, size_t len) {
    struct hai_sip s;
    size_t n;

    hai_sip_start(&s, js->keys.seed);
    for (n = len; n >= 8; n -= 8, p += 8) {
        hai_sip_word(&s, load64(p));
    }

    return hai_sip_end(&s, load_rest(p, n), len);
}

/* The words of any key, where nothing may be read behind it. */
static struct hai_key key_words(struct hai_json *js, const uint8_t *s,
                                size_t len) {
    uint8_t copy[HAI_KEY_SHORT + 1];
    struct hai_key key;

    if (len <= HAI_KEY_SHORT) {
        memcpy(copy, s, len);
        copy[len] = '"';
        memset(copy + len + 1, 0, HAI_KEY_SHORT - len);
        return hai_key_words(copy, len);
    }

    key.a = s == js->kept ? hai_sip_end(&js->kept_sip, js->kept_word, len)
                          : hash(js, s, len);
    key.b = HAI_KEY_HASHED;

    return key;
}

/* --- keys and the model: what they mean --------------------------------- */

/* A key that is none of the deciding ones: does it look like one? */
static bool is_ambiguous(const struct hai_json *js, const uint8_t *s,
                         size_t len) {
    bool kept = s == js->kept;

    if (kept && len > KEPT_BYTES) {
        /* hundreds of bytes around a NUL are not worth a finer answer */
        return js->kept_nul;
    }

    return js->depth == 1 ? hai_json_like_top_key(s, len)
                          : hai_json_like_role_key(s, len);
}

/* A key was read; s is js->kept, or its place in the input. */
static const uint8_t *key_end(struct hai_json *js, const uint8_t *next,
                              const uint8_t *s, size_t len) {
    struct hai_json_frame *f = &js->frames[js->depth];
    struct hai_key key = key_words(js, s, len);
    enum hai_json_status status;
    bool ambiguous = false;

    js->state = ST_COLON;
    js->facts.file_id |= key.a == hai_name_file_id && key.b == 0;

    if (js->depth == 1) {
        js->top_key = hai_json_top_key((const char *) s, len);
        if (js->top_key >= 0) {
            f->inside = checks_inside[js->top_key];
        } else {
            f->inside = 0;
            ambiguous = is_ambiguous(js, s, len);
        }

    } else if (f->checks & CHECK_ROLE) {
        f->inside = f->checks;
        if (key.b) {
            ambiguous = is_ambiguous(js, s, len);
        } else if (key.a == hai_name_input) {
            /* a tool's arguments: their names are the tool's own affair */
            f->inside &= (uint8_t) ~CHECK_ROLE;
        } else if (!hai_is_role_word(key.a)) {
            ambiguous = is_ambiguous(js, s, len);
        }
    }

    if (ambiguous) {
        return refuse_at(js, js->string_offset, HAI_JSON_AMBIGUOUS_KEY);
    }

    if (f->checks & CHECK_REPEATED) {
        status = hai_json_keys_add(&js->keys, js->frames, js->depth, key);
        if (status != HAI_JSON_OK) {
            return refuse_at(js, js->string_offset, status);
        }
    }

    return next;
}

/* The value of a deciding key of the body ends before next. */
static void top_value_end(struct hai_json *js, const uint8_t *next) {
    struct hai_json_value *v = &js->facts.top[js->top_key];

    v->end = offset_of(js, next);
    if (js->top_key == HAI_KEY_STREAM) {
        js->facts.stream = v->type == 't';
    }
    js->top_key = -1;
}

static void value_end(struct hai_json *js, const uint8_t *next) {
    js->state = ST_AFTER;
    if (js->depth == 1 && js->top_key >= 0) {
        top_value_end(js, next);
    }
}

static const uint8_t *model_end(struct hai_json *js, const uint8_t *next,
                                const uint8_t *s, size_t len) {
    if (s == js->kept && js->kept_nul) {
        return refuse_at(js, js->string_offset, HAI_JSON_AMBIGUOUS_KEY);
    }
    if (len == 0 || len > HAI_JSON_MAX_MODEL) {
        return refuse_at(js, js->string_offset, HAI_JSON_MODEL);
    }

    for (size_t i = 0; i < len; i++) {
        /* C0, DEL, and C1, which is c2 80 to c2 9f */
        if (s[i] < 0x20 || s[i] == 0x7f || (s[i] == 0xc2 && s[i + 1] < 0xa0)) {
            return refuse_at(js, js->string_offset, HAI_JSON_MODEL);
        }
    }

    memcpy(js->facts.model, s, len);
    js->facts.model[len] = '\0';
    js->facts.model_len = len;
    value_end(js, next);

    return next;
}

static const uint8_t *string_end(struct hai_json *js, const uint8_t *next,
                                 const uint8_t *s, size_t len,
                                 enum purpose purpose) {
    switch (purpose) {
    case FOR_KEY:
        return key_end(js, next, s, len);
    case FOR_MODEL:
        return model_end(js, next, s, len);
    default:
        value_end(js, next);
        return next;
    }
}

/* --- strings: byte by byte ---------------------------------------------- */

static void keep(struct hai_json *js, const uint8_t *p, size_t n) {
    if (js->purpose == FOR_NOTHING) {
        return;
    }

    for (size_t i = 0; i < n; i++) {
        if (js->kept_len < KEPT_BYTES) {
            js->kept[js->kept_len] = p[i];
        }
        js->kept_word |= (uint64_t) p[i] << 8 * (js->kept_len & 7);
        js->kept_len++;
        if ((js->kept_len & 7) == 0) {
            hai_sip_word(&js->kept_sip, js->kept_word);
            js->kept_word = 0;
        }
    }
}

static void keep_character(struct hai_json *js, uint32_t u) {
    uint8_t b[4];
    size_t n;

    if (u < 0x80) {
        b[0] = (uint8_t) u;
        n = 1;
        js->kept_nul |= u == 0;
    } else if (u < 0x800) {
        b[0] = (uint8_t) (0xc0 | u >> 6);
        b[1] = (uint8_t) (0x80 | (u & 0x3f));
        n = 2;
    } else if (u < 0x10000) {
        b[0] = (uint8_t) (0xe0 | u >> 12);
        b[1] = (uint8_t) (0x80 | (u >> 6 & 0x3f));
        b[2] = (uint8_t) (0x80 | (u & 0x3f));
        n = 3;
    } else {
        b[0] = (uint8_t) (0xf0 | u >> 18);
        b[1] = (uint8_t) (0x80 | (u >> 12 & 0x3f));
        b[2] = (uint8_t) (0x80 | (u >> 6 & 0x3f));
        b[3] = (uint8_t) (0x80 | (u & 0x3f));
        n = 4;
    }

    keep(js, b, n);
}

/* The byte c, the one at p, inside a UTF-8 sequence. */
static const uint8_t *character_byte(struct hai_json *js, const uint8_t *p) {
    if (*p < js->utf8_low || *p > js->utf8_high) {
        return refuse(js, p, HAI_JSON_UTF8);
    }

    keep(js, p, 1);
    js->utf8_low = 0x80;
    js->utf8_high = 0xbf;
    js->utf8_left--;
    if (js->utf8_left == 0) {
        js->state = ST_STRING;
    }

    return p + 1;
}

/* The byte at p inside the digits of a \u escape. */
static const uint8_t *hex_byte(struct hai_json *js, const uint8_t *p) {
    uint8_t digit = hai_hex_digits[*p];

    if (digit == 0) {
        return refuse(js, p, HAI_JSON_SYNTAX);
    }

    js->hex = js->hex << 4 | (digit & 0xf);
    js->hex_left--;
    if (js->hex_left) {
        return p + 1;
    }

    js->state = ST_STRING;

    if (js->high_surrogate) {
        if (js->hex < 0xdc00 || js->hex > 0xdfff) {
            return refuse(js, p, HAI_JSON_UTF8);
        }
        keep_character(js, 0x10000 + ((js->high_surrogate & 0x3ff) << 10)
                               + (js->hex & 0x3ff));
        js->high_surrogate = 0;

    } else if (js->hex >= 0xdc00 && js->hex <= 0xdfff) {
        return refuse(js, p, HAI_JSON_UTF8);

    } else if (js->hex >= 0xd800 && js->hex <= 0xdbff) {
        js->high_surrogate = js->hex;
        js->state = ST_SURROGATE;

    } else {
        keep_character(js, js->hex);
    }

    return p + 1;
}

/* The byte at p behind a backslash, or in the row to a low surrogate. */
static const uint8_t *escape_byte(struct hai_json *js, const uint8_t *p) {
    uint8_t c;

    if (js->state == ST_SURROGATE) {
        js->state = ST_SURROGATE_U;
        return *p == '\\' ? p + 1 : refuse(js, p, HAI_JSON_UTF8);
    }

    if (*p == 'u') {
        js->hex = 0;
        js->hex_left = 4;
        js->state = ST_HEX;
        return p + 1;
    }

    if (js->state == ST_SURROGATE_U) {
        return refuse(js, p, HAI_JSON_UTF8);
    }

    c = hai_escapes[*p];
    if (c == 0) {
        return refuse(js, p, HAI_JSON_SYNTAX);
    }

    keep(js, &c, 1);
    js->state = ST_STRING;
    return p + 1;
}

/* The byte at p in a string, where skipping stopped. */
static const uint8_t *special_byte(struct hai_json *js, const uint8_t *p) {
    if (*p == '"') {
        return string_end(js, p + 1, js->kept, js->kept_len, js->purpose);
    }

    if (*p == '\\') {
        js->state = ST_ESCAPE;
        return p + 1;
    }

    if (*p < 0x20) {
        return refuse(js, p, HAI_JSON_SYNTAX);
    }

    js->utf8_left =
        (uint8_t) hai_utf8_follow(*p, &js->utf8_low, &js->utf8_high);
    if (js->utf8_left == 0) {
        return refuse(js, p, HAI_JSON_UTF8);
    }

    keep(js, p, 1);
    js->state = ST_CHARACTER;
    return p + 1;
}

/* Goes on inside a string, to behind its end or to the end of the input. */
static const uint8_t *string_bytes(struct hai_json *js, const uint8_t *p,
                                   const uint8_t *end) {
    const uint8_t *q;

    while (p && p < end) {
        switch (js->state) {
        case ST_STRING:
            q = js->purpose == FOR_NOTHING ? js->skip_strings(p, end)
                                           : hai_skip_text(p, end);
            keep(js, p, (size_t) (q - p));
            p = q < end ? special_byte(js, q) : q;
            break;
        case ST_CHARACTER:
            p = character_byte(js, p);
            break;
        case ST_HEX:
            p = hex_byte(js, p);
            break;
        case ST_ESCAPE:
        case ST_SURROGATE:
        case ST_SURROGATE_U:
            p = escape_byte(js, p);
            break;
        default:
            return p;
        }
    }

    return p;
}

/* The string for nothing, a key or the model whose opening quote is at p. */
static const uint8_t *string_start(struct hai_json *js, const uint8_t *p,
                                   const uint8_t *end, enum purpose purpose) {
    const uint8_t *s = p + 1;
    const uint8_t *q;

    js->purpose = purpose;

    if (purpose == FOR_NOTHING) {
        q = js->skip_strings(s, end);

    } else {
        js->string_offset = offset_of(js, p);
        q = hai_skip_text(s, end);
        if (q == end || *q != '"') {
            js->kept_len = 0;
            js->kept_word = 0;
            js->kept_nul = false;
            hai_sip_start(&js->kept_sip, js->keys.seed);
            keep(js, s, (size_t) (q - s));
        }
    }

    if (q < end && *q == '"') {
        return string_end(js, q + 1, s, (size_t) (q - s), purpose);
    }

    js->state = ST_STRING;
    return string_bytes(js, q, end);
}

/* --- numbers and literals ----------------------------------------------- */

/* Goes on inside a number, to behind its last byte. */
static const uint8_t *number_bytes(struct hai_json *js, const uint8_t *p,
                                   const uint8_t *end) {
    enum state state = js->state;
    bool digit;

    for (; p < end; p++) {
        digit = *p >= '0' && *p <= '9';

        switch (state) {
        case ST_INTEGER:
            if (digit) {
                continue;
            }
            /* fall through */
        case ST_ZERO:
            if (*p == '.') {
                state = ST_POINT;
                continue;
            }
            /* fall through */
        case ST_FRACTION:
            if (digit && state == ST_FRACTION) {
                continue;
            }
            if (*p == 'e' || *p == 'E') {
                state = ST_EXP;
                continue;
            }
            value_end(js, p);
            return p;
        case ST_EXP_DIGIT:
            if (digit) {
                continue;
            }
            value_end(js, p);
            return p;
        case ST_EXP:
            if (*p == '+' || *p == '-') {
                state = ST_EXP_SIGN;
                continue;
            }
            /* fall through */
        default:
            /* behind minus, point, e or its sign: a digit is due */
            if (!digit) {
                return refuse(js, p, HAI_JSON_SYNTAX);
            }
            if (state == ST_MINUS) {
                state = *p == '0' ? ST_ZERO : ST_INTEGER;
            } else {
                state = state == ST_POINT ? ST_FRACTION : ST_EXP_DIGIT;
            }
        }
    }

    js->state = state;
    return p;
}

static const uint8_t *literal_bytes(struct hai_json *js, const uint8_t *p,
                                    const uint8_t *end) {
    for (; p < end && *js->literal; p++, js->literal++) {
        if (*p != (uint8_t) *js->literal) {
            return refuse(js, p, HAI_JSON_SYNTAX);
        }
    }

    if (*js->literal == '\0') {
        value_end(js, p);
    }

    return p;
}

/* --- structure ---------------------------------------------------------- */

/* A frame for the object or array that begins with c. */
static inline void frame_start(struct hai_json_frame *f, uint8_t c,
                               size_t first_key) {
    f->first_key = (uint32_t) first_key;
    f->close = c + 2; /* { and }, [ and ] are two apart */
    f->checks = f[-1].inside;
    f->inside = f->checks;
    f->in_table = 0;
}

/* Is f the frame of one of the messages? */
static inline bool is_item(const struct hai_json *js,
                           const struct hai_json_frame *f) {
    return f == &js->frames[ITEM_DEPTH] && f[-1].close == ']'
           && (js->top_key == HAI_KEY_MESSAGES || js->top_key == HAI_KEY_INPUT);
}

/* The object at p has the frame f. */
static inline void item_start(struct hai_json *js,
                              const struct hai_json_frame *f,
                              const uint8_t *p) {
    if (!is_item(js, f)) {
        return;
    }
    if (js->items.key != js->top_key) {
        js->items.key = js->top_key;
        js->items.n = 0;
    }

    hai_json_items_add(&js->items, offset_of(js, p));
}

static const uint8_t *container_start(struct hai_json *js, const uint8_t *p) {
    if (js->depth == HAI_JSON_MAX_DEPTH) {
        return refuse(js, p, HAI_JSON_DEPTH);
    }

    js->depth++;
    frame_start(&js->frames[js->depth], *p, js->keys.n);
    js->state = ST_FIRST_ITEM;

    if (*p == '{') {
        item_start(js, &js->frames[js->depth], p);
        js->state = ST_FIRST_KEY;
    }

    return p + 1;
}

/* The closing brace or bracket at p. */
static const uint8_t *container_end(struct hai_json *js, const uint8_t *p) {
    hai_json_keys_drop(&js->keys, &js->frames[js->depth], js->depth);
    js->depth--;

    if (js->depth == 0) {
        js->facts.object_end = offset_of(js, p);
        js->state = ST_DONE;
    } else {
        value_end(js, p + 1);
    }

    return p + 1;
}

/* The value that begins at p. */
static const uint8_t *value_start(struct hai_json *js, const uint8_t *p,
                                  const uint8_t *end) {
    enum purpose purpose = FOR_NOTHING;
    struct hai_json_value *v;
    char type;

    switch (*p) {
    case '"':
    case '{':
    case '[':
    case 't':
    case 'f':
    case 'n':
        type = (char) *p;
        break;
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        type = '0';
        break;
    default:
        return refuse(js, p, HAI_JSON_SYNTAX);
    }

    if (js->depth == 1 && js->top_key >= 0) {
        v = &js->facts.top[js->top_key];
        v->start = offset_of(js, p);
        v->type = type;
        if (js->top_key == HAI_KEY_MODEL) {
            if (type != '"') {
                return refuse(js, p, HAI_JSON_MODEL);
            }
            purpose = FOR_MODEL;
        }
    }

    switch (type) {
    case '"':
        return string_start(js, p, end, purpose);
    case '{':
    case '[':
        return container_start(js, p);
    case '0':
        js->state = *p == '-' ? ST_MINUS : *p == '0' ? ST_ZERO : ST_INTEGER;
        return number_bytes(js, p + 1, end);
    default:
        js->literal = type == 't' ? "rue" : type == 'f' ? "alse" : "ull";
        js->state = ST_LITERAL;
        return literal_bytes(js, p + 1, end);
    }
}

/* The first byte that is no white space. */
static const uint8_t *body_start(struct hai_json *js, const uint8_t *p) {
    if (*p == '{') {
        js->facts.object_start = offset_of(js, p);
        return container_start(js, p);
    }

    if (*p >= 0x80) {
        return refuse(js, p, HAI_JSON_UTF8); /* a BOM of any kind */
    }

    return refuse(js, p,
                  *p && strchr("[\"-0123456789tfn", *p) ? HAI_JSON_NOT_OBJECT
                                                        : HAI_JSON_SYNTAX);
}

/* --- the fast path ------------------------------------------------------ */

/* What a key of the body means; false: perhaps it is one to be refused. */
static bool fast_top_name(struct hai_json *js, struct hai_json_frame *f,
                          const uint8_t *s, size_t len, struct hai_key key) {
    js->top_key = hai_json_top_key((const char *) s, len);

    if (js->top_key >= 0) {
        f->inside = checks_inside[js->top_key];
        return true;
    }

    f->inside = 0;
    return !hai_has_capital(key.a) && !hai_has_capital(key.b);
}

/* As in value_start(); false: the model, which is not for the fast path. */
static bool fast_top_value(struct hai_json *js, const uint8_t *p) {
    struct hai_json_value *v = &js->facts.top[js->top_key];

    v->start = offset_of(js, p);
    v->type = hai_is_digit(*p) || *p == '-' ? '0' : (char) *p;

    return js->top_key != HAI_KEY_MODEL;
}

/*
 * Most of what is between two strings of a chat body is one of these, so they
 * are compared as words and not read as tokens.  12 bytes are read.
 */
static inline bool is_next_content(const uint8_t *p) {
    return load64(p) == HAI_WORD(',', '"', 'c', 'o', 'n', 't', 'e', 'n')
           && load32(p + 8) == HAI_WORD('t', '"', ':', '"', 0, 0, 0, 0);
}

static inline bool is_next_message(const uint8_t *p) {
    return load64(p) == HAI_WORD('}', ',', '{', '"', 'r', 'o', 'l', 'e')
           && (load32(p + 8) & 0xffffff)
                  == HAI_WORD('"', ':', '"', 0, 0, 0, 0, 0);
}

/*
 * Reads on while the input has the usual shapes, and at least FAST_BYTES are
 * left behind each value.  At anything else it goes back to where a token
 * begins and leaves that to the general machine, which comes back here
 * afterwards: so it never refuses, and what it did until then does no harm
 * when it is done again.
 */
static const uint8_t *fast_path(struct hai_json *js, const uint8_t *p,
                                const uint8_t *end) {
    const uint8_t *const limit = end - FAST_BYTES;
    struct hai_key *const keys = js->keys.stack;
    struct hai_key *next_key = keys + js->keys.n;
    struct hai_json_frame *const top = &js->frames[1];
    struct hai_json_frame *f = &js->frames[js->depth];
    const struct hai_key *k;
    const uint8_t *s;
    struct hai_key key;
    enum state state;
    size_t len;

    state = js->state;

    switch (state) {
    case ST_FIRST_KEY:
    case ST_KEY:
        if (*p == '"') {
            goto key;
        }
        return p;
    case ST_VALUE:
        goto value;
    case ST_AFTER:
        goto after;
    default:
        return p;
    }

key:
    /* at the opening quote */
    state = ST_KEY;
    len = hai_first_special(p + 1);
    s = p + 1 + len;

    if (unlikely(len > HAI_KEY_SHORT || *s != '"')) {
        goto leave;
    }

    key = hai_key_words(p + 1, len);

    if (unlikely(key.a == hai_name_file_id)) {
        js->facts.file_id = true;
    }

    if (unlikely(f == top)) {
        if (!fast_top_name(js, f, p + 1, (size_t) (s - p - 1), key)) {
            goto leave;
        }
    } else if (f->checks & CHECK_ROLE) {
        f->inside = f->checks;
        if (!hai_is_role_word(key.a)) {
            if (key.a == hai_name_input) {
                f->inside &= (uint8_t) ~CHECK_ROLE;
            } else if (unlikely(hai_like_role_word(key.a))) {
                goto leave;
            }
        }
    }

    if (f->checks & CHECK_REPEATED) {
        k = keys + f->first_key;
        if (unlikely(next_key >= k + HAI_KEYS_LINEAR
                     || next_key == js->keys.end)) {
            goto leave;
        }
        for (; k < next_key; k++) {
            if (unlikely(k->a == key.a && k->b == key.b)) {
                goto leave;
            }
        }
        *next_key++ = key;
    }

    p = s + 1;
    if (unlikely(*p != ':')) {
        state = ST_COLON;
        goto leave;
    }

    p++;
    if (unlikely(*p == ' ')) {
        p++;
    }

value:
    state = ST_VALUE;

    if (unlikely(f == top && js->top_key >= 0) && !fast_top_value(js, p)) {
        goto leave;
    }

    if (likely(*p == '"')) {
    string:
        s = p + 1;
        len = hai_first_special(s);
        if (len == 16) {
            len += hai_first_special(s + 16);
        }
        s += len;

    stopped:
        if (s == end || *s != '"') {
            s = js->skip_strings(s, end);
            if (unlikely(s == end || *s != '"')) {
                js->purpose = FOR_NOTHING;
                state = ST_STRING;
                p = s;
                goto leave;
            }
        }
        p = s + 1;

        if (f->checks == (CHECK_REPEATED | CHECK_ROLE) && f->close == '}'
            && likely(p <= limit))
        {
            if (is_next_content(p) && next_key == keys + f->first_key + 1
                && next_key[-1].a == hai_name_role
                && likely(next_key < js->keys.end))
            {
                *next_key++ = (struct hai_key){hai_name_content, 0};
                p += sizeof(",\"content\":") - 1;

                if (js->skip_messages == NULL || f[-1].close != ']') {
                    goto string;
                }
                s = js->skip_messages(p + 1, end,
                                      is_item(js, f) ? &js->items : NULL,
                                      offset_of(js, p + 1));
                goto stopped;
            }

            /* one frame is closed, and the next one is as that was */
            if (is_next_message(p) && f[-1].close == ']' && !f->in_table) {
                next_key = keys + f->first_key;
                *next_key++ = (struct hai_key){hai_name_role, 0};
                item_start(js, f, p + 2);
                p += sizeof("},{\"role\":") - 1;
                goto string;
            }
        }

    } else if (*p == '{' || *p == '[') {
        if (unlikely(f == &js->frames[HAI_JSON_MAX_DEPTH])) {
            goto leave;
        }

        f++;
        frame_start(f, *p, (size_t) (next_key - keys));
        state = ST_FIRST_ITEM;
        if (*p == '{') {
            item_start(js, f, p);
            state = ST_FIRST_KEY;
        }
        p++;

        if (unlikely(*p <= ' ')) {
            p = hai_skip_space(p, limit);
        }
        if (unlikely(p > limit)) {
            goto leave;
        }
        if (likely(*p == '"' && state == ST_FIRST_KEY)) {
            goto key;
        }
        if (*p == f->close) {
            goto close;
        }
        if (state == ST_FIRST_ITEM) {
            goto value;
        }
        goto leave;

    } else {
        s = *p >= 'a' ? hai_whole_literal(p) : hai_plain_number(p, end);
        if (unlikely(s == NULL)) {
            goto leave;
        }
        p = s;
    }

value_end:
    if (unlikely(f == top && js->top_key >= 0)) {
        top_value_end(js, p);
    }

after:
    state = ST_AFTER;

    if (unlikely(p > limit)) {
        goto leave;
    }
    if (unlikely(*p <= ' ')) {
        p = hai_skip_space(p, limit);
        if (p > limit) {
            goto leave;
        }
    }

    if (*p == ',') {
        p++;
        state = f->close == '}' ? ST_KEY : ST_VALUE;

        if (unlikely(*p <= ' ')) {
            p += *p == ' ';
            if (*p <= ' ') {
                p = hai_skip_space(p, limit);
                if (p > limit) {
                    goto leave;
                }
            }
        }
        if (state == ST_VALUE) {
            goto value;
        }
        if (likely(*p == '"')) {
            goto key;
        }
        goto leave;
    }

    if (unlikely(*p != f->close || f == top || f->in_table)) {
        goto leave;
    }

close:
    next_key = keys + f->first_key;
    f--;
    p++;
    goto value_end;

leave:
    js->state = state;
    js->depth = (uint32_t) (f - js->frames);
    js->keys.n = (size_t) (next_key - keys);

    return state == ST_STRING ? string_bytes(js, p, end) : p;
}

/* --- structure, one token after the other ------------------------------- */

/* All bytes outside of tokens; returns at the end of the input. */
static const uint8_t *structure_bytes(struct hai_json *js, const uint8_t *p,
                                      const uint8_t *end) {
    const struct hai_json_frame *f;

    while (p && p < end) {
        if (end - p >= FAST_BYTES) {
            p = fast_path(js, p, end);
            if (p == NULL || p == end) {
                break;
            }
        }

        if (hai_is_space(*p)) {
            p++;
            continue;
        }

        f = &js->frames[js->depth];

        switch (js->state) {
        case ST_START:
            p = body_start(js, p);
            break;
        case ST_FIRST_KEY:
            if (*p == '}') {
                js->facts.object_empty |= js->depth == 1;
                p = container_end(js, p);
                break;
            }
            /* fall through */
        case ST_KEY:
            p = *p == '"' ? string_start(js, p, end, FOR_KEY)
                          : refuse(js, p, HAI_JSON_SYNTAX);
            break;
        case ST_COLON:
            js->state = ST_VALUE;
            p = *p == ':' ? p + 1 : refuse(js, p, HAI_JSON_SYNTAX);
            break;
        case ST_FIRST_ITEM:
            if (*p == ']') {
                p = container_end(js, p);
                break;
            }
            /* fall through */
        case ST_VALUE:
            p = value_start(js, p, end);
            break;
        case ST_AFTER:
            if (*p == ',') {
                js->state = f->close == '}' ? ST_KEY : ST_VALUE;
                p++;
            } else {
                p = *p == f->close ? container_end(js, p)
                                   : refuse(js, p, HAI_JSON_SYNTAX);
            }
            break;
        default:
            p = refuse(js, p, HAI_JSON_SYNTAX);
        }
    }

    return p;
}

/* --- the interface ------------------------------------------------------ */

/*
 * The same two random words for the whole process.  Threads that come first
 * together agree on whoever stores first.
 */
static bool get_seed(uint64_t seed[2]) {
    uint64_t fresh, none;

    for (int i = 0; i < 2; i++) {
        seed[i] = atomic_load(&process_seed[i]);
        if (seed[i] == 0) {
            if (getrandom(&fresh, sizeof(fresh), 0) != sizeof(fresh)) {
                return false;
            }
            none = 0;
            fresh |= 1;
            seed[i] =
                atomic_compare_exchange_strong(&process_seed[i], &none, fresh)
                    ? fresh
                    : none;
        }
    }

    return true;
}

struct hai_json *hai_json_new(void) {
    struct hai_json *js;
    uint64_t seed[2];

    if (!get_seed(seed)) {
        return NULL;
    }

    js = malloc(sizeof(*js));
    if (js == NULL) {
        return NULL;
    }

    hai_json_keys_init(&js->keys, seed);
    js->skip_strings = hai_skip_strings();
    js->skip_messages = hai_skip_messages();
    js->depth = 0;
    js->frames[0].inside = CHECK_REPEATED;
    hai_json_reset(js);

    return js;
}

void hai_json_free(struct hai_json *js) {
    if (js == NULL) {
        return;
    }

    hai_json_keys_free(&js->keys);
    free(js);
}

void hai_json_reset(struct hai_json *js) {
    /* a refused body leaves objects open */
    for (; js->depth; js->depth--) {
        hai_json_keys_drop(&js->keys, &js->frames[js->depth], js->depth);
    }

    js->status = HAI_JSON_OK;
    js->state = ST_START;
    js->top_key = -1;
    js->data = NULL;
    js->offset = 0;
    js->error_offset = 0;
    js->high_surrogate = 0;

    js->items.key = -1;
    js->items.n = 0;

    memset(js->facts.top, 0, sizeof(js->facts.top));
    js->facts.object_start = 0;
    js->facts.object_end = 0;
    js->facts.object_empty = false;
    js->facts.stream = false;
    js->facts.file_id = false;
    js->facts.model_len = 0;
    js->facts.model[0] = '\0';
}

enum hai_json_status hai_json_feed(struct hai_json *js, const void *data,
                                   size_t n) {
    const uint8_t *p = data;
    const uint8_t *end;

    if (js->status != HAI_JSON_OK || n == 0) {
        return js->status;
    }

    end = p + n;
    js->data = p;

    if (js->state >= ST_MINUS) {
        p = number_bytes(js, p, end);
    } else if (js->state == ST_LITERAL) {
        p = literal_bytes(js, p, end);
    } else if (js->state >= ST_STRING) {
        p = string_bytes(js, p, end);
    }

    (void) structure_bytes(js, p, end);

    js->offset += n;
    js->data = NULL;

    return js->status;
}

enum hai_json_status hai_json_finish(struct hai_json *js) {
    if (js->status == HAI_JSON_OK && js->state != ST_DONE) {
        (void) refuse_at(js, js->offset, HAI_JSON_SYNTAX);
    }

    return js->status;
}

const struct hai_json_facts *hai_json_facts(const struct hai_json *js) {
    return &js->facts;
}

const struct hai_json_items *hai_json_items(const struct hai_json *js) {
    return &js->items;
}

uint64_t hai_json_error_offset(const struct hai_json *js) {
    return js->error_offset;
}

const char *hai_json_strerror(enum hai_json_status st) {
    switch (st) {
    case HAI_JSON_OK:
        return "no error";
    case HAI_JSON_SYNTAX:
        return "not JSON";
    case HAI_JSON_NOT_OBJECT:
        return "not a JSON object";
    case HAI_JSON_UTF8:
        return "not UTF-8";
    case HAI_JSON_DEPTH:
        return "nested too deep or too many keys";
    case HAI_JSON_DUPLICATE_KEY:
        return "a key occurs twice";
    case HAI_JSON_AMBIGUOUS_KEY:
        return "a key or the model can be read in two ways";
    case HAI_JSON_MODEL:
        return "model is not a usable string";
    case HAI_JSON_NO_MEMORY:
        return "no memory";
    }

    return "unknown error";
}
