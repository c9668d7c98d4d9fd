
/*
 * Replies of Redis as objects, built by hiredis' reader.  Knows nothing of
 * the connection that they came over but the ceiling of their arrays.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <hiredis/hiredis.h>
#include "ngx_http_hoody_ai_compat.h"
#include "ngx_http_hoody_ai_redis_reply.h"


static void *ngx_http_hoody_ai_redis_create(const redisReadTask *task,
    ngx_http_hoody_ai_redis_type_e type, size_t len);
static void *ngx_http_hoody_ai_redis_create_string(const redisReadTask *task,
    char *str, size_t len);
static void *ngx_http_hoody_ai_redis_create_array(const redisReadTask *task,
    ngx_http_hoody_ai_hiredis_count_t n);
static void *ngx_http_hoody_ai_redis_create_integer(const redisReadTask *task,
    long long value);
static void *ngx_http_hoody_ai_redis_create_nil(const redisReadTask *task);


static redisReplyObjectFunctions  ngx_http_hoody_ai_redis_functions = {
    .createString = ngx_http_hoody_ai_redis_create_string,
    .createArray = ngx_http_hoody_ai_redis_create_array,
    .createInteger = ngx_http_hoody_ai_redis_create_integer,
    .createNil = ngx_http_hoody_ai_redis_create_nil,
    NGX_HTTP_HOODY_AI_HIREDIS_RESP3
    .freeObject = ngx_http_hoody_ai_redis_free_reply
};


redisReader *
ngx_http_hoody_ai_redis_reader(ngx_http_hoody_ai_redis_ceiling_t *ceiling)
{
    redisReader  *reader;

    reader = redisReaderCreateWithFunctions(
                                          &ngx_http_hoody_ai_redis_functions);
    if (reader == NULL) {
        return NULL;
    }

    reader->privdata = ceiling;

    return reader;
}


ngx_uint_t
ngx_http_hoody_ai_redis_is_master(ngx_http_hoody_ai_redis_reply_t *reply)
{
    return reply->type == NGX_HTTP_HOODY_AI_REDIS_ARRAY
           && reply->n > 0
           && ngx_http_hoody_ai_redis_is(reply->element[0], "master");
}


ngx_uint_t
ngx_http_hoody_ai_redis_is(ngx_http_hoody_ai_redis_reply_t *reply,
    const char *text)
{
    return (reply->type == NGX_HTTP_HOODY_AI_REDIS_STRING
            || reply->type == NGX_HTTP_HOODY_AI_REDIS_STATUS)
           && reply->str.len == ngx_strlen(text)
           && ngx_memcmp(reply->str.data, text, reply->str.len) == 0;
}


ngx_uint_t
ngx_http_hoody_ai_redis_is_error(ngx_http_hoody_ai_redis_reply_t *reply,
    const char *code)
{
    size_t  len;

    len = ngx_strlen(code);

    return reply->type == NGX_HTTP_HOODY_AI_REDIS_ERROR
           && reply->str.len >= len
           && ngx_memcmp(reply->str.data, code, len) == 0
           && (reply->str.len == len || reply->str.data[len] == ' ');
}


/* makes a reply with room for "len" bytes, in its place in the parent */

static void *
ngx_http_hoody_ai_redis_create(const redisReadTask *task,
    ngx_http_hoody_ai_redis_type_e type, size_t len)
{
    ngx_http_hoody_ai_redis_reply_t  *reply, *parent;

    reply = malloc(sizeof(ngx_http_hoody_ai_redis_reply_t) + len);
    if (reply == NULL) {
        return NULL;
    }

    ngx_memzero(reply, sizeof(ngx_http_hoody_ai_redis_reply_t));
    reply->type = type;

    if (task->parent) {
        parent = task->parent->obj;
        parent->element[task->idx] = reply;
    }

    return reply;
}


static void *
ngx_http_hoody_ai_redis_create_string(const redisReadTask *task, char *str,
    size_t len)
{
    ngx_http_hoody_ai_redis_type_e    type;
    ngx_http_hoody_ai_redis_reply_t  *reply;

    switch (task->type) {

    case REDIS_REPLY_STRING:
        type = NGX_HTTP_HOODY_AI_REDIS_STRING;
        break;

    case REDIS_REPLY_STATUS:
        type = NGX_HTTP_HOODY_AI_REDIS_STATUS;
        break;

    case REDIS_REPLY_ERROR:
        type = NGX_HTTP_HOODY_AI_REDIS_ERROR;
        break;

    default: /* RESP3 */
        return NULL;
    }

    reply = ngx_http_hoody_ai_redis_create(task, type, len);
    if (reply == NULL) {
        return NULL;
    }

    reply->str.data = (u_char *) (reply + 1);
    reply->str.len = len;
    ngx_memcpy(reply->str.data, str, len);

    return reply;
}


static void *
ngx_http_hoody_ai_redis_create_array(const redisReadTask *task,
    ngx_http_hoody_ai_hiredis_count_t n)
{
    ngx_uint_t                          count;
    ngx_http_hoody_ai_redis_reply_t    *reply;
    ngx_http_hoody_ai_redis_ceiling_t  *ceiling;

    ceiling = task->privdata;
    count = (ngx_uint_t) n;

    if (task->type != REDIS_REPLY_ARRAY) {
        return NULL;
    }

    /* the count is what the server announces, not what it has sent */

    if (ceiling->elements > ceiling->max
        || count > ceiling->max - ceiling->elements)
    {
        ceiling->hit = 1;
        return NULL;
    }

    reply = ngx_http_hoody_ai_redis_create(task, NGX_HTTP_HOODY_AI_REDIS_ARRAY,
                                           0);
    if (reply == NULL) {
        return NULL;
    }

    if (count) {
        reply->element = calloc(count,
                                sizeof(ngx_http_hoody_ai_redis_reply_t *));
        if (reply->element == NULL) {

            if (task->parent == NULL) {
                free(reply);
            }

            return NULL;
        }
    }

    reply->n = count;
    ceiling->elements += count;

    return reply;
}


static void *
ngx_http_hoody_ai_redis_create_integer(const redisReadTask *task,
    long long value)
{
    ngx_http_hoody_ai_redis_reply_t  *reply;

    reply = ngx_http_hoody_ai_redis_create(task,
                                           NGX_HTTP_HOODY_AI_REDIS_INTEGER, 0);
    if (reply == NULL) {
        return NULL;
    }

    reply->integer = value;

    return reply;
}


static void *
ngx_http_hoody_ai_redis_create_nil(const redisReadTask *task)
{
    return ngx_http_hoody_ai_redis_create(task, NGX_HTTP_HOODY_AI_REDIS_NIL,
                                          0);
}


void
ngx_http_hoody_ai_redis_free_reply(void *obj)
{
    ngx_uint_t                        i;
    ngx_http_hoody_ai_redis_reply_t  *reply;

    reply = obj;

    if (reply == NULL) {
        return;
    }

    for (i = 0; i < reply->n; i++) {
        ngx_http_hoody_ai_redis_free_reply(reply->element[i]);
    }

    free(reply->element);
    free(reply);
}
