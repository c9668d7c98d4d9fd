/*
 * The words of a Redis command, copied, one after the other.  A failed
 * allocation sticks: callers add everything and look at "failed" once.
 */

#ifndef HAI_EVENTS_ARGS_H
#define HAI_EVENTS_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hai_args {
    char **word;
    size_t *len;
    size_t n;
    size_t cap;
    bool failed;
};

void hai_args_init(struct hai_args *a);
void hai_args_free(struct hai_args *a);

void hai_args_add(struct hai_args *a, const void *data, size_t len);
void hai_args_str(struct hai_args *a, const char *text);
void hai_args_num(struct hai_args *a, uint64_t n);

/* All words of b behind those of a. */
void hai_args_join(struct hai_args *a, const struct hai_args *b);

#endif
