/*
 * One request body, scanned once: strict RFC 8259 with UTF-8, byte offsets,
 * no tree.  Linear time, bounded memory, bytes may arrive in any split.
 *
 * The scan answers two questions: may this body be passed on at all (design,
 * section 7 "a body is refused" and section 14.12), and what does the gateway
 * need to know about it (which model, streamed or not, where the values of
 * the deciding keys lie).
 */

#ifndef HAI_JSON_H
#define HAI_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HAI_JSON_MAX_DEPTH 128
#define HAI_JSON_MAX_MODEL 256

/*
 * Keys in all objects that are open at one moment and checked for repeated
 * keys.  It bounds the memory of a scanner: 16 bytes a key and 16 more a
 * key of objects with more than 32, so 8 MB, kept until hai_json_free().
 */
#define HAI_JSON_MAX_KEYS 262144

enum hai_json_status {
    HAI_JSON_OK = 0,        /* fed: nothing wrong so far; finished: valid */
    HAI_JSON_SYNTAX,        /* not RFC 8259, or bytes after the value */
    HAI_JSON_NOT_OBJECT,    /* valid so far, but the value is no object */
    HAI_JSON_UTF8,          /* not UTF-8, a BOM, or a lone surrogate escape */
    HAI_JSON_DEPTH,         /* deeper than HAI_JSON_MAX_DEPTH, or more than
                                HAI_JSON_MAX_KEYS keys to remember */
    HAI_JSON_DUPLICATE_KEY, /* a key twice where that could decide anything */
    HAI_JSON_AMBIGUOUS_KEY, /* equals a deciding key only after case folding,
                                or a deciding key or the model holds NUL */
    HAI_JSON_MODEL,         /* model empty, too long, control characters, or
                                not a string */
    HAI_JSON_NO_MEMORY
};

/* Top-level keys whose value the gateway wants to find again. */
enum hai_json_key {
    HAI_KEY_MODEL,
    HAI_KEY_STREAM,
    HAI_KEY_MESSAGES,
    HAI_KEY_SYSTEM,
    HAI_KEY_INSTRUCTIONS,
    HAI_KEY_INPUT,
    HAI_KEY_PROMPT,
    HAI_KEY_TOOLS,
    HAI_KEY_PREVIOUS_RESPONSE_ID,
    HAI_KEY_CONVERSATION,
    HAI_KEY_COUNT
};

struct hai_json_value {
    uint64_t start; /* offset of the value's first byte in the body */
    uint64_t end;   /* offset behind its last byte; 0: key not present */
    char type;      /* one of: { [ " t f n 0 (0 stands for any number) */
};

struct hai_json_facts {
    struct hai_json_value top[HAI_KEY_COUNT];
    uint64_t object_start; /* offset of the opening brace */
    uint64_t object_end;   /* offset of the closing brace */
    bool object_empty;     /* no member at all */
    bool stream;           /* "stream": true at the top level */
    bool file_id;          /* a key "file_id" anywhere in the body */
    size_t model_len;      /* bytes of model; 0: no model key */
    char model[HAI_JSON_MAX_MODEL + 1]; /* unescaped, NUL ended */
};

/*
 * Where the objects begin that are elements of "messages" or "input", of
 * whichever is the later array: the last ones are known.  Who wants to know
 * of the newest need not walk over a whole conversation.
 */
#define HAI_JSON_ITEMS 64

struct hai_json_items {
    int key;    /* enum hai_json_key of the array; -1: there was none */
    uint64_t n; /* objects in it; the i-th is at i % HAI_JSON_ITEMS */
    uint64_t start[HAI_JSON_ITEMS]; /* offsets of their braces */
};

struct hai_json; /* opaque; one per body */

/*
 * Makes a scanner, or NULL without memory.  The caller frees it with
 * hai_json_free(), which takes NULL as well.
 */
struct hai_json *hai_json_new(void);
void hai_json_free(struct hai_json *js);

/* Makes a used scanner ready for another body; keeps its memory. */
void hai_json_reset(struct hai_json *js);

/*
 * Takes the next n bytes.  The bytes are only read during the call.  Returns
 * HAI_JSON_OK or the refusal, which then stays.
 */
enum hai_json_status hai_json_feed(struct hai_json *js, const void *data,
                                   size_t n);

/* All bytes were fed.  Returns HAI_JSON_OK when the body is one JSON object
 * that may be passed on. */
enum hai_json_status hai_json_finish(struct hai_json *js);

/* Borrowed; complete once hai_json_finish() returned HAI_JSON_OK. */
const struct hai_json_facts *hai_json_facts(const struct hai_json *js);
const struct hai_json_items *hai_json_items(const struct hai_json *js);

/* Offset of the first byte that could not be accepted. */
uint64_t hai_json_error_offset(const struct hai_json *js);

/* A short English reason, static, no content of the body in it. */
const char *hai_json_strerror(enum hai_json_status st);

#endif
