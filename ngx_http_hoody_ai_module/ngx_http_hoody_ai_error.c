
/*
 * What the gateway itself answers when it refuses: the table of reasons and
 * the two shapes that the callers' SDKs parse.
 */


#include "ngx_http_hoody_ai_module.h"


static void ngx_http_hoody_ai_log_refusal(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_http_hoody_ai_reason_e reason);
static char *ngx_http_hoody_ai_error_type(ngx_uint_t status,
    ngx_uint_t anthropic);
static ngx_int_t ngx_http_hoody_ai_error_json(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_uint_t status, char *before, char *after,
    ngx_str_t *out);


#define row(status, code, reason, message)                                    \
    { status, ngx_string(code), ngx_string(reason), ngx_string(message) }

#define NGX_HTTP_HOODY_AI_M_IDENTITY                                          \
    "The request does not come from a container that this token belongs to."

#define NGX_HTTP_HOODY_AI_M_REGISTRY                                          \
    "The gateway cannot check access at the moment. Try again shortly."

#define NGX_HTTP_HOODY_AI_M_RULES                                             \
    "The gateway cannot apply its rules at the moment. Try again shortly."

#define NGX_HTTP_HOODY_AI_M_PROVIDER                                          \
    "The provider cannot be reached."


/* in the order of ngx_http_hoody_ai_reason_e */

const ngx_http_hoody_ai_refusal_t  ngx_http_hoody_ai_refusals[] = {

    row(200, "ok", "ok", ""),

    row(401, "invalid_identity", "no_credential",
        NGX_HTTP_HOODY_AI_M_IDENTITY),
    row(401, "invalid_identity", "bad_credential",
        NGX_HTTP_HOODY_AI_M_IDENTITY),
    row(401, "invalid_identity", "no_container",
        NGX_HTTP_HOODY_AI_M_IDENTITY),
    row(401, "invalid_identity", "not_running",
        NGX_HTTP_HOODY_AI_M_IDENTITY),
    row(401, "invalid_identity", "wrong_source",
        NGX_HTTP_HOODY_AI_M_IDENTITY),
    row(401, "invalid_identity", "shared_source",
        NGX_HTTP_HOODY_AI_M_IDENTITY),
    row(401, "invalid_identity", "shared_number",
        NGX_HTTP_HOODY_AI_M_IDENTITY),
    row(401, "invalid_identity", "peer_unknown",
        NGX_HTTP_HOODY_AI_M_IDENTITY),
    row(401, "invalid_identity", "peer_replaced",
        NGX_HTTP_HOODY_AI_M_IDENTITY),

    row(403, "ai_disabled", "ai_disabled",
        "AI access is not enabled for this container."),

    row(404, "unknown_route", "unknown_route",
        "This route or method is not available through the gateway."),
    row(404, "unknown_route", "no_provider",
        "No provider is configured for this model."),

    row(503, "registry_unavailable", "not_loaded",
        NGX_HTTP_HOODY_AI_M_REGISTRY),
    row(503, "registry_unavailable", "stale",
        NGX_HTTP_HOODY_AI_M_REGISTRY),

    row(415, "unsupported_encoding", "unsupported_encoding",
        "The request body must not be encoded."),
    row(413, "body_too_large", "body_too_large",
        "The request body is too large."),
    row(400, "invalid_body", "invalid_body",
        "The request body is not one unambiguous JSON object."),
    row(400, "invalid_body", "stored_object",
        "The request refers to objects stored at the provider, which this "
        "gateway does not pass on."),

    row(503, "overloaded", "body_memory",
        "The gateway holds too many request bodies. Try again shortly."),
    row(429, "rate_limited", "body_memory_share",
        "This container has too many request bodies under way. Try again "
        "shortly."),

    row(403, "blocked_by_rule", "blocked_by_rule",
        "A rule of this gateway does not allow the request."),
    row(400, "invalid_body", "rules_shape",
        "The request body has no place for what a rule of this gateway adds."),
    row(503, "rules_unavailable", "rules_unavailable",
        NGX_HTTP_HOODY_AI_M_RULES),
    row(503, "rules_unavailable", "rules_timeout",
        NGX_HTTP_HOODY_AI_M_RULES),
    row(503, "rules_unavailable", "rules_answer",
        NGX_HTTP_HOODY_AI_M_RULES),
    row(503, "rules_unavailable", "rules_epoch",
        NGX_HTTP_HOODY_AI_M_RULES),

    row(403, "access_revoked", "access_revoked",
        "Access was taken away while the request was running."),

    row(502, "provider_unavailable", "unverified_provider",
        NGX_HTTP_HOODY_AI_M_PROVIDER),
    row(502, "provider_unavailable", "unusable_answer",
        "The provider's answer cannot be passed on."),
    row(502, "provider_unavailable", "provider_unavailable",
        NGX_HTTP_HOODY_AI_M_PROVIDER),
    row(504, "provider_timeout", "provider_timeout",
        "The provider did not answer in time."),

    row(400, "invalid_request", "invalid_request",
        "The request cannot be processed."),
    row(500, "internal_error", "internal_error",
        "The gateway failed to process the request.")
};

#undef row


/*
 * Notes why the request ends and returns the status to end it with; the
 * header filter then makes the answer out of ctx->reason.
 */

ngx_int_t
ngx_http_hoody_ai_refuse(ngx_http_request_t *r, ngx_http_hoody_ai_ctx_t *ctx,
    ngx_http_hoody_ai_reason_e reason)
{
    ctx->state = NGX_HTTP_HOODY_AI_REFUSED;
    ctx->reason = reason;

    ngx_http_hoody_ai_log_refusal(r, ctx, reason);

    return ngx_http_hoody_ai_refusals[reason].status;
}


/* one line per second and reason, whatever is sent to us */

static void
ngx_http_hoody_ai_log_refusal(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_http_hoody_ai_reason_e reason)
{
    static time_t      last[NGX_HTTP_HOODY_AI_R_COUNT];
    static ngx_uint_t  skipped[NGX_HTTP_HOODY_AI_R_COUNT];

    if (last[reason] == ngx_time()) {
        skipped[reason]++;
        return;
    }

    if (skipped[reason]) {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "hoody_ai: refused: %V, claim \"%V\" (and %ui more)",
                      &ngx_http_hoody_ai_refusals[reason].reason,
                      &ctx->claim, skipped[reason]);

    } else {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "hoody_ai: refused: %V, claim \"%V\"",
                      &ngx_http_hoody_ai_refusals[reason].reason,
                      &ctx->claim);
    }

    last[reason] = ngx_time();
    skipped[reason] = 0;
}


/* the reason for a status that nginx itself ended the request with */

ngx_http_hoody_ai_reason_e
ngx_http_hoody_ai_reason_of_status(ngx_uint_t status)
{
    switch (status) {

    case NGX_HTTP_BAD_GATEWAY:
    case NGX_HTTP_SERVICE_UNAVAILABLE:
        return NGX_HTTP_HOODY_AI_R_PROVIDER;

    case NGX_HTTP_GATEWAY_TIME_OUT:
        return NGX_HTTP_HOODY_AI_R_TIMEOUT;

    case NGX_HTTP_REQUEST_ENTITY_TOO_LARGE:
        return NGX_HTTP_HOODY_AI_R_TOO_LARGE;

    default:
        return status >= NGX_HTTP_INTERNAL_SERVER_ERROR
                                           ? NGX_HTTP_HOODY_AI_R_INTERNAL
                                           : NGX_HTTP_HOODY_AI_R_BAD_REQUEST;
    }
}


static char *
ngx_http_hoody_ai_error_type(ngx_uint_t status, ngx_uint_t anthropic)
{
    switch (status) {

    case NGX_HTTP_UNAUTHORIZED:
        return "authentication_error";

    case NGX_HTTP_FORBIDDEN:
        return "permission_error";

    case NGX_HTTP_NOT_FOUND:
        return anthropic ? "not_found_error" : "invalid_request_error";

    case NGX_HTTP_REQUEST_ENTITY_TOO_LARGE:
        return anthropic ? "request_too_large" : "invalid_request_error";

    case NGX_HTTP_TOO_MANY_REQUESTS:
        return "rate_limit_error";

    case NGX_HTTP_GATEWAY_TIME_OUT:
        return "timeout_error";

    default:
        return status < NGX_HTTP_INTERNAL_SERVER_ERROR
                                     ? "invalid_request_error" : "api_error";
    }
}


/* a text that does not come from here is escaped already */

static ngx_int_t
ngx_http_hoody_ai_error_json(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_uint_t status, char *before, char *after,
    ngx_str_t *out)
{
    char                               *type;
    size_t                              size;
    u_char                             *p, *last;
    ngx_str_t                           id, message;
    const ngx_http_hoody_ai_refusal_t  *rf;

    rf = &ngx_http_hoody_ai_refusals[ctx->reason];
    type = ngx_http_hoody_ai_error_type(status, ctx->anthropic);
    message = ctx->error_message.len ? ctx->error_message : rf->message;

    size = ngx_strlen(before) + ngx_strlen(after) + ngx_strlen(type)
           + message.len + rf->code.len
           + NGX_HTTP_HOODY_AI_REQUEST_ID_LEN + 128;

    p = ngx_pnalloc(r->pool, size);
    if (p == NULL) {
        return NGX_ERROR;
    }

    out->data = p;
    last = p + size;

    if (ctx->anthropic) {
        id.data = ctx->request_id;
        id.len = NGX_HTTP_HOODY_AI_REQUEST_ID_LEN;

        p = ngx_slprintf(p, last,
                         "%s{\"type\":\"error\",\"error\":{\"type\":\"%s\","
                         "\"message\":\"%V\"},\"request_id\":\"%V\"}%s",
                         before, type, &message, &id, after);

    } else {
        p = ngx_slprintf(p, last,
                         "%s{\"error\":{\"message\":\"%V\",\"type\":\"%s\","
                         "\"param\":null,\"code\":\"%V\"}}%s",
                         before, &message, type, &rf->code, after);
    }

    out->len = p - out->data;

    return NGX_OK;
}


ngx_int_t
ngx_http_hoody_ai_error_body(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_str_t *body)
{
    if (ctx->error_json.len) {
        *body = ctx->error_json;
        return NGX_OK;
    }

    return ngx_http_hoody_ai_error_json(r, ctx, r->headers_out.status, "", "",
                                        body);
}


/* the last event of a stream that is cut */

ngx_int_t
ngx_http_hoody_ai_error_event(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_str_t *event)
{
    return ngx_http_hoody_ai_error_json(r, ctx,
                              ngx_http_hoody_ai_refusals[ctx->reason].status,
                              ctx->anthropic ? "event: error\ndata: "
                                             : "data: ",
                              "\n\n", event);
}
