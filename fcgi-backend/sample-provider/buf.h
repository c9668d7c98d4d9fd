/*
 * A growing byte buffer with a declared ceiling, read from the front and
 * written at the end.  A failed write sticks: builders put everything and
 * look at "failed" once.
 */

#ifndef HAI_SP_BUF_H
#define HAI_SP_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hai_sp_buf {
    char *data;
    size_t pos; /* first byte not consumed */
    size_t len; /* end of the bytes written */
    size_t cap;
    size_t max; /* cap never passes this */
    bool failed;
};

/* Bytes between pos and len. */
static inline size_t hai_sp_buf_pending(const struct hai_sp_buf *b) {
    return b->len - b->pos;
}

void hai_sp_buf_init(struct hai_sp_buf *b, size_t max);
void hai_sp_buf_free(struct hai_sp_buf *b);

/* Empties the buffer, keeps its memory. */
void hai_sp_buf_clear(struct hai_sp_buf *b);

/* Empties the buffer, gives memory above "keep" bytes back. */
void hai_sp_buf_shrink(struct hai_sp_buf *b, size_t keep);

/* Room for n more bytes behind len.  Returns 0, or -1 and sets failed. */
int hai_sp_buf_reserve(struct hai_sp_buf *b, size_t n);

void hai_sp_buf_consume(struct hai_sp_buf *b, size_t n);
void hai_sp_buf_put(struct hai_sp_buf *b, const void *data, size_t n);
void hai_sp_buf_puts(struct hai_sp_buf *b, const char *s);
void hai_sp_buf_putu(struct hai_sp_buf *b, uint64_t n);
void hai_sp_buf_printf(struct hai_sp_buf *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* A literal without strlen() at run time. */
#define HAI_SP_PUT(b, lit) hai_sp_buf_put((b), (lit), sizeof(lit) - 1)

#endif
