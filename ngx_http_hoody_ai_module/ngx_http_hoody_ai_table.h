
/*
 * What the replica is made of: a hash table, and the list of claims that a
 * change makes undecided.  Plain memory, from malloc().
 */


#ifndef _NGX_HTTP_HOODY_AI_TABLE_H_INCLUDED_
#define _NGX_HTTP_HOODY_AI_TABLE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* a chained hash table over links that lie in the caller's structures */

typedef struct ngx_http_hoody_ai_link_s  ngx_http_hoody_ai_link_t;

struct ngx_http_hoody_ai_link_s {
    ngx_http_hoody_ai_link_t   *next;
    uint32_t                    hash;
};

typedef struct {
    ngx_http_hoody_ai_link_t  **buckets;
    ngx_uint_t                  mask;
    ngx_uint_t                  n;
} ngx_http_hoody_ai_table_t;

ngx_int_t ngx_http_hoody_ai_table_init(ngx_http_hoody_ai_table_t *t);
void ngx_http_hoody_ai_table_done(ngx_http_hoody_ai_table_t *t);
void ngx_http_hoody_ai_table_insert(ngx_http_hoody_ai_table_t *t,
    ngx_http_hoody_ai_link_t *link, uint32_t hash);
void ngx_http_hoody_ai_table_remove(ngx_http_hoody_ai_table_t *t,
    ngx_http_hoody_ai_link_t *link);
uint32_t ngx_http_hoody_ai_table_hash(u_char *data, size_t len);

#define ngx_http_hoody_ai_table_first(t, h)  ((t)->buckets[(h) & (t)->mask])


/*
 * Claims that may be decided differently, as strings with a length byte in
 * front; "all" when there are too many of them to be told apart.
 */

typedef struct {
    u_char                     *data;
    size_t                      len;
    size_t                      size;
    unsigned                    all:1;
} ngx_http_hoody_ai_claims_t;

void ngx_http_hoody_ai_claims_add(ngx_http_hoody_ai_claims_t *cl,
    u_char *data, size_t len);
/* the next claim after *pos, which starts as 0; NGX_DONE at the end */
ngx_int_t ngx_http_hoody_ai_claims_next(ngx_http_hoody_ai_claims_t *cl,
    size_t *pos, ngx_str_t *claim);
void ngx_http_hoody_ai_claims_reset(ngx_http_hoody_ai_claims_t *cl);
void ngx_http_hoody_ai_claims_done(ngx_http_hoody_ai_claims_t *cl);


#endif /* _NGX_HTTP_HOODY_AI_TABLE_H_INCLUDED_ */
