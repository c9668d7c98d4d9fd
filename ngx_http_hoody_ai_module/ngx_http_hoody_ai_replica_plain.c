
/*
 * Reads that belong together: a MULTI, or the same without one.
 *
 * An answer comes over the data connection and can be here before the
 * invalidations that Redis sent before it over the feed.  So answers are kept
 * until the feed has answered a PING that was sent behind the last of them:
 * whatever had been written when they were read has been announced by then, and
 * the handler knows which of them are of no use.
 *
 * A Redis 7 that is out of memory refuses all commands inside of a MULTI, reads
 * too, but answers them outside.  Then the commands are sent as they are, and
 * what is written between two of the reads is announced in the same way.  The
 * next heartbeat goes back to MULTI.
 */


#include "ngx_http_hoody_ai_replica_core.h"


typedef struct {
    ngx_queue_t                        queue;
    ngx_http_hoody_ai_redis_reply_pt   handler;
    void                              *arg;
    ngx_http_hoody_ai_redis_reply_t    all;       /* an array, as of EXEC */
    ngx_uint_t                         got;
    ngx_uint_t                         multi;     /* flag: "all" holds one,
                                                     the answer to EXEC */
    ngx_uint_t                         refused;   /* flag: no memory */
} ngx_http_hoody_ai_gather_t;


static void ngx_http_hoody_ai_replica_queued(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static void ngx_http_hoody_ai_replica_part(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static void ngx_http_hoody_ai_replica_gathered(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static void ngx_http_hoody_ai_replica_gather_end(
    ngx_http_hoody_ai_replica_t *rep, ngx_http_hoody_ai_gather_t *gather,
    ngx_http_hoody_ai_redis_reply_t *reply);


ngx_int_t
ngx_http_hoody_ai_replica_multi(ngx_http_hoody_ai_replica_t *rep)
{
    ngx_str_t                    argv[1];
    ngx_http_hoody_ai_gather_t  *gather;

    rep->gather = NULL;

    gather = calloc(1, sizeof(ngx_http_hoody_ai_gather_t));
    if (gather == NULL) {
        return NGX_ERROR;
    }

    gather->all.type = NGX_HTTP_HOODY_AI_REDIS_ARRAY;
    gather->multi = !rep->plain;
    ngx_queue_insert_tail(&rep->gathers, &gather->queue);

    rep->gather = gather;

    if (!gather->multi) {
        return NGX_OK;
    }

    ngx_str_set(&argv[0], "MULTI");

    return ngx_http_hoody_ai_redis_send(rep->data, NULL, NULL, 1, argv);
}


ngx_int_t
ngx_http_hoody_ai_replica_send(ngx_http_hoody_ai_replica_t *rep,
    ngx_uint_t argc, ngx_str_t *argv)
{
    ngx_http_hoody_ai_gather_t  *gather;

    gather = rep->gather;

    return ngx_http_hoody_ai_redis_send(rep->data,
                                        gather->multi
                                            ? ngx_http_hoody_ai_replica_queued
                                            : ngx_http_hoody_ai_replica_part,
                                        gather, argc, argv);
}


ngx_int_t
ngx_http_hoody_ai_replica_exec(ngx_http_hoody_ai_replica_t *rep, ngx_uint_t n,
    ngx_http_hoody_ai_redis_reply_pt handler, void *arg)
{
    ngx_str_t                    argv[1];
    ngx_http_hoody_ai_gather_t  *gather;

    gather = rep->gather;
    rep->gather = NULL;

    if (gather->multi) {
        n = 1;
    }

    gather->all.element = calloc(n, sizeof(ngx_http_hoody_ai_redis_reply_t *));
    if (gather->all.element == NULL) {
        return NGX_ERROR;
    }

    if (gather->multi) {
        ngx_str_set(&argv[0], "EXEC");

        if (ngx_http_hoody_ai_redis_send(rep->data,
                                         ngx_http_hoody_ai_replica_part,
                                         gather, 1, argv)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    gather->all.n = n;
    gather->handler = handler;
    gather->arg = arg;

    return NGX_OK;
}


static void
ngx_http_hoody_ai_replica_queued(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    ngx_http_hoody_ai_gather_t  *gather = arg;

    if (reply
        && reply->type == NGX_HTTP_HOODY_AI_REDIS_ERROR
        && reply->str.len >= sizeof("OOM ") - 1
        && ngx_memcmp(reply->str.data, "OOM ", sizeof("OOM ") - 1) == 0)
    {
        gather->refused = 1;
    }
}


static void
ngx_http_hoody_ai_replica_part(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    ngx_str_t                     argv[1];
    ngx_http_hoody_ai_gather_t   *gather = arg;
    ngx_http_hoody_ai_replica_t  *rep = data;

    if (reply == NULL) {
        return;
    }

    /* one that was not sent whole: its connection is given up */

    if (gather->got == gather->all.n) {
        return;
    }

    ngx_http_hoody_ai_redis_keep(rep->data);
    gather->all.element[gather->got++] = reply;

    if (gather->got < gather->all.n) {
        return;
    }

    ngx_str_set(&argv[0], "PING");

    if (ngx_http_hoody_ai_redis_send(rep->feed,
                                     ngx_http_hoody_ai_replica_gathered,
                                     gather, 1, argv)
        != NGX_OK)
    {
        ngx_http_hoody_ai_redis_abort(rep->data, "cannot ask the feed");
    }
}


static void
ngx_http_hoody_ai_replica_gathered(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    ngx_http_hoody_ai_gather_t   *gather = arg;
    ngx_http_hoody_ai_replica_t  *rep = data;

    if (reply == NULL) {
        return;
    }

    if (reply->type == NGX_HTTP_HOODY_AI_REDIS_ERROR) {
        ngx_http_hoody_ai_redis_abort(rep->feed, "unexpected answer to PING");
        return;
    }

    ngx_http_hoody_ai_replica_gather_end(rep, gather,
                                         gather->multi ? gather->all.element[0]
                                                       : &gather->all);
}


static void
ngx_http_hoody_ai_replica_gather_end(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_gather_t *gather, ngx_http_hoody_ai_redis_reply_t *reply)
{
    ngx_uint_t  i;

    ngx_queue_remove(&gather->queue);

    rep->refused = gather->refused;

    if (gather->handler) {
        gather->handler(rep, gather->arg, reply);
    }

    for (i = 0; i < gather->got; i++) {
        ngx_http_hoody_ai_redis_free_reply(gather->all.element[i]);
    }

    free(gather->all.element);
    free(gather);
}


/* both connections are closed: what was asked will not be answered */

void
ngx_http_hoody_ai_replica_gather_stop(ngx_http_hoody_ai_replica_t *rep)
{
    ngx_queue_t  *q;

    while (!ngx_queue_empty(&rep->gathers)) {
        q = ngx_queue_head(&rep->gathers);

        ngx_http_hoody_ai_replica_gather_end(rep,
                           ngx_queue_data(q, ngx_http_hoody_ai_gather_t, queue),
                           NULL);
    }

    rep->gather = NULL;
    rep->plain = 0;
    rep->refused = 0;
}


ngx_uint_t
ngx_http_hoody_ai_replica_refused(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    if (reply->type != NGX_HTTP_HOODY_AI_REDIS_ERROR || !rep->refused) {
        return 0;
    }

    rep->refused = 0;
    rep->plain = 1;

    ngx_http_hoody_ai_replica_warn(rep, NULL, "is out of memory");

    return 1;
}
