/*
 * Reads token usage, and which tools are called, out of an answer while it
 * streams by.  Nothing is changed, nothing of the answer is kept.
 */

#ifndef HAI_USAGE_H
#define HAI_USAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hai_calls.h"

/*
 * Values are the last ones seen (providers repeat cumulative values), -1 while
 * unknown.  OpenAI: usage.prompt_tokens, completion_tokens,
 * prompt_tokens_details.cached_tokens; responses and embeddings:
 * usage.input_tokens, output_tokens, input_tokens_details.cached_tokens,
 * also inside "response" of a response.completed event.  Anthropic:
 * message.usage and usage: input_tokens, output_tokens,
 * cache_read_input_tokens; count_tokens: input_tokens at the top level.
 *
 * An error is an object "error" at the top level or in "response", or
 * "type":"error" at the top level.  A number that is negative, has a fraction
 * or an exponent, or is above 2^53 - 1 is passed over.
 */
struct hai_usage {
    int64_t input_tokens;
    int64_t output_tokens;
    int64_t cached_tokens;
    bool reported; /* at least one value was seen */
    bool error;    /* an error object was seen at its place in an answer */
};

enum hai_usage_kind { HAI_USAGE_JSON, HAI_USAGE_SSE };

/* Embeddable, needs no freeing. */
struct hai_usage_scan {
    struct hai_usage usage; /* read it at any time */

    /* private, described in hai_usage.c and hai_usage_json.c */
    uint64_t skip;
    uint64_t in_string;
    uint64_t number;
    uint8_t kind;
    uint8_t line;
    uint8_t matched;
    bool joined;
    bool escaped;
    uint8_t json;
    uint8_t level;
    uint8_t path[4];
    uint8_t pending;
    uint8_t value;
    uint8_t slot;
    uint8_t past_len;
    uint8_t past[32];

    struct hai_calls_scan calls; /* read calls.calls at any time */
};

void hai_usage_init(struct hai_usage_scan *us, enum hai_usage_kind kind);

/* Looks at the next n bytes of the decoded answer body. */
void hai_usage_feed(struct hai_usage_scan *us, const void *data, size_t n);

#endif
