
/*
 * Tables of containers, see ngx_http_hoody_ai_registry.h.  May touch memory
 * only: no log, no time, no request, so that it is tested without nginx.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_hoody_ai_registry_core.h"


#define NGX_HTTP_HOODY_AI_ID_MAX         255
#define NGX_HTTP_HOODY_AI_CGROUP_MAX     4096
#define NGX_HTTP_HOODY_AI_TAGS_MAX       8192
#define NGX_HTTP_HOODY_AI_ADDRESSES_MAX  16384
#define NGX_HTTP_HOODY_AI_PREFIXES_MAX   256

/* what an allocator keeps beside a block, for the figures of memory */
#define NGX_HTTP_HOODY_AI_OVERHEAD       16


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
