
/*
 * Rules: which requests they see, and the question that is put to the rule
 * engine.  A question is a subrequest to an internal location with
 * fastcgi_pass; nginx balances, keeps connections and notices failures.  What
 * the engine answers goes nowhere near the caller (capture.c, answer.c).
 *
 * While a request is ASKING, one of these is so:
 *
 *     ask->sr         a question is under way; the timer bounds it
 *     ask->answered   the subrequest has ended, the phases are about to go on
 *     neither         a pause; the timer ends it
 *
 * One time-out, counted from the beginning, bounds all of it together.
 */


#include "ngx_http_hoody_ai_rules.h"


/* the first pause, doubled for each of the next ones */
#define NGX_HTTP_HOODY_AI_PAUSE  2


static ngx_int_t ngx_http_hoody_ai_rules_serial(ngx_http_hoody_ai_ctx_t *ctx,
    ngx_uint_t *serial);
static ngx_uint_t ngx_http_hoody_ai_rules_see(ngx_http_hoody_ai_ctx_t *ctx,
    const struct hai_json_facts *facts, ngx_uint_t *opaque);
static ngx_int_t ngx_http_hoody_ai_rules_try(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
static ngx_int_t ngx_http_hoody_ai_rules_subrequest(ngx_http_request_t *r,
    ngx_http_hoody_ai_ask_t *ask);
static ngx_int_t ngx_http_hoody_ai_rules_headers(ngx_http_request_t *r,
    ngx_http_headers_in_t *in, ngx_http_request_body_t *body);
static ngx_msec_t ngx_http_hoody_ai_rules_left(ngx_http_hoody_ai_ask_t *ask);
static void ngx_http_hoody_ai_rules_timer(ngx_event_t *ev);
static void ngx_http_hoody_ai_rules_close(ngx_http_hoody_ai_ask_t *ask);


static ngx_str_t  ngx_http_hoody_ai_post = ngx_string("POST");


/*
 * The body is complete, nobody has looked at it.  Where the engine wants to
 * see each body, whatever its model, it gets this one as it is; what is sent
 * in the end is scanned once, and that is enough.
 */

ngx_int_t
ngx_http_hoody_ai_rules_unseen(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    ngx_uint_t                     serial;
    struct hai_plan               *plan;
    ngx_http_hoody_ai_ask_t       *ask;
    ngx_http_hoody_ai_loc_conf_t  *hlcf;

    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_hoody_ai_module);

    if (hlcf->rules == NULL || ctx->route->rules != HAI_RULES_JSON
        || ngx_http_hoody_ai_rules_serial(ctx, &serial) != NGX_OK)
    {
        return NGX_DECLINED;
    }

    plan = ngx_http_hoody_ai_plan_find_any(ctx, serial);

    if (plan == NULL || !plan->ask_body) {
        return NGX_DECLINED;
    }

    ask = ngx_http_hoody_ai_rules_create(r, ctx, NULL, 0);

    if (ask == NULL) {
        (void) ngx_http_hoody_ai_refuse(r, ctx, NGX_HTTP_HOODY_AI_R_INTERNAL);
        return NGX_OK;
    }

    ask->unseen = 1;

    return ngx_http_hoody_ai_rules_ask(r, ctx, NGX_HTTP_HOODY_AI_ASK_BODY);
}


/*
 * The body is complete and was checked, or there is none that could be.
 * NGX_AGAIN: the request is ASKING, or a new body is SCANNING.
 */

ngx_int_t
ngx_http_hoody_ai_rules_begin(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, const struct hai_json_facts *facts)
{
    ngx_int_t                      rc;
    ngx_uint_t                     opaque, serial;
    struct hai_plan               *plan;
    ngx_http_hoody_ai_loc_conf_t  *hlcf;

    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_hoody_ai_module);

    if (hlcf->rules == NULL
        || !ngx_http_hoody_ai_rules_see(ctx, facts, &opaque))
    {
        return ngx_http_hoody_ai_body_ready(r, ctx, facts, NULL);
    }

    rc = ngx_http_hoody_ai_rules_serial(ctx, &serial);

    if (rc == NGX_OK) {
        plan = ngx_http_hoody_ai_plan_find(ctx, serial, opaque);

        if (plan) {
            return ngx_http_hoody_ai_plan_apply(r, ctx, plan, facts);
        }
    }

    if (ngx_http_hoody_ai_rules_create(r, ctx, facts, opaque) == NULL) {
        (void) ngx_http_hoody_ai_refuse(r, ctx, NGX_HTTP_HOODY_AI_R_INTERNAL);
        return NGX_OK;
    }

    return ngx_http_hoody_ai_rules_try(r, ctx);
}


/* do rules see this request, and if so, can they look into it? */

static ngx_uint_t
ngx_http_hoody_ai_rules_see(ngx_http_hoody_ai_ctx_t *ctx,
    const struct hai_json_facts *facts, ngx_uint_t *opaque)
{
    const struct hai_json_value  *prompt;

    *opaque = 1;

    switch (ctx->route->rules) {

    case HAI_RULES_NONE:
        return 0;

    case HAI_RULES_OPTIONAL:
        return ctx->body_size != 0;

    case HAI_RULES_OPAQUE:
        return 1;

    case HAI_RULES_JSON:
        break;
    }

    /* a form, or the name of a prompt that the provider keeps */

    if (facts) {
        prompt = &facts->top[HAI_KEY_PROMPT];
        *opaque = prompt->end && prompt->type == '{';
    }

    return 1;
}


ngx_http_hoody_ai_ask_t *
ngx_http_hoody_ai_rules_create(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, const struct hai_json_facts *facts,
    ngx_uint_t opaque)
{
    ngx_http_hoody_ai_ask_t  *ask;

    ask = ngx_pcalloc(r->pool, sizeof(ngx_http_hoody_ai_ask_t));
    if (ask == NULL) {
        return NULL;
    }

    ask->ctx = ctx;
    ask->started = ctx->ask ? ctx->ask->started : ngx_current_msec;
    ask->opaque = opaque;
    ask->bufs = r->request_body->bufs;
    ask->size = r->headers_in.content_length_n;

    /* the scanner is another's as soon as this request waits */

    if (facts) {
        ask->json = 1;
        ask->facts = *facts;
    }

    ask->timer.handler = ngx_http_hoody_ai_rules_timer;
    ask->timer.data = ask;
    ask->timer.log = r->connection->log;

    ctx->ask = ask;

    return ask;
}


/*
 * As rules_entry(), where nothing but the serial is asked for.  Most requests
 * come here in the same call as they were admitted in.
 */

static ngx_int_t
ngx_http_hoody_ai_rules_serial(ngx_http_hoody_ai_ctx_t *ctx,
    ngx_uint_t *serial)
{
    ngx_int_t                       rc;
    ngx_http_hoody_ai_container_t   view;

    if (ctx->admitted == ngx_current_msec
        && ctx->heard == ngx_http_hoody_ai_replica_heard(
                                            ngx_http_hoody_ai_worker.replica))
    {
        *serial = ctx->serial;
        return NGX_OK;
    }

    rc = ngx_http_hoody_ai_rules_entry(ctx, &view);

    if (rc == NGX_OK) {
        *serial = view.serial;
    }

    return rc;
}


ngx_int_t
ngx_http_hoody_ai_rules_entry(ngx_http_hoody_ai_ctx_t *ctx,
    ngx_http_hoody_ai_container_t *view)
{
    ngx_http_hoody_ai_verdict_e  verdict;

    verdict = ngx_http_hoody_ai_replica_decide(ngx_http_hoody_ai_worker.replica,
                                               &ctx->claim, &ctx->source,
                                               view);

    if (verdict == NGX_HTTP_HOODY_AI_WAIT) {
        return NGX_AGAIN;
    }

    return verdict == NGX_HTTP_HOODY_AI_ADMIT ? NGX_OK : NGX_DECLINED;
}


/* a kept plan, or a question about one */

static ngx_int_t
ngx_http_hoody_ai_rules_try(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    ngx_int_t                 rc;
    ngx_uint_t                serial;
    struct hai_plan          *plan;
    ngx_http_hoody_ai_ask_t  *ask;

    ask = ctx->ask;

    rc = ngx_http_hoody_ai_rules_serial(ctx, &serial);

    if (rc == NGX_AGAIN) {
        return ngx_http_hoody_ai_rules_pause(r, ctx,
                                             NGX_HTTP_HOODY_AI_R_RULES);
    }

    if (rc != NGX_OK) {
        (void) ngx_http_hoody_ai_refuse(r, ctx, NGX_HTTP_HOODY_AI_R_REVOKED);
        return NGX_OK;
    }

    if (ask->unseen) {
        plan = ngx_http_hoody_ai_plan_find_any(ctx, serial);

        if (plan && plan->ask_body) {
            return ngx_http_hoody_ai_rules_ask(r, ctx,
                                               NGX_HTTP_HOODY_AI_ASK_BODY);
        }

        /* other rules meanwhile: the usual way, within the same time */

        return ngx_http_hoody_ai_body_scan(r, ctx);
    }

    plan = ngx_http_hoody_ai_plan_find(ctx, serial, ask->opaque);

    if (plan) {
        return ngx_http_hoody_ai_plan_apply(r, ctx, plan,
                                            ask->json ? &ask->facts : NULL);
    }

    return ngx_http_hoody_ai_rules_ask(r, ctx, NGX_HTTP_HOODY_AI_ASK_PLAN);
}


/* the precontent phase, while the request is ASKING */

ngx_int_t
ngx_http_hoody_ai_rules_go_on(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    ngx_http_hoody_ai_ask_t  *ask;

    ask = ctx->ask;

    if (ask->answered) {
        ask->answered = 0;

        if (ask->timer.timer_set) {
            ngx_del_timer(&ask->timer);
        }

        return ngx_http_hoody_ai_answer_take(r, ctx);
    }

    if (ask->due) {
        ask->due = 0;

        if (ngx_http_hoody_ai_rules_left(ask) == 0) {
            return ngx_http_hoody_ai_rules_failed(r, ctx, ask->reason);
        }

        return ngx_http_hoody_ai_rules_try(r, ctx);
    }

    /* woken by something else */

    return NGX_AGAIN;
}


ngx_int_t
ngx_http_hoody_ai_rules_ask(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_http_hoody_ai_question_e question)
{
    ngx_int_t                       rc;
    ngx_msec_t                      left;
    ngx_http_hoody_ai_ask_t        *ask;
    ngx_http_hoody_ai_container_t   view;

    ask = ctx->ask;

    left = ngx_http_hoody_ai_rules_left(ask);

    if (left == 0) {
        return ngx_http_hoody_ai_rules_failed(r, ctx,
                                          NGX_HTTP_HOODY_AI_R_RULES_TIMEOUT);
    }

    rc = ngx_http_hoody_ai_rules_entry(ctx, &view);

    if (rc == NGX_AGAIN) {
        return ngx_http_hoody_ai_rules_pause(r, ctx,
                                             NGX_HTTP_HOODY_AI_R_RULES);
    }

    if (rc != NGX_OK) {
        (void) ngx_http_hoody_ai_refuse(r, ctx, NGX_HTTP_HOODY_AI_R_REVOKED);
        return NGX_OK;
    }

    /* the entry is the registry's and may be gone when the question is sent */

    if (ask->tags.data == NULL || ask->serial != view.serial) {

        ask->tags.data = ngx_pnalloc(r->pool, view.tags.len + 1);
        if (ask->tags.data == NULL) {
            goto failed;
        }

        ask->tags.len = view.tags.len;
        ngx_memcpy(ask->tags.data, view.tags.data, view.tags.len);
    }

    ask->serial = view.serial;
    ask->question = question;

    ngx_http_hoody_ai_log_pause(ctx);

    ctx->state = NGX_HTTP_HOODY_AI_ASKING;

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_core_run_phases;

    if (ngx_http_hoody_ai_rules_subrequest(r, ask) != NGX_OK) {
        goto failed;
    }

    ngx_add_timer(&ask->timer, left);

    return NGX_AGAIN;

failed:

    (void) ngx_http_hoody_ai_refuse(r, ctx, NGX_HTTP_HOODY_AI_R_INTERNAL);

    return NGX_OK;
}


/*
 * The engine is to see what is said in parameters and nothing else: no header
 * of the caller, no variable that was evaluated for the caller's request, and
 * none the other way round.  All memory is there before core takes the
 * subrequest over.
 */

static ngx_int_t
ngx_http_hoody_ai_rules_subrequest(ngx_http_request_t *r,
    ngx_http_hoody_ai_ask_t *ask)
{
    ngx_http_request_t            *sr;
    ngx_http_headers_in_t         *in;
    ngx_http_request_body_t       *body;
    ngx_http_core_main_conf_t     *cmcf;
    ngx_http_variable_value_t     *vars;
    ngx_http_post_subrequest_t    *ps;
    ngx_http_hoody_ai_loc_conf_t  *hlcf;

    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_hoody_ai_module);
    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    ps = ngx_palloc(r->pool, sizeof(ngx_http_post_subrequest_t));
    in = ngx_pcalloc(r->pool, sizeof(ngx_http_headers_in_t));
    vars = ngx_pcalloc(r->pool, cmcf->variables.nelts
                                * sizeof(ngx_http_variable_value_t));

    if (ask->question == NGX_HTTP_HOODY_AI_ASK_BODY) {
        body = r->request_body;

    } else {
        body = ngx_pcalloc(r->pool, sizeof(ngx_http_request_body_t));
    }

    if (ps == NULL || in == NULL || vars == NULL || body == NULL
        || ngx_http_hoody_ai_rules_headers(r, in, body) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ps->handler = ngx_http_hoody_ai_capture_done;
    ps->data = ask;

    ask->status = 0;
    ask->type = NGX_HTTP_HOODY_AI_TYPE_OTHER;
    ask->epoch.len = 0;
    ask->found.len = 0;
    ask->data = NULL;
    ask->len = 0;
    ask->room = 0;
    ask->limit = 0;
    ask->memory = NGX_HTTP_HOODY_AI_OK;
    ask->late = 0;
    ask->last = 0;
    ask->complete = 0;
    ask->overflow = 0;

    if (ngx_http_subrequest(r, &hlcf->rules->uri, NULL, &sr, ps,
                            NGX_HTTP_SUBREQUEST_WAITED)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    sr->headers_in = *in;

    /* a list points into itself */

    sr->headers_in.headers.last = &sr->headers_in.headers.part;

    sr->request_body = body;
    sr->variables = vars;
    sr->method = NGX_HTTP_POST;
    sr->method_name = ngx_http_hoody_ai_post;
    sr->unparsed_uri = sr->uri;
    sr->request_line.len = 0;
    sr->filter_need_in_memory = 1;

    ask->sr = sr;
    ask->sent = ngx_http_hoody_ai_clock();

    return NGX_OK;
}


/* $content_length, for the parameter of that name */

static ngx_int_t
ngx_http_hoody_ai_rules_headers(ngx_http_request_t *r,
    ngx_http_headers_in_t *in, ngx_http_request_body_t *body)
{
    u_char           *p;
    ngx_table_elt_t  *h;

    if (ngx_list_init(&in->headers, r->pool, 1, sizeof(ngx_table_elt_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    in->content_length_n = ngx_http_hoody_ai_body_length(body);
    in->keep_alive_n = -1;

    h = ngx_list_push(&in->headers);
    p = ngx_pnalloc(r->pool, NGX_OFF_T_LEN);

    if (h == NULL || p == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    ngx_http_hoody_ai_elt_init(h);

    ngx_str_set(&h->key, "Content-Length");
    h->lowcase_key = (u_char *) "content-length";
    h->value.data = p;
    h->value.len = ngx_sprintf(p, "%O", in->content_length_n) - p;

    in->content_length = h;

    return NGX_OK;
}


static ngx_msec_t
ngx_http_hoody_ai_rules_left(ngx_http_hoody_ai_ask_t *ask)
{
    ngx_msec_t                     spent;
    ngx_http_hoody_ai_loc_conf_t  *hlcf;

    hlcf = ngx_http_get_module_loc_conf(ask->ctx->request,
                                        ngx_http_hoody_ai_module);

    spent = ngx_current_msec - ask->started;

    return spent < hlcf->rules->timeout ? hlcf->rules->timeout - spent : 0;
}


ngx_int_t
ngx_http_hoody_ai_rules_pause(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_http_hoody_ai_reason_e reason)
{
    ngx_msec_t                left;
    ngx_event_t              *rev;
    ngx_http_hoody_ai_ask_t  *ask;

    ask = ctx->ask;

    ngx_http_hoody_ai_log_pause(ctx);

    ctx->state = NGX_HTTP_HOODY_AI_ASKING;

    ask->reason = reason;
    ask->pause = ask->pause ? ask->pause * 2 : NGX_HTTP_HOODY_AI_PAUSE;

    left = ngx_http_hoody_ai_rules_left(ask);

    ngx_add_timer(&ask->timer, ngx_min(ask->pause, left));

    /* notice a caller that gives up */

    rev = r->connection->read;

    if (rev->ready) {
        ngx_post_event(rev, &ngx_posted_events);

    } else if (ngx_handle_read_event(rev, 0) != NGX_OK) {
        (void) ngx_http_hoody_ai_refuse(r, ctx, NGX_HTTP_HOODY_AI_R_INTERNAL);
        return NGX_OK;
    }

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    return NGX_AGAIN;
}


static void
ngx_http_hoody_ai_rules_timer(ngx_event_t *ev)
{
    ngx_connection_t         *c;
    ngx_http_request_t       *r;
    ngx_http_hoody_ai_ask_t  *ask;

    ask = ev->data;
    r = ask->ctx->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    if (ask->sr) {
        ask->late = 1;
        ask->answered = 1;

        ngx_http_hoody_ai_rules_close(ask);

    } else {
        ask->due = 1;

        r->read_event_handler = ngx_http_block_reading;

        ngx_http_hoody_ai_resume(r);
    }

    ngx_http_run_posted_requests(c);
}


/*
 * Ends the question under way: core closes the engine's connection, and wakes
 * the request as it does at the end of any subrequest.
 */

static void
ngx_http_hoody_ai_rules_close(ngx_http_hoody_ai_ask_t *ask)
{
    ngx_http_request_t  *sr;

    sr = ask->sr;
    ask->sr = NULL;

    ngx_http_hoody_ai_upstream_close(sr);

    ngx_http_finalize_request(sr, NGX_OK);
}


/* the request was refused while it was ASKING: the phases answer */

void
ngx_http_hoody_ai_rules_stop(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    ngx_http_hoody_ai_ask_t  *ask;

    ask = ctx->ask;

    if (ask->timer.timer_set) {
        ngx_del_timer(&ask->timer);
    }

    if (ask->sr) {
        ngx_http_hoody_ai_add(ngx_http_hoody_ai_worker.slot->
                                  rules_questions[ask->question]
                                      [NGX_HTTP_HOODY_AI_Q_CANCELED], 1);

        ngx_http_hoody_ai_rules_close(ask);
        return;
    }

    r->read_event_handler = ngx_http_block_reading;

    ngx_http_hoody_ai_resume(r);
}


void
ngx_http_hoody_ai_rules_cleanup(ngx_http_hoody_ai_ctx_t *ctx)
{
    ngx_http_hoody_ai_ask_t  *ask;

    ask = ctx->ask;

    if (ask == NULL) {
        return;
    }

    if (ask->timer.timer_set) {
        ngx_del_timer(&ask->timer);
    }

    if (ask->sr) {
        ngx_http_hoody_ai_add(ngx_http_hoody_ai_worker.slot->
                                  rules_questions[ask->question]
                                      [NGX_HTTP_HOODY_AI_Q_CANCELED], 1);
        ask->sr = NULL;
    }
}


/* no usable answer: refused, or on as the caller sent it if that is wanted */

ngx_int_t
ngx_http_hoody_ai_rules_failed(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_http_hoody_ai_reason_e reason)
{
    ngx_http_hoody_ai_ask_t       *ask;
    ngx_http_hoody_ai_loc_conf_t  *hlcf;

    static time_t  last;

    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_hoody_ai_module);

    ask = ctx->ask;

    if (!hlcf->rules->pass || ask == NULL) {
        (void) ngx_http_hoody_ai_refuse(r, ctx, reason);
        return NGX_OK;
    }

    ngx_http_hoody_ai_add(ngx_http_hoody_ai_worker.slot->rules_passed, 1);

    if (last != ngx_time()) {
        last = ngx_time();

        ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                      "hoody_ai: request goes on without rules: %V",
                      &ngx_http_hoody_ai_refusals[reason].reason);
    }

    if (ctx->replaced) {
        ctx->replaced = 0;

        r->request_body->bufs = ask->bufs;
        r->headers_in.content_length_n = ask->size;

        if (!ask->unseen
            && ngx_http_hoody_ai_body_facts(r, ctx, &ask->facts) != NGX_OK)
        {
            return NGX_OK;
        }
    }

    if (ask->unseen) {
        return ngx_http_hoody_ai_body_unchanged(r, ctx);
    }

    return ngx_http_hoody_ai_body_ready(r, ctx,
                                        ask->json ? &ask->facts : NULL, NULL);
}


void
ngx_http_hoody_ai_rules_complain(ngx_http_request_t *r, const char *what)
{
    static time_t  last;

    if (last == ngx_time()) {
        return;
    }

    last = ngx_time();

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "hoody_ai: the rule engine answered with %s", what);
}
