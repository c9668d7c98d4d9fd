
/*
 * Where the master of the registry is: at a fixed address, where Sentinel
 * says, or where a cluster keeps the slot of this host's keys.
 */


#ifndef _NGX_HTTP_HOODY_AI_ENDPOINT_H_INCLUDED_
#define _NGX_HTTP_HOODY_AI_ENDPOINT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_hoody_ai_redis.h"


typedef enum {
    NGX_HTTP_HOODY_AI_FIXED = 0,
    NGX_HTTP_HOODY_AI_SENTINEL,
    NGX_HTTP_HOODY_AI_CLUSTER
} ngx_http_hoody_ai_endpoint_mode_e;


/* "hoody_ai_redis": read by the master, const afterwards */

typedef struct {
    ngx_http_hoody_ai_endpoint_mode_e   mode;
    ngx_addr_t                         *addrs;  /* resolved at configuration */
    ngx_uint_t                          naddrs;
    ngx_str_t                           name;   /* as configured, for logs */
    ngx_str_t                           master; /* its name in Sentinel */
    ngx_int_t                           db;
    ngx_str_t                           user;
    ngx_str_t                           password;  /* borrowed from secret
                                                      memory */
    ngx_str_t                           sentinel_user;
    ngx_str_t                           sentinel_password;
    ngx_msec_t                          connect_timeout;
    ngx_msec_t                          max_stale;
} ngx_http_hoody_ai_redis_conf_t;


/* one that can be kept: "addr" points into the rest */

typedef struct {
    ngx_addr_t      addr;
    ngx_sockaddr_t  sockaddr;
    u_char          text[NGX_SOCKADDR_STRLEN];
} ngx_http_hoody_ai_address_t;


typedef struct ngx_http_hoody_ai_endpoint_s  ngx_http_hoody_ai_endpoint_t;


/*
 * A question, owned by who asks.  Exactly one of both is called, from the
 * event loop and never from within find(); what they are given is to be
 * copied.  They may ask again.
 */

typedef struct {
    ngx_queue_t     queue;
    void          (*found)(void *data, ngx_addr_t *addr);
    void          (*failed)(void *data, ngx_str_t *cause);
    void           *data;
    unsigned        active:1;
} ngx_http_hoody_ai_endpoint_ask_t;


/* for a worker; "conf" must outlive it.  NULL without memory */
ngx_http_hoody_ai_endpoint_t *ngx_http_hoody_ai_endpoint_create(
    ngx_http_hoody_ai_redis_conf_t *conf, ngx_str_t *server);

/* what is still asked is forgotten, without a call */
void ngx_http_hoody_ai_endpoint_destroy(ngx_http_hoody_ai_endpoint_t *ep);

/*
 * "another": begins with another server than the last time, for who doubts
 * what it was told.
 */
void ngx_http_hoody_ai_endpoint_find(ngx_http_hoody_ai_endpoint_t *ep,
    ngx_http_hoody_ai_endpoint_ask_t *ask, ngx_uint_t another);
void ngx_http_hoody_ai_endpoint_cancel(ngx_http_hoody_ai_endpoint_ask_t *ask);

/* an error MOVED: who is named there is asked first the next time */
void ngx_http_hoody_ai_endpoint_moved(ngx_http_hoody_ai_endpoint_t *ep,
    ngx_http_hoody_ai_redis_reply_t *reply);

void ngx_http_hoody_ai_address_copy(ngx_http_hoody_ai_address_t *address,
    ngx_addr_t *addr);
ngx_uint_t ngx_http_hoody_ai_address_same(ngx_addr_t *one, ngx_addr_t *other);


#endif /* _NGX_HTTP_HOODY_AI_ENDPOINT_H_INCLUDED_ */
