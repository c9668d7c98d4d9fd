
/*
 * The end of every request: counters, and the entries that tell of it.  Also
 * measures what the module's own work costs.  The log phase runs after the
 * request's cleanups; nothing here allocates, waits or fails a request.
 */


#include "ngx_http_hoody_ai_module.h"
#include "ngx_http_hoody_ai_entry.h"
#include "ngx_http_hoody_ai_zone.h"


/* one request in so many is timed; a power of two */
#define NGX_HTTP_HOODY_AI_SAMPLE     16

/* refusals of the current second by reason and source */
#define NGX_HTTP_HOODY_AI_DENIED     256
#define NGX_HTTP_HOODY_AI_DENIED_MAX 192


static ngx_int_t ngx_http_hoody_ai_stream_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_hoody_ai_log_handler(ngx_http_request_t *r);
static void ngx_http_hoody_ai_log_overhead(ngx_http_hoody_ai_slot_t *slot,
    ngx_uint_t spent);
static void ngx_http_hoody_ai_log_series(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_uint_t status);
static ngx_str_t *ngx_http_hoody_ai_log_outcome(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_uint_t status);
static ngx_str_t *ngx_http_hoody_ai_log_error(ngx_http_hoody_ai_ctx_t *ctx,
    ngx_uint_t status, ngx_str_t *outcome);
static void ngx_http_hoody_ai_log_denied(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
static void ngx_http_hoody_ai_log_set_source(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_http_hoody_ai_denied_t *d);


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


/* how many rules led to a refusal */

static const u_char  ngx_http_hoody_ai_depth[NGX_HTTP_HOODY_AI_R_COUNT] = {
    [NGX_HTTP_HOODY_AI_R_BLOCKED] = 1
};


/* endings that the module itself did not decide */

static ngx_str_t  ngx_http_hoody_ai_aborted = ngx_string("aborted");
static ngx_str_t  ngx_http_hoody_ai_provider_aborted =
    ngx_string("provider_aborted");
static ngx_str_t  ngx_http_hoody_ai_provider_error =
    ngx_string("provider_error");


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

static ngx_uint_t                  ngx_http_hoody_ai_was_connected;
static ngx_uint_t                  ngx_http_hoody_ai_was_loaded;


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
    ngx_str_t                 *outcome, *error;
    ngx_uint_t                 status;
    ngx_http_hoody_ai_ctx_t   *ctx;
    ngx_http_hoody_ai_slot_t  *slot;

    ctx = ngx_http_get_module_ctx(r, ngx_http_hoody_ai_module);

    if (ctx == NULL || r != r->main) {
        return NGX_OK;
    }

    slot = ngx_http_hoody_ai_worker.slot;

    /* a refusal may have been sent with another status than core wanted */

    status = (r->err_status && !r->header_sent) ? r->err_status
                                                : r->headers_out.status;

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

    outcome = ngx_http_hoody_ai_log_outcome(r, ctx, status);
    error = ngx_http_hoody_ai_log_error(ctx, status, outcome);

    ngx_http_hoody_ai_entry_request(ctx, status, outcome);

    if (error) {
        ngx_http_hoody_ai_entry_error(ctx, status, error,
                                      ngx_http_hoody_ai_depth[ctx->reason] + 1);
    }

    if (ctx->reason == NGX_HTTP_HOODY_AI_R_REVOKED) {

        if (ctx->ended) {
            ngx_http_hoody_ai_add(slot->revoked_streams, 1);
        }

        ngx_http_hoody_ai_entry_revoked(ctx, status);
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


/*
 * How the request ended.  A provider that tells of an error is often hung up
 * on before its answer ends.
 */

static ngx_str_t *
ngx_http_hoody_ai_log_outcome(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_uint_t status)
{
    if (ctx->reason != NGX_HTTP_HOODY_AI_OK) {
        return (ngx_str_t *) &ngx_http_hoody_ai_refusals[ctx->reason].reason;
    }

    if (ctx->from_provider && status < NGX_HTTP_BAD_REQUEST && ctx->usage
        && ctx->usage->usage.error && !ctx->route->stored)
    {
        return &ngx_http_hoody_ai_provider_error;
    }

    if (ctx->state == NGX_HTTP_HOODY_AI_STREAMING && !ctx->complete
        && !r->header_only)
    {
        return ctx->broken ? &ngx_http_hoody_ai_provider_aborted
                           : &ngx_http_hoody_ai_aborted;
    }

    /* whoever stays until the end has a refusal sent, which has a reason */

    if (!ctx->from_provider && status >= NGX_HTTP_BAD_REQUEST) {
        return &ngx_http_hoody_ai_aborted;
    }

    return (ngx_str_t *)
               &ngx_http_hoody_ai_refusals[NGX_HTTP_HOODY_AI_OK].reason;
}


/* NULL: no error, or only that the caller went away */

static ngx_str_t *
ngx_http_hoody_ai_log_error(ngx_http_hoody_ai_ctx_t *ctx, ngx_uint_t status,
    ngx_str_t *outcome)
{
    if (ctx->reason != NGX_HTTP_HOODY_AI_OK) {
        return outcome;
    }

    if (ctx->from_provider && status >= NGX_HTTP_BAD_REQUEST) {
        return &ngx_http_hoody_ai_provider_error;
    }

    return (outcome == &ngx_http_hoody_ai_provider_error
            || outcome == &ngx_http_hoody_ai_provider_aborted)
           ? outcome : NULL;
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


/* once a second, when a worker ends, and before its own status is read */

void
ngx_http_hoody_ai_log_publish(void)
{
    size_t                             len;
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
    slot->switches = stat.switches;

    if (stat.master) {
        len = ngx_min(stat.master->name.len, NGX_HTTP_HOODY_AI_MASTER);
        ngx_memcpy(slot->master, stat.master->name.data, len);
        ngx_memory_barrier();
        slot->master_len = len;
    }

    /* the first connection is no event */

    if (ngx_http_hoody_ai_was_loaded
        && stat.connected != ngx_http_hoody_ai_was_connected)
    {
        ngx_http_hoody_ai_entry_registry(stat.connected);
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
            ngx_http_hoody_ai_entry_denied(&ngx_http_hoody_ai_denied[i]);
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
            ngx_http_hoody_ai_entry_denied(&other);
            ngx_http_hoody_ai_denied_other[i] = 0;
        }
    }
}
