
/*
 * Edits applied to the request body.  The chain gets new links and, where a
 * buffer is cut, new buffers that point into the old ones; the old chain
 * stays as it was.  Short pieces are copied, so that those that follow one
 * another become one buffer: on its way through core each costs more than
 * its bytes.
 */


#include "ngx_http_hoody_ai_module.h"


/* a piece that is short, and all that is copied of one body */
#define NGX_HTTP_HOODY_AI_SHORT   1024
#define NGX_HTTP_HOODY_AI_COPIED  4096


typedef struct {
    ngx_chain_t   link;
    ngx_buf_t     buf;
    unsigned      whole:1;   /* the link's buffer is an old one as it was */
    unsigned      copied:1;
} ngx_http_hoody_ai_piece_t;


static ngx_uint_t ngx_http_hoody_ai_cut(ngx_chain_t *in, struct hai_edits *e,
    ngx_http_hoody_ai_piece_t *piece);
static ngx_int_t ngx_http_hoody_ai_join(ngx_pool_t *pool,
    ngx_http_hoody_ai_piece_t *piece, ngx_uint_t n);


ngx_int_t
ngx_http_hoody_ai_splice(ngx_http_request_t *r, struct hai_edits *e)
{
    off_t                       size;
    ngx_uint_t                  n;
    ngx_chain_t                *cl;
    ngx_http_hoody_ai_piece_t  *piece;

    /* each edit adds its text and cuts one buffer in two */

    n = 2 * e->n;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        n++;
    }

    piece = ngx_palloc(r->pool, n * sizeof(ngx_http_hoody_ai_piece_t));
    if (piece == NULL) {
        return NGX_ERROR;
    }

    n = ngx_http_hoody_ai_cut(r->request_body->bufs, e, piece);

    if (n == 0) {
        r->request_body->bufs = NULL;
        r->headers_in.content_length_n = 0;
        return NGX_OK;
    }

    if (ngx_http_hoody_ai_join(r->pool, piece, n) != NGX_OK) {
        return NGX_ERROR;
    }

    size = 0;

    for (cl = &piece->link; cl; cl = cl->next) {
        size += cl->buf->last - cl->buf->pos;
    }

    r->request_body->bufs = &piece->link;
    r->headers_in.content_length_n = size;

    return NGX_OK;
}


/* of each piece only its ends and "whole"; returns their number */

static ngx_uint_t
ngx_http_hoody_ai_cut(ngx_chain_t *in, struct hai_edits *e,
    ngx_http_hoody_ai_piece_t *piece)
{
    uint64_t                    pos, from, to, next, kept;
    ngx_buf_t                  *b;
    struct hai_edit            *edit, *last;
    ngx_http_hoody_ai_piece_t  *first;

    first = piece;

    edit = e->list;
    last = e->list + e->n;

    /* offsets in the old body: of this buffer, and of what is left out */

    pos = 0;
    kept = 0;

    for ( /* void */ ; in; in = in->next) {

        b = in->buf;
        next = pos + (b->last - b->pos);
        from = ngx_max(pos, kept);

        while (from < next) {

            if (edit < last && edit->offset == from) {
                kept = from + edit->del;
                from = ngx_min(kept, next);

                piece->buf.pos = (u_char *) edit->text;
                piece->buf.last = (u_char *) edit->text + edit->len;
                piece->whole = 0;
                piece += (edit->len != 0);
                edit++;

                continue;
            }

            to = (edit < last && edit->offset < next) ? edit->offset : next;

            piece->link.buf = b;
            piece->buf.pos = b->pos + (from - pos);
            piece->buf.last = b->pos + (to - pos);
            piece->whole = (to - from == next - pos && !b->last_buf);
            piece++;

            from = to;
        }

        pos = next;
    }

    for ( /* void */ ; edit < last; edit++) {
        piece->buf.pos = (u_char *) edit->text;
        piece->buf.last = (u_char *) edit->text + edit->len;
        piece->whole = 0;
        piece += (edit->len != 0);
    }

    return piece - first;
}


/* makes n pieces a chain that begins with the first one's link */

static ngx_int_t
ngx_http_hoody_ai_join(ngx_pool_t *pool, ngx_http_hoody_ai_piece_t *piece,
    ngx_uint_t n)
{
    size_t                      len, copied;
    u_char                     *p, *pos, *last;
    ngx_buf_t                  *b;
    ngx_uint_t                  i;
    ngx_http_hoody_ai_piece_t  *to;

    copied = 0;

    for (i = 0; i < n; i++) {
        len = piece[i].buf.last - piece[i].buf.pos;

        piece[i].copied = (len <= NGX_HTTP_HOODY_AI_SHORT
                           && copied + len <= NGX_HTTP_HOODY_AI_COPIED);

        if (piece[i].copied) {
            copied += len;
        }
    }

    p = ngx_pnalloc(pool, copied + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    /* pieces are read before the place of an earlier one is written */

    to = NULL;

    for (i = 0; i < n; i++) {
        pos = piece[i].buf.pos;
        last = piece[i].buf.last;

        if (piece[i].copied) {
            len = last - pos;

            if (to && to->copied) {
                p = ngx_cpymem(p, pos, len);
                to->buf.last = p;
                to->buf.end = p;
                continue;
            }

            last = ngx_cpymem(p, pos, len);
            pos = p;
            p = last;
        }

        if (to == NULL) {
            to = piece;

        } else {
            to->link.next = &(to + 1)->link;
            to++;
        }

        to->copied = piece[i].copied;

        if (piece[i].whole && !piece[i].copied) {
            to->link.buf = piece[i].link.buf;
            continue;
        }

        b = &to->buf;

        ngx_memzero(b, sizeof(ngx_buf_t));

        /* on a retry core begins again at "start" */

        b->start = pos;
        b->pos = pos;
        b->last = last;
        b->end = last;
        b->memory = 1;

        to->link.buf = b;
    }

    to->link.next = NULL;

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
