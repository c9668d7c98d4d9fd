
/*
 * The life of the replica: two connections that come and go together, the
 * heartbeat that dates what is known, and the decisions.  See
 * docs/internals/replica.md.  Runs in workers only.
 */


#include "ngx_http_hoody_ai_replica_core.h"


#define NGX_HTTP_HOODY_AI_BACKOFF_MIN   50
#define NGX_HTTP_HOODY_AI_BACKOFF_MAX   2000
#define NGX_HTTP_HOODY_AI_BACKOFF_HA    400

/* workers and gateways must not load all in the same moment */
#define NGX_HTTP_HOODY_AI_RELOAD_SPREAD 20

/* the same trouble is told again after this time */
#define NGX_HTTP_HOODY_AI_TELL_AGAIN    10000

#define NGX_HTTP_HOODY_AI_MAX_REPLY     (128 * 1024 * 1024)
#define NGX_HTTP_HOODY_AI_MAX_OUTPUT    (4 * 1024 * 1024)
#define NGX_HTTP_HOODY_AI_MAX_ELEMENTS  (1024 * 1024)
#define NGX_HTTP_HOODY_AI_MAX_COMMANDS  16384

/* containers of a registry given up that are freed in one go, each 1 ms */
#define NGX_HTTP_HOODY_AI_REAP          500

/* timers that wait for a far deadline look again after this time */
#define NGX_HTTP_HOODY_AI_FAR           3600000


static ngx_int_t ngx_http_hoody_ai_replica_keys(
    ngx_http_hoody_ai_replica_t *rep, ngx_str_t *server);

static void ngx_http_hoody_ai_replica_ready(void *data);
static void ngx_http_hoody_ai_replica_feed_id(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static void ngx_http_hoody_ai_replica_feed_tracking(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static void ngx_http_hoody_ai_replica_feed_subscribed(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static void ngx_http_hoody_ai_replica_feed_closed(void *data,
    ngx_str_t *cause);
static void ngx_http_hoody_ai_replica_data_closed(void *data,
    ngx_str_t *cause);

static void ngx_http_hoody_ai_replica_expire_handler(ngx_event_t *ev);
static void ngx_http_hoody_ai_replica_load_handler(ngx_event_t *ev);
static void ngx_http_hoody_ai_replica_scan_handler(ngx_event_t *ev);
static void ngx_http_hoody_ai_replica_sweep_handler(ngx_event_t *ev);
static void ngx_http_hoody_ai_replica_reap_handler(ngx_event_t *ev);

static ngx_http_hoody_ai_verdict_e ngx_http_hoody_ai_replica_find(
    ngx_http_hoody_ai_replica_t *rep, ngx_str_t *claim,
    ngx_http_hoody_ai_entry_t **entry);
static ngx_uint_t ngx_http_hoody_ai_replica_unsure(
    ngx_http_hoody_ai_replica_t *rep, u_char *name, size_t len,
    ngx_uint_t shared);


ngx_http_hoody_ai_replica_t *
ngx_http_hoody_ai_replica_start(ngx_cycle_t *cycle,
    ngx_http_hoody_ai_redis_conf_t *conf,
    ngx_http_hoody_ai_endpoint_t *endpoint, ngx_str_t *server,
    ngx_http_hoody_ai_replica_events_t *events)
{
    ngx_http_hoody_ai_replica_t     *rep;
    ngx_http_hoody_ai_redis_peer_t  *peer;

    rep = calloc(1, sizeof(ngx_http_hoody_ai_replica_t));
    if (rep == NULL) {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, 0,
                      "hoody_ai: no memory for the replica");
        return NULL;
    }

    rep->conf = conf;
    rep->endpoint = endpoint;
    rep->events = events;
    rep->ident = (ngx_socket_t) -1;

    /* 0 is the generation of what was never read */

    rep->gate = 1;
    rep->list = 1;
    rep->rules.generation = 1;
    rep->rules.written = 1;

    ngx_queue_init(&rep->queued);
    ngx_queue_init(&rep->swept);
    ngx_queue_init(&rep->absent);
    ngx_queue_init(&rep->gathers);

    if (ngx_http_hoody_ai_table_init(&rep->wants) != NGX_OK
        || ngx_http_hoody_ai_replica_keys(rep, server) != NGX_OK)
    {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, 0,
                      "hoody_ai: no memory for the replica");
        ngx_http_hoody_ai_table_done(&rep->wants);
        free(rep);
        return NULL;
    }

    rep->heartbeat = ngx_min(conf->max_stale / 5, 1000);
    rep->heartbeat = ngx_max(rep->heartbeat, 10);

    /* within max_stale there is time for a second try */

    /* nothing is proved yet */

    rep->proof = ngx_current_msec - conf->max_stale;

    rep->timeout = conf->max_stale * 3 / 5;
    rep->timeout = ngx_max(rep->timeout, 50);

    peer = &rep->data_peer;

    peer->name = conf->name;
    peer->db = conf->db;
    peer->user = conf->user;
    peer->password = conf->password;
    peer->connect_timeout = conf->connect_timeout;
    peer->reply_timeout = rep->timeout;
    peer->max_reply = NGX_HTTP_HOODY_AI_MAX_REPLY;
    peer->max_output = NGX_HTTP_HOODY_AI_MAX_OUTPUT;
    peer->max_elements = NGX_HTTP_HOODY_AI_MAX_ELEMENTS;
    peer->max_outstanding = NGX_HTTP_HOODY_AI_MAX_COMMANDS;
    peer->ready = ngx_http_hoody_ai_replica_ready;
    peer->closed = ngx_http_hoody_ai_replica_data_closed;
    peer->data = rep;

    rep->feed_peer = *peer;
    rep->feed_peer.closed = ngx_http_hoody_ai_replica_feed_closed;
    rep->feed_peer.message = ngx_http_hoody_ai_replica_message;

    ngx_http_hoody_ai_replica_timer(rep, &rep->connect_timer,
                                    ngx_http_hoody_ai_replica_connect);
    ngx_http_hoody_ai_replica_timer(rep, &rep->beat_timer,
                                    ngx_http_hoody_ai_replica_beat);
    ngx_http_hoody_ai_replica_timer(rep, &rep->stale_timer,
                                    ngx_http_hoody_ai_replica_stale_handler);
    ngx_http_hoody_ai_replica_timer(rep, &rep->expire_timer,
                                    ngx_http_hoody_ai_replica_expire_handler);
    ngx_http_hoody_ai_replica_timer(rep, &rep->load_timer,
                                    ngx_http_hoody_ai_replica_load_handler);
    ngx_http_hoody_ai_replica_timer(rep, &rep->scan_timer,
                                    ngx_http_hoody_ai_replica_scan_handler);
    ngx_http_hoody_ai_replica_timer(rep, &rep->sweep_timer,
                                    ngx_http_hoody_ai_replica_sweep_handler);
    ngx_http_hoody_ai_replica_timer(rep, &rep->reap_timer,
                                    ngx_http_hoody_ai_replica_reap_handler);
    ngx_http_hoody_ai_replica_timer(rep, &rep->post,
                                    ngx_http_hoody_ai_replica_post_handler);

    ngx_http_hoody_ai_replica_master_init(rep);

    ngx_http_hoody_ai_replica_connect(&rep->connect_timer);

    return rep;
}


void
ngx_http_hoody_ai_replica_timer(ngx_http_hoody_ai_replica_t *rep,
    ngx_event_t *ev, ngx_event_handler_pt handler)
{
    ev->handler = handler;
    ev->data = rep;
    ev->log = ngx_cycle->log;

    /* an exiting worker does not wait for it */

    ev->cancelable = 1;
}


static ngx_int_t
ngx_http_hoody_ai_replica_keys(ngx_http_hoody_ai_replica_t *rep,
    ngx_str_t *server)
{
    u_char      *p;
    size_t       len;
    ngx_uint_t   i;

    /* the longest is "hoody:{server}:container:*", escaped for SCAN */

    len = sizeof("hoody:{}:container:") + 2 * server->len;

    p = malloc(9 * len + HAI_NAME_MAX);
    if (p == NULL) {
        return NGX_ERROR;
    }

    rep->keys = p;

    rep->prefix.data = p;
    p = ngx_sprintf(p, "hoody:{%V}:", server);
    rep->prefix.len = p - rep->prefix.data;

    rep->container.data = p;
    p = ngx_sprintf(p, "%Vcontainer:", &rep->prefix);
    rep->container.len = p - rep->container.data;

    rep->containers.data = p;
    p = ngx_sprintf(p, "%Vcontainers", &rep->prefix);
    rep->containers.len = p - rep->containers.data;

    rep->enabled.data = p;
    p = ngx_sprintf(p, "%Vai:enabled", &rep->prefix);
    rep->enabled.len = p - rep->enabled.data;

    rep->generation.data = p;
    p = ngx_sprintf(p, "%Vgeneration", &rep->prefix);
    rep->generation.len = p - rep->generation.data;

    rep->stream.data = p;
    p = ngx_sprintf(p, "%Vevents", &rep->prefix);
    rep->stream.len = p - rep->stream.data;

    rep->overlay.data = p;
    p = ngx_sprintf(p, "%Vrules", &rep->prefix);
    rep->overlay.len = p - rep->overlay.data;

    rep->rules_epoch.data = p;
    p = ngx_sprintf(p, "%Vrules:epoch", &rep->prefix);
    rep->rules_epoch.len = p - rep->rules_epoch.data;

    rep->pattern.data = p;

    for (i = 0; i < rep->container.len; i++) {

        if (ngx_strchr("*?[]\\^-", rep->container.data[i])) {
            *p++ = '\\';
        }

        *p++ = rep->container.data[i];
    }

    *p++ = '*';
    rep->pattern.len = p - rep->pattern.data;

    rep->key = malloc(rep->container.len + HAI_NAME_MAX);
    if (rep->key == NULL) {
        free(rep->keys);
        return NGX_ERROR;
    }

    return NGX_OK;
}


void
ngx_http_hoody_ai_replica_stop(ngx_http_hoody_ai_replica_t *rep)
{
    ngx_uint_t    i;
    ngx_event_t  *timers[] = {
        &rep->connect_timer, &rep->beat_timer, &rep->stale_timer,
        &rep->expire_timer, &rep->load_timer, &rep->scan_timer,
        &rep->sweep_timer, &rep->reap_timer
    };

    if (rep->feed) {
        ngx_http_hoody_ai_redis_close(rep->feed);
    }

    if (rep->data) {
        ngx_http_hoody_ai_redis_close(rep->data);
    }

    ngx_http_hoody_ai_replica_gather_stop(rep);

    for (i = 0; i < sizeof(timers) / sizeof(timers[0]); i++) {
        if (timers[i]->timer_set) {
            ngx_del_timer(timers[i]);
        }
    }

    ngx_http_hoody_ai_replica_master_stop(rep);

    if (rep->post.posted) {
        ngx_delete_posted_event(&rep->post);
    }

    ngx_http_hoody_ai_registry_destroy(rep->reg);
    ngx_http_hoody_ai_registry_destroy(rep->fresh);
    (void) ngx_http_hoody_ai_registry_reap(&rep->retired, NGX_MAX_INT_T_VALUE);
    ngx_http_hoody_ai_replica_free_wants(rep);
    ngx_http_hoody_ai_claims_done(&rep->claims);

    free(rep->load.names);
    free(rep->keys);
    free(rep->key);
    free(rep);
}


/* one of the connections is; with both the feed is set up */

static void
ngx_http_hoody_ai_replica_ready(void *data)
{
    ngx_str_t                    *feed, *other, argv[2];
    ngx_http_hoody_ai_replica_t  *rep = data;

    feed = ngx_http_hoody_ai_redis_run_id(rep->feed);
    other = ngx_http_hoody_ai_redis_run_id(rep->data);

    if (feed->len == 0 || other->len == 0) {
        return;
    }

    if (feed->len != other->len
        || ngx_memcmp(feed->data, other->data, feed->len) != 0)
    {
        ngx_http_hoody_ai_redis_abort(rep->data,
                                      "two connections, two servers");
        return;
    }

    rep->state = NGX_HTTP_HOODY_AI_SUBSCRIBING;

    ngx_str_set(&argv[0], "CLIENT");
    ngx_str_set(&argv[1], "ID");

    if (ngx_http_hoody_ai_redis_send(rep->feed,
                                     ngx_http_hoody_ai_replica_feed_id, NULL,
                                     2, argv)
        != NGX_OK)
    {
        ngx_http_hoody_ai_redis_abort(rep->feed, "cannot send CLIENT ID");
    }
}


static void
ngx_http_hoody_ai_replica_feed_id(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    u_char                       *p, id[NGX_INT64_LEN];
    ngx_str_t                     argv[14];
    ngx_uint_t                    i, n;
    ngx_http_hoody_ai_replica_t  *rep = data;

    static ngx_str_t  suffixes[] = {
        ngx_string("ai:"),
        ngx_string("container"),
        ngx_string("rules"),
        ngx_string("limit:")
    };

    if (reply == NULL) {
        return;
    }

    if (reply->type != NGX_HTTP_HOODY_AI_REDIS_INTEGER) {
        ngx_http_hoody_ai_redis_abort(rep->feed,
                                      "unexpected answer to CLIENT ID");
        return;
    }

    /* tracking is redirected to the connection that it is set up on */

    ngx_str_set(&argv[0], "CLIENT");
    ngx_str_set(&argv[1], "TRACKING");
    ngx_str_set(&argv[2], "ON");
    ngx_str_set(&argv[3], "REDIRECT");
    argv[4].data = id;
    argv[4].len = ngx_sprintf(id, "%L", reply->integer) - id;
    ngx_str_set(&argv[5], "BCAST");

    n = 6;

    p = malloc(4 * (rep->prefix.len + sizeof("container")));
    if (p == NULL) {
        ngx_http_hoody_ai_redis_abort(rep->feed, "no memory for the feed");
        return;
    }

    argv[n].data = p;

    for (i = 0; i < 4; i++) {
        ngx_str_set(&argv[n], "PREFIX");
        n++;

        argv[n].data = (i == 0) ? p : argv[n - 2].data + argv[n - 2].len;
        argv[n].len = ngx_sprintf(argv[n].data, "%V%V", &rep->prefix,
                                  &suffixes[i])
                      - argv[n].data;
        n++;
    }

    if (ngx_http_hoody_ai_redis_send(rep->feed,
                                     ngx_http_hoody_ai_replica_feed_tracking,
                                     NULL, n, argv)
        != NGX_OK)
    {
        free(p);
        goto failed;
    }

    free(p);

    ngx_str_set(&argv[0], "SUBSCRIBE");
    ngx_str_set(&argv[1], "__redis__:invalidate");

    if (ngx_http_hoody_ai_redis_send(rep->feed,
                                    ngx_http_hoody_ai_replica_feed_subscribed,
                                    NULL, 2, argv)
        != NGX_OK)
    {
        goto failed;
    }

    return;

failed:

    ngx_http_hoody_ai_redis_abort(rep->feed, "cannot set up the feed");
}


static void
ngx_http_hoody_ai_replica_feed_tracking(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    ngx_http_hoody_ai_replica_t  *rep = data;

    if (reply && !ngx_http_hoody_ai_redis_is(reply, "OK")) {
        ngx_http_hoody_ai_redis_abort(rep->feed, "CLIENT TRACKING was refused");
    }
}


/* from here on no change is missed: load */

static void
ngx_http_hoody_ai_replica_feed_subscribed(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    ngx_http_hoody_ai_replica_t  *rep = data;

    if (reply == NULL) {
        return;
    }

    if (reply->type != NGX_HTTP_HOODY_AI_REDIS_ARRAY
        || reply->n != 3
        || !ngx_http_hoody_ai_redis_is(reply->element[0], "subscribe"))
    {
        ngx_http_hoody_ai_redis_abort(rep->feed, "SUBSCRIBE was refused");
        return;
    }

    ngx_memzero(&rep->beat, sizeof(rep->beat));
    ngx_add_timer(&rep->beat_timer, rep->heartbeat);

    if (ngx_http_hoody_ai_replica_master_begin(rep) != NGX_OK
        || ngx_http_hoody_ai_replica_load(rep) != NGX_OK)
    {
        ngx_http_hoody_ai_redis_abort(rep->data, "cannot start the load");
        return;
    }

    /* what was wanted when the connection was lost is wanted still */

    ngx_post_event(&rep->post, &ngx_posted_events);
}


static void
ngx_http_hoody_ai_replica_feed_closed(void *data, ngx_str_t *cause)
{
    ngx_http_hoody_ai_replica_t  *rep = data;

    rep->feed = NULL;

    ngx_http_hoody_ai_replica_down(rep, cause);
}


static void
ngx_http_hoody_ai_replica_data_closed(void *data, ngx_str_t *cause)
{
    ngx_http_hoody_ai_replica_t  *rep = data;

    rep->data = NULL;

    ngx_http_hoody_ai_replica_down(rep, cause);
}


/*
 * Feed and data fail together: one without the other proves nothing.  What is
 * known goes on answering until max_stale.
 */

void
ngx_http_hoody_ai_replica_down(ngx_http_hoody_ai_replica_t *rep,
    ngx_str_t *cause)
{
    uint32_t                    trouble;
    ngx_msec_t                  delay, max;
    const char                 *at;
    ngx_http_hoody_ai_redis_t  *rc;

    static ngx_str_t  empty = ngx_string("");

    rep->state = NGX_HTTP_HOODY_AI_DOWN;
    rep->current = 0;

    if (rep->feed) {
        rc = rep->feed;
        rep->feed = NULL;
        ngx_http_hoody_ai_redis_close(rc);
    }

    if (rep->data) {
        rc = rep->data;
        rep->data = NULL;
        ngx_http_hoody_ai_redis_close(rc);
    }

    ngx_http_hoody_ai_replica_gather_stop(rep);
    ngx_http_hoody_ai_replica_load_stop(rep);
    ngx_http_hoody_ai_replica_master_stop(rep);

    if (rep->beat_timer.timer_set) {
        ngx_del_timer(&rep->beat_timer);
    }

    trouble = ngx_http_hoody_ai_table_hash(cause->data, cause->len) | 1;

    if (trouble != rep->trouble
        || ngx_current_msec - rep->logged >= NGX_HTTP_HOODY_AI_TELL_AGAIN)
    {
        at = (rep->conf->mode != NGX_HTTP_HOODY_AI_FIXED
              && rep->address.addr.name.len) ? " at " : "";

        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "hoody_ai: redis %V%s%V: %V", &rep->conf->name, at,
                      *at ? &rep->address.addr.name : &empty, cause);

        rep->trouble = trouble;
        rep->logged = ngx_current_msec;
    }

    rep->reconnects++;

    if (rep->backoff == 0) {
        rep->backoff = NGX_HTTP_HOODY_AI_BACKOFF_MIN;
    }

    delay = rep->backoff / 2 + (ngx_msec_t) ngx_random() % rep->backoff;

    /* a failover takes a second or two: who waits for it looks often */

    max = (rep->conf->mode == NGX_HTTP_HOODY_AI_FIXED)
              ? NGX_HTTP_HOODY_AI_BACKOFF_MAX
              : NGX_HTTP_HOODY_AI_BACKOFF_HA;

    rep->backoff = ngx_min(rep->backoff * 2, max);

    ngx_add_timer(&rep->connect_timer, ngx_min(delay, max));
}


/*
 * Redis was emptied or exchanged: nothing that is known can be relied on.
 * Everything waits until a full load has succeeded.
 */

void
ngx_http_hoody_ai_replica_reload(ngx_http_hoody_ai_replica_t *rep,
    const char *cause)
{
    if (rep->state < NGX_HTTP_HOODY_AI_LOADING) {
        return;
    }

    ngx_http_hoody_ai_replica_load_stop(rep);

    rep->state = NGX_HTTP_HOODY_AI_LOADING;

    ngx_add_timer(&rep->load_timer,
                  1 + (ngx_msec_t) ngx_random()
                      % NGX_HTTP_HOODY_AI_RELOAD_SPREAD);

    if (!rep->blind) {
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "hoody_ai: redis %V: %s, loading again",
                      &rep->conf->name, cause);

        rep->blind = 1;

        if (rep->loaded) {
            ngx_http_hoody_ai_replica_all(rep);
        }
    }
}


static void
ngx_http_hoody_ai_replica_load_handler(ngx_event_t *ev)
{
    ngx_http_hoody_ai_replica_t  *rep;

    rep = ev->data;

    if (rep->state != NGX_HTTP_HOODY_AI_LOADING) {
        return;
    }

    if (ngx_http_hoody_ai_replica_load(rep) != NGX_OK) {
        ngx_http_hoody_ai_redis_abort(rep->data, "cannot start the load");
    }
}


static void
ngx_http_hoody_ai_replica_scan_handler(ngx_event_t *ev)
{
    ngx_http_hoody_ai_replica_t  *rep;

    rep = ev->data;

    if (rep->state == NGX_HTTP_HOODY_AI_LIVE) {
        ngx_http_hoody_ai_replica_scan(rep);
    }
}


static void
ngx_http_hoody_ai_replica_sweep_handler(ngx_event_t *ev)
{
    ngx_http_hoody_ai_replica_t  *rep;

    rep = ev->data;

    ngx_http_hoody_ai_replica_post_handler(&rep->post);
}


void
ngx_http_hoody_ai_replica_retire(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_registry_t *reg)
{
    if (reg == NULL) {
        return;
    }

    ngx_http_hoody_ai_registry_retire(&rep->retired, reg);

    if (!rep->reap_timer.timer_set) {
        ngx_add_timer(&rep->reap_timer, 1);
    }
}


static void
ngx_http_hoody_ai_replica_reap_handler(ngx_event_t *ev)
{
    ngx_http_hoody_ai_replica_t  *rep;

    rep = ev->data;

    if (ngx_http_hoody_ai_registry_reap(&rep->retired, NGX_HTTP_HOODY_AI_REAP)
        == NGX_AGAIN)
    {
        ngx_add_timer(ev, 1);
    }
}


void
ngx_http_hoody_ai_replica_all(ngx_http_hoody_ai_replica_t *rep)
{
    rep->told++;

    if (rep->events->all) {
        rep->events->all(rep->events->data);
    }
}


void
ngx_http_hoody_ai_replica_tell(ngx_http_hoody_ai_replica_t *rep)
{
    size_t                       pos;
    ngx_str_t                    claim;
    ngx_http_hoody_ai_claims_t   claims;

    rep->told++;

    /* the callbacks may ask, and asking must not write where we read */

    claims = rep->claims;
    ngx_memzero(&rep->claims, sizeof(ngx_http_hoody_ai_claims_t));

    if (claims.all) {
        ngx_http_hoody_ai_replica_all(rep);

    } else if (rep->events->changed) {
        pos = 0;

        while (ngx_http_hoody_ai_claims_next(&claims, &pos, &claim)
               == NGX_OK)
        {
            rep->events->changed(rep->events->data, &claim);
        }
    }

    ngx_http_hoody_ai_claims_reset(&claims);

    /* keep the buffer */

    ngx_http_hoody_ai_claims_done(&rep->claims);
    rep->claims = claims;
}


void
ngx_http_hoody_ai_replica_warn(ngx_http_hoody_ai_replica_t *rep,
    ngx_str_t *name, const char *text)
{
    static ngx_str_t  empty = ngx_string("");

    if (rep->warned && ngx_current_msec - rep->warned < 1000) {
        return;
    }

    rep->warned = ngx_current_msec;

    ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                  "hoody_ai: redis %V: %s%V%s%s", &rep->conf->name,
                  name ? "container \"" : "", name ? name : &empty,
                  name ? "\" " : "", text);
}


ngx_uint_t
ngx_http_hoody_ai_replica_wrong_type(ngx_http_hoody_ai_redis_reply_t *reply)
{
    return ngx_http_hoody_ai_redis_is_error(reply, "WRONGTYPE");
}


int64_t
ngx_http_hoody_ai_replica_card(ngx_http_hoody_ai_redis_reply_t *reply)
{
    if (reply->type == NGX_HTTP_HOODY_AI_REDIS_INTEGER && reply->integer >= 0)
    {
        return reply->integer;
    }

    return ngx_http_hoody_ai_replica_wrong_type(reply) ? 0 : -1;
}


/* the next deadline of a container or of the gate set */

void
ngx_http_hoody_ai_replica_set_expire(ngx_http_hoody_ai_replica_t *rep)
{
    uint64_t                    deadline, wait;
    ngx_http_hoody_ai_entry_t  *e;

    if (rep->reg == NULL) {
        return;
    }

    deadline = rep->gate_deadline;

    e = ngx_http_hoody_ai_registry_first_deadline(rep->reg);

    if (e && (deadline == 0 || e->deadline < deadline)) {
        deadline = e->deadline;
    }

    /* nginx leaves a timer as it is that would move by less than 300 ms */

    if (rep->expire_timer.timer_set) {
        ngx_del_timer(&rep->expire_timer);
    }

    if (deadline == 0) {
        return;
    }

    wait = (deadline > ngx_current_msec) ? deadline - ngx_current_msec : 0;

    ngx_add_timer(&rep->expire_timer,
                  (ngx_msec_t) ngx_min(wait, NGX_HTTP_HOODY_AI_FAR));
}


static void
ngx_http_hoody_ai_replica_expire_handler(ngx_event_t *ev)
{
    u_char                        data[HAI_NAME_MAX];
    ngx_str_t                     name;
    ngx_http_hoody_ai_entry_t    *e;
    ngx_http_hoody_ai_replica_t  *rep;

    rep = ev->data;

    for ( ;; ) {
        e = ngx_http_hoody_ai_registry_first_deadline(rep->reg);

        if (e == NULL || e->deadline > ngx_current_msec) {
            break;
        }

        name.data = data;
        name.len = e->name_len;
        ngx_memcpy(data, ngx_http_hoody_ai_entry_name(e), name.len);

        ngx_http_hoody_ai_registry_remove(rep->reg, &name, &rep->claims);
    }

    if (rep->gate_deadline && rep->gate_deadline <= ngx_current_msec) {

        /* the set is gone, and so is every gate that was known from it */

        rep->gate_deadline = 0;
        rep->gate++;
        rep->claims.all = 1;

        ngx_post_event(&rep->post, &ngx_posted_events);
    }

    ngx_http_hoody_ai_replica_set_expire(rep);
    ngx_http_hoody_ai_replica_tell(rep);
}


ngx_http_hoody_ai_verdict_e
ngx_http_hoody_ai_replica_decide(ngx_http_hoody_ai_replica_t *rep,
    ngx_str_t *claim, ngx_http_hoody_ai_source_t *source,
    ngx_http_hoody_ai_container_t *view)
{
    ngx_uint_t                    i, n, unsure;
    ngx_http_hoody_ai_entry_t    *e, *others[4];
    ngx_http_hoody_ai_verdict_e   verdict;

    if (!rep->loaded) {
        return NGX_HTTP_HOODY_AI_WAIT;
    }

    if (ngx_current_msec - rep->proof >= rep->conf->max_stale) {
        return NGX_HTTP_HOODY_AI_STALE;
    }

    if (rep->blind) {
        return NGX_HTTP_HOODY_AI_WAIT;
    }

    verdict = ngx_http_hoody_ai_replica_find(rep, claim, &e);

    if (verdict != NGX_HTTP_HOODY_AI_ADMIT) {
        return verdict;
    }

    verdict = ngx_http_hoody_ai_registry_source(rep->reg, e, source, others,
                                                4, &n, view);

    if (verdict == NGX_HTTP_HOODY_AI_SHARED_SOURCE && n <= 4) {

        /* another container may be about to give the address up */

        unsure = 1;

        for (i = 0; i < n; i++) {

            if (!ngx_http_hoody_ai_replica_unsure(rep,
                                       ngx_http_hoody_ai_entry_name(others[i]),
                                       others[i]->name_len, 1))
            {
                unsure = 0;
            }
        }

        if (unsure) {
            return NGX_HTTP_HOODY_AI_WAIT;
        }
    }

    if (verdict != NGX_HTTP_HOODY_AI_ADMIT) {
        return verdict;
    }

    if (e->gate != rep->gate) {
        ngx_http_hoody_ai_replica_ask(rep, ngx_http_hoody_ai_entry_name(e),
                                      e->name_len);
        return NGX_HTTP_HOODY_AI_WAIT;
    }

    view->name.data = ngx_http_hoody_ai_entry_name(e);
    view->name.len = e->name_len;
    view->id.data = ngx_http_hoody_ai_entry_id(e);
    view->id.len = e->id_len;
    view->tags.data = ngx_http_hoody_ai_entry_tags(e);
    view->tags.len = e->tags_len;
    view->serial = e->serial;

    if (rep->gate_deadline && rep->gate_deadline <= ngx_current_msec) {
        return NGX_HTTP_HOODY_AI_DISABLED;
    }

    return e->enabled ? NGX_HTTP_HOODY_AI_ADMIT : NGX_HTTP_HOODY_AI_DISABLED;
}


ngx_uint_t
ngx_http_hoody_ai_replica_heard(ngx_http_hoody_ai_replica_t *rep)
{
    return rep->feed_peer.heard + rep->data_peer.heard + rep->told;
}


/* whose claim is it?  A name first, then a number */

static ngx_http_hoody_ai_verdict_e
ngx_http_hoody_ai_replica_find(ngx_http_hoody_ai_replica_t *rep,
    ngx_str_t *claim, ngx_http_hoody_ai_entry_t **entry)
{
    ngx_uint_t                  i, n, unsure;
    ngx_http_hoody_ai_want_t   *w;
    ngx_http_hoody_ai_entry_t  *e, *found[4];

    if (ngx_http_hoody_ai_replica_unsure(rep, claim->data, claim->len, 0)) {
        return NGX_HTTP_HOODY_AI_WAIT;
    }

    e = ngx_http_hoody_ai_registry_name(rep->reg, claim);

    if (e && e->running
        && (e->deadline == 0 || e->deadline > ngx_current_msec))
    {
        *entry = e;
        return NGX_HTTP_HOODY_AI_ADMIT;
    }

    if (e == NULL && !rep->scanned) {
        w = ngx_http_hoody_ai_replica_wanted(rep, claim->data, claim->len);

        if (w == NULL || w->state != NGX_HTTP_HOODY_AI_WANT_ABSENT) {
            ngx_http_hoody_ai_replica_ask(rep, claim->data, claim->len);
            return NGX_HTTP_HOODY_AI_WAIT;
        }
    }

    n = ngx_http_hoody_ai_registry_number(rep->reg, claim, found, 4);

    if (n == 0) {

        if (e) {
            return NGX_HTTP_HOODY_AI_NOT_RUNNING;
        }

        if (!rep->scanned
            && hai_number_valid((char *) claim->data, claim->len))
        {
            /* it may be the number of one that the scan has yet to find */
            rep->scan_waited = 1;
            return NGX_HTTP_HOODY_AI_WAIT;
        }

        return NGX_HTTP_HOODY_AI_NO_CONTAINER;
    }

    unsure = 0;

    for (i = 0; i < ngx_min(n, 4); i++) {

        if (ngx_http_hoody_ai_replica_unsure(rep,
                                        ngx_http_hoody_ai_entry_name(found[i]),
                                        found[i]->name_len, 0))
        {
            unsure = 1;
        }
    }

    if (unsure) {
        return NGX_HTTP_HOODY_AI_WAIT;
    }

    if (n > 1) {
        return NGX_HTTP_HOODY_AI_SHARED_NUMBER;
    }

    if (found[0]->deadline && found[0]->deadline <= ngx_current_msec) {
        return NGX_HTTP_HOODY_AI_NO_CONTAINER;
    }

    *entry = found[0];

    return NGX_HTTP_HOODY_AI_ADMIT;
}


/*
 * Is the hash of this name between its invalidation and its read?  The
 * requests that ask are told when it has been read: those of the name by
 * itself, those of others on its address ("shared") too.
 */

static ngx_uint_t
ngx_http_hoody_ai_replica_unsure(ngx_http_hoody_ai_replica_t *rep,
    u_char *name, size_t len, ngx_uint_t shared)
{
    ngx_http_hoody_ai_want_t  *w;

    w = ngx_http_hoody_ai_replica_wanted(rep, name, len);

    if (w == NULL
        || w->state == NGX_HTTP_HOODY_AI_WANT_ABSENT
        || !(w->hash || w->reading))
    {
        return 0;
    }

    if (shared) {
        w->shared = 1;
    }

    return 1;
}


ngx_uint_t
ngx_http_hoody_ai_replica_claimed(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_source_t *source)
{
    return rep->reg
           && ngx_http_hoody_ai_registry_claimed(rep->reg, source);
}


ngx_uint_t
ngx_http_hoody_ai_replica_epoch(ngx_http_hoody_ai_replica_t *rep,
    ngx_str_t *epoch)
{
    if (!rep->loaded
        || rep->blind
        || rep->rules.known != rep->rules.written
        || rep->rules.epoch.len == 0)
    {
        return 0;
    }

    *epoch = rep->rules.epoch;

    return rep->rules.generation;
}


void
ngx_http_hoody_ai_replica_stat(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_replica_stat_t *stat)
{
    ngx_memzero(stat, sizeof(ngx_http_hoody_ai_replica_stat_t));

    stat->loaded = rep->loaded;
    stat->connected = (rep->state >= NGX_HTTP_HOODY_AI_LOADING);
    stat->load_time = rep->load_time;
    stat->reconnects = rep->reconnects;
    stat->reloads = rep->reloads;
    stat->switches = rep->switches;
    stat->master = rep->master.addr.socklen ? &rep->master.addr : NULL;

    if (rep->loaded) {
        stat->containers = ngx_http_hoody_ai_registry_count(rep->reg);
        stat->memory = ngx_http_hoody_ai_registry_memory(rep->reg);
        stat->age = ngx_current_msec - rep->proof;
    }
}
