
/*
 * The requests of this worker that wait or run, by claim, and the ways to end
 * one.  A change in the registry never ends a request from within the replica:
 * it posts the request's own event, which judges it from the event loop.
 *
 *     state        how it ends
 *
 *     WAITING      the phases go on, the access handler answers
 *     ADMITTED ..
 *     SCANNING     403; the rest of the body is not read
 *     ASKING       the engine's connection is closed, the phases answer
 *     READY, SENT  the provider's connection is closed, 403
 *     STREAMING    filter.c: a typed last event, or the connection is cut
 */


#include "ngx_http_hoody_ai_module.h"


/* entries that are kept for the next request of the same claim */

#define NGX_HTTP_HOODY_AI_LIVE_IDLE  1024


struct ngx_http_hoody_ai_live_s {
    ngx_str_node_t   node;
    ngx_queue_t      requests;
    ngx_queue_t      idle;             /* linked while "uses" is 0 */
    ngx_uint_t       uses;             /* requests, and those that pay here */
    size_t           body_memory;      /* of the container of this name */
};


static void ngx_http_hoody_ai_live_changed(void *data, ngx_str_t *claim);
static void ngx_http_hoody_ai_live_all(void *data);
static void ngx_http_hoody_ai_live_each(void *data,
    void (*each)(void *arg, ngx_str_t *claim), void *arg);
static void ngx_http_hoody_ai_live_post(ngx_http_hoody_ai_live_t *live);
static ngx_http_hoody_ai_live_t *ngx_http_hoody_ai_live_find(ngx_str_t *claim,
    uint32_t hash);
static ngx_http_hoody_ai_live_t *ngx_http_hoody_ai_live_use(ngx_str_t *claim,
    ngx_log_t *log);
static void ngx_http_hoody_ai_live_leave(ngx_http_hoody_ai_live_t *live);
static void ngx_http_hoody_ai_live_trim(void);
static void ngx_http_hoody_ai_judge(ngx_event_t *ev);
static void ngx_http_hoody_ai_end(ngx_http_hoody_ai_ctx_t *ctx,
    ngx_http_hoody_ai_reason_e reason);


static ngx_rbtree_t       ngx_http_hoody_ai_live_tree;
static ngx_rbtree_node_t  ngx_http_hoody_ai_live_sentinel;
static ngx_queue_t        ngx_http_hoody_ai_live_idle;
static ngx_uint_t         ngx_http_hoody_ai_live_nidle;
static ngx_uint_t         ngx_http_hoody_ai_live_count;


ngx_http_hoody_ai_replica_events_t  ngx_http_hoody_ai_live_events = {
    ngx_http_hoody_ai_live_changed,
    ngx_http_hoody_ai_live_all,
    ngx_http_hoody_ai_live_each,
    NULL,
    NULL
};


void
ngx_http_hoody_ai_live_init(void)
{
    ngx_rbtree_init(&ngx_http_hoody_ai_live_tree,
                    &ngx_http_hoody_ai_live_sentinel,
                    ngx_str_rbtree_insert_value);

    ngx_queue_init(&ngx_http_hoody_ai_live_idle);

    ngx_http_hoody_ai_live_nidle = 0;
    ngx_http_hoody_ai_live_count = 0;
}


ngx_uint_t
ngx_http_hoody_ai_live_requests(void)
{
    return ngx_http_hoody_ai_live_count;
}


static ngx_http_hoody_ai_live_t *
ngx_http_hoody_ai_live_find(ngx_str_t *claim, uint32_t hash)
{
    return (ngx_http_hoody_ai_live_t *)
               ngx_str_rbtree_lookup(&ngx_http_hoody_ai_live_tree, claim,
                                     hash);
}


/* finds or makes one, which stays until it is left */

static ngx_http_hoody_ai_live_t *
ngx_http_hoody_ai_live_use(ngx_str_t *claim, ngx_log_t *log)
{
    uint32_t                   hash;
    ngx_http_hoody_ai_live_t  *live;

    hash = ngx_murmur_hash2(claim->data, claim->len);

    live = ngx_http_hoody_ai_live_find(claim, hash);

    if (live == NULL) {

        live = ngx_alloc(sizeof(ngx_http_hoody_ai_live_t) + claim->len, log);
        if (live == NULL) {
            return NULL;
        }

        live->node.str.len = claim->len;
        live->node.str.data = (u_char *) live
                              + sizeof(ngx_http_hoody_ai_live_t);
        ngx_memcpy(live->node.str.data, claim->data, claim->len);

        live->node.node.key = hash;
        live->uses = 0;
        live->body_memory = 0;

        ngx_queue_init(&live->requests);
        ngx_rbtree_insert(&ngx_http_hoody_ai_live_tree, &live->node.node);

    } else if (live->uses == 0) {
        ngx_queue_remove(&live->idle);
        ngx_http_hoody_ai_live_nidle--;
    }

    live->uses++;

    return live;
}


static void
ngx_http_hoody_ai_live_leave(ngx_http_hoody_ai_live_t *live)
{
    if (--live->uses) {
        return;
    }

    ngx_queue_insert_tail(&ngx_http_hoody_ai_live_idle, &live->idle);

    if (++ngx_http_hoody_ai_live_nidle > NGX_HTTP_HOODY_AI_LIVE_IDLE) {
        ngx_http_hoody_ai_live_trim();
    }
}


/* enters the request once; its cleanup takes it out */

ngx_int_t
ngx_http_hoody_ai_live_add(ngx_http_hoody_ai_ctx_t *ctx)
{
    if (ctx->live) {
        return NGX_OK;
    }

    ctx->live = ngx_http_hoody_ai_live_use(&ctx->claim,
                                           ctx->request->connection->log);
    if (ctx->live == NULL) {
        return NGX_ERROR;
    }

    ngx_queue_insert_tail(&ctx->live->requests, &ctx->queue);

    ctx->judge.handler = ngx_http_hoody_ai_judge;
    ctx->judge.data = ctx;
    ctx->judge.log = ctx->request->connection->log;

    /* not cancelable: a worker that leaves stays for a request that waits */

    ngx_http_hoody_ai_live_count++;

    return NGX_OK;
}


void
ngx_http_hoody_ai_live_remove(ngx_http_hoody_ai_ctx_t *ctx)
{
    ngx_http_hoody_ai_live_t  *live;

    live = ctx->live;

    if (live == NULL) {
        return;
    }

    ctx->live = NULL;

    if (ctx->judge.timer_set) {
        ngx_del_timer(&ctx->judge);
    }

    if (ctx->judge.posted) {
        ngx_delete_posted_event(&ctx->judge);
    }

    ngx_queue_remove(&ctx->queue);
    ngx_http_hoody_ai_live_count--;

    ngx_http_hoody_ai_live_leave(live);
}


/* forgets the claim that has been idle for longest */

static void
ngx_http_hoody_ai_live_trim(void)
{
    ngx_queue_t               *q;
    ngx_http_hoody_ai_live_t  *live;

    q = ngx_queue_head(&ngx_http_hoody_ai_live_idle);
    live = ngx_queue_data(q, ngx_http_hoody_ai_live_t, idle);

    ngx_queue_remove(q);
    ngx_http_hoody_ai_live_nidle--;

    ngx_rbtree_delete(&ngx_http_hoody_ai_live_tree, &live->node.node);
    ngx_free(live);
}


/* exit_process: no request is left */

void
ngx_http_hoody_ai_live_done(void)
{
    if (ngx_http_hoody_ai_live_tree.root == NULL) {
        return;
    }

    while (!ngx_queue_empty(&ngx_http_hoody_ai_live_idle)) {
        ngx_http_hoody_ai_live_trim();
    }
}


/*
 * The wait is counted from its beginning, however often it is renewed.  The
 * timer keeps a worker that is leaving until the request was judged.
 */

void
ngx_http_hoody_ai_live_wait(ngx_http_hoody_ai_ctx_t *ctx, ngx_msec_t timeout)
{
    if (!ctx->judge.timer_set) {
        ngx_add_timer(&ctx->judge, timeout);
    }
}


/*
 * Counts n bytes that ctx->kept holds by now, and tells what the bodies of this
 * container occupy, asked for by its name or by its number.
 */

ngx_int_t
ngx_http_hoody_ai_live_pay(ngx_http_hoody_ai_ctx_t *ctx, size_t n,
    size_t *share)
{
    if (ctx->payer == NULL) {
        ctx->payer = ngx_http_hoody_ai_live_use(&ctx->container,
                                              ctx->request->connection->log);
        if (ctx->payer == NULL) {
            return NGX_ERROR;
        }

        n = ctx->kept;
    }

    ctx->payer->body_memory += n;

    *share = ctx->payer->body_memory;

    return NGX_OK;
}


void
ngx_http_hoody_ai_live_paid(ngx_http_hoody_ai_ctx_t *ctx)
{
    if (ctx->payer == NULL) {
        return;
    }

    ctx->payer->body_memory -= ctx->kept;

    ngx_http_hoody_ai_live_leave(ctx->payer);

    ctx->payer = NULL;
}


static void
ngx_http_hoody_ai_live_post(ngx_http_hoody_ai_live_t *live)
{
    ngx_queue_t              *q;
    ngx_http_hoody_ai_ctx_t  *ctx;

    for (q = ngx_queue_head(&live->requests);
         q != ngx_queue_sentinel(&live->requests);
         q = ngx_queue_next(q))
    {
        ctx = ngx_queue_data(q, ngx_http_hoody_ai_ctx_t, queue);

        ngx_post_event(&ctx->judge, &ngx_posted_events);
    }
}


static void
ngx_http_hoody_ai_live_changed(void *data, ngx_str_t *claim)
{
    ngx_http_hoody_ai_live_t  *live;

    live = ngx_http_hoody_ai_live_find(claim,
                                       ngx_murmur_hash2(claim->data,
                                                        claim->len));

    if (live) {
        ngx_http_hoody_ai_live_post(live);
    }
}


static void
ngx_http_hoody_ai_live_all(void *data)
{
    ngx_rbtree_t       *tree;
    ngx_rbtree_node_t  *node;

    tree = &ngx_http_hoody_ai_live_tree;

    if (tree->root == tree->sentinel) {
        return;
    }

    for (node = ngx_rbtree_min(tree->root, tree->sentinel);
         node;
         node = ngx_rbtree_next(tree, node))
    {
        ngx_http_hoody_ai_live_post((ngx_http_hoody_ai_live_t *) node);
    }
}


static void
ngx_http_hoody_ai_live_each(void *data,
    void (*each)(void *arg, ngx_str_t *claim), void *arg)
{
    ngx_rbtree_t              *tree;
    ngx_rbtree_node_t         *node;
    ngx_http_hoody_ai_live_t  *live;

    tree = &ngx_http_hoody_ai_live_tree;

    if (tree->root == tree->sentinel) {
        return;
    }

    for (node = ngx_rbtree_min(tree->root, tree->sentinel);
         node;
         node = ngx_rbtree_next(tree, node))
    {
        live = (ngx_http_hoody_ai_live_t *) node;

        if (!ngx_queue_empty(&live->requests)) {
            each(arg, &live->node.str);
        }
    }
}


static void
ngx_http_hoody_ai_judge(ngx_event_t *ev)
{
    ngx_uint_t                   wait;
    ngx_connection_t            *c;
    ngx_http_request_t          *r;
    ngx_http_hoody_ai_ctx_t     *ctx;
    ngx_http_hoody_ai_reason_e   reason;

    ctx = ev->data;
    r = ctx->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    if (ctx->state == NGX_HTTP_HOODY_AI_WAITING) {

        if (ev->timedout) {
            ev->timedout = 0;
            ctx->wait_over = 1;
        }

        ngx_log_debug0(NGX_LOG_DEBUG_HTTP, c->log, 0,
                       "hoody_ai: request goes on after waiting");

        r->read_event_handler = ngx_http_block_reading;
        r->write_event_handler = ngx_http_core_run_phases;

        ngx_http_core_run_phases(r);
        ngx_http_run_posted_requests(c);

        return;
    }

    if (ctx->state == NGX_HTTP_HOODY_AI_REFUSED || ctx->ended) {
        return;
    }

    reason = ngx_http_hoody_ai_decide(ctx, &wait);

    if (wait || reason == NGX_HTTP_HOODY_AI_OK) {
        return;
    }

    ngx_log_error(NGX_LOG_INFO, c->log, 0,
                  "hoody_ai: access of container \"%V\" ends: %V",
                  &ctx->container, &ngx_http_hoody_ai_refusals[reason].reason);

    /* not knowing is no verdict on the caller: it may try again */

    if (reason != NGX_HTTP_HOODY_AI_R_STALE) {
        reason = NGX_HTTP_HOODY_AI_R_REVOKED;
    }

    ngx_http_hoody_ai_end(ctx, reason);

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_hoody_ai_end(ngx_http_hoody_ai_ctx_t *ctx,
    ngx_http_hoody_ai_reason_e reason)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r;

    r = ctx->request;

    if (ctx->state == NGX_HTTP_HOODY_AI_STREAMING) {
        ctx->reason = NGX_HTTP_HOODY_AI_R_REVOKED;
        ctx->ended = 1;

        ngx_http_hoody_ai_upstream_close(r);

        ngx_http_finalize_request(r, ngx_http_hoody_ai_filter_cut(r, ctx));
        return;
    }

    if (ctx->state == NGX_HTTP_HOODY_AI_ASKING) {
        (void) ngx_http_hoody_ai_refuse(r, ctx, reason);
        ngx_http_hoody_ai_rules_stop(r, ctx);
        return;
    }

    if (ctx->state < NGX_HTTP_HOODY_AI_READY) {

        /* the body may not have been read to its end */

        r->keepalive = 0;
        r->lingering_close = 1;

        if (r->connection->read->timer_set) {
            ngx_del_timer(r->connection->read);
        }

        r->read_event_handler = ngx_http_block_reading;

#if (NGX_HTTP_V2)
        if (r->stream) {
            r->stream->skip_data = 1;
        }
#endif
    }

    rc = ngx_http_hoody_ai_refuse(r, ctx, reason);

    ngx_http_hoody_ai_upstream_close(r);

    ngx_http_finalize_request(r, rc);
}
