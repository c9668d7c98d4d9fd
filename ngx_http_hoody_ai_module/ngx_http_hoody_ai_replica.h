
/*
 * Keeps the registry true: two Redis connections per worker (change feed and
 * data), the first load, invalidations, heartbeat, reconnects.  Everything
 * runs on the worker's event loop; nothing here blocks.
 */


#ifndef _NGX_HTTP_HOODY_AI_REPLICA_H_INCLUDED_
#define _NGX_HTTP_HOODY_AI_REPLICA_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_hoody_ai_endpoint.h"
#include "ngx_http_hoody_ai_registry.h"


typedef struct ngx_http_hoody_ai_replica_s  ngx_http_hoody_ai_replica_t;


/*
 * changed: everything that is claimed as "claim" (the text behind
 * "container-") may be decided differently now.  all: every request has to
 * be judged again (load finished, feed lost for longer than max_stale, Redis
 * flushed).  Called from the event loop, never from within decide().
 */

typedef struct {
    void       (*changed)(void *data, ngx_str_t *claim);
    void       (*all)(void *data);

    /*
     * The gate set was written: which claims have running or waiting
     * requests?  Calls "each" for every one of them.
     */
    void       (*live)(void *data,
                       void (*each)(void *arg, ngx_str_t *claim), void *arg);
    void        *data;

    /*
     * A key of the feed was written that the replica itself does not use:
     * "limit:...", other "ai:..." keys; the text behind "hoody:{server}:".
     * May be NULL.
     */
    void       (*key)(void *data, ngx_str_t *key);
} ngx_http_hoody_ai_replica_events_t;


typedef struct {
    ngx_uint_t   loaded;               /* flag: a full load has succeeded */
    ngx_uint_t   connected;            /* flag: feed and data are up */
    ngx_uint_t   containers;
    size_t       memory;               /* bytes held by the registry */
    ngx_msec_t   age;                  /* since the last proof of life */
    ngx_msec_t   load_time;            /* of the last full load */
    ngx_uint_t   reconnects;
    ngx_uint_t   reloads;
    ngx_uint_t   switches;             /* to another master */
    ngx_addr_t  *master;               /* borrowed; NULL: of a fixed address,
                                          or nothing was loaded yet */
} ngx_http_hoody_ai_replica_stat_t;


/*
 * Starts the connections of this worker; to be called in init_process of a
 * worker.  conf, endpoint, server and events stay owned by the caller and must
 * outlive the replica.  NULL without memory.
 */
ngx_http_hoody_ai_replica_t *ngx_http_hoody_ai_replica_start(
    ngx_cycle_t *cycle, ngx_http_hoody_ai_redis_conf_t *conf,
    ngx_http_hoody_ai_endpoint_t *endpoint, ngx_str_t *server,
    ngx_http_hoody_ai_replica_events_t *events);

/* closes everything and frees the memory; exit_process */
void ngx_http_hoody_ai_replica_stop(ngx_http_hoody_ai_replica_t *rep);

/*
 * Decides about a claim (the text behind "container-") from a source: no I/O
 * on the way.  On NGX_HTTP_HOODY_AI_WAIT the reads that will settle the
 * question are under way or queued and events->changed() or ->all() will be
 * called for this claim afterwards.  "view" is filled for ADMIT and DISABLED.
 */
ngx_http_hoody_ai_verdict_e ngx_http_hoody_ai_replica_decide(
    ngx_http_hoody_ai_replica_t *rep, ngx_str_t *claim,
    ngx_http_hoody_ai_source_t *source, ngx_http_hoody_ai_container_t *view);

/*
 * Rises with all that is heard of Redis and before events are called.  While
 * it and ngx_current_msec stay the same, a claim that was admitted would be
 * admitted again, with the same view->serial.
 */
ngx_uint_t ngx_http_hoody_ai_replica_heard(ngx_http_hoody_ai_replica_t *rep);

/* does any existing container claim this source address?  (realip check) */
ngx_uint_t ngx_http_hoody_ai_replica_claimed(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_source_t *source);

/*
 * The epoch of the rules in force, borrowed until control returns to the
 * event loop.  Returns a generation, which rises with each write of the epoch
 * or the overlay and with each load; 0: it cannot be known at this moment, or
 * no engine has published one.
 */
ngx_uint_t ngx_http_hoody_ai_replica_epoch(ngx_http_hoody_ai_replica_t *rep,
    ngx_str_t *epoch);

void ngx_http_hoody_ai_replica_stat(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_replica_stat_t *stat);


#endif /* _NGX_HTTP_HOODY_AI_REPLICA_H_INCLUDED_ */
