/* The scan of a body's top level, and escaping, see json.h. */

#include "json.h"

#include <stdint.h>
#include <string.h>

static const char *const keys[HAI_SP_KEY_COUNT] = {
    [HAI_SP_KEY_MODEL] = "model",
    [HAI_SP_KEY_STREAM] = "stream",
    [HAI_SP_KEY_TOOLS] = "tools",
    [HAI_SP_KEY_TOOL_CHOICE] = "tool_choice",
    [HAI_SP_KEY_STREAM_OPTIONS] = "stream_options",
    [HAI_SP_KEY_MESSAGES] = "messages",
    [HAI_SP_KEY_INPUT] = "input",
};

static const char *skip_space(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) {
        p++;
    }
    return p;
}

/* p is behind the opening quote; returns the closing one or NULL */
static const char *string_end(const char *p, const char *end) {
    const char *start = p;

    while (p < end && (p = memchr(p, '"', (size_t) (end - p))) != NULL) {
        const char *back = p;

        while (back > start && back[-1] == '\\') {
            back--;
        }
        if ((p - back) % 2 == 0) {
            return p;
        }
        p++;
    }
    return NULL;
}

/*
 * Returns the byte behind the value, or NULL.  When "last" is given, it gets
 * the last object that is a direct element of this array.
 */
static const char *skip_value(const char *p, const char *end,
                              struct hai_sp_slice *last) {
    const char *element = NULL;
    size_t depth = 0;

    while (p < end) {
        switch (*p) {
        case '"':
            p = string_end(p + 1, end);
            if (p == NULL) {
                return NULL;
            }
            p++;
            if (depth == 0) {
                return p;
            }
            continue;

        case '{':
        case '[':
            if (depth == 1 && *p == '{') {
                element = p;
            }
            depth++;
            break;

        case '}':
        case ']':
            if (depth == 0) {
                return p; /* the end of a number or word */
            }
            depth--;
            if (depth == 0) {
                return p + 1;
            }
            if (depth == 1 && element != NULL && last != NULL) {
                *last =
                    (struct hai_sp_slice){element, (size_t) (p + 1 - element)};
                element = NULL;
            }
            break;

        case ',':
            if (depth == 0) {
                return p;
            }
            break;

        default:
            break;
        }
        p++;
    }
    return NULL;
}

static int hex4(const char *p, const char *end) {
    int i, v = 0;

    if (end - p < 4) {
        return -1;
    }
    for (i = 0; i < 4; i++) {
        char c = p[i];

        if (c >= '0' && c <= '9') {
            v = v * 16 + c - '0';
        } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
            v = v * 16 + (c | 0x20) - 'a' + 10;
        } else {
            return -1;
        }
    }
    return v;
}

/* The keys are ASCII without special characters, so \uXXXX is all there is. */
static bool key_is(const char *p, const char *end, const char *key) {
    while (p < end && *key != '\0') {
        int c = (unsigned char) *p;

        if (c == '\\') {
            if (end - p < 6 || p[1] != 'u') {
                return false;
            }
            c = hex4(p + 2, end);
            p += 5;
        }
        if (c != *key) {
            return false;
        }
        p++;
        key++;
    }
    return p == end && *key == '\0';
}

int hai_sp_json_scan(const char *p, size_t n, struct hai_sp_facts *f) {
    const char *end = p + n;

    memset(f, 0, sizeof(*f));
    p = skip_space(p, end);
    if (p == end || *p != '{') {
        return -1;
    }
    p = skip_space(p + 1, end);
    while (p < end && *p == '"') {
        const char *key = p + 1;
        const char *key_end = string_end(key, end);
        const char *value;
        struct hai_sp_slice last = {NULL, 0};
        int k;

        if (key_end == NULL) {
            return -1;
        }
        p = skip_space(key_end + 1, end);
        if (p == end || *p != ':') {
            return -1;
        }
        value = skip_space(p + 1, end);
        p = skip_value(value, end, &last);
        if (p == NULL || p == value) {
            return -1;
        }
        for (k = 0; k < HAI_SP_KEY_COUNT; k++) {
            if (key_is(key, key_end, keys[k])) {
                const char *stop = p;

                while (stop > value
                       && (stop[-1] == ' ' || stop[-1] == '\n'
                           || stop[-1] == '\r' || stop[-1] == '\t'))
                {
                    stop--;
                }
                f->top[k] =
                    (struct hai_sp_slice){value, (size_t) (stop - value)};
                if (k == HAI_SP_KEY_MESSAGES || k == HAI_SP_KEY_INPUT) {
                    f->last = last;
                }
                break;
            }
        }
        p = skip_space(p, end);
        if (p < end && *p == ',') {
            p = skip_space(p + 1, end);
            if (p < end && *p != '"') {
                return -1;
            }
        }
    }
    if (p == end || *p != '}') {
        return -1;
    }
    return skip_space(p + 1, end) == end ? 0 : -1;
}

size_t hai_sp_utf8(const char *s, size_t n) {
    const unsigned char *p = (const unsigned char *) s;
    size_t len, i;

    if (n == 0) {
        return 0;
    }
    if (p[0] < 0x80) {
        return 1;
    }
    if (p[0] < 0xC2 || p[0] > 0xF4) {
        return 0;
    }
    len = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    if (n < len) {
        return 0;
    }
    for (i = 1; i < len; i++) {
        if ((p[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F)
        || (p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F))
    {
        return 0;
    }
    return len;
}

/* The letter of a two-byte escape, 'u' for a control character, or 0. */
static char escape_of(unsigned char c) {
    switch (c) {
    case '"':
        return '"';
    case '\\':
        return '\\';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return c < 0x20 ? 'u' : '\0';
    }
}

void hai_sp_json_escape(struct hai_sp_buf *b, const char *p, size_t n) {
    static const char hex[] = "0123456789abcdef";
    const char *end, *run;

    if (n == 0) {
        return; /* p may be NULL then */
    }
    end = p + n;
    run = p;
    while (p < end) {
        unsigned char c = (unsigned char) *p;
        size_t len = hai_sp_utf8(p, (size_t) (end - p));
        char esc = escape_of(c);

        if (len > 0 && esc == '\0') {
            p += len;
            continue;
        }
        hai_sp_buf_put(b, run, (size_t) (p - run));
        if (len == 0) {
            HAI_SP_PUT(b, "\xEF\xBF\xBD");
        } else if (esc == 'u') {
            char u[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

            hai_sp_buf_put(b, u, sizeof(u));
        } else {
            char two[2] = {'\\', esc};

            hai_sp_buf_put(b, two, sizeof(two));
        }
        p++;
        run = p;
    }
    hai_sp_buf_put(b, run, (size_t) (p - run));
}

size_t hai_sp_json_escaped_len(const char *p, size_t n) {
    size_t len = n;
    size_t i;

    for (i = 0; i < n; i++) {
        char esc = escape_of((unsigned char) p[i]);

        if (esc != '\0') {
            len += esc == 'u' ? 5 : 1;
        }
    }
    return len;
}
