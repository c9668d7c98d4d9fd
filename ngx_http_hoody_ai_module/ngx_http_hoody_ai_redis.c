
/*
 * A pipelined Redis connection of a worker, see ngx_http_hoody_ai_redis.h.
 * Runs in workers only, on the event loop, and never blocks.
 *
 * Trouble is stored as a cause and the end of the connection is posted, so
 * that closed() is never called from within a caller's own function.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_connect.h>
#include <hiredis/hiredis.h>
#include "ngx_http_hoody_ai_redis.h"


#define NGX_HTTP_HOODY_AI_REDIS_CHUNK    16384
#define NGX_HTTP_HOODY_AI_REDIS_OUTPUT   16384

/* of one reply during the handshake, where all of them are short */
#define NGX_HTTP_HOODY_AI_REDIS_BYTES    65536
#define NGX_HTTP_HOODY_AI_REDIS_ELEMENTS 4096

/* chunks read before other events of the worker get their turn */
#define NGX_HTTP_HOODY_AI_REDIS_TURN     16


typedef struct {
    ngx_http_hoody_ai_redis_reply_pt   handler;
    void                              *arg;
} ngx_http_hoody_ai_redis_waiter_t;


struct ngx_http_hoody_ai_redis_s {
    ngx_http_hoody_ai_redis_peer_t    *peer;
    ngx_connection_t                  *connection;
    redisReader                       *reader;

    /* has to lie where ngx_connection_t has its fd: timers print it */
    ngx_socket_t                       ident;

    ngx_log_t                          log;
    ngx_event_t                        timer;
    ngx_event_t                        post;     /* output or the end */

    /* waiters: a ring, its size is a power of two */
    ngx_http_hoody_ai_redis_waiter_t  *ring;
    ngx_uint_t                         size;
    ngx_uint_t                         head;
    ngx_uint_t                         outstanding;

    u_char                            *out;
    size_t                             out_size;
    size_t                             out_pos;
    size_t                             out_last;

    /* since the last complete reply */
    size_t                             bytes;
    ngx_http_hoody_ai_redis_ceiling_t  ceiling;

    ngx_str_t                          run_id;
    u_char                             run_id_data[64];

    ngx_str_t                          cause;
    u_char                             cause_data[256];

    unsigned                           connecting:1;
    unsigned                           ready:1;
    unsigned                           failing:1;  /* closed() is posted */
    unsigned                           closed:1;
    unsigned                           busy:1;     /* handlers run */
    unsigned                           secret:1;   /* output has a password */
    unsigned                           keep:1;     /* the handler has it */
};


enum {
    NGX_HTTP_HOODY_AI_REDIS_AUTH = 0,
    NGX_HTTP_HOODY_AI_REDIS_SELECT,
    NGX_HTTP_HOODY_AI_REDIS_ROLE,
    NGX_HTTP_HOODY_AI_REDIS_INFO,
    NGX_HTTP_HOODY_AI_REDIS_PING
};


static void ngx_http_hoody_ai_redis_connect(ngx_http_hoody_ai_redis_t *rc);
static void ngx_http_hoody_ai_redis_connected(ngx_http_hoody_ai_redis_t *rc);
static void ngx_http_hoody_ai_redis_handshake(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static ngx_int_t ngx_http_hoody_ai_redis_set_run_id(
    ngx_http_hoody_ai_redis_t *rc, ngx_http_hoody_ai_redis_reply_t *reply);
static ngx_int_t ngx_http_hoody_ai_redis_queue(ngx_http_hoody_ai_redis_t *rc,
    ngx_http_hoody_ai_redis_reply_pt handler, void *arg, ngx_uint_t argc,
    ngx_str_t *argv);
static void ngx_http_hoody_ai_redis_queued(ngx_http_hoody_ai_redis_t *rc,
    ngx_http_hoody_ai_redis_reply_pt handler, void *arg);
static ngx_int_t ngx_http_hoody_ai_redis_reserve(ngx_http_hoody_ai_redis_t *rc,
    size_t len);
static ngx_int_t ngx_http_hoody_ai_redis_reserve_waiter(
    ngx_http_hoody_ai_redis_t *rc);
static void ngx_http_hoody_ai_redis_read_handler(ngx_event_t *rev);
static void ngx_http_hoody_ai_redis_write_handler(ngx_event_t *wev);
static void ngx_http_hoody_ai_redis_timer_handler(ngx_event_t *ev);
static void ngx_http_hoody_ai_redis_post_handler(ngx_event_t *ev);
static void ngx_http_hoody_ai_redis_flush(ngx_http_hoody_ai_redis_t *rc);
static void ngx_http_hoody_ai_redis_parse(ngx_http_hoody_ai_redis_t *rc);
static void ngx_http_hoody_ai_redis_dispatch(ngx_http_hoody_ai_redis_t *rc,
    ngx_http_hoody_ai_redis_reply_t *reply);
static void ngx_http_hoody_ai_redis_fail(ngx_http_hoody_ai_redis_t *rc,
    ngx_err_t err, const char *text);
static void ngx_http_hoody_ai_redis_fail_reply(ngx_http_hoody_ai_redis_t *rc,
    const char *command, ngx_http_hoody_ai_redis_reply_t *reply,
    ngx_uint_t brief);
static void ngx_http_hoody_ai_redis_shut(ngx_http_hoody_ai_redis_t *rc);
static void ngx_http_hoody_ai_redis_free(ngx_http_hoody_ai_redis_t *rc);


ngx_http_hoody_ai_redis_t *
ngx_http_hoody_ai_redis_open(ngx_http_hoody_ai_redis_peer_t *peer)
{
    ngx_http_hoody_ai_redis_t  *rc;

    rc = calloc(1, sizeof(ngx_http_hoody_ai_redis_t));
    if (rc == NULL) {
        return NULL;
    }

    rc->peer = peer;
    rc->ident = (ngx_socket_t) -1;

    rc->ceiling.max = NGX_HTTP_HOODY_AI_REDIS_ELEMENTS;

    rc->reader = ngx_http_hoody_ai_redis_reader(&rc->ceiling);
    if (rc->reader == NULL) {
        free(rc);
        return NULL;
    }

    /*
     * Core logs each failed connect() and recv() on its own, which for a
     * server that is away means a line per attempt and worker: only alerts
     * pass, the rest is told by the owner from the cause.
     */

    rc->log = *ngx_cycle->log;
    rc->log.log_level = ngx_min(rc->log.log_level, NGX_LOG_ALERT);

    rc->timer.handler = ngx_http_hoody_ai_redis_timer_handler;
    rc->timer.data = rc;
    rc->timer.log = &rc->log;
    rc->timer.cancelable = 1;

    rc->post.handler = ngx_http_hoody_ai_redis_post_handler;
    rc->post.data = rc;
    rc->post.log = &rc->log;

    ngx_http_hoody_ai_redis_connect(rc);

    return rc;
}


static void
ngx_http_hoody_ai_redis_connect(ngx_http_hoody_ai_redis_t *rc)
{
    ngx_int_t               n;
    ngx_connection_t       *c;
    ngx_peer_connection_t   pc;

    ngx_memzero(&pc, sizeof(ngx_peer_connection_t));

    pc.sockaddr = rc->peer->addr->sockaddr;
    pc.socklen = rc->peer->addr->socklen;
    pc.name = &rc->peer->addr->name;
    pc.get = ngx_event_get_peer;
    pc.log = &rc->log;
    pc.log_error = NGX_ERROR_ERR;
    pc.so_keepalive = 1;

    ngx_set_errno(0);

    n = ngx_event_connect_peer(&pc);

    if (n != NGX_OK && n != NGX_AGAIN) {
        ngx_http_hoody_ai_redis_fail(rc, ngx_errno, "connect() failed");
        return;
    }

    c = pc.connection;

    c->data = rc;
    c->read->handler = ngx_http_hoody_ai_redis_read_handler;
    c->write->handler = ngx_http_hoody_ai_redis_write_handler;
    c->read->cancelable = 1;
    c->write->cancelable = 1;

    rc->connection = c;
    rc->connecting = 1;

    ngx_add_timer(&rc->timer, rc->peer->connect_timeout);

    if (n == NGX_OK) {
        ngx_http_hoody_ai_redis_connected(rc);
    }
}


static void
ngx_http_hoody_ai_redis_connected(ngx_http_hoody_ai_redis_t *rc)
{
    u_char                           db[NGX_INT_T_LEN];
    ngx_str_t                        argv[3];
    ngx_uint_t                       n;
    ngx_http_hoody_ai_redis_peer_t  *peer;

    peer = rc->peer;
    rc->connecting = 0;

    if (peer->addr->sockaddr->sa_family != AF_UNIX) {
        /* the failure to set it costs latency only, and is logged */
        (void) ngx_tcp_nodelay(rc->connection);
    }

    if (peer->user.len || peer->password.len) {
        ngx_str_set(&argv[0], "AUTH");
        n = 1;

        if (peer->user.len) {
            argv[n++] = peer->user;
        }

        argv[n++] = peer->password;

        rc->secret = 1;

        if (ngx_http_hoody_ai_redis_queue(rc,
                                     ngx_http_hoody_ai_redis_handshake,
                                     (void *) NGX_HTTP_HOODY_AI_REDIS_AUTH,
                                     n, argv)
            != NGX_OK)
        {
            goto failed;
        }
    }

    if (peer->any) {
        ngx_str_set(&argv[0], "PING");

        if (ngx_http_hoody_ai_redis_queue(rc,
                                     ngx_http_hoody_ai_redis_handshake,
                                     (void *) NGX_HTTP_HOODY_AI_REDIS_PING,
                                     1, argv)
            != NGX_OK)
        {
            goto failed;
        }

        return;
    }

    ngx_str_set(&argv[0], "SELECT");
    argv[1].data = db;
    argv[1].len = ngx_sprintf(db, "%i", peer->db) - db;

    if (ngx_http_hoody_ai_redis_queue(rc, ngx_http_hoody_ai_redis_handshake,
                                      (void *) NGX_HTTP_HOODY_AI_REDIS_SELECT,
                                      2, argv)
        != NGX_OK)
    {
        goto failed;
    }

    ngx_str_set(&argv[0], "ROLE");

    if (ngx_http_hoody_ai_redis_queue(rc, ngx_http_hoody_ai_redis_handshake,
                                      (void *) NGX_HTTP_HOODY_AI_REDIS_ROLE,
                                      1, argv)
        != NGX_OK)
    {
        goto failed;
    }

    ngx_str_set(&argv[0], "INFO");
    ngx_str_set(&argv[1], "server");

    if (ngx_http_hoody_ai_redis_queue(rc, ngx_http_hoody_ai_redis_handshake,
                                      (void *) NGX_HTTP_HOODY_AI_REDIS_INFO,
                                      2, argv)
        != NGX_OK)
    {
        goto failed;
    }

    return;

failed:

    ngx_http_hoody_ai_redis_fail(rc, 0, "no memory for the handshake");
}


static void
ngx_http_hoody_ai_redis_handshake(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    ngx_http_hoody_ai_redis_t  *rc = data;

    if (reply == NULL || rc->failing) {
        return;
    }

    switch ((uintptr_t) arg) {

    case NGX_HTTP_HOODY_AI_REDIS_AUTH:

        if (!ngx_http_hoody_ai_redis_is(reply, "OK")) {
            /* an unknown command's error repeats its arguments */
            ngx_http_hoody_ai_redis_fail_reply(rc, "AUTH", reply, 1);
        }

        return;

    case NGX_HTTP_HOODY_AI_REDIS_SELECT:

        if (!ngx_http_hoody_ai_redis_is(reply, "OK")) {
            ngx_http_hoody_ai_redis_fail_reply(rc, "SELECT", reply, 0);
        }

        return;

    case NGX_HTTP_HOODY_AI_REDIS_ROLE:

        if (!ngx_http_hoody_ai_redis_is_master(reply)) {
            ngx_http_hoody_ai_redis_fail_reply(rc, "ROLE", reply, 0);
        }

        return;

    case NGX_HTTP_HOODY_AI_REDIS_PING:

        if (!ngx_http_hoody_ai_redis_is(reply, "PONG")) {
            ngx_http_hoody_ai_redis_fail_reply(rc, "PING", reply, 0);
            return;
        }

        break;

    default: /* NGX_HTTP_HOODY_AI_REDIS_INFO */

        if (ngx_http_hoody_ai_redis_set_run_id(rc, reply) != NGX_OK) {
            ngx_http_hoody_ai_redis_fail_reply(rc, "INFO", reply, 0);
            return;
        }
    }

    rc->ready = 1;
    rc->ceiling.max = rc->peer->max_elements;
    ngx_del_timer(&rc->timer);

    rc->peer->ready(rc->peer->data);
}


static ngx_int_t
ngx_http_hoody_ai_redis_set_run_id(ngx_http_hoody_ai_redis_t *rc,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    u_char  *p, *last, *start;

    if (reply->type != NGX_HTTP_HOODY_AI_REDIS_STRING) {
        return NGX_ERROR;
    }

    last = reply->str.data + reply->str.len;

    p = ngx_strlcasestrn(reply->str.data, last, (u_char *) "run_id:", 6);
    if (p == NULL) {
        return NGX_ERROR;
    }

    start = p + sizeof("run_id:") - 1;

    for (p = start; p < last && *p > ' '; p++) { /* void */ }

    if (p == start || (size_t) (p - start) > sizeof(rc->run_id_data)) {
        return NGX_ERROR;
    }

    rc->run_id.data = rc->run_id_data;
    rc->run_id.len = p - start;
    ngx_memcpy(rc->run_id_data, start, rc->run_id.len);

    return NGX_OK;
}


ngx_int_t
ngx_http_hoody_ai_redis_send(ngx_http_hoody_ai_redis_t *rc,
    ngx_http_hoody_ai_redis_reply_pt handler, void *arg, ngx_uint_t argc,
    ngx_str_t *argv)
{
    if (!rc->ready || rc->failing || rc->closed) {
        return NGX_ERROR;
    }

    return ngx_http_hoody_ai_redis_queue(rc, handler, arg, argc, argv);
}


static ngx_int_t
ngx_http_hoody_ai_redis_queue(ngx_http_hoody_ai_redis_t *rc,
    ngx_http_hoody_ai_redis_reply_pt handler, void *arg, ngx_uint_t argc,
    ngx_str_t *argv)
{
    char        *cmd;
    size_t       lens[NGX_HTTP_HOODY_AI_REDIS_ARGS];
    long long    len;
    ngx_int_t    rv;
    ngx_uint_t   i;
    const char  *args[NGX_HTTP_HOODY_AI_REDIS_ARGS];

    if (argc == 0 || argc > NGX_HTTP_HOODY_AI_REDIS_ARGS) {
        return NGX_ERROR;
    }

    for (i = 0; i < argc; i++) {
        args[i] = (char *) argv[i].data;
        lens[i] = argv[i].len;
    }

    if (ngx_http_hoody_ai_redis_reserve_waiter(rc) != NGX_OK) {
        return NGX_ERROR;
    }

    len = redisFormatCommandArgv(&cmd, (int) argc, args, lens);
    if (len < 0) {
        return NGX_ERROR;
    }

    rv = ngx_http_hoody_ai_redis_reserve(rc, (size_t) len);

    if (rv == NGX_OK) {
        ngx_memcpy(rc->out + rc->out_last, cmd, (size_t) len);
        rc->out_last += (size_t) len;
    }

    if (rc->secret && !rc->ready) {
        ngx_explicit_memzero(cmd, (size_t) len);
    }

    redisFreeCommand(cmd);

    if (rv != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_http_hoody_ai_redis_queued(rc, handler, arg);

    return NGX_OK;
}


ngx_int_t
ngx_http_hoody_ai_redis_send_formatted(ngx_http_hoody_ai_redis_t *rc,
    ngx_http_hoody_ai_redis_reply_pt handler, void *arg, ngx_uint_t n,
    ngx_str_t *pieces)
{
    size_t      len;
    u_char     *p;
    ngx_uint_t  i;

    if (!rc->ready || rc->failing || rc->closed) {
        return NGX_ERROR;
    }

    len = 0;

    for (i = 0; i < n; i++) {
        len += pieces[i].len;
    }

    if (ngx_http_hoody_ai_redis_reserve_waiter(rc) != NGX_OK
        || ngx_http_hoody_ai_redis_reserve(rc, len) != NGX_OK)
    {
        return NGX_ERROR;
    }

    p = rc->out + rc->out_last;

    for (i = 0; i < n; i++) {
        p = ngx_cpymem(p, pieces[i].data, pieces[i].len);
    }

    rc->out_last += len;

    ngx_http_hoody_ai_redis_queued(rc, handler, arg);

    return NGX_OK;
}


/* a command has been added to the output; room for its waiter was reserved */

static void
ngx_http_hoody_ai_redis_queued(ngx_http_hoody_ai_redis_t *rc,
    ngx_http_hoody_ai_redis_reply_pt handler, void *arg)
{
    ngx_http_hoody_ai_redis_waiter_t  *waiter;

    waiter = &rc->ring[(rc->head + rc->outstanding) & (rc->size - 1)];
    waiter->handler = handler;
    waiter->arg = arg;

    if (rc->outstanding++ == 0 && rc->ready) {
        ngx_add_timer(&rc->timer, rc->peer->reply_timeout);
    }

    ngx_post_event(&rc->post, &ngx_posted_events);
}


static ngx_int_t
ngx_http_hoody_ai_redis_reserve(ngx_http_hoody_ai_redis_t *rc, size_t len)
{
    u_char  *p;
    size_t   size, unsent;

    if (rc->out_size - rc->out_last >= len) {
        return NGX_OK;
    }

    unsent = rc->out_last - rc->out_pos;

    if (len > rc->peer->max_output || unsent > rc->peer->max_output - len) {
        return NGX_ERROR;
    }

    /* moving is worth it only when it makes much room */

    if (rc->out_size - unsent >= len && rc->out_pos >= rc->out_size / 2) {
        ngx_memmove(rc->out, rc->out + rc->out_pos, unsent);
        rc->out_pos = 0;
        rc->out_last = unsent;
        return NGX_OK;
    }

    size = rc->out_size ? rc->out_size : NGX_HTTP_HOODY_AI_REDIS_OUTPUT;

    while (size - unsent < len) {
        size *= 2;
    }

    p = malloc(size);
    if (p == NULL) {
        return NGX_ERROR;
    }

    if (rc->out) {
        ngx_memcpy(p, rc->out + rc->out_pos, unsent);

        if (rc->secret) {
            ngx_explicit_memzero(rc->out, rc->out_last);
        }

        free(rc->out);
    }

    rc->out = p;
    rc->out_size = size;
    rc->out_pos = 0;
    rc->out_last = unsent;

    return NGX_OK;
}


static ngx_int_t
ngx_http_hoody_ai_redis_reserve_waiter(ngx_http_hoody_ai_redis_t *rc)
{
    ngx_uint_t                         i, size;
    ngx_http_hoody_ai_redis_waiter_t  *ring;

    if (rc->outstanding >= rc->peer->max_outstanding) {
        return NGX_ERROR;
    }

    if (rc->outstanding < rc->size) {
        return NGX_OK;
    }

    size = rc->size ? rc->size * 2 : 64;

    ring = malloc(size * sizeof(ngx_http_hoody_ai_redis_waiter_t));
    if (ring == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < rc->outstanding; i++) {
        ring[i] = rc->ring[(rc->head + i) & (rc->size - 1)];
    }

    free(rc->ring);

    rc->ring = ring;
    rc->size = size;
    rc->head = 0;

    return NGX_OK;
}


static void
ngx_http_hoody_ai_redis_read_handler(ngx_event_t *rev)
{
    u_char                      buf[NGX_HTTP_HOODY_AI_REDIS_CHUNK];
    ssize_t                     n;
    ngx_uint_t                  turn;
    ngx_connection_t           *c;
    ngx_http_hoody_ai_redis_t  *rc;

    c = rev->data;
    rc = c->data;

    if (rc->failing || rc->connecting) {
        return;
    }

    for (turn = 0; turn < NGX_HTTP_HOODY_AI_REDIS_TURN; turn++) {

        ngx_set_errno(0);

        n = c->recv(c, buf, sizeof(buf));

        if (n == NGX_AGAIN) {

            if (ngx_handle_read_event(rev, 0) != NGX_OK) {
                ngx_http_hoody_ai_redis_fail(rc, 0, "cannot wait for input");
            }

            return;
        }

        if (n == NGX_ERROR) {
            ngx_http_hoody_ai_redis_fail(rc, ngx_errno, "recv() failed");
            return;
        }

        if (n == 0) {
            ngx_http_hoody_ai_redis_fail(rc, 0,
                                         "the server closed the connection");
            return;
        }

        rc->bytes += n;

        if (rc->ready && rc->outstanding) {
            ngx_add_timer(&rc->timer, rc->peer->reply_timeout);
        }

        if (redisReaderFeed(rc->reader, (char *) buf, n) != REDIS_OK) {
            ngx_http_hoody_ai_redis_fail(rc, 0, "no memory for input");
            return;
        }

        rc->busy = 1;
        ngx_http_hoody_ai_redis_parse(rc);
        rc->busy = 0;

        if (rc->closed) {
            ngx_http_hoody_ai_redis_free(rc);
            return;
        }

        if (rc->failing) {
            return;
        }
    }

    /* with edge-triggered events the rest would not be announced again */

    ngx_post_event(rev, &ngx_posted_next_events);
}


static void
ngx_http_hoody_ai_redis_parse(ngx_http_hoody_ai_redis_t *rc)
{
    void    *reply;
    size_t   max;

    for ( ;; ) {
        reply = NULL;

        if (redisReaderGetReply(rc->reader, &reply) != REDIS_OK) {
            ngx_http_hoody_ai_redis_fail(rc, 0,
                                   rc->ceiling.hit
                                       ? "a reply has too many elements"
                                       : "broken reply");
            return;
        }

        if (reply == NULL) {

            max = rc->ready ? rc->peer->max_reply
                            : NGX_HTTP_HOODY_AI_REDIS_BYTES;

            if (rc->bytes > max) {
                ngx_http_hoody_ai_redis_fail(rc, 0, "a reply is too long");
            }

            return;
        }

        rc->bytes = 0;
        rc->ceiling.elements = 0;

        rc->keep = 0;
        rc->peer->heard++;

        ngx_http_hoody_ai_redis_dispatch(rc, reply);

        if (!rc->keep) {
            ngx_http_hoody_ai_redis_free_reply(reply);
        }

        if (rc->closed || rc->failing) {
            return;
        }
    }
}


static void
ngx_http_hoody_ai_redis_dispatch(ngx_http_hoody_ai_redis_t *rc,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    void                              *data;
    ngx_http_hoody_ai_redis_waiter_t   waiter;

    if (rc->peer->message
        && reply->type == NGX_HTTP_HOODY_AI_REDIS_ARRAY
        && reply->n == 3
        && ngx_http_hoody_ai_redis_is(reply->element[0], "message"))
    {
        rc->peer->message(rc->peer->data, reply);
        return;
    }

    if (rc->outstanding == 0) {
        ngx_http_hoody_ai_redis_fail_reply(rc, "nothing", reply, 0);
        return;
    }

    waiter = rc->ring[rc->head];
    rc->head = (rc->head + 1) & (rc->size - 1);

    if (--rc->outstanding == 0 && rc->ready && rc->timer.timer_set) {
        ngx_del_timer(&rc->timer);
    }

    if (rc->ready
        && rc->peer->error
        && reply->type == NGX_HTTP_HOODY_AI_REDIS_ERROR)
    {
        rc->peer->error(rc->peer->data, reply);
    }

    if (waiter.handler == NULL) {
        return;
    }

    data = (waiter.handler == ngx_http_hoody_ai_redis_handshake)
               ? rc : rc->peer->data;

    waiter.handler(data, waiter.arg, reply);
}


static void
ngx_http_hoody_ai_redis_write_handler(ngx_event_t *wev)
{
    int                         err;
    socklen_t                   len;
    ngx_connection_t           *c;
    ngx_http_hoody_ai_redis_t  *rc;

    c = wev->data;
    rc = c->data;

    if (rc->failing) {
        return;
    }

    if (rc->connecting) {
        err = 0;
        len = sizeof(int);

        if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, (void *) &err, &len)
            == -1)
        {
            err = ngx_socket_errno;
        }

        if (err) {
            ngx_http_hoody_ai_redis_fail(rc, err, "connect() failed");
            return;
        }

        ngx_http_hoody_ai_redis_connected(rc);
        return;
    }

    ngx_http_hoody_ai_redis_flush(rc);
}


static void
ngx_http_hoody_ai_redis_flush(ngx_http_hoody_ai_redis_t *rc)
{
    ssize_t            n;
    ngx_connection_t  *c;

    c = rc->connection;

    while (rc->out_pos < rc->out_last) {

        if (!c->write->ready) {
            break;
        }

        ngx_set_errno(0);

        n = c->send(c, rc->out + rc->out_pos, rc->out_last - rc->out_pos);

        if (n == NGX_ERROR) {
            ngx_http_hoody_ai_redis_fail(rc, ngx_errno, "send() failed");
            return;
        }

        if (n == NGX_AGAIN || n == 0) {
            break;
        }

        rc->out_pos += n;
    }

    if (rc->out_pos == rc->out_last) {

        if (rc->secret) {
            ngx_explicit_memzero(rc->out, rc->out_last);
            rc->secret = 0;
        }

        rc->out_pos = 0;
        rc->out_last = 0;

        /* a load or an outage may have blown it up */

        if (rc->out_size > 16 * NGX_HTTP_HOODY_AI_REDIS_OUTPUT) {
            free(rc->out);
            rc->out = NULL;
            rc->out_size = 0;
        }
    }

    /*
     * A unix socket is writable anew, which is an event where events are
     * edge-triggered, each time that Redis has read a command: a wake-up per
     * round trip for nothing.  Reading stays edge-triggered.
     */

    if ((ngx_event_flags & NGX_USE_CLEAR_EVENT)
        && c->write->active
        && rc->out_pos == rc->out_last)
    {
        if (ngx_del_event(c->write, NGX_WRITE_EVENT, NGX_CLEAR_EVENT)
            != NGX_OK)
        {
            ngx_http_hoody_ai_redis_fail(rc, 0, "cannot wait for input");
        }

        return;
    }

    if (ngx_handle_write_event(c->write, 0) != NGX_OK) {
        ngx_http_hoody_ai_redis_fail(rc, 0, "cannot wait for output");
    }
}


static void
ngx_http_hoody_ai_redis_timer_handler(ngx_event_t *ev)
{
    ngx_http_hoody_ai_redis_t  *rc;

    rc = ev->data;

    if (rc->connecting) {
        ngx_http_hoody_ai_redis_fail(rc, NGX_ETIMEDOUT, "connect() failed");
        return;
    }

    ngx_http_hoody_ai_redis_fail(rc, 0,
                                 rc->ready ? "no answer in time"
                                           : "no answer to the handshake");
}


static void
ngx_http_hoody_ai_redis_post_handler(ngx_event_t *ev)
{
    ngx_str_t                        cause;
    ngx_http_hoody_ai_redis_t       *rc;
    ngx_http_hoody_ai_redis_peer_t  *peer;

    rc = ev->data;

    if (!rc->failing) {

        if (!rc->connecting) {
            ngx_http_hoody_ai_redis_flush(rc);
        }

        return;
    }

    peer = rc->peer;
    cause = rc->cause;

    rc->busy = 1;
    ngx_http_hoody_ai_redis_shut(rc);
    rc->busy = 0;

    peer->closed(peer->data, &cause);

    ngx_http_hoody_ai_redis_free(rc);
}


void
ngx_http_hoody_ai_redis_abort(ngx_http_hoody_ai_redis_t *rc, const char *cause)
{
    if (!rc->closed) {
        ngx_http_hoody_ai_redis_fail(rc, 0, cause);
    }
}


void
ngx_http_hoody_ai_redis_close(ngx_http_hoody_ai_redis_t *rc)
{
    if (rc->closed) {
        return;
    }

    ngx_http_hoody_ai_redis_shut(rc);

    if (!rc->busy) {
        ngx_http_hoody_ai_redis_free(rc);
    }
}


static void
ngx_http_hoody_ai_redis_fail(ngx_http_hoody_ai_redis_t *rc, ngx_err_t err,
    const char *text)
{
    u_char  *p, *last;

    if (rc->failing) {
        return;
    }

    rc->failing = 1;

    p = rc->cause_data;
    last = p + sizeof(rc->cause_data);

    p = ngx_slprintf(p, last, "%s", text);

    if (err) {
        p = ngx_slprintf(p, last, " (%d: ", err);
        p = ngx_strerror(err, p, last - p);
        p = ngx_slprintf(p, last, ")");
    }

    rc->cause.data = rc->cause_data;
    rc->cause.len = p - rc->cause_data;

    ngx_post_event(&rc->post, &ngx_posted_events);
}


/* "brief": the first word of an error, which is its code, and no more */

static void
ngx_http_hoody_ai_redis_fail_reply(ngx_http_hoody_ai_redis_t *rc,
    const char *command, ngx_http_hoody_ai_redis_reply_t *reply,
    ngx_uint_t brief)
{
    u_char  *p, *last, *src, *end;

    if (rc->failing) {
        return;
    }

    ngx_http_hoody_ai_redis_fail(rc, 0, "unexpected answer to ");

    p = rc->cause_data + rc->cause.len;
    last = rc->cause_data + sizeof(rc->cause_data);

    p = ngx_slprintf(p, last, "%s", command);

    if (reply->type == NGX_HTTP_HOODY_AI_REDIS_ERROR) {
        p = ngx_slprintf(p, last, ": ");

        src = reply->str.data;
        end = src + ngx_min(reply->str.len, 128);

        while (src < end && p < last) {

            if (brief && *src == ' ') {
                break;
            }

            *p++ = (*src < 0x20 || *src > 0x7e) ? '?' : *src;
            src++;
        }
    }

    rc->cause.len = p - rc->cause_data;
}


/* ends the connection; the memory stays */

static void
ngx_http_hoody_ai_redis_shut(ngx_http_hoody_ai_redis_t *rc)
{
    void                              *data;
    ngx_uint_t                         busy;
    ngx_http_hoody_ai_redis_waiter_t   waiter;

    rc->closed = 1;
    rc->ready = 0;
    rc->peer->heard++;

    if (rc->timer.timer_set) {
        ngx_del_timer(&rc->timer);
    }

    if (rc->post.posted) {
        ngx_delete_posted_event(&rc->post);
    }

    if (rc->connection) {
        ngx_close_connection(rc->connection);
        rc->connection = NULL;
    }

    busy = rc->busy;
    rc->busy = 1;

    while (rc->outstanding) {
        waiter = rc->ring[rc->head];
        rc->head = (rc->head + 1) & (rc->size - 1);
        rc->outstanding--;

        if (waiter.handler) {
            data = (waiter.handler == ngx_http_hoody_ai_redis_handshake)
                       ? rc : rc->peer->data;
            waiter.handler(data, waiter.arg, NULL);
        }
    }

    rc->busy = busy;
}


static void
ngx_http_hoody_ai_redis_free(ngx_http_hoody_ai_redis_t *rc)
{
    if (rc->out) {

        if (rc->secret) {
            ngx_explicit_memzero(rc->out, rc->out_last);
        }

        free(rc->out);
    }

    redisReaderFree(rc->reader);
    free(rc->ring);
    free(rc);
}


void
ngx_http_hoody_ai_redis_keep(ngx_http_hoody_ai_redis_t *rc)
{
    rc->keep = 1;
}


ngx_uint_t
ngx_http_hoody_ai_redis_outstanding(ngx_http_hoody_ai_redis_t *rc)
{
    return rc->outstanding;
}


ngx_str_t *
ngx_http_hoody_ai_redis_run_id(ngx_http_hoody_ai_redis_t *rc)
{
    return &rc->run_id;
}
