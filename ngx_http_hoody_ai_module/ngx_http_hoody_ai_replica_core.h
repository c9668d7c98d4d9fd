
/*
 * What the files of the replica share: replica.c (life and decisions),
 * replica_load.c (load, scan, heartbeat), replica_wants.c (invalidations and
 * the wants they cause), replica_reads.c (the reads of what is wanted),
 * replica_plain.c (reads that belong together) and replica_master.c (which
 * server is followed).  Not for others.
 */


#ifndef _NGX_HTTP_HOODY_AI_REPLICA_CORE_H_INCLUDED_
#define _NGX_HTTP_HOODY_AI_REPLICA_CORE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include "ngx_http_hoody_ai_endpoint.h"
#include "ngx_http_hoody_ai_redis.h"
#include "ngx_http_hoody_ai_registry.h"
#include "ngx_http_hoody_ai_replica.h"
#include "../common/hai_identity.h"


/* names read in one MULTI, such transactions under way at a time */
#define NGX_HTTP_HOODY_AI_BATCH       500
#define NGX_HTTP_HOODY_AI_BATCHES     4

/* so many transactions in a row are given up for a name written meanwhile */
#define NGX_HTTP_HOODY_AI_TORN        8

/* milliseconds between two sweeps: one for so many names, at most */
#define NGX_HTTP_HOODY_AI_SWEEP       50
#define NGX_HTTP_HOODY_AI_SWEEP_MAX   50

/* names read ahead by a load */
#define NGX_HTTP_HOODY_AI_WINDOW      2048

/* wanted names: in all, and those that only a request asked for */
#define NGX_HTTP_HOODY_AI_WANTS       32768
#define NGX_HTTP_HOODY_AI_ASKED       4096

/* names known to be nobody's while the scan is not through */
#define NGX_HTTP_HOODY_AI_ABSENT      4096

#define NGX_HTTP_HOODY_AI_NFIELDS     6


typedef enum {
    NGX_HTTP_HOODY_AI_DOWN = 0,        /* the reconnect timer runs */
    NGX_HTTP_HOODY_AI_CONNECTING,      /* a search, both handshakes */
    NGX_HTTP_HOODY_AI_SUBSCRIBING,     /* the feed's tracking */
    NGX_HTTP_HOODY_AI_LOADING,         /* subscribed, a load is due or runs */
    NGX_HTTP_HOODY_AI_LIVE
} ngx_http_hoody_ai_state_e;


typedef enum {
    NGX_HTTP_HOODY_AI_WANT_QUEUED = 0,
    NGX_HTTP_HOODY_AI_WANT_SENT,
    NGX_HTTP_HOODY_AI_WANT_ABSENT      /* read: no such container */
} ngx_http_hoody_ai_want_e;


/* a name of which something is not known */

typedef struct {
    ngx_http_hoody_ai_link_t           link;
    ngx_queue_t                        queue;     /* queued, swept, absent */
    ngx_http_hoody_ai_want_e           state;
    unsigned                           hash:1;    /* its hash, not only gate */
    unsigned                           reading:1; /* the hash is being read */
    unsigned                           again:1;   /* changed since sent */
    unsigned                           asked:1;   /* a request waits for it */
    unsigned                           shared:1;  /* the same, through an
                                                     address of both */
    unsigned                           stray:1;   /* found by the scan */
    unsigned                           swept:1;   /* is in that queue */
    u_char                             len;
    u_char                             name[];
} ngx_http_hoody_ai_want_t;


struct ngx_http_hoody_ai_replica_s {
    ngx_http_hoody_ai_redis_conf_t      *conf;
    ngx_http_hoody_ai_replica_events_t  *events;
    ngx_http_hoody_ai_redis_t           *feed;

    /* has to lie where ngx_connection_t has its fd: timers print it */
    ngx_socket_t                         ident;

    ngx_http_hoody_ai_redis_t           *data;
    ngx_http_hoody_ai_redis_peer_t       feed_peer;
    ngx_http_hoody_ai_redis_peer_t       data_peer;

    ngx_http_hoody_ai_endpoint_t        *endpoint;
    ngx_http_hoody_ai_endpoint_ask_t     ask;
    ngx_http_hoody_ai_endpoint_ask_t     check;       /* still the master? */
    ngx_http_hoody_ai_address_t          address;     /* of both connections */
    ngx_http_hoody_ai_address_t          master;      /* of the last load */
    ngx_uint_t                           switches;

    ngx_http_hoody_ai_state_e            state;
    ngx_msec_t                           backoff;
    ngx_msec_t                           heartbeat;
    ngx_msec_t                           timeout;

    /* keys, in one block */
    ngx_str_t                            prefix;
    ngx_str_t                            container;   /* key prefix */
    ngx_str_t                            containers;
    ngx_str_t                            enabled;
    ngx_str_t                            generation;
    ngx_str_t                            stream;      /* of events */
    ngx_str_t                            overlay;     /* of the rules */
    ngx_str_t                            rules_epoch;
    ngx_str_t                            pattern;     /* for SCAN */
    u_char                              *keys;
    u_char                              *key;         /* room for one */

    ngx_http_hoody_ai_registry_t        *reg;         /* decides */
    ngx_http_hoody_ai_registry_t        *fresh;       /* being loaded */
    ngx_http_hoody_ai_registry_t        *retired;     /* being freed */
    ngx_uint_t                           serial;

    /* proof of life of reg; of the connections, for the next reg */
    ngx_msec_t                           proof;
    ngx_msec_t                           next_proof;

    /* generations: raised by each invalidation of the key */
    ngx_uint_t                           gate;
    ngx_uint_t                           list;

    /* what the last reads of the sets said, and of which generation */
    ngx_uint_t                           gate_asked;
    ngx_uint_t                           gate_known;
    int64_t                              gate_card;
    uint64_t                             gate_deadline;
    ngx_uint_t                           list_asked;
    ngx_uint_t                           list_known;
    int64_t                              list_card;
    ngx_str_t                            epoch;       /* of the database */
    u_char                               epoch_data[64];

    /* the rules' epoch; "written" is raised by each invalidation */
    struct {
        ngx_uint_t                       generation;
        ngx_uint_t                       written;
        ngx_uint_t                       asked;
        ngx_uint_t                       known;
        ngx_str_t                        epoch;
        u_char                           data[128];
    } rules;

    ngx_http_hoody_ai_table_t            wants;
    ngx_queue_t                          queued;
    ngx_queue_t                          swept;       /* gate only, after it */
    ngx_queue_t                          absent;
    ngx_uint_t                           nasked;
    ngx_uint_t                           nabsent;
    ngx_uint_t                           nagain;
    ngx_uint_t                           torn;        /* one after the other */
    ngx_uint_t                           batches;
    ngx_uint_t                           told;        /* calls of events */
    ngx_http_hoody_ai_claims_t           claims;

    /* reads without MULTI: those under way, and the one that is being sent */
    ngx_queue_t                          gathers;
    void                                *gather;

    /* the heartbeat under way */
    struct {
        ngx_msec_t                       sent;
        ngx_uint_t                       pending;
        ngx_uint_t                       load;
        ngx_uint_t                       gate;
        ngx_uint_t                       list;
        int64_t                          gate_card;
        int64_t                          list_card;
        unsigned                         failed:1;
        unsigned                         lonely:1;    /* NOREPLICAS */
        unsigned                         moved:1;     /* generation differs */
    } beat;

    /* the load under way */
    struct {
        ngx_uint_t                       id;
        ngx_msec_t                       start;
        ngx_uint_t                       gate;
        ngx_uint_t                       list;
        u_char                          *names;       /* flag, length, name */
        size_t                           len;
        size_t                           size;
        size_t                           sent;        /* offsets */
        size_t                           done;
        ngx_uint_t                       outstanding;
        ngx_uint_t                       seq;         /* of the next sent */
        int64_t                          pttl;
        ngx_msec_t                       when[NGX_HTTP_HOODY_AI_WINDOW];
    } load;

    struct {
        ngx_uint_t                       strays;      /* being read */
        ngx_str_t                        cursor;
        u_char                           cursor_data[NGX_INT64_LEN];
        unsigned                         page:1;      /* is under way */
    } scan;

    ngx_event_t                          connect_timer;
    ngx_event_t                          beat_timer;
    ngx_event_t                          stale_timer;
    ngx_event_t                          expire_timer;
    ngx_event_t                          load_timer;
    ngx_event_t                          scan_timer;
    ngx_event_t                          sweep_timer;
    ngx_event_t                          reap_timer;
    ngx_event_t                          check_timer;
    ngx_event_t                          retry_timer; /* reads wait for it */
    ngx_event_t                          post;        /* reads to be sent */

    ngx_msec_t                           sweep_next;
    ngx_uint_t                           nswept;

    ngx_msec_t                           load_time;
    ngx_uint_t                           reconnects;
    ngx_uint_t                           reloads;

    ngx_msec_t                           logged;      /* trouble */
    ngx_msec_t                           warned;      /* about content */
    uint32_t                             trouble;

    unsigned                             loaded:1;
    unsigned                             current:1;   /* reg is fed */
    unsigned                             blind:1;     /* all wait */
    unsigned                             stale:1;     /* all() was called */
    unsigned                             based:1;     /* the sets were read */
    unsigned                             scanned:1;
    unsigned                             scan_waited:1;
    unsigned                             overflow:1;
    unsigned                             sweep:1;     /* is due */
    unsigned                             flushed:1;   /* load at once */
    unsigned                             sweeping:1;  /* a part is under way */
    unsigned                             doubt:1;     /* of the address */
    unsigned                             unproved:1;  /* takes writes? */
    unsigned                             lonely:1;    /* the last heartbeat */
    unsigned                             unreadable:1; /* its slot moves */
    unsigned                             warned_replicas:1;
    unsigned                             plain:1;     /* no MULTI now */
    unsigned                             refused:1;   /* a MULTI, by OOM */
};


/* replica.c */

/* drops what is known and loads again; until then everything waits */
void ngx_http_hoody_ai_replica_reload(ngx_http_hoody_ai_replica_t *rep,
    const char *cause);
/* gives up a registry, which is freed bit by bit */
void ngx_http_hoody_ai_replica_retire(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_registry_t *reg);
void ngx_http_hoody_ai_replica_all(ngx_http_hoody_ai_replica_t *rep);
void ngx_http_hoody_ai_replica_tell(ngx_http_hoody_ai_replica_t *rep);
void ngx_http_hoody_ai_replica_set_expire(ngx_http_hoody_ai_replica_t *rep);
/* content of Redis that cannot be used: one line per second */
void ngx_http_hoody_ai_replica_warn(ngx_http_hoody_ai_replica_t *rep,
    ngx_str_t *name, const char *text);

/* a cardinality; 0 for a key of the wrong type, -1 for any other error */
int64_t ngx_http_hoody_ai_replica_card(ngx_http_hoody_ai_redis_reply_t *reply);
ngx_uint_t ngx_http_hoody_ai_replica_wrong_type(
    ngx_http_hoody_ai_redis_reply_t *reply);

void ngx_http_hoody_ai_replica_timer(ngx_http_hoody_ai_replica_t *rep,
    ngx_event_t *ev, ngx_event_handler_pt handler);
/* both connections are given up, new ones come after a while */
void ngx_http_hoody_ai_replica_down(ngx_http_hoody_ai_replica_t *rep,
    ngx_str_t *cause);

/* replica_master.c */

void ngx_http_hoody_ai_replica_master_init(ngx_http_hoody_ai_replica_t *rep);
void ngx_http_hoody_ai_replica_master_stop(ngx_http_hoody_ai_replica_t *rep);
/* finds the server and opens both connections; of a timer */
void ngx_http_hoody_ai_replica_connect(ngx_event_t *ev);
ngx_int_t ngx_http_hoody_ai_replica_master_begin(
    ngx_http_hoody_ai_replica_t *rep);
void ngx_http_hoody_ai_replica_master_loaded(ngx_http_hoody_ai_replica_t *rep);
/* asks in the background whether this is still the master */
void ngx_http_hoody_ai_replica_check(ngx_http_hoody_ai_replica_t *rep);
ngx_int_t ngx_http_hoody_ai_replica_retry(ngx_http_hoody_ai_replica_t *rep);
void ngx_http_hoody_ai_replica_error(void *data,
    ngx_http_hoody_ai_redis_reply_t *reply);

/* a write that changes nothing; an integer says that it was let through */
ngx_int_t ngx_http_hoody_ai_replica_probe(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_redis_reply_pt handler);

/* replica_load.c */

ngx_int_t ngx_http_hoody_ai_replica_load(ngx_http_hoody_ai_replica_t *rep);
void ngx_http_hoody_ai_replica_load_stop(ngx_http_hoody_ai_replica_t *rep);
void ngx_http_hoody_ai_replica_scan(ngx_http_hoody_ai_replica_t *rep);
void ngx_http_hoody_ai_replica_scan_stray_read(
    ngx_http_hoody_ai_replica_t *rep);
void ngx_http_hoody_ai_replica_beat(ngx_event_t *ev);
void ngx_http_hoody_ai_replica_stale_handler(ngx_event_t *ev);
/* what was known at "sent" was true then */
void ngx_http_hoody_ai_replica_proved(ngx_http_hoody_ai_replica_t *rep,
    ngx_msec_t sent);

/* replica_wants.c */

void ngx_http_hoody_ai_replica_message(void *data,
    ngx_http_hoody_ai_redis_reply_t *reply);
ngx_http_hoody_ai_want_t *ngx_http_hoody_ai_replica_wanted(
    ngx_http_hoody_ai_replica_t *rep, u_char *name, size_t len);

/* wants hash and gate of a name that a request asks for, which is to wait */
void ngx_http_hoody_ai_replica_ask(ngx_http_hoody_ai_replica_t *rep,
    u_char *name, size_t len);
/* the same for a name that the scan found */
void ngx_http_hoody_ai_replica_stray(ngx_http_hoody_ai_replica_t *rep,
    u_char *name, size_t len);
void ngx_http_hoody_ai_replica_forget_absent(ngx_http_hoody_ai_replica_t *rep);
void ngx_http_hoody_ai_replica_free_wants(ngx_http_hoody_ai_replica_t *rep);

/* for replica_reads.c: a sweep that is due, and what a read does to a want */
void ngx_http_hoody_ai_replica_sweep(ngx_http_hoody_ai_replica_t *rep);
void ngx_http_hoody_ai_replica_queue(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_want_t *w);
void ngx_http_hoody_ai_replica_requeue(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_want_t *w);
void ngx_http_hoody_ai_replica_settle(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_want_t *w);

/* replica_reads.c */

void ngx_http_hoody_ai_replica_post_handler(ngx_event_t *ev);
/* reads the rules' epoch */
ngx_int_t ngx_http_hoody_ai_replica_rules_read(
    ngx_http_hoody_ai_replica_t *rep);

/* PTTL and HMGET of a container; without handlers they belong to a _multi() */
ngx_int_t ngx_http_hoody_ai_replica_read(ngx_http_hoody_ai_replica_t *rep,
    u_char *name, size_t len, ngx_http_hoody_ai_redis_reply_pt pttl,
    ngx_http_hoody_ai_redis_reply_pt fields, void *arg);

/*
 * Takes the answers into a registry.  NGX_OK: known now, also when there is
 * no such container or it cannot be used; NGX_ERROR: nothing is known.
 */
ngx_int_t ngx_http_hoody_ai_replica_apply(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_registry_t *reg, ngx_str_t *name, int64_t pttl,
    ngx_msec_t sent, ngx_http_hoody_ai_redis_reply_t *fields,
    ngx_uint_t force, ngx_http_hoody_ai_claims_t *claims);

/* replica_plain.c */

/*
 * Reads that are answered together, as those of a MULTI: begun by _multi(),
 * sent by _send(), ended by _exec(), which is told how many were sent and
 * whose handler gets the answers as an array, an error, or NULL, when the feed
 * has said all that was written before them.  NGX_ERROR: the data connection
 * has to be given up, the handler will not be called.
 */
ngx_int_t ngx_http_hoody_ai_replica_multi(ngx_http_hoody_ai_replica_t *rep);
ngx_int_t ngx_http_hoody_ai_replica_send(ngx_http_hoody_ai_replica_t *rep,
    ngx_uint_t argc, ngx_str_t *argv);
ngx_int_t ngx_http_hoody_ai_replica_exec(ngx_http_hoody_ai_replica_t *rep,
    ngx_uint_t n, ngx_http_hoody_ai_redis_reply_pt handler, void *arg);
void ngx_http_hoody_ai_replica_gather_stop(ngx_http_hoody_ai_replica_t *rep);

/* was it refused for want of memory?  The next one will not be, so try again */
ngx_uint_t ngx_http_hoody_ai_replica_refused(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_redis_reply_t *reply);


#endif /* _NGX_HTTP_HOODY_AI_REPLICA_CORE_H_INCLUDED_ */
