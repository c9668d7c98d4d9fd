
/*
 * The provider's connection: the caller's credentials are cut out of the
 * request bytes, the provider's key is linked in, and both the connection that
 * carries it and the answer that comes back are watched.
 *
 * Core builds the request (and may log it at debug level) before it calls the
 * load balancer's init; that call is where this file comes in.  The key itself
 * is a buffer of its own that points into the vault: it is copied by nothing
 * but the TLS layer, whose buffer is wiped once it has been sent.
 *
 * Who calls what:
 *
 *     peer.init        once per request: edit the request bytes, wrap the rest
 *     peer.get         per attempt: a kept connection may be refused
 *     output filter    per write: the last check, nothing goes out unproven
 *     reinit_request   per retry: wrap process_header again
 *     process_header   per read of the response header: mask, then parse
 *     finalize         once per request: was it the provider who broke off
 */


#include "ngx_http_hoody_ai_module.h"


/* on a connection: what its handshake was verified for */

typedef struct {
    void                        *ssl;
    ngx_str_t                    name;
} ngx_http_hoody_ai_verified_t;


static int ngx_libc_cdecl ngx_http_hoody_ai_cmp_peers(const void *one,
    const void *two);
static ngx_http_upstream_init_peer_pt ngx_http_hoody_ai_original_init(
    ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_http_hoody_ai_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_http_hoody_ai_attach(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
static ngx_int_t ngx_http_hoody_ai_edit_request(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
static ngx_int_t ngx_http_hoody_ai_link_key(ngx_http_request_t *r,
    ngx_buf_t *key);
static ngx_uint_t ngx_http_hoody_ai_is_credential(u_char *p, size_t len,
    ngx_http_hoody_ai_ctx_t *ctx);
static ngx_int_t ngx_http_hoody_ai_get_peer(ngx_peer_connection_t *pc,
    void *data);
static void ngx_http_hoody_ai_free_peer(ngx_peer_connection_t *pc,
    void *data, ngx_uint_t state);
static void ngx_http_hoody_ai_notify_peer(ngx_peer_connection_t *pc,
    void *data, ngx_uint_t type);
#if (NGX_HTTP_SSL)
static ngx_int_t ngx_http_hoody_ai_set_session(ngx_peer_connection_t *pc,
    void *data);
static void ngx_http_hoody_ai_save_session(ngx_peer_connection_t *pc,
    void *data);
static ngx_int_t ngx_http_hoody_ai_ssl_name(ngx_http_request_t *r,
    ngx_str_t *name);
static ngx_http_hoody_ai_verified_t *ngx_http_hoody_ai_find_verified(
    ngx_connection_t *c);
static void ngx_http_hoody_ai_verified_cleanup(void *data);
#endif
static ngx_int_t ngx_http_hoody_ai_is_local(struct sockaddr *sa);
static ngx_int_t ngx_http_hoody_ai_may_carry(ngx_http_request_t *r,
    ngx_connection_t *c);
static void ngx_http_hoody_ai_close_peer(ngx_connection_t *c);
static ngx_int_t ngx_http_hoody_ai_send(void *data, ngx_chain_t *in);
static void ngx_http_hoody_ai_wipe(ngx_http_hoody_ai_peer_t *hp,
    ngx_uint_t unsent);
static ngx_int_t ngx_http_hoody_ai_reinit_request(ngx_http_request_t *r);
static ngx_int_t ngx_http_hoody_ai_process_header(ngx_http_request_t *r);
static ngx_int_t ngx_http_hoody_ai_check_answer(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
static void ngx_http_hoody_ai_finalize_request(ngx_http_request_t *r,
    ngx_int_t rc);


ngx_int_t
ngx_http_hoody_ai_upstream_init(ngx_conf_t *cf)
{
    ngx_uint_t                       i;
    ngx_http_hoody_ai_peer_init_t   *pi;
    ngx_http_upstream_srv_conf_t   **uscfp;
    ngx_http_hoody_ai_main_conf_t   *hmcf;
    ngx_http_upstream_main_conf_t   *umcf;

    hmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_hoody_ai_module);
    umcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_upstream_module);

    if (ngx_array_init(&hmcf->peers, cf->pool,
                       umcf->upstreams.nelts ? umcf->upstreams.nelts : 1,
                       sizeof(ngx_http_hoody_ai_peer_init_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    uscfp = umcf->upstreams.elts;

    for (i = 0; i < umcf->upstreams.nelts; i++) {

        pi = ngx_array_push(&hmcf->peers);
        if (pi == NULL) {
            return NGX_ERROR;
        }

        pi->upstream = uscfp[i];
        pi->original = uscfp[i]->peer.init;

        uscfp[i]->peer.init = ngx_http_hoody_ai_init_peer;
    }

    ngx_qsort(hmcf->peers.elts, hmcf->peers.nelts,
              sizeof(ngx_http_hoody_ai_peer_init_t),
              ngx_http_hoody_ai_cmp_peers);

    return NGX_OK;
}


static int ngx_libc_cdecl
ngx_http_hoody_ai_cmp_peers(const void *one, const void *two)
{
    const ngx_http_hoody_ai_peer_init_t  *first = one;
    const ngx_http_hoody_ai_peer_init_t  *second = two;

    if (first->upstream == second->upstream) {
        return 0;
    }

    return first->upstream < second->upstream ? -1 : 1;
}


/* requests of other locations pass here as well, so the search is short */

static ngx_http_upstream_init_peer_pt
ngx_http_hoody_ai_original_init(ngx_http_upstream_srv_conf_t *us)
{
    ngx_uint_t                      low, high, mid;
    ngx_http_hoody_ai_peer_init_t  *pi;
    ngx_http_hoody_ai_main_conf_t  *hmcf;

    hmcf = ngx_http_hoody_ai_worker.conf;

    pi = hmcf->peers.elts;

    low = 0;
    high = hmcf->peers.nelts;

    while (low < high) {
        mid = (low + high) / 2;

        if (pi[mid].upstream == us) {
            return pi[mid].original;
        }

        if (pi[mid].upstream < us) {
            low = mid + 1;

        } else {
            high = mid;
        }
    }

    return NULL;
}


static ngx_int_t
ngx_http_hoody_ai_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_hoody_ai_ctx_t        *ctx;
    ngx_http_hoody_ai_loc_conf_t   *hlcf;
    ngx_http_upstream_init_peer_pt  original;

    original = ngx_http_hoody_ai_original_init(us);

    if (original == NULL) {
        ngx_log_error(NGX_LOG_ALERT, r->connection->log, 0,
                      "hoody_ai: unknown upstream \"%V\"", &us->host);
        return NGX_ERROR;
    }

    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_hoody_ai_module);

    if (!hlcf->enable || r != r->main) {
        return original(r, us);
    }

    ctx = ngx_http_hoody_ai_get_ctx(r);

    if (ctx == NULL || ctx->state != NGX_HTTP_HOODY_AI_READY) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "hoody_ai: request was not admitted, not sent");
        return NGX_ERROR;
    }

    if (original(r, us) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_hoody_ai_attach(r, ctx);
}


static ngx_int_t
ngx_http_hoody_ai_attach(ngx_http_request_t *r, ngx_http_hoody_ai_ctx_t *ctx)
{
    ngx_buf_t                 *b;
    ngx_http_upstream_t       *u;
    ngx_http_hoody_ai_peer_t  *hp;

    u = r->upstream;

#if (NGX_HTTP_CACHE)
    if (u->conf->cache) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "hoody_ai: answers must not be cached");
        goto refused;
    }
#endif

    if (u->store) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "hoody_ai: answers must not be stored");
        goto refused;
    }

    if (ngx_http_hoody_ai_edit_request(r, ctx) != NGX_OK) {
        goto refused;
    }

    hp = ngx_pcalloc(r->pool, sizeof(ngx_http_hoody_ai_peer_t));
    if (hp == NULL) {
        return NGX_ERROR;
    }

    hp->request = r;

    if (ctx->secret) {

        b = ngx_calloc_buf(r->pool);
        if (b == NULL) {
            return NGX_ERROR;
        }

        b->start = ngx_http_hoody_ai_worker.conf->vault->start
                   + ctx->secret->line;
        b->pos = b->start;
        b->last = b->start + ctx->secret->line_len;
        b->end = b->last;
        b->memory = 1;

        hp->key = b;

        if (ngx_http_hoody_ai_link_key(r, b) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    ctx->peer = hp;
    ctx->state = NGX_HTTP_HOODY_AI_SENT;

    hp->data = u->peer.data;
    hp->get = u->peer.get;
    hp->free = u->peer.free;
    hp->notify = u->peer.notify;

    u->peer.data = hp;
    u->peer.get = ngx_http_hoody_ai_get_peer;
    u->peer.free = ngx_http_hoody_ai_free_peer;

    if (hp->notify) {
        u->peer.notify = ngx_http_hoody_ai_notify_peer;
    }

#if (NGX_HTTP_SSL)
    hp->set_session = u->peer.set_session;
    hp->save_session = u->peer.save_session;

    u->peer.set_session = ngx_http_hoody_ai_set_session;
    u->peer.save_session = ngx_http_hoody_ai_save_session;
#endif

    hp->output_filter = u->output.output_filter;
    hp->output_ctx = u->output.filter_ctx;

    u->output.output_filter = ngx_http_hoody_ai_send;
    u->output.filter_ctx = hp;

    hp->process_header = u->process_header;
    hp->reinit_request = u->reinit_request;
    hp->finalize_request = u->finalize_request;

    u->process_header = ngx_http_hoody_ai_process_header;
    u->reinit_request = ngx_http_hoody_ai_reinit_request;
    u->finalize_request = ngx_http_hoody_ai_finalize_request;

    /* an answer goes out as it comes and never to a file */

    u->buffering = 0;

    return NGX_OK;

refused:

    (void) ngx_http_hoody_ai_refuse(r, ctx,
                                    NGX_HTTP_HOODY_AI_R_UNVERIFIED);
    return NGX_ERROR;
}


/*
 * Cuts credential lines out of the request header, whoever put them there,
 * and the empty line at its end when a key is to follow.  Anything but a plain
 * HTTP/1 header in the first buffer (HTTP/2 frames, a body from
 * "proxy_set_body") is refused.
 */

static ngx_int_t
ngx_http_hoody_ai_edit_request(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    u_char     *p, *dst, *line, *last;
    size_t      len;
    ngx_buf_t  *b;

    if (r->upstream->request_bufs == NULL) {
        goto invalid;
    }

    b = r->upstream->request_bufs->buf;

    p = b->pos;
    last = b->last;

    if (last - p < 4 || b->start > b->pos
        || ngx_memcmp(last - 4, CRLF CRLF, 4) != 0)
    {
        goto invalid;
    }

    /* the request line stays as it is */

    p = memchr(p, LF, last - p);
    if (p == NULL || p - b->pos < 11
        || ngx_memcmp(p - 10, " HTTP/1.", 8) != 0)
    {
        goto invalid;
    }

    dst = ++p;

    for ( ;; ) {

        line = p;

        p = memchr(p, LF, last - p);
        if (p == NULL || p == line || p[-1] != CR) {
            goto invalid;
        }

        p++;
        len = p - line;

        if (len == 2) {
            break;
        }

        if (ngx_http_hoody_ai_is_credential(line, len, ctx)) {
            ngx_explicit_memzero(line, len);
            continue;
        }

        if (dst != line) {
            ngx_memmove(dst, line, len);
        }

        dst += len;
    }

    /* the empty line has to be the end: no body in this buffer */

    if (p != last) {
        goto invalid;
    }

    if (ctx->secret == NULL) {
        *dst++ = CR;
        *dst++ = LF;
    }

    b->last = dst;

    return NGX_OK;

invalid:

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "hoody_ai: the request to the provider is not a plain "
                  "HTTP/1 header (proxy_http_version 2, proxy_set_body and "
                  "grpc_pass cannot be used here)");

    return NGX_ERROR;
}


/* is the header line of len bytes at p one that carries a credential? */

static ngx_uint_t
ngx_http_hoody_ai_is_credential(u_char *p, size_t len,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    size_t       n;
    u_char      *line;
    ngx_str_t   *name;

    static ngx_str_t  names[] = {
        ngx_string("authorization:"),
        ngx_string("x-api-key:"),
        ngx_string("api-key:"),
        ngx_string("x-goog-api-key:"),
        ngx_string("cookie:"),
        ngx_string("proxy-authorization:"),
        ngx_null_string
    };

    for (name = names; name->len; name++) {

        if (name->len <= len && p[name->len - 1] == ':'
            && ngx_strncasecmp(name->data, p, name->len) == 0)
        {
            return 1;
        }
    }

    if (ctx->secret == NULL) {
        return 0;
    }

    /* the header that carries our key, whatever its name */

    line = ngx_http_hoody_ai_worker.conf->vault->start + ctx->secret->line;
    n = ctx->secret->name_len;

    return n < len && p[n] == ':' && ngx_strncasecmp(line, p, n) == 0;
}


/* behind the header's buffer, before the body's */

static ngx_int_t
ngx_http_hoody_ai_link_key(ngx_http_request_t *r, ngx_buf_t *key)
{
    ngx_chain_t  *cl, *head;

    cl = ngx_alloc_chain_link(r->pool);
    if (cl == NULL) {
        return NGX_ERROR;
    }

    head = r->upstream->request_bufs;

    cl->buf = key;
    cl->next = head->next;
    head->next = cl;

    /* "flush" belongs to the last buffer */

    if (cl->next == NULL && head->buf->flush) {
        head->buf->flush = 0;
        key->flush = 1;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_hoody_ai_get_peer(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_hoody_ai_peer_t  *hp = data;

    ngx_int_t                 rc;
    ngx_http_hoody_ai_ctx_t  *ctx;

    hp->checked = 0;
    hp->wiped = 0;

    ctx = ngx_http_get_module_ctx(hp->request, ngx_http_hoody_ai_module);

    if (ctx && ctx->reason == NGX_HTTP_HOODY_AI_R_UNVERIFIED) {

        /* the last peer may not have the key, the next one perhaps may */

        ctx->reason = NGX_HTTP_HOODY_AI_OK;
        ctx->state = NGX_HTTP_HOODY_AI_SENT;
    }

    rc = hp->get(pc, hp->data);

    if (rc != NGX_DONE || hp->key == NULL) {
        return rc;
    }

    /* a kept connection: made by whom, and verified for what? */

    if (ngx_http_hoody_ai_may_carry(hp->request, pc->connection) == NGX_OK) {
        return rc;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, pc->log, 0,
                   "hoody_ai: kept connection %p is not used",
                   pc->connection);

    ngx_http_hoody_ai_close_peer(pc->connection);

    pc->connection = NULL;
    pc->cached = 0;

    /* core connects to pc->sockaddr, which the balancer has set */

    return NGX_OK;
}


static void
ngx_http_hoody_ai_close_peer(ngx_connection_t *c)
{
#if (NGX_HTTP_SSL)

    if (c->ssl) {
        c->ssl->no_wait_shutdown = 1;
        c->ssl->no_send_shutdown = 1;

        (void) ngx_ssl_shutdown(c);
    }

#endif

    if (c->pool) {
        ngx_destroy_pool(c->pool);
    }

    ngx_close_connection(c);
}


static void
ngx_http_hoody_ai_free_peer(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t state)
{
    ngx_http_hoody_ai_peer_t  *hp = data;

    /* nothing more is sent on this attempt */

    ngx_http_hoody_ai_wipe(hp, 1);

    hp->free(pc, hp->data, state);
}


static void
ngx_http_hoody_ai_notify_peer(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t type)
{
    ngx_http_hoody_ai_peer_t  *hp = data;

    hp->notify(pc, hp->data, type);
}


#if (NGX_HTTP_SSL)

/*
 * A resumed session is as good as the handshake that made it, and core shares
 * sessions of one upstream between locations that verify differently.  A
 * connection that is to carry a key makes a handshake of its own.
 */

static ngx_int_t
ngx_http_hoody_ai_set_session(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_hoody_ai_peer_t  *hp = data;

    if (hp->key) {
        return NGX_OK;
    }

    return hp->set_session(pc, hp->data);
}


static void
ngx_http_hoody_ai_save_session(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_hoody_ai_peer_t  *hp = data;

    hp->save_session(pc, hp->data);
}


static ngx_http_hoody_ai_verified_t *
ngx_http_hoody_ai_find_verified(ngx_connection_t *c)
{
    ngx_pool_cleanup_t  *cln;

    for (cln = c->pool ? c->pool->cleanup : NULL; cln; cln = cln->next) {

        if (cln->handler == ngx_http_hoody_ai_verified_cleanup) {
            return cln->data;
        }
    }

    return NULL;
}


/*
 * The name that this request has core verify.  u->ssl_name becomes that only
 * when a handshake begins: on a kept connection it is still the upstream's.
 */

static ngx_int_t
ngx_http_hoody_ai_ssl_name(ngx_http_request_t *r, ngx_str_t *name)
{
    u_char               *p, *last;
    ngx_http_upstream_t  *u;

    u = r->upstream;

    if (u->conf->ssl_name) {

        if (ngx_http_complex_value(r, u->conf->ssl_name, name) != NGX_OK) {
            return NGX_ERROR;
        }

    } else {
        *name = u->ssl_name;
    }

    /* without a port, as core does it */

    p = name->data;
    last = p + name->len;

    if (name->len && *p == '[') {
        p = ngx_strlchr(p, last, ']');

        if (p == NULL) {
            p = name->data;
        }
    }

    p = ngx_strlchr(p, last, ':');

    if (p) {
        name->len = p - name->data;
    }

    return name->len ? NGX_OK : NGX_ERROR;
}


/* nothing to free: the handler's address marks the record */

static void
ngx_http_hoody_ai_verified_cleanup(void *data)
{
    ngx_http_hoody_ai_verified_t  *v = data;

    v->ssl = NULL;
}

#endif


static ngx_int_t
ngx_http_hoody_ai_is_local(struct sockaddr *sa)
{
    struct sockaddr_in   *sin;
#if (NGX_HAVE_INET6)
    struct sockaddr_in6  *sin6;
#endif

    switch (sa->sa_family) {

    case AF_UNIX:
        return 1;

    case AF_INET:
        sin = (struct sockaddr_in *) sa;
        return (ntohl(sin->sin_addr.s_addr) >> 24) == 127;

#if (NGX_HAVE_INET6)
    case AF_INET6:
        sin6 = (struct sockaddr_in6 *) sa;
        return IN6_IS_ADDR_LOOPBACK(&sin6->sin6_addr);
#endif

    default:
        return 0;
    }
}


/*
 * May a key go out on this connection?  On TLS: its own handshake was verified
 * with this location's trust anchors and for this name.  Otherwise the other
 * end is on this host, or the administrator said "insecure".
 */

static ngx_int_t
ngx_http_hoody_ai_may_carry(ngx_http_request_t *r, ngx_connection_t *c)
{
    ngx_http_upstream_t           *u;
    ngx_http_hoody_ai_loc_conf_t  *hlcf;
#if (NGX_HTTP_SSL)
    ngx_str_t                      name;
    ngx_pool_cleanup_t            *cln;
    ngx_http_hoody_ai_verified_t  *v;
#endif

    u = r->upstream;

    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_hoody_ai_module);

    if (hlcf->insecure) {
        return NGX_OK;
    }

#if (NGX_HTTP_SSL)

    if (c->ssl) {

        if (!u->ssl || !u->conf->ssl_verify || !c->ssl->handshaked
            || SSL_get_verify_result(c->ssl->connection) != X509_V_OK)
        {
            return NGX_DECLINED;
        }

        if (ngx_http_hoody_ai_ssl_name(r, &name) != NGX_OK) {
            return NGX_DECLINED;
        }

        v = ngx_http_hoody_ai_find_verified(c);

        if (v) {
            return v->ssl == u->conf->ssl && v->name.len == name.len
                   && ngx_memcmp(v->name.data, name.data, name.len) == 0
                   ? NGX_OK : NGX_DECLINED;
        }

        /* without a record only a connection that core has just verified */

        if (u->peer.cached || SSL_session_reused(c->ssl->connection)) {
            return NGX_DECLINED;
        }

        cln = ngx_pool_cleanup_add(c->pool, sizeof(*v) + name.len);
        if (cln == NULL) {
            return NGX_DECLINED;
        }

        v = cln->data;
        v->ssl = u->conf->ssl;
        v->name.len = name.len;
        v->name.data = (u_char *) v + sizeof(*v);
        ngx_memcpy(v->name.data, name.data, name.len);

        cln->handler = ngx_http_hoody_ai_verified_cleanup;

        return NGX_OK;
    }

    if (u->ssl) {
        return NGX_DECLINED;
    }

#endif

    return u->peer.sockaddr && ngx_http_hoody_ai_is_local(u->peer.sockaddr)
           ? NGX_OK : NGX_DECLINED;
}


/* every byte to the provider comes through here */

static ngx_int_t
ngx_http_hoody_ai_send(void *data, ngx_chain_t *in)
{
    ngx_http_hoody_ai_peer_t  *hp = data;

    ngx_int_t                 rc;
    ngx_connection_t         *c;
    ngx_http_request_t       *r;
    ngx_http_hoody_ai_ctx_t  *ctx;

    r = hp->request;
    c = r->upstream->peer.connection;

    if (hp->key && !hp->checked) {

        if (ngx_http_hoody_ai_may_carry(r, c) != NGX_OK) {

            ngx_log_error(NGX_LOG_ERR, c->log, 0,
                          "hoody_ai: the key is not sent to \"%V\": neither "
                          "verified TLS (proxy_ssl_verify on) nor an address "
                          "of this host", r->upstream->peer.name);

            ctx = ngx_http_get_module_ctx(r, ngx_http_hoody_ai_module);

            if (ctx) {
                (void) ngx_http_hoody_ai_refuse(r, ctx,
                                               NGX_HTTP_HOODY_AI_R_UNVERIFIED);
            }

            return NGX_ERROR;
        }

        hp->checked = 1;
    }

    rc = hp->output_filter(hp->output_ctx, in);

    if (hp->key && !hp->wiped && hp->key->pos == hp->key->last) {
        ngx_http_hoody_ai_wipe(hp, 0);
    }

    return rc;
}


/* the plain text that the TLS layer gathers before it encrypts */

static void
ngx_http_hoody_ai_wipe(ngx_http_hoody_ai_peer_t *hp, ngx_uint_t unsent)
{
#if (NGX_HTTP_SSL)
    ngx_buf_t         *b;
    ngx_connection_t  *c;

    if (hp->key == NULL || hp->wiped) {
        return;
    }

    c = hp->request->upstream ? hp->request->upstream->peer.connection : NULL;

    if (c == NULL || c->ssl == NULL || c->ssl->buf == NULL) {
        return;
    }

    b = c->ssl->buf;

    if (b->start == NULL) {
        return;
    }

    if (unsent || b->pos == b->last) {
        ngx_explicit_memzero(b->start, b->end - b->start);
        hp->wiped = 1;
    }
#endif
}


void
ngx_http_hoody_ai_upstream_cleanup(ngx_http_hoody_ai_ctx_t *ctx)
{
    if (ctx->peer) {
        ngx_http_hoody_ai_wipe(ctx->peer, 1);
    }
}


/* ends the provider's side of a request; the request itself goes on */

void
ngx_http_hoody_ai_upstream_close(ngx_http_request_t *r)
{
    ngx_http_upstream_t  *u;

    u = r->upstream;

    if (u && u->cleanup) {

        /* core's cleanup finalizes the request once, with NGX_DONE */

        r->main->count++;

        (*u->cleanup)(r);
    }
}


static ngx_int_t
ngx_http_hoody_ai_reinit_request(ngx_http_request_t *r)
{
    ngx_int_t                 rc;
    ngx_http_upstream_t      *u;
    ngx_http_hoody_ai_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_hoody_ai_module);

    if (ctx == NULL || ctx->peer == NULL) {
        return NGX_ERROR;
    }

    u = r->upstream;

    /* what the answer before this attempt left */

    ctx->from_provider = 0;
    ctx->provider_id_named = 0;
    ngx_str_null(&ctx->provider_request_id);

    rc = ctx->peer->reinit_request(r);

    ctx->peer->process_header = u->process_header;
    u->process_header = ngx_http_hoody_ai_process_header;

    return rc;
}


static ngx_int_t
ngx_http_hoody_ai_process_header(ngx_http_request_t *r)
{
    size_t                     limit_rate;
    ngx_int_t                  rc;
    ngx_uint_t                 http_version;
    ngx_http_upstream_t       *u;
    ngx_http_hoody_ai_ctx_t   *ctx;
    ngx_http_hoody_ai_peer_t  *hp;

    ctx = ngx_http_get_module_ctx(r, ngx_http_hoody_ai_module);

    if (ctx == NULL || ctx->peer == NULL) {
        return NGX_ERROR;
    }

    u = r->upstream;
    hp = ctx->peer;

    /*
     * Before anything is parsed, or logged because it cannot be: a key in the
     * status line or a header.  What was read before is looked at again, since
     * a key may arrive in two pieces.
     */

    (void) hai_mask_apply(&ngx_http_hoody_ai_worker.conf->mask,
                          u->buffer.start, u->buffer.last - u->buffer.start);

    limit_rate = r->limit_rate;
    http_version = r->http_version;

    /* proxy replaces the pointer when it goes from the status line on */

    u->process_header = hp->process_header;

    rc = hp->process_header(r);

    hp->process_header = u->process_header;
    u->process_header = ngx_http_hoody_ai_process_header;

    /* proxy takes junk for HTTP/0.9 and would have the caller answered so */

    r->http_version = http_version;

    if (rc != NGX_OK) {
        return rc;
    }

    /* a provider does not steer this server: X-Accel-* */

    r->limit_rate = limit_rate;
    r->headers_out.override_charset = NULL;

    u->headers_in.x_accel_redirect = NULL;
    u->buffering = 0;

    return ngx_http_hoody_ai_check_answer(r, ctx);
}


/*
 * An answer in another encoding could hide a key; another protocol is not
 * understood.  The provider's request id goes out under a name of its own.
 */

static ngx_int_t
ngx_http_hoody_ai_check_answer(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    ngx_uint_t            i;
    ngx_list_part_t      *part;
    ngx_table_elt_t      *h;
    ngx_http_upstream_t  *u;

    static u_char      lowcase[] = "x-provider-request-id";
    static ngx_uint_t  hash;

    u = r->upstream;

    if (u->headers_in.status_n < NGX_HTTP_OK) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "hoody_ai: provider answered with status %ui",
                      u->headers_in.status_n);
        goto refused;
    }

    part = &u->headers_in.headers.part;
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

        switch (h[i].key.len) {

        case sizeof("request-id") - 1:

            if (ngx_memcmp(h[i].lowcase_key, "request-id", h[i].key.len) == 0)
            {
                ctx->provider_request_id = h[i].value;
            }

            break;

        case sizeof("x-request-id") - 1:

            if (ngx_memcmp(h[i].lowcase_key, "x-request-id", h[i].key.len)
                == 0)
            {
                ctx->provider_request_id = h[i].value;

                ngx_str_set(&h[i].key, "X-Provider-Request-Id");
                h[i].lowcase_key = lowcase;

                if (hash == 0) {
                    hash = ngx_hash_key(lowcase, sizeof(lowcase) - 1);
                }

                h[i].hash = hash;
                ctx->provider_id_named = 1;
            }

            break;

        case sizeof("content-encoding") - 1:

            if (ngx_memcmp(h[i].lowcase_key, "content-encoding", h[i].key.len)
                == 0
                && (h[i].value.len != sizeof("identity") - 1
                    || ngx_strncasecmp(h[i].value.data,
                                       (u_char *) "identity",
                                       sizeof("identity") - 1)
                       != 0))
            {
                ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                              "hoody_ai: provider's answer is encoded");
                goto refused;
            }

            break;
        }
    }

    ctx->from_provider = 1;

    return NGX_OK;

refused:

    (void) ngx_http_hoody_ai_refuse(r, ctx, NGX_HTTP_HOODY_AI_R_ANSWER);

    return NGX_ERROR;
}


/*
 * Core says how the provider's side ended: with a status for what the provider
 * did, the two of a caller who went away aside.  An error that is not the
 * caller's connection's is an answer that does not keep to its framing.
 */

static void
ngx_http_hoody_ai_finalize_request(ngx_http_request_t *r, ngx_int_t rc)
{
    ngx_connection_t         *c;
    ngx_http_hoody_ai_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_hoody_ai_module);

    if (ctx == NULL || ctx->peer == NULL) {
        return;
    }

    c = r->connection;

    if (rc == NGX_ERROR) {
        ctx->broken = !c->error && !c->timedout;

    } else if (rc >= NGX_HTTP_SPECIAL_RESPONSE
               && rc != NGX_HTTP_REQUEST_TIME_OUT
               && rc != NGX_HTTP_CLIENT_CLOSED_REQUEST)
    {
        ctx->broken = 1;
    }

    ctx->peer->finalize_request(r, rc);
}
