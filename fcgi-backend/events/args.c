/* Words of a command, see args.h. */

#include "args.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void hai_args_init(struct hai_args *a) {
    memset(a, 0, sizeof(*a));
}

void hai_args_free(struct hai_args *a) {
    for (size_t i = 0; i < a->n; i++) {
        free(a->word[i]);
    }
    free(a->word);
    free(a->len);
    hai_args_init(a);
}

static int grow(struct hai_args *a) {
    size_t cap = a->cap == 0 ? 16 : a->cap * 2;
    char **word = realloc(a->word, cap * sizeof(*word));
    size_t *len;

    if (word == NULL) {
        return -1;
    }
    a->word = word;

    len = realloc(a->len, cap * sizeof(*len));
    if (len == NULL) {
        return -1;
    }
    a->len = len;
    a->cap = cap;
    return 0;
}

void hai_args_add(struct hai_args *a, const void *data, size_t len) {
    char *copy;

    if (a->failed || (a->n == a->cap && grow(a) != 0)) {
        a->failed = true;
        return;
    }

    copy = malloc(len + 1);
    if (copy == NULL) {
        a->failed = true;
        return;
    }

    if (len > 0) {
        memcpy(copy, data, len);
    }
    copy[len] = '\0';
    a->word[a->n] = copy;
    a->len[a->n] = len;
    a->n++;
}

void hai_args_str(struct hai_args *a, const char *text) {
    hai_args_add(a, text, strlen(text));
}

void hai_args_num(struct hai_args *a, uint64_t n) {
    char text[24];

    snprintf(text, sizeof(text), "%" PRIu64, n);
    hai_args_str(a, text);
}

void hai_args_join(struct hai_args *a, const struct hai_args *b) {
    for (size_t i = 0; i < b->n; i++) {
        hai_args_add(a, b->word[i], b->len[i]);
    }
    a->failed = a->failed || b->failed;
}
