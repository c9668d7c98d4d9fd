
/*
 * Writes the entries of the stream of events, as arguments of XADD in the
 * form in which Redis reads them.  A field without a value is left out.
 */


#include "ngx_http_hoody_ai_module.h"
#include "ngx_http_hoody_ai_entry.h"

#include <openssl/rand.h>


/* ceilings of what comes from outside */
#define NGX_HTTP_HOODY_AI_EVENT_MODEL        256
#define NGX_HTTP_HOODY_AI_EVENT_PROVIDER_ID  128

/* names, numbers and texts of a fixed size, of any event */
#define NGX_HTTP_HOODY_AI_EVENT_FIXED        1280


static ngx_str_t *ngx_http_hoody_ai_entry_provider(
    ngx_http_hoody_ai_ctx_t *ctx);
static u_char *ngx_http_hoody_ai_put_subject(u_char *p,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_uint_t *n);
static u_char *ngx_http_hoody_ai_put_target(u_char *p,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_str_t *provider, ngx_uint_t *n);
static u_char *ngx_http_hoody_ai_put_usage(u_char *p,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_uint_t *n);
static u_char *ngx_http_hoody_ai_put_calls(u_char *p,
    struct hai_calls *calls, ngx_uint_t *n);
static u_char *ngx_http_hoody_ai_put_eid(u_char *p);
static u_char *ngx_http_hoody_ai_put_time(u_char *p);
static u_char *ngx_http_hoody_ai_put_digits(u_char *p, uint64_t n);


static u_char    ngx_http_hoody_ai_eid[16];
static uint64_t  ngx_http_hoody_ai_events;


/* "name" has the length that "len" says: both are text of the record */

#define ngx_http_hoody_ai_put_name(p, len, name)                              \
    ngx_cpymem(p, "$" len CRLF name CRLF "$",                                 \
               sizeof("$" len CRLF name CRLF "$") - 1)

#define ngx_http_hoody_ai_put_const(p, len, name, vlen, value)                \
    ngx_cpymem(p, "$" len CRLF name CRLF "$" vlen CRLF value CRLF,            \
               sizeof("$" len CRLF name CRLF "$" vlen CRLF value CRLF) - 1)


static ngx_inline u_char *
ngx_http_hoody_ai_put_bytes(u_char *p, u_char *data, size_t len)
{
    if (len < 10) {
        *p++ = '0' + len;

    } else {
        p = ngx_http_hoody_ai_put_digits(p, len);
    }

    *p++ = CR;
    *p++ = LF;
    p = ngx_cpymem(p, data, len);
    *p++ = CR;
    *p++ = LF;

    return p;
}


static ngx_inline u_char *
ngx_http_hoody_ai_put_number(u_char *p, uint64_t n)
{
    u_char  *q, buf[NGX_INT64_LEN];

    q = ngx_http_hoody_ai_put_digits(buf, n);

    return ngx_http_hoody_ai_put_bytes(p, buf, q - buf);
}


ngx_int_t
ngx_http_hoody_ai_entry_start(ngx_cycle_t *cycle)
{
    u_char  random[8];

    if (RAND_bytes(random, sizeof(random)) != 1) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "hoody_ai: RAND_bytes() failed");
        return NGX_ERROR;
    }

    (void) ngx_hex_dump(ngx_http_hoody_ai_eid, random, sizeof(random));

    ngx_http_hoody_ai_events = 0;

    return NGX_OK;
}


void
ngx_http_hoody_ai_entry_request(ngx_http_hoody_ai_ctx_t *ctx,
    ngx_uint_t status, ngx_str_t *reason)
{
    size_t             id_len;
    u_char            *p;
    ngx_str_t         *provider;
    ngx_uint_t         n;
    struct hai_calls  *calls;

    provider = ngx_http_hoody_ai_entry_provider(ctx);

    /* a stored answer is no new one: its calls were told when it was made */

    calls = (ctx->usage && ctx->route && !ctx->route->stored)
            ? &ctx->usage->calls.calls : NULL;

    id_len = ngx_min(ctx->provider_request_id.len,
                     NGX_HTTP_HOODY_AI_EVENT_PROVIDER_ID);

    p = ngx_http_hoody_ai_event_open(NGX_HTTP_HOODY_AI_EVENT_FIXED
                                     + ctx->container.len
                                     + ctx->container_id.len
                                     + (provider ? provider->len : 0)
                                     + NGX_HTTP_HOODY_AI_EVENT_MODEL
                                     + (calls ? calls->text_len : 0)
                                     + id_len);
    if (p == NULL) {
        return;
    }

    p = ngx_http_hoody_ai_put_eid(p);
    p = ngx_http_hoody_ai_put_const(p, "4", "type", "7", "request");
    p = ngx_http_hoody_ai_put_time(p);

    n = 3;

    p = ngx_http_hoody_ai_put_subject(p, ctx, &n);
    p = ngx_http_hoody_ai_put_target(p, ctx, provider, &n);

    p = ngx_http_hoody_ai_put_name(p, "6", "status");
    p = ngx_http_hoody_ai_put_number(p, status);

    p = ngx_http_hoody_ai_put_name(p, "6", "reason");
    p = ngx_http_hoody_ai_put_bytes(p, reason->data, reason->len);

    p = ngx_http_hoody_ai_put_name(p, "11", "duration_ms");
    p = ngx_http_hoody_ai_put_number(p, ngx_current_msec - ctx->started);

    n += 3;

    if (ctx->first_byte) {
        p = ngx_http_hoody_ai_put_name(p, "7", "ttft_ms");
        p = ngx_http_hoody_ai_put_number(p, ctx->first_byte - ctx->started);
        n++;
    }

    p = ngx_http_hoody_ai_put_usage(p, ctx, &n);

    if (ctx->route && !hai_route_is_turn(ctx->route)) {
        p = ngx_http_hoody_ai_put_const(p, "4", "turn", "1", "0");
        n++;
    }

    if (calls && calls->count) {
        p = ngx_http_hoody_ai_put_calls(p, calls, &n);
    }

    p = ngx_http_hoody_ai_put_name(p, "8", "bytes_in");
    p = ngx_http_hoody_ai_put_number(p, ctx->bytes_in);

    p = ngx_http_hoody_ai_put_name(p, "9", "bytes_out");
    p = ngx_http_hoody_ai_put_number(p, ctx->bytes_out);

    n += 2;

    if (id_len) {
        p = ngx_http_hoody_ai_put_name(p, "19", "provider_request_id");
        p = ngx_http_hoody_ai_put_bytes(p, ctx->provider_request_id.data,
                                        id_len);
        n++;
    }

    ngx_http_hoody_ai_event_close(p, n * 2);
}


/* for rules about errors: what did not come from the caller going away */

void
ngx_http_hoody_ai_entry_error(ngx_http_hoody_ai_ctx_t *ctx, ngx_uint_t status,
    ngx_str_t *reason, ngx_uint_t depth)
{
    u_char      *p;
    ngx_str_t   *provider;
    ngx_uint_t   n;

    provider = ngx_http_hoody_ai_entry_provider(ctx);

    p = ngx_http_hoody_ai_event_open(NGX_HTTP_HOODY_AI_EVENT_FIXED
                                     + ctx->container.len
                                     + ctx->container_id.len
                                     + (provider ? provider->len : 0)
                                     + NGX_HTTP_HOODY_AI_EVENT_MODEL);
    if (p == NULL) {
        return;
    }

    p = ngx_http_hoody_ai_put_eid(p);
    p = ngx_http_hoody_ai_put_const(p, "4", "type", "13", "session.error");
    p = ngx_http_hoody_ai_put_time(p);

    n = 3;

    p = ngx_http_hoody_ai_put_subject(p, ctx, &n);
    p = ngx_http_hoody_ai_put_target(p, ctx, provider, &n);

    p = ngx_http_hoody_ai_put_name(p, "6", "status");
    p = ngx_http_hoody_ai_put_number(p, status);

    p = ngx_http_hoody_ai_put_name(p, "6", "reason");
    p = ngx_http_hoody_ai_put_bytes(p, reason->data, reason->len);

    p = ngx_http_hoody_ai_put_name(p, "5", "depth");
    p = ngx_http_hoody_ai_put_number(p, depth);

    n += 3;

    ngx_http_hoody_ai_event_close(p, n * 2);
}


/* tells that access was taken away; what was used is in the other entry */

void
ngx_http_hoody_ai_entry_revoked(ngx_http_hoody_ai_ctx_t *ctx,
    ngx_uint_t status)
{
    u_char      *p;
    ngx_uint_t   n;

    p = ngx_http_hoody_ai_event_open(NGX_HTTP_HOODY_AI_EVENT_FIXED
                                     + ctx->container.len
                                     + ctx->container_id.len);
    if (p == NULL) {
        return;
    }

    p = ngx_http_hoody_ai_put_eid(p);
    p = ngx_http_hoody_ai_put_const(p, "4", "type", "7", "revoked");
    p = ngx_http_hoody_ai_put_time(p);

    n = 3;

    p = ngx_http_hoody_ai_put_subject(p, ctx, &n);

    p = ngx_http_hoody_ai_put_name(p, "6", "status");
    p = ngx_http_hoody_ai_put_number(p, status);

    p = ngx_http_hoody_ai_put_const(p, "6", "reason", "14", "access_revoked");

    n += 2;

    ngx_http_hoody_ai_event_close(p, n * 2);
}


void
ngx_http_hoody_ai_entry_denied(ngx_http_hoody_ai_denied_t *d)
{
    size_t                              len;
    u_char                             *p, *source;
    u_char                              text[NGX_INET6_ADDRSTRLEN];
    ngx_uint_t                          n;
    const ngx_http_hoody_ai_refusal_t  *rf;

    p = ngx_http_hoody_ai_event_open(NGX_HTTP_HOODY_AI_EVENT_FIXED
                                     + HAI_NAME_MAX
                                     + NGX_HTTP_HOODY_AI_SOURCE);
    if (p == NULL) {
        return;
    }

    switch (d->kind) {

    case NGX_HTTP_HOODY_AI_SOURCE_ADDR:
        source = text;
        len = ngx_inet_ntop(d->source_len == 4 ? AF_INET : AF_INET6,
                            d->source, text, NGX_INET6_ADDRSTRLEN);
        break;

    case NGX_HTTP_HOODY_AI_SOURCE_CGROUP:
        source = d->source;
        len = d->source_len;
        break;

    case NGX_HTTP_HOODY_AI_SOURCE_UNIX:
        source = (u_char *) "unix";
        len = sizeof("unix") - 1;
        break;

    default: /* NGX_HTTP_HOODY_AI_SOURCE_OTHER */
        source = (u_char *) "other";
        len = sizeof("other") - 1;
    }

    rf = &ngx_http_hoody_ai_refusals[d->reason];

    p = ngx_http_hoody_ai_put_eid(p);
    p = ngx_http_hoody_ai_put_const(p, "4", "type", "6", "denied");
    p = ngx_http_hoody_ai_put_time(p);

    p = ngx_http_hoody_ai_put_name(p, "6", "source");
    p = ngx_http_hoody_ai_put_bytes(p, source, len);

    n = 7;

    if (d->container_len) {
        p = ngx_http_hoody_ai_put_name(p, "9", "container");
        p = ngx_http_hoody_ai_put_bytes(p, d->container, d->container_len);
        n++;
    }

    p = ngx_http_hoody_ai_put_name(p, "6", "status");
    p = ngx_http_hoody_ai_put_number(p, rf->status);

    p = ngx_http_hoody_ai_put_name(p, "6", "reason");
    p = ngx_http_hoody_ai_put_bytes(p, rf->reason.data, rf->reason.len);

    p = ngx_http_hoody_ai_put_name(p, "5", "count");
    p = ngx_http_hoody_ai_put_number(p, d->count);

    ngx_http_hoody_ai_event_close(p, n * 2);
}


void
ngx_http_hoody_ai_entry_registry(ngx_uint_t connected)
{
    u_char  *p;

    p = ngx_http_hoody_ai_event_open(NGX_HTTP_HOODY_AI_EVENT_FIXED);
    if (p == NULL) {
        return;
    }

    p = ngx_http_hoody_ai_put_eid(p);
    p = ngx_http_hoody_ai_put_const(p, "4", "type", "8", "registry");
    p = ngx_http_hoody_ai_put_time(p);

    if (connected) {
        p = ngx_http_hoody_ai_put_const(p, "6", "reason", "14",
                                        "feed_recovered");
    } else {
        p = ngx_http_hoody_ai_put_const(p, "6", "reason", "9", "feed_lost");
    }

    ngx_http_hoody_ai_event_close(p, 4 * 2);
}


/* the name of the secret that was used; NULL: none */

static ngx_str_t *
ngx_http_hoody_ai_entry_provider(ngx_http_hoody_ai_ctx_t *ctx)
{
    ngx_uint_t                         i;
    ngx_http_hoody_ai_main_conf_t     *hmcf;
    ngx_http_hoody_ai_named_secret_t  *ns;

    if (ctx->secret == NULL) {
        return NULL;
    }

    hmcf = ngx_http_hoody_ai_worker.conf;
    ns = hmcf->secrets.elts;

    for (i = 0; i < hmcf->secrets.nelts; i++) {
        if (ns[i].secret == ctx->secret) {
            return &ns[i].name;
        }
    }

    return NULL;
}


/* which request; these functions add the fields that they wrote to *n */

static u_char *
ngx_http_hoody_ai_put_subject(u_char *p, ngx_http_hoody_ai_ctx_t *ctx,
    ngx_uint_t *n)
{
    p = ngx_http_hoody_ai_put_name(p, "10", "request_id");
    p = ngx_http_hoody_ai_put_bytes(p, ctx->request_id,
                                    NGX_HTTP_HOODY_AI_REQUEST_ID_LEN);

    p = ngx_http_hoody_ai_put_name(p, "9", "container");
    p = ngx_http_hoody_ai_put_bytes(p, ctx->container.data,
                                    ctx->container.len);

    p = ngx_http_hoody_ai_put_name(p, "12", "container_id");
    p = ngx_http_hoody_ai_put_bytes(p, ctx->container_id.data,
                                    ctx->container_id.len);

    *n += 3;

    if (ctx->route) {
        p = ngx_http_hoody_ai_put_name(p, "3", "api");
        p = ngx_http_hoody_ai_put_bytes(p, (u_char *) ctx->route->api,
                                        ngx_strlen(ctx->route->api));
        (*n)++;
    }

    return p;
}


static u_char *
ngx_http_hoody_ai_put_target(u_char *p, ngx_http_hoody_ai_ctx_t *ctx,
    ngx_str_t *provider, ngx_uint_t *n)
{
    if (provider) {
        p = ngx_http_hoody_ai_put_name(p, "8", "provider");
        p = ngx_http_hoody_ai_put_bytes(p, provider->data, provider->len);
        (*n)++;
    }

    if (ctx->model.len) {
        p = ngx_http_hoody_ai_put_name(p, "5", "model");
        p = ngx_http_hoody_ai_put_bytes(p, ctx->model.data,
                                        ngx_min(ctx->model.len,
                                               NGX_HTTP_HOODY_AI_EVENT_MODEL));
        (*n)++;
    }

    return p;
}


static u_char *
ngx_http_hoody_ai_put_usage(u_char *p, ngx_http_hoody_ai_ctx_t *ctx,
    ngx_uint_t *n)
{
    struct hai_usage  *usage;

    (*n)++;

    if (ctx->usage == NULL || !ctx->usage->usage.reported) {
        return ngx_http_hoody_ai_put_const(p, "5", "usage", "4", "none");
    }

    usage = &ctx->usage->usage;

    if (usage->input_tokens >= 0) {
        p = ngx_http_hoody_ai_put_name(p, "12", "input_tokens");
        p = ngx_http_hoody_ai_put_number(p, usage->input_tokens);
        (*n)++;
    }

    if (usage->output_tokens >= 0) {
        p = ngx_http_hoody_ai_put_name(p, "13", "output_tokens");
        p = ngx_http_hoody_ai_put_number(p, usage->output_tokens);
        (*n)++;
    }

    if (usage->cached_tokens >= 0) {
        p = ngx_http_hoody_ai_put_name(p, "13", "cached_tokens");
        p = ngx_http_hoody_ai_put_number(p, usage->cached_tokens);
        (*n)++;
    }

    return ngx_http_hoody_ai_put_const(p, "5", "usage", "8", "reported");
}


/* the names were read before keys were masked, and a key may be one */

static u_char *
ngx_http_hoody_ai_put_calls(u_char *p, struct hai_calls *calls, ngx_uint_t *n)
{
    if (calls->text_len) {
        (void) hai_mask_apply(&ngx_http_hoody_ai_worker.conf->mask,
                              calls->text, calls->text_len);

        p = ngx_http_hoody_ai_put_name(p, "5", "tools");
        p = ngx_http_hoody_ai_put_bytes(p, (u_char *) calls->text,
                                        calls->text_len);
        (*n)++;
    }

    p = ngx_http_hoody_ai_put_name(p, "10", "tool_calls");
    p = ngx_http_hoody_ai_put_number(p, calls->count);
    (*n)++;

    return p;
}


/* digits in pairs would not be faster: numbers here are short */

static u_char *
ngx_http_hoody_ai_put_digits(u_char *p, uint64_t n)
{
    u_char  *q, buf[NGX_INT64_LEN];

    q = buf + NGX_INT64_LEN;

    do {
        *--q = '0' + n % 10;
        n /= 10;
    } while (n);

    return ngx_cpymem(p, q, buf + NGX_INT64_LEN - q);
}


/* 64 random bits of this worker's start and a number */

static u_char *
ngx_http_hoody_ai_put_eid(u_char *p)
{
    u_char      *q;
    uint64_t     n;
    ngx_uint_t   i;

    n = ++ngx_http_hoody_ai_events;

    p = ngx_cpymem(p, "$3" CRLF "eid" CRLF "$27" CRLF,
                   sizeof("$3" CRLF "eid" CRLF "$27" CRLF) - 1);
    p = ngx_cpymem(p, ngx_http_hoody_ai_eid, 16);
    *p++ = '-';

    q = p + 10;

    for (i = 0; i < 10; i++) {
        *--q = "0123456789abcdef"[n & 0xf];
        n >>= 4;
    }

    p += 10;
    *p++ = CR;
    *p++ = LF;

    return p;
}


static u_char *
ngx_http_hoody_ai_put_time(u_char *p)
{
    ngx_time_t       *tp;

    static size_t     len;
    static u_char     text[NGX_INT64_LEN + sizeof("$20" CRLF CRLF)];
    static uint64_t   last;

    tp = ngx_timeofday();

    /* many requests end in the same millisecond, or the same turn at least */

    if (last != (uint64_t) tp->sec * 1000 + tp->msec) {
        last = (uint64_t) tp->sec * 1000 + tp->msec;
        len = ngx_http_hoody_ai_put_number(text, last) - text;
    }

    p = ngx_http_hoody_ai_put_name(p, "2", "ts");

    return ngx_cpymem(p, text, len);
}
