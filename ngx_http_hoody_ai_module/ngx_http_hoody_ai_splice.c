
/*
 * Edits applied to the request body.  The chain gets new links and, where a
 * buffer is cut, new buffers that point into the old ones: no byte of the
 * caller's is copied or changed, and the old chain stays as it was.
 */


#include "ngx_http_hoody_ai_module.h"


static ngx_int_t ngx_http_hoody_ai_link_piece(ngx_http_request_t *r,
    ngx_chain_t ***ll, u_char *pos, u_char *last);
static ngx_int_t ngx_http_hoody_ai_link_buf(ngx_http_request_t *r,
    ngx_chain_t ***ll, ngx_buf_t *b);


ngx_int_t
ngx_http_hoody_ai_splice(ngx_http_request_t *r, struct hai_edits *e)
{
    off_t              size;
    uint64_t           pos, from, to, next, kept;
    ngx_int_t          rc;
    ngx_buf_t         *b;
    ngx_chain_t       *in, *out, **ll;
    struct hai_edit   *edit, *last;

    out = NULL;
    ll = &out;
    size = 0;

    edit = e->list;
    last = e->list + e->n;

    /* offsets in the old body: of this buffer, and of what is left out */

    pos = 0;
    kept = 0;

    for (in = r->request_body->bufs; in; in = in->next) {

        b = in->buf;
        next = pos + (b->last - b->pos);
        from = ngx_max(pos, kept);

        while (from < next) {

            if (edit < last && edit->offset == from) {

                if (ngx_http_hoody_ai_link_piece(r, &ll,
                                                 (u_char *) edit->text,
                                                 (u_char *) edit->text
                                                 + edit->len)
                    != NGX_OK)
                {
                    return NGX_ERROR;
                }

                size += edit->len;
                kept = from + edit->del;
                from = ngx_min(kept, next);
                edit++;

                continue;
            }

            to = (edit < last && edit->offset < next) ? edit->offset : next;

            rc = (to - from == next - pos && !b->last_buf)
                     ? ngx_http_hoody_ai_link_buf(r, &ll, b)
                     : ngx_http_hoody_ai_link_piece(r, &ll,
                                                    b->pos + (from - pos),
                                                    b->pos + (to - pos));
            if (rc != NGX_OK) {
                return NGX_ERROR;
            }

            size += to - from;
            from = to;
        }

        pos = next;
    }

    for ( /* void */ ; edit < last; edit++) {

        if (ngx_http_hoody_ai_link_piece(r, &ll, (u_char *) edit->text,
                                         (u_char *) edit->text + edit->len)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        size += edit->len;
    }

    *ll = NULL;

    r->request_body->bufs = out;
    r->headers_in.content_length_n = size;

    return NGX_OK;
}


static ngx_int_t
ngx_http_hoody_ai_link_piece(ngx_http_request_t *r, ngx_chain_t ***ll,
    u_char *pos, u_char *last)
{
    ngx_buf_t  *b;

    if (pos == last) {
        return NGX_OK;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    /* on a retry core begins again at "start" */

    b->start = pos;
    b->pos = pos;
    b->last = last;
    b->end = last;
    b->memory = 1;

    return ngx_http_hoody_ai_link_buf(r, ll, b);
}


static ngx_int_t
ngx_http_hoody_ai_link_buf(ngx_http_request_t *r, ngx_chain_t ***ll,
    ngx_buf_t *b)
{
    ngx_chain_t  *cl;

    cl = ngx_alloc_chain_link(r->pool);
    if (cl == NULL) {
        return NGX_ERROR;
    }

    cl->buf = b;

    **ll = cl;
    *ll = &cl->next;

    return NGX_OK;
}


/* "openai/gpt-4o" goes out as "gpt-4o": adds the edit, if one is needed */

ngx_int_t
ngx_http_hoody_ai_strip_prefix(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, const struct hai_json_value *value,
    struct hai_edits *e)
{
    u_char    *p, *last, *dst, *text;
    uint64_t   len;

    last = ctx->model.data + ctx->model.len;
    len = value->end - value->start;

    p = ngx_strlchr(ctx->model.data, last, '/');

    if (p == NULL || p == ctx->model.data || p + 1 == last) {
        return NGX_OK;
    }

    p++;

    if (len == ctx->model.len + 2) {

        /* nothing is escaped: the bytes before the name go */

        if (hai_edits_add(e, value->start + 1, p - ctx->model.data, "", 0)
            != 0)
        {
            return NGX_ERROR;
        }

        goto done;
    }

    /* the model holds no control characters (hai_json.h) */

    text = ngx_pnalloc(r->pool, 2 * (last - p) + 2);
    if (text == NULL) {
        return NGX_ERROR;
    }

    dst = text;
    *dst++ = '"';

    for ( /* void */ ; p < last; p++) {

        if (*p == '"' || *p == '\\') {
            *dst++ = '\\';
        }

        *dst++ = *p;
    }

    *dst++ = '"';

    if (hai_edits_add(e, value->start, len, (char *) text, dst - text) != 0) {
        return NGX_ERROR;
    }

done:

    return hai_edits_sort(e, UINT64_MAX) == 0 ? NGX_OK : NGX_ERROR;
}
