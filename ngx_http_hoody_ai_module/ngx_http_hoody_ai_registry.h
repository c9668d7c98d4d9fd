
/*
 * The worker's replica of the host's registry: containers by name, number,
 * address and cgroup.  Plain memory, no request types, no sockets: what Redis
 * said goes in, decisions come out.
 */


#ifndef _NGX_HTTP_HOODY_AI_REGISTRY_H_INCLUDED_
#define _NGX_HTTP_HOODY_AI_REGISTRY_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_hoody_ai_table.h"


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
    ngx_uint_t   bound;                /* flag: the listening socket is the
                                          container's own and proves it */
    ngx_str_t    cgroup;
} ngx_http_hoody_ai_source_t;


/*
 * Borrowed views, valid until control returns to the event loop.  With
 * kernel identity by a bare cgroup name, "bare" is set and "bare_at" is the
 * offset of that component in the source's path: the caller must still check
 * that the folder in front of it is owned and writable by host root alone.
 */

typedef struct {
    ngx_str_t    name;
    ngx_str_t    id;
    ngx_str_t    tags;
    ngx_uint_t   serial;               /* changes with every applied read */
    size_t       bare_at;
    unsigned     bare:1;
} ngx_http_hoody_ai_container_t;


/* an address or a prefix of a running container */

typedef struct {
    ngx_http_hoody_ai_link_t    link;
    uint8_t                     bytes[16];
    uint8_t                     len;       /* 4 or 16 */
    uint8_t                     bits;
    uint16_t                    index;     /* in the entry's prefixes */
} ngx_http_hoody_ai_prefix_t;


/* one container hash; the texts follow the prefixes in the same block */

typedef struct {
    ngx_http_hoody_ai_link_t    by_name;
    ngx_http_hoody_ai_link_t    by_number;
    ngx_http_hoody_ai_link_t    by_cgroup;
    uint64_t                    deadline;  /* msec, 0: none */
    ngx_uint_t                  serial;
    ngx_uint_t                  gate;      /* generation "enabled" is from */
    u_char                     *text;
    uint32_t                    heap;      /* place in the heap + 1 */
    uint16_t                    nprefixes;
    uint16_t                    cgroup_len;
    uint16_t                    tags_len;
    uint8_t                     name_len;
    uint8_t                     id_len;
    uint8_t                     number_len;
    unsigned                    running:1;
    unsigned                    enabled:1;
    ngx_http_hoody_ai_prefix_t  prefixes[];
} ngx_http_hoody_ai_entry_t;


/* what a read of a container hash gave; empty where a field is not set */

typedef struct {
    ngx_str_t                   name;
    ngx_str_t                   id;
    ngx_str_t                   number;
    ngx_str_t                   addresses;
    ngx_str_t                   cgroup;
    ngx_str_t                   tags;
    ngx_str_t                   status;
    uint64_t                    deadline;  /* msec, 0: none */
    ngx_uint_t                  serial;
} ngx_http_hoody_ai_fields_t;


/* NULL without memory */
ngx_http_hoody_ai_registry_t *ngx_http_hoody_ai_registry_create(void);
void ngx_http_hoody_ai_registry_destroy(ngx_http_hoody_ai_registry_t *reg);

/*
 * To free 100,000 containers takes tens of milliseconds.  A registry that is
 * put into a list is freed in steps: NGX_AGAIN while there is more to free.
 */
void ngx_http_hoody_ai_registry_retire(ngx_http_hoody_ai_registry_t **list,
    ngx_http_hoody_ai_registry_t *reg);
ngx_int_t ngx_http_hoody_ai_registry_reap(ngx_http_hoody_ai_registry_t **list,
    ngx_uint_t n);

/*
 * Takes in a container hash, in place of the one of that name that may be
 * there; what is known of its gate stays.  "claims" (may be NULL) collects
 * what may be decided differently.  With "force" other containers on its
 * addresses count as touched although the addresses stayed.
 *
 * NGX_DECLINED: a field is beyond its ceiling; NGX_ERROR: no memory.  In both
 * cases the container is not in the registry afterwards.
 */
ngx_int_t ngx_http_hoody_ai_registry_set(ngx_http_hoody_ai_registry_t *reg,
    ngx_http_hoody_ai_fields_t *f, ngx_uint_t force,
    ngx_http_hoody_ai_claims_t *claims);

void ngx_http_hoody_ai_registry_remove(ngx_http_hoody_ai_registry_t *reg,
    ngx_str_t *name, ngx_http_hoody_ai_claims_t *claims);

ngx_http_hoody_ai_entry_t *ngx_http_hoody_ai_registry_name(
    ngx_http_hoody_ai_registry_t *reg, ngx_str_t *name);

/*
 * The running containers that claim a number: their count, the first "max"
 * of them in "found".
 */
ngx_uint_t ngx_http_hoody_ai_registry_number(
    ngx_http_hoody_ai_registry_t *reg, ngx_str_t *number,
    ngx_http_hoody_ai_entry_t **found, ngx_uint_t max);

/*
 * Does the source belong to the running container "e"?  ADMIT, WRONG_SOURCE,
 * or SHARED_SOURCE with the count of other containers that claim it in
 * *nothers and the first "max" of them in "others".  Fills bare and bare_at
 * of "view".
 */
ngx_http_hoody_ai_verdict_e ngx_http_hoody_ai_registry_source(
    ngx_http_hoody_ai_registry_t *reg, ngx_http_hoody_ai_entry_t *e,
    ngx_http_hoody_ai_source_t *source,
    ngx_http_hoody_ai_entry_t **others, ngx_uint_t max, ngx_uint_t *nothers,
    ngx_http_hoody_ai_container_t *view);

/* does any running container claim this address? */
ngx_uint_t ngx_http_hoody_ai_registry_claimed(
    ngx_http_hoody_ai_registry_t *reg, ngx_http_hoody_ai_source_t *source);

/* the container whose deadline comes first, NULL when none has one */
ngx_http_hoody_ai_entry_t *ngx_http_hoody_ai_registry_first_deadline(
    ngx_http_hoody_ai_registry_t *reg);

ngx_uint_t ngx_http_hoody_ai_registry_count(ngx_http_hoody_ai_registry_t *reg);
size_t ngx_http_hoody_ai_registry_memory(ngx_http_hoody_ai_registry_t *reg);

#define ngx_http_hoody_ai_entry_name(e)  ((e)->text)
#define ngx_http_hoody_ai_entry_id(e)    ((e)->text + (e)->name_len)
#define ngx_http_hoody_ai_entry_number(e)                                     \
    (ngx_http_hoody_ai_entry_id(e) + (e)->id_len)
#define ngx_http_hoody_ai_entry_cgroup(e)                                     \
    (ngx_http_hoody_ai_entry_number(e) + (e)->number_len)
#define ngx_http_hoody_ai_entry_tags(e)                                       \
    (ngx_http_hoody_ai_entry_cgroup(e) + (e)->cgroup_len)


#endif /* _NGX_HTTP_HOODY_AI_REGISTRY_H_INCLUDED_ */
