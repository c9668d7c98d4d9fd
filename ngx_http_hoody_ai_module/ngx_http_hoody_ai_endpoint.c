
/*
 * Finds the master of the registry, see "Where the master is" in
 * docs/internals/replica.md.  Runs in workers only, on the event loop.
 *
 * One search at a time, over one short connection at a time: the servers that
 * are known are asked in turn, each for a bounded time.  Who asks meanwhile
 * gets the same answer.  Nothing is kept but which servers there are, which
 * one answered last and how new its answer was.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include "ngx_http_hoody_ai_endpoint.h"

#include <hai_slot.h>


/* servers that are remembered; those of the configuration always are */
#define NGX_HTTP_HOODY_AI_SERVERS        32

/* a server has this long to answer, and connect_timeout if that is less */
#define NGX_HTTP_HOODY_AI_SERVER_TIMEOUT 1000


struct ngx_http_hoody_ai_endpoint_s {
    ngx_http_hoody_ai_redis_conf_t     *conf;
    ngx_http_hoody_ai_redis_t          *rc;
    ngx_http_hoody_ai_address_t        *servers;

    /* has to lie where ngx_connection_t has its fd: timers print it */
    ngx_socket_t                        ident;

    ngx_http_hoody_ai_redis_peer_t      peer;
    ngx_queue_t                         asks;
    ngx_uint_t                          nservers;
    ngx_uint_t                          oldest;  /* learned one, goes first */
    ngx_uint_t                          first;   /* to be asked first */
    ngx_uint_t                          current; /* is being asked */
    ngx_uint_t                          left;    /* not asked yet */
    ngx_uint_t                          slot;

    /* what the current server says, and the best of this search */
    ngx_http_hoody_ai_address_t         said;
    ngx_http_hoody_ai_address_t         best;
    ngx_uint_t                          best_server;
    int64_t                             said_epoch;
    int64_t                             best_epoch;

    /* of the newest configuration of Sentinel that was ever told */
    int64_t                             epoch;

    ngx_str_t                           cause;
    u_char                              cause_data[384];

    ngx_event_t                         timer;
    ngx_event_t                         post;

    unsigned                            searching:1;
    unsigned                            has_said:1;
    unsigned                            has_best:1;
};


static void ngx_http_hoody_ai_endpoint_post_handler(ngx_event_t *ev);
static void ngx_http_hoody_ai_endpoint_timer_handler(ngx_event_t *ev);
static void ngx_http_hoody_ai_endpoint_next(ngx_http_hoody_ai_endpoint_t *ep);
static void ngx_http_hoody_ai_endpoint_ready(void *data);
static void ngx_http_hoody_ai_endpoint_closed(void *data, ngx_str_t *cause);
static void ngx_http_hoody_ai_endpoint_address(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static void ngx_http_hoody_ai_endpoint_state(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static void ngx_http_hoody_ai_endpoint_sentinels(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static void ngx_http_hoody_ai_endpoint_slots(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static void ngx_http_hoody_ai_endpoint_answered(
    ngx_http_hoody_ai_endpoint_t *ep);
static void ngx_http_hoody_ai_endpoint_trouble(
    ngx_http_hoody_ai_endpoint_t *ep, ngx_str_t *cause);
static void ngx_http_hoody_ai_endpoint_tell(ngx_http_hoody_ai_endpoint_t *ep,
    ngx_addr_t *addr, ngx_str_t *cause);
static ngx_uint_t ngx_http_hoody_ai_endpoint_learn(
    ngx_http_hoody_ai_endpoint_t *ep, ngx_addr_t *addr);
static ngx_int_t ngx_http_hoody_ai_endpoint_node(
    ngx_http_hoody_ai_endpoint_t *ep, ngx_http_hoody_ai_redis_reply_t *node,
    ngx_http_hoody_ai_address_t *address);
static ngx_int_t ngx_http_hoody_ai_endpoint_number(ngx_str_t *text,
    int64_t *number);
static ngx_str_t *ngx_http_hoody_ai_endpoint_field(
    ngx_http_hoody_ai_redis_reply_t *reply, const char *name);
static ngx_int_t ngx_http_hoody_ai_address_set(
    ngx_http_hoody_ai_address_t *address, ngx_str_t *host, int64_t port);


ngx_http_hoody_ai_endpoint_t *
ngx_http_hoody_ai_endpoint_create(ngx_http_hoody_ai_redis_conf_t *conf,
    ngx_str_t *server)
{
    ngx_uint_t                       i, n;
    ngx_http_hoody_ai_endpoint_t    *ep;
    ngx_http_hoody_ai_redis_peer_t  *peer;

    ep = calloc(1, sizeof(ngx_http_hoody_ai_endpoint_t));
    if (ep == NULL) {
        return NULL;
    }

    n = ngx_max(conf->naddrs, NGX_HTTP_HOODY_AI_SERVERS);

    ep->servers = calloc(n, sizeof(ngx_http_hoody_ai_address_t));
    if (ep->servers == NULL) {
        free(ep);
        return NULL;
    }

    for (i = 0; i < conf->naddrs; i++) {
        ngx_http_hoody_ai_address_copy(&ep->servers[i], &conf->addrs[i]);
    }

    ep->conf = conf;
    ep->nservers = conf->naddrs;
    ep->oldest = conf->naddrs;
    ep->slot = hai_slot((char *) server->data, server->len);
    ep->ident = (ngx_socket_t) -1;

    ngx_queue_init(&ep->asks);

    peer = &ep->peer;

    peer->name = conf->name;

    if (conf->mode == NGX_HTTP_HOODY_AI_SENTINEL) {
        peer->user = conf->sentinel_user;
        peer->password = conf->sentinel_password;

    } else {
        peer->user = conf->user;
        peer->password = conf->password;
    }

    peer->connect_timeout = ngx_min(conf->connect_timeout,
                                    NGX_HTTP_HOODY_AI_SERVER_TIMEOUT);
    peer->reply_timeout = peer->connect_timeout;
    peer->max_reply = 4 * 1024 * 1024;
    peer->max_output = 16 * 1024;
    peer->max_elements = 512 * 1024;
    peer->max_outstanding = 8;
    peer->ready = ngx_http_hoody_ai_endpoint_ready;
    peer->closed = ngx_http_hoody_ai_endpoint_closed;
    peer->data = ep;
    peer->any = 1;

    ep->timer.handler = ngx_http_hoody_ai_endpoint_timer_handler;
    ep->timer.data = ep;
    ep->timer.log = ngx_cycle->log;
    ep->timer.cancelable = 1;

    ep->post.handler = ngx_http_hoody_ai_endpoint_post_handler;
    ep->post.data = ep;
    ep->post.log = ngx_cycle->log;

    return ep;
}


void
ngx_http_hoody_ai_endpoint_destroy(ngx_http_hoody_ai_endpoint_t *ep)
{
    ngx_queue_t  *q;

    while (!ngx_queue_empty(&ep->asks)) {
        q = ngx_queue_head(&ep->asks);
        ngx_http_hoody_ai_endpoint_cancel(
                  ngx_queue_data(q, ngx_http_hoody_ai_endpoint_ask_t, queue));
    }

    if (ep->rc) {
        ngx_http_hoody_ai_redis_close(ep->rc);
    }

    if (ep->timer.timer_set) {
        ngx_del_timer(&ep->timer);
    }

    if (ep->post.posted) {
        ngx_delete_posted_event(&ep->post);
    }

    free(ep->servers);
    free(ep);
}


void
ngx_http_hoody_ai_endpoint_find(ngx_http_hoody_ai_endpoint_t *ep,
    ngx_http_hoody_ai_endpoint_ask_t *ask, ngx_uint_t another)
{
    if (ask->active) {
        return;
    }

    ask->active = 1;
    ngx_queue_insert_tail(&ep->asks, &ask->queue);

    if (ep->searching) {
        return;
    }

    if (another) {
        ep->first = (ep->first + 1) % ep->nservers;
    }

    ngx_post_event(&ep->post, &ngx_posted_events);
}


void
ngx_http_hoody_ai_endpoint_cancel(ngx_http_hoody_ai_endpoint_ask_t *ask)
{
    if (ask->active) {
        ask->active = 0;
        ngx_queue_remove(&ask->queue);
    }
}


void
ngx_http_hoody_ai_endpoint_moved(ngx_http_hoody_ai_endpoint_t *ep,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    u_char                       *p, *last;
    int64_t                       port;
    ngx_str_t                     host, text;
    ngx_http_hoody_ai_address_t   address;

    /* MOVED <slot> <host>:<port> */

    last = reply->str.data + reply->str.len;

    for (p = last; p > reply->str.data && p[-1] != ':'; p--) { /* void */ }

    if (p == reply->str.data) {
        return;
    }

    text.data = p;
    text.len = last - p;
    host.data = --p;

    while (host.data > reply->str.data && host.data[-1] != ' ') {
        host.data--;
    }

    host.len = p - host.data;

    if (ngx_http_hoody_ai_endpoint_number(&text, &port) == NGX_OK
        && ngx_http_hoody_ai_address_set(&address, &host, port) == NGX_OK)
    {
        ep->first = ngx_http_hoody_ai_endpoint_learn(ep, &address.addr);
    }
}


static void
ngx_http_hoody_ai_endpoint_post_handler(ngx_event_t *ev)
{
    ngx_http_hoody_ai_endpoint_t  *ep;

    ep = ev->data;

    if (ngx_queue_empty(&ep->asks)) {
        return;
    }

    if (ep->conf->mode == NGX_HTTP_HOODY_AI_FIXED) {
        ngx_http_hoody_ai_endpoint_tell(ep, &ep->servers[0].addr, NULL);
        return;
    }

    ep->searching = 1;
    ep->has_best = 0;
    ep->cause.len = 0;
    ep->left = ep->nservers;
    ep->current = ep->first;

    ngx_http_hoody_ai_endpoint_next(ep);
}


/* asks the current server; without one the search is over */

static void
ngx_http_hoody_ai_endpoint_next(ngx_http_hoody_ai_endpoint_t *ep)
{
    ngx_str_t  cause;

    if (ep->left == 0) {
        ep->searching = 0;

        if (ep->has_best) {

            /* all of them are behind what was known: it is not true any more */

            ep->epoch = ep->best_epoch;
            ep->first = ep->best_server;
            ngx_http_hoody_ai_endpoint_tell(ep, &ep->best.addr, NULL);
            return;
        }

        ngx_http_hoody_ai_endpoint_tell(ep, NULL, &ep->cause);
        return;
    }

    ep->left--;
    ep->has_said = 0;
    ep->said_epoch = -1;
    ep->peer.addr = &ep->servers[ep->current].addr;

    ep->rc = ngx_http_hoody_ai_redis_open(&ep->peer);

    if (ep->rc == NULL) {
        ep->searching = 0;
        ngx_str_set(&cause, "no memory for a connection");
        ngx_http_hoody_ai_endpoint_tell(ep, NULL, &cause);
        return;
    }

    ngx_add_timer(&ep->timer, ep->peer.connect_timeout);
}


static void
ngx_http_hoody_ai_endpoint_timer_handler(ngx_event_t *ev)
{
    ngx_http_hoody_ai_endpoint_t  *ep;

    ep = ev->data;

    ngx_http_hoody_ai_redis_abort(ep->rc, "no answer in time");
}


static void
ngx_http_hoody_ai_endpoint_ready(void *data)
{
    ngx_str_t                      argv[3];
    ngx_uint_t                     i, n;
    ngx_http_hoody_ai_endpoint_t  *ep = data;

    static struct {
        ngx_str_t                         name;
        ngx_http_hoody_ai_redis_reply_pt  handler;

    } questions[] = {

        { ngx_string("get-master-addr-by-name"),
          ngx_http_hoody_ai_endpoint_address },

        { ngx_string("master"),
          ngx_http_hoody_ai_endpoint_state },

        { ngx_string("sentinels"),
          ngx_http_hoody_ai_endpoint_sentinels },

        { ngx_string("SLOTS"),
          ngx_http_hoody_ai_endpoint_slots }
    };

    if (ep->conf->mode == NGX_HTTP_HOODY_AI_CLUSTER) {
        ngx_str_set(&argv[0], "CLUSTER");
        i = 3;
        n = 4;

    } else {
        ngx_str_set(&argv[0], "SENTINEL");
        argv[2] = ep->conf->master;
        i = 0;
        n = 3;
    }

    for ( /* void */ ; i < n; i++) {
        argv[1] = questions[i].name;

        if (ngx_http_hoody_ai_redis_send(ep->rc, questions[i].handler, NULL,
                                         (i == 3) ? 2 : 3, argv)
            != NGX_OK)
        {
            ngx_http_hoody_ai_redis_abort(ep->rc, "cannot ask it");
            return;
        }
    }
}


static void
ngx_http_hoody_ai_endpoint_closed(void *data, ngx_str_t *cause)
{
    ngx_http_hoody_ai_endpoint_t  *ep = data;

    ep->rc = NULL;

    ngx_http_hoody_ai_endpoint_trouble(ep, cause);
}


/* the current server is of no use: the next one */

static void
ngx_http_hoody_ai_endpoint_trouble(ngx_http_hoody_ai_endpoint_t *ep,
    ngx_str_t *cause)
{
    u_char  *p;

    if (ep->timer.timer_set) {
        ngx_del_timer(&ep->timer);
    }

    p = ngx_slprintf(ep->cause_data, ep->cause_data + sizeof(ep->cause_data),
                     "no server says where the master is, the last one was "
                     "%V: %V", &ep->servers[ep->current].addr.name, cause);

    ep->cause.data = ep->cause_data;
    ep->cause.len = p - ep->cause_data;

    ep->current = (ep->current + 1) % ep->nservers;

    ngx_http_hoody_ai_endpoint_next(ep);
}


static void
ngx_http_hoody_ai_endpoint_address(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    int64_t                        port;
    ngx_http_hoody_ai_endpoint_t  *ep = data;

    if (reply == NULL) {
        return;
    }

    if (reply->type == NGX_HTTP_HOODY_AI_REDIS_NIL) {
        ngx_http_hoody_ai_redis_abort(ep->rc,
                                      "it does not know a master of this name");
        return;
    }

    if (reply->type != NGX_HTTP_HOODY_AI_REDIS_ARRAY
        || reply->n != 2
        || reply->element[0]->type != NGX_HTTP_HOODY_AI_REDIS_STRING
        || reply->element[1]->type != NGX_HTTP_HOODY_AI_REDIS_STRING
        || ngx_http_hoody_ai_endpoint_number(&reply->element[1]->str, &port)
           != NGX_OK)
    {
        ngx_http_hoody_ai_redis_abort(ep->rc,
                           (reply->type == NGX_HTTP_HOODY_AI_REDIS_ERROR)
                               ? "it refused SENTINEL get-master-addr-by-name"
                               : "unexpected answer to SENTINEL");
        return;
    }

    if (ngx_http_hoody_ai_address_set(&ep->said, &reply->element[0]->str, port)
        != NGX_OK)
    {
        ngx_http_hoody_ai_redis_abort(ep->rc,
                                      "it names the master by a host name");
        return;
    }

    ep->has_said = 1;
}


/* how new the answer is; who may not ask that goes without */

static void
ngx_http_hoody_ai_endpoint_state(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    ngx_str_t                     *text;
    ngx_http_hoody_ai_endpoint_t  *ep = data;

    if (reply == NULL) {
        return;
    }

    text = ngx_http_hoody_ai_endpoint_field(reply, "config-epoch");

    if (text) {
        (void) ngx_http_hoody_ai_endpoint_number(text, &ep->said_epoch);
    }
}


static void
ngx_http_hoody_ai_endpoint_sentinels(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    int64_t                        port;
    ngx_str_t                     *ip, *text;
    ngx_uint_t                     i;
    ngx_http_hoody_ai_address_t    address;
    ngx_http_hoody_ai_endpoint_t  *ep = data;

    if (reply == NULL) {
        return;
    }

    if (reply->type == NGX_HTTP_HOODY_AI_REDIS_ARRAY) {

        for (i = 0; i < reply->n; i++) {
            ip = ngx_http_hoody_ai_endpoint_field(reply->element[i], "ip");
            text = ngx_http_hoody_ai_endpoint_field(reply->element[i], "port");

            if (ip && text
                && ngx_http_hoody_ai_endpoint_number(text, &port) == NGX_OK
                && ngx_http_hoody_ai_address_set(&address, ip, port) == NGX_OK)
            {
                (void) ngx_http_hoody_ai_endpoint_learn(ep, &address.addr);
            }
        }
    }

    ngx_http_hoody_ai_endpoint_answered(ep);
}


/* ranges of slots, each with its nodes, the master first */

static void
ngx_http_hoody_ai_endpoint_slots(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    ngx_uint_t                        i, k;
    ngx_http_hoody_ai_address_t       address;
    ngx_http_hoody_ai_endpoint_t     *ep = data;
    ngx_http_hoody_ai_redis_reply_t  *range;

    if (reply == NULL) {
        return;
    }

    if (reply->type != NGX_HTTP_HOODY_AI_REDIS_ARRAY) {
        ngx_http_hoody_ai_redis_abort(ep->rc,
                           (reply->type == NGX_HTTP_HOODY_AI_REDIS_ERROR)
                               ? "it refused CLUSTER SLOTS"
                               : "unexpected answer to CLUSTER");
        return;
    }

    for (i = 0; i < reply->n; i++) {
        range = reply->element[i];

        if (range->type != NGX_HTTP_HOODY_AI_REDIS_ARRAY
            || range->n < 3
            || range->element[0]->type != NGX_HTTP_HOODY_AI_REDIS_INTEGER
            || range->element[1]->type != NGX_HTTP_HOODY_AI_REDIS_INTEGER)
        {
            ngx_http_hoody_ai_redis_abort(ep->rc,
                                          "unexpected answer to CLUSTER SLOTS");
            return;
        }

        for (k = 2; k < range->n; k++) {

            if (ngx_http_hoody_ai_endpoint_node(ep, range->element[k],
                                                &address)
                != NGX_OK)
            {
                continue;
            }

            (void) ngx_http_hoody_ai_endpoint_learn(ep, &address.addr);

            if (k == 2
                && range->element[0]->integer <= (int64_t) ep->slot
                && range->element[1]->integer >= (int64_t) ep->slot)
            {
                ngx_http_hoody_ai_address_copy(&ep->said, &address.addr);
                ep->has_said = 1;
            }
        }
    }

    if (!ep->has_said) {
        ngx_http_hoody_ai_redis_abort(ep->rc,
                                      "it knows no owner of the keys' slot");
        return;
    }

    ngx_http_hoody_ai_endpoint_answered(ep);
}


/*
 * The current server has said all.  What is older than what was known is
 * taken only when nobody has anything newer: a sentinel on the wrong side of
 * a split would lead back to the old master.
 */

static void
ngx_http_hoody_ai_endpoint_answered(ngx_http_hoody_ai_endpoint_t *ep)
{
    ngx_str_t                   cause;
    ngx_http_hoody_ai_redis_t  *rc;

    if (!ep->has_said) {
        /* closed() is on its way */
        return;
    }

    rc = ep->rc;
    ep->rc = NULL;

    ngx_http_hoody_ai_redis_close(rc);

    if (ep->timer.timer_set) {
        ngx_del_timer(&ep->timer);
    }

    if (ep->said_epoch >= 0 && ep->said_epoch < ep->epoch) {

        if (!ep->has_best || ep->said_epoch > ep->best_epoch) {
            ngx_http_hoody_ai_address_copy(&ep->best, &ep->said.addr);
            ep->best_epoch = ep->said_epoch;
            ep->best_server = ep->current;
            ep->has_best = 1;
        }

        ngx_str_set(&cause, "its configuration is old");
        ngx_http_hoody_ai_endpoint_trouble(ep, &cause);
        return;
    }

    ep->epoch = ngx_max(ep->epoch, ep->said_epoch);
    ep->first = ep->current;
    ep->searching = 0;

    ngx_http_hoody_ai_endpoint_tell(ep, &ep->said.addr, NULL);
}


/* to all who asked; they may ask again at once, or cancel each other */

static void
ngx_http_hoody_ai_endpoint_tell(ngx_http_hoody_ai_endpoint_t *ep,
    ngx_addr_t *addr, ngx_str_t *cause)
{
    ngx_queue_t                        asks, *q;
    ngx_http_hoody_ai_endpoint_ask_t  *ask;

    ngx_queue_init(&asks);

    if (!ngx_queue_empty(&ep->asks)) {
        ngx_queue_add(&asks, &ep->asks);
        ngx_queue_init(&ep->asks);
    }

    while (!ngx_queue_empty(&asks)) {
        q = ngx_queue_head(&asks);
        ask = ngx_queue_data(q, ngx_http_hoody_ai_endpoint_ask_t, queue);

        ngx_http_hoody_ai_endpoint_cancel(ask);

        if (addr) {
            ask->found(ask->data, addr);

        } else {
            ask->failed(ask->data, cause);
        }
    }
}


/* its place in the table; the oldest learned one makes room */

static ngx_uint_t
ngx_http_hoody_ai_endpoint_learn(ngx_http_hoody_ai_endpoint_t *ep,
    ngx_addr_t *addr)
{
    ngx_uint_t  i;

    for (i = 0; i < ep->nservers; i++) {
        if (ngx_http_hoody_ai_address_same(&ep->servers[i].addr, addr)) {
            return i;
        }
    }

    if (ep->nservers < NGX_HTTP_HOODY_AI_SERVERS) {
        i = ep->nservers++;

    } else if (ep->conf->naddrs >= NGX_HTTP_HOODY_AI_SERVERS) {
        return ep->first;

    } else {
        i = ep->oldest;
        ep->oldest = (i + 1 < ep->nservers) ? i + 1 : ep->conf->naddrs;

        if (i == ep->current && ep->rc) {
            /* its address is in use */
            return ep->first;
        }
    }

    ngx_http_hoody_ai_address_copy(&ep->servers[i], addr);

    return i;
}


/*
 * A node in CLUSTER SLOTS: host, port, id, and from 7.0 on more in pairs.  No
 * host means the one that was asked; a name has its address in the pairs.
 */

static ngx_int_t
ngx_http_hoody_ai_endpoint_node(ngx_http_hoody_ai_endpoint_t *ep,
    ngx_http_hoody_ai_redis_reply_t *node,
    ngx_http_hoody_ai_address_t *address)
{
    int64_t     port;
    ngx_str_t  *ip, *host;

    if (node->type != NGX_HTTP_HOODY_AI_REDIS_ARRAY
        || node->n < 2
        || node->element[1]->type != NGX_HTTP_HOODY_AI_REDIS_INTEGER)
    {
        return NGX_ERROR;
    }

    host = &node->element[0]->str;
    port = node->element[1]->integer;

    if (host->len == 0) {

        if (ep->peer.addr->sockaddr->sa_family == AF_UNIX
            || port < 1 || port > 65535)
        {
            return NGX_ERROR;
        }

        ngx_http_hoody_ai_address_copy(address, ep->peer.addr);
        ngx_inet_set_port(address->addr.sockaddr, (in_port_t) port);

        address->addr.name.len = ngx_sock_ntop(address->addr.sockaddr,
                                               address->addr.socklen,
                                               address->text,
                                               NGX_SOCKADDR_STRLEN, 1);
        return NGX_OK;
    }

    if (ngx_http_hoody_ai_address_set(address, host, port) == NGX_OK) {
        return NGX_OK;
    }

    if (node->n < 4) {
        return NGX_ERROR;
    }

    ip = ngx_http_hoody_ai_endpoint_field(node->element[3], "ip");

    if (ip == NULL) {
        return NGX_ERROR;
    }

    return ngx_http_hoody_ai_address_set(address, ip, port);
}


/* the value of a name in an array of names and values */

static ngx_str_t *
ngx_http_hoody_ai_endpoint_field(ngx_http_hoody_ai_redis_reply_t *reply,
    const char *name)
{
    ngx_uint_t  i;

    if (reply->type != NGX_HTTP_HOODY_AI_REDIS_ARRAY) {
        return NULL;
    }

    for (i = 0; i + 1 < reply->n; i += 2) {

        if (ngx_http_hoody_ai_redis_is(reply->element[i], name)
            && reply->element[i + 1]->type == NGX_HTTP_HOODY_AI_REDIS_STRING)
        {
            return &reply->element[i + 1]->str;
        }
    }

    return NULL;
}


static ngx_int_t
ngx_http_hoody_ai_endpoint_number(ngx_str_t *text, int64_t *number)
{
    ngx_int_t  n;

    n = ngx_atoi(text->data, text->len);

    if (n == NGX_ERROR) {
        return NGX_ERROR;
    }

    *number = n;

    return NGX_OK;
}


/* NGX_ERROR: not an address; names are not looked up while requests run */

static ngx_int_t
ngx_http_hoody_ai_address_set(ngx_http_hoody_ai_address_t *address,
    ngx_str_t *host, int64_t port)
{
    in_addr_t            addr;
    struct sockaddr_in  *sin;
#if (NGX_HAVE_INET6)
    struct sockaddr_in6  *sin6;
#endif

    if (port < 1 || port > 65535 || host->len == 0) {
        return NGX_ERROR;
    }

    ngx_memzero(address, sizeof(ngx_http_hoody_ai_address_t));

    addr = ngx_inet_addr(host->data, host->len);

    if (addr != INADDR_NONE) {
        sin = &address->sockaddr.sockaddr_in;
        sin->sin_family = AF_INET;
        sin->sin_addr.s_addr = addr;
        address->addr.socklen = sizeof(struct sockaddr_in);

    } else {

#if (NGX_HAVE_INET6)

        sin6 = &address->sockaddr.sockaddr_in6;

        if (ngx_inet6_addr(host->data, host->len, sin6->sin6_addr.s6_addr)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        sin6->sin6_family = AF_INET6;
        address->addr.socklen = sizeof(struct sockaddr_in6);

#else

        return NGX_ERROR;

#endif
    }

    address->addr.sockaddr = &address->sockaddr.sockaddr;
    ngx_inet_set_port(address->addr.sockaddr, (in_port_t) port);

    address->addr.name.data = address->text;
    address->addr.name.len = ngx_sock_ntop(address->addr.sockaddr,
                                           address->addr.socklen,
                                           address->text,
                                           NGX_SOCKADDR_STRLEN, 1);

    return NGX_OK;
}


void
ngx_http_hoody_ai_address_copy(ngx_http_hoody_ai_address_t *address,
    ngx_addr_t *addr)
{
    ngx_memzero(address, sizeof(ngx_http_hoody_ai_address_t));

    address->addr.sockaddr = &address->sockaddr.sockaddr;
    address->addr.socklen = addr->socklen;
    ngx_memcpy(&address->sockaddr, addr->sockaddr, addr->socklen);

    address->addr.name.data = address->text;
    address->addr.name.len = ngx_min(addr->name.len, NGX_SOCKADDR_STRLEN);
    ngx_memcpy(address->text, addr->name.data, address->addr.name.len);
}


ngx_uint_t
ngx_http_hoody_ai_address_same(ngx_addr_t *one, ngx_addr_t *other)
{
    return ngx_cmp_sockaddr(one->sockaddr, one->socklen, other->sockaddr,
                            other->socklen, 1)
           == NGX_OK;
}
