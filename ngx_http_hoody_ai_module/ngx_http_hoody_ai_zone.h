
/*
 * The shared memory zone: counters and the event ring.  Everything in it is
 * read and added to without a lock; only a name that was never seen before
 * takes the mutex.  It survives a reload, not a restart.
 *
 *     series    requests and tokens by container and model; shared by all
 *               workers, three bounded tables that only ever grow
 *     slots     one per living worker: its own counters, so that workers do
 *               not share cache lines; summed by the reader.  A slot's
 *               counters stay when it goes to another worker, its gauges do
 *               not
 *     segments  the event ring, in pieces that belong to one worker each
 */


#ifndef _NGX_HTTP_HOODY_AI_ZONE_H_INCLUDED_
#define _NGX_HTTP_HOODY_AI_ZONE_H_INCLUDED_


#include "ngx_http_hoody_ai_module.h"


#define NGX_HTTP_HOODY_AI_ZONE_MAGIC      0x48414947U
#define NGX_HTTP_HOODY_AI_ZONE_VERSION    2

/* ceilings; what comes later is counted under "other" */
#define NGX_HTTP_HOODY_AI_CONTAINERS      1024
#define NGX_HTTP_HOODY_AI_MODELS          256
#define NGX_HTTP_HOODY_AI_SERIES          4096

/* most series of one container, and bytes of a label's value */
#define NGX_HTTP_HOODY_AI_SERIES_SHARE    64
#define NGX_HTTP_HOODY_AI_LABEL           128

/* workers of all generations; more of them share the last slot */
#define NGX_HTTP_HOODY_AI_SLOTS           128

#define NGX_HTTP_HOODY_AI_SEGMENT         (32 * 1024)
#define NGX_HTTP_HOODY_AI_SEGMENTS_MIN    16
#define NGX_HTTP_HOODY_AI_SEGMENTS_MAX    65535

#define NGX_HTTP_HOODY_AI_BUCKETS         12
#define NGX_HTTP_HOODY_AI_RULES_BUCKETS   12

#define NGX_HTTP_HOODY_AI_STATUS_MIN      100
#define NGX_HTTP_HOODY_AI_STATUS_MAX      599


enum {
    NGX_HTTP_HOODY_AI_2XX = 0,
    NGX_HTTP_HOODY_AI_3XX,
    NGX_HTTP_HOODY_AI_4XX,
    NGX_HTTP_HOODY_AI_5XX,
    NGX_HTTP_HOODY_AI_CLASS_OTHER,
    NGX_HTTP_HOODY_AI_CLASSES
};


/* 64 bytes, as a cache line */

typedef struct {
    ngx_atomic_t                   requests[NGX_HTTP_HOODY_AI_CLASSES];
    ngx_atomic_t                   input_tokens;
    ngx_atomic_t                   output_tokens;
    ngx_atomic_t                   cached_tokens;
} ngx_http_hoody_ai_series_t;


typedef struct {
    uint16_t                       len;
    uint16_t                       nseries;  /* of a container */
    u_char                         data[NGX_HTTP_HOODY_AI_LABEL];
} ngx_http_hoody_ai_label_t;


typedef enum {
    NGX_HTTP_HOODY_AI_DROP_FULL = 0,         /* no room in the ring */
    NGX_HTTP_HOODY_AI_DROP_ERROR,            /* Redis refused the entry */
    NGX_HTTP_HOODY_AI_DROP_BROKEN,           /* left by a crash */
    NGX_HTTP_HOODY_AI_DROPS
} ngx_http_hoody_ai_drop_e;


/* the text of an IPv6 address with its port */
#define NGX_HTTP_HOODY_AI_MASTER  64


struct ngx_http_hoody_ai_slot_s {
    ngx_atomic_t                   pid;      /* 0: free */

    /* gauges, meaningful while the worker lives */
    ngx_atomic_t                   streams;
    ngx_atomic_t                   requests;
    ngx_atomic_t                   events_connected;
    ngx_atomic_t                   loaded;
    ngx_atomic_t                   connected;
    ngx_atomic_t                   containers;
    ngx_atomic_t                   memory;
    ngx_atomic_t                   age;
    ngx_atomic_t                   age_at;   /* ngx_current_msec */
    ngx_atomic_t                   load_time;
    ngx_atomic_t                   reconnects;
    ngx_atomic_t                   reloads;
    ngx_atomic_t                   switches;
    ngx_atomic_t                   master_len;
    u_char                         master[NGX_HTTP_HOODY_AI_MASTER];
    ngx_atomic_t                   plans;
    ngx_atomic_t                   plans_memory;

    /* counters */
    ngx_atomic_t                   revoked_streams;
    ngx_atomic_t                   events_queued;
    ngx_atomic_t                   events_written;
    ngx_atomic_t                   events_dropped[NGX_HTTP_HOODY_AI_DROPS];
    ngx_atomic_t                   events_reconnects;
    ngx_atomic_t                   overhead_sum;         /* nanoseconds */
    ngx_atomic_t                   overhead[NGX_HTTP_HOODY_AI_BUCKETS + 1];
    ngx_atomic_t                   rules_questions[NGX_HTTP_HOODY_AI_ASKS]
                                                  [NGX_HTTP_HOODY_AI_QS];
    ngx_atomic_t                   rules_time_sum;       /* nanoseconds */
    ngx_atomic_t                   rules_time[NGX_HTTP_HOODY_AI_RULES_BUCKETS
                                              + 1];
    ngx_atomic_t                   rules_passed;
    ngx_atomic_t                   plans_used;
    ngx_atomic_t                   plans_dropped;
    ngx_atomic_t                   refused[NGX_HTTP_HOODY_AI_R_COUNT];
    ngx_atomic_t                   status[NGX_HTTP_HOODY_AI_STATUS_MAX
                                          - NGX_HTTP_HOODY_AI_STATUS_MIN + 1];
};


/*
 * Written by its owner alone.  "filled" moves when a record is complete,
 * "drained" when Redis has confirmed it: what lies between them is owed,
 * whoever takes the segment over.
 */

typedef struct {
    ngx_atomic_t                   owner;    /* pid, 0: free, or ORPHAN */
    ngx_atomic_t                   filled;
    ngx_atomic_t                   drained;
} ngx_http_hoody_ai_segment_t;

#define NGX_HTTP_HOODY_AI_ORPHAN   ((ngx_atomic_uint_t) -1)


struct ngx_http_hoody_ai_zone_s {
    ngx_http_hoody_ai_series_t     series[NGX_HTTP_HOODY_AI_SERIES];
    ngx_http_hoody_ai_slot_t       slots[NGX_HTTP_HOODY_AI_SLOTS];

    uint32_t                       magic;
    uint32_t                       version;
    size_t                         size;
    time_t                         created;
    ngx_slab_pool_t               *shpool;

    /* published last, so that a reader sees complete entries only */
    ngx_atomic_t                   ncontainers;
    ngx_atomic_t                   nmodels;
    ngx_atomic_t                   nseries;

    /* open addressing: number + 1, or 0 */
    volatile uint16_t              container_index
                                       [NGX_HTTP_HOODY_AI_CONTAINERS * 2];
    volatile uint16_t              model_index[NGX_HTTP_HOODY_AI_MODELS * 2];
    volatile uint16_t              series_index[NGX_HTTP_HOODY_AI_SERIES * 2];

    ngx_http_hoody_ai_label_t      containers[NGX_HTTP_HOODY_AI_CONTAINERS];
    ngx_http_hoody_ai_label_t      models[NGX_HTTP_HOODY_AI_MODELS];
    uint32_t                       keys[NGX_HTTP_HOODY_AI_SERIES];

    ngx_uint_t                     nsegments;
    u_char                        *data;     /* of the segments */
    ngx_http_hoody_ai_segment_t    segments[1];
};

/* container and model of a series, in its key */
#define ngx_http_hoody_ai_series_key(c, m)  ((uint32_t) (c) << 16 | (m))
#define ngx_http_hoody_ai_key_container(k)  ((k) >> 16)
#define ngx_http_hoody_ai_key_model(k)      ((k) & 0xffff)


#define ngx_http_hoody_ai_add(counter, n)                                     \
    (void) ngx_atomic_fetch_add(&(counter), (ngx_atomic_int_t) (n))

#define ngx_http_hoody_ai_segment_data(zone, i)                               \
    ((zone)->data + (size_t) (i) * NGX_HTTP_HOODY_AI_SEGMENT)


/* upper bounds of a histogram: nanoseconds, text in seconds */

typedef struct {
    ngx_uint_t                     bound;
    char                          *le;
} ngx_http_hoody_ai_bucket_t;

extern const ngx_http_hoody_ai_bucket_t
    ngx_http_hoody_ai_buckets[NGX_HTTP_HOODY_AI_BUCKETS];
extern const ngx_http_hoody_ai_bucket_t
    ngx_http_hoody_ai_rules_buckets[NGX_HTTP_HOODY_AI_RULES_BUCKETS];


/*
 * The counters of a container and model.  "learn": a model that was not seen
 * before may get a label of its own.  Never NULL.
 */
ngx_http_hoody_ai_series_t *ngx_http_hoody_ai_zone_series(
    ngx_http_hoody_ai_zone_t *zone, ngx_str_t *container, ngx_str_t *model,
    ngx_uint_t learn);

/* a slot for this process, whose gauges are zero; never NULL */
ngx_http_hoody_ai_slot_t *ngx_http_hoody_ai_zone_take_slot(
    ngx_http_hoody_ai_zone_t *zone);
void ngx_http_hoody_ai_zone_free_slot(ngx_http_hoody_ai_slot_t *slot);

/* has the process of a slot or segment ended? */
ngx_uint_t ngx_http_hoody_ai_zone_is_dead(ngx_atomic_uint_t pid);

/* an empty segment for this process; NGX_DECLINED: none is left */
ngx_int_t ngx_http_hoody_ai_zone_take_segment(ngx_http_hoody_ai_zone_t *zone);
void ngx_http_hoody_ai_zone_free_segment(ngx_http_hoody_ai_zone_t *zone,
    ngx_uint_t i);

/* takes over segment i if its owner is gone; 1: it is ours now */
ngx_uint_t ngx_http_hoody_ai_zone_adopt(ngx_http_hoody_ai_zone_t *zone,
    ngx_uint_t i, ngx_uint_t first);


#endif /* _NGX_HTTP_HOODY_AI_ZONE_H_INCLUDED_ */
