
/*
 * A share of the event loop for everybody.  nginx goes on with the next request
 * of a connection as long as the connection has bytes, before it looks at any
 * other: who sends refused requests faster than they are answered has the
 * worker to himself, and nobody is told of a change in the registry meanwhile.
 *
 * So only a number of requests begin in one turn of the loop, on whatever
 * location; the others are queued, and as many of them go on in each of the
 * next turns.  A turn is known by the time, which nginx reads once in each:
 * two turns of one millisecond count as one.
 *
 * A queued request belongs to nginx; its entry here lies in its pool and its
 * cleanup takes it out.  One event goes through the queue.
 */


#include "ngx_http_hoody_ai_module.h"


/* a request that ends at once takes 10 to 20 us */
#define NGX_HTTP_HOODY_AI_TURN_REQUESTS  64

/* longer than a request lies in the queue, in milliseconds */
#define NGX_HTTP_HOODY_AI_TURN_HOLD      60000


typedef struct {
    ngx_queue_t          queue;
    ngx_http_request_t  *request;
} ngx_http_hoody_ai_queued_t;


static ngx_int_t ngx_http_hoody_ai_turn_phase(ngx_http_request_t *r);
static ngx_int_t ngx_http_hoody_ai_turn_queue(ngx_http_request_t *r);
static void ngx_http_hoody_ai_turn_cleanup(void *data);
static void ngx_http_hoody_ai_turn_handler(ngx_event_t *ev);
static void ngx_http_hoody_ai_turn_post(ngx_event_t *ev);


static ngx_msec_t           ngx_http_hoody_ai_turn_time;
static ngx_uint_t           ngx_http_hoody_ai_turn_begun;
static ngx_queue_t          ngx_http_hoody_ai_turn_waiting;

/* the request that comes from the queue just now */
static ngx_http_request_t  *ngx_http_hoody_ai_turn_current;

static ngx_event_t          ngx_http_hoody_ai_turn_event;


ngx_int_t
ngx_http_hoody_ai_turn_init(ngx_conf_t *cf)
{
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_POST_READ_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_hoody_ai_turn_phase;

    return NGX_OK;
}


void
ngx_http_hoody_ai_turn_init_worker(ngx_cycle_t *cycle)
{
    ngx_queue_init(&ngx_http_hoody_ai_turn_waiting);

    ngx_http_hoody_ai_turn_event.handler = ngx_http_hoody_ai_turn_handler;
    ngx_http_hoody_ai_turn_event.log = cycle->log;

    /* a debug log reads a descriptor there */
    ngx_http_hoody_ai_turn_event.data = &ngx_http_hoody_ai_turn_event;
}


static ngx_int_t
ngx_http_hoody_ai_turn_phase(ngx_http_request_t *r)
{
    if (ngx_http_hoody_ai_turn_time != ngx_current_msec) {
        ngx_http_hoody_ai_turn_time = ngx_current_msec;
        ngx_http_hoody_ai_turn_begun = 0;
    }

    if (ngx_http_hoody_ai_turn_begun++ < NGX_HTTP_HOODY_AI_TURN_REQUESTS
        || r == ngx_http_hoody_ai_turn_current)
    {
        return NGX_DECLINED;
    }

    return ngx_http_hoody_ai_turn_queue(r);
}


static ngx_int_t
ngx_http_hoody_ai_turn_queue(ngx_http_request_t *r)
{
    ngx_http_cleanup_t          *cln;
    ngx_http_hoody_ai_queued_t  *queued;

    cln = ngx_http_cleanup_add(r, sizeof(ngx_http_hoody_ai_queued_t));
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cln->handler = ngx_http_hoody_ai_turn_cleanup;

    queued = cln->data;
    queued->request = r;
    ngx_queue_insert_tail(&ngx_http_hoody_ai_turn_waiting, &queued->queue);

    /* the phases go on with the queue, not with an event of the connection */

    r->write_event_handler = ngx_http_request_empty_handler;

    ngx_http_hoody_ai_turn_post(&ngx_http_hoody_ai_turn_event);

    return NGX_AGAIN;
}


/* runs for each that was ever queued: by then the entry is a queue by itself */

static void
ngx_http_hoody_ai_turn_cleanup(void *data)
{
    ngx_http_hoody_ai_queued_t  *queued = data;

    ngx_queue_remove(&queued->queue);
    ngx_queue_init(&queued->queue);
}


static void
ngx_http_hoody_ai_turn_handler(ngx_event_t *ev)
{
    ngx_uint_t                   n;
    ngx_queue_t                 *q;
    ngx_connection_t            *c;
    ngx_http_request_t          *r;
    ngx_http_hoody_ai_queued_t  *queued;

    if (ev->timer_set) {
        ngx_del_timer(ev);
    }

    for (n = 0; n < NGX_HTTP_HOODY_AI_TURN_REQUESTS; n++) {

        if (ngx_queue_empty(&ngx_http_hoody_ai_turn_waiting)) {
            return;
        }

        q = ngx_queue_head(&ngx_http_hoody_ai_turn_waiting);
        queued = ngx_queue_data(q, ngx_http_hoody_ai_queued_t, queue);

        ngx_queue_remove(q);
        ngx_queue_init(q);

        r = queued->request;
        c = r->connection;

        ngx_http_set_log_request(c->log, r);

        r->write_event_handler = ngx_http_core_run_phases;

        ngx_http_hoody_ai_turn_current = r;
        ngx_http_core_run_phases(r);
        ngx_http_hoody_ai_turn_current = NULL;

        ngx_http_run_posted_requests(c);
    }

    if (!ngx_queue_empty(&ngx_http_hoody_ai_turn_waiting)) {
        ngx_http_hoody_ai_turn_post(ev);
    }
}


static void
ngx_http_hoody_ai_turn_post(ngx_event_t *ev)
{
    if (ev->posted) {
        return;
    }

    ngx_post_event(ev, &ngx_posted_next_events);

    /* a worker that leaves stays for timers, not for posted events */

    if (!ev->timer_set) {
        ngx_add_timer(ev, NGX_HTTP_HOODY_AI_TURN_HOLD);
    }
}
