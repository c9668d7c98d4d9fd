
/*
 * One connection to Redis on the worker's event loop: nginx owns socket and
 * timers, hiredis is the codec.  RESP2 only.  Knows nothing of the registry.
 */


#ifndef _NGX_HTTP_HOODY_AI_REDIS_H_INCLUDED_
#define _NGX_HTTP_HOODY_AI_REDIS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_hoody_ai_redis_reply.h"


/* most arguments of one command */
#define NGX_HTTP_HOODY_AI_REDIS_ARGS  1024


typedef struct ngx_http_hoody_ai_redis_s  ngx_http_hoody_ai_redis_t;


/*
 * Called once for every command, in the order of the commands.  The reply is
 * freed on return.  It is NULL when the connection was lost or closed before
 * the answer: then only "arg" may be released, no command may be sent.
 */
typedef void (*ngx_http_hoody_ai_redis_reply_pt)(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);


typedef struct {
    ngx_addr_t   *addr;
    ngx_str_t     name;                /* for log lines */
    ngx_int_t     db;
    ngx_str_t     user;                /* both empty: no AUTH */
    ngx_str_t     password;
    ngx_msec_t    connect_timeout;     /* until ready */
    ngx_msec_t    reply_timeout;       /* without a byte while one is due */
    size_t        max_reply;           /* bytes of one reply */
    size_t        max_output;          /* bytes waiting to be sent */
    ngx_uint_t    max_elements;        /* of all arrays in one reply */
    ngx_uint_t    max_outstanding;     /* commands without an answer */

    /* the handshake is done: commands may be sent */
    void        (*ready)(void *data);

    /*
     * The connection is gone, "cause" says why (no secret in it, not to be
     * kept).  Called once and from the event loop only, never from within a
     * function of this header; not called after ..._redis_close().
     */
    void        (*closed)(void *data, ngx_str_t *cause);

    /*
     * An error reply to any command but those of the handshake, before the
     * command's own handler.  May be NULL.
     */
    void        (*error)(void *data, ngx_http_hoody_ai_redis_reply_t *reply);

    /* a pub/sub message; NULL: a message is a protocol error */
    void        (*message)(void *data, ngx_http_hoody_ai_redis_reply_t *reply);

    void         *data;

    /* rises with each reply and when the connection is lost, before the call */
    ngx_uint_t    heard;

    /*
     * Not only a master will do, and there may be no databases: AUTH and PING
     * are the handshake, and there is no run_id.
     */
    unsigned      any:1;
} ngx_http_hoody_ai_redis_peer_t;


/*
 * Starts to connect.  "peer" stays owned by the caller and must outlive the
 * connection.  NULL without memory; every other failure, also an immediate
 * one, comes through closed().
 */
ngx_http_hoody_ai_redis_t *ngx_http_hoody_ai_redis_open(
    ngx_http_hoody_ai_redis_peer_t *peer);

/*
 * Closes and frees the connection.  The handlers of commands that wait are
 * called with NULL.  May be called from within any handler.
 */
void ngx_http_hoody_ai_redis_close(ngx_http_hoody_ai_redis_t *rc);

/*
 * Gives the connection up: closed() follows with this cause before control
 * returns to the event loop's wait.
 */
void ngx_http_hoody_ai_redis_abort(ngx_http_hoody_ai_redis_t *rc,
    const char *cause);

/*
 * Queues a command; it is sent before control returns to the event loop's
 * wait.  "handler" may be NULL: the reply is dropped.  NGX_ERROR: over a
 * ceiling, without memory or not ready; nothing was queued, the connection
 * stays as it is and "handler" will not be called.
 */
ngx_int_t ngx_http_hoody_ai_redis_send(ngx_http_hoody_ai_redis_t *rc,
    ngx_http_hoody_ai_redis_reply_pt handler, void *arg, ngx_uint_t argc,
    ngx_str_t *argv);

/*
 * The same for a command that is in the form of the protocol already, in n
 * pieces.  They are copied, and have to make exactly one command.
 */
ngx_int_t ngx_http_hoody_ai_redis_send_formatted(
    ngx_http_hoody_ai_redis_t *rc, ngx_http_hoody_ai_redis_reply_pt handler,
    void *arg, ngx_uint_t n, ngx_str_t *pieces);

/*
 * Called by a handler for the reply that it was given: the reply is its own
 * from then on, to be freed with ..._free_reply().
 */
void ngx_http_hoody_ai_redis_keep(ngx_http_hoody_ai_redis_t *rc);

/* commands without an answer */
ngx_uint_t ngx_http_hoody_ai_redis_outstanding(ngx_http_hoody_ai_redis_t *rc);

/* of the server; known once the connection to a master is ready */
ngx_str_t *ngx_http_hoody_ai_redis_run_id(ngx_http_hoody_ai_redis_t *rc);


#endif /* _NGX_HTTP_HOODY_AI_REDIS_H_INCLUDED_ */
