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
 * hai_json_fast() knows the shapes of which bodies consist (keys up to 15
 * bytes of ASCII without escapes, strings, plain numbers, literals,
 * containers, white space between them; of messages also what usually is
 * between two of their strings) and keeps its state in registers and in the
 * place in its code.  It needs FAST_BYTES ahead, so that it can look at whole
 * words without a check for each byte.  Where anything is unusual it stores
 * the state of the token's beginning, and structure_bytes() reads that token
 * before it tries the fast path again.
 *
 * Nearly all bytes of a chat body are the inside of long strings; those are
 * passed over by hai_json_skip.c, which never refuses.  hai_json_string.c
 * says byte by byte what is wrong, so that no refusal depends on the
 * processor.
 *
 * Repeated keys: a key up to 15 bytes is its own two words, of a longer one
 * the first is its keyed SipHash-1-3.  Equal keys always have equal words; two
 * different long keys have them with a chance of 2^-64, and then the body is
 * refused although it is innocent.
 */

#include "hai_json_core.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static _Atomic uint64_t process_seed[2];

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
        return hai_json_string_start(js, p, end, purpose);
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

/* --- structure, one token after the other ------------------------------- */

/* All bytes outside of tokens; returns at the end of the input. */
static const uint8_t *structure_bytes(struct hai_json *js, const uint8_t *p,
                                      const uint8_t *end) {
    const struct hai_json_frame *f;

    while (p && p < end) {
        if (end - p >= FAST_BYTES) {
            p = hai_json_fast(js, p, end);
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
            p = *p == '"' ? hai_json_string_start(js, p, end, FOR_KEY)
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
        p = hai_json_string_bytes(js, p, end);
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
