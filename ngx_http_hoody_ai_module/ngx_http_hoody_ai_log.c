
/*
 * The end of every request: counters, and one record of what happened.  Also
 * measures what the module's own work costs.  The log phase runs after the
 * request's cleanups; nothing here allocates, waits or fails a request.
 */


#include "ngx_http_hoody_ai_module.h"
#include "ngx_http_hoody_ai_zone.h"

#include <openssl/rand.h>


/* one request in so many is timed; a power of two */
#define NGX_HTTP_HOODY_AI_SAMPLE     16

/* refusals of the current second by reason and source */
#define NGX_HTTP_HOODY_AI_DENIED     256
#define NGX_HTTP_HOODY_AI_DENIED_MAX 192

#define NGX_HTTP_HOODY_AI_SOURCE     64

/* ceilings of what comes from outside */
#define NGX_HTTP_HOODY_AI_EVENT_MODEL        256
#define NGX_HTTP_HOODY_AI_EVENT_PROVIDER_ID  128

/* names, numbers and texts of a fixed size, of any event */
#define NGX_HTTP_HOODY_AI_EVENT_FIXED        1280


typedef enum {
    NGX_HTTP_HOODY_AI_SOURCE_ADDR = 0,
    NGX_HTTP_HOODY_AI_SOURCE_CGROUP,
    NGX_HTTP_HOODY_AI_SOURCE_UNIX,
    NGX_HTTP_HOODY_AI_SOURCE_OTHER
} ngx_http_hoody_ai_source_e;


typedef struct {
    ngx_uint_t    count;               /* 0: free */
    uint8_t       reason;
    uint8_t       kind;
    uint8_t       source_len;
    uint8_t       container_len;
    u_char        source[NGX_HTTP_HOODY_AI_SOURCE];
    u_char        container[HAI_NAME_MAX];
} ngx_http_hoody_ai_denied_t;


static ngx_int_t ngx_http_hoody_ai_stream_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_hoody_ai_log_handler(ngx_http_request_t *r);
static void ngx_http_hoody_ai_log_overhead(ngx_http_hoody_ai_slot_t *slot,
    ngx_uint_t spent);
static void ngx_http_hoody_ai_log_series(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_uint_t status);
static void ngx_http_hoody_ai_log_request(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_uint_t status);
static void ngx_http_hoody_ai_log_revoked(ngx_http_hoody_ai_ctx_t *ctx,
    ngx_uint_t status);
static void ngx_http_hoody_ai_log_denied(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
static void ngx_http_hoody_ai_log_set_source(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_http_hoody_ai_denied_t *d);
static void ngx_http_hoody_ai_log_flush_denied(ngx_http_hoody_ai_denied_t *d);
static void ngx_http_hoody_ai_log_registry(ngx_uint_t connected);
static u_char *ngx_http_hoody_ai_put_eid(u_char *p);
static u_char *ngx_http_hoody_ai_put_time(u_char *p);
static u_char *ngx_http_hoody_ai_put_digits(u_char *p, uint64_t n);


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;


/* refused before anything was let in: aggregated, not one entry each */

static const u_char
    ngx_http_hoody_ai_is_denied[NGX_HTTP_HOODY_AI_R_COUNT] = {
    [NGX_HTTP_HOODY_AI_R_NO_CREDENTIAL] = 1,
    [NGX_HTTP_HOODY_AI_R_BAD_CREDENTIAL] = 1,
    [NGX_HTTP_HOODY_AI_R_NO_CONTAINER] = 1,
    [NGX_HTTP_HOODY_AI_R_NOT_RUNNING] = 1,
    [NGX_HTTP_HOODY_AI_R_WRONG_SOURCE] = 1,
    [NGX_HTTP_HOODY_AI_R_SHARED_SOURCE] = 1,
    [NGX_HTTP_HOODY_AI_R_SHARED_NUMBER] = 1,
    [NGX_HTTP_HOODY_AI_R_PEER_UNKNOWN] = 1,
    [NGX_HTTP_HOODY_AI_R_PEER_REPLACED] = 1,
    [NGX_HTTP_HOODY_AI_R_DISABLED] = 1,
    [NGX_HTTP_HOODY_AI_R_ROUTE] = 1,
    [NGX_HTTP_HOODY_AI_R_NOT_LOADED] = 1,
    [NGX_HTTP_HOODY_AI_R_STALE] = 1
};


static ngx_http_hoody_ai_denied_t
    ngx_http_hoody_ai_denied[NGX_HTTP_HOODY_AI_DENIED];
static ngx_uint_t                  ngx_http_hoody_ai_ndenied;

/* what found no place in the table, by reason */
static ngx_uint_t
    ngx_http_hoody_ai_denied_other[NGX_HTTP_HOODY_AI_R_COUNT];

static ngx_uint_t                  ngx_http_hoody_ai_turn;

/* the request whose precontent work is being timed, and since when */
static ngx_http_hoody_ai_ctx_t    *ngx_http_hoody_ai_timed;
static uint64_t                    ngx_http_hoody_ai_timed_since;

static u_char                      ngx_http_hoody_ai_eid[16];
static uint64_t                    ngx_http_hoody_ai_events;
static ngx_uint_t                  ngx_http_hoody_ai_was_connected;
static ngx_uint_t                  ngx_http_hoody_ai_was_loaded;


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


/* has to come before filter_init(): it then runs after that one's filter */

ngx_int_t
ngx_http_hoody_ai_log_init(ngx_conf_t *cf)
{
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_LOG_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_hoody_ai_log_handler;

    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_hoody_ai_stream_filter;

    return NGX_OK;
}


ngx_int_t
ngx_http_hoody_ai_log_start(ngx_cycle_t *cycle)
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


uint64_t
ngx_http_hoody_ai_clock(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}


/*
 * The access phase with a clock around it, for one request in 16: reading the
 * clock twice takes as long as a tenth of what is measured.
 */

ngx_int_t
ngx_http_hoody_ai_timed_access(ngx_http_request_t *r)
{
    uint64_t                  start;
    ngx_int_t                 rc;
    ngx_http_hoody_ai_ctx_t  *ctx;

    if (++ngx_http_hoody_ai_turn & (NGX_HTTP_HOODY_AI_SAMPLE - 1)) {
        return ngx_http_hoody_ai_access_handler(r);
    }

    start = ngx_http_hoody_ai_clock();

    rc = ngx_http_hoody_ai_access_handler(r);

    ctx = ngx_http_get_module_ctx(r, ngx_http_hoody_ai_module);

    if (ctx) {
        ctx->overhead += ngx_http_hoody_ai_clock() - start;
        ctx->sampled = 1;
    }

    return rc;
}


/*
 * The precontent handler runs the later phases from within itself when the
 * whole body is there already; the work then ends where the handler is called
 * again.  The request may be gone when the first call returns.  A body that
 * is waited for is not timed, and neither is the rule engine.
 */

ngx_int_t
ngx_http_hoody_ai_timed_precontent(ngx_http_request_t *r)
{
    ngx_int_t                 rc;
    ngx_http_hoody_ai_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_hoody_ai_module);

    if (ctx == NULL) {
        return ngx_http_hoody_ai_precontent_handler(r);
    }

    if (ctx == ngx_http_hoody_ai_timed) {
        ctx->overhead += ngx_http_hoody_ai_clock()
                         - ngx_http_hoody_ai_timed_since;
        ngx_http_hoody_ai_timed = NULL;
    }

    if (!ctx->sampled
        || (ctx->state != NGX_HTTP_HOODY_AI_ADMITTED
            && ctx->state != NGX_HTTP_HOODY_AI_ASKING))
    {
        return ngx_http_hoody_ai_precontent_handler(r);
    }

    ngx_http_hoody_ai_timed = ctx;
    ngx_http_hoody_ai_timed_since = ngx_http_hoody_ai_clock();

    rc = ngx_http_hoody_ai_precontent_handler(r);

    if (rc == NGX_DECLINED && ctx == ngx_http_hoody_ai_timed) {

        /* it was asked about, and goes on from here */

        ctx->overhead += ngx_http_hoody_ai_clock()
                         - ngx_http_hoody_ai_timed_since;
    }

    ngx_http_hoody_ai_timed = NULL;

    return rc;
}


void
ngx_http_hoody_ai_log_pause(ngx_http_hoody_ai_ctx_t *ctx)
{
    if (ctx == ngx_http_hoody_ai_timed) {
        ctx->overhead += ngx_http_hoody_ai_clock()
                         - ngx_http_hoody_ai_timed_since;
        ngx_http_hoody_ai_timed = NULL;
    }
}


static ngx_int_t
ngx_http_hoody_ai_stream_filter(ngx_http_request_t *r)
{
    ngx_http_hoody_ai_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_hoody_ai_module);

    if (ctx && r == r->main && ctx->is_sse && !ctx->counted) {
        ctx->counted = 1;
        ngx_http_hoody_ai_add(ngx_http_hoody_ai_worker.slot->streams, 1);
    }

    return ngx_http_next_header_filter(r);
}


static ngx_int_t
ngx_http_hoody_ai_log_handler(ngx_http_request_t *r)
{
    ngx_uint_t                 status;
    ngx_http_hoody_ai_ctx_t   *ctx;
    ngx_http_hoody_ai_slot_t  *slot;

    ctx = ngx_http_get_module_ctx(r, ngx_http_hoody_ai_module);

    if (ctx == NULL || r != r->main) {
        return NGX_OK;
    }

    slot = ngx_http_hoody_ai_worker.slot;

    status = r->err_status ? r->err_status : r->headers_out.status;

    if (ctx->counted) {
        ctx->counted = 0;
        ngx_http_hoody_ai_add(slot->streams, -1);
    }

    if (status >= NGX_HTTP_HOODY_AI_STATUS_MIN
        && status <= NGX_HTTP_HOODY_AI_STATUS_MAX)
    {
        ngx_http_hoody_ai_add(slot->status[status
                                           - NGX_HTTP_HOODY_AI_STATUS_MIN], 1);
    }

    if (ctx->sampled) {
        ngx_http_hoody_ai_log_overhead(slot, ctx->overhead);
    }

    if (ctx->reason != NGX_HTTP_HOODY_AI_OK) {
        ngx_http_hoody_ai_add(slot->refused[ctx->reason], 1);
    }

    if (ngx_http_hoody_ai_is_denied[ctx->reason] || ctx->container.len == 0) {

        /* a caller may also have gone before anything was decided */

        if (ctx->reason != NGX_HTTP_HOODY_AI_OK) {
            ngx_http_hoody_ai_log_denied(r, ctx);
        }

        return NGX_OK;
    }

    ngx_http_hoody_ai_log_series(r, ctx, status);
    ngx_http_hoody_ai_log_request(r, ctx, status);

    if (ctx->reason == NGX_HTTP_HOODY_AI_R_REVOKED) {

        if (ctx->ended) {
            ngx_http_hoody_ai_add(slot->revoked_streams, 1);
        }

        ngx_http_hoody_ai_log_revoked(ctx, status);
    }

    return NGX_OK;
}


static void
ngx_http_hoody_ai_log_overhead(ngx_http_hoody_ai_slot_t *slot,
    ngx_uint_t spent)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_HOODY_AI_BUCKETS; i++) {
        if (spent <= ngx_http_hoody_ai_buckets[i].bound) {
            break;
        }
    }

    ngx_http_hoody_ai_add(slot->overhead[i], 1);
    ngx_http_hoody_ai_add(slot->overhead_sum, spent);
}


static void
ngx_http_hoody_ai_log_series(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_uint_t status)
{
    ngx_uint_t                   class, learn;
    struct hai_usage            *usage;
    ngx_http_hoody_ai_series_t  *s;

    static ngx_str_t             none = ngx_string("");

    class = status / 100;
    class = (class >= 2 && class <= 5) ? class - 2
                                       : NGX_HTTP_HOODY_AI_CLASS_OTHER;

    /* a model's name is the caller's text until a provider has accepted it */

    learn = ctx->model.len == 0
            || (class == NGX_HTTP_HOODY_AI_2XX && ctx->from_provider);

    s = ngx_http_hoody_ai_zone_series(ngx_http_hoody_ai_worker.zone,
                                      &ctx->container,
                                      ctx->model.len ? &ctx->model : &none,
                                      learn);

    ngx_http_hoody_ai_add(s->requests[class], 1);

    if (ctx->usage == NULL) {
        return;
    }

    usage = &ctx->usage->usage;

    if (usage->input_tokens > 0) {
        ngx_http_hoody_ai_add(s->input_tokens, usage->input_tokens);
    }

    if (usage->output_tokens > 0) {
        ngx_http_hoody_ai_add(s->output_tokens, usage->output_tokens);
    }

    if (usage->cached_tokens > 0) {
        ngx_http_hoody_ai_add(s->cached_tokens, usage->cached_tokens);
    }
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


static void
ngx_http_hoody_ai_log_request(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_uint_t status)
{
    size_t                             model_len, id_len;
    u_char                            *p;
    ngx_str_t                          reason, *provider;
    ngx_uint_t                         i, n;
    struct hai_usage                  *usage;
    ngx_http_hoody_ai_main_conf_t     *hmcf;
    ngx_http_hoody_ai_named_secret_t  *ns;

    hmcf = ngx_http_hoody_ai_worker.conf;

    provider = NULL;
    ns = hmcf->secrets.elts;

    for (i = 0; ctx->secret && i < hmcf->secrets.nelts; i++) {
        if (ns[i].secret == ctx->secret) {
            provider = &ns[i].name;
            break;
        }
    }

    model_len = ngx_min(ctx->model.len, NGX_HTTP_HOODY_AI_EVENT_MODEL);
    id_len = ngx_min(ctx->provider_request_id.len,
                     NGX_HTTP_HOODY_AI_EVENT_PROVIDER_ID);

    p = ngx_http_hoody_ai_event_open(NGX_HTTP_HOODY_AI_EVENT_FIXED
                                     + ctx->container.len
                                     + ctx->container_id.len
                                     + (provider ? provider->len : 0)
                                     + model_len + id_len);
    if (p == NULL) {
        return;
    }

    p = ngx_http_hoody_ai_put_eid(p);
    p = ngx_http_hoody_ai_put_const(p, "4", "type", "7", "request");
    p = ngx_http_hoody_ai_put_time(p);

    p = ngx_http_hoody_ai_put_name(p, "10", "request_id");
    p = ngx_http_hoody_ai_put_bytes(p, ctx->request_id,
                                    NGX_HTTP_HOODY_AI_REQUEST_ID_LEN);

    p = ngx_http_hoody_ai_put_name(p, "9", "container");
    p = ngx_http_hoody_ai_put_bytes(p, ctx->container.data,
                                    ctx->container.len);

    p = ngx_http_hoody_ai_put_name(p, "12", "container_id");
    p = ngx_http_hoody_ai_put_bytes(p, ctx->container_id.data,
                                    ctx->container_id.len);

    n = 6;

    if (ctx->route) {
        p = ngx_http_hoody_ai_put_name(p, "3", "api");
        p = ngx_http_hoody_ai_put_bytes(p, (u_char *) ctx->route->api,
                                        ngx_strlen(ctx->route->api));
        n++;
    }

    if (provider) {
        p = ngx_http_hoody_ai_put_name(p, "8", "provider");
        p = ngx_http_hoody_ai_put_bytes(p, provider->data, provider->len);
        n++;
    }

    if (model_len) {
        p = ngx_http_hoody_ai_put_name(p, "5", "model");
        p = ngx_http_hoody_ai_put_bytes(p, ctx->model.data, model_len);
        n++;
    }

    p = ngx_http_hoody_ai_put_name(p, "6", "status");
    p = ngx_http_hoody_ai_put_number(p, status);

    reason = ngx_http_hoody_ai_refusals[ctx->reason].reason;

    if (ctx->reason == NGX_HTTP_HOODY_AI_OK
        && (status == NGX_HTTP_CLIENT_CLOSED_REQUEST
            || (ctx->state == NGX_HTTP_HOODY_AI_STREAMING && !ctx->complete
                && !r->header_only)))
    {
        ngx_str_set(&reason, "aborted");
    }

    p = ngx_http_hoody_ai_put_name(p, "6", "reason");
    p = ngx_http_hoody_ai_put_bytes(p, reason.data, reason.len);

    p = ngx_http_hoody_ai_put_name(p, "11", "duration_ms");
    p = ngx_http_hoody_ai_put_number(p, ngx_current_msec - ctx->started);

    n += 3;

    if (ctx->first_byte) {
        p = ngx_http_hoody_ai_put_name(p, "7", "ttft_ms");
        p = ngx_http_hoody_ai_put_number(p, ctx->first_byte - ctx->started);
        n++;
    }

    usage = ctx->usage ? &ctx->usage->usage : NULL;

    if (usage && usage->reported) {

        if (usage->input_tokens >= 0) {
            p = ngx_http_hoody_ai_put_name(p, "12", "input_tokens");
            p = ngx_http_hoody_ai_put_number(p, usage->input_tokens);
            n++;
        }

        if (usage->output_tokens >= 0) {
            p = ngx_http_hoody_ai_put_name(p, "13", "output_tokens");
            p = ngx_http_hoody_ai_put_number(p, usage->output_tokens);
            n++;
        }

        if (usage->cached_tokens >= 0) {
            p = ngx_http_hoody_ai_put_name(p, "13", "cached_tokens");
            p = ngx_http_hoody_ai_put_number(p, usage->cached_tokens);
            n++;
        }

        p = ngx_http_hoody_ai_put_const(p, "5", "usage", "8", "reported");

    } else {
        p = ngx_http_hoody_ai_put_const(p, "5", "usage", "4", "none");
    }

    p = ngx_http_hoody_ai_put_name(p, "8", "bytes_in");
    p = ngx_http_hoody_ai_put_number(p, ctx->bytes_in);

    p = ngx_http_hoody_ai_put_name(p, "9", "bytes_out");
    p = ngx_http_hoody_ai_put_number(p, ctx->bytes_out);

    n += 3;

    if (id_len) {
        p = ngx_http_hoody_ai_put_name(p, "19", "provider_request_id");
        p = ngx_http_hoody_ai_put_bytes(p, ctx->provider_request_id.data,
                                        id_len);
        n++;
    }

    ngx_http_hoody_ai_event_close(p, n * 2);
}


/* tells that access was taken away; what was used is in the other entry */

static void
ngx_http_hoody_ai_log_revoked(ngx_http_hoody_ai_ctx_t *ctx, ngx_uint_t status)
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

    p = ngx_http_hoody_ai_put_name(p, "10", "request_id");
    p = ngx_http_hoody_ai_put_bytes(p, ctx->request_id,
                                    NGX_HTTP_HOODY_AI_REQUEST_ID_LEN);

    p = ngx_http_hoody_ai_put_name(p, "9", "container");
    p = ngx_http_hoody_ai_put_bytes(p, ctx->container.data,
                                    ctx->container.len);

    p = ngx_http_hoody_ai_put_name(p, "12", "container_id");
    p = ngx_http_hoody_ai_put_bytes(p, ctx->container_id.data,
                                    ctx->container_id.len);

    n = 8;

    if (ctx->route) {
        p = ngx_http_hoody_ai_put_name(p, "3", "api");
        p = ngx_http_hoody_ai_put_bytes(p, (u_char *) ctx->route->api,
                                        ngx_strlen(ctx->route->api));
        n++;
    }

    p = ngx_http_hoody_ai_put_name(p, "6", "status");
    p = ngx_http_hoody_ai_put_number(p, status);

    p = ngx_http_hoody_ai_put_const(p, "6", "reason", "14", "access_revoked");

    ngx_http_hoody_ai_event_close(p, n * 2);
}


static void
ngx_http_hoody_ai_log_denied(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    uint32_t                     hash;
    ngx_uint_t                   i;
    ngx_http_hoody_ai_denied_t   key, *d;

    key.reason = ctx->reason;
    key.container_len = ngx_min(ctx->container.len, HAI_NAME_MAX);

    ngx_http_hoody_ai_log_set_source(r, ctx, &key);

    hash = ngx_murmur_hash2(key.source, key.source_len)
           ^ ((uint32_t) key.reason * 0x9e3779b1U);

#if (NGX_SUPPRESS_WARN)
    d = NULL;
#endif

    for (i = 0; i < NGX_HTTP_HOODY_AI_DENIED; i++) {

        d = &ngx_http_hoody_ai_denied[(hash + i)
                                      & (NGX_HTTP_HOODY_AI_DENIED - 1)];

        if (d->count == 0) {
            break;
        }

        if (d->reason == key.reason && d->kind == key.kind
            && d->source_len == key.source_len
            && d->container_len == key.container_len
            && ngx_memcmp(d->source, key.source, key.source_len) == 0
            && (key.container_len == 0
                || ngx_memcmp(d->container, ctx->container.data,
                              key.container_len) == 0))
        {
            d->count++;
            return;
        }
    }

    if (ngx_http_hoody_ai_ndenied == NGX_HTTP_HOODY_AI_DENIED_MAX) {
        ngx_http_hoody_ai_denied_other[key.reason]++;
        return;
    }

    ngx_http_hoody_ai_ndenied++;

    *d = key;
    d->count = 1;

    if (key.container_len) {
        ngx_memcpy(d->container, ctx->container.data, key.container_len);
    }
}


static void
ngx_http_hoody_ai_log_set_source(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_http_hoody_ai_denied_t *d)
{
    ngx_str_t  *s;

    if (ctx->source.addr_len) {
        d->kind = NGX_HTTP_HOODY_AI_SOURCE_ADDR;
        d->source_len = ctx->source.addr_len;
        ngx_memcpy(d->source, ctx->source.addr, ctx->source.addr_len);
        return;
    }

    /* the end of a path tells more than its beginning */

    s = &ctx->source.cgroup;

    if (s->len) {
        d->kind = NGX_HTTP_HOODY_AI_SOURCE_CGROUP;
        d->source_len = ngx_min(s->len, NGX_HTTP_HOODY_AI_SOURCE);
        ngx_memcpy(d->source, s->data + s->len - d->source_len,
                   d->source_len);
        return;
    }

    if (r->connection->sockaddr->sa_family == AF_UNIX) {
        d->kind = NGX_HTTP_HOODY_AI_SOURCE_UNIX;
        d->source_len = 0;
        return;
    }

    /* refused before the source was looked at */

    s = &r->connection->addr_text;

    d->kind = NGX_HTTP_HOODY_AI_SOURCE_CGROUP;
    d->source_len = ngx_min(s->len, NGX_HTTP_HOODY_AI_SOURCE);
    ngx_memcpy(d->source, s->data, d->source_len);
}


static void
ngx_http_hoody_ai_log_flush_denied(ngx_http_hoody_ai_denied_t *d)
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


static void
ngx_http_hoody_ai_log_registry(ngx_uint_t connected)
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


/* once a second, when a worker ends, and before its own status is read */

void
ngx_http_hoody_ai_log_publish(void)
{
    ngx_http_hoody_ai_slot_t          *slot;
    ngx_http_hoody_ai_replica_stat_t   stat;

    slot = ngx_http_hoody_ai_worker.slot;

    if (slot == NULL || ngx_http_hoody_ai_worker.replica == NULL) {
        return;
    }

    ngx_http_hoody_ai_replica_stat(ngx_http_hoody_ai_worker.replica, &stat);

    slot->requests = ngx_http_hoody_ai_live_requests();
    slot->loaded = stat.loaded;
    slot->connected = stat.connected;
    slot->containers = stat.containers;
    slot->memory = stat.memory;
    slot->age = stat.age;
    slot->age_at = ngx_current_msec;
    slot->load_time = stat.load_time;
    slot->reconnects = stat.reconnects;
    slot->reloads = stat.reloads;

    /* the first connection is no event */

    if (ngx_http_hoody_ai_was_loaded
        && stat.connected != ngx_http_hoody_ai_was_connected)
    {
        ngx_http_hoody_ai_log_registry(stat.connected);
    }

    ngx_http_hoody_ai_was_loaded = stat.loaded;
    ngx_http_hoody_ai_was_connected = stat.connected;
}


void
ngx_http_hoody_ai_log_tick(void)
{
    ngx_uint_t                   i;
    ngx_http_hoody_ai_denied_t   other;

    ngx_http_hoody_ai_log_publish();

    if (ngx_http_hoody_ai_ndenied == 0) {
        return;
    }

    for (i = 0; i < NGX_HTTP_HOODY_AI_DENIED; i++) {

        if (ngx_http_hoody_ai_denied[i].count) {
            ngx_http_hoody_ai_log_flush_denied(&ngx_http_hoody_ai_denied[i]);
            ngx_http_hoody_ai_denied[i].count = 0;
        }
    }

    ngx_http_hoody_ai_ndenied = 0;

    ngx_memzero(&other, sizeof(ngx_http_hoody_ai_denied_t));
    other.kind = NGX_HTTP_HOODY_AI_SOURCE_OTHER;

    for (i = 0; i < NGX_HTTP_HOODY_AI_R_COUNT; i++) {

        if (ngx_http_hoody_ai_denied_other[i]) {
            other.reason = i;
            other.count = ngx_http_hoody_ai_denied_other[i];
            ngx_http_hoody_ai_log_flush_denied(&other);
            ngx_http_hoody_ai_denied_other[i] = 0;
        }
    }
}
