/* The change feed, see redis.h. */

#include "redis_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define PONG_MS 1000
#define FEED_PREFIXES 16

int hai_redis_feed_start(redisContext *c, const char *const *prefixes, size_t n,
                         char *error, size_t size) {
    const char *argv[6 + 2 * FEED_PREFIXES] = {"CLIENT", "TRACKING", "ON",
                                               "REDIRECT"};
    char id[24];
    redisReply *reply;
    int argc = 4;
    size_t i;

    if (n > FEED_PREFIXES) {
        snprintf(error, size, "too many prefixes");
        return -1;
    }
    reply = hai_redis_command(c, error, size, "CLIENT ID");
    if (reply == NULL) {
        return -1;
    }
    snprintf(id, sizeof(id), "%lld", reply->integer);
    freeReplyObject(reply);

    argv[argc++] = id;
    argv[argc++] = "BCAST";
    for (i = 0; i < n; i++) {
        argv[argc++] = "PREFIX";
        argv[argc++] = prefixes[i];
    }
    reply = hai_redis_checked(c, redisCommandArgv(c, argc, argv, NULL), error,
                              size);
    if (reply == NULL) {
        return -1;
    }
    freeReplyObject(reply);

    reply = hai_redis_command(c, error, size, "SUBSCRIBE __redis__:invalidate");
    if (reply == NULL) {
        return -1;
    }
    freeReplyObject(reply);
    return 0;
}

/* The keys of a message; false for anything else, such as a pong. */
static bool take_keys(redisReply *reply, redisReply **keys) {
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3
        || reply->element[0]->type != REDIS_REPLY_STRING
        || strcmp(reply->element[0]->str, "message") != 0)
    {
        return false;
    }
    *keys = NULL;
    if (reply->element[2]->type == REDIS_REPLY_ARRAY) {
        *keys = reply->element[2];
        reply->element[2] = NULL;
    }
    return true;
}

/*
 * The next message until the end of time: 1 with its keys, 2 for another
 * reply, 0 none, -1 lost.
 */
static int next_message(redisContext *c, int64_t end, redisReply **keys,
                        char *error, size_t size) {
    struct pollfd fd = {.fd = c->fd, .events = POLLIN};
    void *reply;
    bool is_message;
    int n;

    for (;;) {
        int64_t left = end - hai_redis_now_ms();

        if (redisGetReplyFromReader(c, &reply) != REDIS_OK) {
            snprintf(error, size, "%s", c->errstr);
            return -1;
        }
        if (reply != NULL) {
            is_message = take_keys(reply, keys);
            freeReplyObject(reply);
            return is_message ? 1 : 2;
        }
        n = poll(&fd, 1, left > 0 ? (int) left : 0);
        if (n == 0) {
            return 0;
        }
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            snprintf(error, size, "poll: %s", strerror(errno));
            return -1;
        }
        if (redisBufferRead(c) != REDIS_OK) {
            snprintf(error, size, "%s", c->errstr);
            return -1;
        }
    }
}

static int send_ping(redisContext *c, char *error, size_t size) {
    int done = 0;

    if (redisAppendCommand(c, "PING") != REDIS_OK) {
        snprintf(error, size, "%s", c->errstr);
        return -1;
    }
    while (!done) {
        if (redisBufferWrite(c, &done) != REDIS_OK) {
            snprintf(error, size, "%s", c->errstr);
            return -1;
        }
    }
    return 0;
}

/*
 * Nothing came in all that time: is anybody there?  A pong that comes only
 * after a message is met, and passed over, by a later call.
 */
static int heartbeat(redisContext *c, redisReply **keys, char *error,
                     size_t size) {
    int rc;

    if (send_ping(c, error, size) != 0) {
        return -1;
    }
    rc = next_message(c, hai_redis_now_ms() + PONG_MS, keys, error, size);
    if (rc == 0) {
        snprintf(error, size, "no answer to PING within %d ms", PONG_MS);
        return -1;
    }
    return rc == 2 ? 0 : rc;
}

int hai_redis_feed_wait(redisContext *c, int timeout_ms, redisReply **keys,
                        char *error, size_t size) {
    int64_t end = hai_redis_now_ms() + timeout_ms;
    int rc;

    *keys = NULL;
    do {
        rc = next_message(c, end, keys, error, size);
    } while (rc == 2);
    if (rc == 0 && timeout_ms > 0) {
        rc = heartbeat(c, keys, error, size);
    }
    return rc;
}
