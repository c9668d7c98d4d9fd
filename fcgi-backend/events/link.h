/*
 * A thread's connection to Redis: made when it is needed, made again with
 * back-off when it is lost, said once when it goes and once when it is back.
 */

#ifndef HAI_EVENTS_LINK_H
#define HAI_EVENTS_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "args.h"
#include "lib/redis.h"

#define HAI_LINK_TIMEOUT 2000 /* milliseconds for an answer */

struct hai_link {
    const struct hai_redis_conf *conf;
    const char *name; /* of the connection, for CLIENT LIST and the log */
    redisContext *c;
    uint64_t next; /* when to try again: milliseconds of CLOCK_MONOTONIC */
    int backoff;   /* milliseconds */
    bool told;
    char error[256]; /* of the last call */
};

void hai_link_init(struct hai_link *link, const struct hai_redis_conf *conf,
                   const char *name);
void hai_link_close(struct hai_link *link);

/* Is there a connection, maybe a new one?  Does not wait for the next
 * attempt, only for the one that is due. */
bool hai_link_up(struct hai_link *link);

/* Milliseconds until the next attempt. */
unsigned hai_link_pause(const struct hai_link *link);

/* Once a second: false, and closed, where that is no master any more. */
bool hai_link_beat(struct hai_link *link);

/*
 * Sends a command: 0, or -1 (closed).  hai_link_read() then gives the replies
 * in the same order; NULL when the connection was lost (closed) or the reply
 * is an error, with a message in link->error; an error that sends us elsewhere
 * closes it too.  freeReplyObject().
 */
int hai_link_send(struct hai_link *link, const struct hai_args *args);
redisReply *hai_link_read(struct hai_link *link);

/* Both. */
redisReply *hai_link_call(struct hai_link *link, const struct hai_args *args);

#endif
