
/*
 * The rule engine's answer, taken off the subrequest by filters of our own:
 * core's in-memory subrequests end the caller's connection when an answer is
 * too large.  Nothing is passed on.  Bytes beyond a ceiling are dropped while
 * core reads on to the end, so that the connection to the engine can be kept.
 */


#include "ngx_http_hoody_ai_rules.h"


static ngx_int_t ngx_http_hoody_ai_capture_header_filter(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_hoody_ai_capture_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);
static ngx_http_hoody_ai_ask_t *ngx_http_hoody_ai_capture_ask(
    ngx_http_request_t *r);
static ngx_http_hoody_ai_type_e ngx_http_hoody_ai_capture_type(ngx_str_t *s);
static size_t ngx_http_hoody_ai_capture_limit(ngx_http_request_t *r,
    ngx_http_hoody_ai_ask_t *ask);
static void ngx_http_hoody_ai_capture_headers(ngx_http_request_t *sr,
    ngx_http_hoody_ai_ask_t *ask);
static ngx_int_t ngx_http_hoody_ai_capture_append(ngx_http_request_t *r,
    ngx_http_hoody_ai_ask_t *ask, ngx_buf_t *b);


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;
static ngx_http_output_body_filter_pt    ngx_http_next_body_filter;


ngx_int_t
ngx_http_hoody_ai_capture_init(ngx_conf_t *cf)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_hoody_ai_capture_header_filter;

    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_hoody_ai_capture_body_filter;

    return NGX_OK;
}


/* is it a question?  Its context would be lost by an internal redirect */

static ngx_http_hoody_ai_ask_t *
ngx_http_hoody_ai_capture_ask(ngx_http_request_t *r)
{
    if (r == r->main || r->post_subrequest == NULL
        || r->post_subrequest->handler != ngx_http_hoody_ai_capture_done)
    {
        return NULL;
    }

    return r->post_subrequest->data;
}


static ngx_int_t
ngx_http_hoody_ai_capture_header_filter(ngx_http_request_t *r)
{
    ngx_http_hoody_ai_ask_t       *ask;
    ngx_http_hoody_ai_loc_conf_t  *hlcf;

    ask = ngx_http_hoody_ai_capture_ask(r);

    if (ask == NULL) {
        return ngx_http_next_header_filter(r);
    }

    r->header_sent = 1;

    if (ask->sr != r) {
        /* nobody waits for it any more */
        return NGX_OK;
    }

    hlcf = ngx_http_get_module_loc_conf(r->parent, ngx_http_hoody_ai_module);

    if (r->upstream == NULL || !r->upstream->buffering
        || ngx_http_get_module_loc_conf(r, ngx_http_core_module)
           != hlcf->rules_location)
    {
        /* nginx's own page, or another location */
        return NGX_OK;
    }

    ask->status = r->headers_out.status;
    ask->announced = r->headers_out.content_length_n;
    ask->type = ngx_http_hoody_ai_capture_type(&r->headers_out.content_type);
    ask->limit = ngx_http_hoody_ai_capture_limit(r->parent, ask);

    ngx_http_hoody_ai_capture_headers(r, ask);

    return NGX_OK;
}


static ngx_http_hoody_ai_type_e
ngx_http_hoody_ai_capture_type(ngx_str_t *s)
{
    size_t      len;
    ngx_uint_t  i;

    static ngx_str_t  types[] = {
        ngx_null_string,
        ngx_string("application/vnd.hoody.plan+json"),
        ngx_string("application/vnd.hoody.splice"),
        ngx_string("application/json")
    };

    for (len = 0; len < s->len; len++) {
        if (s->data[len] == ';' || s->data[len] == ' ') {
            break;
        }
    }

    for (i = NGX_HTTP_HOODY_AI_TYPE_PLAN; i <= NGX_HTTP_HOODY_AI_TYPE_JSON;
         i++)
    {
        if (len == types[i].len
            && ngx_strncasecmp(s->data, types[i].data, len) == 0)
        {
            return i;
        }
    }

    return NGX_HTTP_HOODY_AI_TYPE_OTHER;
}


static size_t
ngx_http_hoody_ai_capture_limit(ngx_http_request_t *r,
    ngx_http_hoody_ai_ask_t *ask)
{
    ngx_http_hoody_ai_loc_conf_t  *hlcf;

    if (ask->status != NGX_HTTP_OK) {
        return NGX_HTTP_HOODY_AI_REASON_MAX;
    }

    if (ask->type == NGX_HTTP_HOODY_AI_TYPE_EDITS) {
        return NGX_HTTP_HOODY_AI_EDITS_MAX;
    }

    if (ask->type != NGX_HTTP_HOODY_AI_TYPE_JSON) {
        return NGX_HTTP_HOODY_AI_PLAN_MAX;
    }

    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_hoody_ai_module);

    return hlcf->max_body ? (size_t) hlcf->max_body : NGX_MAX_SIZE_T_VALUE;
}


static void
ngx_http_hoody_ai_capture_headers(ngx_http_request_t *sr,
    ngx_http_hoody_ai_ask_t *ask)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    part = &sr->upstream->headers_in.headers.part;
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

        if (h[i].key.len == sizeof("x-hoody-epoch") - 1
            && ngx_memcmp(h[i].lowcase_key, "x-hoody-epoch", h[i].key.len)
               == 0)
        {
            ask->epoch = h[i].value;

        } else if (h[i].key.len == sizeof("x-hoody-body") - 1
                   && ngx_memcmp(h[i].lowcase_key, "x-hoody-body",
                                 h[i].key.len)
                      == 0)
        {
            ask->found = h[i].value;
        }
    }
}


static ngx_int_t
ngx_http_hoody_ai_capture_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_buf_t                *b;
    ngx_chain_t              *cl;
    ngx_http_hoody_ai_ask_t  *ask;

    ask = ngx_http_hoody_ai_capture_ask(r);

    if (ask == NULL) {
        return ngx_http_next_body_filter(r, in);
    }

    for (cl = in; cl; cl = cl->next) {

        b = cl->buf;

        if (ask->sr == r) {

            if (b->last_in_chain && b->sync) {
                ask->last = 1;
            }

            if (ask->status && !ask->overflow
                && ngx_http_hoody_ai_capture_append(r, ask, b) != NGX_OK)
            {
                ask->overflow = 1;
            }
        }

        b->pos = b->last;
        b->file_pos = b->file_last;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_hoody_ai_capture_append(ngx_http_request_t *r,
    ngx_http_hoody_ai_ask_t *ask, ngx_buf_t *b)
{
    u_char  *p;
    size_t   n, room;

    if (!ngx_buf_in_memory(b)) {
        return NGX_OK;
    }

    n = b->last - b->pos;

    if (n > ask->limit - ask->len) {
        return NGX_DECLINED;
    }

    if (n > ask->room - ask->len) {

        if (ask->announced > (off_t) ask->limit) {
            return NGX_DECLINED;
        }

        room = (ask->announced > 0) ? (size_t) ask->announced
                                    : ngx_max(ask->room * 2, 4096);
        room = ngx_max(room, ask->len + n);

        ask->memory = ngx_http_hoody_ai_body_keep(ask->ctx, room - ask->room);

        if (ask->memory != NGX_HTTP_HOODY_AI_OK) {
            return NGX_DECLINED;
        }

        p = ngx_pnalloc(r->pool, room);
        if (p == NULL) {
            return NGX_ERROR;
        }

        if (ask->len) {
            ngx_memcpy(p, ask->data, ask->len);
            (void) ngx_pfree(r->pool, ask->data);
        }

        ask->data = p;
        ask->room = room;
    }

    ngx_memcpy(ask->data + ask->len, b->pos, n);
    ask->len += n;

    return NGX_OK;
}


/*
 * The subrequest has ended.  Only notes what came: the request that waits is
 * woken by core, and nothing of it may run from here.
 */

ngx_int_t
ngx_http_hoody_ai_capture_done(ngx_http_request_t *sr, void *data,
    ngx_int_t rc)
{
    ngx_http_upstream_t      *u;
    ngx_http_hoody_ai_ask_t  *ask = data;

    if (rc == NGX_HTTP_CLIENT_CLOSED_REQUEST || sr->connection->error) {
        return rc;
    }

    if (ask->sr != sr) {
        return NGX_OK;
    }

    ask->sr = NULL;
    ask->answered = 1;

    /*
     * Core also passes on what it has of an answer whose end is missing;
     * END_REQUEST is the proof.
     */

    u = sr->upstream;

    ask->complete = rc == NGX_OK && ask->last && u && u->pipe
                    && u->pipe->upstream_done;

    return NGX_OK;
}
