/*
 * A scanned request body as it lies in memory: consecutive pieces (an nginx
 * chain, or one buffer) and what the scanner found.
 */

#ifndef HAI_BODY_H
#define HAI_BODY_H

#include "hai_json.h"

struct hai_piece {
    const uint8_t *data;
    size_t len; /* may be 0 */
};

struct hai_body {
    const struct hai_piece *pieces; /* borrowed */
    size_t n;
    uint64_t size;                      /* of all pieces */
    const struct hai_json_facts *facts; /* of a body that was accepted */
    const struct hai_json_items *items; /* of the same, or NULL */
};

/* The dialect of a request, from the name that HOODY_API and a route have. */
enum hai_api {
    HAI_API_OPENAI_CHAT,
    HAI_API_OPENAI_RESPONSES,
    HAI_API_OPENAI_COMPLETIONS,
    HAI_API_ANTHROPIC_MESSAGES,
    HAI_API_OTHER /* JSON without a prompt that rules know */
};

/* HAI_API_OTHER for any other name. */
enum hai_api hai_api_of(const char *name, size_t len);

#endif
