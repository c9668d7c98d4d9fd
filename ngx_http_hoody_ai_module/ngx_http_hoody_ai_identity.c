
/*
 * Who claims to be asking, and from where: the credential and the source of a
 * request.  Also takes the caller's own credentials and a few other headers
 * out of sight of everything behind the access phase.
 */


#include "ngx_http_hoody_ai_module.h"


/* what to do with a header of the caller; one bit each */

#define NGX_HTTP_HOODY_AI_H_HIDE      1   /* never passed on */
#define NGX_HTTP_HOODY_AI_H_BEARER    2   /* may carry the claim */
#define NGX_HTTP_HOODY_AI_H_KEY       4   /* may carry the claim, bare */
#define NGX_HTTP_HOODY_AI_H_ENCODING  8   /* only identity is understood */


typedef struct {
    ngx_str_t    name;
    ngx_uint_t   flags;
} ngx_http_hoody_ai_header_t;


static void ngx_http_hoody_ai_hide_header(ngx_table_elt_t *h);
static ngx_http_hoody_ai_reason_e ngx_http_hoody_ai_source(
    ngx_http_request_t *r, ngx_http_hoody_ai_ctx_t *ctx);
static ngx_int_t ngx_http_hoody_ai_sockaddr(struct sockaddr *sa,
    ngx_http_hoody_ai_source_t *source);
static ngx_http_hoody_ai_reason_e ngx_http_hoody_ai_realip(
    ngx_http_request_t *r, ngx_http_hoody_ai_ctx_t *ctx);


/* by the length of their names, shortest first */

static ngx_http_hoody_ai_header_t  ngx_http_hoody_ai_headers[] = {

    { ngx_string("cookie"), NGX_HTTP_HOODY_AI_H_HIDE },

    { ngx_string("api-key"), NGX_HTTP_HOODY_AI_H_HIDE },

    /* RFC 9110, 7.8: no other protocol on this connection */

    { ngx_string("upgrade"), NGX_HTTP_HOODY_AI_H_HIDE },

    { ngx_string("x-api-key"),
      NGX_HTTP_HOODY_AI_H_HIDE|NGX_HTTP_HOODY_AI_H_KEY },

    { ngx_string("authorization"),
      NGX_HTTP_HOODY_AI_H_HIDE|NGX_HTTP_HOODY_AI_H_BEARER },

    /* a server behind us must not read another route out of the request */

    { ngx_string("x-http-method"), NGX_HTTP_HOODY_AI_H_HIDE },
    { ngx_string("x-rewrite-url"), NGX_HTTP_HOODY_AI_H_HIDE },
    { ngx_string("x-original-url"), NGX_HTTP_HOODY_AI_H_HIDE },

    { ngx_string("x-goog-api-key"), NGX_HTTP_HOODY_AI_H_HIDE },

    /* whose account is billed is the operator's choice */

    { ngx_string("openai-project"), NGX_HTTP_HOODY_AI_H_HIDE },

    /* answers have to be readable for the key mask and the usage */

    { ngx_string("accept-encoding"), NGX_HTTP_HOODY_AI_H_HIDE },

    { ngx_string("content-encoding"), NGX_HTTP_HOODY_AI_H_ENCODING },

    { ngx_string("x-method-override"), NGX_HTTP_HOODY_AI_H_HIDE },

    { ngx_string("openai-organization"), NGX_HTTP_HOODY_AI_H_HIDE },
    { ngx_string("proxy-authorization"), NGX_HTTP_HOODY_AI_H_HIDE },

    { ngx_string("x-http-method-override"), NGX_HTTP_HOODY_AI_H_HIDE },

    { ngx_null_string, 0 }
};

/* for each length where its names begin in the table; 16 is the last row */

static uint8_t  ngx_http_hoody_ai_header_index[] = {
    16, 16, 16, 16, 16, 16, 0, 1, 16, 3, 16, 16,
    16, 4, 7, 10, 11, 12, 16, 13, 16, 16, 15
};


/*
 * Fills ctx->claim and ctx->source.  NGX_HTTP_HOODY_AI_OK says only that both
 * could be read, not that they belong together.
 */

ngx_http_hoody_ai_reason_e
ngx_http_hoody_ai_identify(ngx_http_request_t *r, ngx_http_hoody_ai_ctx_t *ctx)
{
    int                          rc;
    ngx_uint_t                   i, bearers, keys, bad;
    ngx_list_part_t             *part;
    ngx_table_elt_t             *h;
    struct hai_slice             slice;
    ngx_http_hoody_ai_header_t  *hh;

    bearers = 0;
    keys = 0;
    bad = 0;

    part = &r->headers_in.headers.part;
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

        /* most headers are ruled out by the length of their name */

        if (h[i].key.len >= sizeof(ngx_http_hoody_ai_header_index)) {
            continue;
        }

        hh = &ngx_http_hoody_ai_headers
                              [ngx_http_hoody_ai_header_index[h[i].key.len]];

        while (hh->name.len == h[i].key.len
               && ngx_memcmp(hh->name.data, h[i].lowcase_key, hh->name.len)
                  != 0)
        {
            hh++;
        }

        if (hh->name.len != h[i].key.len) {
            continue;
        }

        if (hh->flags & NGX_HTTP_HOODY_AI_H_ENCODING) {

            if (h[i].value.len != sizeof("identity") - 1
                || ngx_strncasecmp(h[i].value.data, (u_char *) "identity",
                                   sizeof("identity") - 1)
                   != 0)
            {
                ctx->encoded = 1;
            }

            continue;
        }

        if (hh->flags
            & (NGX_HTTP_HOODY_AI_H_BEARER|NGX_HTTP_HOODY_AI_H_KEY))
        {
            if (hh->flags & NGX_HTTP_HOODY_AI_H_BEARER) {
                bearers++;
                rc = hai_bearer_parse((char *) h[i].value.data, h[i].value.len,
                                      &slice);
            } else {
                keys++;
                rc = hai_token_parse((char *) h[i].value.data, h[i].value.len,
                                     &slice);
            }

            if (rc != 0
                || (ctx->claim.data
                    && (ctx->claim.len != slice.len
                        || ngx_memcmp(ctx->claim.data, slice.data, slice.len)
                           != 0)))
            {
                bad = 1;

            } else {
                ctx->claim.data = (u_char *) slice.data;
                ctx->claim.len = slice.len;
            }
        }

        ngx_http_hoody_ai_hide_header(&h[i]);
    }

    if (bearers == 0 && keys == 0) {
        return NGX_HTTP_HOODY_AI_R_NO_CREDENTIAL;
    }

    if (bad || bearers > 1 || keys > 1) {
        return NGX_HTTP_HOODY_AI_R_BAD_CREDENTIAL;
    }

    return ngx_http_hoody_ai_source(r, ctx);
}


/*
 * A header element cannot be taken out of its list without moving others that
 * are pointed to.  Under the name of a hop-by-hop header that the proxy module
 * always leaves out it is as good as gone.
 */

static void
ngx_http_hoody_ai_hide_header(ngx_table_elt_t *h)
{
    static ngx_str_t  name = ngx_string("Keep-Alive");
    static u_char     lowcase[] = "keep-alive";
    static ngx_uint_t hash;

    if (hash == 0) {
        hash = ngx_hash_key(lowcase, sizeof(lowcase) - 1);
    }

    h->key = name;
    h->lowcase_key = lowcase;
    h->hash = hash;
}


static ngx_http_hoody_ai_reason_e
ngx_http_hoody_ai_source(ngx_http_request_t *r, ngx_http_hoody_ai_ctx_t *ctx)
{
    ngx_int_t                      rc;
    ngx_connection_t              *c;
    ngx_http_hoody_ai_loc_conf_t  *hlcf;

    c = r->connection;

    /* the listening socket decides, never what realip put in place */

    if (c->listening->sockaddr->sa_family != AF_UNIX) {

        if (ngx_http_hoody_ai_sockaddr(c->sockaddr, &ctx->source) != NGX_OK) {
            return NGX_HTTP_HOODY_AI_R_PEER_UNKNOWN;
        }

        return ngx_http_hoody_ai_realip(r, ctx);
    }

    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_hoody_ai_module);

    rc = ngx_http_hoody_ai_peer_cgroup(c, &ctx->source.cgroup);

    if (rc == NGX_ERROR && hlcf->listener_container.len) {

        /* the kernel cannot tell, but only one container has this socket */

        ctx->source.bound = 1;

    } else if (rc != NGX_OK) {
        return NGX_HTTP_HOODY_AI_R_PEER_UNKNOWN;
    }

    if (hlcf->listener_container.len
        && (hlcf->listener_container.len != ctx->claim.len
            || ngx_memcmp(hlcf->listener_container.data, ctx->claim.data,
                          ctx->claim.len)
               != 0))
    {
        return NGX_HTTP_HOODY_AI_R_WRONG_SOURCE;
    }

    ctx->source.addr_len = 0;

    return NGX_HTTP_HOODY_AI_OK;
}


static ngx_int_t
ngx_http_hoody_ai_sockaddr(struct sockaddr *sa,
    ngx_http_hoody_ai_source_t *source)
{
    struct sockaddr_in   *sin;
#if (NGX_HAVE_INET6)
    struct sockaddr_in6  *sin6;
#endif

    switch (sa->sa_family) {

    case AF_INET:
        sin = (struct sockaddr_in *) sa;
        ngx_memcpy(source->addr, &sin->sin_addr, 4);
        source->addr_len = 4;
        return NGX_OK;

#if (NGX_HAVE_INET6)
    case AF_INET6:
        sin6 = (struct sockaddr_in6 *) sa;
        ngx_memcpy(source->addr, &sin6->sin6_addr, 16);
        source->addr_len = hai_addr_unmap(source->addr);
        return NGX_OK;
#endif

    default:
        return NGX_DECLINED;
    }
}


/*
 * A registered container that reaches the port itself, while realip or the
 * PROXY protocol is trusted from its address, could name any source.  Whether
 * it is one is judged with the rest: the registry may not be loaded yet.
 */

static ngx_http_hoody_ai_reason_e
ngx_http_hoody_ai_realip(ngx_http_request_t *r, ngx_http_hoody_ai_ctx_t *ctx)
{
    ngx_addr_t                      addr;
    ngx_http_variable_value_t      *v;
    ngx_http_hoody_ai_main_conf_t  *hmcf;

    hmcf = ngx_http_hoody_ai_worker.conf;

    if (hmcf->realip_index == NGX_ERROR) {
        return NGX_HTTP_HOODY_AI_OK;
    }

    v = ngx_http_get_flushed_variable(r, hmcf->realip_index);

    if (v == NULL || v->not_found) {
        return NGX_HTTP_HOODY_AI_R_PEER_UNKNOWN;
    }

    if (v->data == r->connection->addr_text.data) {
        /* nothing was replaced */
        return NGX_HTTP_HOODY_AI_OK;
    }

    if (ngx_parse_addr(r->pool, &addr, v->data, v->len) != NGX_OK
        || ngx_http_hoody_ai_sockaddr(addr.sockaddr, &ctx->relay) != NGX_OK)
    {
        return NGX_HTTP_HOODY_AI_R_PEER_UNKNOWN;
    }

    ctx->relayed = 1;

    return NGX_HTTP_HOODY_AI_OK;
}
