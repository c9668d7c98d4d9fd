/* Positions in a JSON text, see locate.h. */

#include "locate.h"

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>

static size_t skip_space(const struct hai_locate *l, size_t at) {
    while (at < l->len
           && (l->text[at] == ' ' || l->text[at] == '\n' || l->text[at] == '\r'
               || l->text[at] == '\t'))
    {
        at++;
    }
    return at;
}

/* at: an opening quote; returns the offset behind the closing one */
static size_t skip_string(const struct hai_locate *l, size_t at) {
    for (at++; at < l->len && l->text[at] != '"'; at++) {
        if (l->text[at] == '\\') {
            at++;
        }
    }
    return at < l->len ? at + 1 : l->len;
}

size_t hai_locate_end(const struct hai_locate *l, size_t at) {
    size_t depth = 0;

    while (at < l->len) {
        switch (l->text[at]) {
        case '"':
            at = skip_string(l, at);
            if (depth == 0) {
                return at;
            }
            continue;

        case '{':
        case '[':
            depth++;
            break;

        case '}':
        case ']':
            if (depth == 0) {
                return at; /* behind a number or word */
            }
            if (--depth == 0) {
                return at + 1;
            }
            break;

        case ',':
        case ' ':
        case '\n':
        case '\r':
        case '\t':
            if (depth == 0) {
                return at;
            }
            break;

        default:
            break;
        }
        at++;
    }
    return l->len;
}

size_t hai_locate_root(const struct hai_locate *l) {
    size_t at = skip_space(l, 0);

    return at < l->len ? at : HAI_NOWHERE;
}

size_t hai_locate_first(const struct hai_locate *l, size_t at) {
    if (at >= l->len || (l->text[at] != '{' && l->text[at] != '[')) {
        return HAI_NOWHERE;
    }
    at = skip_space(l, at + 1);
    if (at >= l->len || l->text[at] == '}' || l->text[at] == ']') {
        return HAI_NOWHERE;
    }
    return at;
}

size_t hai_locate_value(const struct hai_locate *l, size_t at) {
    if (at >= l->len || l->text[at] != '"') {
        return HAI_NOWHERE;
    }
    at = skip_space(l, skip_string(l, at));
    if (at >= l->len || l->text[at] != ':') {
        return HAI_NOWHERE;
    }
    at = skip_space(l, at + 1);
    return at < l->len ? at : HAI_NOWHERE;
}

size_t hai_locate_next(const struct hai_locate *l, size_t at) {
    size_t value;

    if (at >= l->len) {
        return HAI_NOWHERE;
    }
    value = hai_locate_value(l, at);
    at = skip_space(l, hai_locate_end(l, value == HAI_NOWHERE ? at : value));
    if (at >= l->len || l->text[at] != ',') {
        return HAI_NOWHERE;
    }
    at = skip_space(l, at + 1);
    return at < l->len ? at : HAI_NOWHERE;
}

static bool string_is(const struct hai_locate *l, size_t at, const char *key) {
    size_t end = skip_string(l, at);
    size_t len = strlen(key);
    json_t *string;
    bool same;

    if (memchr(l->text + at, '\\', end - at) == NULL) {
        return end - at == len + 2 && memcmp(l->text + at + 1, key, len) == 0;
    }
    string = json_loadb(l->text + at, end - at,
                        JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    same = string != NULL && json_string_length(string) == len
           && memcmp(json_string_value(string), key, len) == 0;
    json_decref(string);
    return same;
}

size_t hai_locate_key(const struct hai_locate *l, size_t at, const char *key) {
    size_t found = HAI_NOWHERE;

    if (at >= l->len || l->text[at] != '{') {
        return HAI_NOWHERE;
    }
    for (at = hai_locate_first(l, at); at != HAI_NOWHERE;
         at = hai_locate_next(l, at))
    {
        if (string_is(l, at, key)) {
            found = at;
        }
    }
    return found;
}

size_t hai_locate_element(const struct hai_locate *l, size_t at, size_t n) {
    if (at >= l->len || l->text[at] != '[') {
        return HAI_NOWHERE;
    }
    at = hai_locate_first(l, at);
    while (n > 0 && at != HAI_NOWHERE) {
        at = hai_locate_next(l, at);
        n--;
    }
    return at;
}

void hai_locate_line(const struct hai_locate *l, size_t at, int *line,
                     int *column) {
    size_t i;

    *line = 0;
    *column = 0;
    if (at > l->len || l->len > INT_MAX) {
        return;
    }
    *line = 1;
    *column = 1;
    for (i = 0; i < at; i++) {
        if (l->text[i] == '\n') {
            (*line)++;
            *column = 1;
        } else if ((l->text[i] & 0xC0) != 0x80) {
            (*column)++; /* not the inside of a UTF-8 character */
        }
    }
}
