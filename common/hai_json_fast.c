/*
 * The fast path of the scanner: most bodies, most of their bytes.  See
 * hai_json.c for how the two ways through the graph meet.
 */

#include "hai_json_core.h"

/* What a key of the body means; false: perhaps it is one to be refused. */
static bool fast_top_name(struct hai_json *js, struct hai_json_frame *f,
                          const uint8_t *s, size_t len, struct hai_key key) {
    js->top_key = hai_json_top_key((const char *) s, len);

    if (js->top_key >= 0) {
        f->inside = hai_json_checks_inside[js->top_key];
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
 * begins, or in a string to where skipping stopped, and leaves that to the
 * general machine, which comes back here afterwards: so nothing is refused
 * here, and what was done until then does no harm when it is done again.
 */
const uint8_t *hai_json_fast(struct hai_json *js, const uint8_t *p,
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

    return state == ST_STRING ? hai_json_string_bytes(js, p, end) : p;
}
