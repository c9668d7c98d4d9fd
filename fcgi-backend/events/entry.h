/*
 * An entry of the stream, and JSON of what it says.  Anybody who may append
 * may have written it: every length is bounded, every byte is looked at.
 */

#ifndef HAI_EVENTS_ENTRY_H
#define HAI_EVENTS_ENTRY_H

#include "hai_identity.h"

#include <hiredis/hiredis.h>
#include <jansson.h>
#include <stdint.h>

#define HAI_ENTRY_TEXT 1024 /* bytes of a field in an audit line or payload */
#define HAI_ENTRY_MESSAGE 4096 /* of the field "message" */

struct hai_entry {
    struct hai_slice id;
    const redisReply *fields; /* names and values in turn; borrowed */
};

/* Of one element of XREADGROUP's or XAUTOCLAIM's answer: 0; 1 when the entry
 * was trimmed and only its id is left; -1 when it is none. */
int hai_entry_of(struct hai_entry *entry, const redisReply *reply);

/* A field's value, of no length where there is none. */
struct hai_slice hai_entry_get(const struct hai_entry *entry, const char *name);

/* A decimal number of up to 15 digits: 0, or -1. */
int hai_number(struct hai_slice text, uint64_t *n);

/* Milliseconds since 1970: the field "ts", else what the id says. */
uint64_t hai_entry_time(const struct hai_entry *entry);

bool hai_slice_is(struct hai_slice s, const char *text);

/* A JSON string of at most max bytes of the text; what is no UTF-8 becomes
 * U+FFFD.  NULL without memory. */
json_t *hai_json_text(struct hai_slice text, size_t max);

/* Adds those of the named fields (NULL ends them) that have a value, numbers
 * as numbers.  0, or -1 without memory. */
int hai_entry_copy(const struct hai_entry *entry, const char *const *names,
                   json_t *into);

#endif
