
/*
 * The rule engine's answer: taken off the subrequest by filters of our own,
 * since core's in-memory subrequests end the caller's connection when an
 * answer is too large; and what follows from it.
 *
 * Whatever is not expected means that the rules cannot be had: another
 * status, another content type, an end that is missing, more bytes than
 * allowed.  Bytes beyond a ceiling are dropped while core reads on to the
 * end, so that the connection to the engine can be kept.
 */


#include "ngx_http_hoody_ai_rules.h"


static ngx_int_t ngx_http_hoody_ai_answer_header_filter(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_hoody_ai_answer_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);
static ngx_http_hoody_ai_ask_t *ngx_http_hoody_ai_answer_ask(
    ngx_http_request_t *r);
static ngx_http_hoody_ai_type_e ngx_http_hoody_ai_answer_type(ngx_str_t *s);
static size_t ngx_http_hoody_ai_answer_limit(ngx_http_request_t *r,
    ngx_http_hoody_ai_ask_t *ask);
static void ngx_http_hoody_ai_answer_epoch(ngx_http_request_t *sr,
    ngx_http_hoody_ai_ask_t *ask);
static ngx_int_t ngx_http_hoody_ai_answer_append(ngx_http_request_t *r,
    ngx_http_hoody_ai_ask_t *ask, ngx_buf_t *b);
static ngx_int_t ngx_http_hoody_ai_answer_plan(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
static ngx_int_t ngx_http_hoody_ai_answer_body(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
static ngx_int_t ngx_http_hoody_ai_answer_edits(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
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


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;
static ngx_http_output_body_filter_pt    ngx_http_next_body_filter;


ngx_int_t
ngx_http_hoody_ai_rules_init(ngx_conf_t *cf)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_hoody_ai_answer_header_filter;

    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_hoody_ai_answer_body_filter;

    return NGX_OK;
}


/* is it a question?  Its context would be lost by an internal redirect */

static ngx_http_hoody_ai_ask_t *
ngx_http_hoody_ai_answer_ask(ngx_http_request_t *r)
{
    if (r == r->main || r->post_subrequest == NULL
        || r->post_subrequest->handler != ngx_http_hoody_ai_answer_done)
    {
        return NULL;
    }

    return r->post_subrequest->data;
}


static ngx_int_t
ngx_http_hoody_ai_answer_header_filter(ngx_http_request_t *r)
{
    ngx_http_hoody_ai_ask_t       *ask;
    ngx_http_hoody_ai_loc_conf_t  *hlcf;

    ask = ngx_http_hoody_ai_answer_ask(r);

    if (ask == NULL) {
        return ngx_http_next_header_filter(r);
    }

    r->header_sent = 1;

    if (ask->sr != r) {
        /* nobody waits for it any more */
        return NGX_OK;
    }

    hlcf = ngx_http_get_module_loc_conf(r->parent, ngx_http_hoody_ai_module);

    if (r->upstream == NULL || !r->upstream->buffering
        || ngx_http_get_module_loc_conf(r, ngx_http_core_module)
           != hlcf->rules_location)
    {
        /* nginx's own page, or another location */
        return NGX_OK;
    }

    ask->status = r->headers_out.status;
    ask->announced = r->headers_out.content_length_n;
    ask->type = ngx_http_hoody_ai_answer_type(&r->headers_out.content_type);
    ask->limit = ngx_http_hoody_ai_answer_limit(r->parent, ask);

    ngx_http_hoody_ai_answer_epoch(r, ask);

    return NGX_OK;
}


static ngx_http_hoody_ai_type_e
ngx_http_hoody_ai_answer_type(ngx_str_t *s)
{
    size_t      len;
    ngx_uint_t  i;

    static ngx_str_t  types[] = {
        ngx_null_string,
        ngx_string("application/vnd.hoody.plan+json"),
        ngx_string("application/vnd.hoody.splice"),
        ngx_string("application/json")
    };

    for (len = 0; len < s->len; len++) {
        if (s->data[len] == ';' || s->data[len] == ' ') {
            break;
        }
    }

    for (i = NGX_HTTP_HOODY_AI_TYPE_PLAN; i <= NGX_HTTP_HOODY_AI_TYPE_JSON;
         i++)
    {
        if (len == types[i].len
            && ngx_strncasecmp(s->data, types[i].data, len) == 0)
        {
            return i;
        }
    }

    return NGX_HTTP_HOODY_AI_TYPE_OTHER;
}


static size_t
ngx_http_hoody_ai_answer_limit(ngx_http_request_t *r,
    ngx_http_hoody_ai_ask_t *ask)
{
    ngx_http_hoody_ai_loc_conf_t  *hlcf;

    if (ask->status != NGX_HTTP_OK) {
        return NGX_HTTP_HOODY_AI_REASON_MAX;
    }

    if (ask->type != NGX_HTTP_HOODY_AI_TYPE_JSON) {
        return NGX_HTTP_HOODY_AI_EDITS_MAX;
    }

    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_hoody_ai_module);

    return hlcf->max_body ? (size_t) hlcf->max_body : NGX_MAX_SIZE_T_VALUE;
}


static void
ngx_http_hoody_ai_answer_epoch(ngx_http_request_t *sr,
    ngx_http_hoody_ai_ask_t *ask)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    part = &sr->upstream->headers_in.headers.part;
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

        if (h[i].key.len == sizeof("x-hoody-epoch") - 1
            && ngx_memcmp(h[i].lowcase_key, "x-hoody-epoch", h[i].key.len)
               == 0)
        {
            ask->epoch = h[i].value;
        }
    }
}


static ngx_int_t
ngx_http_hoody_ai_answer_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_buf_t                *b;
    ngx_chain_t              *cl;
    ngx_http_hoody_ai_ask_t  *ask;

    ask = ngx_http_hoody_ai_answer_ask(r);

    if (ask == NULL) {
        return ngx_http_next_body_filter(r, in);
    }

    for (cl = in; cl; cl = cl->next) {

        b = cl->buf;

        if (ask->sr == r) {

            if (b->last_in_chain && b->sync) {
                ask->last = 1;
            }

            if (ask->status && !ask->overflow
                && ngx_http_hoody_ai_answer_append(r, ask, b) != NGX_OK)
            {
                ask->overflow = 1;
            }
        }

        b->pos = b->last;
        b->file_pos = b->file_last;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_hoody_ai_answer_append(ngx_http_request_t *r,
    ngx_http_hoody_ai_ask_t *ask, ngx_buf_t *b)
{
    u_char  *p;
    size_t   n, room;

    if (!ngx_buf_in_memory(b)) {
        return NGX_OK;
    }

    n = b->last - b->pos;

    if (n > ask->limit - ask->len) {
        return NGX_DECLINED;
    }

    if (n > ask->room - ask->len) {

        if (ask->announced > (off_t) ask->limit) {
            return NGX_DECLINED;
        }

        room = (ask->announced > 0) ? (size_t) ask->announced
                                    : ngx_max(ask->room * 2, 4096);
        room = ngx_max(room, ask->len + n);

        ask->memory = ngx_http_hoody_ai_body_keep(ask->ctx, room - ask->room);

        if (ask->memory != NGX_HTTP_HOODY_AI_OK) {
            return NGX_DECLINED;
        }

        p = ngx_pnalloc(r->pool, room);
        if (p == NULL) {
            return NGX_ERROR;
        }

        if (ask->len) {
            ngx_memcpy(p, ask->data, ask->len);
            (void) ngx_pfree(r->pool, ask->data);
        }

        ask->data = p;
        ask->room = room;
    }

    ngx_memcpy(ask->data + ask->len, b->pos, n);
    ask->len += n;

    return NGX_OK;
}


/*
 * The subrequest has ended.  Only notes what came: the request that waits is
 * woken by core, and nothing of it may run from here.
 */

ngx_int_t
ngx_http_hoody_ai_answer_done(ngx_http_request_t *sr, void *data,
    ngx_int_t rc)
{
    ngx_http_upstream_t      *u;
    ngx_http_hoody_ai_ask_t  *ask = data;

    if (rc == NGX_HTTP_CLIENT_CLOSED_REQUEST || sr->connection->error) {
        return rc;
    }

    if (ask->sr != sr) {
        return NGX_OK;
    }

    ask->sr = NULL;
    ask->answered = 1;

    /*
     * Core also passes on what it has of an answer whose end is missing;
     * END_REQUEST is the proof.
     */

    u = sr->upstream;

    ask->complete = rc == NGX_OK && ask->last && u && u->pipe
                    && u->pipe->upstream_done;

    return NGX_OK;
}


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

    return ngx_http_hoody_ai_rules_apply(r, ctx, plan,
                                         ask->json ? &ask->facts : NULL);
}


static ngx_int_t
ngx_http_hoody_ai_answer_body(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    ngx_http_hoody_ai_ask_t  *ask;

    ask = ctx->ask;

    if (ask->status == NGX_HTTP_NO_CONTENT) {
        ngx_http_hoody_ai_answer_count(ask, NGX_HTTP_HOODY_AI_Q_UNCHANGED);
        return ngx_http_hoody_ai_body_ready(r, ctx, &ask->facts, NULL);
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
ngx_http_hoody_ai_answer_edits(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx)
{
    uint64_t                  size;
    ngx_chain_t              *cl;
    struct hai_edits         *e;
    ngx_http_hoody_ai_ask_t  *ask;

    ask = ctx->ask;
    e = &ngx_http_hoody_ai_worker.edits;

    size = 0;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        size += cl->buf->last - cl->buf->pos;
    }

    if (hai_edits_wire_read(e, (char *) ask->data, ask->len, size) != 0) {
        return ngx_http_hoody_ai_answer_unusable(r, ctx, "edits that do not "
                                                 "fit the body");
    }

    if (e->n == 0) {
        ngx_http_hoody_ai_answer_count(ask, NGX_HTTP_HOODY_AI_Q_UNCHANGED);
        return ngx_http_hoody_ai_body_ready(r, ctx, &ask->facts, NULL);
    }

    ngx_http_hoody_ai_answer_count(ask, NGX_HTTP_HOODY_AI_Q_CHANGED);

    if (ngx_http_hoody_ai_splice(r, e) != NGX_OK) {
        (void) ngx_http_hoody_ai_refuse(r, ctx, NGX_HTTP_HOODY_AI_R_INTERNAL);
        return NGX_OK;
    }

    return ngx_http_hoody_ai_body_replaced(r, ctx);
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
