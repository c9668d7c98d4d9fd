
/*
 * The $hoody_ai_* variables.  None of them ever holds a key, and none is
 * cached: what they say changes while the request goes its way.
 */


#include "ngx_http_hoody_ai_rules.h"


enum {
    NGX_HTTP_HOODY_AI_RULES_TAGS = 0,
    NGX_HTTP_HOODY_AI_RULES_ASK,
    NGX_HTTP_HOODY_AI_RULES_BODY
};


static ngx_int_t ngx_http_hoody_ai_str_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_hoody_ai_api_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_hoody_ai_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_hoody_ai_tokens_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_hoody_ai_ttft_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_hoody_ai_request_id_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_hoody_ai_rules_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_hoody_ai_peer_uid_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static void ngx_http_hoody_ai_set_variable(ngx_http_variable_value_t *v,
    ngx_str_t *s);
static ngx_int_t ngx_http_hoody_ai_number(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, int64_t n);


static ngx_http_variable_t  ngx_http_hoody_ai_vars[] = {

    { ngx_string("hoody_ai_container"), NULL,
      ngx_http_hoody_ai_str_variable,
      offsetof(ngx_http_hoody_ai_ctx_t, container),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("hoody_ai_container_id"), NULL,
      ngx_http_hoody_ai_str_variable,
      offsetof(ngx_http_hoody_ai_ctx_t, container_id),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("hoody_ai_model"), NULL,
      ngx_http_hoody_ai_str_variable,
      offsetof(ngx_http_hoody_ai_ctx_t, model),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("hoody_ai_api"), NULL,
      ngx_http_hoody_ai_api_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("hoody_ai_status"), NULL,
      ngx_http_hoody_ai_status_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("hoody_ai_input_tokens"), NULL,
      ngx_http_hoody_ai_tokens_variable,
      offsetof(struct hai_usage, input_tokens),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("hoody_ai_output_tokens"), NULL,
      ngx_http_hoody_ai_tokens_variable,
      offsetof(struct hai_usage, output_tokens),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("hoody_ai_ttft"), NULL,
      ngx_http_hoody_ai_ttft_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("hoody_ai_request_id"), NULL,
      ngx_http_hoody_ai_request_id_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("hoody_ai_tags"), NULL,
      ngx_http_hoody_ai_rules_variable,
      NGX_HTTP_HOODY_AI_RULES_TAGS,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("hoody_ai_rules_ask"), NULL,
      ngx_http_hoody_ai_rules_variable,
      NGX_HTTP_HOODY_AI_RULES_ASK,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("hoody_ai_rules_body"), NULL,
      ngx_http_hoody_ai_rules_variable,
      NGX_HTTP_HOODY_AI_RULES_BODY,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("hoody_ai_peer_uid"), NULL,
      ngx_http_hoody_ai_peer_uid_variable, 0, 0, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_http_hoody_ai_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_hoody_ai_vars; v->name.len; v++) {

        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


static void
ngx_http_hoody_ai_set_variable(ngx_http_variable_value_t *v, ngx_str_t *s)
{
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->len = s->len;
    v->data = s->data;
}


static ngx_int_t
ngx_http_hoody_ai_str_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t                *s;
    ngx_http_hoody_ai_ctx_t  *ctx;

    ctx = ngx_http_hoody_ai_get_ctx(r->main);

    if (ctx == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    s = (ngx_str_t *) ((char *) ctx + data);

    if (s->len == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    ngx_http_hoody_ai_set_variable(v, s);

    return NGX_OK;
}


static ngx_int_t
ngx_http_hoody_ai_api_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t                 s;
    ngx_http_hoody_ai_ctx_t  *ctx;

    ctx = ngx_http_hoody_ai_get_ctx(r->main);

    if (ctx == NULL || ctx->route == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    s.data = (u_char *) ctx->route->api;
    s.len = ngx_strlen(s.data);

    ngx_http_hoody_ai_set_variable(v, &s);

    return NGX_OK;
}


static ngx_int_t
ngx_http_hoody_ai_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t                 s;
    ngx_http_hoody_ai_ctx_t  *ctx;

    ctx = ngx_http_hoody_ai_get_ctx(r->main);

    if (ctx == NULL || ctx->state == NGX_HTTP_HOODY_AI_WAITING) {
        v->not_found = 1;
        return NGX_OK;
    }

    s = ngx_http_hoody_ai_refusals[ctx->reason].code;

    ngx_http_hoody_ai_set_variable(v, &s);

    return NGX_OK;
}


static ngx_int_t
ngx_http_hoody_ai_tokens_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_hoody_ai_ctx_t  *ctx;

    ctx = ngx_http_hoody_ai_get_ctx(r->main);

    if (ctx == NULL || ctx->usage == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_http_hoody_ai_number(r, v,
                         *(int64_t *) ((char *) &ctx->usage->usage + data));
}


/* milliseconds from the request's beginning to the answer's first byte */

static ngx_int_t
ngx_http_hoody_ai_ttft_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_hoody_ai_ctx_t  *ctx;

    ctx = ngx_http_hoody_ai_get_ctx(r->main);

    if (ctx == NULL || ctx->first_byte == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_http_hoody_ai_number(r, v,
                                    (int64_t) (ctx->first_byte
                                               - ctx->started));
}


static ngx_int_t
ngx_http_hoody_ai_request_id_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t                 s;
    ngx_http_hoody_ai_ctx_t  *ctx;

    ctx = ngx_http_hoody_ai_get_ctx(r->main);

    if (ctx == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    s.data = ctx->request_id;
    s.len = NGX_HTTP_HOODY_AI_REQUEST_ID_LEN;

    ngx_http_hoody_ai_set_variable(v, &s);

    return NGX_OK;
}


/* parameters of a question to the rule engine */

static ngx_int_t
ngx_http_hoody_ai_rules_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t                 s;
    ngx_http_hoody_ai_ask_t  *ask;
    ngx_http_hoody_ai_ctx_t  *ctx;

    ctx = ngx_http_hoody_ai_get_ctx(r->main);
    ask = ctx ? ctx->ask : NULL;

    if (ask == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    switch (data) {

    case NGX_HTTP_HOODY_AI_RULES_TAGS:
        s = ask->tags;
        break;

    case NGX_HTTP_HOODY_AI_RULES_ASK:

        if (ask->question == NGX_HTTP_HOODY_AI_ASK_BODY) {
            ngx_str_set(&s, "body");

        } else {
            ngx_str_set(&s, "plan");
        }

        break;

    default: /* NGX_HTTP_HOODY_AI_RULES_BODY */

        if (ask->opaque) {
            ngx_str_set(&s, "opaque");

        } else {
            ngx_str_set(&s, "json");
        }
    }

    ngx_http_hoody_ai_set_variable(v, &s);

    return NGX_OK;
}


/*
 * For the control API: the user at the other end of a unix socket, at the time
 * of its connect() (man 7 unix, SO_PEERCRED).  Whether it is one, the listening
 * socket says: the address may be another's by realip.
 */

static ngx_int_t
ngx_http_hoody_ai_peer_uid_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
#if (NGX_LINUX)
    ngx_connection_t  *c;
    socklen_t          len;
    struct ucred       cred;

    c = r->connection;
    len = sizeof(struct ucred);

    if (c->listening && c->listening->sockaddr->sa_family == AF_UNIX
        && getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0
        && len == sizeof(struct ucred) && cred.pid > 0
        && cred.uid != (uid_t) -1)
    {
        return ngx_http_hoody_ai_number(r, v, (int64_t) cred.uid);
    }
#endif

    v->not_found = 1;
    return NGX_OK;
}


static ngx_int_t
ngx_http_hoody_ai_number(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    int64_t n)
{
    ngx_str_t  s;

    if (n < 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    s.data = ngx_pnalloc(r->pool, NGX_INT64_LEN);
    if (s.data == NULL) {
        return NGX_ERROR;
    }

    s.len = ngx_sprintf(s.data, "%L", n) - s.data;

    ngx_http_hoody_ai_set_variable(v, &s);

    return NGX_OK;
}
