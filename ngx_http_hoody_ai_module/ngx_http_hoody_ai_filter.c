
/*
 * The answer on its way to the container: errors get their typed body, keys
 * are masked, token usage is read, and of a stream only whole events go out,
 * so that it can be cut between two of them.
 *
 * Usually every buffer passes untouched.  What cannot go out yet (an event
 * without its end, bytes that may be the beginning of a key) is copied to the
 * hold, and the buffer it came in is given back, so that core goes on reading.
 * It is given back only when no copy of ours waits to be sent: a caller that
 * does not read has to stop the provider.
 *
 *     hold empty     bytes pass as they are; a tail may enter the hold
 *     hold not empty new bytes are appended; what may pass leaves in a copy
 *     event_open     part of an event had to be let go (64 KB, 1 s): the rest
 *                    of that event passes as it comes
 */


#include "ngx_http_hoody_ai_module.h"


static ngx_int_t ngx_http_hoody_ai_header_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_hoody_ai_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);
static ngx_int_t ngx_http_hoody_ai_error_header(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
static ngx_int_t ngx_http_hoody_ai_answer_header(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
static ngx_uint_t ngx_http_hoody_ai_is_type(ngx_http_request_t *r,
    char *type, size_t len);
static ngx_int_t ngx_http_hoody_ai_add_header(ngx_http_request_t *r,
    char *name, u_char *value, size_t len);
static ngx_int_t ngx_http_hoody_ai_send_error(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
static ngx_int_t ngx_http_hoody_ai_pass(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_chain_t *in);
static ngx_int_t ngx_http_hoody_ai_output(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_chain_t *out);
static ngx_int_t ngx_http_hoody_ai_spend(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_buf_t *b);
static ngx_int_t ngx_http_hoody_ai_link(ngx_http_request_t *r,
    ngx_chain_t *from, ngx_chain_t *to, ngx_chain_t ***ll);
static size_t ngx_http_hoody_ai_look(ngx_http_hoody_ai_ctx_t *ctx, u_char *p,
    size_t n);
static ngx_int_t ngx_http_hoody_ai_append(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_buf_t *b, ngx_chain_t ***ll);
static ngx_int_t ngx_http_hoody_ai_hold(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, u_char *p, size_t n);
static ngx_int_t ngx_http_hoody_ai_hold_timer(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
static ngx_int_t ngx_http_hoody_ai_release(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, size_t n, ngx_chain_t ***ll);
static void ngx_http_hoody_ai_hold_handler(ngx_event_t *ev);
static void ngx_http_hoody_ai_mask_trailers(ngx_http_request_t *r);


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;
static ngx_http_output_body_filter_pt    ngx_http_next_body_filter;


ngx_int_t
ngx_http_hoody_ai_filter_init(ngx_conf_t *cf)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_hoody_ai_header_filter;

    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_hoody_ai_body_filter;

    return NGX_OK;
}


static ngx_int_t
ngx_http_hoody_ai_header_filter(ngx_http_request_t *r)
{
    ngx_int_t                 rc;
    ngx_http_hoody_ai_ctx_t  *ctx;

    if (r != r->main) {
        return ngx_http_next_header_filter(r);
    }

    ctx = ngx_http_hoody_ai_get_ctx(r);

    if (ctx == NULL) {
        return ngx_http_next_header_filter(r);
    }

    if (ngx_exiting) {
        /* the connection ends with this answer: nginx would not say so */
        r->keepalive = 0;
    }

    if (r->upstream && ctx->peer == NULL
        && ctx->reason == NGX_HTTP_HOODY_AI_OK && r->err_status == 0)
    {
        /* an upstream that peer.init never saw: proxy_pass with a variable */

        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "hoody_ai: request went to an upstream that was "
                      "resolved at run time, without a key; name it in an "
                      "\"upstream\" block");

        (void) ngx_http_hoody_ai_refuse(r, ctx,
                                        NGX_HTTP_HOODY_AI_R_UNVERIFIED);
    }

    if (ctx->reason != NGX_HTTP_HOODY_AI_OK) {
        r->headers_out.status =
                        ngx_http_hoody_ai_refusals[ctx->reason].status;
        rc = ngx_http_hoody_ai_error_header(r, ctx);

    } else if (r->err_status >= NGX_HTTP_BAD_REQUEST) {

        ctx->reason = (ctx->state == NGX_HTTP_HOODY_AI_READING
                       && r->err_status == NGX_HTTP_BAD_REQUEST)
                      ? NGX_HTTP_HOODY_AI_R_BODY
                      : ngx_http_hoody_ai_reason_of_status(r->err_status);
        ctx->state = NGX_HTTP_HOODY_AI_REFUSED;

        rc = ngx_http_hoody_ai_error_header(r, ctx);

    } else if (ctx->from_provider) {
        rc = ngx_http_hoody_ai_answer_header(r, ctx);

    } else {
        rc = NGX_OK;
    }

    if (rc != NGX_OK
        || ngx_http_hoody_ai_add_header(r, "X-Request-Id", ctx->request_id,
                                        NGX_HTTP_HOODY_AI_REQUEST_ID_LEN)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_next_header_filter(r);
}


static ngx_int_t
ngx_http_hoody_ai_error_header(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    if (ngx_http_hoody_ai_error_body(r, ctx, &ctx->error_body) != NGX_OK) {
        return NGX_ERROR;
    }

    r->headers_out.status_line.len = 0;

    ngx_str_set(&r->headers_out.content_type, "application/json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;
    r->headers_out.charset.len = 0;

    ngx_http_clear_content_length(r);
    ngx_http_clear_accept_ranges(r);
    ngx_http_clear_last_modified(r);
    ngx_http_clear_etag(r);
    ngx_http_clear_location(r);

    r->headers_out.content_length_n = ctx->error_body.len;
    r->allow_ranges = 0;

    if ((r->headers_out.status == NGX_HTTP_SERVICE_UNAVAILABLE
         || r->headers_out.status == NGX_HTTP_TOO_MANY_REQUESTS)
        && ngx_http_hoody_ai_add_header(r, "Retry-After", (u_char *) "1", 1)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ctx->anthropic) {
        return ngx_http_hoody_ai_add_header(r, "Request-Id", ctx->request_id,
                                            NGX_HTTP_HOODY_AI_REQUEST_ID_LEN);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_hoody_ai_answer_header(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    ctx->state = NGX_HTTP_HOODY_AI_STREAMING;

    if (ctx->provider_request_id.len && !ctx->provider_id_named
        && ngx_http_hoody_ai_add_header(r, "X-Provider-Request-Id",
                                        ctx->provider_request_id.data,
                                        ctx->provider_request_id.len)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    r->filter_need_in_memory = 1;
    r->allow_ranges = 0;

    if (ngx_http_hoody_ai_is_type(r, "text/event-stream",
                                  sizeof("text/event-stream") - 1))
    {
        ctx->is_sse = 1;
        hai_sse_init(&ctx->sse);

    } else if (!ngx_http_hoody_ai_is_type(r, "application/json",
                                          sizeof("application/json") - 1))
    {
        return NGX_OK;
    }

    ctx->usage = ngx_palloc(r->pool, sizeof(struct hai_usage_scan));
    if (ctx->usage == NULL) {
        return NGX_ERROR;
    }

    hai_usage_init(ctx->usage, ctx->is_sse ? HAI_USAGE_SSE : HAI_USAGE_JSON);

    return NGX_OK;
}


static ngx_uint_t
ngx_http_hoody_ai_is_type(ngx_http_request_t *r, char *type, size_t len)
{
    ngx_str_t  *s;

    s = &r->headers_out.content_type;

    return s->len >= len
           && (ngx_memcmp(s->data, type, len) == 0
               || ngx_strncasecmp(s->data, (u_char *) type, len) == 0);
}


static ngx_int_t
ngx_http_hoody_ai_add_header(ngx_http_request_t *r, char *name, u_char *value,
    size_t len)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    ngx_http_hoody_ai_elt_init(h);

    h->key.data = (u_char *) name;
    h->key.len = ngx_strlen(name);
    h->value.data = value;
    h->value.len = len;

    return NGX_OK;
}


static ngx_int_t
ngx_http_hoody_ai_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_http_hoody_ai_ctx_t  *ctx;

    if (r != r->main) {
        return ngx_http_next_body_filter(r, in);
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_hoody_ai_module);

    if (ctx == NULL) {
        return ngx_http_next_body_filter(r, in);
    }

    if (in == NULL) {
        /* the caller can be written to again */
        return ngx_http_hoody_ai_output(r, ctx, NULL);
    }

    if (ctx->error_body.len) {
        return ngx_http_hoody_ai_send_error(r, ctx);
    }

    if (ctx->state != NGX_HTTP_HOODY_AI_STREAMING) {
        return ngx_http_next_body_filter(r, in);
    }

    return ngx_http_hoody_ai_pass(r, ctx, in);
}


/* our body instead of nginx's page, whatever of that still comes */

static ngx_int_t
ngx_http_hoody_ai_send_error(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    ngx_buf_t    *b;
    ngx_chain_t   out;

    if (ctx->error_sent) {
        return ngx_http_next_body_filter(r, NULL);
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = ctx->error_body.data;
    b->last = ctx->error_body.data + ctx->error_body.len;
    b->memory = 1;
    b->last_buf = 1;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    ctx->error_sent = 1;
    ctx->bytes_out += ctx->error_body.len;

    return ngx_http_next_body_filter(r, &out);
}


static ngx_int_t
ngx_http_hoody_ai_pass(ngx_http_request_t *r, ngx_http_hoody_ai_ctx_t *ctx,
    ngx_chain_t *in)
{
    size_t        n, pass;
    ngx_buf_t    *b;
    ngx_uint_t    changed, used;
    ngx_chain_t  *cl, *out, **ll;

    out = NULL;
    ll = &out;
    changed = 0;

    for (cl = in; cl; cl = cl->next) {

        b = cl->buf;

        n = ngx_buf_in_memory(b) ? b->last - b->pos : 0;
        pass = n;

        if (n) {
            if (ctx->first_byte == 0) {
                ctx->first_byte = ngx_current_msec;
            }

            if (ctx->usage) {
                hai_usage_feed(ctx->usage, b->pos, n);
            }

            if (ctx->hold_len == 0) {
                pass = ngx_http_hoody_ai_look(ctx, b->pos, n);
                ctx->bytes_out += pass;
            }
        }

        /* from the first buffer that does not pass whole on: our own chain */

        if (!changed && (ctx->hold_len || pass < n)) {

            if (ngx_http_hoody_ai_link(r, in, cl, &ll) != NGX_OK) {
                return NGX_ERROR;
            }

            changed = 1;
        }

        used = 0;

        if (n && ctx->hold_len) {

            if (ngx_http_hoody_ai_append(r, ctx, b, &ll) != NGX_OK) {
                return NGX_ERROR;
            }

            used = 1;

        } else if (pass < n) {

            if (ngx_http_hoody_ai_hold(r, ctx, b->pos + pass, n - pass)
                != NGX_OK)
            {
                return NGX_ERROR;
            }

            if (pass) {
                b->last = b->pos + pass;

            } else {
                used = 1;
            }
        }

        if (b->last_buf) {
            ctx->complete = 1;
            ngx_http_hoody_ai_mask_trailers(r);

            if (ctx->hold_len
                && ngx_http_hoody_ai_release(r, ctx, ctx->hold_len, &ll)
                   != NGX_OK)
            {
                return NGX_ERROR;
            }

            if (used) {
                /* it goes on, only to mark the end */
                b->pos = b->last;
                b->temporary = 0;
                b->memory = 0;
                b->mmap = 0;
                used = 0;
            }
        }

        if (used) {

            if (ngx_http_hoody_ai_spend(r, ctx, b) != NGX_OK) {
                return NGX_ERROR;
            }

        } else if (changed
                   && ngx_http_hoody_ai_link(r, cl, cl->next, &ll) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (!changed) {
        return ngx_http_next_body_filter(r, in);
    }

    *ll = NULL;

    return ngx_http_hoody_ai_output(r, ctx, out);
}


/* passes our own chain on and settles what of it, and before it, was sent */

static ngx_int_t
ngx_http_hoody_ai_output(ngx_http_request_t *r, ngx_http_hoody_ai_ctx_t *ctx,
    ngx_chain_t *out)
{
    ngx_int_t     rc;
    ngx_chain_t  *cl;

    rc = ngx_http_next_body_filter(r, out);

    /* links of foreign buffers are freed, our own buffers are used again */

    ngx_chain_update_chains(r->pool, &ctx->free, &ctx->busy, &out,
                            (ngx_buf_tag_t) &ngx_http_hoody_ai_module);

    if (ctx->busy == NULL) {

        while (ctx->spent) {
            cl = ctx->spent;
            ctx->spent = cl->next;

            cl->buf->pos = cl->buf->last;
            ngx_free_chain(r->pool, cl);
        }
    }

    return rc;
}


/* a buffer whose bytes are all copied, to be given back to core */

static ngx_int_t
ngx_http_hoody_ai_spend(ngx_http_request_t *r, ngx_http_hoody_ai_ctx_t *ctx,
    ngx_buf_t *b)
{
    ngx_chain_t  *cl;

    cl = ngx_alloc_chain_link(r->pool);
    if (cl == NULL) {
        return NGX_ERROR;
    }

    cl->buf = b;
    cl->next = ctx->spent;
    ctx->spent = cl;

    return NGX_OK;
}


/* adds links to the buffers of [from, to) */

static ngx_int_t
ngx_http_hoody_ai_link(ngx_http_request_t *r, ngx_chain_t *from,
    ngx_chain_t *to, ngx_chain_t ***ll)
{
    ngx_chain_t  *cl;

    for ( /* void */ ; from != to; from = from->next) {

        cl = ngx_alloc_chain_link(r->pool);
        if (cl == NULL) {
            return NGX_ERROR;
        }

        cl->buf = from->buf;

        **ll = cl;
        *ll = &cl->next;
    }

    return NGX_OK;
}


/* how many of the n bytes at p, with nothing held before them, may go out */

static size_t
ngx_http_hoody_ai_look(ngx_http_hoody_ai_ctx_t *ctx, u_char *p, size_t n)
{
    size_t  end, pass;

    pass = n - hai_mask_apply(&ngx_http_hoody_ai_worker.conf->mask, p, n);

    if (!ctx->is_sse) {
        return pass;
    }

    end = hai_sse_feed(&ctx->sse, p, n);

    if (end == 0 && ctx->event_open) {
        return pass;
    }

    ctx->event_open = 0;

    return ngx_min(pass, end);
}


/* bytes behind those that are held; the caller spends the buffer */

static ngx_int_t
ngx_http_hoody_ai_append(ngx_http_request_t *r, ngx_http_hoody_ai_ctx_t *ctx,
    ngx_buf_t *b, ngx_chain_t ***ll)
{
    size_t            n, before, from, end, pass;
    struct hai_mask  *mask;

    mask = &ngx_http_hoody_ai_worker.conf->mask;

    n = b->last - b->pos;
    before = ctx->hold_len;

    end = ctx->is_sse ? hai_sse_feed(&ctx->sse, b->pos, n) : n;

    if (ngx_http_hoody_ai_hold(r, ctx, b->pos, n) != NGX_OK) {
        return NGX_ERROR;
    }

    /* a key that begins in what was held ends within its own length */

    from = before > mask->longest ? before - mask->longest : 0;

    pass = ctx->hold_len - hai_mask_apply(mask, ctx->hold + from,
                                          ctx->hold_len - from);

    if (end) {
        ctx->event_open = 0;
        pass = ngx_min(pass, before + end);

    } else if (!ctx->event_open) {

        if (ctx->hold_len <= NGX_HTTP_HOODY_AI_HOLD_SIZE) {
            return NGX_OK;
        }

        ctx->event_open = 1;
    }

    return ngx_http_hoody_ai_release(r, ctx, pass, ll);
}


static ngx_int_t
ngx_http_hoody_ai_hold(ngx_http_request_t *r, ngx_http_hoody_ai_ctx_t *ctx,
    u_char *p, size_t n)
{
    size_t   size;
    u_char  *hold;

    if (ctx->hold_len + n > ctx->hold_size) {

        size = ngx_max(ctx->hold_size, 1024);

        while (size < ctx->hold_len + n) {
            size *= 2;
        }

        hold = ngx_alloc(size, r->connection->log);
        if (hold == NULL) {
            return NGX_ERROR;
        }

        if (ctx->hold) {
            ngx_memcpy(hold, ctx->hold, ctx->hold_len);
            ngx_free(ctx->hold);
        }

        ctx->hold = hold;
        ctx->hold_size = size;
    }

    if (ctx->hold_len == 0) {

        ctx->hold_since = ngx_current_msec;

        if (ctx->is_sse && ngx_http_hoody_ai_hold_timer(r, ctx) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    ngx_memcpy(ctx->hold + ctx->hold_len, p, n);
    ctx->hold_len += n;

    return NGX_OK;
}


/* one timer per stream; an early one looks at ctx->hold_since */

static ngx_int_t
ngx_http_hoody_ai_hold_timer(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    ngx_event_t  *ev;

    ev = ctx->hold_timer;

    if (ev == NULL) {

        ev = ngx_pcalloc(r->pool, sizeof(ngx_event_t));
        if (ev == NULL) {
            return NGX_ERROR;
        }

        ev->handler = ngx_http_hoody_ai_hold_handler;
        ev->data = ctx;
        ev->log = r->connection->log;
        ev->cancelable = 1;

        ctx->hold_timer = ev;
    }

    if (!ev->timer_set) {
        ngx_add_timer(ev, NGX_HTTP_HOODY_AI_HOLD_TIME);
    }

    return NGX_OK;
}


/* the first n bytes of the hold go out in a buffer of their own */

static ngx_int_t
ngx_http_hoody_ai_release(ngx_http_request_t *r, ngx_http_hoody_ai_ctx_t *ctx,
    size_t n, ngx_chain_t ***ll)
{
    size_t        size;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    if (n == 0) {
        return NGX_OK;
    }

    /* with a size of its own, so that what is given up really goes back */

    cl = ngx_chain_get_free_buf(r->pool, &ctx->free);
    if (cl == NULL) {
        return NGX_ERROR;
    }

    b = cl->buf;

    if ((size_t) (b->end - b->start) < n) {

        size = ngx_max(n, ngx_pagesize);

        if (b->start) {
            (void) ngx_pfree(r->pool, b->start);
            b->end = NULL;
        }

        b->start = ngx_palloc(r->pool, size);
        if (b->start == NULL) {
            return NGX_ERROR;
        }

        b->end = b->start + size;
    }

    b->pos = b->start;
    b->last = ngx_cpymem(b->pos, ctx->hold, n);
    b->temporary = 1;
    b->flush = 1;
    b->tag = (ngx_buf_tag_t) &ngx_http_hoody_ai_module;

    ctx->bytes_out += n;
    ctx->hold_len -= n;

    if (ctx->hold_len) {
        ngx_memmove(ctx->hold, ctx->hold + n, ctx->hold_len);
        ctx->hold_since = ngx_current_msec;

    } else {
        ngx_free(ctx->hold);
        ctx->hold = NULL;
        ctx->hold_size = 0;
    }

    **ll = cl;
    *ll = &cl->next;

    return NGX_OK;
}


/* an event whose end does not come is not kept from the caller any longer */

static void
ngx_http_hoody_ai_hold_handler(ngx_event_t *ev)
{
    size_t                    keep;
    ngx_int_t                 rc;
    ngx_msec_int_t            left;
    ngx_chain_t              *out, **ll;
    ngx_connection_t         *c;
    ngx_http_request_t       *r;
    ngx_http_hoody_ai_ctx_t  *ctx;

    ctx = ev->data;
    r = ctx->request;
    c = r->connection;

    if (ctx->hold_len == 0 || ctx->state != NGX_HTTP_HOODY_AI_STREAMING
        || ctx->complete || ctx->ended)
    {
        return;
    }

    left = (ngx_msec_int_t) (ctx->hold_since + NGX_HTTP_HOODY_AI_HOLD_TIME
                             - ngx_current_msec);

    if (left > 0) {
        ngx_add_timer(ev, left);
        return;
    }

    ngx_http_set_log_request(c->log, r);

    keep = hai_mask_apply(&ngx_http_hoody_ai_worker.conf->mask, ctx->hold,
                          ctx->hold_len);

    out = NULL;
    ll = &out;

    if (keep < ctx->hold_len) {
        ctx->event_open = 1;

        if (ngx_http_hoody_ai_release(r, ctx, ctx->hold_len - keep, &ll)
            != NGX_OK)
        {
            goto failed;
        }

        *ll = NULL;

        rc = ngx_http_hoody_ai_output(r, ctx, out);

        if (rc == NGX_ERROR || ngx_handle_write_event(c->write, 0) != NGX_OK) {
            goto failed;
        }
    }

    ngx_http_run_posted_requests(c);

    return;

failed:

    ngx_http_hoody_ai_upstream_close(r);
    ngx_http_finalize_request(r, NGX_ERROR);
    ngx_http_run_posted_requests(c);
}


/*
 * Ends an answer whose header has been sent; the provider's side is closed
 * already.  Returns what to finalize the request with: between two events of
 * a stream the caller is told why, anywhere else the connection just ends.
 */

ngx_int_t
ngx_http_hoody_ai_filter_cut(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    ngx_buf_t    *b;
    ngx_str_t     event;
    ngx_chain_t   out;

    if (!ctx->is_sse || ctx->event_open || ctx->complete || r->header_only
        || r->headers_out.content_length_n != -1
        || ngx_http_hoody_ai_error_event(r, ctx, &event) != NGX_OK)
    {
        return NGX_ERROR;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = event.data;
    b->last = event.data + event.len;
    b->memory = 1;
    b->flush = 1;
    b->last_buf = 1;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    /* the unfinished event that is held never goes out */

    ctx->hold_len = 0;
    ctx->complete = 1;
    ctx->bytes_out += event.len;

    return ngx_http_next_body_filter(r, &out);
}


void
ngx_http_hoody_ai_filter_cleanup(ngx_http_hoody_ai_ctx_t *ctx)
{
    if (ctx->hold_timer && ctx->hold_timer->timer_set) {
        ngx_del_timer(ctx->hold_timer);
    }

    if (ctx->hold) {
        ngx_free(ctx->hold);
        ctx->hold = NULL;
        ctx->hold_len = 0;
        ctx->hold_size = 0;
    }
}


/* only with "proxy_pass_trailers", and after the last byte of the body */

static void
ngx_http_hoody_ai_mask_trailers(ngx_http_request_t *r)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    part = &r->headers_out.trailers.part;
    h = part->elts;

    for (i = 0; /* void */; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        (void) hai_mask_apply(&ngx_http_hoody_ai_worker.conf->mask,
                              h[i].value.data, h[i].value.len);
        (void) hai_mask_apply(&ngx_http_hoody_ai_worker.conf->mask,
                              h[i].key.data, h[i].key.len);
    }
}
