/* See uri.h. */

#include "uri.h"

#include <stdlib.h>
#include <string.h>

static int hex(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place; 0, or -1. */
static int decode(char *text) {
    char *to = text;
    int high, low;

    for (; *text != '\0' && *text != '?' && *text != '#'; text++) {
        if (*text != '%') {
            *to++ = *text;
            continue;
        }
        high = hex(text[1]);
        low = high >= 0 ? hex(text[2]) : -1;
        if (low < 0 || (high == 0 && low == 0)) {
            return -1;
        }
        *to++ = (char) (high << 4 | low);
        text += 2;
    }
    *to = '\0';
    return 0;
}

/* Takes the last segment of text[0 .. to) away; -1 at the root. */
static int up(const char *text, char **to) {
    if (*to - text < 2) {
        return -1;
    }
    do {
        (*to)--;
    } while ((*to)[-1] != '/');
    return 0;
}

char *hai_uri_normalise(const char *text) {
    char *path = *text == '/' ? strdup(text) : NULL, *from, *to;
    size_t n;

    if (path == NULL || decode(path) != 0) {
        free(path);
        return NULL;
    }
    from = to = path + 1; /* both behind a slash */
    while (*from != '\0') {
        n = strcspn(from, "/");
        if (n == 2 && from[0] == '.' && from[1] == '.') {
            if (up(path, &to) != 0) {
                free(path);
                return NULL;
            }
        } else if (n > 0 && (n != 1 || from[0] != '.')) {
            memmove(to, from, n);
            to += n;
            if (from[n] == '/') {
                *to++ = '/';
            }
        }
        from += n + (from[n] == '/');
    }
    *to = '\0';
    return path;
}
