
/*
 * Invalidations and the wants they cause: what has to be read.
 *
 * A "want" is a name of which something is not known at this moment.  An
 * invalidation makes one, a request for an unknown name or gate makes one,
 * and a read that was issued afterwards ends it.  While there is a want for
 * the hash of a name, the name waits.  Wants outlive the connection: what was
 * invalidated and not read is still not known.
 */


#include "ngx_http_hoody_ai_replica_core.h"


static void ngx_http_hoody_ai_replica_key(ngx_http_hoody_ai_replica_t *rep,
    ngx_str_t *key);
static ngx_http_hoody_ai_want_t *ngx_http_hoody_ai_replica_want(
    ngx_http_hoody_ai_replica_t *rep, u_char *name, size_t len);
static void ngx_http_hoody_ai_replica_again(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_want_t *w);
static void ngx_http_hoody_ai_replica_drop(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_want_t *w);
static void ngx_http_hoody_ai_replica_sweep_claim(void *arg, ngx_str_t *claim);


/* a frame of __redis__:invalidate; nil after FLUSHALL and FLUSHDB */

void
ngx_http_hoody_ai_replica_message(void *data,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    ngx_uint_t                        i;
    ngx_http_hoody_ai_replica_t      *rep = data;
    ngx_http_hoody_ai_redis_reply_t  *keys;

    keys = reply->element[2];

    if (keys->type == NGX_HTTP_HOODY_AI_REDIS_NIL) {
        ngx_http_hoody_ai_replica_reload(rep, "the database was flushed");
        rep->flushed = 1;
        ngx_post_event(&rep->post, &ngx_posted_events);
        return;
    }

    if (keys->type != NGX_HTTP_HOODY_AI_REDIS_ARRAY) {
        ngx_http_hoody_ai_redis_abort(rep->feed, "unexpected invalidation");
        return;
    }

    for (i = 0; i < keys->n; i++) {

        if (keys->element[i]->type != NGX_HTTP_HOODY_AI_REDIS_STRING) {
            ngx_http_hoody_ai_redis_abort(rep->feed,
                                          "unexpected invalidation");
            return;
        }

        ngx_http_hoody_ai_replica_key(rep, &keys->element[i]->str);
    }

    /* the reads are sent when the feed has been drained */

    ngx_post_event(&rep->post, &ngx_posted_events);
}


static void
ngx_http_hoody_ai_replica_key(ngx_http_hoody_ai_replica_t *rep, ngx_str_t *key)
{
    ngx_str_t                  name;
    ngx_http_hoody_ai_want_t  *w;

    if (key->len > rep->container.len
        && ngx_memcmp(key->data, rep->container.data, rep->container.len) == 0)
    {
        name.data = key->data + rep->container.len;
        name.len = key->len - rep->container.len;

        if (!hai_name_valid((char *) name.data, name.len)) {
            return;
        }

        if (rep->wants.n - rep->nabsent >= NGX_HTTP_HOODY_AI_WANTS) {
            ngx_http_hoody_ai_replica_reload(rep, "too many changes at once");
            return;
        }

        w = ngx_http_hoody_ai_replica_want(rep, name.data, name.len);

        if (w == NULL) {
            ngx_http_hoody_ai_replica_reload(rep, "no memory for a change");
            return;
        }

        w->hash = 1;

        if (w->state == NGX_HTTP_HOODY_AI_WANT_SENT) {
            ngx_http_hoody_ai_replica_again(rep, w);

        } else {
            ngx_http_hoody_ai_replica_queue(rep, w);
        }

        return;
    }

    if (key->len == rep->enabled.len
        && ngx_memcmp(key->data, rep->enabled.data, key->len) == 0)
    {
        rep->gate++;
        rep->sweep = 1;
        return;
    }

    if (key->len == rep->containers.len
        && ngx_memcmp(key->data, rep->containers.data, key->len) == 0)
    {
        rep->list++;
        return;
    }

    if (key->len == rep->rules_epoch.len
        && ngx_memcmp(key->data, rep->rules_epoch.data, key->len) == 0)
    {
        rep->rules.generation++;
        rep->rules.written++;
        return;
    }

    if (key->len == rep->overlay.len
        && ngx_memcmp(key->data, rep->overlay.data, key->len) == 0)
    {
        rep->rules.generation++;
        return;
    }

    if (rep->events->key
        && key->len > rep->prefix.len
        && ngx_memcmp(key->data, rep->prefix.data, rep->prefix.len) == 0)
    {
        name.data = key->data + rep->prefix.len;
        name.len = key->len - rep->prefix.len;

        rep->events->key(rep->events->data, &name);
    }
}


ngx_http_hoody_ai_want_t *
ngx_http_hoody_ai_replica_wanted(ngx_http_hoody_ai_replica_t *rep,
    u_char *name, size_t len)
{
    uint32_t                   hash;
    ngx_http_hoody_ai_link_t  *link;
    ngx_http_hoody_ai_want_t  *w;

    if (rep->wants.n == 0) {
        return NULL;
    }

    hash = ngx_http_hoody_ai_table_hash(name, len);

    for (link = ngx_http_hoody_ai_table_first(&rep->wants, hash);
         link;
         link = link->next)
    {
        if (link->hash != hash) {
            continue;
        }

        w = ngx_queue_data(link, ngx_http_hoody_ai_want_t, link);

        if (w->len == len && ngx_memcmp(w->name, name, len) == 0) {
            return w;
        }
    }

    return NULL;
}


/* finds or makes one; a new one is in no queue yet */

static ngx_http_hoody_ai_want_t *
ngx_http_hoody_ai_replica_want(ngx_http_hoody_ai_replica_t *rep, u_char *name,
    size_t len)
{
    ngx_http_hoody_ai_want_t  *w;

    w = ngx_http_hoody_ai_replica_wanted(rep, name, len);
    if (w) {
        return w;
    }

    w = calloc(1, sizeof(ngx_http_hoody_ai_want_t) + len);
    if (w == NULL) {
        return NULL;
    }

    w->len = (u_char) len;
    ngx_memcpy(w->name, name, len);
    ngx_queue_init(&w->queue);

    ngx_http_hoody_ai_table_insert(&rep->wants, &w->link,
                                   ngx_http_hoody_ai_table_hash(name, len));

    return w;
}


/*
 * Into a queue, from wherever it is but not while it is sent.  What a request
 * waits for goes in front of all; names of which only the gate is asked, by a
 * sweep, have a queue of their own and come last.
 */

void
ngx_http_hoody_ai_replica_queue(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_want_t *w)
{
    if (w->state == NGX_HTTP_HOODY_AI_WANT_ABSENT) {
        rep->nabsent--;
        ngx_queue_remove(&w->queue);
        ngx_queue_init(&w->queue);
        w->state = NGX_HTTP_HOODY_AI_WANT_QUEUED;
    }

    if (w->asked) {
        ngx_queue_remove(&w->queue);
        ngx_queue_insert_head(&rep->queued, &w->queue);
        w->swept = 0;

    } else if (w->hash && w->swept) {
        ngx_queue_remove(&w->queue);
        ngx_queue_insert_tail(&rep->queued, &w->queue);
        w->swept = 0;

    } else if (ngx_queue_empty(&w->queue)) {
        w->swept = !w->hash;
        ngx_queue_insert_tail(w->swept ? &rep->swept : &rep->queued,
                              &w->queue);
    }
}


/* a change of what is being read: the answer may be from before it */

static void
ngx_http_hoody_ai_replica_again(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_want_t *w)
{
    if (!w->again) {
        w->again = 1;
        rep->nagain++;
    }
}


/* its answer is of no use: what was asked is asked once more */

void
ngx_http_hoody_ai_replica_requeue(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_want_t *w)
{
    if (w->again) {
        w->again = 0;
        rep->nagain--;
    }

    w->hash |= w->reading;
    w->reading = 0;
    w->state = NGX_HTTP_HOODY_AI_WANT_QUEUED;

    ngx_http_hoody_ai_replica_queue(rep, w);
}


static void
ngx_http_hoody_ai_replica_drop(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_want_t *w)
{
    if (w->state == NGX_HTTP_HOODY_AI_WANT_ABSENT) {
        rep->nabsent--;
    }

    if (w->asked) {
        rep->nasked--;
    }

    ngx_queue_remove(&w->queue);
    ngx_http_hoody_ai_table_remove(&rep->wants, &w->link);

    free(w);
}


void
ngx_http_hoody_ai_replica_ask(ngx_http_hoody_ai_replica_t *rep, u_char *name,
    size_t len)
{
    ngx_http_hoody_ai_want_t  *w;

    w = ngx_http_hoody_ai_replica_wanted(rep, name, len);

    if (w == NULL || !w->asked) {

        if (rep->nasked >= NGX_HTTP_HOODY_AI_ASKED) {
            /* everyone is told when the queue has been worked off */
            rep->overflow = 1;
            return;
        }

        w = ngx_http_hoody_ai_replica_want(rep, name, len);

        if (w == NULL) {
            rep->overflow = 1;
            return;
        }

        w->asked = 1;
        rep->nasked++;
    }

    if (w->state == NGX_HTTP_HOODY_AI_WANT_SENT) {
        return;
    }

    w->hash = 1;

    ngx_http_hoody_ai_replica_queue(rep, w);
    ngx_post_event(&rep->post, &ngx_posted_events);
}


void
ngx_http_hoody_ai_replica_stray(ngx_http_hoody_ai_replica_t *rep, u_char *name,
    size_t len)
{
    ngx_http_hoody_ai_want_t  *w;

    w = ngx_http_hoody_ai_replica_want(rep, name, len);

    if (w == NULL) {
        ngx_http_hoody_ai_redis_abort(rep->data, "no memory for a container");
        return;
    }

    if (!w->stray) {
        w->stray = 1;
        rep->scan.strays++;
    }

    if (w->state != NGX_HTTP_HOODY_AI_WANT_SENT) {
        w->hash = 1;
        ngx_http_hoody_ai_replica_queue(rep, w);
        ngx_post_event(&rep->post, &ngx_posted_events);

    } else if (!w->reading) {
        w->hash = 1;
        ngx_http_hoody_ai_replica_again(rep, w);
    }
}


void
ngx_http_hoody_ai_replica_forget_absent(ngx_http_hoody_ai_replica_t *rep)
{
    ngx_queue_t  *q;

    while (!ngx_queue_empty(&rep->absent)) {
        q = ngx_queue_head(&rep->absent);
        ngx_http_hoody_ai_replica_drop(rep,
                          ngx_queue_data(q, ngx_http_hoody_ai_want_t, queue));
    }
}


void
ngx_http_hoody_ai_replica_free_wants(ngx_http_hoody_ai_replica_t *rep)
{
    ngx_uint_t                 i;
    ngx_http_hoody_ai_link_t  *link, *next;

    if (rep->wants.buckets == NULL) {
        return;
    }

    for (i = 0; i <= rep->wants.mask; i++) {

        for (link = rep->wants.buckets[i]; link; link = next) {
            next = link->next;
            free(ngx_queue_data(link, ngx_http_hoody_ai_want_t, link));
        }
    }

    ngx_http_hoody_ai_table_done(&rep->wants);
}


/*
 * The gate set was written: ask again for those that run or wait.  With many
 * of them this is work for Redis, so the next time has to wait in proportion;
 * a name that a request asks for meanwhile does not.
 */

void
ngx_http_hoody_ai_replica_sweep(ngx_http_hoody_ai_replica_t *rep)
{
    ngx_msec_int_t  wait;

    wait = (ngx_msec_int_t) (rep->sweep_next - ngx_current_msec);

    if (wait > 0) {

        if (!rep->sweep_timer.timer_set) {
            ngx_add_timer(&rep->sweep_timer, (ngx_msec_t) wait);
        }

        return;
    }

    rep->sweep = 0;

    if (!rep->loaded || rep->events->live == NULL) {
        return;
    }

    rep->nswept = 0;

    rep->events->live(rep->events->data,
                      ngx_http_hoody_ai_replica_sweep_claim, rep);

    rep->sweep_next = ngx_current_msec
                      + ngx_min(rep->nswept / NGX_HTTP_HOODY_AI_SWEEP,
                                NGX_HTTP_HOODY_AI_SWEEP_MAX);
}


static void
ngx_http_hoody_ai_replica_sweep_claim(void *arg, ngx_str_t *claim)
{
    ngx_uint_t                    i, n;
    ngx_http_hoody_ai_want_t     *w;
    ngx_http_hoody_ai_entry_t    *found[2];
    ngx_http_hoody_ai_replica_t  *rep = arg;

    rep->nswept++;

    found[0] = ngx_http_hoody_ai_registry_name(rep->reg, claim);
    n = 1;

    if (found[0] == NULL || !found[0]->running) {
        n = ngx_http_hoody_ai_registry_number(rep->reg, claim, found, 2);
        n = ngx_min(n, 2);
    }

    for (i = 0; i < n; i++) {

        w = ngx_http_hoody_ai_replica_want(rep,
                                       ngx_http_hoody_ai_entry_name(found[i]),
                                       found[i]->name_len);
        if (w == NULL) {
            ngx_http_hoody_ai_redis_abort(rep->data, "no memory for a change");
            return;
        }

        /* a read under way finds its gate out of date: another sweep */

        if (w->state != NGX_HTTP_HOODY_AI_WANT_SENT) {
            ngx_http_hoody_ai_replica_queue(rep, w);
        }
    }
}


/* all that was wanted is known */

void
ngx_http_hoody_ai_replica_settle(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_want_t *w)
{
    ngx_str_t     name;
    ngx_uint_t    asked;
    ngx_queue_t  *q;

    if (w->stray) {
        w->stray = 0;
        ngx_http_hoody_ai_replica_scan_stray_read(rep);
    }

    name.data = w->name;
    name.len = w->len;
    asked = w->asked;

    if (!asked
        || rep->scanned
        || rep->reg == NULL
        || ngx_http_hoody_ai_registry_name(rep->reg, &name))
    {
        ngx_http_hoody_ai_replica_drop(rep, w);
        return;
    }

    /* else the next request for it would read it again */

    w->asked = 0;
    rep->nasked--;

    w->state = NGX_HTTP_HOODY_AI_WANT_ABSENT;
    ngx_queue_insert_tail(&rep->absent, &w->queue);

    if (++rep->nabsent > NGX_HTTP_HOODY_AI_ABSENT) {
        q = ngx_queue_head(&rep->absent);
        ngx_http_hoody_ai_replica_drop(rep,
                          ngx_queue_data(q, ngx_http_hoody_ai_want_t, queue));
    }
}
