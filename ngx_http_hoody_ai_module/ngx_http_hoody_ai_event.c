
/*
 * What happened, on its way to the stream in Redis.  The log phase leaves
 * records in the worker's segments of the shared ring; this file sends them,
 * in batches and on a connection of their own, and gives a segment back once
 * all of it is confirmed.  Nothing waits for it.
 *
 *     Redis away   records stay in the ring; once it is full the newest ones
 *                  are dropped and counted
 *     worker gone  what it still owed is sent by another worker, which finds
 *                  it within a second; an entry may be written twice then,
 *                  with the same eid
 *
 * A record is a length, a number of arguments, and these arguments in the
 * form in which Redis reads them.
 */


#include "ngx_http_hoody_ai_module.h"
#include "ngx_http_hoody_ai_redis.h"
#include "ngx_http_hoody_ai_zone.h"


#define NGX_HTTP_HOODY_AI_EVENT_DELAY    50
#define NGX_HTTP_HOODY_AI_EVENT_BATCH    64
#define NGX_HTTP_HOODY_AI_EVENT_WINDOW   1024
#define NGX_HTTP_HOODY_AI_EVENT_TICK     1000

#define NGX_HTTP_HOODY_AI_EVENT_BACKOFF  100
#define NGX_HTTP_HOODY_AI_EVENT_BACKOFF_MAX  5000

/* the same while another master may be made at any moment */
#define NGX_HTTP_HOODY_AI_EVENT_BACKOFF_HA   1000

/* how long an exiting worker waits for the confirmation of its last records */
#define NGX_HTTP_HOODY_AI_EVENT_LINGER   200

/* XADD <key> MAXLEN ~ 100000 *: the key's length and the key between them */
#define NGX_HTTP_HOODY_AI_EVENT_HEAD     CRLF "$4" CRLF "XADD" CRLF "$"
#define NGX_HTTP_HOODY_AI_EVENT_TAIL     CRLF "$6" CRLF "MAXLEN" CRLF         \
                                         "$1" CRLF "~" CRLF                   \
                                         "$6" CRLF "100000" CRLF              \
                                         "$1" CRLF "*" CRLF
#define NGX_HTTP_HOODY_AI_EVENT_ARGS     6

/* most arguments of a record */
#define NGX_HTTP_HOODY_AI_EVENT_NARGS    48


typedef struct {
    uint16_t                          len;      /* with this header */
    uint16_t                          nargs;
} ngx_http_hoody_ai_record_t;


typedef struct {
    ngx_http_hoody_ai_redis_t        *redis;
    ngx_http_hoody_ai_zone_t         *zone;
    ngx_http_hoody_ai_slot_t         *slot;

    /* has to lie where ngx_connection_t has its fd: timers print it */
    ngx_socket_t                      ident;

    ngx_http_hoody_ai_redis_peer_t    peer;
    ngx_http_hoody_ai_endpoint_ask_t  ask;
    ngx_http_hoody_ai_address_t       address;  /* of the connection */
    ngx_str_t                         command;  /* XADD up to its fields */

    /* our segments, oldest first: a ring as large as the zone's table */
    uint16_t                         *queue;
    ngx_uint_t                        head;
    ngx_uint_t                        n;

    /* the next record to be sent: place from the head, offset */
    ngx_uint_t                        place;
    size_t                            offset;

    ngx_uint_t                        fresh;    /* queued since the last send */
    ngx_msec_t                        backoff;
    time_t                            told;     /* last error logged */
    ngx_uint_t                        errors;   /* not logged since */

    ngx_event_t                       flush;
    ngx_event_t                       tick;
    ngx_event_t                       reconnect;

    unsigned                          writing:1; /* last one takes records */
    unsigned                          ready:1;
    unsigned                          down:1;    /* and it has been said */
    unsigned                          stopping:1;
} ngx_http_hoody_ai_writer_t;


static void ngx_http_hoody_ai_event_connect(void);
static void ngx_http_hoody_ai_event_found(void *data, ngx_addr_t *addr);
static void ngx_http_hoody_ai_event_ready(void *data);
static void ngx_http_hoody_ai_event_closed(void *data, ngx_str_t *cause);
static void ngx_http_hoody_ai_event_reconnect(ngx_event_t *ev);
static void ngx_http_hoody_ai_event_flush_handler(ngx_event_t *ev);
static void ngx_http_hoody_ai_event_tick(ngx_event_t *ev);
static void ngx_http_hoody_ai_event_follow(void);
static void ngx_http_hoody_ai_event_flush(void);
static ngx_int_t ngx_http_hoody_ai_event_send(u_char *record);
static void ngx_http_hoody_ai_event_reply(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static void ngx_http_hoody_ai_event_error(
    ngx_http_hoody_ai_redis_reply_t *reply);
static void ngx_http_hoody_ai_event_confirmed(void);
static void ngx_http_hoody_ai_event_collect(void);
static void ngx_http_hoody_ai_event_adopt(ngx_uint_t first);
static ngx_int_t ngx_http_hoody_ai_event_extend(void);


static ngx_http_hoody_ai_writer_t  ngx_http_hoody_ai_writer;

/* errors that go away: the entry is sent again later */

static const char  *ngx_http_hoody_ai_event_transient[] = {
    "LOADING", "OOM", "READONLY", "MISCONF", "MASTERDOWN", "NOREPLICAS",
    "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MOVED", "ASK", NULL
};


#define ngx_http_hoody_ai_event_segment(w, place)                             \
    ((w)->queue[((w)->head + (place)) % (w)->zone->nsegments])


ngx_int_t
ngx_http_hoody_ai_event_start(ngx_cycle_t *cycle,
    ngx_http_hoody_ai_main_conf_t *conf, ngx_http_hoody_ai_zone_t *zone,
    ngx_http_hoody_ai_slot_t *slot)
{
    size_t                       key;
    u_char                      *p;
    ngx_http_hoody_ai_writer_t  *w;

    w = &ngx_http_hoody_ai_writer;

    ngx_memzero(w, sizeof(ngx_http_hoody_ai_writer_t));

    w->zone = zone;
    w->slot = slot;
    w->ident = (ngx_socket_t) -1;
    w->backoff = NGX_HTTP_HOODY_AI_EVENT_BACKOFF;

    w->queue = ngx_pnalloc(cycle->pool, zone->nsegments * sizeof(uint16_t));
    if (w->queue == NULL) {
        return NGX_ERROR;
    }

    key = sizeof("hoody:{}:events") - 1 + conf->server.len;

    w->command.data = ngx_pnalloc(cycle->pool,
                                  sizeof(NGX_HTTP_HOODY_AI_EVENT_HEAD
                                         NGX_HTTP_HOODY_AI_EVENT_TAIL)
                                  + NGX_INT_T_LEN + key);
    if (w->command.data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_sprintf(w->command.data,
                    NGX_HTTP_HOODY_AI_EVENT_HEAD "%uz" CRLF
                    "hoody:{%V}:events" NGX_HTTP_HOODY_AI_EVENT_TAIL,
                    key, &conf->server);

    w->command.len = p - w->command.data;

    w->ask.found = ngx_http_hoody_ai_event_found;
    w->ask.failed = ngx_http_hoody_ai_event_closed;
    w->ask.data = w;

    w->peer.addr = &w->address.addr;
    w->peer.name = conf->redis.name;
    w->peer.db = conf->redis.db;
    w->peer.user = conf->redis.user;
    w->peer.password = conf->redis.password;
    w->peer.connect_timeout = conf->redis.connect_timeout;
    w->peer.reply_timeout = conf->redis.max_stale;
    w->peer.max_reply = 64 * 1024;
    w->peer.max_output = 1024 * 1024;
    w->peer.max_elements = 1024;
    w->peer.max_outstanding = NGX_HTTP_HOODY_AI_EVENT_WINDOW;
    w->peer.ready = ngx_http_hoody_ai_event_ready;
    w->peer.closed = ngx_http_hoody_ai_event_closed;
    w->peer.data = w;

    w->flush.handler = ngx_http_hoody_ai_event_flush_handler;
    w->flush.data = w;
    w->flush.log = cycle->log;
    w->flush.cancelable = 1;

    w->tick.handler = ngx_http_hoody_ai_event_tick;
    w->tick.data = w;
    w->tick.log = cycle->log;
    w->tick.cancelable = 1;

    w->reconnect.handler = ngx_http_hoody_ai_event_reconnect;
    w->reconnect.data = w;
    w->reconnect.log = cycle->log;
    w->reconnect.cancelable = 1;

    ngx_http_hoody_ai_event_adopt(1);

    /* one of our own from the beginning, whatever others leave undrained */

    if (!w->writing) {
        (void) ngx_http_hoody_ai_event_extend();
    }

    ngx_add_timer(&w->tick, NGX_HTTP_HOODY_AI_EVENT_TICK);

    ngx_http_hoody_ai_event_connect();

    return NGX_OK;
}


/*
 * The worker ends: sends what it can, and leaves the rest to the others.  A
 * graceful exit has no request left, so the event loop may be turned for the
 * last confirmations; else what the socket takes at once has to do.
 */

void
ngx_http_hoody_ai_event_stop(ngx_cycle_t *cycle)
{
    ngx_msec_t                    start;
    ngx_uint_t                    i, n;
    ngx_http_hoody_ai_writer_t   *w;
    ngx_http_hoody_ai_segment_t  *seg;

    w = &ngx_http_hoody_ai_writer;

    if (w->zone == NULL) {
        return;
    }

    w->stopping = 1;

    if (w->ready) {
        ngx_http_hoody_ai_event_flush();
        ngx_event_process_posted(cycle, &ngx_posted_events);
    }

    start = ngx_current_msec;

    while (ngx_exiting && w->ready
           && ngx_http_hoody_ai_redis_outstanding(w->redis)
           && ngx_current_msec - start < NGX_HTTP_HOODY_AI_EVENT_LINGER)
    {
        (void) ngx_process_events(cycle, 20, NGX_UPDATE_TIME);
        ngx_event_process_posted(cycle, &ngx_posted_events);
    }

    ngx_http_hoody_ai_endpoint_cancel(&w->ask);

    if (w->redis) {
        ngx_http_hoody_ai_redis_close(w->redis);
        w->redis = NULL;
        w->ready = 0;
    }

    for (i = 0; i < w->n; i++) {

        n = ngx_http_hoody_ai_event_segment(w, i);
        seg = &w->zone->segments[n];

        if (seg->drained < seg->filled) {
            seg->owner = NGX_HTTP_HOODY_AI_ORPHAN;

        } else {
            ngx_http_hoody_ai_zone_free_segment(w->zone, n);
        }
    }

    if (w->flush.timer_set) {
        ngx_del_timer(&w->flush);
    }

    if (w->tick.timer_set) {
        ngx_del_timer(&w->tick);
    }

    if (w->reconnect.timer_set) {
        ngx_del_timer(&w->reconnect);
    }

    w->zone = NULL;
}


static void
ngx_http_hoody_ai_event_connect(void)
{
    ngx_http_hoody_ai_writer_t  *w;

    w = &ngx_http_hoody_ai_writer;

    ngx_http_hoody_ai_endpoint_find(ngx_http_hoody_ai_worker.endpoint,
                                    &w->ask, 0);
}


static void
ngx_http_hoody_ai_event_found(void *data, ngx_addr_t *addr)
{
    ngx_str_t                    cause;
    ngx_http_hoody_ai_writer_t  *w = data;

    ngx_http_hoody_ai_address_copy(&w->address, addr);

    w->redis = ngx_http_hoody_ai_redis_open(&w->peer);

    if (w->redis == NULL) {
        ngx_str_set(&cause, "no memory");
        ngx_http_hoody_ai_event_closed(w, &cause);
    }
}


static void
ngx_http_hoody_ai_event_ready(void *data)
{
    ngx_http_hoody_ai_writer_t  *w = data;

    w->ready = 1;
    w->backoff = NGX_HTTP_HOODY_AI_EVENT_BACKOFF;
    w->slot->events_connected = 1;

    if (w->down) {
        w->down = 0;
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "hoody_ai: events are written to Redis \"%V\" again",
                      &w->peer.name);
    }

    ngx_http_hoody_ai_event_flush();
}


static void
ngx_http_hoody_ai_event_closed(void *data, ngx_str_t *cause)
{
    ngx_msec_t                   max;
    ngx_http_hoody_ai_writer_t  *w = data;

    w->redis = NULL;
    w->ready = 0;
    w->slot->events_connected = 0;

    if (w->stopping) {
        return;
    }

    ngx_http_hoody_ai_add(w->slot->events_reconnects, 1);

    /* once per outage, not once per attempt */

    if (!w->down) {
        w->down = 1;
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "hoody_ai: no connection for events to Redis \"%V\": %V",
                      &w->peer.name, cause);
    }

    /* whatever was not confirmed is sent again */

    w->place = 0;
    w->offset = w->n ? w->zone->segments[w->queue[w->head]].drained : 0;

    ngx_add_timer(&w->reconnect,
                  w->backoff + (ngx_msec_t) ngx_random() % w->backoff);

    max = (ngx_http_hoody_ai_worker.conf->redis.mode
           == NGX_HTTP_HOODY_AI_FIXED)
              ? NGX_HTTP_HOODY_AI_EVENT_BACKOFF_MAX
              : NGX_HTTP_HOODY_AI_EVENT_BACKOFF_HA;

    w->backoff = ngx_min(w->backoff * 2, max);
}


static void
ngx_http_hoody_ai_event_reconnect(ngx_event_t *ev)
{
    ngx_http_hoody_ai_event_connect();
}


static void
ngx_http_hoody_ai_event_flush_handler(ngx_event_t *ev)
{
    ngx_http_hoody_ai_event_flush();
}


static void
ngx_http_hoody_ai_event_tick(ngx_event_t *ev)
{
    ngx_http_hoody_ai_event_adopt(0);
    ngx_http_hoody_ai_event_follow();

    ngx_http_hoody_ai_log_tick();

    ngx_add_timer(ev, NGX_HTTP_HOODY_AI_EVENT_TICK);
}


/* the replica has gone to another master, and this one may live still */

static void
ngx_http_hoody_ai_event_follow(void)
{
    ngx_http_hoody_ai_writer_t        *w;
    ngx_http_hoody_ai_replica_stat_t   stat;

    w = &ngx_http_hoody_ai_writer;

    if (!w->ready) {
        return;
    }

    ngx_http_hoody_ai_replica_stat(ngx_http_hoody_ai_worker.replica, &stat);

    if (stat.master
        && stat.connected
        && !ngx_http_hoody_ai_address_same(stat.master, &w->address.addr))
    {
        ngx_http_hoody_ai_redis_abort(w->redis, "there is another master");
    }
}


/*
 * Room for one record with up to "size" bytes of arguments; to be completed
 * with event_close() at once.  NULL: no room, the entry is dropped.
 */

u_char *
ngx_http_hoody_ai_event_open(size_t size)
{
    ngx_uint_t                    i;
    ngx_http_hoody_ai_writer_t   *w;
    ngx_http_hoody_ai_segment_t  *seg;

    w = &ngx_http_hoody_ai_writer;

    size += sizeof(ngx_http_hoody_ai_record_t);

    if (w->zone == NULL || size > NGX_HTTP_HOODY_AI_SEGMENT) {
        goto drop;
    }

    if (w->writing) {
        i = ngx_http_hoody_ai_event_segment(w, w->n - 1);
        seg = &w->zone->segments[i];

        if (NGX_HTTP_HOODY_AI_SEGMENT - seg->filled >= size) {
            goto found;
        }
    }

    if (ngx_http_hoody_ai_event_extend() != NGX_OK) {
        goto drop;
    }

    i = ngx_http_hoody_ai_event_segment(w, w->n - 1);
    seg = &w->zone->segments[i];

found:

    return ngx_http_hoody_ai_segment_data(w->zone, i) + seg->filled
           + sizeof(ngx_http_hoody_ai_record_t);

drop:

    ngx_http_hoody_ai_add(ngx_http_hoody_ai_worker.slot
                             ->events_dropped[NGX_HTTP_HOODY_AI_DROP_FULL], 1);

    return NULL;
}


/* "last" is the end of the arguments that were written to the open record */

void
ngx_http_hoody_ai_event_close(u_char *last, ngx_uint_t nargs)
{
    u_char                       *start;
    ngx_uint_t                    i;
    ngx_http_hoody_ai_record_t    rec;
    ngx_http_hoody_ai_writer_t   *w;
    ngx_http_hoody_ai_segment_t  *seg;

    w = &ngx_http_hoody_ai_writer;

    i = ngx_http_hoody_ai_event_segment(w, w->n - 1);
    seg = &w->zone->segments[i];

    start = ngx_http_hoody_ai_segment_data(w->zone, i) + seg->filled;

    rec.len = last - start;
    rec.nargs = nargs;

    ngx_memcpy(start, &rec, sizeof(ngx_http_hoody_ai_record_t));

    ngx_memory_barrier();

    seg->filled += rec.len;

    ngx_http_hoody_ai_add(w->slot->events_queued, 1);

    if (++w->fresh >= NGX_HTTP_HOODY_AI_EVENT_BATCH) {
        ngx_http_hoody_ai_event_flush();

    } else if (!w->flush.timer_set) {
        ngx_add_timer(&w->flush, NGX_HTTP_HOODY_AI_EVENT_DELAY);
    }
}


/* one more segment at the end, for writing */

static ngx_int_t
ngx_http_hoody_ai_event_extend(void)
{
    ngx_int_t                    i;
    ngx_http_hoody_ai_writer_t  *w;

    w = &ngx_http_hoody_ai_writer;

    i = ngx_http_hoody_ai_zone_take_segment(w->zone);

    if (i < 0) {
        return NGX_DECLINED;
    }

    w->queue[(w->head + w->n) % w->zone->nsegments] = i;
    w->n++;
    w->writing = 1;

    ngx_http_hoody_ai_event_collect();

    return NGX_OK;
}


/* enters what dead workers owe in front of the segment that is written to */

static void
ngx_http_hoody_ai_event_adopt(ngx_uint_t first)
{
    ngx_uint_t                   i, found;
    ngx_int_t                    rc;
    ngx_http_hoody_ai_writer_t  *w;

    w = &ngx_http_hoody_ai_writer;

    found = 0;

    for (i = 0; i < w->zone->nsegments; i++) {

        if (!ngx_http_hoody_ai_zone_adopt(w->zone, i, first)) {
            continue;
        }

        if (w->zone->segments[i].filled > NGX_HTTP_HOODY_AI_SEGMENT
            || w->zone->segments[i].drained >= w->zone->segments[i].filled)
        {
            ngx_http_hoody_ai_zone_free_segment(w->zone, i);
            continue;
        }

        if (w->n == 0) {
            w->place = 0;
            w->offset = w->zone->segments[i].drained;
        }

        w->queue[(w->head + w->n) % w->zone->nsegments] = i;
        w->n++;
        found++;
    }

    if (found == 0) {
        return;
    }

    /*
     * Our own last segment may be partly sent already: it is closed, and the
     * adopted ones follow it.
     */

    w->writing = 0;

    rc = ngx_http_hoody_ai_event_extend();

    ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                  "hoody_ai: took over %ui segments of events of another "
                  "worker%s", found,
                  rc == NGX_OK ? "" : ", the event ring is full");

    ngx_http_hoody_ai_event_flush();
}


/* sends as many records as the connection takes */

static void
ngx_http_hoody_ai_event_flush(void)
{
    u_char                       *p;
    ngx_uint_t                    i;
    ngx_http_hoody_ai_record_t    rec;
    ngx_http_hoody_ai_writer_t   *w;
    ngx_http_hoody_ai_segment_t  *seg;

    w = &ngx_http_hoody_ai_writer;

    w->fresh = 0;

    if (!w->ready) {
        return;
    }

    while (w->place < w->n) {

        i = ngx_http_hoody_ai_event_segment(w, w->place);
        seg = &w->zone->segments[i];

        if (w->offset >= seg->filled) {

            if (w->place + 1 == w->n) {
                break;
            }

            w->place++;
            i = ngx_http_hoody_ai_event_segment(w, w->place);
            w->offset = w->zone->segments[i].drained;
            continue;
        }

        p = ngx_http_hoody_ai_segment_data(w->zone, i) + w->offset;
        ngx_memcpy(&rec, p, sizeof(ngx_http_hoody_ai_record_t));

        if (rec.len <= sizeof(ngx_http_hoody_ai_record_t)
            || rec.nargs > NGX_HTTP_HOODY_AI_EVENT_NARGS
            || rec.len > seg->filled - w->offset)
        {
            /* cannot come from event_close(): give up the rest */

            seg->filled = w->offset;
            ngx_http_hoody_ai_add(w->slot
                           ->events_dropped[NGX_HTTP_HOODY_AI_DROP_BROKEN], 1);
            continue;
        }

        if (ngx_http_hoody_ai_event_send(p) != NGX_OK) {
            break;
        }

        w->offset += rec.len;
    }

    ngx_http_hoody_ai_event_collect();
}


/* NGX_ERROR: the connection takes no more at the moment */

static ngx_int_t
ngx_http_hoody_ai_event_send(u_char *record)
{
    u_char                       count[NGX_INT_T_LEN + 1];
    ngx_str_t                    pieces[3];
    ngx_http_hoody_ai_record_t   rec;
    ngx_http_hoody_ai_writer_t  *w;

    w = &ngx_http_hoody_ai_writer;

    ngx_memcpy(&rec, record, sizeof(ngx_http_hoody_ai_record_t));

    pieces[0].data = count;
    pieces[0].len = ngx_sprintf(count, "*%ui",
                                (ngx_uint_t) rec.nargs
                                + NGX_HTTP_HOODY_AI_EVENT_ARGS)
                    - count;

    pieces[1] = w->command;

    pieces[2].data = record + sizeof(ngx_http_hoody_ai_record_t);
    pieces[2].len = rec.len - sizeof(ngx_http_hoody_ai_record_t);

    return ngx_http_hoody_ai_redis_send_formatted(w->redis,
                                                 ngx_http_hoody_ai_event_reply,
                                                 NULL, 3, pieces);
}


static void
ngx_http_hoody_ai_event_reply(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    const char                  **name;
    ngx_http_hoody_ai_writer_t   *w = data;

    if (reply == NULL) {
        return;
    }

    if (reply->type == NGX_HTTP_HOODY_AI_REDIS_ERROR) {

        for (name = ngx_http_hoody_ai_event_transient; *name; name++) {

            if (reply->str.len > ngx_strlen(*name)
                && ngx_memcmp(reply->str.data, *name, ngx_strlen(*name)) == 0)
            {
                if (ngx_http_hoody_ai_redis_is_error(reply, "MOVED")) {
                    ngx_http_hoody_ai_endpoint_moved(
                                 ngx_http_hoody_ai_worker.endpoint, reply);
                }

                ngx_http_hoody_ai_redis_abort(w->redis, *name);
                return;
            }
        }

        ngx_http_hoody_ai_event_error(reply);

    } else {
        ngx_http_hoody_ai_add(w->slot->events_written, 1);
    }

    ngx_http_hoody_ai_event_confirmed();

    /* what did not fit into the window */

    if (ngx_http_hoody_ai_redis_outstanding(w->redis)
        == NGX_HTTP_HOODY_AI_EVENT_WINDOW / 2
        || ngx_http_hoody_ai_redis_outstanding(w->redis) == 0)
    {
        ngx_http_hoody_ai_event_flush();
    }
}


static void
ngx_http_hoody_ai_event_error(ngx_http_hoody_ai_redis_reply_t *reply)
{
    size_t                       i;
    ngx_str_t                    text;
    ngx_http_hoody_ai_writer_t  *w;

    w = &ngx_http_hoody_ai_writer;

    ngx_http_hoody_ai_add(w->slot
                            ->events_dropped[NGX_HTTP_HOODY_AI_DROP_ERROR], 1);
    w->errors++;

    if (w->told == ngx_time()) {
        return;
    }

    text.data = reply->str.data;
    text.len = ngx_min(reply->str.len, 128);

    for (i = 0; i < text.len; i++) {
        if (text.data[i] < 0x20 || text.data[i] > 0x7e) {
            text.data[i] = '?';
        }
    }

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "hoody_ai: Redis refused %ui events, the last one: %V",
                  w->errors, &text);

    w->told = ngx_time();
    w->errors = 0;
}


/* answers come in the order of the records */

static void
ngx_http_hoody_ai_event_confirmed(void)
{
    ngx_uint_t                    i;
    ngx_http_hoody_ai_record_t    rec;
    ngx_http_hoody_ai_writer_t   *w;
    ngx_http_hoody_ai_segment_t  *seg;

    w = &ngx_http_hoody_ai_writer;

    ngx_http_hoody_ai_event_collect();

    if (w->n == 0) {
        return;
    }

    i = w->queue[w->head];
    seg = &w->zone->segments[i];

    ngx_memcpy(&rec, ngx_http_hoody_ai_segment_data(w->zone, i) + seg->drained,
               sizeof(ngx_http_hoody_ai_record_t));

    seg->drained += rec.len;

    ngx_http_hoody_ai_event_collect();
}


/* gives back what is confirmed; the one that is written to begins anew */

static void
ngx_http_hoody_ai_event_collect(void)
{
    ngx_uint_t                    i;
    ngx_http_hoody_ai_writer_t   *w;
    ngx_http_hoody_ai_segment_t  *seg;

    w = &ngx_http_hoody_ai_writer;

    while (w->n) {

        i = w->queue[w->head];
        seg = &w->zone->segments[i];

        if (seg->drained < seg->filled) {
            return;
        }

        if (w->n == 1 && w->writing) {

            if (seg->filled) {
                seg->filled = 0;
                ngx_memory_barrier();
                seg->drained = 0;
                w->offset = 0;
            }

            return;
        }

        ngx_http_hoody_ai_zone_free_segment(w->zone, i);

        w->head = (w->head + 1) % w->zone->nsegments;
        w->n--;

        if (w->place) {
            w->place--;

        } else {
            w->offset = w->n
                        ? w->zone->segments[w->queue[w->head]].drained : 0;
        }
    }
}
