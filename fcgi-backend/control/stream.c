/* Streams from their end, see handlers.h. */

#include "handlers.h"

#include "lib/log.h"

#include <stdio.h>
#include <stdlib.h>

#define PAGE 200 /* about half a millisecond of Redis */

/* [id, [field, value, ...]]; its id */
static const char *id_of(const redisReply *entry) {
    return entry->type == REDIS_REPLY_ARRAY && entry->elements == 2
                   && entry->element[0]->type == REDIS_REPLY_STRING
               ? entry->element[0]->str
               : NULL;
}

int hai_stream_walk(struct hai_call *call, const char *stream, size_t max,
                    bool (*look)(void *data, const redisReply *fields),
                    void *data, int64_t *oldest) {
    char error[256] = "not a list", before[64] = "+";
    size_t seen = 0, n = PAGE;
    bool more = true;
    int rc = 0;

    while (rc == 0 && more && n == PAGE && seen < max) {
        redisReply *page =
            hai_redis_command(call->writer->c, error, sizeof(error),
                              "XREVRANGE hoody:{%s}:%s %s - COUNT %d",
                              call->writer->server, stream, before, PAGE);

        if (page == NULL || page->type != REDIS_REPLY_ARRAY) {
            hai_log(HAI_LOG_ERROR, "%s: %s", stream, error);
            freeReplyObject(page);
            return -1;
        }

        n = page->elements;

        for (size_t i = 0; more && i < n && seen < max; i++, seen++) {
            const redisReply *entry = page->element[i];
            const char *id = id_of(entry);

            if (id == NULL) {
                rc = -1;
                break;
            }

            /* it begins with Redis' milliseconds; "(": without this one */
            *oldest = strtoll(id, NULL, 10);
            snprintf(before, sizeof(before), "(%.60s", id);

            if (entry->element[1]->type == REDIS_REPLY_ARRAY) {
                more = look(data, entry->element[1]);
            }
        }

        freeReplyObject(page);
    }

    return rc;
}
