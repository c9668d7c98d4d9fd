/* Entries, see entry.h. */

#include "entry.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"

static const char *const numbers[] = {
    "ts", "status", "count", "depth", "rules", NULL,
};

int hai_entry_of(struct hai_entry *entry, const redisReply *reply) {
    const redisReply *fields;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2
        || reply->element[0]->type != REDIS_REPLY_STRING)
    {
        return -1;
    }

    entry->id.data = reply->element[0]->str;
    entry->id.len = reply->element[0]->len;
    fields = reply->element[1];

    if (fields->type == REDIS_REPLY_NIL) {
        return 1;
    }
    if (fields->type != REDIS_REPLY_ARRAY || fields->elements % 2 != 0) {
        return -1;
    }

    for (size_t i = 0; i < fields->elements; i++) {
        if (fields->element[i]->type != REDIS_REPLY_STRING) {
            return -1;
        }
    }
    entry->fields = fields;
    return 0;
}

bool hai_slice_is(struct hai_slice s, const char *text) {
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

struct hai_slice hai_entry_get(const struct hai_entry *entry,
                               const char *name) {
    struct hai_slice value = {"", 0};

    for (size_t i = 0; i < entry->fields->elements; i += 2) {
        const redisReply *key = entry->fields->element[i];

        if (hai_slice_is((struct hai_slice){key->str, key->len}, name)) {
            value.data = entry->fields->element[i + 1]->str;
            value.len = entry->fields->element[i + 1]->len;
            break;
        }
    }
    return value;
}

int hai_number(struct hai_slice text, uint64_t *n) {
    uint64_t value = 0;

    if (text.len == 0 || text.len > 15) {
        return -1;
    }

    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return -1;
        }
        value = value * 10 + (uint64_t) (text.data[i] - '0');
    }
    *n = value;
    return 0;
}

uint64_t hai_entry_time(const struct hai_entry *entry) {
    const char *dash = memchr(entry->id.data, '-', entry->id.len);
    struct hai_slice head = entry->id;
    uint64_t ms;

    if (hai_number(hai_entry_get(entry, "ts"), &ms) == 0) {
        return ms;
    }
    if (dash != NULL) {
        head.len = (size_t) (dash - entry->id.data);
    }
    return hai_number(head, &ms) == 0 ? ms : hai_now();
}

/* U+FFFD */
static const char replacement[] = {'\xef', '\xbf', '\xbd'};

/* Length of the well-formed UTF-8 sequence at p (RFC 3629), or 0. */
static size_t sequence(const unsigned char *p, size_t n) {
    unsigned char low = 0x80, high = 0xbf;
    size_t len;

    if (p[0] < 0x80) {
        return 1;
    }
    if (p[0] < 0xc2 || p[0] > 0xf4) {
        return 0;
    }

    len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (len > n) {
        return 0;
    }

    /* no overlong forms, no surrogates, nothing above U+10FFFF */
    if (p[0] == 0xe0) {
        low = 0xa0;
    } else if (p[0] == 0xed) {
        high = 0x9f;
    } else if (p[0] == 0xf0) {
        low = 0x90;
    } else if (p[0] == 0xf4) {
        high = 0x8f;
    }

    if (p[1] < low || p[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return len;
}

json_t *hai_json_text(struct hai_slice text, size_t max) {
    const unsigned char *in = (const unsigned char *) text.data;
    size_t i = 0, n = 0;
    json_t *json;
    char *out;

    /* each byte may become three; the buffer ends where max does */
    out = malloc(max + 4);
    if (out == NULL) {
        return NULL;
    }

    while (i < text.len) {
        size_t len = sequence(in + i, text.len - i);

        if (n + (len > 0 ? len : sizeof(replacement)) > max) {
            break;
        }
        if (len > 0) {
            memcpy(out + n, in + i, len);
            n += len;
            i += len;
        } else {
            memcpy(out + n, replacement, sizeof(replacement));
            n += sizeof(replacement);
            i++;
        }
    }

    json = json_stringn(out, n);
    free(out);
    return json;
}

static bool is_number(const char *name) {
    for (size_t i = 0; numbers[i] != NULL; i++) {
        if (strcmp(numbers[i], name) == 0) {
            return true;
        }
    }
    return false;
}

int hai_entry_copy(const struct hai_entry *entry, const char *const *names,
                   json_t *into) {
    for (size_t i = 0; names[i] != NULL; i++) {
        struct hai_slice value = hai_entry_get(entry, names[i]);
        size_t max = strcmp(names[i], "message") == 0 ? HAI_ENTRY_MESSAGE
                                                      : HAI_ENTRY_TEXT;
        json_t *json;
        uint64_t n;

        if (value.len == 0) {
            continue;
        }
        if (is_number(names[i]) && hai_number(value, &n) == 0) {
            json = json_integer((json_int_t) n);
        } else {
            json = hai_json_text(value, max);
        }
        if (json_object_set_new(into, names[i], json) != 0) {
            return -1;
        }
    }
    return 0;
}
