/* Connections to Redis, see connection.h. */

#include "connection.h"

#include "lib/log.h"

/* One that has ended, or leads to another than the master, shows itself now
 * and not in the middle of a call. */
static bool works(struct hai_connection *one, struct hai_control *control) {
    char error[256];
    redisReply *pong = NULL;
    bool good;

    if (one->c == NULL || one->c->err != 0) {
        return false;
    }

    pong = hai_redis_command(one->c, error, sizeof(error), "PING");
    good =
        pong != NULL
        && hai_redis_beat(one->c, &control->redis, error, sizeof(error)) == 0;
    freeReplyObject(pong);

    return good;
}

struct hai_registry_writer *hai_connection_open(struct hai_connection *one,
                                                struct hai_control *control) {
    char error[256];

    if (works(one, control)) {
        return &one->writer;
    }

    hai_connection_close(one);

    one->c = hai_redis_connect(&control->redis, "hoody-ai-control", error,
                               sizeof(error));
    if (one->c == NULL) {
        hai_log(HAI_LOG_ERROR, "Redis: %s", error);
        return NULL;
    }

    if (hai_registry_writer_init(&one->writer, one->c, control->server, error,
                                 sizeof(error))
        != 0)
    {
        hai_log(HAI_LOG_ERROR, "registry: %s", error);
        hai_connection_close(one);
        return NULL;
    }

    return &one->writer;
}

void hai_connection_close(struct hai_connection *one) {
    redisFree(one->c);
    one->c = NULL;
}
