/*
 * Redis for the programs: hiredis' blocking calls with a time-out on each.
 * One connection belongs to one thread.  redis_conf.c reads --redis,
 * redis_find.c finds the master, redis.c has the connection, redis_feed.c the
 * change feed.
 */

#ifndef HAI_REDIS_H
#define HAI_REDIS_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HAI_REDIS_ADDRESSES 16 /* in --redis */

struct hai_redis_address {
    char name[256]; /* of the host, or its address; or a path */
    int port;       /* 0: a path */
};

enum hai_redis_mode {
    HAI_REDIS_FIXED,    /* one address */
    HAI_REDIS_SENTINEL, /* addresses of sentinels, which know the master */
    HAI_REDIS_CLUSTER   /* addresses of nodes, which know each other */
};

struct hai_redis_known;

/*
 * What --redis says, in the words of the directive hoody_ai_redis: addresses,
 * each "unix:/path" or "host:port", and sentinel=, cluster=on, db=, user=,
 * password_file=, sentinel_user=, sentinel_password_file=, connect_timeout=,
 * max_stale=, separated by spaces.  Never changes; threads share it.
 */
struct hai_redis_conf {
    enum hai_redis_mode mode;
    struct hai_redis_address address[HAI_REDIS_ADDRESSES];
    size_t n;
    char *master; /* its name among the sentinels */
    int db;
    char *user;
    char *password_file;
    char *sentinel_user;
    char *sentinel_password_file;
    long connect_timeout_ms; /* 1000 */
    long max_stale_ms;       /* 5000 */

    /* of HAI_REDIS_SENTINEL and HAI_REDIS_CLUSTER */
    unsigned slot;
    char *events; /* key of the stream: where writing is tried */
    struct hai_redis_known *known; /* whom to ask; has a lock of its own */
};

#define HAI_REDIS_DEFAULT "127.0.0.1:6379"

/* For the keys of this server.  0; or -1 with a message in error (size bytes),
 * in which no value is repeated. */
int hai_redis_conf_parse(struct hai_redis_conf *conf, const char *text,
                         const char *server, char *error, size_t size);
void hai_redis_conf_free(struct hai_redis_conf *conf);

/*
 * Connects, logs in (the password file is read each time, so that it can be
 * replaced), selects the db and makes sure that it is a master.  With Sentinel
 * or Cluster the master is looked for first, and has to take writes.  NULL
 * with a message in error.  The caller frees it with redisFree().
 */
redisContext *hai_redis_connect(const struct hai_redis_conf *conf,
                                const char *client_name, char *error,
                                size_t size);

/*
 * Once a second: is this still the master, with enough replicas, and of the
 * slot?  0 where it is, and always with a fixed address; -1 with a message:
 * the connection should be closed, and a new one made.
 */
int hai_redis_beat(redisContext *c, const struct hai_redis_conf *conf,
                   char *error, size_t size);

/*
 * The pause before the next attempt, doubled from min to max.  With Sentinel
 * or Cluster it stays short: another server may be the master any moment.
 */
int hai_redis_pause(const struct hai_redis_conf *conf, int last_ms, int min_ms,
                    int max_ms);

/* Does an error reply say that another server is to be asked, or later? */
bool hai_redis_elsewhere(const char *error);

/* Do two connections lead to one server?  With a fixed address they do. */
bool hai_redis_same(const struct hai_redis_conf *conf, const redisContext *a,
                    const redisContext *b);

/* A reply that is no error; NULL otherwise, with a message in error.  The
 * connection is of no use any more where c->err is set.  freeReplyObject(). */
redisReply *hai_redis_command(redisContext *c, char *error, size_t size,
                              const char *format, ...);

/*
 * The members of a set, as SMEMBERS has them, in pieces: no command takes Redis
 * so long that others wait for it.  What comes or goes meanwhile may be there
 * or not, all others are.  NULL with a message in error ("WRONGTYPE ...": it is
 * no set).  freeReplyObject().
 */
redisReply *hai_redis_members(redisContext *c, const char *key, char *error,
                              size_t size);

/* Moves texts to those of all; 0, or -1: no memory, or no texts.  Then sorts
 * them, with each one once. */
int hai_redis_members_add(redisReply *all, redisReply *more);
void hai_redis_members_unique(redisReply *all);

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
