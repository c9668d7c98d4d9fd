
/*
 * The reads of what is wanted: transactions, and what their answers change.
 * Beside them, by itself, the rules' epoch.  Wants are of replica_wants.c.
 */


#include "ngx_http_hoody_ai_replica_core.h"


typedef struct {
    ngx_msec_t                  sent;
    ngx_uint_t                  gate;
    ngx_uint_t                  list;
    ngx_uint_t                  n;
    ngx_uint_t                  sweeping;  /* flag: a part of a sweep */
    ngx_http_hoody_ai_want_t   *want[];
} ngx_http_hoody_ai_batch_t;


static void ngx_http_hoody_ai_replica_rules_done(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static ngx_int_t ngx_http_hoody_ai_replica_send_batch(
    ngx_http_hoody_ai_replica_t *rep);
static void ngx_http_hoody_ai_replica_batch_done(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static ngx_int_t ngx_http_hoody_ai_replica_batch_apply(
    ngx_http_hoody_ai_replica_t *rep, ngx_http_hoody_ai_batch_t *batch,
    ngx_http_hoody_ai_redis_reply_t *reply);
static ngx_int_t ngx_http_hoody_ai_replica_sets_apply(
    ngx_http_hoody_ai_replica_t *rep, ngx_http_hoody_ai_batch_t *batch,
    ngx_http_hoody_ai_redis_reply_t **element);
static void ngx_http_hoody_ai_replica_doubt(ngx_http_hoody_ai_replica_t *rep,
    ngx_str_t *name);
static void ngx_http_hoody_ai_replica_set_gate(
    ngx_http_hoody_ai_replica_t *rep, ngx_http_hoody_ai_want_t *w,
    ngx_uint_t gate, ngx_uint_t enabled);


static ngx_str_t  ngx_http_hoody_ai_replica_fields[] = {
    ngx_string("id"),
    ngx_string("number"),
    ngx_string("addresses"),
    ngx_string("cgroup"),
    ngx_string("tags"),
    ngx_string("status")
};


/* the feed has been drained, or something was asked: send what is wanted */

void
ngx_http_hoody_ai_replica_post_handler(ngx_event_t *ev)
{
    ngx_http_hoody_ai_replica_t  *rep;

    rep = ev->data;

    if (rep->state < NGX_HTTP_HOODY_AI_LOADING) {
        return;
    }

    if (rep->flushed) {
        rep->flushed = 0;

        /* there is little to load, and everybody is to be refused soon */

        if (rep->load_timer.timer_set
            && ngx_http_hoody_ai_replica_load(rep) != NGX_OK)
        {
            ngx_http_hoody_ai_redis_abort(rep->data, "cannot start the load");
            return;
        }
    }

    if (rep->sweep) {
        ngx_http_hoody_ai_replica_sweep(rep);
    }

    if (rep->rules.asked != rep->rules.written
        && ngx_http_hoody_ai_replica_rules_read(rep) != NGX_OK)
    {
        ngx_http_hoody_ai_redis_abort(rep->data, "cannot send reads");
        return;
    }

    /*
     * What was refused while its slot moves waits a little.  And what was
     * written with a name that is being read is read with it, after that
     * answer: of a number or an address that went from one to the other, the
     * one without it must not be believed before the one with it.
     */

    while (!rep->retry_timer.timer_set
           && rep->nagain == 0
           && rep->batches < NGX_HTTP_HOODY_AI_BATCHES
           && (!ngx_queue_empty(&rep->queued)
               || (!rep->sweeping && !ngx_queue_empty(&rep->swept))
               || rep->gate_asked != rep->gate
               || rep->list_asked != rep->list))
    {
        if (ngx_http_hoody_ai_replica_send_batch(rep) != NGX_OK) {
            ngx_http_hoody_ai_redis_abort(rep->data, "cannot send reads");
            return;
        }
    }

    if (rep->overflow && rep->nasked == 0) {
        rep->overflow = 0;
        ngx_http_hoody_ai_replica_all(rep);
    }
}


ngx_int_t
ngx_http_hoody_ai_replica_rules_read(ngx_http_hoody_ai_replica_t *rep)
{
    ngx_str_t  argv[2];

    ngx_str_set(&argv[0], "GET");
    argv[1] = rep->rules_epoch;

    if (ngx_http_hoody_ai_redis_send(rep->data,
                                     ngx_http_hoody_ai_replica_rules_done,
                                     (void *) rep->rules.written, 2, argv)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    rep->rules.asked = rep->rules.written;

    return NGX_OK;
}


static void
ngx_http_hoody_ai_replica_rules_done(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    ngx_http_hoody_ai_replica_t  *rep = data;

    if (reply == NULL || (ngx_uint_t) arg != rep->rules.written) {
        /* written again meanwhile, and read again */
        return;
    }

    rep->rules.known = rep->rules.written;
    rep->rules.generation++;
    rep->rules.epoch.data = rep->rules.data;
    rep->rules.epoch.len = 0;

    if (reply->type == NGX_HTTP_HOODY_AI_REDIS_NIL) {
        return;
    }

    if (reply->type != NGX_HTTP_HOODY_AI_REDIS_STRING
        || reply->str.len > sizeof(rep->rules.data))
    {
        /* who has no rules may have no right to read it either */
        ngx_http_hoody_ai_replica_warn(rep, NULL,
                                       "rules:epoch cannot be read");
        return;
    }

    rep->rules.epoch.len = reply->str.len;
    ngx_memcpy(rep->rules.data, reply->str.data, reply->str.len);
}


ngx_int_t
ngx_http_hoody_ai_replica_read(ngx_http_hoody_ai_replica_t *rep, u_char *name,
    size_t len, ngx_http_hoody_ai_redis_reply_pt pttl,
    ngx_http_hoody_ai_redis_reply_pt fields, void *arg)
{
    u_char     *p;
    ngx_int_t   rc;
    ngx_str_t   argv[2 + NGX_HTTP_HOODY_AI_NFIELDS];

    p = ngx_cpymem(rep->key, rep->container.data, rep->container.len);
    p = ngx_cpymem(p, name, len);

    ngx_str_set(&argv[0], "PTTL");
    argv[1].data = rep->key;
    argv[1].len = p - rep->key;

    if (pttl == NULL) {
        rc = ngx_http_hoody_ai_replica_send(rep, 2, argv);

    } else {
        rc = ngx_http_hoody_ai_redis_send(rep->data, pttl, arg, 2, argv);
    }

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_str_set(&argv[0], "HMGET");
    ngx_memcpy(&argv[2], ngx_http_hoody_ai_replica_fields,
               sizeof(ngx_http_hoody_ai_replica_fields));

    if (fields == NULL) {
        return ngx_http_hoody_ai_replica_send(rep,
                                          2 + NGX_HTTP_HOODY_AI_NFIELDS, argv);
    }

    return ngx_http_hoody_ai_redis_send(rep->data, fields, arg,
                                        2 + NGX_HTTP_HOODY_AI_NFIELDS, argv);
}


static ngx_int_t
ngx_http_hoody_ai_replica_send_batch(ngx_http_hoody_ai_replica_t *rep)
{
    ngx_str_t                   argv[2 + NGX_HTTP_HOODY_AI_BATCH];
    ngx_uint_t                  i, n, sent, sweeping;
    ngx_queue_t                *q;
    ngx_http_hoody_ai_want_t   *w;
    ngx_http_hoody_ai_batch_t  *batch;

    n = 0;

    for (q = ngx_queue_head(&rep->queued);
         q != ngx_queue_sentinel(&rep->queued) && n < NGX_HTTP_HOODY_AI_BATCH;
         q = ngx_queue_next(q))
    {
        n++;
    }

    /* one part of a sweep at a time: what is sent next waits for it */

    sweeping = 0;

    while (!rep->sweeping
           && n < NGX_HTTP_HOODY_AI_BATCH
           && !ngx_queue_empty(&rep->swept))
    {
        sweeping = 1;

        q = ngx_queue_head(&rep->swept);
        ngx_queue_remove(q);
        ngx_queue_insert_tail(&rep->queued, q);

        w = ngx_queue_data(q, ngx_http_hoody_ai_want_t, queue);
        w->swept = 0;
        n++;
    }

    batch = malloc(sizeof(ngx_http_hoody_ai_batch_t)
                   + n * sizeof(ngx_http_hoody_ai_want_t *));
    if (batch == NULL) {
        return NGX_ERROR;
    }

    batch->sent = ngx_current_msec;
    batch->gate = rep->gate;
    batch->list = rep->list;
    batch->sweeping = sweeping;
    batch->n = n;

    if (ngx_http_hoody_ai_replica_multi(rep) != NGX_OK) {
        goto failed;
    }

    sent = 0;
    q = ngx_queue_head(&rep->queued);

    for (i = 0; i < n; i++) {
        w = ngx_queue_data(q, ngx_http_hoody_ai_want_t, queue);
        q = ngx_queue_next(q);

        batch->want[i] = w;

        if (w->hash) {

            if (ngx_http_hoody_ai_replica_read(rep, w->name, w->len,
                                               NULL, NULL, NULL)
                != NGX_OK)
            {
                goto failed;
            }

            sent += 2;
        }

        argv[2 + i].data = w->name;
        argv[2 + i].len = w->len;
    }

    argv[1] = rep->enabled;

    if (n) {
        ngx_str_set(&argv[0], "SMISMEMBER");

        if (ngx_http_hoody_ai_replica_send(rep, 2 + n, argv) != NGX_OK) {
            goto failed;
        }

        sent++;
    }

    ngx_str_set(&argv[0], "PTTL");

    if (ngx_http_hoody_ai_replica_send(rep, 2, argv) != NGX_OK) {
        goto failed;
    }

    ngx_str_set(&argv[0], "SCARD");

    if (ngx_http_hoody_ai_replica_send(rep, 2, argv) != NGX_OK) {
        goto failed;
    }

    argv[1] = rep->containers;

    if (ngx_http_hoody_ai_replica_send(rep, 2, argv) != NGX_OK) {
        goto failed;
    }

    if (ngx_http_hoody_ai_replica_exec(rep, sent + 3,
                                       ngx_http_hoody_ai_replica_batch_done,
                                       batch)
        != NGX_OK)
    {
        goto failed;
    }

    for (i = 0; i < n; i++) {
        w = batch->want[i];

        ngx_queue_remove(&w->queue);
        ngx_queue_init(&w->queue);

        w->state = NGX_HTTP_HOODY_AI_WANT_SENT;
        w->reading = w->hash;
        w->hash = 0;
    }

    rep->gate_asked = rep->gate;
    rep->list_asked = rep->list;
    rep->sweeping |= sweeping;
    rep->batches++;

    return NGX_OK;

failed:

    /* a part of the transaction may be queued: the caller gives up */

    free(batch);

    return NGX_ERROR;
}


static void
ngx_http_hoody_ai_replica_batch_done(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    ngx_uint_t                    i;
    ngx_http_hoody_ai_want_t     *w;
    ngx_http_hoody_ai_batch_t    *batch = arg;
    ngx_http_hoody_ai_replica_t  *rep = data;

    rep->batches--;

    if (batch->sweeping) {
        rep->sweeping = 0;
    }

    if (reply == NULL
        || ngx_http_hoody_ai_replica_batch_apply(rep, batch, reply) != NGX_OK)
    {
        /* nothing was learned */

        for (i = 0; i < batch->n; i++) {
            w = batch->want[i];

            if (w == NULL) {
                continue;
            }

            ngx_http_hoody_ai_replica_requeue(rep, w);
        }

        if (reply && ngx_http_hoody_ai_replica_refused(rep, reply)) {
            rep->gate_asked = 0;
            rep->list_asked = 0;

            ngx_post_event(&rep->post, &ngx_posted_events);

        } else if (reply && ngx_http_hoody_ai_replica_retry(rep) != NGX_OK) {
            ngx_http_hoody_ai_redis_abort(rep->data,
                       (reply->type == NGX_HTTP_HOODY_AI_REDIS_ERROR)
                           ? "reads were refused"
                           : "unexpected answer to EXEC");
        }

        free(batch);
        return;
    }

    free(batch);

    ngx_http_hoody_ai_replica_set_expire(rep);
    ngx_http_hoody_ai_replica_tell(rep);

    ngx_post_event(&rep->post, &ngx_posted_events);
}


/*
 * First everything is taken in, then everyone is told, so that no one is
 * judged by one half of a transaction.
 */

static ngx_int_t
ngx_http_hoody_ai_replica_batch_apply(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_batch_t *batch, ngx_http_hoody_ai_redis_reply_t *reply)
{
    int64_t                            pttl;
    ngx_str_t                          name;
    ngx_uint_t                         i, k, n, torn, current, enabled, whole;
    ngx_http_hoody_ai_want_t          *w;
    ngx_http_hoody_ai_redis_reply_t   *gates, **element;

    if (reply->type != NGX_HTTP_HOODY_AI_REDIS_ARRAY) {
        return NGX_ERROR;
    }

    n = 3;
    torn = 0;

    if (batch->n) {
        n++;
    }

    for (i = 0; i < batch->n; i++) {
        if (batch->want[i]->reading) {
            n += 2;
        }

        torn |= batch->want[i]->again;
    }

    if (reply->n != n) {
        return NGX_ERROR;
    }

    element = reply->element;
    gates = batch->n ? element[n - 4] : NULL;

    if (gates
        && !ngx_http_hoody_ai_replica_wrong_type(gates)
        && (gates->type != NGX_HTTP_HOODY_AI_REDIS_ARRAY
            || gates->n != batch->n))
    {
        return NGX_ERROR;
    }

    if (ngx_http_hoody_ai_replica_sets_apply(rep, batch, &element[n - 3])
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    current = (batch->gate == rep->gate);

    /*
     * One of them was written while it was read.  With which of the others,
     * nobody knows, so no hash of them is believed; a name that is written all
     * the time does not hold up the rest for ever.
     */

    if (!torn) {
        rep->torn = 0;

    } else if (++rep->torn > NGX_HTTP_HOODY_AI_TORN) {
        rep->torn = 0;
        torn = 0;
    }

    for (i = 0, k = 0; i < batch->n; i++) {
        w = batch->want[i];

        name.data = w->name;
        name.len = w->len;

        if (w->reading) {
            k += 2;

            if (element[k - 2]->type != NGX_HTTP_HOODY_AI_REDIS_INTEGER) {
                return NGX_ERROR;
            }
        }

        if (w->again || (torn && w->reading)) {
            ngx_http_hoody_ai_replica_requeue(rep, w);
            batch->want[i] = NULL;
            continue;
        }

        if (w->reading) {
            pttl = element[k - 2]->integer;

            if (rep->reg
                && ngx_http_hoody_ai_replica_apply(rep, rep->reg, &name, pttl,
                                                   batch->sent, element[k - 1],
                                                   w->shared, &rep->claims)
                   != NGX_OK)
            {
                return NGX_ERROR;
            }

            if (rep->fresh
                && ngx_http_hoody_ai_replica_apply(rep, rep->fresh, &name,
                                                   pttl, batch->sent,
                                                   element[k - 1], 0, NULL)
                   != NGX_OK)
            {
                return NGX_ERROR;
            }
        }

        whole = w->reading;

        w->reading = 0;
        w->shared = 0;

        enabled = (gates->type == NGX_HTTP_HOODY_AI_REDIS_ARRAY
                   && gates->element[i]->type
                      == NGX_HTTP_HOODY_AI_REDIS_INTEGER
                   && gates->element[i]->integer == 1);

        batch->want[i] = NULL;

        if (current && (whole || !enabled)) {
            ngx_http_hoody_ai_replica_set_gate(rep, w, batch->gate, enabled);

        } else if (w->asked) {

            /* the gate was written again, or came alone: once more */

            w->hash = 1;
            w->state = NGX_HTTP_HOODY_AI_WANT_QUEUED;
            ngx_http_hoody_ai_replica_queue(rep, w);
            continue;

        } else if (!current) {

            /*
             * The next sweep finds it if it is live.  While the set is
             * written all the time every answer comes too late, so a "no"
             * makes those that run ask for themselves.
             */

            rep->sweep = 1;

            if (!enabled) {
                ngx_http_hoody_ai_replica_doubt(rep, &name);
            }
        }

        ngx_http_hoody_ai_replica_settle(rep, w);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_hoody_ai_replica_sets_apply(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_batch_t *batch,
    ngx_http_hoody_ai_redis_reply_t **element)
{
    int64_t  gate, list;

    gate = ngx_http_hoody_ai_replica_card(element[1]);
    list = ngx_http_hoody_ai_replica_card(element[2]);

    if (element[0]->type != NGX_HTTP_HOODY_AI_REDIS_INTEGER
        || gate < 0 || list < 0)
    {
        return NGX_ERROR;
    }

    if (batch->gate == rep->gate) {
        rep->gate_known = batch->gate;
        rep->gate_card = gate;
        rep->gate_deadline = (element[0]->integer >= 0)
                                 ? batch->sent + element[0]->integer : 0;
    }

    if (batch->list == rep->list) {
        rep->list_known = batch->list;
        rep->list_card = list;
    }

    return NGX_OK;
}


/* the gate of a name seems to have closed, though that is not certain */

static void
ngx_http_hoody_ai_replica_doubt(ngx_http_hoody_ai_replica_t *rep,
    ngx_str_t *name)
{
    ngx_http_hoody_ai_entry_t  *e;

    e = rep->reg ? ngx_http_hoody_ai_registry_name(rep->reg, name) : NULL;

    if (e == NULL || !e->enabled) {
        return;
    }

    ngx_http_hoody_ai_claims_add(&rep->claims, ngx_http_hoody_ai_entry_name(e),
                                 e->name_len);
    ngx_http_hoody_ai_claims_add(&rep->claims,
                                 ngx_http_hoody_ai_entry_number(e),
                                 e->number_len);
}


static void
ngx_http_hoody_ai_replica_set_gate(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_want_t *w, ngx_uint_t gate, ngx_uint_t enabled)
{
    ngx_str_t                   name;
    ngx_http_hoody_ai_entry_t  *e;

    name.data = w->name;
    name.len = w->len;

    e = rep->fresh ? ngx_http_hoody_ai_registry_name(rep->fresh, &name) : NULL;

    if (e) {
        e->gate = gate;
        e->enabled = enabled;
    }

    e = rep->reg ? ngx_http_hoody_ai_registry_name(rep->reg, &name) : NULL;

    if (e == NULL) {
        return;
    }

    if (w->asked || e->enabled != enabled) {
        ngx_http_hoody_ai_claims_add(&rep->claims,
                                     ngx_http_hoody_ai_entry_name(e),
                                     e->name_len);
        ngx_http_hoody_ai_claims_add(&rep->claims,
                                     ngx_http_hoody_ai_entry_number(e),
                                     e->number_len);
    }

    e->gate = gate;
    e->enabled = enabled;
}


ngx_int_t
ngx_http_hoody_ai_replica_apply(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_registry_t *reg, ngx_str_t *name, int64_t pttl,
    ngx_msec_t sent, ngx_http_hoody_ai_redis_reply_t *fields,
    ngx_uint_t force, ngx_http_hoody_ai_claims_t *claims)
{
    ngx_int_t                    rc;
    ngx_uint_t                   i;
    ngx_str_t                   *value[NGX_HTTP_HOODY_AI_NFIELDS];
    ngx_http_hoody_ai_fields_t   f;

    if (ngx_http_hoody_ai_replica_wrong_type(fields)) {
        ngx_http_hoody_ai_replica_warn(rep, name, "is not a hash");
        ngx_http_hoody_ai_registry_remove(reg, name, claims);
        return NGX_OK;
    }

    if (fields->type != NGX_HTTP_HOODY_AI_REDIS_ARRAY
        || fields->n != NGX_HTTP_HOODY_AI_NFIELDS)
    {
        return NGX_ERROR;
    }

    if (pttl == -2) {
        ngx_http_hoody_ai_registry_remove(reg, name, claims);
        return NGX_OK;
    }

    ngx_memzero(&f, sizeof(ngx_http_hoody_ai_fields_t));

    value[0] = &f.id;
    value[1] = &f.number;
    value[2] = &f.addresses;
    value[3] = &f.cgroup;
    value[4] = &f.tags;
    value[5] = &f.status;

    for (i = 0; i < NGX_HTTP_HOODY_AI_NFIELDS; i++) {

        if (fields->element[i]->type == NGX_HTTP_HOODY_AI_REDIS_STRING) {
            *value[i] = fields->element[i]->str;

        } else if (fields->element[i]->type != NGX_HTTP_HOODY_AI_REDIS_NIL) {
            return NGX_ERROR;
        }
    }

    f.name = *name;
    f.serial = ++rep->serial;
    f.deadline = (pttl >= 0) ? sent + (uint64_t) pttl : 0;

    rc = ngx_http_hoody_ai_registry_set(reg, &f, force, claims);

    if (rc == NGX_DECLINED) {
        ngx_http_hoody_ai_replica_warn(rep, name, "has a field that is too "
                                       "long");
        return NGX_OK;
    }

    return rc;
}
