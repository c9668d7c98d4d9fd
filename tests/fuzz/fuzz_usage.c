/* SOURCES: common/hai_usage.c common/hai_usage_json.c common/hai_usage_whole.c common/hai_calls.c common/hai_sse.c */
/* LIBS: -ljansson */

/*
 * The first byte says how the rest is cut and what it is.  Any split gives
 * what the whole gives, on the best code path and on SSE2, also a split behind
 * a brace, where a document seems to end; and where jansson
 * reads the rest as an object, the values and the tools that are called are
 * those that its tree has.
 */

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hai_sse.h"

#define HAI_USAGE_SIMD 1
#include "../unit/lower_usage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int right) {
    if (!right) {
        abort();
    }
}

static void same_calls(const struct hai_calls *a, const struct hai_calls *b) {
    check(a->count == b->count && a->names == b->names);
    check(a->text_len == b->text_len && a->text_len <= HAI_CALLS_MAX_TEXT);
    check(memcmp(a->text, b->text, a->text_len) == 0);
}

static void same(const struct hai_usage *a, const struct hai_usage *b) {
    check(a->input_tokens == b->input_tokens);
    check(a->output_tokens == b->output_tokens);
    check(a->cached_tokens == b->cached_tokens);
    check(a->reported == b->reported && a->error == b->error);
}

static void take(struct hai_usage *u, int64_t *to, const json_t *number) {
    if (json_is_integer(number) && json_integer_value(number) >= 0
        && (uint64_t) json_integer_value(number) <= COUNT_MAX)
    {
        *to = json_integer_value(number);
        u->reported = true;
    }
}

/* Members in the order of the text, as "last seen" asks for. */
static void take_usage(struct hai_usage *u, json_t *usage) {
    const char *key;
    json_t *value;

    json_object_foreach(usage, key, value) {
        if (strcmp(key, "input_tokens") == 0
            || strcmp(key, "prompt_tokens") == 0) {
            take(u, &u->input_tokens, value);

        } else if (strcmp(key, "output_tokens") == 0
                   || strcmp(key, "completion_tokens") == 0)
        {
            take(u, &u->output_tokens, value);

        } else if (strcmp(key, "cache_read_input_tokens") == 0) {
            take(u, &u->cached_tokens, value);

        } else if (strcmp(key, "input_tokens_details") == 0
                   || strcmp(key, "prompt_tokens_details") == 0)
        {
            take(u, &u->cached_tokens, json_object_get(value, "cached_tokens"));
        }
    }
}

static void take_top(struct hai_usage *u, json_t *top) {
    const char *key;
    json_t *value;

    json_object_foreach(top, key, value) {
        if (strcmp(key, "usage") == 0) {
            take_usage(u, value);

        } else if (strcmp(key, "input_tokens") == 0) {
            take(u, &u->input_tokens, value);

        } else if (strcmp(key, "error") == 0) {
            u->error |= json_is_object(value);

        } else if (strcmp(key, "type") == 0) {
            u->error |= json_is_string(value)
                        && strcmp(json_string_value(value), "error") == 0;

        } else if (strcmp(key, "message") == 0 || strcmp(key, "response") == 0)
        {
            const char *inner;
            json_t *member;

            json_object_foreach(value, inner, member) {
                if (strcmp(inner, "usage") == 0) {
                    take_usage(u, member);

                } else if (strcmp(inner, "error") == 0) {
                    u->error |= json_is_object(member);
                }
            }
        }
    }
}

static void add_call(struct hai_calls *calls, const json_t *named) {
    const char *name = json_string_value(json_object_get(named, "name"));
    size_t len = name != NULL ? strlen(name) : 0;
    const char *p = calls->text;

    if (len == 0) {
        return;
    }

    calls->count++;

    if (len > HAI_CALLS_MAX_NAME || calls->names == HAI_CALLS_MAX_NAMES
        || calls->text_len + (calls->names > 0) + len > HAI_CALLS_MAX_TEXT
        || strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                        "0123456789_.:/-")
               != len)
    {
        return;
    }

    for (unsigned i = 0; i < calls->names; i++) {
        size_t n = 0;

        while (p + n < calls->text + calls->text_len && p[n] != ' ') {
            n++;
        }

        if (n == len && memcmp(p, name, n) == 0) {
            return;
        }
        p += n + 1;
    }

    if (calls->names > 0) {
        calls->text[calls->text_len++] = ' ';
    }
    memcpy(calls->text + calls->text_len, name, len);
    calls->text_len += (uint16_t) len;
    calls->names++;
}

static void add_items(struct hai_calls *calls, const json_t *items) {
    json_t *item;
    size_t i;

    if (!json_is_array(items)) {
        return;
    }

    json_array_foreach(items, i, item) {
        const char *type = json_string_value(json_object_get(item, "type"));

        if (type != NULL
            && (strcmp(type, "function_call") == 0
                || strcmp(type, "custom_tool_call") == 0
                || strcmp(type, "tool_use") == 0))
        {
            add_call(calls, item);
        }
    }
}

/* Members in the order of the text, in which names are listed. */
static void add_message(struct hai_calls *calls, json_t *message) {
    const char *key, *kind;
    json_t *value, *call, *named;
    size_t i;

    json_object_foreach(message, key, value) {
        if (strcmp(key, "function_call") == 0) {
            add_call(calls, value);

        } else if (strcmp(key, "tool_calls") == 0 && json_is_array(value)) {
            json_array_foreach(value, i, call) {
                json_object_foreach(call, kind, named) {
                    if (strcmp(kind, "function") == 0
                        || strcmp(kind, "custom") == 0) {
                        add_call(calls, named);
                    }
                }
            }
        }
    }
}

static void add_calls(struct hai_calls *calls, json_t *top) {
    const char *key;
    json_t *value, *choice;
    size_t i;

    json_object_foreach(top, key, value) {
        if (strcmp(key, "output") == 0 || strcmp(key, "content") == 0) {
            add_items(calls, value);

        } else if (strcmp(key, "choices") == 0 && json_is_array(value)) {
            json_array_foreach(value, i, choice) {
                add_message(calls, json_object_get(choice, "message"));
            }
        }
    }
}

static void compare_with_tree(const struct hai_usage_scan *us,
                              const uint8_t *data, size_t size) {
    struct hai_usage expected = {-1, -1, -1, false, false};
    struct hai_calls calls = {0, 0, 0, ""};
    json_t *top;

    /* jansson accepts a NUL behind a number; a minus zero and keys spelled
       with escapes are read otherwise on purpose */
    if (memchr(data, '\0', size) != NULL) {
        return;
    }

    for (size_t i = 0; i + 1 < size; i++) {
        if (memcmp(data + i, "-0", 2) == 0 || memcmp(data + i, "\\u", 2) == 0) {
            return;
        }
    }

    top = json_loadb((const char *) data, size, JSON_REJECT_DUPLICATES, NULL);

    if (json_is_object(top)) {
        take_top(&expected, top);
        same(&us->usage, &expected);

        /* names spelled with escapes are left out on purpose */
        if (memchr(data, '\\', size) == NULL) {
            add_calls(&calls, top);
            same_calls(&us->calls.calls, &calls);
        }
    }

    json_decref(top);
}

/* Cut in two behind a brace, at or after a place. */
static void compare_at_brace(enum hai_usage_kind kind,
                             const struct hai_usage_scan *whole,
                             const uint8_t *data, size_t size, size_t place) {
    struct hai_usage_scan us;

    while (place < size && data[place] != '}') {
        place++;
    }

    if (place == size) {
        return;
    }

    place++;

    uint8_t *copy = malloc(place);

    if (copy == NULL) {
        return;
    }
    memcpy(copy, data, place);

    hai_usage_init(&us, kind);
    hai_usage_feed(&us, copy, place);
    free(copy);
    hai_usage_feed(&us, data + place, size - place);

    same(&whole->usage, &us.usage);
    same_calls(&whole->calls.calls, &us.calls.calls);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct hai_usage_scan whole, pieces, sse2;
    struct hai_sse ends, ends_whole;
    enum hai_usage_kind kind;
    size_t passed = 0;
    uint32_t cut;

    if (size < 1) {
        return 0;
    }

    kind = data[0] & 1 ? HAI_USAGE_SSE : HAI_USAGE_JSON;
    cut = data[0] >> 1;
    data++;
    size--;

    hai_usage_init(&whole, kind);
    hai_usage_feed(&whole, data, size);

    hai_sse_init(&ends_whole);
    size_t end = hai_sse_feed(&ends_whole, data, size);

    if (kind == HAI_USAGE_JSON) {
        compare_with_tree(&whole, data, size);
    }

    compare_at_brace(kind, &whole, data, size, size * cut / 128);

    hai_usage_init(&pieces, kind);
    lower_usage_init(&sse2, kind);
    hai_sse_init(&ends);

    for (size_t done = 0; done < size;) {
        size_t len = cut & 64 ? cut >> 20 & 127 : cut >> 24 & 3;

        len = len + 1 < size - done ? len + 1 : size - done;
        cut = cut * 1664525 + 1013904223;

        /* memory of its own, so that a read outside is seen */
        uint8_t *copy = malloc(len);

        if (copy == NULL) {
            return 0;
        }
        memcpy(copy, data + done, len);

        hai_usage_feed(&pieces, copy, len);
        lower_usage_feed(&sse2, copy, len);

        size_t pass = hai_sse_feed(&ends, copy, len);

        check(pass <= len);
        if (pass > 0) {
            passed = done + pass;
        }

        free(copy);
        done += len;
    }

    same(&whole.usage, &pieces.usage);
    same(&whole.usage, &sse2.usage);
    same_calls(&whole.calls.calls, &pieces.calls.calls);
    same_calls(&whole.calls.calls, &sse2.calls.calls);
    check(passed == end && ends.in_event == ends_whole.in_event);

    return 0;
}
