/* Bounded text, see text.h. */

#include "text.h"

#include <stdio.h>
#include <string.h>

bool hai_text_add(char *to, size_t size, const char *more) {
    size_t at = strlen(to), len = strlen(more);

    if (len >= size - at) {
        return false;
    }

    memcpy(to + at, more, len + 1);

    return true;
}

static bool unreserved(unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
           || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.'
           || c == '~';
}

bool hai_text_escape(char *to, size_t size, const char *more) {
    size_t start = strlen(to), at = start;

    for (; *more != '\0'; more++) {
        unsigned char c = (unsigned char) *more;

        if (size - at < 4) {
            to[start] = '\0';
            return false;
        }

        if (unreserved(c)) {
            to[at++] = (char) c;
            to[at] = '\0';
        } else {
            snprintf(to + at, size - at, "%%%02X", c);
            at += 3;
        }
    }

    return true;
}
