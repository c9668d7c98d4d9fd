/* The buffer, see buf.h. */

#include "buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_MIN 1024

void hai_sp_buf_init(struct hai_sp_buf *b, size_t max) {
    memset(b, 0, sizeof(*b));
    b->max = max;
}

void hai_sp_buf_free(struct hai_sp_buf *b) {
    free(b->data);
    hai_sp_buf_init(b, b->max);
}

void hai_sp_buf_clear(struct hai_sp_buf *b) {
    b->pos = 0;
    b->len = 0;
    b->failed = false;
}

void hai_sp_buf_shrink(struct hai_sp_buf *b, size_t keep) {
    if (b->cap > keep) {
        hai_sp_buf_free(b);
    } else {
        hai_sp_buf_clear(b);
    }
}

int hai_sp_buf_reserve(struct hai_sp_buf *b, size_t n) {
    size_t cap;
    char *data;

    if (b->failed) {
        return -1;
    }
    if (n <= b->cap - b->len) {
        return 0;
    }

    /* consumed bytes give their room back first */
    if (b->pos > 0) {
        memmove(b->data, b->data + b->pos, b->len - b->pos);
        b->len -= b->pos;
        b->pos = 0;
        if (n <= b->cap - b->len) {
            return 0;
        }
    }

    if (n > b->max || b->len > b->max - n) {
        b->failed = true;
        return -1;
    }
    cap = b->cap > 0 ? b->cap : BUF_MIN;
    while (cap < b->len + n) {
        cap *= 2;
    }
    if (cap > b->max) {
        cap = b->max;
    }
    data = realloc(b->data, cap);
    if (data == NULL) {
        b->failed = true;
        return -1;
    }
    b->data = data;
    b->cap = cap;
    return 0;
}

void hai_sp_buf_consume(struct hai_sp_buf *b, size_t n) {
    b->pos += n;
    if (b->pos == b->len) {
        b->pos = 0;
        b->len = 0;
    }
}

void hai_sp_buf_put(struct hai_sp_buf *b, const void *data, size_t n) {
    if (n == 0 || hai_sp_buf_reserve(b, n) != 0) {
        return;
    }
    memcpy(b->data + b->len, data, n);
    b->len += n;
}

void hai_sp_buf_puts(struct hai_sp_buf *b, const char *s) {
    hai_sp_buf_put(b, s, strlen(s));
}

void hai_sp_buf_putu(struct hai_sp_buf *b, uint64_t n) {
    char digits[20];
    size_t i = sizeof(digits);

    do {
        digits[--i] = (char) ('0' + n % 10);
        n /= 10;
    } while (n > 0);
    hai_sp_buf_put(b, digits + i, sizeof(digits) - i);
}

void hai_sp_buf_printf(struct hai_sp_buf *b, const char *fmt, ...) {
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);

    /* one byte more for the NUL that vsnprintf() insists on */
    if (n < 0 || hai_sp_buf_reserve(b, (size_t) n + 1) != 0) {
        b->failed = true;
        return;
    }
    va_start(ap, fmt);
    vsnprintf(b->data + b->len, (size_t) n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t) n;
}
