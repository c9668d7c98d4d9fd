
/*
 * "hoody_ai_status": the counters of all workers as Prometheus text (format
 * 0.0.4) or JSON.  Numbers are copied out of the zone first, the size of the
 * answer follows from the copy; no lock is held.
 */


#include "ngx_http_hoody_ai_module.h"
#include "ngx_http_hoody_ai_zone.h"


/* one line or member with its numbers, without label values */
#define NGX_HTTP_HOODY_AI_STATUS_LINE    192

/* HELP and TYPE of all metrics, and what there is one of */
#define NGX_HTTP_HOODY_AI_STATUS_FIXED   16384

/* metrics that each worker has */
#define NGX_HTTP_HOODY_AI_STATUS_WORKER  12


typedef struct {
    ngx_http_hoody_ai_zone_t    *zone;
    ngx_http_hoody_ai_slot_t     sum;
    ngx_http_hoody_ai_slot_t    *live;     /* copies of slots in use */
    ngx_uint_t                  *number;   /* of the slot */
    ngx_uint_t                   nlive;
    ngx_http_hoody_ai_series_t  *series;
    ngx_uint_t                   nseries;
    uint64_t                     pending;  /* bytes */
    ngx_atomic_uint_t            waiting;  /* events */
    ngx_msec_t                   max_stale;
    u_char                      *p;
    u_char                      *last;
} ngx_http_hoody_ai_status_t;


typedef struct {
    char                        *name;
    char                        *help;
    size_t                       offset;
} ngx_http_hoody_ai_metric_t;


static ngx_int_t ngx_http_hoody_ai_status_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_hoody_ai_status_copy(ngx_http_request_t *r,
    ngx_http_hoody_ai_status_t *st);
static size_t ngx_http_hoody_ai_status_size(ngx_http_hoody_ai_status_t *st);
static void ngx_http_hoody_ai_status_text(ngx_http_hoody_ai_status_t *st);
static void ngx_http_hoody_ai_status_text_series(
    ngx_http_hoody_ai_status_t *st);
static void ngx_http_hoody_ai_status_text_workers(
    ngx_http_hoody_ai_status_t *st);
static void ngx_http_hoody_ai_status_text_events(
    ngx_http_hoody_ai_status_t *st);
static void ngx_http_hoody_ai_status_text_rules(
    ngx_http_hoody_ai_status_t *st);
static void ngx_http_hoody_ai_status_histogram(ngx_http_hoody_ai_status_t *st,
    char *name, const ngx_http_hoody_ai_bucket_t *bucket, ngx_uint_t n,
    ngx_atomic_t *count, ngx_atomic_uint_t sum);
static void ngx_http_hoody_ai_status_json(ngx_http_hoody_ai_status_t *st);
static void ngx_http_hoody_ai_status_json_series(
    ngx_http_hoody_ai_status_t *st);
static void ngx_http_hoody_ai_status_json_workers(
    ngx_http_hoody_ai_status_t *st);
static void ngx_http_hoody_ai_status_json_rules(
    ngx_http_hoody_ai_status_t *st);
static void ngx_http_hoody_ai_status_put(ngx_http_hoody_ai_status_t *st,
    const char *fmt, ...);
static void ngx_http_hoody_ai_status_label(ngx_http_hoody_ai_status_t *st,
    ngx_http_hoody_ai_label_t *label, ngx_uint_t json);
static ngx_msec_t ngx_http_hoody_ai_status_age(ngx_http_hoody_ai_slot_t *slot);


static char  *ngx_http_hoody_ai_classes[NGX_HTTP_HOODY_AI_CLASSES] = {
    "2xx", "3xx", "4xx", "5xx", "other"
};


static char  *ngx_http_hoody_ai_drops[NGX_HTTP_HOODY_AI_DROPS] = {
    "ring_full", "refused", "broken"
};


static char  *ngx_http_hoody_ai_asks[NGX_HTTP_HOODY_AI_ASKS] = {
    "plan", "body"
};


/* in the order of ngx_http_hoody_ai_outcome_e */

static char  *ngx_http_hoody_ai_outcomes[NGX_HTTP_HOODY_AI_QS] = {
    "unchanged", "changed", "plan", "blocked", "invalid_body", "other_epoch",
    "timeout", "unavailable", "unusable", "canceled"
};


static ngx_http_hoody_ai_metric_t  ngx_http_hoody_ai_token_metrics[] = {
    { "input_tokens", "Tokens of requests, as reported by the provider.",
      offsetof(ngx_http_hoody_ai_series_t, input_tokens) },
    { "output_tokens", "Tokens of answers, as reported by the provider.",
      offsetof(ngx_http_hoody_ai_series_t, output_tokens) },
    { "cached_tokens", "Input tokens that the provider had in its cache.",
      offsetof(ngx_http_hoody_ai_series_t, cached_tokens) },
    { NULL, NULL, 0 }
};


/* gauges of a worker that are plain numbers */

static ngx_http_hoody_ai_metric_t  ngx_http_hoody_ai_worker_gauges[] = {
    { "registry_loaded", "Has a full load of the registry succeeded?",
      offsetof(ngx_http_hoody_ai_slot_t, loaded) },
    { "registry_connected", "Are change feed and data connection up?",
      offsetof(ngx_http_hoody_ai_slot_t, connected) },
    { "registry_containers", "Containers in the worker's replica.",
      offsetof(ngx_http_hoody_ai_slot_t, containers) },
    { "registry_memory_bytes", "Memory of the worker's replica.",
      offsetof(ngx_http_hoody_ai_slot_t, memory) },
    { "events_connected", "Is the connection for events up?",
      offsetof(ngx_http_hoody_ai_slot_t, events_connected) },
    { "rules_plans", "Plans of the rules that the worker keeps.",
      offsetof(ngx_http_hoody_ai_slot_t, plans) },
    { "rules_plans_memory_bytes", "Memory of the worker's kept plans.",
      offsetof(ngx_http_hoody_ai_slot_t, plans_memory) },
    { NULL, NULL, 0 }
};


static ngx_http_hoody_ai_metric_t  ngx_http_hoody_ai_worker_counters[] = {
    { "registry_reconnects", "Connections to Redis lost by the replica.",
      offsetof(ngx_http_hoody_ai_slot_t, reconnects) },
    { "registry_reloads", "Full loads of the replica.",
      offsetof(ngx_http_hoody_ai_slot_t, reloads) },
    { "registry_switches", "Changes to another master.",
      offsetof(ngx_http_hoody_ai_slot_t, switches) },
    { NULL, NULL, 0 }
};


#define ngx_http_hoody_ai_value(base, offset)                                 \
    (*(ngx_atomic_t *) ((char *) (base) + (offset)))

#define ngx_http_hoody_ai_head(st, name, type, help)                          \
    ngx_http_hoody_ai_status_put(st, "# HELP hoody_ai_%s %s\n"                \
                                 "# TYPE hoody_ai_%s %s\n",                   \
                                 name, help, name, type)


char *
ngx_http_hoody_ai_set_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_core_loc_conf_t       *clcf;
    ngx_http_hoody_ai_main_conf_t  *hmcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_hoody_ai_status_handler;

    hmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_hoody_ai_module);
    hmcf->status_used = 1;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_hoody_ai_status_handler(ngx_http_request_t *r)
{
    ngx_int_t                    rc;
    ngx_buf_t                   *b;
    ngx_str_t                    format;
    ngx_uint_t                   json;
    ngx_chain_t                  out;
    ngx_http_hoody_ai_status_t  *st;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    json = ngx_http_arg(r, (u_char *) "format", 6, &format) == NGX_OK
           && format.len == 4 && ngx_strncmp(format.data, "json", 4) == 0;

    st = ngx_pcalloc(r->pool, sizeof(ngx_http_hoody_ai_status_t));
    if (st == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_hoody_ai_log_publish();

    if (ngx_http_hoody_ai_status_copy(r, st) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b = ngx_create_temp_buf(r->pool, ngx_http_hoody_ai_status_size(st));
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    st->p = b->last;
    st->last = b->end;

    if (json) {
        ngx_http_hoody_ai_status_json(st);
        ngx_str_set(&r->headers_out.content_type, "application/json");

    } else {
        ngx_http_hoody_ai_status_text(st);
        ngx_str_set(&r->headers_out.content_type,
                    "text/plain; version=0.0.4; charset=utf-8");
    }

    b->last = st->p;
    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;
    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = b->last - b->pos;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


static ngx_int_t
ngx_http_hoody_ai_status_copy(ngx_http_request_t *r,
    ngx_http_hoody_ai_status_t *st)
{
    size_t                          size;
    ngx_uint_t                      i, j, n, words;
    ngx_atomic_t                   *from, *to;
    ngx_atomic_uint_t               filled, drained, gone;
    ngx_http_hoody_ai_slot_t       *slot;
    ngx_http_hoody_ai_zone_t       *zone;
    ngx_http_hoody_ai_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_hoody_ai_module);

    zone = hmcf->zone->data;
    st->zone = zone;

    n = 0;

    for (i = 0; i < NGX_HTTP_HOODY_AI_SLOTS; i++) {
        n += zone->slots[i].pid != 0;
    }

    st->live = ngx_palloc(r->pool, (n + 1) * sizeof(ngx_http_hoody_ai_slot_t));
    st->number = ngx_palloc(r->pool, (n + 1) * sizeof(ngx_uint_t));

    if (st->live == NULL || st->number == NULL) {
        return NGX_ERROR;
    }

    /* every field of a slot is one counter; gauges of the dead do not count */

    words = sizeof(ngx_http_hoody_ai_slot_t) / sizeof(ngx_atomic_t);
    to = (ngx_atomic_t *) &st->sum;

    for (i = 0; i < NGX_HTTP_HOODY_AI_SLOTS; i++) {

        slot = &zone->slots[i];
        from = (ngx_atomic_t *) slot;

        for (j = offsetof(ngx_http_hoody_ai_slot_t, revoked_streams)
                 / sizeof(ngx_atomic_t);
             j < words;
             j++)
        {
            to[j] += from[j];
        }

        if (slot->pid == 0 || st->nlive == n
            || ngx_http_hoody_ai_zone_is_dead(slot->pid))
        {
            continue;
        }

        st->live[st->nlive] = *slot;
        st->number[st->nlive++] = i;

        st->sum.streams += slot->streams;
        st->sum.requests += slot->requests;
    }

    /* counters are read one after the other: "gone" may be ahead */

    gone = st->sum.events_written
           + st->sum.events_dropped[NGX_HTTP_HOODY_AI_DROP_ERROR]
           + st->sum.events_dropped[NGX_HTTP_HOODY_AI_DROP_BROKEN];

    st->waiting = st->sum.events_queued > gone ? st->sum.events_queued - gone
                                               : 0;
    st->max_stale = hmcf->redis.max_stale;

    st->nseries = zone->nseries;

    size = st->nseries * sizeof(ngx_http_hoody_ai_series_t);

    st->series = ngx_palloc(r->pool, size);
    if (st->series == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(st->series, zone->series, size);

    for (i = 0; i < zone->nsegments; i++) {

        drained = zone->segments[i].drained;
        filled = zone->segments[i].filled;

        if (filled > drained) {
            st->pending += filled - drained;
        }
    }

    return NGX_OK;
}


/* an upper bound; a label's character becomes six at most, \u0000 */

static size_t
ngx_http_hoody_ai_status_size(ngx_http_hoody_ai_status_t *st)
{
    size_t        size, labels;
    uint32_t      key;
    ngx_uint_t    i, j, n;
    ngx_atomic_t *value;

    n = NGX_HTTP_HOODY_AI_R_COUNT + NGX_HTTP_HOODY_AI_BUCKETS
        + NGX_HTTP_HOODY_AI_RULES_BUCKETS
        + NGX_HTTP_HOODY_AI_ASKS * NGX_HTTP_HOODY_AI_QS;

    for (i = 0; i <= NGX_HTTP_HOODY_AI_STATUS_MAX
                     - NGX_HTTP_HOODY_AI_STATUS_MIN; i++)
    {
        n += st->sum.status[i] != 0;
    }

    n += st->nlive * NGX_HTTP_HOODY_AI_STATUS_WORKER;

    size = NGX_HTTP_HOODY_AI_STATUS_FIXED + n * NGX_HTTP_HOODY_AI_STATUS_LINE;

    for (i = 0; i < st->nseries; i++) {

        key = st->zone->keys[i];
        labels = st->zone->containers[ngx_http_hoody_ai_key_container(key)].len
                 + st->zone->models[ngx_http_hoody_ai_key_model(key)].len;

        value = (ngx_atomic_t *) &st->series[i];

        for (j = 0; j < sizeof(ngx_http_hoody_ai_series_t)
                        / sizeof(ngx_atomic_t); j++)
        {
            if (value[j]) {
                size += NGX_HTTP_HOODY_AI_STATUS_LINE + labels * 6;
            }
        }
    }

    return size;
}


static void
ngx_http_hoody_ai_status_put(ngx_http_hoody_ai_status_t *st, const char *fmt,
    ...)
{
    va_list  args;

    va_start(args, fmt);
    st->p = ngx_vslprintf(st->p, st->last, fmt, args);
    va_end(args);
}


static void
ngx_http_hoody_ai_status_label(ngx_http_hoody_ai_status_t *st,
    ngx_http_hoody_ai_label_t *label, ngx_uint_t json)
{
    u_char      c;
    ngx_uint_t  i;

    if ((size_t) (st->last - st->p) < (size_t) label->len * 6) {
        return;
    }

    for (i = 0; i < label->len; i++) {
        c = label->data[i];

        if (c == '"' || c == '\\') {
            *st->p++ = '\\';
            *st->p++ = c;

        } else if (c >= 0x20) {
            *st->p++ = c;

        } else if (json) {
            st->p = ngx_sprintf(st->p, "\\u%04xd", (u_int) c);

        } else if (c == LF) {
            *st->p++ = '\\';
            *st->p++ = 'n';

        } else {
            *st->p++ = ' ';
        }
    }
}


/* the age was true when the worker last said it */

static ngx_msec_t
ngx_http_hoody_ai_status_age(ngx_http_hoody_ai_slot_t *slot)
{
    ngx_msec_int_t  since;

    since = (ngx_msec_int_t) (ngx_current_msec - slot->age_at);

    return slot->age + ngx_max(since, 0);
}


static void
ngx_http_hoody_ai_status_text(ngx_http_hoody_ai_status_t *st)
{
    ngx_uint_t  i;

    ngx_http_hoody_ai_head(st, "build_info", "gauge",
                           "The module's version; always 1.");

    /* one literal: "hoody-ai doctor" reads the version out of the file */

    ngx_http_hoody_ai_status_put(st, "hoody_ai_build_info{version=\""
                                 NGX_HTTP_HOODY_AI_VERSION "\"} 1\n");

    ngx_http_hoody_ai_head(st, "zone_created_timestamp_seconds", "gauge",
                           "When all counters were zero.");
    ngx_http_hoody_ai_status_put(st,
                              "hoody_ai_zone_created_timestamp_seconds %T\n",
                              st->zone->created);

    ngx_http_hoody_ai_status_text_series(st);

    ngx_http_hoody_ai_head(st, "responses_total", "counter",
                           "Requests that ended, by status sent.");

    for (i = 0; i <= NGX_HTTP_HOODY_AI_STATUS_MAX
                     - NGX_HTTP_HOODY_AI_STATUS_MIN; i++)
    {
        if (st->sum.status[i]) {
            ngx_http_hoody_ai_status_put(st,
                           "hoody_ai_responses_total{status=\"%ui\"} %uA\n",
                           i + NGX_HTTP_HOODY_AI_STATUS_MIN,
                           st->sum.status[i]);
        }
    }

    ngx_http_hoody_ai_head(st, "refused_total", "counter",
                           "Requests that the gateway itself ended.");

    for (i = NGX_HTTP_HOODY_AI_OK + 1; i < NGX_HTTP_HOODY_AI_R_COUNT; i++) {
        ngx_http_hoody_ai_status_put(st,
                               "hoody_ai_refused_total{reason=\"%V\"} %uA\n",
                               &ngx_http_hoody_ai_refusals[i].reason,
                               st->sum.refused[i]);
    }

    ngx_http_hoody_ai_head(st, "requests_open", "gauge",
                           "Requests under way; up to a second old.");
    ngx_http_hoody_ai_status_put(st, "hoody_ai_requests_open %uA\n",
                                 st->sum.requests);

    ngx_http_hoody_ai_head(st, "streams_open", "gauge",
                           "Event streams under way.");
    ngx_http_hoody_ai_status_put(st, "hoody_ai_streams_open %uA\n",
                                 st->sum.streams);

    ngx_http_hoody_ai_head(st, "streams_revoked_total", "counter",
                           "Answers cut because access was taken away.");
    ngx_http_hoody_ai_status_put(st, "hoody_ai_streams_revoked_total %uA\n",
                                 st->sum.revoked_streams);

    ngx_http_hoody_ai_head(st, "overhead_seconds", "histogram",
                           "Time in access and body checks, one request of "
                           "16 is timed.");

    ngx_http_hoody_ai_status_histogram(st, "overhead_seconds",
                                       ngx_http_hoody_ai_buckets,
                                       NGX_HTTP_HOODY_AI_BUCKETS,
                                       st->sum.overhead,
                                       st->sum.overhead_sum);

    ngx_http_hoody_ai_status_text_rules(st);
    ngx_http_hoody_ai_status_text_workers(st);
    ngx_http_hoody_ai_status_text_events(st);
}


/* n buckets and one beyond; nanoseconds */

static void
ngx_http_hoody_ai_status_histogram(ngx_http_hoody_ai_status_t *st, char *name,
    const ngx_http_hoody_ai_bucket_t *bucket, ngx_uint_t n,
    ngx_atomic_t *count, ngx_atomic_uint_t sum)
{
    ngx_uint_t  i, below;

    below = 0;

    for (i = 0; i < n; i++) {
        below += count[i];

        ngx_http_hoody_ai_status_put(st,
                                     "hoody_ai_%s_bucket{le=\"%s\"} %ui\n",
                                     name, bucket[i].le, below);
    }

    below += count[n];

    ngx_http_hoody_ai_status_put(st,
                                 "hoody_ai_%s_bucket{le=\"+Inf\"} %ui\n"
                                 "hoody_ai_%s_sum %uA.%09uA\n"
                                 "hoody_ai_%s_count %ui\n",
                                 name, below, name, sum / 1000000000,
                                 sum % 1000000000, name, below);
}


static void
ngx_http_hoody_ai_status_text_rules(ngx_http_hoody_ai_status_t *st)
{
    ngx_uint_t  i, j;

    ngx_http_hoody_ai_head(st, "rules_questions_total", "counter",
                           "Questions to the rule engine.");

    for (i = 0; i < NGX_HTTP_HOODY_AI_ASKS; i++) {
        for (j = 0; j < NGX_HTTP_HOODY_AI_QS; j++) {
            ngx_http_hoody_ai_status_put(st,
                                   "hoody_ai_rules_questions_total{ask=\"%s\","
                                   "outcome=\"%s\"} %uA\n",
                                   ngx_http_hoody_ai_asks[i],
                                   ngx_http_hoody_ai_outcomes[j],
                                   st->sum.rules_questions[i][j]);
        }
    }

    ngx_http_hoody_ai_head(st, "rules_question_seconds", "histogram",
                           "Time from a question to its answer.");

    ngx_http_hoody_ai_status_histogram(st, "rules_question_seconds",
                                       ngx_http_hoody_ai_rules_buckets,
                                       NGX_HTTP_HOODY_AI_RULES_BUCKETS,
                                       st->sum.rules_time,
                                       st->sum.rules_time_sum);

    ngx_http_hoody_ai_head(st, "rules_passed_total", "counter",
                           "Requests that went on without rules: "
                           "on_error=pass.");
    ngx_http_hoody_ai_status_put(st, "hoody_ai_rules_passed_total %uA\n",
                                 st->sum.rules_passed);

    ngx_http_hoody_ai_head(st, "rules_plans_used_total", "counter",
                           "Requests that a kept plan was found for.");
    ngx_http_hoody_ai_status_put(st, "hoody_ai_rules_plans_used_total %uA\n",
                                 st->sum.plans_used);

    ngx_http_hoody_ai_head(st, "rules_plans_dropped_total", "counter",
                           "Plans dropped, for a change or for room.");
    ngx_http_hoody_ai_status_put(st,
                                 "hoody_ai_rules_plans_dropped_total %uA\n",
                                 st->sum.plans_dropped);
}


static void
ngx_http_hoody_ai_status_text_series(ngx_http_hoody_ai_status_t *st)
{
    uint32_t                     key;
    ngx_uint_t                   i, j;
    ngx_atomic_uint_t            value;
    ngx_http_hoody_ai_zone_t    *zone;
    ngx_http_hoody_ai_metric_t  *m;

    zone = st->zone;

    ngx_http_hoody_ai_head(st, "requests_total", "counter",
                           "Admitted requests that ended, by class of "
                           "status.");

    for (i = 0; i < st->nseries; i++) {

        key = zone->keys[i];

        for (j = 0; j < NGX_HTTP_HOODY_AI_CLASSES; j++) {

            if (st->series[i].requests[j] == 0) {
                continue;
            }

            ngx_http_hoody_ai_status_put(st,
                                     "hoody_ai_requests_total{container=\"");
            ngx_http_hoody_ai_status_label(st,
                     &zone->containers[ngx_http_hoody_ai_key_container(key)],
                     0);
            ngx_http_hoody_ai_status_put(st, "\",model=\"");
            ngx_http_hoody_ai_status_label(st,
                     &zone->models[ngx_http_hoody_ai_key_model(key)], 0);
            ngx_http_hoody_ai_status_put(st, "\",status=\"%s\"} %uA\n",
                                         ngx_http_hoody_ai_classes[j],
                                         st->series[i].requests[j]);
        }
    }

    for (m = ngx_http_hoody_ai_token_metrics; m->name; m++) {

        ngx_http_hoody_ai_status_put(st,
                                     "# HELP hoody_ai_%s_total %s\n"
                                     "# TYPE hoody_ai_%s_total counter\n",
                                     m->name, m->help, m->name);

        for (i = 0; i < st->nseries; i++) {

            key = zone->keys[i];
            value = ngx_http_hoody_ai_value(&st->series[i], m->offset);

            if (value == 0) {
                continue;
            }

            ngx_http_hoody_ai_status_put(st,
                                         "hoody_ai_%s_total{container=\"",
                                         m->name);
            ngx_http_hoody_ai_status_label(st,
                     &zone->containers[ngx_http_hoody_ai_key_container(key)],
                     0);
            ngx_http_hoody_ai_status_put(st, "\",model=\"");
            ngx_http_hoody_ai_status_label(st,
                     &zone->models[ngx_http_hoody_ai_key_model(key)], 0);
            ngx_http_hoody_ai_status_put(st, "\"} %uA\n", value);
        }
    }

    ngx_http_hoody_ai_head(st, "label_values", "gauge",
                           "Label values in use; what comes after the limit "
                           "is \"other\".");
    ngx_http_hoody_ai_status_put(st,
                            "hoody_ai_label_values{label=\"container\"} %uA\n"
                            "hoody_ai_label_values{label=\"model\"} %uA\n",
                            zone->ncontainers, zone->nmodels);
}


static void
ngx_http_hoody_ai_status_text_workers(ngx_http_hoody_ai_status_t *st)
{
    ngx_uint_t                   i;
    ngx_msec_t                   age;
    ngx_http_hoody_ai_metric_t  *m;

    for (m = ngx_http_hoody_ai_worker_gauges; m->name; m++) {

        ngx_http_hoody_ai_head(st, m->name, "gauge", m->help);

        for (i = 0; i < st->nlive; i++) {
            ngx_http_hoody_ai_status_put(st,
                          "hoody_ai_%s{worker=\"%ui\"} %uA\n",
                          m->name, st->number[i],
                          ngx_http_hoody_ai_value(&st->live[i], m->offset));
        }
    }

    ngx_http_hoody_ai_head(st, "registry_age_seconds", "gauge",
                           "Time since the last proof that the replica is "
                           "current.");

    for (i = 0; i < st->nlive; i++) {
        age = ngx_http_hoody_ai_status_age(&st->live[i]);

        ngx_http_hoody_ai_status_put(st,
                    "hoody_ai_registry_age_seconds{worker=\"%ui\"} %M.%03M\n",
                    st->number[i], age / 1000, age % 1000);
    }

    ngx_http_hoody_ai_head(st, "registry_max_stale_seconds", "gauge",
                           "The age from which on requests are refused.");
    ngx_http_hoody_ai_status_put(st,
                           "hoody_ai_registry_max_stale_seconds %M.%03M\n",
                           st->max_stale / 1000, st->max_stale % 1000);

    ngx_http_hoody_ai_head(st, "registry_master", "gauge",
                           "The master that Sentinel or a cluster led to.");

    for (i = 0; i < st->nlive; i++) {

        if (st->live[i].master_len == 0) {
            continue;
        }

        ngx_http_hoody_ai_status_put(st,
                                     "hoody_ai_registry_master{"
                                     "worker=\"%ui\",address=\"%*s\"} 1\n",
                                     st->number[i],
                                     (size_t) st->live[i].master_len,
                                     st->live[i].master);
    }

    ngx_http_hoody_ai_head(st, "registry_load_seconds", "gauge",
                           "Duration of the last full load.");

    for (i = 0; i < st->nlive; i++) {
        ngx_http_hoody_ai_status_put(st,
                  "hoody_ai_registry_load_seconds{worker=\"%ui\"} %uA.%03uA\n",
                  st->number[i], st->live[i].load_time / 1000,
                  st->live[i].load_time % 1000);
    }

    for (m = ngx_http_hoody_ai_worker_counters; m->name; m++) {

        ngx_http_hoody_ai_status_put(st,
                                     "# HELP hoody_ai_%s_total %s\n"
                                     "# TYPE hoody_ai_%s_total counter\n",
                                     m->name, m->help, m->name);

        for (i = 0; i < st->nlive; i++) {
            ngx_http_hoody_ai_status_put(st,
                          "hoody_ai_%s_total{worker=\"%ui\"} %uA\n",
                          m->name, st->number[i],
                          ngx_http_hoody_ai_value(&st->live[i], m->offset));
        }
    }
}


static void
ngx_http_hoody_ai_status_text_events(ngx_http_hoody_ai_status_t *st)
{
    ngx_uint_t  i;

    ngx_http_hoody_ai_head(st, "events_queued_total", "counter",
                           "Events that entered the ring.");
    ngx_http_hoody_ai_status_put(st, "hoody_ai_events_queued_total %uA\n",
                                 st->sum.events_queued);

    ngx_http_hoody_ai_head(st, "events_written_total", "counter",
                           "Events confirmed by Redis.");
    ngx_http_hoody_ai_status_put(st, "hoody_ai_events_written_total %uA\n",
                                 st->sum.events_written);

    ngx_http_hoody_ai_head(st, "events_dropped_total", "counter",
                           "Events lost.");

    for (i = 0; i < NGX_HTTP_HOODY_AI_DROPS; i++) {
        ngx_http_hoody_ai_status_put(st,
                        "hoody_ai_events_dropped_total{reason=\"%s\"} %uA\n",
                        ngx_http_hoody_ai_drops[i],
                        st->sum.events_dropped[i]);
    }

    ngx_http_hoody_ai_head(st, "events_reconnects_total", "counter",
                           "Connections for events lost or not made.");
    ngx_http_hoody_ai_status_put(st, "hoody_ai_events_reconnects_total %uA\n",
                                 st->sum.events_reconnects);

    ngx_http_hoody_ai_head(st, "events_pending", "gauge",
                           "Events queued that Redis has not confirmed.");
    ngx_http_hoody_ai_status_put(st, "hoody_ai_events_pending %uA\n",
                                 st->waiting);

    ngx_http_hoody_ai_head(st, "events_pending_bytes", "gauge",
                           "Events in the ring that Redis has not confirmed.");
    ngx_http_hoody_ai_status_put(st, "hoody_ai_events_pending_bytes %uL\n",
                                 st->pending);

    ngx_http_hoody_ai_head(st, "events_ring_bytes", "gauge",
                           "Size of the ring.");
    ngx_http_hoody_ai_status_put(st, "hoody_ai_events_ring_bytes %ui\n",
                                 st->zone->nsegments
                                 * NGX_HTTP_HOODY_AI_SEGMENT);
}


static void
ngx_http_hoody_ai_status_json(ngx_http_hoody_ai_status_t *st)
{
    char        *comma;
    ngx_uint_t   i, n;

    ngx_http_hoody_ai_status_put(st,
                                 "{\"version\":\"%s\",\"created\":%T,"
                                 "\"requests_open\":%uA,\"streams_open\":%uA,"
                                 "\"streams_revoked\":%uA,"
                                 "\"max_stale_ms\":%M,\"labels\":"
                                 "{\"container\":%uA,\"model\":%uA},"
                                 "\"series\":[",
                                 NGX_HTTP_HOODY_AI_VERSION, st->zone->created,
                                 st->sum.requests, st->sum.streams,
                                 st->sum.revoked_streams, st->max_stale,
                                 st->zone->ncontainers, st->zone->nmodels);

    ngx_http_hoody_ai_status_json_series(st);

    ngx_http_hoody_ai_status_put(st, "],\"responses\":{");

    comma = "";

    for (i = 0; i <= NGX_HTTP_HOODY_AI_STATUS_MAX
                     - NGX_HTTP_HOODY_AI_STATUS_MIN; i++)
    {
        if (st->sum.status[i]) {
            ngx_http_hoody_ai_status_put(st, "%s\"%ui\":%uA", comma,
                                         i + NGX_HTTP_HOODY_AI_STATUS_MIN,
                                         st->sum.status[i]);
            comma = ",";
        }
    }

    ngx_http_hoody_ai_status_put(st, "},\"refused\":{");

    for (i = NGX_HTTP_HOODY_AI_OK + 1; i < NGX_HTTP_HOODY_AI_R_COUNT; i++) {
        ngx_http_hoody_ai_status_put(st, "%s\"%V\":%uA",
                                     i > NGX_HTTP_HOODY_AI_OK + 1 ? "," : "",
                                     &ngx_http_hoody_ai_refusals[i].reason,
                                     st->sum.refused[i]);
    }

    ngx_http_hoody_ai_status_put(st, "},\"overhead\":{\"buckets\":[");

    n = 0;

    for (i = 0; i < NGX_HTTP_HOODY_AI_BUCKETS; i++) {
        n += st->sum.overhead[i];

        ngx_http_hoody_ai_status_put(st, "%s{\"le_ns\":%ui,\"count\":%ui}",
                                     i ? "," : "",
                                     ngx_http_hoody_ai_buckets[i].bound, n);
    }

    ngx_http_hoody_ai_status_put(st, "],\"count\":%ui,\"sum_ns\":%uA},"
                                 "\"workers\":[",
                                 n + st->sum.overhead
                                                 [NGX_HTTP_HOODY_AI_BUCKETS],
                                 st->sum.overhead_sum);

    ngx_http_hoody_ai_status_json_workers(st);

    ngx_http_hoody_ai_status_put(st, "],");

    ngx_http_hoody_ai_status_json_rules(st);

    ngx_http_hoody_ai_status_put(st,
                                 ",\"events\":{\"queued\":%uA,"
                                 "\"written\":%uA,\"dropped\":{",
                                 st->sum.events_queued,
                                 st->sum.events_written);

    for (i = 0; i < NGX_HTTP_HOODY_AI_DROPS; i++) {
        ngx_http_hoody_ai_status_put(st, "%s\"%s\":%uA", i ? "," : "",
                                     ngx_http_hoody_ai_drops[i],
                                     st->sum.events_dropped[i]);
    }

    ngx_http_hoody_ai_status_put(st,
                                 "},\"reconnects\":%uA,\"pending\":%uA,"
                                 "\"pending_bytes\":%uL,"
                                 "\"ring_bytes\":%ui}}\n",
                                 st->sum.events_reconnects, st->waiting,
                                 st->pending,
                                 st->zone->nsegments
                                 * NGX_HTTP_HOODY_AI_SEGMENT);
}


static void
ngx_http_hoody_ai_status_json_series(ngx_http_hoody_ai_status_t *st)
{
    char                        *comma;
    uint32_t                     key;
    ngx_uint_t                   i, j, used;
    ngx_http_hoody_ai_series_t  *s;

    comma = "";

    for (i = 0; i < st->nseries; i++) {

        s = &st->series[i];
        used = 0;

        for (j = 0; j < NGX_HTTP_HOODY_AI_CLASSES; j++) {
            used |= s->requests[j] != 0;
        }

        if (!used) {
            continue;
        }

        key = st->zone->keys[i];

        ngx_http_hoody_ai_status_put(st, "%s{\"container\":\"", comma);
        ngx_http_hoody_ai_status_label(st,
                 &st->zone->containers[ngx_http_hoody_ai_key_container(key)],
                 1);
        ngx_http_hoody_ai_status_put(st, "\",\"model\":\"");
        ngx_http_hoody_ai_status_label(st,
                 &st->zone->models[ngx_http_hoody_ai_key_model(key)], 1);
        ngx_http_hoody_ai_status_put(st, "\",\"requests\":{");

        comma = "";

        for (j = 0; j < NGX_HTTP_HOODY_AI_CLASSES; j++) {
            if (s->requests[j]) {
                ngx_http_hoody_ai_status_put(st, "%s\"%s\":%uA", comma,
                                             ngx_http_hoody_ai_classes[j],
                                             s->requests[j]);
                comma = ",";
            }
        }

        ngx_http_hoody_ai_status_put(st,
                                     "},\"input_tokens\":%uA,"
                                     "\"output_tokens\":%uA,"
                                     "\"cached_tokens\":%uA}",
                                     s->input_tokens, s->output_tokens,
                                     s->cached_tokens);
        comma = ",";
    }
}


static void
ngx_http_hoody_ai_status_json_workers(ngx_http_hoody_ai_status_t *st)
{
    ngx_uint_t                 i;
    ngx_http_hoody_ai_slot_t  *slot;

    for (i = 0; i < st->nlive; i++) {

        slot = &st->live[i];

        ngx_http_hoody_ai_status_put(st,
                                     "%s{\"worker\":%ui,\"pid\":%uA,"
                                     "\"requests\":%uA,\"streams\":%uA,"
                                     "\"loaded\":%s,\"connected\":%s,"
                                     "\"events_connected\":%s,"
                                     "\"containers\":%uA,"
                                     "\"memory_bytes\":%uA,",
                                     i ? "," : "", st->number[i], slot->pid,
                                     slot->requests, slot->streams,
                                     slot->loaded ? "true" : "false",
                                     slot->connected ? "true" : "false",
                                     slot->events_connected ? "true"
                                                            : "false",
                                     slot->containers, slot->memory);

        ngx_http_hoody_ai_status_put(st,
                                     "\"age_ms\":%M,\"load_ms\":%uA,"
                                     "\"reconnects\":%uA,\"reloads\":%uA,"
                                     "\"master\":\"%*s\",\"switches\":%uA,"
                                     "\"plans\":%uA,"
                                     "\"plans_memory_bytes\":%uA}",
                                     ngx_http_hoody_ai_status_age(slot),
                                     slot->load_time, slot->reconnects,
                                     slot->reloads,
                                     (size_t) slot->master_len, slot->master,
                                     slot->switches, slot->plans,
                                     slot->plans_memory);
    }
}


static void
ngx_http_hoody_ai_status_json_rules(ngx_http_hoody_ai_status_t *st)
{
    ngx_uint_t  i, j, n;

    ngx_http_hoody_ai_status_put(st, "\"rules\":{\"questions\":{");

    for (i = 0; i < NGX_HTTP_HOODY_AI_ASKS; i++) {

        ngx_http_hoody_ai_status_put(st, "%s\"%s\":{", i ? "," : "",
                                     ngx_http_hoody_ai_asks[i]);

        for (j = 0; j < NGX_HTTP_HOODY_AI_QS; j++) {
            ngx_http_hoody_ai_status_put(st, "%s\"%s\":%uA", j ? "," : "",
                                         ngx_http_hoody_ai_outcomes[j],
                                         st->sum.rules_questions[i][j]);
        }

        ngx_http_hoody_ai_status_put(st, "}");
    }

    ngx_http_hoody_ai_status_put(st, "},\"time\":{\"buckets\":[");

    n = 0;

    for (i = 0; i < NGX_HTTP_HOODY_AI_RULES_BUCKETS; i++) {
        n += st->sum.rules_time[i];

        ngx_http_hoody_ai_status_put(st, "%s{\"le_ns\":%ui,\"count\":%ui}",
                                     i ? "," : "",
                                     ngx_http_hoody_ai_rules_buckets[i].bound,
                                     n);
    }

    n += st->sum.rules_time[NGX_HTTP_HOODY_AI_RULES_BUCKETS];

    ngx_http_hoody_ai_status_put(st,
                                 "],\"count\":%ui,\"sum_ns\":%uA},"
                                 "\"passed\":%uA,\"plans_used\":%uA,"
                                 "\"plans_dropped\":%uA}",
                                 n, st->sum.rules_time_sum,
                                 st->sum.rules_passed, st->sum.plans_used,
                                 st->sum.plans_dropped);
}
