
/*
 * What follows from the rule engine's answer.  Whatever is not expected means
 * that the rules cannot be had: another status, another content type, an end
 * that is missing, more bytes than allowed.
 */


#include "ngx_http_hoody_ai_rules.h"


static ngx_int_t ngx_http_hoody_ai_answer_plan(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
static ngx_int_t ngx_http_hoody_ai_answer_body(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
static ngx_int_t ngx_http_hoody_ai_answer_unchanged(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
static ngx_int_t ngx_http_hoody_ai_answer_edits(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
static ngx_uint_t ngx_http_hoody_ai_answer_keeps(ngx_http_hoody_ai_ask_t *ask,
    size_t size, struct hai_edits *e);
static ngx_int_t ngx_http_hoody_ai_answer_json(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
static ngx_int_t ngx_http_hoody_ai_answer_refused(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
static ngx_int_t ngx_http_hoody_ai_answer_unusable(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, const char *what);
static ngx_int_t ngx_http_hoody_ai_answer_member(u_char *p, u_char *last,
    ngx_str_t *name, ngx_str_t *value);
static u_char *ngx_http_hoody_ai_answer_space(u_char *p, u_char *last);
static u_char *ngx_http_hoody_ai_answer_value(u_char *p, u_char *last);
static void ngx_http_hoody_ai_answer_count(ngx_http_hoody_ai_ask_t *ask,
    ngx_http_hoody_ai_outcome_e outcome);


ngx_int_t
ngx_http_hoody_ai_answer_take(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    ngx_http_hoody_ai_ask_t  *ask;

    ask = ctx->ask;

    if (ask->late) {
        ngx_http_hoody_ai_answer_count(ask, NGX_HTTP_HOODY_AI_Q_TIMEOUT);
        return ngx_http_hoody_ai_rules_failed(r, ctx,
                                          NGX_HTTP_HOODY_AI_R_RULES_TIMEOUT);
    }

    if (!ask->complete) {
        ngx_http_hoody_ai_answer_count(ask, NGX_HTTP_HOODY_AI_Q_UNAVAILABLE);
        return ngx_http_hoody_ai_rules_failed(r, ctx,
                                              NGX_HTTP_HOODY_AI_R_RULES);
    }

    if (ask->memory != NGX_HTTP_HOODY_AI_OK) {
        ngx_http_hoody_ai_answer_count(ask, NGX_HTTP_HOODY_AI_Q_UNUSABLE);
        (void) ngx_http_hoody_ai_refuse(r, ctx, ask->memory);
        return NGX_OK;
    }

    if (ask->overflow) {
        return ngx_http_hoody_ai_answer_unusable(r, ctx, "too many bytes");
    }

    if (ask->announced >= 0 && ask->status != NGX_HTTP_NO_CONTENT
        && (size_t) ask->announced != ask->len)
    {
        return ngx_http_hoody_ai_answer_unusable(r, ctx, "another length than "
                                                 "it said");
    }

    switch (ask->status) {

    case NGX_HTTP_OK:
    case NGX_HTTP_NO_CONTENT:

        return ask->question == NGX_HTTP_HOODY_AI_ASK_PLAN
                   ? ngx_http_hoody_ai_answer_plan(r, ctx)
                   : ngx_http_hoody_ai_answer_body(r, ctx);

    case NGX_HTTP_BAD_REQUEST:
    case NGX_HTTP_FORBIDDEN:

        return ngx_http_hoody_ai_answer_refused(r, ctx);

    case NGX_HTTP_SERVICE_UNAVAILABLE:

        /* it has no rules yet */

        ngx_http_hoody_ai_answer_count(ask, NGX_HTTP_HOODY_AI_Q_UNAVAILABLE);
        return ngx_http_hoody_ai_rules_failed(r, ctx,
                                              NGX_HTTP_HOODY_AI_R_RULES);

    default:
        return ngx_http_hoody_ai_answer_unusable(r, ctx, "an unexpected "
                                                 "status");
    }
}


static ngx_int_t
ngx_http_hoody_ai_answer_plan(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    ngx_int_t                 rc;
    const char               *error;
    struct hai_plan          *plan;
    ngx_http_hoody_ai_ask_t  *ask;

    ask = ctx->ask;

    if (ask->status == NGX_HTTP_NO_CONTENT) {
        plan = ngx_http_hoody_ai_plan_empty(&ask->epoch);

        if (plan == NULL) {
            return ngx_http_hoody_ai_answer_unusable(r, ctx, "204 without a "
                                                     "valid X-Hoody-Epoch");
        }

    } else {

        if (ask->type != NGX_HTTP_HOODY_AI_TYPE_PLAN) {
            return ngx_http_hoody_ai_answer_unusable(r, ctx, "another content "
                                                     "type than a plan's");
        }

        plan = hai_plan_read((char *) ask->data, ask->len, &error);

        if (plan == NULL) {
            return ngx_http_hoody_ai_answer_unusable(r, ctx, error);
        }
    }

    if (ask->opaque && (plan->n || plan->ask_body)) {
        hai_plan_free(plan);
        return ngx_http_hoody_ai_answer_unusable(r, ctx, "changes of a body "
                                                 "that nobody can look into");
    }

    rc = ngx_http_hoody_ai_plan_keep(ctx, ask->serial, ask->opaque, plan);

    if (rc == NGX_AGAIN) {
        ngx_http_hoody_ai_answer_count(ask, NGX_HTTP_HOODY_AI_Q_EPOCH);
        return ngx_http_hoody_ai_rules_pause(r, ctx,
                                            NGX_HTTP_HOODY_AI_R_RULES_EPOCH);
    }

    if (rc != NGX_OK) {
        (void) ngx_http_hoody_ai_refuse(r, ctx, NGX_HTTP_HOODY_AI_R_INTERNAL);
        return NGX_OK;
    }

    ngx_http_hoody_ai_answer_count(ask, (plan->n || plan->ask_body)
                                            ? NGX_HTTP_HOODY_AI_Q_PLAN
                                            : NGX_HTTP_HOODY_AI_Q_UNCHANGED);

    return ngx_http_hoody_ai_plan_apply(r, ctx, plan,
                                        ask->json ? &ask->facts : NULL);
}


static ngx_int_t
ngx_http_hoody_ai_answer_body(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    ngx_str_t                 epoch;
    ngx_http_hoody_ai_ask_t  *ask;

    ask = ctx->ask;

    /* an engine that says of which rules its answer is: of those in force? */

    if (ask->epoch.len
        && (!ngx_http_hoody_ai_replica_epoch(ngx_http_hoody_ai_worker.replica,
                                             &epoch)
            || epoch.len != ask->epoch.len
            || ngx_memcmp(epoch.data, ask->epoch.data, epoch.len) != 0))
    {
        ngx_http_hoody_ai_answer_count(ask, NGX_HTTP_HOODY_AI_Q_EPOCH);
        return ngx_http_hoody_ai_rules_pause(r, ctx,
                                            NGX_HTTP_HOODY_AI_R_RULES_EPOCH);
    }

    if (ask->status == NGX_HTTP_NO_CONTENT) {
        return ngx_http_hoody_ai_answer_unchanged(r, ctx);
    }

    switch (ask->type) {

    case NGX_HTTP_HOODY_AI_TYPE_EDITS:
        return ngx_http_hoody_ai_answer_edits(r, ctx);

    case NGX_HTTP_HOODY_AI_TYPE_JSON:
        return ngx_http_hoody_ai_answer_json(r, ctx);

    default:
        return ngx_http_hoody_ai_answer_unusable(r, ctx, "another content "
                                                 "type than edits' or JSON");
    }
}


static ngx_int_t
ngx_http_hoody_ai_answer_unchanged(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    size_t                    size;
    ngx_http_hoody_ai_ask_t  *ask;

    ask = ctx->ask;

    ngx_http_hoody_ai_answer_count(ask, NGX_HTTP_HOODY_AI_Q_UNCHANGED);

    if (ask->unseen) {
        size = ngx_http_hoody_ai_body_length(r->request_body);

        if (!ngx_http_hoody_ai_answer_keeps(ask, size, NULL)) {
            return ngx_http_hoody_ai_body_unchanged(r, ctx);
        }

        if (ngx_http_hoody_ai_body_facts(r, ctx, &ask->facts) != NGX_OK) {
            return NGX_OK;
        }
    }

    return ngx_http_hoody_ai_body_ready(r, ctx, &ask->facts, NULL);
}


static ngx_int_t
ngx_http_hoody_ai_answer_edits(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    uint64_t                  size;
    struct hai_edits         *e;
    ngx_http_hoody_ai_ask_t  *ask;

    ask = ctx->ask;
    e = &ngx_http_hoody_ai_worker.edits;

    size = ngx_http_hoody_ai_body_length(r->request_body);

    if (hai_edits_wire_read(e, (char *) ask->data, ask->len, size) != 0) {
        return ngx_http_hoody_ai_answer_unusable(r, ctx, "edits that do not "
                                                 "fit the body");
    }

    if (e->n == 0) {
        return ngx_http_hoody_ai_answer_unchanged(r, ctx);
    }

    ngx_http_hoody_ai_answer_count(ask, NGX_HTTP_HOODY_AI_Q_CHANGED);

    if (ngx_http_hoody_ai_answer_keeps(ask, size, e)) {

        if (ask->unseen
            && ngx_http_hoody_ai_body_facts(r, ctx, &ask->facts) != NGX_OK)
        {
            return NGX_OK;
        }

        return ngx_http_hoody_ai_body_ready(r, ctx, &ask->facts, e);
    }

    if (ngx_http_hoody_ai_splice(r, e) != NGX_OK) {
        (void) ngx_http_hoody_ai_refuse(r, ctx, NGX_HTTP_HOODY_AI_R_INTERNAL);
        return NGX_OK;
    }

    return ngx_http_hoody_ai_body_replaced(r, ctx);
}


/*
 * Has the engine said what its scan found in the body, and do the edits leave
 * that as it is?  Then ask->facts are those of the body: of our own scan, or
 * of the engine's where we have not looked.
 */

static ngx_uint_t
ngx_http_hoody_ai_answer_keeps(ngx_http_hoody_ai_ask_t *ask, size_t size,
    struct hai_edits *e)
{
    size_t                        i;
    struct hai_json_facts         told;
    const struct hai_json_value  *model;

    if (!hai_facts_read(&told, size, (char *) ask->found.data,
                        ask->found.len))
    {
        return 0;
    }

    if (ask->unseen) {
        ask->facts = told;
    }

    model = &ask->facts.top[HAI_KEY_MODEL];

    for (i = 0; e && i < e->n; i++) {

        if (e->list[i].offset < model->end
            && e->list[i].offset + e->list[i].del > model->start)
        {
            return 0;
        }
    }

    return 1;
}


static ngx_int_t
ngx_http_hoody_ai_answer_json(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    ngx_buf_t                *b;
    ngx_chain_t              *cl;
    ngx_http_hoody_ai_ask_t  *ask;

    ask = ctx->ask;

    b = ngx_calloc_buf(r->pool);
    cl = ngx_alloc_chain_link(r->pool);

    if (b == NULL || cl == NULL) {
        (void) ngx_http_hoody_ai_refuse(r, ctx, NGX_HTTP_HOODY_AI_R_INTERNAL);
        return NGX_OK;
    }

    b->start = ask->data;
    b->pos = ask->data;
    b->last = ask->data + ask->len;
    b->end = b->last;
    b->memory = 1;

    cl->buf = b;
    cl->next = NULL;

    ngx_http_hoody_ai_answer_count(ask, NGX_HTTP_HOODY_AI_Q_CHANGED);

    r->request_body->bufs = cl;
    r->headers_in.content_length_n = ask->len;

    return ngx_http_hoody_ai_body_replaced(r, ctx);
}


/*
 * 403: a rule says no, in words for the caller.  400 to a body: it has no
 * place for a change.
 */

static ngx_int_t
ngx_http_hoody_ai_answer_refused(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    u_char                   *last;
    ngx_str_t                 error, value;
    struct hai_json          *js;
    ngx_http_hoody_ai_ask_t  *ask;

    static ngx_str_t  names[] = {
        ngx_string("error"),
        ngx_string("message"),
        ngx_string("code")
    };

    ask = ctx->ask;

    js = ngx_http_hoody_ai_worker.scanner;
    hai_json_reset(js);

    if (ask->len == 0
        || hai_json_feed(js, ask->data, ask->len) != HAI_JSON_OK
        || hai_json_finish(js) != HAI_JSON_OK)
    {
        return ngx_http_hoody_ai_answer_unusable(r, ctx, "a refusal that is "
                                                 "no JSON object");
    }

    ngx_str_null(&value);

    last = ask->data + ask->len;

    if (ngx_http_hoody_ai_answer_member(ask->data, last, &names[0], &error)
        == NGX_OK)
    {
        (void) ngx_http_hoody_ai_answer_member(error.data,
                           error.data + error.len,
                           &names[ask->status == NGX_HTTP_FORBIDDEN ? 1 : 2],
                           &value);
    }

    /* of a string what is between the quotes; that can be quoted as it is */

    if (value.len >= 2 && value.data[0] == '"') {
        value.data++;
        value.len -= 2;

    } else {
        value.len = 0;
    }

    if (ask->status == NGX_HTTP_FORBIDDEN) {

        if (value.len) {
            ctx->error_message = value;

        } else {
            ctx->error_json.data = ask->data;
            ctx->error_json.len = ask->len;
        }

        ngx_http_hoody_ai_answer_count(ask, NGX_HTTP_HOODY_AI_Q_BLOCKED);
        (void) ngx_http_hoody_ai_refuse(r, ctx, NGX_HTTP_HOODY_AI_R_BLOCKED);
        return NGX_OK;
    }

    if (ask->question != NGX_HTTP_HOODY_AI_ASK_BODY
        || value.len != sizeof("invalid_body") - 1
        || ngx_memcmp(value.data, "invalid_body", value.len) != 0)
    {
        return ngx_http_hoody_ai_answer_unusable(r, ctx, "an unexpected "
                                                 "status");
    }

    ngx_http_hoody_ai_answer_count(ask, NGX_HTTP_HOODY_AI_Q_SHAPE);
    (void) ngx_http_hoody_ai_refuse(r, ctx, NGX_HTTP_HOODY_AI_R_SHAPE);

    return NGX_OK;
}


static ngx_int_t
ngx_http_hoody_ai_answer_unusable(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, const char *what)
{
    ngx_http_hoody_ai_answer_count(ctx->ask, NGX_HTTP_HOODY_AI_Q_UNUSABLE);
    ngx_http_hoody_ai_rules_complain(r, what);

    return ngx_http_hoody_ai_rules_failed(r, ctx,
                                          NGX_HTTP_HOODY_AI_R_RULES_ANSWER);
}


/* a member of the object at p, which is valid JSON; its name is not escaped */

static ngx_int_t
ngx_http_hoody_ai_answer_member(u_char *p, u_char *last, ngx_str_t *name,
    ngx_str_t *value)
{
    u_char      *key, *end;
    ngx_uint_t   found;

    p = ngx_http_hoody_ai_answer_space(p, last);

    if (p == last || *p != '{') {
        return NGX_DECLINED;
    }

    for ( ;; ) {

        /* behind the brace or a comma */

        key = ngx_http_hoody_ai_answer_space(p + 1, last);

        if (key == last || *key != '"') {
            return NGX_DECLINED;
        }

        end = ngx_http_hoody_ai_answer_value(key, last);

        found = (size_t) (end - key) == name->len + 2
                && ngx_memcmp(key + 1, name->data, name->len) == 0;

        p = ngx_http_hoody_ai_answer_space(end, last);

        if (p == last) {
            return NGX_DECLINED;
        }

        p = ngx_http_hoody_ai_answer_space(p + 1, last);
        end = ngx_http_hoody_ai_answer_value(p, last);

        if (found) {
            value->data = p;
            value->len = end - p;
            return NGX_OK;
        }

        p = ngx_http_hoody_ai_answer_space(end, last);

        if (p == last || *p != ',') {
            return NGX_DECLINED;
        }
    }
}


static u_char *
ngx_http_hoody_ai_answer_space(u_char *p, u_char *last)
{
    while (p < last && (*p == ' ' || *p == '\t' || *p == CR || *p == LF)) {
        p++;
    }

    return p;
}


/* behind the value at p */

static u_char *
ngx_http_hoody_ai_answer_value(u_char *p, u_char *last)
{
    ngx_uint_t  depth, quoted;

    depth = 0;
    quoted = 0;

    for ( /* void */ ; p < last; p++) {

        switch (*p) {

        case '\\':
            p++;
            continue;

        case '"':
            quoted = !quoted;

            if (!quoted && depth == 0) {
                return p + 1;
            }

            continue;
        }

        if (quoted) {
            continue;
        }

        switch (*p) {

        case '{':
        case '[':
            depth++;
            break;

        case '}':
        case ']':

            if (depth == 0) {
                return p;
            }

            if (--depth == 0) {
                return p + 1;
            }

            break;

        case ',':
        case ' ':
        case '\t':
        case CR:
        case LF:

            if (depth == 0) {
                return p;
            }

            break;
        }
    }

    return last;
}


static void
ngx_http_hoody_ai_answer_count(ngx_http_hoody_ai_ask_t *ask,
    ngx_http_hoody_ai_outcome_e outcome)
{
    uint64_t                   spent;
    ngx_uint_t                 i;
    ngx_http_hoody_ai_slot_t  *slot;

    slot = ngx_http_hoody_ai_worker.slot;

    spent = ngx_http_hoody_ai_clock() - ask->sent;

    for (i = 0; i < NGX_HTTP_HOODY_AI_RULES_BUCKETS; i++) {
        if (spent <= ngx_http_hoody_ai_rules_buckets[i].bound) {
            break;
        }
    }

    ngx_http_hoody_ai_add(slot->rules_questions[ask->question][outcome], 1);
    ngx_http_hoody_ai_add(slot->rules_time[i], 1);
    ngx_http_hoody_ai_add(slot->rules_time_sum, spent);
}
