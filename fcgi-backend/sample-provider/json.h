/*
 * JSON as far as a sample needs it: where the values of a few top-level keys
 * lie in a request body, and text written as the inside of a JSON string.
 *
 * The scan skips strings and counts brackets; it is no validator.  A client
 * that sends broken JSON with balanced brackets is believed.
 */

#ifndef HAI_SP_JSON_H
#define HAI_SP_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include "buf.h"
#include "http.h"

enum hai_sp_key {
    HAI_SP_KEY_MODEL,
    HAI_SP_KEY_STREAM,
    HAI_SP_KEY_TOOLS,
    HAI_SP_KEY_TOOL_CHOICE,
    HAI_SP_KEY_STREAM_OPTIONS,
    HAI_SP_KEY_MESSAGES,
    HAI_SP_KEY_INPUT,
    HAI_SP_KEY_COUNT
};

struct hai_sp_facts {
    struct hai_sp_slice top[HAI_SP_KEY_COUNT]; /* p is NULL: not there */
    struct hai_sp_slice last; /* last object in "messages" or "input" */
};

/*
 * Scans a body.  Returns 0, or -1 when it is not one object with balanced
 * brackets.  The slices point into the body.
 */
int hai_sp_json_scan(const char *p, size_t n, struct hai_sp_facts *f);

/* Bytes of the UTF-8 character at p, or 0 when it is none. */
size_t hai_sp_utf8(const char *p, size_t n);

/* Writes p as the inside of a JSON string; bad UTF-8 becomes U+FFFD. */
void hai_sp_json_escape(struct hai_sp_buf *b, const char *p, size_t n);

/* How many bytes hai_sp_json_escape() writes for valid UTF-8. */
size_t hai_sp_json_escaped_len(const char *p, size_t n);

#endif
