
/* The hash table and the list of claims, see ngx_http_hoody_ai_table.h. */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_hoody_ai_table.h"
#include "../common/hai_identity.h"


#define NGX_HTTP_HOODY_AI_BUCKETS        64
#define NGX_HTTP_HOODY_AI_CLAIMS_MAX     65536


static void ngx_http_hoody_ai_table_grow(ngx_http_hoody_ai_table_t *t);


ngx_int_t
ngx_http_hoody_ai_table_init(ngx_http_hoody_ai_table_t *t)
{
    t->buckets = calloc(NGX_HTTP_HOODY_AI_BUCKETS,
                        sizeof(ngx_http_hoody_ai_link_t *));
    if (t->buckets == NULL) {
        return NGX_ERROR;
    }

    t->mask = NGX_HTTP_HOODY_AI_BUCKETS - 1;
    t->n = 0;

    return NGX_OK;
}


void
ngx_http_hoody_ai_table_done(ngx_http_hoody_ai_table_t *t)
{
    free(t->buckets);
    t->buckets = NULL;
}


void
ngx_http_hoody_ai_table_insert(ngx_http_hoody_ai_table_t *t,
    ngx_http_hoody_ai_link_t *link, uint32_t hash)
{
    ngx_http_hoody_ai_link_t  **head;

    if (t->n > t->mask) {
        ngx_http_hoody_ai_table_grow(t);
    }

    head = &t->buckets[hash & t->mask];

    link->hash = hash;
    link->next = *head;
    *head = link;
    t->n++;
}


void
ngx_http_hoody_ai_table_remove(ngx_http_hoody_ai_table_t *t,
    ngx_http_hoody_ai_link_t *link)
{
    ngx_http_hoody_ai_link_t  **p;

    for (p = &t->buckets[link->hash & t->mask]; *p; p = &(*p)->next) {

        if (*p == link) {
            *p = link->next;
            t->n--;
            return;
        }
    }
}


static void
ngx_http_hoody_ai_table_grow(ngx_http_hoody_ai_table_t *t)
{
    ngx_uint_t                  i, mask;
    ngx_http_hoody_ai_link_t   *link, *next, **buckets;

    mask = t->mask * 2 + 1;

    buckets = calloc(mask + 1, sizeof(ngx_http_hoody_ai_link_t *));
    if (buckets == NULL) {
        /* longer chains are still correct */
        return;
    }

    for (i = 0; i <= t->mask; i++) {

        for (link = t->buckets[i]; link; link = next) {
            next = link->next;
            link->next = buckets[link->hash & mask];
            buckets[link->hash & mask] = link;
        }
    }

    free(t->buckets);

    t->buckets = buckets;
    t->mask = mask;
}


uint32_t
ngx_http_hoody_ai_table_hash(u_char *data, size_t len)
{
    uint64_t  h;

    /* FNV-1a; the tables that strangers can fill are bounded */

    h = 14695981039346656037ULL;

    while (len--) {
        h = (h ^ *data++) * 1099511628211ULL;
    }

    return (uint32_t) (h ^ (h >> 32));
}


void
ngx_http_hoody_ai_claims_add(ngx_http_hoody_ai_claims_t *cl, u_char *data,
    size_t len)
{
    u_char  *p;
    size_t   size;

    if (cl == NULL || cl->all || len == 0 || len > HAI_NAME_MAX) {
        return;
    }

    if (cl->size - cl->len < len + 1) {
        size = cl->size ? cl->size * 2 : 1024;

        p = (size > NGX_HTTP_HOODY_AI_CLAIMS_MAX) ? NULL
                                                  : realloc(cl->data, size);
        if (p == NULL) {
            cl->all = 1;
            return;
        }

        cl->data = p;
        cl->size = size;
    }

    p = cl->data + cl->len;
    *p++ = (u_char) len;
    ngx_memcpy(p, data, len);
    cl->len += len + 1;
}


ngx_int_t
ngx_http_hoody_ai_claims_next(ngx_http_hoody_ai_claims_t *cl, size_t *pos,
    ngx_str_t *claim)
{
    if (*pos >= cl->len) {
        return NGX_DONE;
    }

    claim->len = cl->data[*pos];
    claim->data = cl->data + *pos + 1;
    *pos += claim->len + 1;

    return NGX_OK;
}


void
ngx_http_hoody_ai_claims_reset(ngx_http_hoody_ai_claims_t *cl)
{
    cl->len = 0;
    cl->all = 0;
}


void
ngx_http_hoody_ai_claims_done(ngx_http_hoody_ai_claims_t *cl)
{
    free(cl->data);
    ngx_memzero(cl, sizeof(ngx_http_hoody_ai_claims_t));
}
