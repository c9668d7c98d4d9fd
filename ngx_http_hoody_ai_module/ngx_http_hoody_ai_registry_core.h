
/*
 * What the files of the registry share, see ngx_http_hoody_ai_registry.h: its
 * tables, which ngx_http_hoody_ai_registry.c keeps, and the search through
 * them by source, which is in ngx_http_hoody_ai_registry_source.c.
 */


#ifndef _NGX_HTTP_HOODY_AI_REGISTRY_CORE_H_INCLUDED_
#define _NGX_HTTP_HOODY_AI_REGISTRY_CORE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_hoody_ai_registry.h"
#include "../common/hai_identity.h"


struct ngx_http_hoody_ai_registry_s {
    ngx_http_hoody_ai_table_t    names;
    ngx_http_hoody_ai_table_t    numbers;    /* of running containers */
    ngx_http_hoody_ai_table_t    cgroups;    /* same, by last component */
    ngx_http_hoody_ai_table_t    prefixes;   /* same */

    /* how many prefixes of each length there are */
    uint32_t                     bits4[33];
    uint32_t                     bits6[129];

    /* binary heap of the entries with a deadline */
    ngx_http_hoody_ai_entry_t  **heap;
    ngx_uint_t                   nheap;
    ngx_uint_t                   heap_size;

    size_t                       memory;     /* of the entries */

    /* in a list of those that are given up, and how far it is freed */
    ngx_http_hoody_ai_registry_t *next;
    ngx_uint_t                   freed;
};


typedef struct {
    ngx_http_hoody_ai_entry_t   *self;
    ngx_uint_t                   mine;       /* flag: "self" was found */
    ngx_http_hoody_ai_entry_t  **others;
    ngx_uint_t                   max;
    ngx_uint_t                   n;
} ngx_http_hoody_ai_owners_t;


/* who claims the address, or the prefix, or something that contains it? */
void ngx_http_hoody_ai_registry_find(ngx_http_hoody_ai_registry_t *reg,
    uint8_t *bytes, ngx_uint_t len, ngx_uint_t bits,
    ngx_http_hoody_ai_owners_t *owners);

/* the last component of the container's cgroup, the key of its table */
void ngx_http_hoody_ai_registry_cgroup_key(ngx_http_hoody_ai_entry_t *e,
    ngx_str_t *key);


#endif /* _NGX_HTTP_HOODY_AI_REGISTRY_CORE_H_INCLUDED_ */
