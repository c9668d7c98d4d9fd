
/*
 * Tables of containers, see ngx_http_hoody_ai_registry.h.  May touch memory
 * only: no log, no time, no request, so that it is tested without nginx.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_hoody_ai_registry.h"
#include "../common/hai_identity.h"


#define NGX_HTTP_HOODY_AI_BUCKETS        64
#define NGX_HTTP_HOODY_AI_ID_MAX         255
#define NGX_HTTP_HOODY_AI_CGROUP_MAX     4096
#define NGX_HTTP_HOODY_AI_TAGS_MAX       8192
#define NGX_HTTP_HOODY_AI_ADDRESSES_MAX  16384
#define NGX_HTTP_HOODY_AI_PREFIXES_MAX   256
#define NGX_HTTP_HOODY_AI_CLAIMS_MAX     65536

/* what an allocator keeps beside a block, for the figures of memory */
#define NGX_HTTP_HOODY_AI_OVERHEAD       16


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


static void ngx_http_hoody_ai_table_grow(ngx_http_hoody_ai_table_t *t);
static ngx_uint_t ngx_http_hoody_ai_registry_addresses(ngx_str_t *text,
    struct hai_addr *addrs);
static void ngx_http_hoody_ai_registry_link(ngx_http_hoody_ai_registry_t *reg,
    ngx_http_hoody_ai_entry_t *e);
static void ngx_http_hoody_ai_registry_unlink(
    ngx_http_hoody_ai_registry_t *reg, ngx_http_hoody_ai_entry_t *e);
static void ngx_http_hoody_ai_registry_touch(ngx_http_hoody_ai_registry_t *reg,
    ngx_http_hoody_ai_entry_t *e, ngx_http_hoody_ai_claims_t *claims);
static ngx_uint_t ngx_http_hoody_ai_registry_same_sources(
    ngx_http_hoody_ai_entry_t *a, ngx_http_hoody_ai_entry_t *b);
static void ngx_http_hoody_ai_registry_find(ngx_http_hoody_ai_registry_t *reg,
    uint8_t *bytes, ngx_uint_t len, ngx_uint_t bits,
    ngx_http_hoody_ai_owners_t *owners);
static void ngx_http_hoody_ai_registry_owner(
    ngx_http_hoody_ai_owners_t *owners, ngx_http_hoody_ai_entry_t *e);
static ngx_http_hoody_ai_verdict_e ngx_http_hoody_ai_registry_kernel(
    ngx_http_hoody_ai_registry_t *reg, ngx_http_hoody_ai_entry_t *e,
    ngx_str_t *path, ngx_http_hoody_ai_owners_t *owners,
    ngx_http_hoody_ai_container_t *view);
static void ngx_http_hoody_ai_registry_cgroup_key(ngx_http_hoody_ai_entry_t *e,
    ngx_str_t *key);
static ngx_int_t ngx_http_hoody_ai_heap_reserve(
    ngx_http_hoody_ai_registry_t *reg);
static void ngx_http_hoody_ai_heap_insert(ngx_http_hoody_ai_registry_t *reg,
    ngx_http_hoody_ai_entry_t *e);
static void ngx_http_hoody_ai_heap_remove(ngx_http_hoody_ai_registry_t *reg,
    ngx_http_hoody_ai_entry_t *e);
static void ngx_http_hoody_ai_heap_up(ngx_http_hoody_ai_registry_t *reg,
    ngx_uint_t i);
static void ngx_http_hoody_ai_heap_down(ngx_http_hoody_ai_registry_t *reg,
    ngx_uint_t i);


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


ngx_http_hoody_ai_registry_t *
ngx_http_hoody_ai_registry_create(void)
{
    ngx_http_hoody_ai_registry_t  *reg;

    reg = calloc(1, sizeof(ngx_http_hoody_ai_registry_t));
    if (reg == NULL) {
        return NULL;
    }

    if (ngx_http_hoody_ai_table_init(&reg->names) != NGX_OK
        || ngx_http_hoody_ai_table_init(&reg->numbers) != NGX_OK
        || ngx_http_hoody_ai_table_init(&reg->cgroups) != NGX_OK
        || ngx_http_hoody_ai_table_init(&reg->prefixes) != NGX_OK)
    {
        ngx_http_hoody_ai_registry_destroy(reg);
        return NULL;
    }

    return reg;
}


void
ngx_http_hoody_ai_registry_destroy(ngx_http_hoody_ai_registry_t *reg)
{
    ngx_http_hoody_ai_registry_t  *list;

    list = NULL;

    ngx_http_hoody_ai_registry_retire(&list, reg);

    (void) ngx_http_hoody_ai_registry_reap(&list, NGX_MAX_INT_T_VALUE);
}


void
ngx_http_hoody_ai_registry_retire(ngx_http_hoody_ai_registry_t **list,
    ngx_http_hoody_ai_registry_t *reg)
{
    if (reg == NULL) {
        return;
    }

    reg->next = *list;
    *list = reg;
}


ngx_int_t
ngx_http_hoody_ai_registry_reap(ngx_http_hoody_ai_registry_t **list,
    ngx_uint_t n)
{
    ngx_http_hoody_ai_link_t      *link, **head;
    ngx_http_hoody_ai_registry_t  *reg;

    while (*list) {
        reg = *list;

        /* an empty bucket is less work, but work */

        while (reg->names.buckets && reg->freed <= reg->names.mask) {

            head = &reg->names.buckets[reg->freed];

            if (n-- == 0) {
                return NGX_AGAIN;
            }

            link = *head;

            if (link == NULL) {
                reg->freed++;
                continue;
            }

            *head = link->next;
            free(ngx_queue_data(link, ngx_http_hoody_ai_entry_t, by_name));
        }

        *list = reg->next;

        ngx_http_hoody_ai_table_done(&reg->names);
        ngx_http_hoody_ai_table_done(&reg->numbers);
        ngx_http_hoody_ai_table_done(&reg->cgroups);
        ngx_http_hoody_ai_table_done(&reg->prefixes);

        free(reg->heap);
        free(reg);
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_http_hoody_ai_registry_addresses(ngx_str_t *text, struct hai_addr *addrs)
{
    u_char      *p, *last, *start;
    ngx_uint_t   i, n;

    n = 0;
    p = text->data;
    last = p + text->len;

    while (p < last) {

        if (*p == ' ') {
            p++;
            continue;
        }

        start = p;

        while (p < last && *p != ' ') {
            p++;
        }

        if (n == NGX_HTTP_HOODY_AI_PREFIXES_MAX) {
            return n + 1;
        }

        /* what is not an address claims nothing */

        if (hai_addr_parse((char *) start, p - start, &addrs[n]) != 0) {
            continue;
        }

        for (i = 0; i < n; i++) {
            if (ngx_memcmp(&addrs[i], &addrs[n], sizeof(struct hai_addr))
                == 0)
            {
                break;
            }
        }

        if (i == n) {
            n++;
        }
    }

    return n;
}


ngx_int_t
ngx_http_hoody_ai_registry_set(ngx_http_hoody_ai_registry_t *reg,
    ngx_http_hoody_ai_fields_t *f, ngx_uint_t force,
    ngx_http_hoody_ai_claims_t *claims)
{
    u_char                     *p;
    size_t                      size;
    ngx_str_t                   number, *texts[] = {
                                    &f->name, &f->id, &number, &f->cgroup,
                                    &f->tags
                                };
    ngx_uint_t                  i, n;
    struct hai_addr             addrs[NGX_HTTP_HOODY_AI_PREFIXES_MAX + 1];
    ngx_http_hoody_ai_entry_t  *e, *old;

    if (!hai_name_valid((char *) f->name.data, f->name.len)) {
        return NGX_DECLINED;
    }

    if (f->id.len > NGX_HTTP_HOODY_AI_ID_MAX
        || f->cgroup.len > NGX_HTTP_HOODY_AI_CGROUP_MAX
        || f->tags.len > NGX_HTTP_HOODY_AI_TAGS_MAX
        || f->addresses.len > NGX_HTTP_HOODY_AI_ADDRESSES_MAX)
    {
        ngx_http_hoody_ai_registry_remove(reg, &f->name, claims);
        return NGX_DECLINED;
    }

    n = ngx_http_hoody_ai_registry_addresses(&f->addresses, addrs);

    if (n > NGX_HTTP_HOODY_AI_PREFIXES_MAX) {
        ngx_http_hoody_ai_registry_remove(reg, &f->name, claims);
        return NGX_DECLINED;
    }

    number = f->number;

    if (!hai_number_valid((char *) number.data, number.len)) {
        number.len = 0;
    }

    size = sizeof(ngx_http_hoody_ai_entry_t)
           + n * sizeof(ngx_http_hoody_ai_prefix_t)
           + f->name.len + f->id.len + number.len + f->cgroup.len
           + f->tags.len;

    e = malloc(size);

    if (e == NULL
        || (f->deadline && ngx_http_hoody_ai_heap_reserve(reg) != NGX_OK))
    {
        free(e);
        ngx_http_hoody_ai_registry_remove(reg, &f->name, claims);
        return NGX_ERROR;
    }

    ngx_memzero(e, sizeof(ngx_http_hoody_ai_entry_t));

    e->deadline = f->deadline;
    e->serial = f->serial;
    e->nprefixes = (uint16_t) n;
    e->name_len = (uint8_t) f->name.len;
    e->id_len = (uint8_t) f->id.len;
    e->number_len = (uint8_t) number.len;
    e->cgroup_len = (uint16_t) f->cgroup.len;
    e->tags_len = (uint16_t) f->tags.len;
    e->running = (f->status.len == 0
                  || (f->status.len == 7
                      && ngx_memcmp(f->status.data, "running", 7) == 0));

    for (i = 0; i < n; i++) {
        ngx_memcpy(e->prefixes[i].bytes, addrs[i].bytes, 16);
        e->prefixes[i].len = addrs[i].len;
        e->prefixes[i].bits = addrs[i].bits;
        e->prefixes[i].index = (uint16_t) i;
    }

    e->text = (u_char *) &e->prefixes[n];

    p = e->text;

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (texts[i]->len) {
            p = ngx_cpymem(p, texts[i]->data, texts[i]->len);
        }
    }

    old = ngx_http_hoody_ai_registry_name(reg, &f->name);

    if (old) {
        e->gate = old->gate;
        e->enabled = old->enabled;

        if (ngx_http_hoody_ai_registry_same_sources(old, e) && !force) {

            /* the others' view of this container stays the same */

            ngx_http_hoody_ai_claims_add(claims, f->name.data, f->name.len);
            ngx_http_hoody_ai_claims_add(claims,
                                         ngx_http_hoody_ai_entry_number(old),
                                         old->number_len);
            ngx_http_hoody_ai_registry_unlink(reg, old);
            ngx_http_hoody_ai_registry_link(reg, e);
            ngx_http_hoody_ai_claims_add(claims,
                                         ngx_http_hoody_ai_entry_number(e),
                                         e->number_len);
            return NGX_OK;
        }

        ngx_http_hoody_ai_registry_remove(reg, &f->name, claims);
    }

    ngx_http_hoody_ai_registry_link(reg, e);
    ngx_http_hoody_ai_registry_touch(reg, e, claims);

    return NGX_OK;
}


void
ngx_http_hoody_ai_registry_remove(ngx_http_hoody_ai_registry_t *reg,
    ngx_str_t *name, ngx_http_hoody_ai_claims_t *claims)
{
    ngx_http_hoody_ai_entry_t  *e;

    e = ngx_http_hoody_ai_registry_name(reg, name);

    if (e == NULL) {
        ngx_http_hoody_ai_claims_add(claims, name->data, name->len);
        return;
    }

    ngx_http_hoody_ai_registry_touch(reg, e, claims);
    ngx_http_hoody_ai_registry_unlink(reg, e);
}


/* are address, cgroup and state, all that others can feel, the same? */

static ngx_uint_t
ngx_http_hoody_ai_registry_same_sources(ngx_http_hoody_ai_entry_t *a,
    ngx_http_hoody_ai_entry_t *b)
{
    ngx_uint_t  i;

    if (a->running != b->running
        || a->nprefixes != b->nprefixes
        || a->cgroup_len != b->cgroup_len
        || ngx_memcmp(ngx_http_hoody_ai_entry_cgroup(a),
                      ngx_http_hoody_ai_entry_cgroup(b), a->cgroup_len)
           != 0)
    {
        return 0;
    }

    for (i = 0; i < a->nprefixes; i++) {

        if (a->prefixes[i].len != b->prefixes[i].len
            || a->prefixes[i].bits != b->prefixes[i].bits
            || ngx_memcmp(a->prefixes[i].bytes, b->prefixes[i].bytes, 16) != 0)
        {
            return 0;
        }
    }

    return 1;
}


static void
ngx_http_hoody_ai_registry_link(ngx_http_hoody_ai_registry_t *reg,
    ngx_http_hoody_ai_entry_t *e)
{
    ngx_str_t                    key;
    ngx_uint_t                   i;
    ngx_http_hoody_ai_prefix_t  *x;

    ngx_http_hoody_ai_table_insert(&reg->names, &e->by_name,
                   ngx_http_hoody_ai_table_hash(ngx_http_hoody_ai_entry_name(e),
                                                e->name_len));

    reg->memory += (e->text - (u_char *) e) + e->name_len + e->id_len
                   + e->number_len + e->cgroup_len + e->tags_len
                   + NGX_HTTP_HOODY_AI_OVERHEAD;

    if (e->deadline) {
        ngx_http_hoody_ai_heap_insert(reg, e);
    }

    if (!e->running) {
        return;
    }

    if (e->number_len) {
        ngx_http_hoody_ai_table_insert(&reg->numbers, &e->by_number,
                 ngx_http_hoody_ai_table_hash(ngx_http_hoody_ai_entry_number(e),
                                              e->number_len));
    }

    if (e->cgroup_len) {
        ngx_http_hoody_ai_registry_cgroup_key(e, &key);
        ngx_http_hoody_ai_table_insert(&reg->cgroups, &e->by_cgroup,
                             ngx_http_hoody_ai_table_hash(key.data, key.len));
    }

    for (i = 0; i < e->nprefixes; i++) {
        x = &e->prefixes[i];

        ngx_http_hoody_ai_table_insert(&reg->prefixes, &x->link,
                         ngx_http_hoody_ai_table_hash(x->bytes, x->len)
                         + x->bits);

        if (x->len == 4) {
            reg->bits4[x->bits]++;

        } else {
            reg->bits6[x->bits]++;
        }
    }
}


/* takes the entry out of all tables and frees it */

static void
ngx_http_hoody_ai_registry_unlink(ngx_http_hoody_ai_registry_t *reg,
    ngx_http_hoody_ai_entry_t *e)
{
    ngx_uint_t                   i;
    ngx_http_hoody_ai_prefix_t  *x;

    ngx_http_hoody_ai_table_remove(&reg->names, &e->by_name);

    reg->memory -= (e->text - (u_char *) e) + e->name_len + e->id_len
                   + e->number_len + e->cgroup_len + e->tags_len
                   + NGX_HTTP_HOODY_AI_OVERHEAD;

    if (e->heap) {
        ngx_http_hoody_ai_heap_remove(reg, e);
    }

    if (e->running) {

        if (e->number_len) {
            ngx_http_hoody_ai_table_remove(&reg->numbers, &e->by_number);
        }

        if (e->cgroup_len) {
            ngx_http_hoody_ai_table_remove(&reg->cgroups, &e->by_cgroup);
        }

        for (i = 0; i < e->nprefixes; i++) {
            x = &e->prefixes[i];

            ngx_http_hoody_ai_table_remove(&reg->prefixes, &x->link);

            if (x->len == 4) {
                reg->bits4[x->bits]--;

            } else {
                reg->bits6[x->bits]--;
            }
        }
    }

    free(e);
}


/* collects what a container that appears or goes makes undecided */

static void
ngx_http_hoody_ai_registry_touch(ngx_http_hoody_ai_registry_t *reg,
    ngx_http_hoody_ai_entry_t *e, ngx_http_hoody_ai_claims_t *claims)
{
    uint32_t                    *in_use;
    ngx_uint_t                   i, k, max;
    ngx_http_hoody_ai_entry_t   *others[8];
    ngx_http_hoody_ai_prefix_t  *x;
    ngx_http_hoody_ai_owners_t   owners;

    if (claims == NULL) {
        return;
    }

    ngx_http_hoody_ai_claims_add(claims, ngx_http_hoody_ai_entry_name(e),
                                 e->name_len);
    ngx_http_hoody_ai_claims_add(claims, ngx_http_hoody_ai_entry_number(e),
                                 e->number_len);

    if (!e->running) {
        return;
    }

    if (e->cgroup_len) {
        /* which paths of peers lead through it is not known here */
        claims->all = 1;
        return;
    }

    for (i = 0; i < e->nprefixes; i++) {
        x = &e->prefixes[i];

        ngx_memzero(&owners, sizeof(ngx_http_hoody_ai_owners_t));

        owners.self = e;
        owners.others = others;
        owners.max = sizeof(others) / sizeof(others[0]);

        ngx_http_hoody_ai_registry_find(reg, x->bytes, x->len, x->bits,
                                        &owners);

        if (owners.n > owners.max) {
            claims->all = 1;
            return;
        }

        for (k = 0; k < owners.n; k++) {
            ngx_http_hoody_ai_claims_add(claims,
                                     ngx_http_hoody_ai_entry_name(others[k]),
                                     others[k]->name_len);
            ngx_http_hoody_ai_claims_add(claims,
                                     ngx_http_hoody_ai_entry_number(others[k]),
                                     others[k]->number_len);
        }

        /* the tables find what contains a prefix, not what it contains */

        in_use = (x->len == 4) ? reg->bits4 : reg->bits6;
        max = x->len * 8;

        for (k = x->bits + 1; k <= max; k++) {
            if (in_use[k]) {
                claims->all = 1;
                return;
            }
        }
    }
}


ngx_http_hoody_ai_entry_t *
ngx_http_hoody_ai_registry_name(ngx_http_hoody_ai_registry_t *reg,
    ngx_str_t *name)
{
    uint32_t                    hash;
    ngx_http_hoody_ai_link_t   *link;
    ngx_http_hoody_ai_entry_t  *e;

    hash = ngx_http_hoody_ai_table_hash(name->data, name->len);

    for (link = ngx_http_hoody_ai_table_first(&reg->names, hash);
         link;
         link = link->next)
    {
        if (link->hash != hash) {
            continue;
        }

        e = ngx_queue_data(link, ngx_http_hoody_ai_entry_t, by_name);

        if (e->name_len == name->len
            && ngx_memcmp(ngx_http_hoody_ai_entry_name(e), name->data,
                          name->len)
               == 0)
        {
            return e;
        }
    }

    return NULL;
}


ngx_uint_t
ngx_http_hoody_ai_registry_number(ngx_http_hoody_ai_registry_t *reg,
    ngx_str_t *number, ngx_http_hoody_ai_entry_t **found, ngx_uint_t max)
{
    uint32_t                    hash;
    ngx_uint_t                  n;
    ngx_http_hoody_ai_link_t   *link;
    ngx_http_hoody_ai_entry_t  *e;

    if (!hai_number_valid((char *) number->data, number->len)) {
        return 0;
    }

    n = 0;
    hash = ngx_http_hoody_ai_table_hash(number->data, number->len);

    for (link = ngx_http_hoody_ai_table_first(&reg->numbers, hash);
         link;
         link = link->next)
    {
        if (link->hash != hash) {
            continue;
        }

        e = ngx_queue_data(link, ngx_http_hoody_ai_entry_t, by_number);

        if (e->number_len == number->len
            && ngx_memcmp(ngx_http_hoody_ai_entry_number(e), number->data,
                          number->len)
               == 0)
        {
            if (n < max) {
                found[n] = e;
            }

            n++;
        }
    }

    return n;
}


/* who claims the address, or the prefix, or something that contains it? */

static void
ngx_http_hoody_ai_registry_find(ngx_http_hoody_ai_registry_t *reg,
    uint8_t *bytes, ngx_uint_t len, ngx_uint_t bits,
    ngx_http_hoody_ai_owners_t *owners)
{
    uint8_t                      masked[16];
    uint32_t                     hash, *in_use;
    ngx_uint_t                   i;
    ngx_http_hoody_ai_link_t    *link;
    ngx_http_hoody_ai_prefix_t  *x;

    in_use = (len == 4) ? reg->bits4 : reg->bits6;

    ngx_memcpy(masked, bytes, len);

    /* from the longest prefix down, so that bits only have to be cleared */

    for (i = bits; i > 0; i--) {

        if (in_use[i] == 0) {
            continue;
        }

        if (i < len * 8) {
            masked[i / 8] &= (uint8_t) (0xff00 >> (i % 8));
            ngx_memzero(masked + i / 8 + 1, len - i / 8 - 1);
        }

        hash = ngx_http_hoody_ai_table_hash(masked, len) + (uint32_t) i;

        for (link = ngx_http_hoody_ai_table_first(&reg->prefixes, hash);
             link;
             link = link->next)
        {
            if (link->hash != hash) {
                continue;
            }

            x = ngx_queue_data(link, ngx_http_hoody_ai_prefix_t, link);

            if (x->len != len
                || x->bits != i
                || ngx_memcmp(x->bytes, masked, len) != 0)
            {
                continue;
            }

            ngx_http_hoody_ai_registry_owner(owners,
                ngx_queue_data((x - x->index), ngx_http_hoody_ai_entry_t,
                               prefixes));
        }
    }
}


static void
ngx_http_hoody_ai_registry_owner(ngx_http_hoody_ai_owners_t *owners,
    ngx_http_hoody_ai_entry_t *e)
{
    ngx_uint_t  i;

    if (e == owners->self) {
        owners->mine = 1;
        return;
    }

    for (i = 0; i < ngx_min(owners->n, owners->max); i++) {
        if (owners->others[i] == e) {
            return;
        }
    }

    if (owners->n < owners->max) {
        owners->others[owners->n] = e;
    }

    owners->n++;
}


ngx_http_hoody_ai_verdict_e
ngx_http_hoody_ai_registry_source(ngx_http_hoody_ai_registry_t *reg,
    ngx_http_hoody_ai_entry_t *e, ngx_http_hoody_ai_source_t *source,
    ngx_http_hoody_ai_entry_t **others, ngx_uint_t max, ngx_uint_t *nothers,
    ngx_http_hoody_ai_container_t *view)
{
    size_t                       len;
    uint8_t                      bytes[16];
    ngx_http_hoody_ai_owners_t   owners;
    ngx_http_hoody_ai_verdict_e  verdict;

    owners.self = e;
    owners.mine = 0;
    owners.others = others;
    owners.max = max;
    owners.n = 0;

    *nothers = 0;

    view->bare = 0;
    view->bare_at = 0;

    if (source->bound) {
        return NGX_HTTP_HOODY_AI_ADMIT;
    }

    if (source->addr_len == 0) {
        verdict = ngx_http_hoody_ai_registry_kernel(reg, e, &source->cgroup,
                                                    &owners, view);
        *nothers = owners.n;
        return verdict;
    }

    len = source->addr_len;

    if (len != 4 && len != 16) {
        return NGX_HTTP_HOODY_AI_WRONG_SOURCE;
    }

    ngx_memcpy(bytes, source->addr, len);

    if (len == 16) {
        len = hai_addr_unmap(bytes);
    }

    ngx_http_hoody_ai_registry_find(reg, bytes, len, len * 8, &owners);

    if (!owners.mine) {
        return NGX_HTTP_HOODY_AI_WRONG_SOURCE;
    }

    *nothers = owners.n;

    return owners.n ? NGX_HTTP_HOODY_AI_SHARED_SOURCE
                    : NGX_HTTP_HOODY_AI_ADMIT;
}


/*
 * The outermost registered component decides: a container with a delegated
 * cgroup can create any name below its own, so a match further in proves
 * nothing once a component in front of it belongs to another container.
 */

static ngx_http_hoody_ai_verdict_e
ngx_http_hoody_ai_registry_kernel(ngx_http_hoody_ai_registry_t *reg,
    ngx_http_hoody_ai_entry_t *e, ngx_str_t *path,
    ngx_http_hoody_ai_owners_t *owners, ngx_http_hoody_ai_container_t *view)
{
    u_char                     *cgroup;
    size_t                      at, end, i, n;
    uint32_t                    hash;
    ngx_str_t                   key;
    enum hai_cgroup_match       match;
    ngx_http_hoody_ai_link_t   *link;
    ngx_http_hoody_ai_entry_t  *other;

    at = 0;

    match = hai_cgroup_match((char *) ngx_http_hoody_ai_entry_cgroup(e),
                             e->cgroup_len, (char *) path->data, path->len,
                             &at);

    if (match == HAI_CGROUP_NO) {
        return NGX_HTTP_HOODY_AI_WRONG_SOURCE;
    }

    /* a bare name starts at "at", a path at 0 */

    end = at + e->cgroup_len;

    for (i = 1; i < end; i += n + 1) {

        for (n = 0; i + n < path->len && path->data[i + n] != '/'; n++) {
            /* void */
        }

        hash = ngx_http_hoody_ai_table_hash(path->data + i, n);

        for (link = ngx_http_hoody_ai_table_first(&reg->cgroups, hash);
             link;
             link = link->next)
        {
            if (link->hash != hash) {
                continue;
            }

            other = ngx_queue_data(link, ngx_http_hoody_ai_entry_t, by_cgroup);

            ngx_http_hoody_ai_registry_cgroup_key(other, &key);

            if (key.len != n
                || ngx_memcmp(key.data, path->data + i, n) != 0)
            {
                continue;
            }

            cgroup = ngx_http_hoody_ai_entry_cgroup(other);

            /*
             * Another one's absolute path counts where it is; beside a bare
             * name, which may be anywhere, its last component is enough.
             */

            if (match == HAI_CGROUP_PATH
                && cgroup[0] == '/'
                && (other->cgroup_len != i + n
                    || ngx_memcmp(cgroup, path->data, i + n) != 0))
            {
                continue;
            }

            ngx_http_hoody_ai_registry_owner(owners, other);
        }
    }

    if (owners->n) {
        return NGX_HTTP_HOODY_AI_SHARED_SOURCE;
    }

    if (match == HAI_CGROUP_BARE) {
        view->bare = 1;
        view->bare_at = at;
    }

    return NGX_HTTP_HOODY_AI_ADMIT;
}


static void
ngx_http_hoody_ai_registry_cgroup_key(ngx_http_hoody_ai_entry_t *e,
    ngx_str_t *key)
{
    u_char  *p, *start;

    start = ngx_http_hoody_ai_entry_cgroup(e);
    p = start + e->cgroup_len;

    while (p > start && p[-1] != '/') {
        p--;
    }

    key->data = p;
    key->len = start + e->cgroup_len - p;
}


ngx_uint_t
ngx_http_hoody_ai_registry_claimed(ngx_http_hoody_ai_registry_t *reg,
    ngx_http_hoody_ai_source_t *source)
{
    size_t                      len;
    uint8_t                     bytes[16];
    ngx_http_hoody_ai_owners_t  owners;

    len = source->addr_len;

    if (len != 4 && len != 16) {
        return 0;
    }

    ngx_memzero(&owners, sizeof(ngx_http_hoody_ai_owners_t));
    ngx_memcpy(bytes, source->addr, len);

    if (len == 16) {
        len = hai_addr_unmap(bytes);
    }

    ngx_http_hoody_ai_registry_find(reg, bytes, len, len * 8, &owners);

    return owners.n != 0;
}


ngx_http_hoody_ai_entry_t *
ngx_http_hoody_ai_registry_first_deadline(ngx_http_hoody_ai_registry_t *reg)
{
    return reg->nheap ? reg->heap[0] : NULL;
}


ngx_uint_t
ngx_http_hoody_ai_registry_count(ngx_http_hoody_ai_registry_t *reg)
{
    return reg->names.n;
}


size_t
ngx_http_hoody_ai_registry_memory(ngx_http_hoody_ai_registry_t *reg)
{
    ngx_uint_t  n;

    n = reg->names.mask + reg->numbers.mask + reg->cgroups.mask
        + reg->prefixes.mask + 4 + reg->heap_size;

    return sizeof(ngx_http_hoody_ai_registry_t) + n * sizeof(void *)
           + reg->memory;
}


static ngx_int_t
ngx_http_hoody_ai_heap_reserve(ngx_http_hoody_ai_registry_t *reg)
{
    ngx_uint_t                   size;
    ngx_http_hoody_ai_entry_t  **heap;

    if (reg->nheap < reg->heap_size) {
        return NGX_OK;
    }

    size = reg->heap_size ? reg->heap_size * 2 : 64;

    heap = realloc(reg->heap, size * sizeof(ngx_http_hoody_ai_entry_t *));
    if (heap == NULL) {
        return NGX_ERROR;
    }

    reg->heap = heap;
    reg->heap_size = size;

    return NGX_OK;
}


static void
ngx_http_hoody_ai_heap_insert(ngx_http_hoody_ai_registry_t *reg,
    ngx_http_hoody_ai_entry_t *e)
{
    reg->heap[reg->nheap++] = e;
    e->heap = (uint32_t) reg->nheap;

    ngx_http_hoody_ai_heap_up(reg, reg->nheap - 1);
}


static void
ngx_http_hoody_ai_heap_remove(ngx_http_hoody_ai_registry_t *reg,
    ngx_http_hoody_ai_entry_t *e)
{
    ngx_uint_t                  i;
    ngx_http_hoody_ai_entry_t  *last;

    i = e->heap - 1;
    e->heap = 0;

    last = reg->heap[--reg->nheap];

    if (last == e) {
        return;
    }

    reg->heap[i] = last;
    last->heap = (uint32_t) i + 1;

    ngx_http_hoody_ai_heap_up(reg, i);
    ngx_http_hoody_ai_heap_down(reg, last->heap - 1);
}


static void
ngx_http_hoody_ai_heap_up(ngx_http_hoody_ai_registry_t *reg, ngx_uint_t i)
{
    ngx_uint_t                  parent;
    ngx_http_hoody_ai_entry_t  *e;

    e = reg->heap[i];

    while (i) {
        parent = (i - 1) / 2;

        if (reg->heap[parent]->deadline <= e->deadline) {
            break;
        }

        reg->heap[i] = reg->heap[parent];
        reg->heap[i]->heap = (uint32_t) i + 1;
        i = parent;
    }

    reg->heap[i] = e;
    e->heap = (uint32_t) i + 1;
}


static void
ngx_http_hoody_ai_heap_down(ngx_http_hoody_ai_registry_t *reg, ngx_uint_t i)
{
    ngx_uint_t                  child;
    ngx_http_hoody_ai_entry_t  *e;

    e = reg->heap[i];

    for ( ;; ) {
        child = i * 2 + 1;

        if (child >= reg->nheap) {
            break;
        }

        if (child + 1 < reg->nheap
            && reg->heap[child + 1]->deadline < reg->heap[child]->deadline)
        {
            child++;
        }

        if (reg->heap[child]->deadline >= e->deadline) {
            break;
        }

        reg->heap[i] = reg->heap[child];
        reg->heap[i]->heap = (uint32_t) i + 1;
        i = child;
    }

    reg->heap[i] = e;
    e->heap = (uint32_t) i + 1;
}
