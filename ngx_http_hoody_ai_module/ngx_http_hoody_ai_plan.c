
/*
 * Plans: what the rules want for a container, API and model.  The worker keeps
 * them, so that most requests need not ask, and applies them.
 *
 * A plan is used only while its epoch is that of the registry.  Nothing is
 * told of a change: the replica has a generation that rises with each write
 * of the epoch or the overlay and with each load, and a store of another
 * generation is emptied when it is looked at.  Plans of a container go when
 * its entry was read again.
 *
 * The store is bounded, whatever models callers make up.  A container that has
 * more than its share loses its own; where all of them take too much memory,
 * the plan that was used longest ago goes, whose ever it is.
 */


#include "ngx_http_hoody_ai_rules.h"


#define NGX_HTTP_HOODY_AI_PLANS         4096
#define NGX_HTTP_HOODY_AI_PLANS_MEMORY  (4 * 1024 * 1024)
#define NGX_HTTP_HOODY_AI_PLANS_SHARE   64

#define NGX_HTTP_HOODY_AI_EPOCH_MAX     128


/* a container that has plans */

typedef struct {
    ngx_http_hoody_ai_link_t   link;
    ngx_queue_t                plans;      /* the last used one is first */
    ngx_uint_t                 n;
    ngx_uint_t                 serial;     /* of its entry */
    size_t                     len;
    u_char                     name[];
} ngx_http_hoody_ai_owner_t;


typedef struct {
    ngx_queue_t                 queue;     /* of all */
    ngx_queue_t                 own;       /* of its container */
    ngx_http_hoody_ai_owner_t  *owner;
    struct hai_plan            *plan;
    const char                 *api;       /* of the table of routes */
    size_t                      memory;
    uint32_t                    hash;      /* of the model */
    ngx_uint_t                  any;       /* flag: whatever the model */
    ngx_uint_t                  opaque;
    size_t                      len;
    u_char                      model[];
} ngx_http_hoody_ai_kept_t;


static ngx_http_hoody_ai_owner_t *ngx_http_hoody_ai_plan_owner(
    ngx_http_hoody_ai_ctx_t *ctx, uint32_t hash);
static ngx_http_hoody_ai_owner_t *ngx_http_hoody_ai_plan_make_owner(
    ngx_http_hoody_ai_ctx_t *ctx, ngx_uint_t serial);
static struct hai_plan *ngx_http_hoody_ai_plan_use(
    ngx_http_hoody_ai_ctx_t *ctx, ngx_uint_t serial, ngx_uint_t opaque,
    ngx_str_t *model);
static ngx_http_hoody_ai_kept_t *ngx_http_hoody_ai_plan_lookup(
    ngx_http_hoody_ai_owner_t *owner, ngx_http_hoody_ai_ctx_t *ctx,
    ngx_uint_t opaque, ngx_str_t *model);
static void ngx_http_hoody_ai_plan_drop(ngx_http_hoody_ai_kept_t *kept);
static void ngx_http_hoody_ai_plan_drop_owner(
    ngx_http_hoody_ai_owner_t *owner);
static void ngx_http_hoody_ai_plan_drop_all(void);
static ngx_uint_t ngx_http_hoody_ai_plan_current(ngx_str_t *epoch);
static void ngx_http_hoody_ai_plan_gauges(void);
static ngx_int_t ngx_http_hoody_ai_plan_edit(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, struct hai_plan *plan,
    const struct hai_json_facts *facts);
static ngx_int_t ngx_http_hoody_ai_plan_own_texts(ngx_http_request_t *r,
    struct hai_edits *e);


static ngx_http_hoody_ai_table_t  ngx_http_hoody_ai_owners;
static ngx_queue_t                ngx_http_hoody_ai_plans;
static ngx_uint_t                 ngx_http_hoody_ai_nplans;
static ngx_uint_t                 ngx_http_hoody_ai_nplans_any;  /* any model */
static size_t                     ngx_http_hoody_ai_plans_memory;
static ngx_uint_t                 ngx_http_hoody_ai_plans_generation;


ngx_int_t
ngx_http_hoody_ai_plan_init(void)
{
    ngx_queue_init(&ngx_http_hoody_ai_plans);

    ngx_http_hoody_ai_nplans = 0;
    ngx_http_hoody_ai_nplans_any = 0;
    ngx_http_hoody_ai_plans_memory = 0;
    ngx_http_hoody_ai_plans_generation = 0;

    return ngx_http_hoody_ai_table_init(&ngx_http_hoody_ai_owners);
}


void
ngx_http_hoody_ai_plan_done(void)
{
    if (ngx_http_hoody_ai_owners.buckets == NULL) {
        return;
    }

    ngx_http_hoody_ai_plan_drop_all();
    ngx_http_hoody_ai_table_done(&ngx_http_hoody_ai_owners);
}


/* the epoch in force; empties a store of another one.  0: it is not known */

static ngx_uint_t
ngx_http_hoody_ai_plan_current(ngx_str_t *epoch)
{
    ngx_uint_t  generation;

    generation = ngx_http_hoody_ai_replica_epoch(
                                    ngx_http_hoody_ai_worker.replica, epoch);

    if (generation && generation != ngx_http_hoody_ai_plans_generation) {
        ngx_http_hoody_ai_plan_drop_all();
        ngx_http_hoody_ai_plans_generation = generation;
    }

    return generation;
}


struct hai_plan *
ngx_http_hoody_ai_plan_find(ngx_http_hoody_ai_ctx_t *ctx, ngx_uint_t serial,
    ngx_uint_t opaque)
{
    return ngx_http_hoody_ai_plan_use(ctx, serial, opaque, &ctx->model);
}


struct hai_plan *
ngx_http_hoody_ai_plan_find_any(ngx_http_hoody_ai_ctx_t *ctx,
    ngx_uint_t serial)
{
    if (ngx_http_hoody_ai_nplans_any == 0) {
        return NULL;
    }

    return ngx_http_hoody_ai_plan_use(ctx, serial, 0, NULL);
}


static struct hai_plan *
ngx_http_hoody_ai_plan_use(ngx_http_hoody_ai_ctx_t *ctx, ngx_uint_t serial,
    ngx_uint_t opaque, ngx_str_t *model)
{
    ngx_str_t                   epoch;
    ngx_http_hoody_ai_kept_t   *kept;
    ngx_http_hoody_ai_owner_t  *owner;

    if (!ngx_http_hoody_ai_plan_current(&epoch)) {
        return NULL;
    }

    owner = ngx_http_hoody_ai_plan_owner(ctx,
                    ngx_http_hoody_ai_table_hash(ctx->container.data,
                                                 ctx->container.len));
    if (owner == NULL) {
        return NULL;
    }

    if (owner->serial != serial) {
        ngx_http_hoody_ai_plan_drop_owner(owner);
        ngx_http_hoody_ai_plan_gauges();
        return NULL;
    }

    kept = ngx_http_hoody_ai_plan_lookup(owner, ctx, opaque, model);

    if (kept == NULL) {
        return NULL;
    }

    ngx_queue_remove(&kept->own);
    ngx_queue_insert_head(&owner->plans, &kept->own);

    ngx_queue_remove(&kept->queue);
    ngx_queue_insert_head(&ngx_http_hoody_ai_plans, &kept->queue);

    ngx_http_hoody_ai_add(ngx_http_hoody_ai_worker.slot->plans_used, 1);

    return kept->plan;
}


/* model NULL: only one that holds for every model */

static ngx_http_hoody_ai_kept_t *
ngx_http_hoody_ai_plan_lookup(ngx_http_hoody_ai_owner_t *owner,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_uint_t opaque, ngx_str_t *model)
{
    uint32_t                   hash;
    ngx_queue_t               *q;
    ngx_http_hoody_ai_kept_t  *kept;

    hash = model ? ngx_http_hoody_ai_table_hash(model->data, model->len) : 0;

    for (q = ngx_queue_head(&owner->plans);
         q != ngx_queue_sentinel(&owner->plans);
         q = ngx_queue_next(q))
    {
        kept = ngx_queue_data(q, ngx_http_hoody_ai_kept_t, own);

        if (kept->opaque != opaque
            || ngx_strcmp(kept->api, ctx->route->api) != 0)
        {
            continue;
        }

        if (kept->any
            || (model
                && kept->hash == hash
                && kept->len == model->len
                && (kept->len == 0
                    || ngx_memcmp(kept->model, model->data, kept->len) == 0)))
        {
            return kept;
        }
    }

    return NULL;
}


static ngx_http_hoody_ai_owner_t *
ngx_http_hoody_ai_plan_owner(ngx_http_hoody_ai_ctx_t *ctx, uint32_t hash)
{
    ngx_http_hoody_ai_link_t   *link;
    ngx_http_hoody_ai_owner_t  *owner;

    for (link = ngx_http_hoody_ai_table_first(&ngx_http_hoody_ai_owners, hash);
         link;
         link = link->next)
    {
        if (link->hash != hash) {
            continue;
        }

        owner = ngx_queue_data(link, ngx_http_hoody_ai_owner_t, link);

        if (owner->len == ctx->container.len
            && ngx_memcmp(owner->name, ctx->container.data, owner->len) == 0)
        {
            return owner;
        }
    }

    return NULL;
}


ngx_int_t
ngx_http_hoody_ai_plan_keep(ngx_http_hoody_ai_ctx_t *ctx, ngx_uint_t serial,
    ngx_uint_t opaque, struct hai_plan *plan)
{
    size_t                          memory;
    ngx_str_t                       epoch, model;
    ngx_queue_t                    *q;
    ngx_http_hoody_ai_kept_t       *kept, *old;
    ngx_http_hoody_ai_owner_t      *owner;
    ngx_http_hoody_ai_container_t   view;

    if (!ngx_http_hoody_ai_plan_current(&epoch)
        || epoch.len != plan->epoch.len
        || ngx_memcmp(epoch.data, plan->epoch.data, epoch.len) != 0
        || ngx_http_hoody_ai_rules_entry(ctx, &view) != NGX_OK
        || view.serial != serial)
    {
        hai_plan_free(plan);
        return NGX_AGAIN;
    }

    model = ctx->model;

    if (plan->any_model) {
        model.len = 0;
    }

    memory = sizeof(ngx_http_hoody_ai_kept_t) + model.len;

    kept = ngx_alloc(memory, ngx_cycle->log);
    if (kept == NULL) {
        hai_plan_free(plan);
        return NGX_ERROR;
    }

    owner = ngx_http_hoody_ai_plan_make_owner(ctx, serial);
    if (owner == NULL) {
        ngx_free(kept);
        hai_plan_free(plan);
        return NGX_ERROR;
    }

    /* another request may have asked at the same time */

    old = ngx_http_hoody_ai_plan_lookup(owner, ctx, opaque, &ctx->model);

    /* the owner is counted with each of its plans: too much, not too little */

    kept->memory = memory + plan->memory + sizeof(ngx_http_hoody_ai_owner_t)
                   + owner->len;
    kept->owner = owner;
    kept->plan = plan;
    kept->api = ctx->route->api;
    kept->hash = ngx_http_hoody_ai_table_hash(model.data, model.len);
    kept->any = plan->any_model;
    kept->opaque = opaque;
    kept->len = model.len;

    if (kept->len) {
        ngx_memcpy(kept->model, model.data, kept->len);
    }

    ngx_queue_insert_head(&ngx_http_hoody_ai_plans, &kept->queue);
    ngx_queue_insert_head(&owner->plans, &kept->own);

    owner->n++;
    ngx_http_hoody_ai_nplans++;
    ngx_http_hoody_ai_nplans_any += kept->any;
    ngx_http_hoody_ai_plans_memory += kept->memory;

    if (old) {
        ngx_http_hoody_ai_plan_drop(old);
    }

    if (owner->n > NGX_HTTP_HOODY_AI_PLANS_SHARE) {
        q = ngx_queue_last(&owner->plans);
        ngx_http_hoody_ai_plan_drop(ngx_queue_data(q,
                                              ngx_http_hoody_ai_kept_t, own));
    }

    while (ngx_http_hoody_ai_nplans > 1
           && (ngx_http_hoody_ai_nplans > NGX_HTTP_HOODY_AI_PLANS
               || ngx_http_hoody_ai_plans_memory
                  > NGX_HTTP_HOODY_AI_PLANS_MEMORY))
    {
        q = ngx_queue_last(&ngx_http_hoody_ai_plans);
        ngx_http_hoody_ai_plan_drop(ngx_queue_data(q,
                                            ngx_http_hoody_ai_kept_t, queue));
    }

    ngx_http_hoody_ai_plan_gauges();

    return NGX_OK;
}


/* one without plans yet must get one at once */

static ngx_http_hoody_ai_owner_t *
ngx_http_hoody_ai_plan_make_owner(ngx_http_hoody_ai_ctx_t *ctx,
    ngx_uint_t serial)
{
    uint32_t                    hash;
    ngx_http_hoody_ai_owner_t  *owner;

    hash = ngx_http_hoody_ai_table_hash(ctx->container.data,
                                        ctx->container.len);

    owner = ngx_http_hoody_ai_plan_owner(ctx, hash);

    if (owner && owner->serial != serial) {
        ngx_http_hoody_ai_plan_drop_owner(owner);
        owner = NULL;
    }

    if (owner) {
        return owner;
    }

    owner = ngx_alloc(sizeof(ngx_http_hoody_ai_owner_t) + ctx->container.len,
                      ngx_cycle->log);
    if (owner == NULL) {
        return NULL;
    }

    ngx_queue_init(&owner->plans);

    owner->n = 0;
    owner->serial = serial;
    owner->len = ctx->container.len;
    ngx_memcpy(owner->name, ctx->container.data, owner->len);

    ngx_http_hoody_ai_table_insert(&ngx_http_hoody_ai_owners, &owner->link,
                                   hash);

    return owner;
}


/* of an answer without content: the engine wants nothing, in this epoch */

struct hai_plan *
ngx_http_hoody_ai_plan_empty(ngx_str_t *epoch)
{
    u_char       c, *p, json[NGX_HTTP_HOODY_AI_EPOCH_MAX + 32];
    size_t       i;
    const char  *error;

    if (epoch->len == 0 || epoch->len > NGX_HTTP_HOODY_AI_EPOCH_MAX) {
        return NULL;
    }

    for (i = 0; i < epoch->len; i++) {
        c = epoch->data[i];

        if (c <= ' ' || c > '~' || c == '"' || c == '\\') {
            return NULL;
        }
    }

    p = ngx_sprintf(json, "{\"epoch\":\"%V\",\"edits\":[]}", epoch);

    return hai_plan_read((char *) json, p - json, &error);
}


static void
ngx_http_hoody_ai_plan_drop(ngx_http_hoody_ai_kept_t *kept)
{
    ngx_http_hoody_ai_owner_t  *owner;

    owner = kept->owner;

    ngx_queue_remove(&kept->queue);
    ngx_queue_remove(&kept->own);

    ngx_http_hoody_ai_nplans--;
    ngx_http_hoody_ai_nplans_any -= kept->any;
    ngx_http_hoody_ai_plans_memory -= kept->memory;

    hai_plan_free(kept->plan);
    ngx_free(kept);

    ngx_http_hoody_ai_add(ngx_http_hoody_ai_worker.slot->plans_dropped, 1);

    if (--owner->n == 0) {
        ngx_http_hoody_ai_table_remove(&ngx_http_hoody_ai_owners,
                                       &owner->link);
        ngx_free(owner);
    }
}


static void
ngx_http_hoody_ai_plan_drop_owner(ngx_http_hoody_ai_owner_t *owner)
{
    ngx_uint_t    n;
    ngx_queue_t  *q;

    /* the owner goes with its last plan */

    for (n = owner->n; n; n--) {
        q = ngx_queue_last(&owner->plans);
        ngx_http_hoody_ai_plan_drop(ngx_queue_data(q,
                                              ngx_http_hoody_ai_kept_t, own));
    }
}


static void
ngx_http_hoody_ai_plan_drop_all(void)
{
    ngx_queue_t  *q;

    while (!ngx_queue_empty(&ngx_http_hoody_ai_plans)) {
        q = ngx_queue_last(&ngx_http_hoody_ai_plans);
        ngx_http_hoody_ai_plan_drop(ngx_queue_data(q,
                                            ngx_http_hoody_ai_kept_t, queue));
    }

    ngx_http_hoody_ai_plan_gauges();
}


static void
ngx_http_hoody_ai_plan_gauges(void)
{
    ngx_http_hoody_ai_slot_t  *slot;

    slot = ngx_http_hoody_ai_worker.slot;

    slot->plans = ngx_http_hoody_ai_nplans;
    slot->plans_memory = ngx_http_hoody_ai_plans_memory;
}


ngx_int_t
ngx_http_hoody_ai_plan_apply(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, struct hai_plan *plan,
    const struct hai_json_facts *facts)
{
    if (plan->ask_body) {

        if (ctx->ask == NULL
            && ngx_http_hoody_ai_rules_create(r, ctx, facts, 0) == NULL)
        {
            (void) ngx_http_hoody_ai_refuse(r, ctx,
                                            NGX_HTTP_HOODY_AI_R_INTERNAL);
            return NGX_OK;
        }

        return ngx_http_hoody_ai_rules_ask(r, ctx, NGX_HTTP_HOODY_AI_ASK_BODY);
    }

    if (plan->n == 0) {
        return ngx_http_hoody_ai_body_ready(r, ctx, facts, NULL);
    }

    return ngx_http_hoody_ai_plan_edit(r, ctx, plan, facts);
}


static ngx_int_t
ngx_http_hoody_ai_plan_edit(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, struct hai_plan *plan,
    const struct hai_json_facts *facts)
{
    size_t                    i;
    const char               *why;
    ngx_chain_t              *cl;
    struct hai_body           body;
    struct hai_piece         *piece, one[4];
    struct hai_edits         *e;
    enum hai_api              api;
    enum hai_change_status    st;

    e = &ngx_http_hoody_ai_worker.edits;

    body.n = 0;
    body.size = 0;
    body.facts = facts;
    body.items = NULL;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        body.n++;
    }

    piece = one;

    if (body.n > sizeof(one) / sizeof(one[0])) {
        piece = ngx_palloc(r->pool, body.n * sizeof(struct hai_piece));
        if (piece == NULL) {
            goto failed;
        }
    }

    for (cl = r->request_body->bufs, i = 0; cl; cl = cl->next, i++) {
        piece[i].data = cl->buf->pos;
        piece[i].len = cl->buf->last - cl->buf->pos;
        body.size += piece[i].len;
    }

    body.pieces = piece;

    api = hai_api_of(ctx->route->api, ngx_strlen(ctx->route->api));

    st = hai_changes_apply(&body, api, plan->changes, plan->n, e, &why);

    if (st == HAI_CHANGE_SHAPE) {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "hoody_ai: no place for a rule's change: %s", why);
        (void) ngx_http_hoody_ai_refuse(r, ctx, NGX_HTTP_HOODY_AI_R_SHAPE);
        return NGX_OK;
    }

    if (st != HAI_CHANGE_OK
        || ngx_http_hoody_ai_plan_own_texts(r, e) != NGX_OK)
    {
        goto failed;
    }

    if (e->n == 0 || hai_changes_keep_facts(plan->changes, plan->n)) {
        return ngx_http_hoody_ai_body_ready(r, ctx, facts, e);
    }

    if (ctx->ask == NULL
        && ngx_http_hoody_ai_rules_create(r, ctx, facts, 0) == NULL)
    {
        goto failed;
    }

    if (ngx_http_hoody_ai_splice(r, e) != NGX_OK) {
        goto failed;
    }

    return ngx_http_hoody_ai_body_replaced(r, ctx);

failed:

    (void) ngx_http_hoody_ai_refuse(r, ctx, NGX_HTTP_HOODY_AI_R_INTERNAL);

    return NGX_OK;
}


/* the texts' memory is used for the next request: the pool gets them */

static ngx_int_t
ngx_http_hoody_ai_plan_own_texts(ngx_http_request_t *r, struct hai_edits *e)
{
    size_t   i, len;
    u_char  *p;

    len = 0;

    for (i = 0; i < e->n; i++) {
        len += e->list[i].len;
    }

    if (len == 0) {
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < e->n; i++) {

        /* what is only taken away has no text */

        if (e->list[i].len == 0) {
            continue;
        }

        ngx_memcpy(p, e->list[i].text, e->list[i].len);
        e->list[i].text = (char *) p;
        p += e->list[i].len;
    }

    return NGX_OK;
}
