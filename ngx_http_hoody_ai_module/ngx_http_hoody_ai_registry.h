
/*
 * The worker's replica of the host's registry: containers by name, number and
 * address.  Plain memory, no request types, no sockets: what Redis said goes
 * in, decisions come out.
 */


#ifndef _NGX_HTTP_HOODY_AI_REGISTRY_H_INCLUDED_
#define _NGX_HTTP_HOODY_AI_REGISTRY_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


typedef struct ngx_http_hoody_ai_registry_s  ngx_http_hoody_ai_registry_t;


/* the outcome of a decision, most specific reason */

typedef enum {
    NGX_HTTP_HOODY_AI_ADMIT = 0,
    NGX_HTTP_HOODY_AI_WAIT,            /* cannot be known at this moment */
    NGX_HTTP_HOODY_AI_STALE,           /* no proof of life for max_stale */
    NGX_HTTP_HOODY_AI_NO_CONTAINER,    /* no such name or number */
    NGX_HTTP_HOODY_AI_NOT_RUNNING,     /* its status is not "running" */
    NGX_HTTP_HOODY_AI_WRONG_SOURCE,    /* source not registered for it */
    NGX_HTTP_HOODY_AI_SHARED_SOURCE,   /* two containers claim the source */
    NGX_HTTP_HOODY_AI_SHARED_NUMBER,   /* two containers claim the number */
    NGX_HTTP_HOODY_AI_DISABLED         /* proven, but not in ai:enabled */
} ngx_http_hoody_ai_verdict_e;


/*
 * Where a request comes from.  An IPv4-mapped IPv6 address is IPv4.  With
 * "cgroup" set (kernel identity, the path of the "0::" line) addresses do not
 * count.
 */

typedef struct {
    u_char       addr[16];
    ngx_uint_t   addr_len;             /* 4, 16; 0: kernel identity */
    ngx_str_t    cgroup;
} ngx_http_hoody_ai_source_t;


/* borrowed views, valid until control returns to the event loop */

typedef struct {
    ngx_str_t    name;
    ngx_str_t    id;
    ngx_str_t    tags;
    ngx_uint_t   serial;               /* changes with every applied read */
} ngx_http_hoody_ai_container_t;


#endif /* _NGX_HTTP_HOODY_AI_REGISTRY_H_INCLUDED_ */
