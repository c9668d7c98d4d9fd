
/*
 * What Redis answers.
 */


#ifndef _NGX_HTTP_HOODY_AI_REDIS_REPLY_H_INCLUDED_
#define _NGX_HTTP_HOODY_AI_REDIS_REPLY_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


struct redisReader;


typedef struct ngx_http_hoody_ai_redis_reply_s  ngx_http_hoody_ai_redis_reply_t;


typedef enum {
    NGX_HTTP_HOODY_AI_REDIS_STRING = 0,
    NGX_HTTP_HOODY_AI_REDIS_STATUS,
    NGX_HTTP_HOODY_AI_REDIS_ERROR,
    NGX_HTTP_HOODY_AI_REDIS_INTEGER,
    NGX_HTTP_HOODY_AI_REDIS_NIL,
    NGX_HTTP_HOODY_AI_REDIS_ARRAY
} ngx_http_hoody_ai_redis_type_e;


struct ngx_http_hoody_ai_redis_reply_s {
    ngx_http_hoody_ai_redis_type_e      type;
    int64_t                             integer;
    ngx_str_t                           str;     /* STRING, STATUS, ERROR */
    ngx_uint_t                          n;       /* ARRAY */
    ngx_http_hoody_ai_redis_reply_t   **element; /* none of them is NULL */
};


/* of the arrays in one reply, nested ones included */

typedef struct {
    ngx_uint_t                          max;
    ngx_uint_t                          elements; /* so far; set to 0 after
                                                     each reply */
    ngx_uint_t                          hit;      /* flag: was reached */
} ngx_http_hoody_ai_redis_ceiling_t;


/* of hiredis; "ceiling" must outlive it.  NULL without memory */
struct redisReader *ngx_http_hoody_ai_redis_reader(
    ngx_http_hoody_ai_redis_ceiling_t *ceiling);

void ngx_http_hoody_ai_redis_free_reply(void *obj);

/* is the answer of ROLE that of a master? */
ngx_uint_t ngx_http_hoody_ai_redis_is_master(
    ngx_http_hoody_ai_redis_reply_t *reply);

/* a string or status of exactly these bytes? */
ngx_uint_t ngx_http_hoody_ai_redis_is(ngx_http_hoody_ai_redis_reply_t *reply,
    const char *text);

/* an error with this code, which is its first word? */
ngx_uint_t ngx_http_hoody_ai_redis_is_error(
    ngx_http_hoody_ai_redis_reply_t *reply, const char *code);


#endif /* _NGX_HTTP_HOODY_AI_REDIS_REPLY_H_INCLUDED_ */
