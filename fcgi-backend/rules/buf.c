/* Bytes that grow, see buf.h. */

#include "buf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SIZE 4096

char *hai_buf_room(struct hai_buf *b, size_t n) {
    size_t size = b->size ? b->size : FIRST_SIZE;
    char *data;

    if (b->failed || n > SIZE_MAX / 4 - b->len) {
        b->failed = true;
        return NULL;
    }

    if (n <= b->size - b->len) {
        return b->data + b->len;
    }

    while (size - b->len < n) {
        size *= 2;
    }

    data = realloc(b->data, size);
    if (data == NULL) {
        b->failed = true;
        return NULL;
    }

    b->data = data;
    b->size = size;

    return data + b->len;
}

void hai_buf_add(struct hai_buf *b, const char *data, size_t len) {
    char *p = hai_buf_room(b, len);

    if (p != NULL && len > 0) {
        memcpy(p, data, len);
        b->len += len;
    }
}

void hai_buf_text(struct hai_buf *b, const char *text) {
    hai_buf_add(b, text, strlen(text));
}

void hai_buf_format(struct hai_buf *b, const char *format, ...) {
    va_list args;
    char *p;
    int n;

    va_start(args, format);
    n = vsnprintf(NULL, 0, format, args);
    va_end(args);

    if (n < 0) {
        b->failed = true;
        return;
    }

    p = hai_buf_room(b, (size_t) n + 1);
    if (p == NULL) {
        return;
    }

    va_start(args, format);
    vsnprintf(p, (size_t) n + 1, format, args);
    va_end(args);

    b->len += (size_t) n;
}

void hai_buf_json(struct hai_buf *b, const char *text, size_t len) {
    static const char hex[] = "0123456789abcdef";
    char *p;
    size_t i;

    if (len > SIZE_MAX / 16) {
        b->failed = true;
        return;
    }

    p = hai_buf_room(b, len * 6 + 2);
    if (p == NULL) {
        return;
    }

    *p++ = '"';

    for (i = 0; i < len; i++) {
        unsigned char c = (unsigned char) text[i];

        if (c == '"' || c == '\\') {
            *p++ = '\\';
            *p++ = (char) c;

        } else if (c == '\n') {
            *p++ = '\\';
            *p++ = 'n';

        } else if (c < 0x20 || c == 0x7f) {
            *p++ = '\\';
            *p++ = 'u';
            *p++ = '0';
            *p++ = '0';
            *p++ = hex[c >> 4];
            *p++ = hex[c & 15];

        } else {
            *p++ = (char) c;
        }
    }

    *p++ = '"';
    b->len = (size_t) (p - b->data);
}

void hai_buf_reset(struct hai_buf *b, size_t keep) {
    if (b->size > keep) {
        hai_buf_free(b);
    }

    b->len = 0;
    b->failed = false;
}

void hai_buf_free(struct hai_buf *b) {
    free(b->data);
    *b = (struct hai_buf){0};
}
