
/*
 * The database as a whole: the full load into a fresh registry, the scan for
 * containers that are in no list, and the heartbeat, which says how old what
 * is known may be and whether the database is still the one that was loaded.
 *
 * The load reads both sets in one MULTI and then the hashes of their union in
 * a bounded window.  Replies carry the number of their load: those of one
 * that was given up are dropped.
 */


#include "ngx_http_hoody_ai_replica_core.h"


/* pages of the scan: keys looked at per page, and the pause between two */
#define NGX_HTTP_HOODY_AI_SCAN_COUNT  "1000"
#define NGX_HTTP_HOODY_AI_SCAN_PAUSE  2


static void ngx_http_hoody_ai_replica_load_sets(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static ngx_int_t ngx_http_hoody_ai_replica_load_names(
    ngx_http_hoody_ai_replica_t *rep, ngx_http_hoody_ai_redis_reply_t *enabled,
    ngx_http_hoody_ai_redis_reply_t *list);
static ngx_int_t ngx_http_hoody_ai_replica_load_add(
    ngx_http_hoody_ai_replica_t *rep, ngx_str_t *name, ngx_uint_t enabled);
static ngx_int_t ngx_http_hoody_ai_replica_load_more(
    ngx_http_hoody_ai_replica_t *rep);
static void ngx_http_hoody_ai_replica_load_pttl(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static void ngx_http_hoody_ai_replica_load_fields(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static void ngx_http_hoody_ai_replica_load_read(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static void ngx_http_hoody_ai_replica_load_done(
    ngx_http_hoody_ai_replica_t *rep);
static void ngx_http_hoody_ai_replica_scan_page(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static void ngx_http_hoody_ai_replica_scan_next(
    ngx_http_hoody_ai_replica_t *rep);

static void ngx_http_hoody_ai_replica_beat_pong(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static void ngx_http_hoody_ai_replica_beat_role(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static void ngx_http_hoody_ai_replica_beat_generation(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static void ngx_http_hoody_ai_replica_beat_gate(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static void ngx_http_hoody_ai_replica_beat_list(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static void ngx_http_hoody_ai_replica_beat_write(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);
static void ngx_http_hoody_ai_replica_beat_part(
    ngx_http_hoody_ai_replica_t *rep);
static ngx_uint_t ngx_http_hoody_ai_replica_beat_differs(
    ngx_http_hoody_ai_replica_t *rep);
static void ngx_http_hoody_ai_replica_beat_probed(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply);


ngx_int_t
ngx_http_hoody_ai_replica_load(ngx_http_hoody_ai_replica_t *rep)
{
    ngx_str_t   argv[2];
    ngx_uint_t  i;

    static ngx_str_t  commands[] = {
        ngx_string("SMEMBERS"),
        ngx_string("PTTL"),
        ngx_string("SMEMBERS"),
        ngx_string("GET")
    };

    ngx_http_hoody_ai_replica_load_stop(rep);

    rep->fresh = ngx_http_hoody_ai_registry_create();
    if (rep->fresh == NULL) {
        return NGX_ERROR;
    }

    rep->state = NGX_HTTP_HOODY_AI_LOADING;
    rep->load.start = ngx_current_msec;
    rep->load.gate = rep->gate;
    rep->load.list = rep->list;

    if (ngx_http_hoody_ai_replica_multi(rep) != NGX_OK) {
        return NGX_ERROR;
    }

    for (i = 0; i < 4; i++) {
        argv[0] = commands[i];

        switch (i) {

        case 0:
        case 1:
            argv[1] = rep->enabled;
            break;

        case 2:
            argv[1] = rep->containers;
            break;

        default:
            argv[1] = rep->generation;
        }

        if (ngx_http_hoody_ai_replica_send(rep, 2, argv) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (ngx_http_hoody_ai_replica_exec(rep, 4,
                                       ngx_http_hoody_ai_replica_load_sets,
                                       (void *) rep->load.id)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    rep->gate_asked = rep->gate;
    rep->list_asked = rep->list;

    return ngx_http_hoody_ai_replica_rules_read(rep);
}


/* gives up the load and the scan under way; what serves stays */

void
ngx_http_hoody_ai_replica_load_stop(ngx_http_hoody_ai_replica_t *rep)
{
    rep->load.id++;
    rep->based = 0;

    ngx_http_hoody_ai_replica_retire(rep, rep->fresh);
    rep->fresh = NULL;

    free(rep->load.names);
    rep->load.names = NULL;
    rep->load.len = 0;
    rep->load.size = 0;
    rep->load.sent = 0;
    rep->load.done = 0;
    rep->load.outstanding = 0;
    rep->scan.page = 0;

    if (rep->load_timer.timer_set) {
        ngx_del_timer(&rep->load_timer);
    }

    if (rep->scan_timer.timer_set) {
        ngx_del_timer(&rep->scan_timer);
    }
}


static void
ngx_http_hoody_ai_replica_load_sets(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    ngx_http_hoody_ai_replica_t       *rep = data;
    ngx_http_hoody_ai_redis_reply_t  **element;

    if (reply == NULL || (ngx_uint_t) arg != rep->load.id) {
        return;
    }

    if (ngx_http_hoody_ai_replica_refused(rep, reply)) {

        if (ngx_http_hoody_ai_replica_load(rep) != NGX_OK) {
            ngx_http_hoody_ai_redis_abort(rep->data, "cannot start the load");
        }

        return;
    }

    if (reply->type != NGX_HTTP_HOODY_AI_REDIS_ARRAY || reply->n != 4) {
        ngx_http_hoody_ai_redis_abort(rep->data,
                           (reply->type == NGX_HTTP_HOODY_AI_REDIS_ERROR)
                               ? "the load was refused"
                               : "unexpected answer to the load");
        return;
    }

    element = reply->element;

    if (ngx_http_hoody_ai_replica_wrong_type(element[0])) {
        ngx_http_hoody_ai_replica_warn(rep, NULL, "ai:enabled is not a set");

    } else if (element[0]->type != NGX_HTTP_HOODY_AI_REDIS_ARRAY) {
        goto failed;
    }

    if (ngx_http_hoody_ai_replica_wrong_type(element[2])) {
        ngx_http_hoody_ai_replica_warn(rep, NULL, "containers is not a set");

    } else if (element[2]->type != NGX_HTTP_HOODY_AI_REDIS_ARRAY) {
        goto failed;
    }

    if (element[1]->type != NGX_HTTP_HOODY_AI_REDIS_INTEGER) {
        goto failed;
    }

    rep->epoch.len = 0;

    if (element[3]->type == NGX_HTTP_HOODY_AI_REDIS_STRING) {
        rep->epoch.data = rep->epoch_data;
        rep->epoch.len = ngx_min(element[3]->str.len, sizeof(rep->epoch_data));
        ngx_memcpy(rep->epoch_data, element[3]->str.data, rep->epoch.len);

    } else if (element[3]->type != NGX_HTTP_HOODY_AI_REDIS_NIL
               && !ngx_http_hoody_ai_replica_wrong_type(element[3]))
    {
        goto failed;
    }

    if (rep->load.gate == rep->gate) {
        rep->gate_known = rep->gate;
        rep->gate_card = element[0]->n;
        rep->gate_deadline = (element[1]->integer >= 0)
                            ? rep->load.start + (uint64_t) element[1]->integer
                            : 0;
    }

    if (rep->load.list == rep->list) {
        rep->list_known = rep->list;
        rep->list_card = element[2]->n;
    }

    rep->based = 1;

    if (ngx_http_hoody_ai_replica_load_names(rep, element[0], element[2])
        != NGX_OK)
    {
        ngx_http_hoody_ai_redis_abort(rep->data, "no memory for the load");
        return;
    }

    if (ngx_http_hoody_ai_replica_load_more(rep) != NGX_OK) {
        ngx_http_hoody_ai_redis_abort(rep->data, "cannot send reads");
    }

    return;

failed:

    ngx_http_hoody_ai_redis_abort(rep->data, "unexpected answer to the load");
}


/* the union of both sets, as text: the reply does not outlive its handler */

static ngx_int_t
ngx_http_hoody_ai_replica_load_names(ngx_http_hoody_ai_replica_t *rep,
    ngx_http_hoody_ai_redis_reply_t *enabled,
    ngx_http_hoody_ai_redis_reply_t *list)
{
    uint32_t                           h, *slots;
    ngx_str_t                         *name;
    ngx_int_t                          rc;
    ngx_uint_t                         i, pass, mask;
    ngx_http_hoody_ai_redis_reply_t   *set;

    mask = 63;

    while (mask < enabled->n * 2) {
        mask = mask * 2 + 1;
    }

    /* open addressing: index in "enabled" + 1 */

    slots = calloc(mask + 1, sizeof(uint32_t));
    if (slots == NULL) {
        return NGX_ERROR;
    }

    rc = NGX_OK;

    for (pass = 0; pass < 2; pass++) {
        set = pass ? list : enabled;

        for (i = 0; i < set->n; i++) {

            if (set->element[i]->type != NGX_HTTP_HOODY_AI_REDIS_STRING) {
                continue;
            }

            name = &set->element[i]->str;

            if (!hai_name_valid((char *) name->data, name->len)) {
                continue;
            }

            h = ngx_http_hoody_ai_table_hash(name->data, name->len) & mask;

            while (slots[h]) {

                if (pass) {
                    ngx_str_t  *other = &enabled->element[slots[h] - 1]->str;

                    if (other->len == name->len
                        && ngx_memcmp(other->data, name->data, name->len) == 0)
                    {
                        break;
                    }
                }

                h = (h + 1) & mask;
            }

            if (slots[h]) {
                /* added in the first pass */
                continue;
            }

            if (pass == 0) {
                slots[h] = (uint32_t) i + 1;
            }

            rc = ngx_http_hoody_ai_replica_load_add(rep, name, pass == 0);

            if (rc != NGX_OK) {
                goto done;
            }
        }
    }

done:

    free(slots);

    return rc;
}


static ngx_int_t
ngx_http_hoody_ai_replica_load_add(ngx_http_hoody_ai_replica_t *rep,
    ngx_str_t *name, ngx_uint_t enabled)
{
    u_char  *p;
    size_t   size;

    if (rep->load.size - rep->load.len < name->len + 2) {
        size = rep->load.size ? rep->load.size * 2 : 4096;

        p = realloc(rep->load.names, size);
        if (p == NULL) {
            return NGX_ERROR;
        }

        rep->load.names = p;
        rep->load.size = size;
    }

    p = rep->load.names + rep->load.len;

    *p++ = (u_char) enabled;
    *p++ = (u_char) name->len;
    ngx_memcpy(p, name->data, name->len);

    rep->load.len += name->len + 2;

    return NGX_OK;
}


static ngx_int_t
ngx_http_hoody_ai_replica_load_more(ngx_http_hoody_ai_replica_t *rep)
{
    u_char     *p;
    ngx_str_t   argv[1];

    while (rep->load.sent < rep->load.len
           && rep->load.outstanding < NGX_HTTP_HOODY_AI_WINDOW)
    {
        p = rep->load.names + rep->load.sent;

        if (ngx_http_hoody_ai_replica_read(rep, p + 2, p[1],
                                         ngx_http_hoody_ai_replica_load_pttl,
                                         ngx_http_hoody_ai_replica_load_fields,
                                         (void *) rep->load.id)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        rep->load.when[rep->load.seq++ % NGX_HTTP_HOODY_AI_WINDOW] =
                                                             ngx_current_msec;
        rep->load.sent += p[1] + 2;
        rep->load.outstanding++;
    }

    if (rep->load.outstanding) {
        return NGX_OK;
    }

    /*
     * Gates were read first and hashes after them.  What was written in
     * between has been announced when the feed answers.
     */

    ngx_str_set(&argv[0], "PING");

    return ngx_http_hoody_ai_redis_send(rep->feed,
                                        ngx_http_hoody_ai_replica_load_read,
                                        (void *) rep->load.id, 1, argv);
}


static void
ngx_http_hoody_ai_replica_load_pttl(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    ngx_http_hoody_ai_replica_t  *rep = data;

    if (reply == NULL || (ngx_uint_t) arg != rep->load.id) {
        return;
    }

    if (reply->type != NGX_HTTP_HOODY_AI_REDIS_INTEGER) {
        ngx_http_hoody_ai_redis_abort(rep->data,
                                      "unexpected answer to the load");
        return;
    }

    rep->load.pttl = reply->integer;
}


static void
ngx_http_hoody_ai_replica_load_fields(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    u_char                       *p;
    ngx_str_t                     name;
    ngx_msec_t                    sent;
    ngx_http_hoody_ai_entry_t    *e;
    ngx_http_hoody_ai_replica_t  *rep = data;

    if (reply == NULL || (ngx_uint_t) arg != rep->load.id) {
        return;
    }

    p = rep->load.names + rep->load.done;

    name.data = p + 2;
    name.len = p[1];

    sent = rep->load.when[(rep->load.seq - rep->load.outstanding)
                          % NGX_HTTP_HOODY_AI_WINDOW];

    if (ngx_http_hoody_ai_replica_apply(rep, rep->fresh, &name, rep->load.pttl,
                                        sent, reply, 0, NULL)
        != NGX_OK)
    {
        ngx_http_hoody_ai_redis_abort(rep->data, "cannot take in the load");
        return;
    }

    e = ngx_http_hoody_ai_registry_name(rep->fresh, &name);

    /* a read of its gate may have come first, and is newer then */

    if (e && e->gate <= rep->load.gate) {
        e->gate = rep->load.gate;
        e->enabled = p[0];
    }

    rep->load.done += p[1] + 2;
    rep->load.outstanding--;

    /* in bursts: one write for many commands */

    if (rep->load.outstanding <= NGX_HTTP_HOODY_AI_WINDOW / 2
        && ngx_http_hoody_ai_replica_load_more(rep) != NGX_OK)
    {
        ngx_http_hoody_ai_redis_abort(rep->data, "cannot send reads");
    }
}


/* the feed has answered: all that was written before the last read is known */

static void
ngx_http_hoody_ai_replica_load_read(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    ngx_http_hoody_ai_replica_t  *rep = data;

    if (reply == NULL || (ngx_uint_t) arg != rep->load.id) {
        return;
    }

    if (reply->type == NGX_HTTP_HOODY_AI_REDIS_ERROR) {
        ngx_http_hoody_ai_redis_abort(rep->feed, "unexpected answer to PING");
        return;
    }

    ngx_http_hoody_ai_replica_load_done(rep);
}


static void
ngx_http_hoody_ai_replica_load_done(ngx_http_hoody_ai_replica_t *rep)
{
    ngx_http_hoody_ai_replica_retire(rep, rep->reg);

    rep->reg = rep->fresh;
    rep->fresh = NULL;

    free(rep->load.names);
    rep->load.names = NULL;
    rep->load.len = 0;
    rep->load.size = 0;
    rep->load.sent = 0;
    rep->load.done = 0;

    ngx_time_update();

    rep->load_time = ngx_current_msec - rep->load.start;
    rep->state = NGX_HTTP_HOODY_AI_LIVE;
    rep->backoff = 0;
    rep->trouble = 0;
    rep->loaded = 1;
    rep->current = 1;
    rep->blind = 0;
    rep->scanned = 0;
    rep->reloads++;
    rep->rules.generation++;

    ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                  "hoody_ai: redis %V: %ui containers loaded in %M ms",
                  &rep->conf->name,
                  ngx_http_hoody_ai_registry_count(rep->reg), rep->load_time);

    /* absence was a fact of the registry that has gone */

    ngx_http_hoody_ai_replica_forget_absent(rep);

    if (!rep->unproved) {
        ngx_http_hoody_ai_replica_proved(rep, rep->next_proof);
    }

    ngx_http_hoody_ai_replica_set_expire(rep);
    ngx_http_hoody_ai_claims_reset(&rep->claims);

    ngx_http_hoody_ai_replica_all(rep);
    ngx_http_hoody_ai_replica_master_loaded(rep);

    rep->scan.cursor.data = rep->scan.cursor_data;
    rep->scan.cursor.len = 1;
    rep->scan.cursor_data[0] = '0';

    ngx_http_hoody_ai_replica_scan(rep);
}


void
ngx_http_hoody_ai_replica_scan(ngx_http_hoody_ai_replica_t *rep)
{
    ngx_str_t  argv[6];

    ngx_str_set(&argv[0], "SCAN");
    argv[1] = rep->scan.cursor;
    ngx_str_set(&argv[2], "MATCH");
    argv[3] = rep->pattern;
    ngx_str_set(&argv[4], "COUNT");
    ngx_str_set(&argv[5], NGX_HTTP_HOODY_AI_SCAN_COUNT);

    if (ngx_http_hoody_ai_redis_send(rep->data,
                                     ngx_http_hoody_ai_replica_scan_page,
                                     (void *) rep->load.id, 6, argv)
        != NGX_OK)
    {
        ngx_http_hoody_ai_redis_abort(rep->data, "cannot send the scan");
        return;
    }

    rep->scan.page = 1;
}


static void
ngx_http_hoody_ai_replica_scan_page(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    ngx_str_t                         name, *key, *cursor;
    ngx_uint_t                        i;
    ngx_http_hoody_ai_replica_t      *rep = data;
    ngx_http_hoody_ai_redis_reply_t  *keys;

    if (reply == NULL || (ngx_uint_t) arg != rep->load.id) {
        return;
    }

    rep->scan.page = 0;

    if (reply->type != NGX_HTTP_HOODY_AI_REDIS_ARRAY
        || reply->n != 2
        || reply->element[0]->type != NGX_HTTP_HOODY_AI_REDIS_STRING
        || reply->element[1]->type != NGX_HTTP_HOODY_AI_REDIS_ARRAY)
    {
        goto failed;
    }

    cursor = &reply->element[0]->str;
    keys = reply->element[1];

    if (cursor->len == 0 || cursor->len > sizeof(rep->scan.cursor_data)) {
        goto failed;
    }

    rep->scan.cursor.len = cursor->len;
    ngx_memcpy(rep->scan.cursor_data, cursor->data, cursor->len);

    for (i = 0; i < keys->n; i++) {

        if (keys->element[i]->type != NGX_HTTP_HOODY_AI_REDIS_STRING) {
            goto failed;
        }

        key = &keys->element[i]->str;

        if (key->len <= rep->container.len
            || ngx_memcmp(key->data, rep->container.data, rep->container.len)
               != 0)
        {
            continue;
        }

        name.data = key->data + rep->container.len;
        name.len = key->len - rep->container.len;

        if (hai_name_valid((char *) name.data, name.len)
            && ngx_http_hoody_ai_registry_name(rep->reg, &name) == NULL)
        {
            ngx_http_hoody_ai_replica_stray(rep, name.data, name.len);
        }
    }

    ngx_http_hoody_ai_replica_scan_next(rep);

    return;

failed:

    ngx_http_hoody_ai_redis_abort(rep->data, "unexpected answer to SCAN");
}


void
ngx_http_hoody_ai_replica_scan_stray_read(ngx_http_hoody_ai_replica_t *rep)
{
    rep->scan.strays--;

    if (rep->state == NGX_HTTP_HOODY_AI_LIVE && !rep->scanned) {
        ngx_http_hoody_ai_replica_scan_next(rep);
    }
}


/* a page counts as done when the strays on it have been read */

static void
ngx_http_hoody_ai_replica_scan_next(ngx_http_hoody_ai_replica_t *rep)
{
    if (rep->scan.strays || rep->scan.page) {
        return;
    }

    if (rep->scan.cursor.len == 1 && rep->scan.cursor_data[0] == '0') {

        /* from now on what is not in the registry does not exist */

        rep->scanned = 1;

        ngx_http_hoody_ai_replica_forget_absent(rep);

        if (rep->scan_waited) {
            rep->scan_waited = 0;
            ngx_http_hoody_ai_replica_all(rep);
        }

        return;
    }

    if (!rep->scan_timer.timer_set) {
        ngx_add_timer(&rep->scan_timer, NGX_HTTP_HOODY_AI_SCAN_PAUSE);
    }
}


/*
 * Proof of life: the feed answers a PING, so every invalidation in front of
 * the answer has arrived, and the data connection answers as a master.  Dated
 * when it was asked.
 */

void
ngx_http_hoody_ai_replica_beat(ngx_event_t *ev)
{
    ngx_str_t                     argv[2];
    ngx_http_hoody_ai_replica_t  *rep;

    rep = ev->data;

    ngx_add_timer(&rep->beat_timer, rep->heartbeat);

    if (rep->beat.pending) {

        if (ngx_current_msec - rep->beat.sent >= rep->timeout) {
            ngx_http_hoody_ai_redis_abort(rep->data,
                                          "no answer to the heartbeat");
        }

        return;
    }

    if (ngx_current_msec - rep->next_proof >= rep->conf->max_stale
        && !rep->lonely)
    {

        /* it answers, but with errors: new connections may do better */

        ngx_http_hoody_ai_redis_abort(rep->data,
                                      "the heartbeat is answered with errors");
        return;
    }

    rep->plain = 0;

    rep->beat.sent = ngx_current_msec;
    rep->beat.pending = 5;
    rep->beat.load = rep->based ? rep->load.id : 0;
    rep->beat.gate = rep->gate;
    rep->beat.list = rep->list;
    rep->beat.failed = 0;
    rep->beat.lonely = 0;
    rep->beat.moved = 0;

    ngx_str_set(&argv[0], "PING");

    if (ngx_http_hoody_ai_redis_send(rep->feed,
                                     ngx_http_hoody_ai_replica_beat_pong,
                                     NULL, 1, argv)
        != NGX_OK)
    {
        goto failed;
    }

    ngx_str_set(&argv[0], "ROLE");

    if (ngx_http_hoody_ai_redis_send(rep->data,
                                     ngx_http_hoody_ai_replica_beat_role,
                                     NULL, 1, argv)
        != NGX_OK)
    {
        goto failed;
    }

    ngx_str_set(&argv[0], "GET");
    argv[1] = rep->generation;

    if (ngx_http_hoody_ai_redis_send(rep->data,
                                    ngx_http_hoody_ai_replica_beat_generation,
                                    NULL, 2, argv)
        != NGX_OK)
    {
        goto failed;
    }

    ngx_str_set(&argv[0], "SCARD");
    argv[1] = rep->enabled;

    if (ngx_http_hoody_ai_redis_send(rep->data,
                                     ngx_http_hoody_ai_replica_beat_gate,
                                     NULL, 2, argv)
        != NGX_OK)
    {
        goto failed;
    }

    argv[1] = rep->containers;

    if (ngx_http_hoody_ai_redis_send(rep->data,
                                     ngx_http_hoody_ai_replica_beat_list,
                                     NULL, 2, argv)
        != NGX_OK)
    {
        goto failed;
    }

    if (rep->conf->mode != NGX_HTTP_HOODY_AI_FIXED) {
        rep->beat.pending++;

        if (ngx_http_hoody_ai_replica_probe(rep,
                                           ngx_http_hoody_ai_replica_beat_write)
            != NGX_OK)
        {
            goto failed;
        }
    }

    return;

failed:

    ngx_http_hoody_ai_redis_abort(rep->data, "cannot send the heartbeat");
}


static void
ngx_http_hoody_ai_replica_beat_pong(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    ngx_http_hoody_ai_replica_t  *rep = data;

    if (reply == NULL) {
        return;
    }

    if (reply->type != NGX_HTTP_HOODY_AI_REDIS_ARRAY
        || reply->n != 2
        || !ngx_http_hoody_ai_redis_is(reply->element[0], "pong"))
    {
        ngx_http_hoody_ai_redis_abort(rep->feed, "unexpected answer to PING");
        return;
    }

    ngx_http_hoody_ai_replica_beat_part(rep);
}


static void
ngx_http_hoody_ai_replica_beat_role(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    ngx_http_hoody_ai_replica_t  *rep = data;

    if (reply == NULL) {
        return;
    }

    if (reply->type == NGX_HTTP_HOODY_AI_REDIS_ERROR) {
        rep->beat.failed = 1;

    } else if (!ngx_http_hoody_ai_redis_is_master(reply)) {
        ngx_http_hoody_ai_redis_abort(rep->data,
                                      "the server is not a master any more");
        return;
    }

    ngx_http_hoody_ai_replica_beat_part(rep);
}


static void
ngx_http_hoody_ai_replica_beat_generation(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    size_t                        len;
    ngx_http_hoody_ai_replica_t  *rep = data;

    if (reply == NULL) {
        return;
    }

    if (reply->type == NGX_HTTP_HOODY_AI_REDIS_STRING
        || reply->type == NGX_HTTP_HOODY_AI_REDIS_NIL
        || ngx_http_hoody_ai_replica_wrong_type(reply))
    {
        len = (reply->type == NGX_HTTP_HOODY_AI_REDIS_STRING)
                  ? ngx_min(reply->str.len, sizeof(rep->epoch_data)) : 0;

        if (len != rep->epoch.len
            || (len
                && ngx_memcmp(reply->str.data, rep->epoch_data, len) != 0))
        {
            rep->beat.moved = 1;
        }

    } else {
        rep->beat.failed = 1;
    }

    ngx_http_hoody_ai_replica_beat_part(rep);
}


static void
ngx_http_hoody_ai_replica_beat_gate(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    ngx_http_hoody_ai_replica_t  *rep = data;

    if (reply == NULL) {
        return;
    }

    rep->beat.gate_card = ngx_http_hoody_ai_replica_card(reply);

    if (rep->beat.gate_card < 0) {
        rep->beat.failed = 1;
    }

    ngx_http_hoody_ai_replica_beat_part(rep);
}


static void
ngx_http_hoody_ai_replica_beat_list(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    ngx_http_hoody_ai_replica_t  *rep = data;

    if (reply == NULL) {
        return;
    }

    rep->beat.list_card = ngx_http_hoody_ai_replica_card(reply);

    if (rep->beat.list_card < 0) {
        rep->beat.failed = 1;
    }

    ngx_http_hoody_ai_replica_beat_part(rep);
}


static void
ngx_http_hoody_ai_replica_beat_write(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    ngx_http_hoody_ai_replica_t  *rep = data;

    if (reply == NULL) {
        return;
    }

    if (reply->type != NGX_HTTP_HOODY_AI_REDIS_INTEGER) {
        rep->beat.failed = 1;
        rep->beat.lonely = ngx_http_hoody_ai_redis_is_error(reply,
                                                            "NOREPLICAS");
    }

    ngx_http_hoody_ai_replica_beat_part(rep);
}


static void
ngx_http_hoody_ai_replica_beat_part(ngx_http_hoody_ai_replica_t *rep)
{
    ngx_str_t  argv[1];

    if (--rep->beat.pending) {
        return;
    }

    rep->lonely = rep->beat.lonely;

    if (rep->lonely) {
        ngx_http_hoody_ai_replica_warn(rep, NULL,
                                       "the master has lost its replicas, "
                                       "it may have been replaced");
        ngx_http_hoody_ai_replica_check(rep);
        return;
    }

    if (rep->beat.failed) {
        ngx_http_hoody_ai_replica_warn(rep, NULL,
                                       "the heartbeat was answered with an "
                                       "error");
        return;
    }

    ngx_http_hoody_ai_replica_proved(rep, rep->beat.sent);

    if (!rep->based || rep->beat.load != rep->load.id) {
        return;
    }

    if (rep->beat.moved) {
        ngx_http_hoody_ai_replica_reload(rep, "the generation has changed");
        return;
    }

    if (!ngx_http_hoody_ai_replica_beat_differs(rep)) {
        return;
    }

    /*
     * An invalidation may be on its way on the other connection.  The answer
     * to one more PING will come behind it.
     */

    ngx_str_set(&argv[0], "PING");

    if (ngx_http_hoody_ai_redis_send(rep->feed,
                                     ngx_http_hoody_ai_replica_beat_probed,
                                     NULL, 1, argv)
        != NGX_OK)
    {
        ngx_http_hoody_ai_redis_abort(rep->data, "cannot send the heartbeat");
    }
}


/* a set has another size, though nobody has said that it was written */

static ngx_uint_t
ngx_http_hoody_ai_replica_beat_differs(ngx_http_hoody_ai_replica_t *rep)
{
    if (rep->beat.gate == rep->gate
        && rep->gate_known == rep->gate
        && rep->gate_card != rep->beat.gate_card
        && rep->gate_deadline == 0)
    {
        return 1;
    }

    return rep->beat.list == rep->list
           && rep->list_known == rep->list
           && rep->list_card != rep->beat.list_card;
}


static void
ngx_http_hoody_ai_replica_beat_probed(void *data, void *arg,
    ngx_http_hoody_ai_redis_reply_t *reply)
{
    ngx_http_hoody_ai_replica_t  *rep = data;

    if (reply == NULL || rep->beat.pending) {
        return;
    }

    if (rep->based
        && rep->beat.load == rep->load.id
        && ngx_http_hoody_ai_replica_beat_differs(rep))
    {
        ngx_http_hoody_ai_replica_reload(rep, "a set has changed unannounced");
    }
}


void
ngx_http_hoody_ai_replica_proved(ngx_http_hoody_ai_replica_t *rep,
    ngx_msec_t sent)
{
    ngx_msec_t  age;

    rep->next_proof = sent;
    rep->unproved = 0;

    if (!rep->current) {
        return;
    }

    rep->proof = sent;

    age = ngx_current_msec - sent;

    if (age >= rep->conf->max_stale) {
        return;
    }

    ngx_add_timer(&rep->stale_timer, rep->conf->max_stale - age);

    if (rep->stale) {
        rep->stale = 0;
        ngx_http_hoody_ai_replica_all(rep);
    }
}


void
ngx_http_hoody_ai_replica_stale_handler(ngx_event_t *ev)
{
    ngx_msec_t                    age;
    ngx_http_hoody_ai_replica_t  *rep;

    rep = ev->data;

    age = ngx_current_msec - rep->proof;

    if (age < rep->conf->max_stale) {
        ngx_add_timer(ev, rep->conf->max_stale - age);
        return;
    }

    rep->stale = 1;

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "hoody_ai: redis %V: no proof of life for %M ms, refusing",
                  &rep->conf->name, age);

    ngx_http_hoody_ai_replica_all(rep);
}
