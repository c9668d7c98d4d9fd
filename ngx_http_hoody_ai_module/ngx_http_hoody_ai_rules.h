
/*
 * What the files of the rules share: rules.c (when to ask, asking, time),
 * capture.c (taking the answer), answer.c (what it means) and plan.c (plans:
 * kept, and applied).  See docs/internals/rules.md.  Not for others.
 */


#ifndef _NGX_HTTP_HOODY_AI_RULES_H_INCLUDED_
#define _NGX_HTTP_HOODY_AI_RULES_H_INCLUDED_


#include "ngx_http_hoody_ai_module.h"
#include "ngx_http_hoody_ai_zone.h"

#include <hai_facts.h>
#include <hai_plan.h>


/*
 * Ceilings of an answer: edits, which are as long as those of a plan can get,
 * a plan, and what explains a refusal.
 */
#define NGX_HTTP_HOODY_AI_EDITS_MAX   NGX_HTTP_HOODY_AI_EDITS_TEXT
#define NGX_HTTP_HOODY_AI_PLAN_MAX    HAI_PLAN_MAX
#define NGX_HTTP_HOODY_AI_REASON_MAX  (64 * 1024)


typedef enum {
    NGX_HTTP_HOODY_AI_TYPE_OTHER = 0,
    NGX_HTTP_HOODY_AI_TYPE_PLAN,
    NGX_HTTP_HOODY_AI_TYPE_EDITS,
    NGX_HTTP_HOODY_AI_TYPE_JSON
} ngx_http_hoody_ai_type_e;


/* a request that is asked about, in its pool; ctx->ask */

struct ngx_http_hoody_ai_ask_s {
    ngx_http_hoody_ai_ctx_t         *ctx;
    ngx_http_request_t              *sr;       /* the question under way */
    ngx_event_t                      timer;    /* of the question, a pause */
    ngx_msec_t                       started;
    ngx_msec_t                       pause;
    ngx_http_hoody_ai_reason_e       reason;   /* why it pauses */
    ngx_http_hoody_ai_question_e     question;
    uint64_t                         sent;     /* nanoseconds */

    /* the entry in the registry that the question told of */
    ngx_uint_t                       serial;
    ngx_str_t                        tags;

    /* what the caller sent */
    ngx_chain_t                     *bufs;
    off_t                            size;
    struct hai_json_facts            facts;

    /* the answer */
    ngx_uint_t                       status;   /* 0: none that counts */
    ngx_http_hoody_ai_type_e         type;
    ngx_str_t                        epoch;
    ngx_str_t                        found;    /* by the engine's scan */
    off_t                            announced;
    u_char                          *data;
    size_t                           len;
    size_t                           room;
    size_t                           limit;
    ngx_http_hoody_ai_reason_e       memory;   /* why it was not kept */

    unsigned                         json:1;   /* facts are there */
    unsigned                         unseen:1; /* the body was not scanned */
    unsigned                         opaque:1;
    unsigned                         answered:1;
    unsigned                         late:1;
    unsigned                         due:1;    /* the pause is over */
    unsigned                         last:1;   /* core said "that is all" */
    unsigned                         complete:1;
    unsigned                         overflow:1;
};


/* rules.c */

/* ctx->ask; NULL without memory */
ngx_http_hoody_ai_ask_t *ngx_http_hoody_ai_rules_create(
    ngx_http_request_t *r, ngx_http_hoody_ai_ctx_t *ctx,
    const struct hai_json_facts *facts, ngx_uint_t opaque);

/* sends a question; the answer comes to rules_go_on() */
ngx_int_t ngx_http_hoody_ai_rules_ask(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_http_hoody_ai_question_e question);

/* asks again a little later; "reason" is what is said when time is over */
ngx_int_t ngx_http_hoody_ai_rules_pause(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_http_hoody_ai_reason_e reason);

/* the registry's entry now; NGX_AGAIN: it is being read */
ngx_int_t ngx_http_hoody_ai_rules_entry(ngx_http_hoody_ai_ctx_t *ctx,
    ngx_http_hoody_ai_container_t *view);

/* one line a second about an engine that cannot be understood */
void ngx_http_hoody_ai_rules_complain(ngx_http_request_t *r, const char *what);


/* capture.c: the post_subrequest handler, by which a question is known */

ngx_int_t ngx_http_hoody_ai_capture_done(ngx_http_request_t *sr, void *data,
    ngx_int_t rc);


/* answer.c */

/* what follows from it: NGX_OK or NGX_AGAIN as rules_go_on() returns */
ngx_int_t ngx_http_hoody_ai_answer_take(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);


/* plan.c */

/* a kept plan that may be used now, or NULL; valid until the next call */
struct hai_plan *ngx_http_hoody_ai_plan_find(ngx_http_hoody_ai_ctx_t *ctx,
    ngx_uint_t serial, ngx_uint_t opaque);

/* the same, where the model is not known: a plan for every model */
struct hai_plan *ngx_http_hoody_ai_plan_find_any(ngx_http_hoody_ai_ctx_t *ctx,
    ngx_uint_t serial);

/*
 * Takes over a plan that was asked for when the registry's entry had this
 * serial.  NGX_AGAIN: it is of other rules than those in force; then, and
 * without memory (NGX_ERROR), the plan is freed.
 */
ngx_int_t ngx_http_hoody_ai_plan_keep(ngx_http_hoody_ai_ctx_t *ctx,
    ngx_uint_t serial, ngx_uint_t opaque, struct hai_plan *plan);

/*
 * Brings a plan about: the body is ready, or shown to the engine.  Returns as
 * rules_go_on().
 */
ngx_int_t ngx_http_hoody_ai_plan_apply(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, struct hai_plan *plan,
    const struct hai_json_facts *facts);

/* the plan of an answer without content; NULL: that is no epoch */
struct hai_plan *ngx_http_hoody_ai_plan_empty(ngx_str_t *epoch);


#endif /* _NGX_HTTP_HOODY_AI_RULES_H_INCLUDED_ */
