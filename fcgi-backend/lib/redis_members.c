/* Sets that may be long, see redis.h. */

#include "redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT "250" /* of one command: some tenths of a millisecond */

static int compare(const void *a, const void *b) {
    const redisReply *x = *(redisReply *const *) a;
    const redisReply *y = *(redisReply *const *) b;
    int order = memcmp(x->str, y->str, x->len < y->len ? x->len : y->len);

    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

int hai_redis_members_add(redisReply *all, redisReply *more) {
    redisReply **list;

    for (size_t i = 0; i < more->elements; i++) {
        if (more->element[i]->type != REDIS_REPLY_STRING) {
            return -1;
        }
    }

    list = realloc(all->element,
                   (all->elements + more->elements + 1) * sizeof(*list));
    if (list == NULL) {
        return -1;
    }

    all->element = list;
    if (more->elements > 0) {
        memcpy(list + all->elements, more->element,
               more->elements * sizeof(*list));
    }
    all->elements += more->elements;
    more->elements = 0;

    return 0;
}

void hai_redis_members_unique(redisReply *all) {
    redisReply **list = all->element;
    size_t kept = 0;

    if (all->elements == 0) {
        return;
    }

    qsort(list, all->elements, sizeof(*list), compare);
    for (size_t i = 1; i < all->elements; i++) {
        if (compare(&list[kept], &list[i]) == 0) {
            freeReplyObject(list[i]);
        } else {
            list[++kept] = list[i];
        }
    }
    all->elements = kept + 1;
}

static bool is_page(const redisReply *page) {
    return page->type == REDIS_REPLY_ARRAY && page->elements == 2
           && page->element[0]->type == REDIS_REPLY_STRING
           && page->element[1]->type == REDIS_REPLY_ARRAY;
}

redisReply *hai_redis_members(redisContext *c, const char *key, char *error,
                              size_t size) {
    redisReply all = {.type = REDIS_REPLY_ARRAY}, *result = NULL, *page;
    char cursor[32] = "0";
    int rc = 0;

    do {
        page = hai_redis_command(c, error, size, "SSCAN %s %s COUNT " COUNT,
                                 key, cursor);
        if (page == NULL) {
            rc = -1;
        } else if (!is_page(page)) {
            snprintf(error, size, "no page was answered to SSCAN");
            rc = -1;
        } else {
            snprintf(cursor, sizeof(cursor), "%s", page->element[0]->str);
            rc = hai_redis_members_add(&all, page->element[1]);
            if (rc != 0) {
                snprintf(error, size, "no memory, or no texts in a set");
            }
        }
        freeReplyObject(page);
    } while (rc == 0 && strcmp(cursor, "0") != 0);

    /* one may have been in two pages */
    hai_redis_members_unique(&all);

    if (rc == 0) {
        result = malloc(sizeof(*result));
        if (result != NULL) {
            *result = all;
            return result;
        }
        snprintf(error, size, "no memory");
    }

    for (size_t i = 0; i < all.elements; i++) {
        freeReplyObject(all.element[i]);
    }
    free(all.element);

    return NULL;
}
