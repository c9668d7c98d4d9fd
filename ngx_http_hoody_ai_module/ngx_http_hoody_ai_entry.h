
/*
 * The entries of the stream of events: what happened, never content.  Each
 * function writes one; nothing here waits or fails a request.
 */


#ifndef _NGX_HTTP_HOODY_AI_ENTRY_H_INCLUDED_
#define _NGX_HTTP_HOODY_AI_ENTRY_H_INCLUDED_


#include "ngx_http_hoody_ai_module.h"


#define NGX_HTTP_HOODY_AI_SOURCE  64


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


ngx_int_t ngx_http_hoody_ai_entry_start(ngx_cycle_t *cycle);
void ngx_http_hoody_ai_entry_request(ngx_http_hoody_ai_ctx_t *ctx,
    ngx_uint_t status, ngx_str_t *reason);
void ngx_http_hoody_ai_entry_error(ngx_http_hoody_ai_ctx_t *ctx,
    ngx_uint_t status, ngx_str_t *reason, ngx_uint_t depth);
void ngx_http_hoody_ai_entry_revoked(ngx_http_hoody_ai_ctx_t *ctx,
    ngx_uint_t status);
void ngx_http_hoody_ai_entry_denied(ngx_http_hoody_ai_denied_t *d);
void ngx_http_hoody_ai_entry_registry(ngx_uint_t connected);


#endif /* _NGX_HTTP_HOODY_AI_ENTRY_H_INCLUDED_ */
