
/*
 * The request body: read whole into memory, checked, its model known.  What
 * rules and configuration change in it is edited in (rules.c, plan.c and
 * splice.c); if that could change what the check found, it is checked again.
 *
 * nginx reads; the request body filter below sees to it that nothing is
 * spooled.  Core writes a body to disk when its buffer is full, so a full
 * buffer is replaced by a fresh one before core looks: the bytes stay where
 * they were received.  Two kinds of body are copied out instead, and core's
 * buffer is used again: on HTTP/2 one that is larger than the buffer, because
 * core insists, and a chunked one, whose framing would be kept with it and
 * may be many times as large.
 */


#include "ngx_http_hoody_ai_module.h"


#define NGX_HTTP_HOODY_AI_BLOCK_MAX  NGX_HTTP_HOODY_AI_SCAN_SLICE

/* far more than any scan takes, in milliseconds */
#define NGX_HTTP_HOODY_AI_SCAN_HOLD  60000


static void ngx_http_hoody_ai_body_handler(ngx_http_request_t *r);
static void ngx_http_hoody_ai_scan_handler(ngx_event_t *ev);
static ngx_int_t ngx_http_hoody_ai_start_scan(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
static ngx_int_t ngx_http_hoody_ai_scan_chain(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, size_t size);
static ngx_int_t ngx_http_hoody_ai_scan(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
static ngx_int_t ngx_http_hoody_ai_scan_failed(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, enum hai_json_status st);
static void ngx_http_hoody_ai_scan_wait(ngx_http_request_t *r);
static ngx_int_t ngx_http_hoody_ai_scanned(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
static ngx_int_t ngx_http_hoody_ai_is_form(ngx_http_request_t *r);
static ngx_int_t ngx_http_hoody_ai_set_credential_of(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
static ngx_int_t ngx_http_hoody_ai_account(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, size_t n);
static ngx_int_t ngx_http_hoody_ai_copy_body(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_chain_t *in, ngx_chain_t **out);
static ngx_int_t ngx_http_hoody_ai_fresh_buffer(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);


ngx_http_request_body_filter_pt  ngx_http_hoody_ai_next_request_body_filter;


ngx_int_t
ngx_http_hoody_ai_precontent_handler(ngx_http_request_t *r)
{
    ngx_int_t                      rc;
    ngx_http_hoody_ai_ctx_t       *ctx;
    ngx_http_core_loc_conf_t      *clcf;
    ngx_http_hoody_ai_loc_conf_t  *hlcf;

    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_hoody_ai_module);

    if (!hlcf->enable || r != r->main) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_hoody_ai_get_ctx(r);

    if (ctx == NULL) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "hoody_ai: request came around the access phase");
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    switch (ctx->state) {

    case NGX_HTTP_HOODY_AI_ADMITTED:
        break;

    case NGX_HTTP_HOODY_AI_ASKING:

        rc = ngx_http_hoody_ai_rules_go_on(r, ctx);

        if (rc == NGX_AGAIN) {
            return NGX_AGAIN;
        }

        if (ctx->state != NGX_HTTP_HOODY_AI_READY) {
            return ngx_http_hoody_ai_refusals[ctx->reason].status;
        }

        return NGX_DECLINED;

    case NGX_HTTP_HOODY_AI_READY:
        return NGX_DECLINED;

    default:
        return ngx_http_hoody_ai_refuse(r, ctx,
                               ctx->reason ? ctx->reason
                                           : NGX_HTTP_HOODY_AI_R_INTERNAL);
    }

    if (r->request_body) {
        /* something before us has read it, perhaps to a file */
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "hoody_ai: the request body was read by another module");
        return ngx_http_hoody_ai_refuse(r, ctx, NGX_HTTP_HOODY_AI_R_INTERNAL);
    }

    ctx->state = NGX_HTTP_HOODY_AI_READING;

    ctx->copy_body = r->headers_in.chunked;
    ctx->copied_last = &ctx->copied;

#if (NGX_HTTP_V2)

    if (r->stream) {
        clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

        /* core's own test for a buffer that holds the whole body */

        if (r->headers_in.content_length_n < 0
            || r->headers_in.content_length_n
               > (off_t) clcf->client_body_buffer_size)
        {
            ctx->copy_body = 1;
        }
    }

#else

    (void) clcf;

#endif

    rc = ngx_http_read_client_request_body(r, ngx_http_hoody_ai_body_handler);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    ngx_http_finalize_request(r, NGX_DONE);

    return NGX_DONE;
}


ngx_int_t
ngx_http_hoody_ai_request_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    size_t                         n;
    ngx_int_t                      rc;
    ngx_chain_t                   *cl, *out;
    ngx_http_hoody_ai_ctx_t       *ctx;
    ngx_http_request_body_t       *rb;
    ngx_http_hoody_ai_loc_conf_t  *hlcf;

    ctx = ngx_http_get_module_ctx(r, ngx_http_hoody_ai_module);

    if (ctx == NULL || r != r->main) {
        return ngx_http_hoody_ai_next_request_body_filter(r, in);
    }

    if (ctx->state == NGX_HTTP_HOODY_AI_REFUSED) {

        /* nobody wants it any more, and core must not write it to a file */

        for (cl = in; cl; cl = cl->next) {
            cl->buf->pos = cl->buf->last;
        }

        return NGX_OK;
    }

    if (ctx->state != NGX_HTTP_HOODY_AI_READING) {
        return ngx_http_hoody_ai_next_request_body_filter(r, in);
    }

    n = 0;

    for (cl = in; cl; cl = cl->next) {
        n += ngx_buf_size(cl->buf);
    }

    if (n) {
        hlcf = ngx_http_get_module_loc_conf(r, ngx_http_hoody_ai_module);

        if (hlcf->max_body && (off_t) (ctx->body_size + n) > hlcf->max_body) {
            r->keepalive = 0;
            r->lingering_close = 1;

            return ngx_http_hoody_ai_refuse(r, ctx,
                                            NGX_HTTP_HOODY_AI_R_TOO_LARGE);
        }

        rc = ngx_http_hoody_ai_account(r, ctx, n);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    if (ctx->copy_body) {

        if (ngx_http_hoody_ai_copy_body(r, ctx, in, &out) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_http_hoody_ai_next_request_body_filter(r, out);
    }

    rb = r->request_body;

    if (rb->buf && rb->rest > 0
        && rb->buf->last == rb->buf->end
        && rb->buf->pos == rb->buf->last)
    {
        if (ngx_http_hoody_ai_fresh_buffer(r, ctx) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    return ngx_http_hoody_ai_next_request_body_filter(r, in);
}


/* bodies are counted as they arrive: what is only announced costs nothing */

static ngx_int_t
ngx_http_hoody_ai_account(ngx_http_request_t *r, ngx_http_hoody_ai_ctx_t *ctx,
    size_t n)
{
    ngx_http_hoody_ai_reason_e  reason;

    ctx->body_size += n;

    reason = ngx_http_hoody_ai_body_keep(ctx, n);

    if (reason == NGX_HTTP_HOODY_AI_OK) {
        return NGX_OK;
    }

    r->keepalive = 0;
    r->lingering_close = 1;

    return ngx_http_hoody_ai_refuse(r, ctx, reason);
}


ngx_http_hoody_ai_reason_e
ngx_http_hoody_ai_body_keep(ngx_http_hoody_ai_ctx_t *ctx, size_t n)
{
    size_t  share, limit;

    limit = ngx_http_hoody_ai_worker.conf->body_memory;

    ctx->kept += n;
    ngx_http_hoody_ai_worker.body_memory += n;

    if (ngx_http_hoody_ai_live_pay(ctx, n, &share) != NGX_OK) {
        return NGX_HTTP_HOODY_AI_R_MEMORY;
    }

    if (limit == 0) {
        return NGX_HTTP_HOODY_AI_OK;
    }

    if (ngx_http_hoody_ai_worker.body_memory > limit) {
        return NGX_HTTP_HOODY_AI_R_MEMORY;
    }

    return share > limit / 4 ? NGX_HTTP_HOODY_AI_R_MEMORY_SHARE
                             : NGX_HTTP_HOODY_AI_OK;
}


void
ngx_http_hoody_ai_body_cleanup(ngx_http_hoody_ai_ctx_t *ctx)
{
    ctx->bytes_in = ctx->body_size;

    if (ctx->kept) {
        ngx_http_hoody_ai_worker.body_memory -= ctx->kept;

        ngx_http_hoody_ai_live_paid(ctx);
        ctx->kept = 0;
    }

    if (ctx->scan && ctx->scan->posted) {
        ngx_delete_posted_event(ctx->scan);
    }

    if (ctx->scan && ctx->scan->timer_set) {
        ngx_del_timer(ctx->scan);
    }

    if (ctx->scanner && ctx->scanner != ngx_http_hoody_ai_worker.scanner) {
        hai_json_free(ctx->scanner);
    }

    ctx->scanner = NULL;
}


/* the filled buffer now belongs to the chain; core goes on with another */

static ngx_int_t
ngx_http_hoody_ai_fresh_buffer(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    size_t      size;
    u_char     *p;
    ngx_buf_t  *b;

    b = r->request_body->buf;

    size = ngx_max(ctx->body_size, (size_t) (b->end - b->start));
    size = ngx_min(size, NGX_HTTP_HOODY_AI_BLOCK_MAX);

    if (!r->headers_in.chunked && (off_t) size > r->request_body->rest) {
        size = (size_t) r->request_body->rest;
    }

    p = ngx_palloc(r->pool, size);
    if (p == NULL) {
        return NGX_ERROR;
    }

    b->start = p;
    b->pos = p;
    b->last = p;
    b->end = p + size;

    return NGX_OK;
}


/*
 * Takes the data out of "in".  Only what marks the body's end goes on: core
 * would write to disk when it keeps even an empty buffer.
 */

static ngx_int_t
ngx_http_hoody_ai_copy_body(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_chain_t *in, ngx_chain_t **out)
{
    size_t        n, room, size;
    ngx_buf_t    *b, *dst;
    ngx_chain_t  *cl, *tl;

    *out = NULL;

    for (cl = in; cl; cl = cl->next) {

        b = cl->buf;

        while (b->pos < b->last) {

            dst = ctx->copy_buf;
            room = dst ? (size_t) (dst->end - dst->last) : 0;

            if (room == 0) {
                size = ngx_max(ctx->body_size, 64 * 1024);
                size = ngx_min(size, NGX_HTTP_HOODY_AI_BLOCK_MAX);

                dst = ngx_create_temp_buf(r->pool, size);
                if (dst == NULL) {
                    return NGX_ERROR;
                }

                tl = ngx_alloc_chain_link(r->pool);
                if (tl == NULL) {
                    return NGX_ERROR;
                }

                tl->buf = dst;
                tl->next = NULL;

                *ctx->copied_last = tl;
                ctx->copied_last = &tl->next;
                ctx->copy_buf = dst;

                room = size;
            }

            n = ngx_min(room, (size_t) (b->last - b->pos));

            dst->last = ngx_cpymem(dst->last, b->pos, n);
            b->pos += n;
        }

        if (b->last_buf) {
            tl = ngx_alloc_chain_link(r->pool);
            if (tl == NULL) {
                return NGX_ERROR;
            }

            tl->buf = b;
            tl->next = NULL;

            *out = tl;
        }
    }

    return NGX_OK;
}


static void
ngx_http_hoody_ai_body_handler(ngx_http_request_t *r)
{
    ngx_http_hoody_ai_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_hoody_ai_module);

    if (ctx->copy_body) {
        r->request_body->bufs = ctx->copied;
    }

    if (ngx_http_hoody_ai_start_scan(r, ctx) != NGX_AGAIN) {
        ngx_http_hoody_ai_resume(r);
    }
}


void
ngx_http_hoody_ai_resume(ngx_http_request_t *r)
{
    r->write_event_handler = ngx_http_core_run_phases;
    ngx_http_core_run_phases(r);
}


/*
 * NGX_AGAIN: the scan goes on from the event loop, or the rule engine is
 * asked.  Otherwise ctx->state says whether the request is READY or what else.
 */

static ngx_int_t
ngx_http_hoody_ai_start_scan(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    size_t        size;
    ngx_int_t     rc;
    ngx_chain_t  *cl;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {

        if (cl->buf->in_file) {
            ngx_log_error(NGX_LOG_ALERT, r->connection->log, 0,
                          "hoody_ai: request body went to a file");
            (void) ngx_http_hoody_ai_refuse(r, ctx,
                                            NGX_HTTP_HOODY_AI_R_INTERNAL);
            return NGX_OK;
        }
    }

    size = ngx_http_hoody_ai_body_length(r->request_body);

    switch (ctx->route->body) {

    case HAI_BODY_NONE:

        if (size) {
            break;
        }

        return ngx_http_hoody_ai_rules_begin(r, ctx, NULL);

    case HAI_BODY_OPTIONAL:

        if (size == 0) {
            return ngx_http_hoody_ai_rules_begin(r, ctx, NULL);
        }

        /* fall through */

    case HAI_BODY_FORM:

        if (ngx_http_hoody_ai_is_form(r)) {
            return ngx_http_hoody_ai_rules_begin(r, ctx, NULL);
        }

        /* fall through */

    case HAI_BODY_JSON:

        if (size == 0) {
            break;
        }

        rc = ngx_http_hoody_ai_rules_unseen(r, ctx);

        if (rc != NGX_DECLINED) {
            return rc;
        }

        return ngx_http_hoody_ai_scan_chain(r, ctx, size);
    }

    (void) ngx_http_hoody_ai_refuse(r, ctx, NGX_HTTP_HOODY_AI_R_BODY);

    return NGX_OK;
}


static ngx_int_t
ngx_http_hoody_ai_scan_chain(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, size_t size)
{
    ctx->state = NGX_HTTP_HOODY_AI_SCANNING;
    ctx->scan_chain = r->request_body->bufs;
    ctx->scan_pos = 0;

    if (size <= NGX_HTTP_HOODY_AI_SCAN_SLICE) {

        if (ctx->scanner == NULL) {
            ctx->scanner = ngx_http_hoody_ai_worker.scanner;
        }

        hai_json_reset(ctx->scanner);

        return ngx_http_hoody_ai_scan(r, ctx);
    }

    if (ctx->scan == NULL) {
        ctx->scan = ngx_pcalloc(r->pool, sizeof(ngx_event_t));

        if (ctx->scan == NULL) {
            goto failed;
        }

        ctx->scan->handler = ngx_http_hoody_ai_scan_handler;
        ctx->scan->data = ctx;
        ctx->scan->log = r->connection->log;
    }

    if (ctx->scanner == NULL
        || ctx->scanner == ngx_http_hoody_ai_worker.scanner)
    {
        ctx->scanner = hai_json_new();

        if (ctx->scanner == NULL) {
            goto failed;
        }

    } else {
        hai_json_reset(ctx->scanner);
    }

    return ngx_http_hoody_ai_scan(r, ctx);

failed:

    (void) ngx_http_hoody_ai_refuse(r, ctx, NGX_HTTP_HOODY_AI_R_INTERNAL);

    return NGX_OK;
}


/* one slice of the body; a large one does not keep the others waiting */

static ngx_int_t
ngx_http_hoody_ai_scan(ngx_http_request_t *r, ngx_http_hoody_ai_ctx_t *ctx)
{
    size_t                 n, left;
    ngx_buf_t             *b;
    enum hai_json_status   st;

    left = NGX_HTTP_HOODY_AI_SCAN_SLICE;
    st = HAI_JSON_OK;

    while (ctx->scan_chain && st == HAI_JSON_OK) {

        b = ctx->scan_chain->buf;
        n = b->last - b->pos - ctx->scan_pos;

        if (n == 0) {
            /* the buffer is done, or only marks the end of the body */
            ctx->scan_chain = ctx->scan_chain->next;
            ctx->scan_pos = 0;
            continue;
        }

        if (left == 0) {
            ngx_http_hoody_ai_scan_wait(r);
            ngx_post_event(ctx->scan, &ngx_posted_next_events);

            /* a worker that leaves stays for timers, not for posted events */

            if (!ctx->scan->timer_set) {
                ngx_add_timer(ctx->scan, NGX_HTTP_HOODY_AI_SCAN_HOLD);
            }

            return NGX_AGAIN;
        }

        n = ngx_min(n, left);

        st = hai_json_feed(ctx->scanner, b->pos + ctx->scan_pos, n);

        ctx->scan_pos += n;
        left -= n;
    }

    if (ctx->scan && ctx->scan->timer_set) {
        ngx_del_timer(ctx->scan);
    }

    if (st == HAI_JSON_OK) {
        st = hai_json_finish(ctx->scanner);
    }

    if (st != HAI_JSON_OK) {
        return ngx_http_hoody_ai_scan_failed(r, ctx, st);
    }

    return ngx_http_hoody_ai_scanned(r, ctx);
}


static ngx_int_t
ngx_http_hoody_ai_scan_failed(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, enum hai_json_status st)
{
    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "hoody_ai: request body%s refused at byte %uL: %s",
                  ctx->replaced ? " after the rules" : "",
                  hai_json_error_offset(ctx->scanner), hai_json_strerror(st));

    if (st == HAI_JSON_NO_MEMORY) {
        (void) ngx_http_hoody_ai_refuse(r, ctx, NGX_HTTP_HOODY_AI_R_INTERNAL);
        return NGX_OK;
    }

    if (ctx->replaced) {
        return ngx_http_hoody_ai_rules_failed(r, ctx,
                                          NGX_HTTP_HOODY_AI_R_RULES_ANSWER);
    }

    (void) ngx_http_hoody_ai_refuse(r, ctx, NGX_HTTP_HOODY_AI_R_BODY);

    return NGX_OK;
}


/* a caller that hangs up is noticed when the answer is written */

static void
ngx_http_hoody_ai_scan_wait(ngx_http_request_t *r)
{
    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_request_empty_handler;
}


static void
ngx_http_hoody_ai_scan_handler(ngx_event_t *ev)
{
    ngx_connection_t         *c;
    ngx_http_request_t       *r;
    ngx_http_hoody_ai_ctx_t  *ctx;

    ctx = ev->data;
    r = ctx->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    if (ctx->state != NGX_HTTP_HOODY_AI_SCANNING) {
        /* ended meanwhile */
        return;
    }

    if (ngx_http_hoody_ai_scan(r, ctx) != NGX_AGAIN) {
        ngx_http_hoody_ai_resume(r);
    }

    ngx_http_run_posted_requests(c);
}


static ngx_int_t
ngx_http_hoody_ai_scanned(ngx_http_request_t *r, ngx_http_hoody_ai_ctx_t *ctx)
{
    const struct hai_json_facts  *facts;

    facts = hai_json_facts(ctx->scanner);

    if (ngx_http_hoody_ai_body_facts(r, ctx, facts) != NGX_OK) {
        return NGX_OK;
    }

    if (ctx->ruled) {
        return ngx_http_hoody_ai_body_ready(r, ctx, facts, NULL);
    }

    return ngx_http_hoody_ai_rules_begin(r, ctx, facts);
}


ngx_int_t
ngx_http_hoody_ai_body_facts(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, const struct hai_json_facts *facts)
{
    ngx_http_hoody_ai_loc_conf_t  *hlcf;

    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_hoody_ai_module);

    if (!hlcf->stored && hai_facts_stored(facts)) {
        (void) ngx_http_hoody_ai_refuse(r, ctx, NGX_HTTP_HOODY_AI_R_STORED);
        return NGX_ERROR;
    }

    ctx->stream = facts->stream;
    ctx->model.len = 0;

    if (facts->model_len) {
        ctx->model.data = ngx_pnalloc(r->pool, facts->model_len);

        if (ctx->model.data == NULL) {
            (void) ngx_http_hoody_ai_refuse(r, ctx,
                                            NGX_HTTP_HOODY_AI_R_INTERNAL);
            return NGX_ERROR;
        }

        ctx->model.len = facts->model_len;
        ngx_memcpy(ctx->model.data, facts->model, facts->model_len);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_hoody_ai_body_replaced(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    ctx->replaced = 1;
    ctx->ruled = 1;

    return ngx_http_hoody_ai_body_scan(r, ctx);
}


ngx_int_t
ngx_http_hoody_ai_body_unchanged(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    ctx->ruled = 1;

    return ngx_http_hoody_ai_body_scan(r, ctx);
}


ngx_int_t
ngx_http_hoody_ai_body_scan(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    return ngx_http_hoody_ai_scan_chain(r, ctx,
                              ngx_http_hoody_ai_body_length(r->request_body));
}


size_t
ngx_http_hoody_ai_body_length(ngx_http_request_body_t *rb)
{
    size_t        size;
    ngx_chain_t  *cl;

    size = 0;

    for (cl = rb->bufs; cl; cl = cl->next) {
        size += cl->buf->last - cl->buf->pos;
    }

    return size;
}


ngx_int_t
ngx_http_hoody_ai_body_ready(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, const struct hai_json_facts *facts,
    struct hai_edits *e)
{
    ngx_http_hoody_ai_loc_conf_t  *hlcf;

    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_hoody_ai_module);

    ctx->state = NGX_HTTP_HOODY_AI_READY;

    if (facts && ctx->model.len
        && hlcf->model_prefix == NGX_HTTP_HOODY_AI_PREFIX_STRIP)
    {
        if (e == NULL) {
            e = &ngx_http_hoody_ai_worker.edits;
            hai_edits_reset(e);
        }

        if (ngx_http_hoody_ai_strip_prefix(r, ctx,
                                           &facts->top[HAI_KEY_MODEL], e)
            != NGX_OK)
        {
            goto failed;
        }
    }

    if (e && e->n && ngx_http_hoody_ai_splice(r, e) != NGX_OK) {
        goto failed;
    }

    return ngx_http_hoody_ai_set_credential_of(r, ctx);

failed:

    (void) ngx_http_hoody_ai_refuse(r, ctx, NGX_HTTP_HOODY_AI_R_INTERNAL);

    return NGX_OK;
}


static ngx_int_t
ngx_http_hoody_ai_is_form(ngx_http_request_t *r)
{
    size_t            n;
    ngx_table_elt_t  *h;

    h = r->headers_in.content_type;
    n = sizeof("multipart/form-data") - 1;

    return h && h->value.len >= n
           && ngx_strncasecmp(h->value.data, (u_char *) "multipart/form-data",
                              n)
              == 0
           && (h->value.len == n || h->value.data[n] == ';'
               || h->value.data[n] == ' ');
}


/*
 * A variable is evaluated afresh: a map of $hoody_ai_model may have been asked
 * before the model was known, and nginx keeps what it was then.
 */

static ngx_int_t
ngx_http_hoody_ai_set_credential_of(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    ngx_str_t                          name;
    ngx_uint_t                         i, *index;
    ngx_http_hoody_ai_loc_conf_t      *hlcf;
    ngx_http_hoody_ai_named_secret_t  *ns;

    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_hoody_ai_module);

    if (hlcf->credential == NULL || hlcf->secret) {
        ctx->secret = hlcf->secret;
        return NGX_OK;
    }

    index = hlcf->credential->flushes;

    if (index) {
        while (*index != (ngx_uint_t) -1) {
            r->variables[*index].valid = 0;
            r->variables[*index].not_found = 0;
            index++;
        }
    }

    if (ngx_http_complex_value(r, hlcf->credential, &name) != NGX_OK) {
        (void) ngx_http_hoody_ai_refuse(r, ctx, NGX_HTTP_HOODY_AI_R_INTERNAL);
        return NGX_OK;
    }

    ns = ngx_http_hoody_ai_worker.conf->secrets.elts;

    for (i = 0; i < ngx_http_hoody_ai_worker.conf->secrets.nelts; i++) {

        if (ns[i].name.len == name.len
            && ngx_strncmp(ns[i].name.data, name.data, name.len) == 0)
        {
            ctx->secret = ns[i].secret;
            return NGX_OK;
        }
    }

    ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                  "hoody_ai: \"hoody_ai_credential\" gave \"%V\", which is no "
                  "secret's name", &name);

    (void) ngx_http_hoody_ai_refuse(r, ctx, NGX_HTTP_HOODY_AI_R_NO_PROVIDER);

    return NGX_OK;
}
