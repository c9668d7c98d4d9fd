/*
 * What the parts of the scanner share: its state, refusals, and the steps
 * that several of them take.  Private to them; hai_json.c says who does what.
 */

#ifndef HAI_JSON_CORE_H
#define HAI_JSON_CORE_H

#include "hai_json.h"

#include "hai_json_names.h"
#include "hai_json_skip.h"
#include "hai_sip.h"

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
extern const uint8_t hai_json_checks_inside[HAI_KEY_COUNT];

static inline uint64_t offset_of(const struct hai_json *js, const uint8_t *p) {
    return js->offset + (uint64_t) (p - js->data);
}

/* Returns NULL, which ends every loop over the bytes. */
static inline const uint8_t *refuse_at(struct hai_json *js, uint64_t offset,
                                       enum hai_json_status status) {
    js->status = status;
    js->error_offset = offset;
    return NULL;
}

static inline const uint8_t *refuse(struct hai_json *js, const uint8_t *p,
                                    enum hai_json_status status) {
    return refuse_at(js, offset_of(js, p), status);
}

/* The value of a deciding key of the body ends before next. */
static inline void top_value_end(struct hai_json *js, const uint8_t *next) {
    struct hai_json_value *v = &js->facts.top[js->top_key];

    v->end = offset_of(js, next);
    if (js->top_key == HAI_KEY_STREAM) {
        js->facts.stream = v->type == 't';
    }
    js->top_key = -1;
}

static inline void value_end(struct hai_json *js, const uint8_t *next) {
    js->state = ST_AFTER;
    if (js->depth == 1 && js->top_key >= 0) {
        top_value_end(js, next);
    }
}

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

/*
 * Reads on while the input has the usual shapes; at least FAST_BYTES are
 * before end.  Returns where it stopped, which may be p, or NULL: refused.
 */
const uint8_t *hai_json_fast(struct hai_json *js, const uint8_t *p,
                             const uint8_t *end);

/*
 * Reads the string whose opening quote is at p, or goes on inside one, to
 * behind its end or to the end of the input.  NULL: refused.
 */
const uint8_t *hai_json_string_start(struct hai_json *js, const uint8_t *p,
                                     const uint8_t *end, enum purpose purpose);
const uint8_t *hai_json_string_bytes(struct hai_json *js, const uint8_t *p,
                                     const uint8_t *end);

#endif
