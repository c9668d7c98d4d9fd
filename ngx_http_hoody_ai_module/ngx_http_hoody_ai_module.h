
/*
 * Types and entry points shared by the files of the module.
 *
 * A request's way, with the file that owns each step and the state it leaves
 * in the context:
 *
 *     access      identity.c, access.c    WAITING -> ADMITTED
 *     precontent  body.c                  ADMITTED -> READING -> SCANNING
 *                 rules.c, plan.c         SCANNING -> ASKING -> READY, or
 *                                         READING -> ASKING -> SCANNING
 *     content     nginx's proxy; upstream.c adds the key   READY -> SENT
 *     filters     filter.c, error.c
 *     end         revoke.c may end it in any state; log.c accounts, entry.c
 *                 writes down
 */


#ifndef _NGX_HTTP_HOODY_AI_MODULE_H_INCLUDED_
#define _NGX_HTTP_HOODY_AI_MODULE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <hai_edit.h>
#include <hai_identity.h>
#include <hai_facts.h>
#include <hai_json.h>
#include <hai_mask.h>
#include <hai_route.h>
#include <hai_sse.h>
#include <hai_usage.h>

#include "ngx_http_hoody_ai_compat.h"
#include "ngx_http_hoody_ai_replica.h"
#include "ngx_http_hoody_ai_secret.h"


#define NGX_HTTP_HOODY_AI_VERSION      "0.1.0"

#define NGX_HTTP_HOODY_AI_REQUEST_ID_LEN  32

/* bytes that the changes of one body may insert */
#define NGX_HTTP_HOODY_AI_EDITS_TEXT   (8 * 1024 * 1024)

/* bytes of JSON scanned in one turn of the event loop */
#define NGX_HTTP_HOODY_AI_SCAN_SLICE   (256 * 1024)

/* an SSE tail without an end is held no larger and no longer than this */
#define NGX_HTTP_HOODY_AI_HOLD_SIZE    (64 * 1024)
#define NGX_HTTP_HOODY_AI_HOLD_TIME    1000


/*
 * Why a request is refused by the gateway itself.  One row each in the table
 * of ngx_http_hoody_ai_error.c: status, code, message.
 */

typedef enum {
    NGX_HTTP_HOODY_AI_OK = 0,
    NGX_HTTP_HOODY_AI_R_NO_CREDENTIAL,
    NGX_HTTP_HOODY_AI_R_BAD_CREDENTIAL,
    NGX_HTTP_HOODY_AI_R_NO_CONTAINER,
    NGX_HTTP_HOODY_AI_R_NOT_RUNNING,
    NGX_HTTP_HOODY_AI_R_WRONG_SOURCE,
    NGX_HTTP_HOODY_AI_R_SHARED_SOURCE,
    NGX_HTTP_HOODY_AI_R_SHARED_NUMBER,
    NGX_HTTP_HOODY_AI_R_PEER_UNKNOWN,
    NGX_HTTP_HOODY_AI_R_PEER_REPLACED,
    NGX_HTTP_HOODY_AI_R_DISABLED,
    NGX_HTTP_HOODY_AI_R_ROUTE,
    NGX_HTTP_HOODY_AI_R_NO_PROVIDER,
    NGX_HTTP_HOODY_AI_R_NOT_LOADED,
    NGX_HTTP_HOODY_AI_R_STALE,
    NGX_HTTP_HOODY_AI_R_ENCODING,
    NGX_HTTP_HOODY_AI_R_TOO_LARGE,
    NGX_HTTP_HOODY_AI_R_BODY,
    NGX_HTTP_HOODY_AI_R_STORED,
    NGX_HTTP_HOODY_AI_R_MEMORY,
    NGX_HTTP_HOODY_AI_R_MEMORY_SHARE,
    NGX_HTTP_HOODY_AI_R_BLOCKED,
    NGX_HTTP_HOODY_AI_R_SHAPE,
    NGX_HTTP_HOODY_AI_R_RULES,
    NGX_HTTP_HOODY_AI_R_RULES_TIMEOUT,
    NGX_HTTP_HOODY_AI_R_RULES_ANSWER,
    NGX_HTTP_HOODY_AI_R_RULES_EPOCH,
    NGX_HTTP_HOODY_AI_R_REVOKED,
    NGX_HTTP_HOODY_AI_R_UNVERIFIED,
    NGX_HTTP_HOODY_AI_R_ANSWER,
    NGX_HTTP_HOODY_AI_R_PROVIDER,
    NGX_HTTP_HOODY_AI_R_TIMEOUT,
    NGX_HTTP_HOODY_AI_R_BAD_REQUEST,
    NGX_HTTP_HOODY_AI_R_INTERNAL,
    NGX_HTTP_HOODY_AI_R_COUNT
} ngx_http_hoody_ai_reason_e;


typedef struct {
    ngx_uint_t                       status;
    ngx_str_t                        code;
    ngx_str_t                        reason;   /* log and counter label */
    ngx_str_t                        message;
} ngx_http_hoody_ai_refusal_t;


typedef struct {
    ngx_str_t                        name;
    ngx_http_hoody_ai_secret_t      *secret;
} ngx_http_hoody_ai_named_secret_t;


typedef struct {
    ngx_http_upstream_srv_conf_t    *upstream;
    ngx_http_upstream_init_peer_pt   original;
} ngx_http_hoody_ai_peer_init_t;


typedef struct {
    ngx_http_hoody_ai_redis_conf_t   redis;
    ngx_uint_t                       redis_set;     /* flag */
    ngx_http_hoody_ai_secret_t       redis_password; /* key_len 0: none */
    ngx_http_hoody_ai_secret_t       sentinel_password;  /* the same */

    ngx_str_t                        server;
    ngx_shm_zone_t                  *zone;
    size_t                           body_memory;

    ngx_http_hoody_ai_vault_t       *vault;
    ngx_array_t                      secrets;       /* named_secret_t */
    struct hai_mask                  mask;

    /* written once while the configuration is read */
    ngx_array_t                      locations;     /* ngx_http_conf_ctx_t */
    ngx_array_t                      peers;         /* peer_init_t, sorted */
    ngx_int_t                        realip_index;  /* -1: no such module */
    ngx_uint_t                       used;          /* flag: on somewhere */
    ngx_uint_t                       status_used;   /* flag: shown somewhere */
} ngx_http_hoody_ai_main_conf_t;


/* "hoody_ai_rules" */

typedef struct {
    ngx_str_t                        uri;
    ngx_msec_t                       timeout;
    ngx_flag_t                       pass;      /* on_error=pass */
} ngx_http_hoody_ai_rules_conf_t;


typedef struct {
    ngx_flag_t                       enable;
    ngx_flag_t                       stored;
    ngx_http_hoody_ai_rules_conf_t  *rules;         /* NULL: off */
    ngx_http_complex_value_t        *credential;    /* NULL: none */
    ngx_http_hoody_ai_secret_t      *secret;        /* constant credential */
    ngx_flag_t                       insecure;
    ngx_http_core_loc_conf_t        *rules_location;
    ngx_uint_t                       model_prefix;
    off_t                            max_body;
    ngx_msec_t                       wait;
    ngx_str_t                        prefix;        /* location's name */
    ngx_str_t                        listener_container;
} ngx_http_hoody_ai_loc_conf_t;


#define NGX_HTTP_HOODY_AI_PREFIX_KEEP   0
#define NGX_HTTP_HOODY_AI_PREFIX_STRIP  1


/* what the rule engine is asked, and what came of it (metrics) */

typedef enum {
    NGX_HTTP_HOODY_AI_ASK_PLAN = 0,
    NGX_HTTP_HOODY_AI_ASK_BODY,
    NGX_HTTP_HOODY_AI_ASKS
} ngx_http_hoody_ai_question_e;

typedef enum {
    NGX_HTTP_HOODY_AI_Q_UNCHANGED = 0,
    NGX_HTTP_HOODY_AI_Q_CHANGED,
    NGX_HTTP_HOODY_AI_Q_PLAN,
    NGX_HTTP_HOODY_AI_Q_BLOCKED,
    NGX_HTTP_HOODY_AI_Q_SHAPE,
    NGX_HTTP_HOODY_AI_Q_EPOCH,
    NGX_HTTP_HOODY_AI_Q_TIMEOUT,
    NGX_HTTP_HOODY_AI_Q_UNAVAILABLE,
    NGX_HTTP_HOODY_AI_Q_UNUSABLE,
    NGX_HTTP_HOODY_AI_Q_CANCELED,
    NGX_HTTP_HOODY_AI_QS
} ngx_http_hoody_ai_outcome_e;


/* who moves on: see each line */

typedef enum {
    NGX_HTTP_HOODY_AI_WAITING = 0,   /* access.c, once the replica knows */
    NGX_HTTP_HOODY_AI_ADMITTED,      /* body.c, when reading begins */
    NGX_HTTP_HOODY_AI_READING,       /* body.c, when the body is complete */
    NGX_HTTP_HOODY_AI_SCANNING,      /* body.c, when the scan is complete */
    NGX_HTTP_HOODY_AI_ASKING,        /* rules.c, with the engine's answer */
    NGX_HTTP_HOODY_AI_READY,         /* upstream.c, at peer.init */
    NGX_HTTP_HOODY_AI_SENT,          /* filter.c, with the response header */
    NGX_HTTP_HOODY_AI_STREAMING,     /* until the request ends */
    NGX_HTTP_HOODY_AI_REFUSED        /* final: reason says why */
} ngx_http_hoody_ai_state_e;


typedef struct ngx_http_hoody_ai_zone_s  ngx_http_hoody_ai_zone_t;
typedef struct ngx_http_hoody_ai_slot_s  ngx_http_hoody_ai_slot_t;
typedef struct ngx_http_hoody_ai_live_s  ngx_http_hoody_ai_live_t;
typedef struct ngx_http_hoody_ai_ask_s   ngx_http_hoody_ai_ask_t;
typedef struct ngx_http_hoody_ai_ctx_s   ngx_http_hoody_ai_ctx_t;


/* upstream.c: the load balancer's callbacks that were wrapped */

typedef struct {
    ngx_http_request_t              *request;
    void                            *data;
    ngx_event_get_peer_pt            get;
    ngx_event_free_peer_pt           free;
    ngx_event_notify_peer_pt         notify;
#if (NGX_HTTP_SSL)
    ngx_event_set_peer_session_pt    set_session;
    ngx_event_save_peer_session_pt   save_session;
#endif
    ngx_output_chain_filter_pt       output_filter;
    void                            *output_ctx;
    ngx_int_t                      (*process_header)(ngx_http_request_t *r);
    ngx_int_t                      (*reinit_request)(ngx_http_request_t *r);
    void                           (*finalize_request)(ngx_http_request_t *r,
                                                       ngx_int_t rc);
    ngx_buf_t                       *key;      /* points into the vault */
    unsigned                         checked:1; /* this connection may carry */
    unsigned                         wiped:1;
} ngx_http_hoody_ai_peer_t;


struct ngx_http_hoody_ai_ctx_s {
    ngx_http_request_t              *request;
    ngx_http_hoody_ai_state_e        state;
    ngx_http_hoody_ai_reason_e       reason;

    /* revoke.c */
    ngx_queue_t                      queue;    /* of live->requests */
    ngx_http_hoody_ai_live_t        *live;
    ngx_http_hoody_ai_live_t        *payer;    /* for body memory, by name */
    ngx_event_t                      judge;    /* posted, and the wait timer */

    /* identity.c */
    ngx_str_t                        claim;
    ngx_http_hoody_ai_source_t       source;
    ngx_http_hoody_ai_source_t       relay;    /* whose word it is, relayed */
    ngx_str_t                        container;
    ngx_str_t                        container_id;

    /* access.c: when it was admitted last, and the serial of its entry then */
    ngx_msec_t                       admitted;
    ngx_uint_t                       heard;    /* of Redis until then */
    ngx_uint_t                       serial;

    /* access.c, body.c */
    const struct hai_route          *route;
    ngx_str_t                        path;     /* relative to the prefix */
    ngx_str_t                        model;
    size_t                           body_size; /* as received */
    size_t                           kept;      /* counted in body memory */
    ngx_chain_t                     *scan_chain;
    off_t                            scan_pos;
    struct hai_json                 *scanner;
    ngx_event_t                     *scan;     /* posted between slices */
    ngx_chain_t                     *copied;   /* HTTP/2: our own blocks */
    ngx_chain_t                    **copied_last;
    ngx_buf_t                       *copy_buf;
    ngx_http_hoody_ai_ask_t         *ask;      /* rules.c; NULL: not asked */
    ngx_http_hoody_ai_secret_t      *secret;
    ngx_http_hoody_ai_peer_t        *peer;

    /* filter.c */
    u_char                          *hold;
    size_t                           hold_len;
    size_t                           hold_size;
    ngx_event_t                     *hold_timer;
    ngx_msec_t                       hold_since;
    ngx_chain_t                     *free;
    ngx_chain_t                     *busy;
    ngx_chain_t                     *spent;    /* core's, not given back */
    struct hai_sse                   sse;
    struct hai_usage_scan           *usage;
    ngx_str_t                        error_message; /* as JSON has it */
    ngx_str_t                        error_json;    /* instead of ours */
    ngx_str_t                        error_body;
    off_t                            bytes_out;
    ngx_msec_t                       started;
    ngx_msec_t                       first_byte;
    ngx_str_t                        provider_request_id;

    /* log.c */
    off_t                            bytes_in;
    uint64_t                         overhead; /* nanoseconds */

    u_char                           request_id
                                         [NGX_HTTP_HOODY_AI_REQUEST_ID_LEN];

    unsigned                         relayed:1;   /* by realip or PROXY */
    unsigned                         wait_over:1; /* waited long enough */
    unsigned                         encoded:1;   /* Content-Encoding */
    unsigned                         anthropic:1;
    unsigned                         stream:1;
    unsigned                         from_provider:1;
    unsigned                         broken:1;      /* by the provider */
    unsigned                         provider_id_named:1;
    unsigned                         is_sse:1;
    unsigned                         event_open:1; /* part of it was passed */
    unsigned                         error_sent:1;
    unsigned                         complete:1;   /* last buffer passed */
    unsigned                         ended:1;      /* cut by us */
    unsigned                         counted:1;    /* as an open stream */
    unsigned                         sampled:1;    /* overhead was measured */
    unsigned                         copy_body:1;
    unsigned                         replaced:1;  /* the rules' body */
    unsigned                         ruled:1;     /* no rule is left to ask */
};


extern ngx_module_t  ngx_http_hoody_ai_module;


/* this worker's state; one worker is one process, nothing is shared */

typedef struct {
    ngx_http_hoody_ai_main_conf_t   *conf;
    ngx_http_hoody_ai_endpoint_t    *endpoint;
    ngx_http_hoody_ai_replica_t     *replica;
    struct hai_json                 *scanner;  /* for bodies done in one go */
    struct hai_edits                 edits;    /* used and left in one go */
    ngx_http_hoody_ai_zone_t        *zone;
    ngx_http_hoody_ai_slot_t        *slot;     /* of the zone, ours */
    size_t                           body_memory;
    uint64_t                         random[2];
} ngx_http_hoody_ai_worker_t;

extern ngx_http_hoody_ai_worker_t  ngx_http_hoody_ai_worker;


/* ngx_http_hoody_ai_module.c */

/* finds a module that this one does not link to; NULL: not in this nginx */
ngx_module_t *ngx_http_hoody_ai_find_module(ngx_conf_t *cf, char *name);
ngx_http_hoody_ai_ctx_t *ngx_http_hoody_ai_get_ctx(ngx_http_request_t *r);
void ngx_http_hoody_ai_ctx_cleanup(void *data);


/* ngx_http_hoody_ai_identity.c */

ngx_http_hoody_ai_reason_e ngx_http_hoody_ai_identify(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);


/* ngx_http_hoody_ai_peer.c: kernel identity on unix sockets */

ngx_int_t ngx_http_hoody_ai_peer_cgroup(ngx_connection_t *c,
    ngx_str_t *cgroup);
ngx_uint_t ngx_http_hoody_ai_peer_supported(void);
ngx_int_t ngx_http_hoody_ai_peer_bare_safe(ngx_str_t *cgroup, size_t at);


/* ngx_http_hoody_ai_access.c */

ngx_int_t ngx_http_hoody_ai_access_handler(ngx_http_request_t *r);
ngx_http_hoody_ai_reason_e ngx_http_hoody_ai_decide(
    ngx_http_hoody_ai_ctx_t *ctx, ngx_uint_t *wait);


/* ngx_http_hoody_ai_body.c */

ngx_int_t ngx_http_hoody_ai_precontent_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_hoody_ai_request_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);
extern ngx_http_request_body_filter_pt
    ngx_http_hoody_ai_next_request_body_filter;
void ngx_http_hoody_ai_body_cleanup(ngx_http_hoody_ai_ctx_t *ctx);

/*
 * Rules have had their say: scans the body, which is another one than the
 * caller's or has not been looked at, then it is ready.
 */
ngx_int_t ngx_http_hoody_ai_body_replaced(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
ngx_int_t ngx_http_hoody_ai_body_unchanged(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
/* scans it as the first step */
ngx_int_t ngx_http_hoody_ai_body_scan(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);

/*
 * The last step: the body and what "e" (NULL: nothing) still changes in it,
 * the model without its prefix, the credential.
 */
ngx_int_t ngx_http_hoody_ai_body_ready(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, const struct hai_json_facts *facts,
    struct hai_edits *e);

/* bytes of the body as it lies in memory now */
size_t ngx_http_hoody_ai_body_length(ngx_http_request_body_t *rb);

/* takes over what a scan found */
ngx_int_t ngx_http_hoody_ai_body_facts(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, const struct hai_json_facts *facts);

/* lets the phases go on: the precontent handler acts on ctx->state */
void ngx_http_hoody_ai_resume(ngx_http_request_t *r);

/* counts n bytes more that the request keeps in memory; the reason if they
   are too many */
ngx_http_hoody_ai_reason_e ngx_http_hoody_ai_body_keep(
    ngx_http_hoody_ai_ctx_t *ctx, size_t n);


/* ngx_http_hoody_ai_splice.c */

/*
 * Applies sorted edits to the request body; their texts have to live as long
 * as the request.
 */
ngx_int_t ngx_http_hoody_ai_splice(ngx_http_request_t *r, struct hai_edits *e);
ngx_int_t ngx_http_hoody_ai_strip_prefix(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, const struct hai_json_value *value,
    struct hai_edits *e);


/* ngx_http_hoody_ai_redis_conf.c */

char *ngx_http_hoody_ai_set_redis(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_hoody_ai_init_redis(ngx_conf_t *cf,
    ngx_http_hoody_ai_main_conf_t *hmcf);
/* once the vault does not move any more */
void ngx_http_hoody_ai_redis_passwords(ngx_http_hoody_ai_main_conf_t *hmcf);


/* ngx_http_hoody_ai_rules_conf.c */

char *ngx_http_hoody_ai_set_rules(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_http_hoody_ai_check_rules(ngx_conf_t *cf,
    ngx_http_hoody_ai_main_conf_t *hmcf);


/* ngx_http_hoody_ai_capture.c */

/* has to come after filter_init(): a question's answer stops before it */
ngx_int_t ngx_http_hoody_ai_capture_init(ngx_conf_t *cf);


/* ngx_http_hoody_ai_rules.c */

/*
 * Before a JSON body is scanned.  NGX_AGAIN: the engine is to see it first;
 * NGX_DECLINED: it need not; NGX_OK: refused.
 */
ngx_int_t ngx_http_hoody_ai_rules_unseen(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
/* facts: NULL without a JSON body */
ngx_int_t ngx_http_hoody_ai_rules_begin(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, const struct hai_json_facts *facts);
/* while ASKING.  NGX_AGAIN: it is still, or SCANNING */
ngx_int_t ngx_http_hoody_ai_rules_go_on(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
ngx_int_t ngx_http_hoody_ai_rules_failed(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_http_hoody_ai_reason_e reason);
void ngx_http_hoody_ai_rules_stop(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
void ngx_http_hoody_ai_rules_cleanup(ngx_http_hoody_ai_ctx_t *ctx);


/* ngx_http_hoody_ai_plan.c */

ngx_int_t ngx_http_hoody_ai_plan_init(void);
void ngx_http_hoody_ai_plan_done(void);


/* ngx_http_hoody_ai_upstream.c */

ngx_int_t ngx_http_hoody_ai_upstream_init(ngx_conf_t *cf);
void ngx_http_hoody_ai_upstream_cleanup(ngx_http_hoody_ai_ctx_t *ctx);
void ngx_http_hoody_ai_upstream_close(ngx_http_request_t *r);


/* ngx_http_hoody_ai_filter.c */

ngx_int_t ngx_http_hoody_ai_filter_init(ngx_conf_t *cf);
ngx_int_t ngx_http_hoody_ai_filter_cut(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx);
void ngx_http_hoody_ai_filter_cleanup(ngx_http_hoody_ai_ctx_t *ctx);


/* ngx_http_hoody_ai_error.c */

extern const ngx_http_hoody_ai_refusal_t  ngx_http_hoody_ai_refusals[];

ngx_int_t ngx_http_hoody_ai_refuse(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_http_hoody_ai_reason_e reason);
ngx_int_t ngx_http_hoody_ai_error_body(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_str_t *body);
ngx_int_t ngx_http_hoody_ai_error_event(ngx_http_request_t *r,
    ngx_http_hoody_ai_ctx_t *ctx, ngx_str_t *event);
ngx_http_hoody_ai_reason_e ngx_http_hoody_ai_reason_of_status(
    ngx_uint_t status);


/* ngx_http_hoody_ai_revoke.c: requests of this worker, by claim */

ngx_int_t ngx_http_hoody_ai_live_add(ngx_http_hoody_ai_ctx_t *ctx);
void ngx_http_hoody_ai_live_remove(ngx_http_hoody_ai_ctx_t *ctx);
void ngx_http_hoody_ai_live_wait(ngx_http_hoody_ai_ctx_t *ctx,
    ngx_msec_t timeout);
ngx_int_t ngx_http_hoody_ai_live_pay(ngx_http_hoody_ai_ctx_t *ctx, size_t n,
    size_t *share);
void ngx_http_hoody_ai_live_paid(ngx_http_hoody_ai_ctx_t *ctx);
ngx_uint_t ngx_http_hoody_ai_live_requests(void);
void ngx_http_hoody_ai_live_init(void);
void ngx_http_hoody_ai_live_done(void);
extern ngx_http_hoody_ai_replica_events_t  ngx_http_hoody_ai_live_events;


/* ngx_http_hoody_ai_variables.c */

ngx_int_t ngx_http_hoody_ai_add_variables(ngx_conf_t *cf);


/* ngx_http_hoody_ai_zone.c */

char *ngx_http_hoody_ai_set_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_http_hoody_ai_default_zone(ngx_conf_t *cf,
    ngx_http_hoody_ai_main_conf_t *hmcf);
ngx_int_t ngx_http_hoody_ai_zone_start(ngx_cycle_t *cycle);
void ngx_http_hoody_ai_zone_stop(ngx_cycle_t *cycle);


/* ngx_http_hoody_ai_turn.c */

ngx_int_t ngx_http_hoody_ai_turn_init(ngx_conf_t *cf);
void ngx_http_hoody_ai_turn_init_worker(ngx_cycle_t *cycle);


/* ngx_http_hoody_ai_log.c */

ngx_int_t ngx_http_hoody_ai_log_init(ngx_conf_t *cf);
void ngx_http_hoody_ai_log_publish(void);
void ngx_http_hoody_ai_log_tick(void);
ngx_int_t ngx_http_hoody_ai_timed_access(ngx_http_request_t *r);
ngx_int_t ngx_http_hoody_ai_timed_precontent(ngx_http_request_t *r);
/* the request waits: what passes until its handler is called is not ours */
void ngx_http_hoody_ai_log_pause(ngx_http_hoody_ai_ctx_t *ctx);
/* nanoseconds */
uint64_t ngx_http_hoody_ai_clock(void);


/* ngx_http_hoody_ai_event.c */

ngx_int_t ngx_http_hoody_ai_event_start(ngx_cycle_t *cycle,
    ngx_http_hoody_ai_main_conf_t *conf, ngx_http_hoody_ai_zone_t *zone,
    ngx_http_hoody_ai_slot_t *slot);
void ngx_http_hoody_ai_event_stop(ngx_cycle_t *cycle);
u_char *ngx_http_hoody_ai_event_open(size_t size);
void ngx_http_hoody_ai_event_close(u_char *last, ngx_uint_t nargs);


/* ngx_http_hoody_ai_status.c */

char *ngx_http_hoody_ai_set_status(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


#endif /* _NGX_HTTP_HOODY_AI_MODULE_H_INCLUDED_ */
