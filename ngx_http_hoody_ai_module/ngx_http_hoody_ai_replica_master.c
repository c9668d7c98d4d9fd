
/*
 * Which server the replica follows, when that may change: asks the endpoint,
 * tries whether the server still takes writes, and looks now and then whether
 * another one has become the master.
 *
 * A master that was cut off goes on answering reads.  What tells it from the
 * real one is a write, which it refuses with NOREPLICAS.
 */


#include "ngx_http_hoody_ai_replica_core.h"


/* what could not be read because its slot is being moved is tried again */
#define NGX_HTTP_HOODY_AI_RETRY      100

/* most time between two looks at Sentinel; else half of max_stale */
#define NGX_HTTP_HOODY_AI_CHECK_MAX  2000


static void ngx_http_hoody_ai_replica_found(void *data, ngx_addr_t *addr);
static void ngx_http_hoody_ai_replica_not_found(void *data, ngx_str_t *cause);
static void ngx_http_hoody_ai_replica_probed(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static void ngx_http_hoody_ai_replica_check_handler(ngx_event_t *ev);
static void ngx_http_hoody_ai_replica_checked(void *data, ngx_addr_t *addr);
static void ngx_http_hoody_ai_replica_not_checked(void *data,
    ngx_str_t *cause);
static void ngx_http_hoody_ai_replica_retry_handler(ngx_event_t *ev);
static void ngx_http_hoody_ai_replica_replicas(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);


void
ngx_http_hoody_ai_replica_master_init(ngx_http_hoody_ai_replica_t *rep)
{
    rep->ask.found = ngx_http_hoody_ai_replica_found;
    rep->ask.failed = ngx_http_hoody_ai_replica_not_found;
    rep->ask.data = rep;

    rep->check.found = ngx_http_hoody_ai_replica_checked;
    rep->check.failed = ngx_http_hoody_ai_replica_not_checked;
    rep->check.data = rep;

    ngx_http_hoody_ai_replica_timer(rep, &rep->check_timer,
                                    ngx_http_hoody_ai_replica_check_handler);
    ngx_http_hoody_ai_replica_timer(rep, &rep->retry_timer,
                                    ngx_http_hoody_ai_replica_retry_handler);

    if (rep->conf->mode != NGX_HTTP_HOODY_AI_FIXED) {
        rep->data_peer.error = ngx_http_hoody_ai_replica_error;
    }
}


/* connection lost, or the end: nothing of this file is under way any more */

void
ngx_http_hoody_ai_replica_master_stop(ngx_http_hoody_ai_replica_t *rep)
{
    ngx_http_hoody_ai_endpoint_cancel(&rep->ask);
    ngx_http_hoody_ai_endpoint_cancel(&rep->check);

    if (rep->check_timer.timer_set) {
        ngx_del_timer(&rep->check_timer);
    }

    if (rep->retry_timer.timer_set) {
        ngx_del_timer(&rep->retry_timer);
    }

    rep->unreadable = 0;
}


void
ngx_http_hoody_ai_replica_connect(ngx_event_t *ev)
{
    ngx_http_hoody_ai_replica_t  *rep;

    rep = ev->data;

    rep->state = NGX_HTTP_HOODY_AI_CONNECTING;

    ngx_http_hoody_ai_endpoint_find(rep->endpoint, &rep->ask, rep->doubt);

    /* until a load from there has succeeded */

    rep->doubt = 1;
}


static void
ngx_http_hoody_ai_replica_found(void *data, ngx_addr_t *addr)
{
    ngx_str_t                     cause;
    ngx_http_hoody_ai_replica_t  *rep = data;

    ngx_http_hoody_ai_address_copy(&rep->address, addr);

    rep->data_peer.addr = &rep->address.addr;
    rep->feed_peer.addr = &rep->address.addr;

    rep->unproved = (rep->conf->mode != NGX_HTTP_HOODY_AI_FIXED);
    rep->lonely = 0;

    /* both handshakes are answered later than this */

    rep->next_proof = ngx_current_msec;

    rep->data = ngx_http_hoody_ai_redis_open(&rep->data_peer);

    if (rep->data) {
        rep->feed = ngx_http_hoody_ai_redis_open(&rep->feed_peer);
    }

    if (rep->feed == NULL) {
        ngx_str_set(&cause, "no memory for a connection");
        ngx_http_hoody_ai_replica_down(rep, &cause);
    }
}


static void
ngx_http_hoody_ai_replica_not_found(void *data, ngx_str_t *cause)
{
    ngx_http_hoody_ai_replica_t  *rep = data;

    rep->address.addr.name.len = 0;

    ngx_http_hoody_ai_replica_down(rep, cause);
}


/* in front of the load, which proves nothing while the answer is missing */

ngx_int_t
ngx_http_hoody_ai_replica_master_begin(ngx_http_hoody_ai_replica_t *rep)
{
    if (rep->conf->mode == NGX_HTTP_HOODY_AI_FIXED) {
        return NGX_OK;
    }

    if (rep->conf->mode == NGX_HTTP_HOODY_AI_SENTINEL) {
        ngx_add_timer(&rep->check_timer,
                      ngx_min(rep->conf->max_stale / 2,
                              NGX_HTTP_HOODY_AI_CHECK_MAX));
    }

    return ngx_http_hoody_ai_replica_probe(rep,
                                           ngx_http_hoody_ai_replica_probed);
}


/*
 * A write that changes nothing: the stream of events never expires.  Other
 * than XADD it is not refused for want of memory.
 */

ngx_int_t
ngx_http_hoody_ai_replica_probe(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_redis_reply_pt handler)
{
    ngx_str_t  argv[2];

    ngx_str_set(&argv[0], "PERSIST");
    argv[1] = rep->stream;

    return ngx_http_hoody_ai_redis_send(rep->data, handler, NULL, 2, argv);
}


static void
ngx_http_hoody_ai_replica_probed(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    ngx_http_hoody_ai_replica_t  *rep = data;

    if (reply && reply->type == NGX_HTTP_HOODY_AI_REDIS_INTEGER) {
        rep->unproved = 0;
    }
}


/* a full load from there has succeeded */

void
ngx_http_hoody_ai_replica_master_loaded(ngx_http_hoody_ai_replica_t *rep)
{
    ngx_str_t  argv[2];

    rep->doubt = 0;

    if (rep->conf->mode == NGX_HTTP_HOODY_AI_FIXED) {
        return;
    }

    if (rep->master.addr.socklen == 0
        || !ngx_http_hoody_ai_address_same(&rep->master.addr,
                                           &rep->address.addr))
    {
        if (rep->master.addr.socklen) {
            rep->switches++;
        }

        ngx_http_hoody_ai_address_copy(&rep->master, &rep->address.addr);

        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "hoody_ai: redis %V: the master is %V",
                      &rep->conf->name, &rep->master.addr.name);
    }

    if (rep->conf->mode != NGX_HTTP_HOODY_AI_SENTINEL
        || rep->warned_replicas
        || ngx_worker != 0)
    {
        return;
    }

    ngx_str_set(&argv[0], "INFO");
    ngx_str_set(&argv[1], "replication");

    if (ngx_http_hoody_ai_redis_send(rep->data,
                                     ngx_http_hoody_ai_replica_replicas, NULL,
                                     2, argv)
        != NGX_OK)
    {
        ngx_http_hoody_ai_redis_abort(rep->data, "cannot send INFO");
    }
}


/* the line is there only where min-replicas-to-write is set */

static void
ngx_http_hoody_ai_replica_replicas(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    u_char                       *last;
    ngx_http_hoody_ai_replica_t  *rep = data;

    if (reply == NULL || reply->type != NGX_HTTP_HOODY_AI_REDIS_STRING) {
        return;
    }

    last = reply->str.data + reply->str.len;

    if (ngx_strlcasestrn(reply->str.data, last,
                         (u_char *) "min_slaves_good_slaves:",
                         sizeof("min_slaves_good_slaves:") - 2)
        != NULL)
    {
        return;
    }

    rep->warned_replicas = 1;

    ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                  "hoody_ai: redis %V: min-replicas-to-write is 0 on %V, "
                  "a master that was cut off would not be noticed",
                  &rep->conf->name, &rep->master.addr.name);
}


/* an error reply on the data connection, whatever it was an answer to */

void
ngx_http_hoody_ai_replica_error(void *data,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    ngx_http_hoody_ai_replica_t  *rep = data;

    if (ngx_http_hoody_ai_redis_is_error(reply, "MOVED")) {
        ngx_http_hoody_ai_endpoint_moved(rep->endpoint, reply);
        rep->doubt = 0;
        ngx_http_hoody_ai_redis_abort(rep->data,
                                      "the keys have moved to another node");
        return;
    }

    if (ngx_http_hoody_ai_redis_is_error(reply, "READONLY")) {
        ngx_http_hoody_ai_redis_abort(rep->data,
                                      "the server is not a master any more");
        return;
    }

    if (ngx_http_hoody_ai_redis_is_error(reply, "ASK")
        || ngx_http_hoody_ai_redis_is_error(reply, "TRYAGAIN")
        || ngx_http_hoody_ai_redis_is_error(reply, "CLUSTERDOWN"))
    {
        rep->unreadable = 1;
    }
}


/*
 * Reads were refused.  While the slot of the keys is on its way to another
 * node this passes: what was wanted is read again a little later, and NGX_OK
 * is returned.
 */

ngx_int_t
ngx_http_hoody_ai_replica_retry(ngx_http_hoody_ai_replica_t *rep)
{
    if (!rep->unreadable) {
        return NGX_DECLINED;
    }

    rep->unreadable = 0;
    rep->gate_asked = 0;
    rep->list_asked = 0;

    if (!rep->retry_timer.timer_set) {
        ngx_add_timer(&rep->retry_timer, NGX_HTTP_HOODY_AI_RETRY);
    }

    return NGX_OK;
}


static void
ngx_http_hoody_ai_replica_retry_handler(ngx_event_t *ev)
{
    ngx_http_hoody_ai_replica_t  *rep;

    rep = ev->data;

    ngx_http_hoody_ai_replica_post_handler(&rep->post);
}


void
ngx_http_hoody_ai_replica_check(ngx_http_hoody_ai_replica_t *rep)
{
    ngx_http_hoody_ai_endpoint_find(rep->endpoint, &rep->check, 1);
}


static void
ngx_http_hoody_ai_replica_check_handler(ngx_event_t *ev)
{
    ngx_http_hoody_ai_replica_t  *rep;

    rep = ev->data;

    ngx_http_hoody_ai_replica_check(rep);
}


static void
ngx_http_hoody_ai_replica_checked(void *data, ngx_addr_t *addr)
{
    ngx_http_hoody_ai_replica_t  *rep = data;

    if (!ngx_http_hoody_ai_address_same(&rep->address.addr, addr)) {
        rep->doubt = 0;
        ngx_http_hoody_ai_redis_abort(rep->data, "there is another master");
        return;
    }

    ngx_http_hoody_ai_replica_not_checked(rep, NULL);
}


/* without a sentinel the master goes on serving */

static void
ngx_http_hoody_ai_replica_not_checked(void *data, ngx_str_t *cause)
{
    ngx_http_hoody_ai_replica_t  *rep = data;

    if (rep->conf->mode == NGX_HTTP_HOODY_AI_SENTINEL) {
        ngx_add_timer(&rep->check_timer,
                      ngx_min(rep->conf->max_stale / 2,
                              NGX_HTTP_HOODY_AI_CHECK_MAX));
    }
}
