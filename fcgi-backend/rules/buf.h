/*
 * Bytes that grow: bodies as they are read, answers as they are written.  A
 * failed allocation is remembered, so that only the end has to be checked.
 */

#ifndef HAI_RULES_BUF_H
#define HAI_RULES_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct hai_buf {
    char *data;
    size_t len;
    size_t size;
    bool failed; /* something did not fit into memory */
};

/* Room for at least n bytes behind len, or NULL without memory.  The caller
 * adds to len what it has written there. */
char *hai_buf_room(struct hai_buf *b, size_t n);

void hai_buf_add(struct hai_buf *b, const char *data, size_t len);
void hai_buf_text(struct hai_buf *b, const char *text);
void hai_buf_format(struct hai_buf *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A JSON string of UTF-8, quotes included; bytes that are not UTF-8 would
 * stay as they are. */
void hai_buf_json(struct hai_buf *b, const char *text, size_t len);

/* Empties it; memory beyond keep bytes is given back. */
void hai_buf_reset(struct hai_buf *b, size_t keep);
void hai_buf_free(struct hai_buf *b);

#endif
