/*
 * The tools that an answer calls, read while it streams by.  Nothing is
 * changed, and nothing of the answer is kept but the names.
 */

#ifndef HAI_CALLS_H
#define HAI_CALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HAI_CALLS_MAX_NAME 64
#define HAI_CALLS_MAX_NAMES 16
#define HAI_CALLS_MAX_TEXT 512

/*
 * A call counts once, where the answer names it: OpenAI chat in
 * choices[].message (of an event: delta), tool_calls[].function.name,
 * .custom.name and the older function_call.name; responses in output[], of an
 * event in the item of response.output_item.added, name of a function_call or
 * custom_tool_call; Anthropic in content[], of an event in content_block of
 * content_block_start, name of a tool_use.  A call without a name, or with an
 * empty one, is no call.
 *
 * A name that is longer, has other characters than [A-Za-z0-9_.:/-] or
 * escapes in it, or that finds no room any more is counted but left out.
 */
struct hai_calls {
    uint32_t count; /* stays at its largest value */
    uint16_t text_len;
    uint8_t names;                 /* in text */
    char text[HAI_CALLS_MAX_TEXT]; /* each once, separated by spaces; no NUL */
};

enum hai_calls_state { HAI_CALLS_START, HAI_CALLS_OPEN, HAI_CALLS_OVER };

/* Embeddable, needs no freeing. */
struct hai_calls_scan {
    struct hai_calls calls; /* read it at any time */

    /* private, described at the head of hai_calls.c */
    uint64_t skip;
    bool events;
    bool in_string;
    bool escaped;
    bool is_value;
    bool odd;
    bool call;
    bool begins;
    bool odd_name;
    uint8_t state;
    uint8_t level;
    uint8_t key;
    uint8_t word_len;
    uint8_t name_len;
    uint8_t path[8];
    char word[HAI_CALLS_MAX_NAME + 1];
    char name[HAI_CALLS_MAX_NAME];
};

/* events: what is read are the events of a stream, each JSON of its own. */
void hai_calls_init(struct hai_calls_scan *cs, bool events);

/* The next bytes begin another event. */
static inline void hai_calls_begin(struct hai_calls_scan *cs) {
    cs->state = HAI_CALLS_START;
}

/* Nothing that follows can be part of what was begun. */
static inline void hai_calls_end(struct hai_calls_scan *cs) {
    cs->state = HAI_CALLS_OVER;
}

/* Looks at the next n bytes; any split gives the same result. */
void hai_calls_feed(struct hai_calls_scan *cs, const void *data, size_t n);

#endif
