/* What the files of redis.h share. */

#ifndef HAI_REDIS_INTERNAL_H
#define HAI_REDIS_INTERNAL_H

#include "redis.h"

/* redis_conf.c.  A name, or with port 0 a path; 0, or -1 for what is neither. */
int hai_redis_address_set(struct hai_redis_address *address, const char *name,
                          int port);
void hai_redis_address_text(const struct hai_redis_address *address, char *text,
                            size_t size);
bool hai_redis_address_equal(const struct hai_redis_address *a,
                             const struct hai_redis_address *b);

/* redis_find.c. */
struct hai_redis_known *hai_redis_known_new(const struct hai_redis_conf *conf);
void hai_redis_known_free(struct hai_redis_known *known);

/* With Sentinel or Cluster: a connection to the master, as hai_redis_connect()
 * gives it. */
redisContext *hai_redis_find(const struct hai_redis_conf *conf,
                             const char *client_name, char *error, size_t size);

/*
 * redis.c.  The steps to a connection: reach it, log in (no file: not at all),
 * enter: select the db, name the client and make sure that it is the master.
 */
redisContext *hai_redis_reach(const struct hai_redis_conf *conf,
                              const struct hai_redis_address *address,
                              char *error, size_t size);
int hai_redis_log_in(redisContext *c, const char *user, const char *file,
                     char *error, size_t size);
int hai_redis_enter(redisContext *c, const struct hai_redis_conf *conf,
                    const char *client_name, char *error, size_t size);

/* The reply if it is no error, or NULL with a message. */
redisReply *hai_redis_checked(redisContext *c, redisReply *reply, char *error,
                              size_t size);

int64_t hai_redis_now_ms(void);

#endif
