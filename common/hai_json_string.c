/*
 * The strings of a body byte by byte: what is wrong in them and where, and
 * what a key or the model means.
 */

#include "hai_json_core.h"

#include <string.h>

/* Checks in the values of the keys that decide. */
const uint8_t hai_json_checks_inside[HAI_KEY_COUNT] = {
    [HAI_KEY_MESSAGES] = CHECK_REPEATED | CHECK_ROLE,
    [HAI_KEY_SYSTEM] = CHECK_REPEATED | CHECK_ROLE,
    [HAI_KEY_INPUT] = CHECK_REPEATED | CHECK_ROLE,
    [HAI_KEY_INSTRUCTIONS] = CHECK_REPEATED,
    [HAI_KEY_TOOLS] = CHECK_REPEATED,
};

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
            f->inside = hai_json_checks_inside[js->top_key];
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
const uint8_t *hai_json_string_bytes(struct hai_json *js, const uint8_t *p,
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
const uint8_t *hai_json_string_start(struct hai_json *js, const uint8_t *p,
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
    return hai_json_string_bytes(js, q, end);
}
