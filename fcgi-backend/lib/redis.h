/*
 * Redis for the programs: hiredis' blocking calls with a time-out on each.
 * One connection belongs to one thread.
 */

#ifndef HAI_REDIS_H
#define HAI_REDIS_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>

/* What --redis says, in the words of the directive hoody_ai_redis:
 * "unix:/path" or "host:port", then db=, user=, password_file=,
 * connect_timeout=, max_stale=, separated by spaces. */
struct hai_redis_conf {
    char *path; /* NULL: TCP */
    char *host;
    int port;
    int db;
    char *user;
    char *password_file;
    long connect_timeout_ms; /* 1000 */
    long max_stale_ms;       /* 5000 */
};

#define HAI_REDIS_DEFAULT "127.0.0.1:6379"

/* 0; or -1 with a message in error (size bytes). */
int hai_redis_conf_parse(struct hai_redis_conf *conf, const char *text,
                         char *error, size_t size);
void hai_redis_conf_free(struct hai_redis_conf *conf);

/*
 * Connects, logs in (the password file is read each time, so that it can be
 * replaced), selects the db and makes sure that it is a master.  NULL with a
 * message in error.  The caller frees it with redisFree().
 */
redisContext *hai_redis_connect(const struct hai_redis_conf *conf,
                                const char *client_name, char *error,
                                size_t size);

/* A reply that is no error; NULL otherwise, with a message in error.  The
 * connection is of no use any more where c->err is set.  freeReplyObject(). */
redisReply *hai_redis_command(redisContext *c, char *error, size_t size,
                              const char *format, ...);

/*
 * Turns the connection into a change feed of keys with these prefixes
 * (CLIENT TRACKING ... BCAST redirected to itself, then SUBSCRIBE).  0 or -1.
 */
int hai_redis_feed_start(redisContext *c, const char *const *prefixes, size_t n,
                         char *error, size_t size);

/*
 * Waits for a change, at most timeout_ms.  1: *keys has the keys that changed
 * (an array reply), or *keys is NULL, all of them may have; 0: nothing
 * happened; -1: the connection is lost.  Heartbeats (PING, when nothing came
 * for a while) are its own affair.
 */
int hai_redis_feed_wait(redisContext *c, int timeout_ms, redisReply **keys,
                        char *error, size_t size);

#endif
