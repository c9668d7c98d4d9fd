/* Connections, see link.h. */

#include "link.h"

#include <stdio.h>
#include <string.h>
#include <sys/time.h>

#include "clock.h"
#include "lib/log.h"

#define BACKOFF_MIN 50
#define BACKOFF_MAX 2000

void hai_link_init(struct hai_link *link, const struct hai_redis_conf *conf,
                   const char *name) {
    memset(link, 0, sizeof(*link));
    link->conf = conf;
    link->name = name;
    link->backoff = BACKOFF_MIN;
}

void hai_link_close(struct hai_link *link) {
    if (link->c != NULL) {
        redisFree(link->c);
        link->c = NULL;
    }
}

/* Closed after an error: the next attempt is due a little later. */
static void lost(struct hai_link *link) {
    uint64_t jitter = hai_random() % (uint64_t) (link->backoff / 2 + 1);

    hai_link_close(link);

    if (!link->told) {
        hai_log(HAI_LOG_ERROR, "redis (%s): %s", link->name, link->error);
        link->told = true;
    }

    link->next = hai_now_monotonic() + (uint64_t) link->backoff + jitter;
    link->backoff =
        hai_redis_pause(link->conf, link->backoff, BACKOFF_MIN, BACKOFF_MAX);
}

bool hai_link_up(struct hai_link *link) {
    struct timeval timeout = {HAI_LINK_TIMEOUT / 1000,
                              HAI_LINK_TIMEOUT % 1000 * 1000};

    if (link->c != NULL) {
        return true;
    }
    if (hai_now_monotonic() < link->next) {
        return false;
    }

    link->c = hai_redis_connect(link->conf, link->name, link->error,
                                sizeof(link->error));
    if (link->c == NULL) {
        lost(link);
        return false;
    }
    if (redisSetTimeout(link->c, timeout) != REDIS_OK) {
        snprintf(link->error, sizeof(link->error), "%s", link->c->errstr);
        lost(link);
        return false;
    }

    return true;
}

unsigned hai_link_pause(const struct hai_link *link) {
    uint64_t now = hai_now_monotonic();

    return link->next > now ? (unsigned) (link->next - now) : 0;
}

int hai_link_send(struct hai_link *link, const struct hai_args *args) {
    if (link->c == NULL) {
        return -1;
    }
    if (args->failed
        || redisAppendCommandArgv(link->c, (int) args->n,
                                  (const char **) args->word, args->len)
               != REDIS_OK)
    {
        snprintf(link->error, sizeof(link->error), "no memory");
        lost(link);
        return -1;
    }
    return 0;
}

bool hai_link_beat(struct hai_link *link) {
    if (link->c != NULL
        && hai_redis_beat(link->c, link->conf, link->error, sizeof(link->error))
               != 0)
    {
        lost(link);
        return false;
    }
    return true;
}

redisReply *hai_link_read(struct hai_link *link) {
    redisReply *reply = NULL;

    if (link->c == NULL) {
        return NULL;
    }

    if (redisGetReply(link->c, (void **) &reply) != REDIS_OK || reply == NULL) {
        snprintf(link->error, sizeof(link->error), "%s", link->c->errstr);
        lost(link);
        return NULL;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        snprintf(link->error, sizeof(link->error), "%s", reply->str);
        freeReplyObject(reply);
        reply = NULL;

        if (hai_redis_elsewhere(link->error)) {
            lost(link);
            return NULL;
        }
    }

    if (link->told) {
        hai_log(HAI_LOG_WARN, "redis (%s): connected again", link->name);
        link->told = false;
    }
    link->backoff = BACKOFF_MIN;
    return reply;
}

redisReply *hai_link_call(struct hai_link *link, const struct hai_args *args) {
    if (hai_link_send(link, args) != 0) {
        return NULL;
    }
    return hai_link_read(link);
}
