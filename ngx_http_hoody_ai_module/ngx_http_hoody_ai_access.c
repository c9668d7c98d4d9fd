
/*
 * The access phase: is this container who it says, may it use AI, and is the
 * route allowed?  No I/O on the way; a request waits only while the replica
 * cannot know the answer.
 */


#include "ngx_http_hoody_ai_module.h"


static ngx_int_t ngx_http_hoody_ai_create_ctx(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t **ctxp);
static void ngx_http_hoody_ai_make_request_id(ngx_http_hoody_ai_ctx_t *ctx);
static void ngx_http_hoody_ai_set_path(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
static ngx_int_t ngx_http_hoody_ai_wait(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
static ngx_http_hoody_ai_reason_e ngx_http_hoody_ai_check_route(
    ngx_http_request_t *r, ngx_http_hoody_ai_ctx_t *ctx);
static ngx_int_t ngx_http_hoody_ai_copy_str(ngx_pool_t *pool, ngx_str_t *dst,
    ngx_str_t *src);


static ngx_http_hoody_ai_reason_e  ngx_http_hoody_ai_verdicts[] = {
    NGX_HTTP_HOODY_AI_OK,                    /* ADMIT */
    NGX_HTTP_HOODY_AI_R_NOT_LOADED,          /* WAIT */
    NGX_HTTP_HOODY_AI_R_STALE,               /* STALE */
    NGX_HTTP_HOODY_AI_R_NO_CONTAINER,        /* NO_CONTAINER */
    NGX_HTTP_HOODY_AI_R_NOT_RUNNING,         /* NOT_RUNNING */
    NGX_HTTP_HOODY_AI_R_WRONG_SOURCE,        /* WRONG_SOURCE */
    NGX_HTTP_HOODY_AI_R_SHARED_SOURCE,       /* SHARED_SOURCE */
    NGX_HTTP_HOODY_AI_R_SHARED_NUMBER,       /* SHARED_NUMBER */
    NGX_HTTP_HOODY_AI_R_DISABLED             /* DISABLED */
};


ngx_int_t
ngx_http_hoody_ai_access_handler(ngx_http_request_t *r)
{
    ngx_uint_t                     wait;
    ngx_http_hoody_ai_ctx_t       *ctx;
    ngx_http_hoody_ai_reason_e     reason;
    ngx_http_hoody_ai_loc_conf_t  *hlcf;

    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_hoody_ai_module);

    if (!hlcf->enable) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_hoody_ai_get_ctx(r);

    if (ctx == NULL) {

        if (ngx_http_hoody_ai_create_ctx(r, &ctx) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        reason = ngx_http_hoody_ai_identify(r, ctx);

        if (reason != NGX_HTTP_HOODY_AI_OK) {
            return ngx_http_hoody_ai_refuse(r, ctx, reason);
        }

    } else if (ctx->state != NGX_HTTP_HOODY_AI_WAITING) {

        /* an internal redirect of a request that was judged already */

        return ngx_http_hoody_ai_refuse(r, ctx, NGX_HTTP_HOODY_AI_R_ROUTE);
    }

    reason = ngx_http_hoody_ai_decide(ctx, &wait);

    if (wait && !ctx->wait_over) {
        return ngx_http_hoody_ai_wait(r, ctx);
    }

    if (ctx->judge.timer_set) {
        ngx_del_timer(&ctx->judge);
    }

    if (reason == NGX_HTTP_HOODY_AI_OK) {
        reason = ngx_http_hoody_ai_check_route(r, ctx);
    }

    if (reason != NGX_HTTP_HOODY_AI_OK) {
        return ngx_http_hoody_ai_refuse(r, ctx, reason);
    }

    if (ngx_http_hoody_ai_live_add(ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* the provider gets the URI that was checked, not what was sent */

    r->valid_unparsed_uri = 0;

    ctx->state = NGX_HTTP_HOODY_AI_ADMITTED;

    return NGX_OK;
}


static ngx_int_t
ngx_http_hoody_ai_create_ctx(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t **ctxp)
{
    ngx_http_cleanup_t       *cln;
    ngx_http_hoody_ai_ctx_t  *ctx;

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_hoody_ai_ctx_t));
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_http_hoody_ai_ctx_cleanup;
    cln->data = ctx;

    ctx->request = r;
    ctx->started = ngx_current_msec;

    ngx_http_set_ctx(r, ctx, ngx_http_hoody_ai_module);

    /* our errors are typed: no error page, no compressed answer */

    r->error_page = 1;

#if (NGX_HTTP_GZIP)
    r->gzip_tested = 1;
    r->gzip_ok = 0;
#endif

    ngx_http_hoody_ai_make_request_id(ctx);
    ngx_http_hoody_ai_set_path(r, ctx);

    ctx->anthropic = hai_route_is_anthropic((char *) ctx->path.data,
                                            ctx->path.len);

    *ctxp = ctx;

    return NGX_OK;
}


/*
 * 128 bits in hexadecimal, unique, not secret: xoroshiro128+ steps of a state
 * that was seeded from the system's random numbers (Blackman and Vigna).
 */

static void
ngx_http_hoody_ai_make_request_id(ngx_http_hoody_ai_ctx_t *ctx)
{
    uint64_t    s0, s1, out[2];
    uint64_t   *s;
    ngx_uint_t  i;

    s = ngx_http_hoody_ai_worker.random;

    for (i = 0; i < 2; i++) {
        s0 = s[0];
        s1 = s[1];

        out[i] = s0 + s1;

        s1 ^= s0;
        s[0] = ((s0 << 24) | (s0 >> 40)) ^ s1 ^ (s1 << 16);
        s[1] = (s1 << 37) | (s1 >> 27);
    }

    (void) ngx_hex_dump(ctx->request_id, (u_char *) out, sizeof(out));
}


/* the path below the location's literal prefix, without a leading slash */

static void
ngx_http_hoody_ai_set_path(ngx_http_request_t *r, ngx_http_hoody_ai_ctx_t *ctx)
{
    size_t                         len;
    ngx_http_hoody_ai_loc_conf_t  *hlcf;

    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_hoody_ai_module);

    len = hlcf->prefix.len;

    if (r->uri.len < len) {
        return;
    }

    if (len == 0 || hlcf->prefix.data[len - 1] != '/') {

        if (r->uri.len == len || r->uri.data[len] != '/') {
            return;
        }

        len++;
    }

    ctx->path.data = r->uri.data + len;
    ctx->path.len = r->uri.len - len;
}


/*
 * Judges ctx->claim and ctx->source now.  Sets *wait when the replica has to
 * ask first; the request is then judged again when it knows.
 */

ngx_http_hoody_ai_reason_e
ngx_http_hoody_ai_decide(ngx_http_hoody_ai_ctx_t *ctx, ngx_uint_t *wait)
{
    ngx_pool_t                     *pool;
    ngx_http_hoody_ai_verdict_e     verdict;
    ngx_http_hoody_ai_container_t   view;

    if (ctx->relayed
        && ngx_http_hoody_ai_replica_claimed(ngx_http_hoody_ai_worker.replica,
                                             &ctx->relay))
    {
        *wait = 0;
        return NGX_HTTP_HOODY_AI_R_PEER_REPLACED;
    }

    verdict = ngx_http_hoody_ai_replica_decide(ngx_http_hoody_ai_worker.replica,
                                               &ctx->claim, &ctx->source,
                                               &view);

    *wait = (verdict == NGX_HTTP_HOODY_AI_WAIT);

    if (verdict != NGX_HTTP_HOODY_AI_ADMIT
        && verdict != NGX_HTTP_HOODY_AI_DISABLED)
    {
        return ngx_http_hoody_ai_verdicts[verdict];
    }

    if (view.bare
        && ngx_http_hoody_ai_peer_bare_safe(&ctx->source.cgroup, view.bare_at)
           != NGX_OK)
    {
        return NGX_HTTP_HOODY_AI_R_WRONG_SOURCE;
    }

    if (ctx->container.data == NULL) {
        pool = ctx->request->pool;

        if (ngx_http_hoody_ai_copy_str(pool, &ctx->container, &view.name)
            != NGX_OK
            || ngx_http_hoody_ai_copy_str(pool, &ctx->container_id, &view.id)
               != NGX_OK)
        {
            return NGX_HTTP_HOODY_AI_R_INTERNAL;
        }
    }

    if (verdict == NGX_HTTP_HOODY_AI_ADMIT) {
        ctx->admitted = ngx_current_msec;
        ctx->heard = ngx_http_hoody_ai_replica_heard(
                                            ngx_http_hoody_ai_worker.replica);
        ctx->serial = view.serial;
    }

    return ngx_http_hoody_ai_verdicts[verdict];
}


static ngx_int_t
ngx_http_hoody_ai_copy_str(ngx_pool_t *pool, ngx_str_t *dst, ngx_str_t *src)
{
    dst->data = ngx_pnalloc(pool, src->len + 1);
    if (dst->data == NULL) {
        return NGX_ERROR;
    }

    dst->len = src->len;
    ngx_memcpy(dst->data, src->data, src->len);

    return NGX_OK;
}


static ngx_int_t
ngx_http_hoody_ai_wait(ngx_http_request_t *r, ngx_http_hoody_ai_ctx_t *ctx)
{
    ngx_event_t                   *rev;
    ngx_http_hoody_ai_loc_conf_t  *hlcf;

    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_hoody_ai_module);

    if (hlcf->wait == 0) {
        return ngx_http_hoody_ai_refuse(r, ctx,
                                        NGX_HTTP_HOODY_AI_R_NOT_LOADED);
    }

    if (ngx_http_hoody_ai_live_add(ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_hoody_ai_live_wait(ctx, hlcf->wait);

    /* notice a caller that gives up */

    rev = r->connection->read;

    if (rev->ready) {
        ngx_post_event(rev, &ngx_posted_events);

    } else if (ngx_handle_read_event(rev, 0) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    return NGX_AGAIN;
}


static ngx_http_hoody_ai_reason_e
ngx_http_hoody_ai_check_route(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    enum hai_method                method;
    ngx_http_hoody_ai_loc_conf_t  *hlcf;

    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_hoody_ai_module);

    switch (r->method) {

    case NGX_HTTP_GET:
        method = HAI_GET;
        break;

    case NGX_HTTP_POST:
        method = HAI_POST;
        break;

    case NGX_HTTP_DELETE:
        method = HAI_DELETE;
        break;

    default:
        method = HAI_OTHER_METHOD;
    }

    ctx->route = hai_route_find((char *) ctx->path.data, ctx->path.len,
                                method);

    if (ctx->route == NULL || (ctx->route->stored && !hlcf->stored)) {
        ctx->route = NULL;
        return NGX_HTTP_HOODY_AI_R_ROUTE;
    }

    if (ctx->encoded) {
        return NGX_HTTP_HOODY_AI_R_ENCODING;
    }

    if (r->headers_in.content_length_n > hlcf->max_body && hlcf->max_body) {
        return NGX_HTTP_HOODY_AI_R_TOO_LARGE;
    }

    return NGX_HTTP_HOODY_AI_OK;
}
