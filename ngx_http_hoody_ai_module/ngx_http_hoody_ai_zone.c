
/*
 * The shared memory zone, see ngx_http_hoody_ai_zone.h.  Made by the master,
 * used by workers.  A worker may be killed at any instruction: under the mutex
 * an entry is written first and published last, so that nothing half made is
 * ever found.
 */


#include "ngx_http_hoody_ai_module.h"
#include "ngx_http_hoody_ai_zone.h"

#include <signal.h>


#define NGX_HTTP_HOODY_AI_ZONE_SIZE   (8 * 1024 * 1024)

/* a worker's own short way to a series; a power of two */
#define NGX_HTTP_HOODY_AI_NEAR        4096


static ngx_int_t ngx_http_hoody_ai_zone_init(ngx_shm_zone_t *shm_zone,
    void *data);
static void ngx_http_hoody_ai_zone_setup(ngx_http_hoody_ai_zone_t *zone);
static ngx_int_t ngx_http_hoody_ai_zone_label(ngx_http_hoody_ai_label_t *labels,
    volatile uint16_t *index, ngx_uint_t mask, ngx_str_t *name, uint32_t hash,
    ngx_uint_t *place);
static void ngx_http_hoody_ai_zone_add_label(ngx_http_hoody_ai_label_t *labels,
    volatile uint16_t *index, ngx_atomic_t *n, ngx_str_t *name,
    ngx_uint_t place);
static ngx_int_t ngx_http_hoody_ai_zone_find(ngx_http_hoody_ai_zone_t *zone,
    uint32_t key, ngx_uint_t *place);
static ngx_uint_t ngx_http_hoody_ai_zone_add(ngx_http_hoody_ai_zone_t *zone,
    uint32_t key, ngx_uint_t place);
static ngx_uint_t ngx_http_hoody_ai_zone_container(
    ngx_http_hoody_ai_zone_t *zone, ngx_str_t *name, uint32_t hash);
static ngx_uint_t ngx_http_hoody_ai_zone_model(ngx_http_hoody_ai_zone_t *zone,
    ngx_str_t *name, uint32_t hash, ngx_uint_t learn);


const ngx_http_hoody_ai_bucket_t
    ngx_http_hoody_ai_buckets[NGX_HTTP_HOODY_AI_BUCKETS] = {
    { 500, "0.0000005" },
    { 1000, "0.000001" },
    { 2500, "0.0000025" },
    { 5000, "0.000005" },
    { 10000, "0.00001" },
    { 25000, "0.000025" },
    { 50000, "0.00005" },
    { 100000, "0.0001" },
    { 250000, "0.00025" },
    { 1000000, "0.001" },
    { 10000000, "0.01" },
    { 100000000, "0.1" }
};


const ngx_http_hoody_ai_bucket_t
    ngx_http_hoody_ai_rules_buckets[NGX_HTTP_HOODY_AI_RULES_BUCKETS] = {
    { 50000, "0.00005" },
    { 100000, "0.0001" },
    { 250000, "0.00025" },
    { 500000, "0.0005" },
    { 1000000, "0.001" },
    { 2500000, "0.0025" },
    { 5000000, "0.005" },
    { 10000000, "0.01" },
    { 50000000, "0.05" },
    { 100000000, "0.1" },
    { 500000000, "0.5" },
    { 1000000000, "1" }
};


/* series by the hash of its names, number + 1; of this worker */

static uint16_t    ngx_http_hoody_ai_near[NGX_HTTP_HOODY_AI_NEAR];


/* the segment given back last: its memory is still in the processor's cache */

static ngx_uint_t  ngx_http_hoody_ai_spare;


static ngx_str_t  ngx_http_hoody_ai_other = ngx_string("other");


char *
ngx_http_hoody_ai_set_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_hoody_ai_main_conf_t *hmcf = conf;

    u_char     *p;
    ssize_t     size;
    ngx_str_t  *value, name, s;

    if (hmcf->zone) {
        return "is duplicate";
    }

    value = cf->args->elts;

    p = ngx_strlchr(value[1].data, value[1].data + value[1].len, ':');

    if (p == NULL || p == value[1].data) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid zone \"%V\", it has to be name:size",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    name.data = value[1].data;
    name.len = p - name.data;

    s.data = p + 1;
    s.len = value[1].data + value[1].len - s.data;

    size = ngx_parse_size(&s);

    if (size == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid zone size \"%V\"",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    if ((size_t) size < sizeof(ngx_http_hoody_ai_zone_t)
                        + NGX_HTTP_HOODY_AI_SEGMENTS_MIN
                          * NGX_HTTP_HOODY_AI_SEGMENT * 2)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "zone \"%V\" is too small, it needs %uz bytes",
                           &value[1], sizeof(ngx_http_hoody_ai_zone_t)
                                      + NGX_HTTP_HOODY_AI_SEGMENTS_MIN
                                        * NGX_HTTP_HOODY_AI_SEGMENT * 2);
        return NGX_CONF_ERROR;
    }

    hmcf->zone = ngx_shared_memory_add(cf, &name, size,
                                       &ngx_http_hoody_ai_module);
    if (hmcf->zone == NULL) {
        return NGX_CONF_ERROR;
    }

    if (hmcf->zone->init) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "duplicate zone \"%V\"",
                           &name);
        return NGX_CONF_ERROR;
    }

    hmcf->zone->init = ngx_http_hoody_ai_zone_init;

    return NGX_CONF_OK;
}


/* the zone that nobody named */

ngx_int_t
ngx_http_hoody_ai_default_zone(ngx_conf_t *cf,
    ngx_http_hoody_ai_main_conf_t *hmcf)
{
    ngx_str_t  name;

    if (hmcf->zone) {
        return NGX_OK;
    }

    ngx_str_set(&name, "hoody_ai");

    hmcf->zone = ngx_shared_memory_add(cf, &name, NGX_HTTP_HOODY_AI_ZONE_SIZE,
                                       &ngx_http_hoody_ai_module);
    if (hmcf->zone == NULL) {
        return NGX_ERROR;
    }

    hmcf->zone->init = ngx_http_hoody_ai_zone_init;

    return NGX_OK;
}


static ngx_int_t
ngx_http_hoody_ai_zone_init(ngx_shm_zone_t *shm_zone, void *data)
{
    size_t                     size, head, item, left;
    u_char                    *p;
    ngx_uint_t                 n;
    ngx_slab_pool_t           *shpool;
    ngx_http_hoody_ai_zone_t  *zone;

    shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    if (data || shm_zone->shm.exists) {

        zone = data ? data : shpool->data;

        if (zone->magic != NGX_HTTP_HOODY_AI_ZONE_MAGIC
            || zone->version != NGX_HTTP_HOODY_AI_ZONE_VERSION
            || zone->size != sizeof(ngx_http_hoody_ai_zone_t))
        {
            ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                          "zone \"%V\" has another layout, restart nginx",
                          &shm_zone->shm.name);
            return NGX_ERROR;
        }

        shm_zone->data = zone;

        return NGX_OK;
    }

    size = shpool->pfree * ngx_pagesize;
    head = sizeof(ngx_http_hoody_ai_zone_t);
    item = sizeof(ngx_http_hoody_ai_segment_t) + NGX_HTTP_HOODY_AI_SEGMENT;

    left = size > head + ngx_pagesize ? size - head - ngx_pagesize : 0;
    n = left / item;

    if (n < NGX_HTTP_HOODY_AI_SEGMENTS_MIN) {
        ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                      "zone \"%V\" is too small", &shm_zone->shm.name);
        return NGX_ERROR;
    }

    n = ngx_min(n, NGX_HTTP_HOODY_AI_SEGMENTS_MAX);

    head = ngx_align(head + n * sizeof(ngx_http_hoody_ai_segment_t),
                     ngx_pagesize);

    p = ngx_slab_alloc(shpool, head + n * NGX_HTTP_HOODY_AI_SEGMENT);
    if (p == NULL) {
        return NGX_ERROR;
    }

    zone = (ngx_http_hoody_ai_zone_t *) p;

    ngx_memzero(zone, head);

    zone->magic = NGX_HTTP_HOODY_AI_ZONE_MAGIC;
    zone->version = NGX_HTTP_HOODY_AI_ZONE_VERSION;
    zone->size = sizeof(ngx_http_hoody_ai_zone_t);
    zone->created = ngx_time();
    zone->shpool = shpool;
    zone->nsegments = n;
    zone->data = p + head;

    ngx_http_hoody_ai_zone_setup(zone);

    shpool->data = zone;
    shm_zone->data = zone;

    return NGX_OK;
}


/* this worker's part in it */

ngx_int_t
ngx_http_hoody_ai_zone_start(ngx_cycle_t *cycle)
{
    ngx_http_hoody_ai_worker_t  *w;

    w = &ngx_http_hoody_ai_worker;

    w->zone = w->conf->zone->data;
    w->slot = ngx_http_hoody_ai_zone_take_slot(w->zone);

    if (ngx_http_hoody_ai_log_start(cycle) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_hoody_ai_event_start(cycle, w->conf, w->zone, w->slot);
}


void
ngx_http_hoody_ai_zone_stop(ngx_cycle_t *cycle)
{
    ngx_http_hoody_ai_worker_t  *w;

    w = &ngx_http_hoody_ai_worker;

    if (w->slot == NULL) {
        return;
    }

    ngx_http_hoody_ai_log_tick();
    ngx_http_hoody_ai_event_stop(cycle);
    ngx_http_hoody_ai_zone_free_slot(w->slot);

    w->slot = NULL;
}


/* "other" is number 0 everywhere, also for a container or model of that name */

static void
ngx_http_hoody_ai_zone_setup(ngx_http_hoody_ai_zone_t *zone)
{
    uint32_t    hash;
    ngx_uint_t  place;

    hash = ngx_murmur_hash2(ngx_http_hoody_ai_other.data,
                            ngx_http_hoody_ai_other.len);

    (void) ngx_http_hoody_ai_zone_label(zone->models, zone->model_index,
                                        NGX_HTTP_HOODY_AI_MODELS * 2 - 1,
                                        &ngx_http_hoody_ai_other, hash,
                                        &place);
    ngx_http_hoody_ai_zone_add_label(zone->models, zone->model_index,
                                     &zone->nmodels, &ngx_http_hoody_ai_other,
                                     place);

    (void) ngx_http_hoody_ai_zone_container(zone, &ngx_http_hoody_ai_other,
                                            hash);
}


/* NGX_DECLINED: not there, and "place" is where it would be entered */

static ngx_int_t
ngx_http_hoody_ai_zone_label(ngx_http_hoody_ai_label_t *labels,
    volatile uint16_t *index, ngx_uint_t mask, ngx_str_t *name, uint32_t hash,
    ngx_uint_t *place)
{
    ngx_uint_t                  i, n;
    ngx_http_hoody_ai_label_t  *label;

    /* at most half of the places are taken: the loop ends */

    for (i = hash & mask; (n = index[i]) != 0; i = (i + 1) & mask) {

        label = &labels[n - 1];

        if (label->len == name->len
            && ngx_memcmp(label->data, name->data, name->len) == 0)
        {
            return n - 1;
        }
    }

    *place = i;

    return NGX_DECLINED;
}


/* under the mutex */

static void
ngx_http_hoody_ai_zone_add_label(ngx_http_hoody_ai_label_t *labels,
    volatile uint16_t *index, ngx_atomic_t *n, ngx_str_t *name,
    ngx_uint_t place)
{
    ngx_http_hoody_ai_label_t  *label;

    label = &labels[*n];

    label->nseries = 0;
    label->len = name->len;
    ngx_memcpy(label->data, name->data, name->len);

    /*
     * The number is given away before it can be found: a crash in between
     * costs one entry and leaves no two names with one number.
     */

    (*n)++;

    ngx_memory_barrier();

    index[place] = *n;
}


static ngx_int_t
ngx_http_hoody_ai_zone_find(ngx_http_hoody_ai_zone_t *zone, uint32_t key,
    ngx_uint_t *place)
{
    ngx_uint_t  i, n, mask;

    mask = NGX_HTTP_HOODY_AI_SERIES * 2 - 1;

    for (i = (key * 0x9e3779b1U >> 16) & mask;
         (n = zone->series_index[i]) != 0;
         i = (i + 1) & mask)
    {
        if (zone->keys[n - 1] == key) {
            return n - 1;
        }
    }

    *place = i;

    return NGX_DECLINED;
}


/* under the mutex */

static ngx_uint_t
ngx_http_hoody_ai_zone_add(ngx_http_hoody_ai_zone_t *zone, uint32_t key,
    ngx_uint_t place)
{
    ngx_uint_t  n;

    n = zone->nseries;

    zone->keys[n] = key;
    zone->containers[ngx_http_hoody_ai_key_container(key)].nseries++;

    ngx_memory_barrier();

    zone->nseries = n + 1;

    ngx_memory_barrier();

    zone->series_index[place] = n + 1;

    return n;
}


static ngx_uint_t
ngx_http_hoody_ai_zone_container(ngx_http_hoody_ai_zone_t *zone,
    ngx_str_t *name, uint32_t hash)
{
    uint32_t    key;
    ngx_int_t   n;
    ngx_uint_t  place, at, mask;

    mask = NGX_HTTP_HOODY_AI_CONTAINERS * 2 - 1;

    if (name->len > NGX_HTTP_HOODY_AI_LABEL) {
        return 0;
    }

    n = ngx_http_hoody_ai_zone_label(zone->containers, zone->container_index,
                                     mask, name, hash, &place);

    if (n >= 0) {
        return n;
    }

    if (zone->ncontainers == NGX_HTTP_HOODY_AI_CONTAINERS) {
        return 0;
    }

    ngx_shmtx_lock(&zone->shpool->mutex);

    n = ngx_http_hoody_ai_zone_label(zone->containers, zone->container_index,
                                     mask, name, hash, &place);

    if (n < 0) {
        n = 0;

        if (zone->ncontainers < NGX_HTTP_HOODY_AI_CONTAINERS) {

            /* the series of its other models first: it always has one */

            n = zone->ncontainers;
            key = ngx_http_hoody_ai_series_key(n, 0);

            if (ngx_http_hoody_ai_zone_find(zone, key, &at) < 0) {
                zone->containers[n].len = 0;
                (void) ngx_http_hoody_ai_zone_add(zone, key, at);
            }

            ngx_http_hoody_ai_zone_add_label(zone->containers,
                                             zone->container_index,
                                             &zone->ncontainers, name, place);
        }
    }

    ngx_shmtx_unlock(&zone->shpool->mutex);

    return n;
}


static ngx_uint_t
ngx_http_hoody_ai_zone_model(ngx_http_hoody_ai_zone_t *zone, ngx_str_t *name,
    uint32_t hash, ngx_uint_t learn)
{
    ngx_int_t   n;
    ngx_uint_t  place, mask;

    mask = NGX_HTTP_HOODY_AI_MODELS * 2 - 1;

    if (name->len > NGX_HTTP_HOODY_AI_LABEL) {
        return 0;
    }

    n = ngx_http_hoody_ai_zone_label(zone->models, zone->model_index, mask,
                                     name, hash, &place);

    if (n >= 0) {
        return n;
    }

    if (!learn || zone->nmodels == NGX_HTTP_HOODY_AI_MODELS) {
        return 0;
    }

    ngx_shmtx_lock(&zone->shpool->mutex);

    n = ngx_http_hoody_ai_zone_label(zone->models, zone->model_index, mask,
                                     name, hash, &place);

    if (n < 0) {
        n = 0;

        if (zone->nmodels < NGX_HTTP_HOODY_AI_MODELS) {
            n = zone->nmodels;
            ngx_http_hoody_ai_zone_add_label(zone->models, zone->model_index,
                                             &zone->nmodels, name, place);
        }
    }

    ngx_shmtx_unlock(&zone->shpool->mutex);

    return n;
}


ngx_http_hoody_ai_series_t *
ngx_http_hoody_ai_zone_series(ngx_http_hoody_ai_zone_t *zone,
    ngx_str_t *container, ngx_str_t *model, ngx_uint_t learn)
{
    uint32_t                    chash, mhash, key;
    ngx_int_t                   n;
    uint16_t                   *near;
    ngx_uint_t                  c, m, place, room;
    ngx_http_hoody_ai_label_t  *cl, *ml;

    chash = ngx_murmur_hash2(container->data, container->len);
    mhash = ngx_murmur_hash2(model->data, model->len);

    near = &ngx_http_hoody_ai_near[(chash ^ (mhash << 5 | mhash >> 27))
                                   & (NGX_HTTP_HOODY_AI_NEAR - 1)];

    if (*near) {
        n = *near - 1;
        key = zone->keys[n];
        cl = &zone->containers[ngx_http_hoody_ai_key_container(key)];
        ml = &zone->models[ngx_http_hoody_ai_key_model(key)];

        if (cl->len == container->len && ml->len == model->len
            && ngx_memcmp(cl->data, container->data, container->len) == 0
            && ngx_memcmp(ml->data, model->data, model->len) == 0)
        {
            return &zone->series[n];
        }
    }

    c = ngx_http_hoody_ai_zone_container(zone, container, chash);

    /* a container that has used its share teaches us no more models */

    if (zone->containers[c].nseries >= NGX_HTTP_HOODY_AI_SERIES_SHARE) {
        learn = 0;
    }

    m = ngx_http_hoody_ai_zone_model(zone, model, mhash, learn);

    key = ngx_http_hoody_ai_series_key(c, m);
    n = ngx_http_hoody_ai_zone_find(zone, key, &place);

    if (n < 0 && learn) {

        ngx_shmtx_lock(&zone->shpool->mutex);

        n = ngx_http_hoody_ai_zone_find(zone, key, &place);

        /* each container that is still to come will need one */

        room = NGX_HTTP_HOODY_AI_SERIES
               - (NGX_HTTP_HOODY_AI_CONTAINERS - zone->ncontainers);

        if (n < 0 && zone->nseries < room) {
            n = ngx_http_hoody_ai_zone_add(zone, key, place);
        }

        ngx_shmtx_unlock(&zone->shpool->mutex);
    }

    if (n < 0) {
        n = ngx_http_hoody_ai_zone_find(zone,
                                        ngx_http_hoody_ai_series_key(c, 0),
                                        &place);

        /* the first series is that of "other" and "other" */

        return &zone->series[n < 0 ? 0 : n];
    }

    /* only the names themselves are remembered, not what stands in for them */

    if ((c || container->len == zone->containers[0].len)
        && (m || model->len == zone->models[0].len))
    {
        *near = n + 1;
    }

    return &zone->series[n];
}


ngx_uint_t
ngx_http_hoody_ai_zone_is_dead(ngx_atomic_uint_t pid)
{
    /*
     * All workers run as one user: a process that may not be signalled has
     * inherited the number.
     */

    return kill((pid_t) pid, 0) == -1;
}


ngx_http_hoody_ai_slot_t *
ngx_http_hoody_ai_zone_take_slot(ngx_http_hoody_ai_zone_t *zone)
{
    ngx_uint_t                 i;
    ngx_atomic_uint_t          pid;
    ngx_http_hoody_ai_slot_t  *slot;

    for (i = 0; i < NGX_HTTP_HOODY_AI_SLOTS - 1; i++) {

        slot = &zone->slots[i];
        pid = slot->pid;

        if (pid && pid != (ngx_atomic_uint_t) ngx_pid
            && !ngx_http_hoody_ai_zone_is_dead(pid))
        {
            continue;
        }

        if (ngx_atomic_cmp_set(&slot->pid, pid, ngx_pid)) {
            break;
        }
    }

    slot = &zone->slots[i];

    if (i < NGX_HTTP_HOODY_AI_SLOTS - 1) {
        slot->streams = 0;
    }

    ngx_memzero((void *) &slot->requests,
                offsetof(ngx_http_hoody_ai_slot_t, revoked_streams)
                - offsetof(ngx_http_hoody_ai_slot_t, requests));

    return slot;
}


void
ngx_http_hoody_ai_zone_free_slot(ngx_http_hoody_ai_slot_t *slot)
{
    (void) ngx_atomic_cmp_set(&slot->pid, ngx_pid, 0);
}


ngx_int_t
ngx_http_hoody_ai_zone_take_segment(ngx_http_hoody_ai_zone_t *zone)
{
    ngx_uint_t                    i, k, n;
    ngx_http_hoody_ai_segment_t  *seg;

    n = zone->nsegments;

    for (i = 0; i < n; i++) {

        k = (ngx_http_hoody_ai_spare + i) % n;
        seg = &zone->segments[k];

        if (seg->owner == 0 && ngx_atomic_cmp_set(&seg->owner, 0, ngx_pid)) {
            return k;
        }
    }

    return NGX_DECLINED;
}


void
ngx_http_hoody_ai_zone_free_segment(ngx_http_hoody_ai_zone_t *zone,
    ngx_uint_t i)
{
    ngx_http_hoody_ai_segment_t  *seg;

    seg = &zone->segments[i];

    /* in this order there is nothing owed at any moment */

    seg->filled = 0;
    ngx_memory_barrier();
    seg->drained = 0;
    ngx_memory_barrier();
    seg->owner = 0;

    ngx_http_hoody_ai_spare = i;
}


ngx_uint_t
ngx_http_hoody_ai_zone_adopt(ngx_http_hoody_ai_zone_t *zone, ngx_uint_t i,
    ngx_uint_t first)
{
    ngx_atomic_uint_t             owner;
    ngx_http_hoody_ai_segment_t  *seg;

    seg = &zone->segments[i];
    owner = seg->owner;

    if (owner == 0) {
        return 0;
    }

    if (owner == (ngx_atomic_uint_t) ngx_pid) {

        /* at first nothing is ours: a dead process had our number */

        return first;
    }

    if (owner != NGX_HTTP_HOODY_AI_ORPHAN
        && !ngx_http_hoody_ai_zone_is_dead(owner))
    {
        return 0;
    }

    return ngx_atomic_cmp_set(&seg->owner, owner, ngx_pid);
}
