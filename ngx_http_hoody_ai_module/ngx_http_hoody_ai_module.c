
/*
 * The module itself: directives, configurations, registration, the life of a
 * worker.  Configuration is read by the master and const once requests run.
 */


#include "ngx_http_hoody_ai_module.h"

#include <openssl/rand.h>

#if (NGX_LINUX)
#include <sys/prctl.h>
#endif

#if defined __GLIBC__
#include <malloc.h>
#endif


/* a body up to this size is read into one buffer of its own size */
#define NGX_HTTP_HOODY_AI_BODY_BUFFER  (64 * 1024)

#define NGX_HTTP_HOODY_AI_HEADER_BUFFER  2048


static void *ngx_http_hoody_ai_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_hoody_ai_init_main_conf(ngx_conf_t *cf, void *conf);
static void *ngx_http_hoody_ai_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_hoody_ai_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static char *ngx_http_hoody_ai_check_location(ngx_conf_t *cf,
    ngx_http_hoody_ai_loc_conf_t *conf);
static ngx_int_t ngx_http_hoody_ai_check_proxy(ngx_conf_t *cf,
    ngx_http_hoody_ai_main_conf_t *hmcf);
static ngx_int_t ngx_http_hoody_ai_check_listeners(ngx_conf_t *cf,
    ngx_http_hoody_ai_main_conf_t *hmcf);
static char *ngx_http_hoody_ai_set_server(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_hoody_ai_set_secret(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_hoody_ai_set_credential(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static ngx_int_t ngx_http_hoody_ai_init(ngx_conf_t *cf);
static ngx_int_t ngx_http_hoody_ai_init_process(ngx_cycle_t *cycle);
static void ngx_http_hoody_ai_exit_process(ngx_cycle_t *cycle);


static ngx_conf_enum_t  ngx_http_hoody_ai_model_prefix[] = {
    { ngx_string("keep"), NGX_HTTP_HOODY_AI_PREFIX_KEEP },
    { ngx_string("strip"), NGX_HTTP_HOODY_AI_PREFIX_STRIP },
    { ngx_null_string, 0 }
};


static ngx_command_t  ngx_http_hoody_ai_commands[] = {

    { ngx_string("hoody_ai"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_hoody_ai_loc_conf_t, enable),
      NULL },

    { ngx_string("hoody_ai_server"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_hoody_ai_set_server,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("hoody_ai_redis"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_http_hoody_ai_set_redis,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("hoody_ai_secret"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE23|NGX_CONF_TAKE4,
      ngx_http_hoody_ai_set_secret,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("hoody_ai_credential"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_hoody_ai_set_credential,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("hoody_ai_stored"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_hoody_ai_loc_conf_t, stored),
      NULL },

    { ngx_string("hoody_ai_rules"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE123,
      ngx_http_hoody_ai_set_rules,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("hoody_ai_model_prefix"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_hoody_ai_loc_conf_t, model_prefix),
      &ngx_http_hoody_ai_model_prefix },

    { ngx_string("hoody_ai_max_body"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_off_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_hoody_ai_loc_conf_t, max_body),
      NULL },

    { ngx_string("hoody_ai_body_memory"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_hoody_ai_main_conf_t, body_memory),
      NULL },

    { ngx_string("hoody_ai_wait"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_hoody_ai_loc_conf_t, wait),
      NULL },

    { ngx_string("hoody_ai_listener_container"),
      NGX_HTTP_SRV_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_hoody_ai_loc_conf_t, listener_container),
      NULL },

    { ngx_string("hoody_ai_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_hoody_ai_set_zone,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("hoody_ai_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_hoody_ai_set_status,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_hoody_ai_module_ctx = {
    ngx_http_hoody_ai_add_variables,       /* preconfiguration */
    ngx_http_hoody_ai_init,                /* postconfiguration */

    ngx_http_hoody_ai_create_main_conf,    /* create main configuration */
    ngx_http_hoody_ai_init_main_conf,      /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_hoody_ai_create_loc_conf,     /* create location configuration */
    ngx_http_hoody_ai_merge_loc_conf       /* merge location configuration */
};


ngx_module_t  ngx_http_hoody_ai_module = {
    NGX_MODULE_V1,
    &ngx_http_hoody_ai_module_ctx,         /* module context */
    ngx_http_hoody_ai_commands,            /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_hoody_ai_init_process,        /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_hoody_ai_exit_process,        /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


ngx_http_hoody_ai_worker_t  ngx_http_hoody_ai_worker;


/*
 * The context, also after an internal redirect has cleared r->ctx: the
 * cleanup that access.c registered still points to it.
 */

ngx_http_hoody_ai_ctx_t *
ngx_http_hoody_ai_get_ctx(ngx_http_request_t *r)
{
    ngx_http_cleanup_t       *cln;
    ngx_http_hoody_ai_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_hoody_ai_module);

    if (ctx == NULL && r == r->main && (r->internal || r->filter_finalize)) {

        for (cln = r->cleanup; cln; cln = cln->next) {

            if (cln->handler == ngx_http_hoody_ai_ctx_cleanup) {
                ctx = cln->data;
                ngx_http_set_ctx(r, ctx, ngx_http_hoody_ai_module);
                break;
            }
        }
    }

    return ctx;
}


/* runs when the request ends, however it ends, and only once */

void
ngx_http_hoody_ai_ctx_cleanup(void *data)
{
    ngx_http_hoody_ai_ctx_t  *ctx = data;

    ngx_http_hoody_ai_rules_cleanup(ctx);
    ngx_http_hoody_ai_body_cleanup(ctx);
    ngx_http_hoody_ai_live_remove(ctx);
    ngx_http_hoody_ai_upstream_cleanup(ctx);
    ngx_http_hoody_ai_filter_cleanup(ctx);
}


static void *
ngx_http_hoody_ai_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_hoody_ai_main_conf_t  *hmcf;

    hmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_hoody_ai_main_conf_t));
    if (hmcf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     hmcf->redis = { 0 };
     *     hmcf->redis_set = 0;
     *     hmcf->server = { 0, NULL };
     *     hmcf->used = 0;
     */

    hmcf->redis.connect_timeout = NGX_CONF_UNSET_MSEC;
    hmcf->redis.max_stale = NGX_CONF_UNSET_MSEC;
    hmcf->body_memory = NGX_CONF_UNSET_SIZE;
    hmcf->realip_index = NGX_ERROR;

    hmcf->vault = ngx_http_hoody_ai_vault_create(cf->pool);
    if (hmcf->vault == NULL) {
        return NULL;
    }

    if (ngx_array_init(&hmcf->secrets, cf->pool, 2,
                       sizeof(ngx_http_hoody_ai_named_secret_t))
        != NGX_OK)
    {
        return NULL;
    }

    if (ngx_array_init(&hmcf->locations, cf->pool, 4,
                       sizeof(ngx_http_conf_ctx_t))
        != NGX_OK)
    {
        return NULL;
    }

    hai_mask_init(&hmcf->mask);

    return hmcf;
}


static char *
ngx_http_hoody_ai_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_hoody_ai_main_conf_t *hmcf = conf;

    ngx_conf_init_size_value(hmcf->body_memory, 512 * 1024 * 1024);

    if (hmcf->server.len == 0) {
        hmcf->server = cf->cycle->hostname;
    }

    return ngx_http_hoody_ai_init_redis(cf, hmcf);
}


static void *
ngx_http_hoody_ai_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_hoody_ai_loc_conf_t  *hlcf;

    hlcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_hoody_ai_loc_conf_t));
    if (hlcf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     hlcf->secret = NULL;
     *     hlcf->rules_location = NULL;
     *     hlcf->prefix = { 0, NULL };
     *     hlcf->listener_container = { 0, NULL };
     */

    hlcf->enable = NGX_CONF_UNSET;
    hlcf->stored = NGX_CONF_UNSET;
    hlcf->rules = NGX_CONF_UNSET_PTR;
    hlcf->credential = NGX_CONF_UNSET_PTR;
    hlcf->insecure = NGX_CONF_UNSET;
    hlcf->model_prefix = NGX_CONF_UNSET_UINT;
    hlcf->max_body = NGX_CONF_UNSET;
    hlcf->wait = NGX_CONF_UNSET_MSEC;

    return hlcf;
}


static char *
ngx_http_hoody_ai_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_hoody_ai_loc_conf_t *prev = parent;
    ngx_http_hoody_ai_loc_conf_t *conf = child;

    ngx_uint_t                 special;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    special = clcf->exact_match || clcf->named || clcf->internal;

#if (NGX_PCRE)
    special = special || clcf->regex != NULL;
#endif

    if (special && conf->enable == 1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"hoody_ai on\" in location \"%V\": it needs a "
                           "plain prefix location, not an exact, regex, "
                           "named or internal one", &clcf->name);
        return NGX_CONF_ERROR;
    }

    if (special) {
        conf->enable = 0;
    }

    ngx_conf_merge_value(conf->enable, prev->enable, 0);
    ngx_conf_merge_value(conf->stored, prev->stored, 0);
    ngx_conf_merge_ptr_value(conf->rules, prev->rules, NULL);
    ngx_conf_merge_uint_value(conf->model_prefix, prev->model_prefix,
                              NGX_HTTP_HOODY_AI_PREFIX_KEEP);
    ngx_conf_merge_off_value(conf->max_body, prev->max_body,
                             32 * 1024 * 1024);
    ngx_conf_merge_msec_value(conf->wait, prev->wait, 2000);
    ngx_conf_merge_str_value(conf->listener_container,
                             prev->listener_container, "");

    if (conf->credential == NGX_CONF_UNSET_PTR) {
        conf->insecure = prev->insecure;
    }

    ngx_conf_merge_ptr_value(conf->credential, prev->credential, NULL);

    if (conf->insecure == NGX_CONF_UNSET) {
        conf->insecure = 0;
    }

    if (!conf->enable) {
        return NGX_CONF_OK;
    }

    conf->prefix = clcf->name;

    return ngx_http_hoody_ai_check_location(cf, conf);
}


/*
 * What streaming and safety need of the core module in this location is set
 * here, whatever the administrator wrote.
 */

static char *
ngx_http_hoody_ai_check_location(ngx_conf_t *cf,
    ngx_http_hoody_ai_loc_conf_t *conf)
{
    ngx_uint_t                        i;
    ngx_http_conf_ctx_t              *ctx;
    ngx_http_core_loc_conf_t         *clcf;
    ngx_http_core_srv_conf_t         *cscf;
    ngx_http_hoody_ai_main_conf_t    *hmcf;
    ngx_http_hoody_ai_named_secret_t *ns;

    hmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_hoody_ai_module);
    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    hmcf->used = 1;

    if (clcf->satisfy == NGX_HTTP_SATISFY_ANY) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"satisfy any\" in location \"%V\" would let "
                           "requests around \"hoody_ai\"", &clcf->name);
        return NGX_CONF_ERROR;
    }

    /*
     * Headers of the SDKs and a short body fit into one read, where core's
     * kilobyte takes three system calls.
     */

    cscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);

    if (cscf->client_header_buffer_size < NGX_HTTP_HOODY_AI_HEADER_BUFFER) {
        cscf->client_header_buffer_size = NGX_HTTP_HOODY_AI_HEADER_BUFFER;
    }

    /* the module counts, and keeps bodies in memory */

    clcf->client_max_body_size = 0;
    clcf->client_body_in_file_only = 0;
    clcf->client_body_in_single_buffer = 0;

    if (clcf->client_body_buffer_size < NGX_HTTP_HOODY_AI_BODY_BUFFER) {
        clcf->client_body_buffer_size = NGX_HTTP_HOODY_AI_BODY_BUFFER;
    }

    if (conf->credential && conf->credential->lengths == NULL) {

        ns = hmcf->secrets.elts;

        for (i = 0; i < hmcf->secrets.nelts; i++) {

            if (ns[i].name.len == conf->credential->value.len
                && ngx_strncmp(ns[i].name.data, conf->credential->value.data,
                               ns[i].name.len)
                   == 0)
            {
                conf->secret = ns[i].secret;
                break;
            }
        }

        if (conf->secret == NULL) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"hoody_ai_credential\" in location \"%V\" "
                               "names the unknown secret \"%V\"",
                               &clcf->name, &conf->credential->value);
            return NGX_CONF_ERROR;
        }
    }

    ctx = ngx_array_push(&hmcf->locations);
    if (ctx == NULL) {
        return NGX_CONF_ERROR;
    }

    *ctx = *(ngx_http_conf_ctx_t *) cf->ctx;

    return NGX_CONF_OK;
}


ngx_module_t *
ngx_http_hoody_ai_find_module(ngx_conf_t *cf, char *name)
{
    ngx_uint_t  i;

    for (i = 0; cf->cycle->modules[i]; i++) {

        if (ngx_strcmp(cf->cycle->modules[i]->name, name) == 0) {
            return cf->cycle->modules[i];
        }
    }

    return NULL;
}


/*
 * An answer of a provider is never kept.  The proxy module's configuration
 * has begun with its upstream part in every version of nginx.
 */

static ngx_int_t
ngx_http_hoody_ai_check_proxy(ngx_conf_t *cf,
    ngx_http_hoody_ai_main_conf_t *hmcf)
{
    ngx_uint_t                     i;
    ngx_module_t                  *proxy;
    ngx_http_conf_ctx_t           *ctx;
    ngx_http_core_loc_conf_t      *clcf;
    ngx_http_upstream_conf_t      *ucf;
#if (NGX_HTTP_SSL)
    ngx_http_hoody_ai_loc_conf_t  *hlcf;
#endif

    proxy = ngx_http_hoody_ai_find_module(cf, "ngx_http_proxy_module");
    if (proxy == NULL) {
        return NGX_OK;
    }

    ctx = hmcf->locations.elts;

    for (i = 0; i < hmcf->locations.nelts; i++) {

        ucf = ctx[i].loc_conf[proxy->ctx_index];
        clcf = ctx[i].loc_conf[ngx_http_core_module.ctx_index];

#if (NGX_HTTP_CACHE)
        if (ucf->cache == 1) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "\"proxy_cache\" in location \"%V\" would keep "
                          "answers, which \"hoody_ai\" forbids",
                          &clcf->name);
            return NGX_ERROR;
        }
#endif

        if (ucf->ignore_client_abort) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "\"proxy_ignore_client_abort on\" in location "
                          "\"%V\" would let answers run on that nobody "
                          "reads, which \"hoody_ai\" forbids", &clcf->name);
            return NGX_ERROR;
        }

#if (NGX_HTTP_SSL)
        hlcf = ctx[i].loc_conf[ngx_http_hoody_ai_module.ctx_index];

        if (ucf->ssl && !ucf->ssl_verify && hlcf->credential
            && !hlcf->insecure)
        {
            ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                          "no key will be sent from location \"%V\": "
                          "\"proxy_ssl_verify\" is off", &clcf->name);
        }
#endif

        if (ucf->store > 0 || ucf->store_lengths) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "\"proxy_store\" in location \"%V\" would keep "
                          "answers, which \"hoody_ai\" forbids",
                          &clcf->name);
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/*
 * On a kernel that cannot name the process behind a unix socket, a unix
 * listener has to be one container's own.
 */

static ngx_int_t
ngx_http_hoody_ai_check_listeners(ngx_conf_t *cf,
    ngx_http_hoody_ai_main_conf_t *hmcf)
{
    ngx_uint_t                      p, a, s, i;
    ngx_http_conf_ctx_t            *ctx;
    ngx_http_conf_port_t           *port;
    ngx_http_conf_addr_t           *addr;
    ngx_http_core_srv_conf_t      **server;
    ngx_http_core_main_conf_t      *cmcf;
    ngx_http_hoody_ai_loc_conf_t   *hlcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    if (cmcf->ports == NULL || ngx_http_hoody_ai_peer_supported()) {
        return NGX_OK;
    }

    ctx = hmcf->locations.elts;
    port = cmcf->ports->elts;

    for (p = 0; p < cmcf->ports->nelts; p++) {

        if (port[p].family != AF_UNIX) {
            continue;
        }

        addr = port[p].addrs.elts;

        for (a = 0; a < port[p].addrs.nelts; a++) {
            server = addr[a].servers.elts;

            for (s = 0; s < addr[a].servers.nelts; s++) {

                for (i = 0; i < hmcf->locations.nelts; i++) {

                    hlcf = ctx[i].loc_conf[ngx_http_hoody_ai_module.ctx_index];

                    if (ctx[i].srv_conf == server[s]->ctx->srv_conf
                        && hlcf->listener_container.len == 0)
                    {
                        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                                      "\"hoody_ai\" on \"listen %V\" needs "
                                      "\"hoody_ai_listener_container\": this "
                                      "kernel has no SO_PEERPIDFD",
                                      &addr[a].opt.addr_text);
                        return NGX_ERROR;
                    }
                }
            }
        }
    }

    return NGX_OK;
}


static char *
ngx_http_hoody_ai_set_server(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_hoody_ai_main_conf_t *hmcf = conf;

    u_char      c;
    size_t      i;
    ngx_str_t  *value;

    if (hmcf->server.len) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0 || value[1].len > 255) {
        return "needs a name of 1 to 255 characters";
    }

    /* it becomes the hash tag of every key */

    for (i = 0; i < value[1].len; i++) {
        c = value[1].data[i];

        if (c <= ' ' || c > '~' || c == '{' || c == '}' || c == '*'
            || c == '?' || c == '[' || c == ']' || c == '\\' || c == ':')
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid character in server name \"%V\"",
                               &value[1]);
            return NGX_CONF_ERROR;
        }
    }

    hmcf->server = value[1];

    return NGX_CONF_OK;
}


static char *
ngx_http_hoody_ai_set_secret(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_hoody_ai_main_conf_t *hmcf = conf;

    u_char                            *p, c;
    ngx_str_t                         *value, header, scheme, prefix, suffix;
    ngx_str_t                         *token;
    ngx_uint_t                         i, j, scheme_set;
    ngx_http_hoody_ai_named_secret_t  *ns;

    value = cf->args->elts;

    ns = hmcf->secrets.elts;

    for (i = 0; i < hmcf->secrets.nelts; i++) {
        if (ns[i].name.len == value[1].len
            && ngx_strncmp(ns[i].name.data, value[1].data, value[1].len) == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate secret \"%V\"", &value[1]);
            return NGX_CONF_ERROR;
        }
    }

    if (value[1].len == 0) {
        return "needs a name";
    }

    if (hmcf->secrets.nelts == HAI_MASK_MAX_KEYS) {
        return "is one secret too many";
    }

    ngx_str_set(&header, "Authorization");
    ngx_str_set(&scheme, "Bearer");
    scheme_set = 0;

    for (i = 3; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "header=", 7) == 0) {
            header.data = value[i].data + 7;
            header.len = value[i].len - 7;

            if (header.len == 0) {
                goto invalid;
            }

            if (!scheme_set
                && (header.len != sizeof("Authorization") - 1
                    || ngx_strncasecmp(header.data,
                                       (u_char *) "Authorization",
                                       header.len)
                       != 0))
            {
                ngx_str_null(&scheme);
            }

            continue;
        }

        if (ngx_strncmp(value[i].data, "scheme=", 7) == 0) {
            scheme.data = value[i].data + 7;
            scheme.len = value[i].len - 7;
            scheme_set = 1;
            continue;
        }

        goto invalid;
    }

    /* RFC 9110, 5.6.2: both are tokens */

    for (i = 0; i < 2; i++) {
        token = i ? &scheme : &header;

        for (j = 0; j < token->len; j++) {
            c = token->data[j];

            if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
                  || (c >= '0' && c <= '9') || c == '-' || c == '_'))
            {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "invalid character in \"%V\"", token);
                return NGX_CONF_ERROR;
            }
        }
    }

    prefix.len = header.len + 2 + scheme.len + (scheme.len ? 1 : 0);
    prefix.data = ngx_pnalloc(cf->pool, prefix.len);
    if (prefix.data == NULL) {
        return NGX_CONF_ERROR;
    }

    p = ngx_cpymem(prefix.data, header.data, header.len);
    *p++ = ':';
    *p++ = ' ';

    if (scheme.len) {
        p = ngx_cpymem(p, scheme.data, scheme.len);
        *p = ' ';
    }

    ngx_str_set(&suffix, CRLF CRLF);

    ns = ngx_array_push(&hmcf->secrets);
    if (ns == NULL) {
        return NGX_CONF_ERROR;
    }

    ns->name = value[1];
    ns->secret = ngx_pcalloc(cf->pool, sizeof(ngx_http_hoody_ai_secret_t));
    if (ns->secret == NULL) {
        return NGX_CONF_ERROR;
    }

    ns->secret->name_len = header.len;

    if (ngx_http_hoody_ai_secret_read(cf, hmcf->vault, &value[2], &prefix,
                                      &suffix, ns->secret)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\"",
                       &value[i]);
    return NGX_CONF_ERROR;
}


static char *
ngx_http_hoody_ai_set_credential(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_hoody_ai_loc_conf_t *hlcf = conf;

    ngx_str_t                         *value;
    ngx_http_complex_value_t          *cv;
    ngx_http_compile_complex_value_t   ccv;

    if (hlcf->credential != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    cv = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (cv == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[1];
    ccv.complex_value = cv;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    hlcf->credential = cv;
    hlcf->insecure = 0;

    if (cf->args->nelts == 3) {

        if (ngx_strcmp(value[2].data, "insecure") != 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\"", &value[2]);
            return NGX_CONF_ERROR;
        }

        hlcf->insecure = 1;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_hoody_ai_init(ngx_conf_t *cf)
{
    ngx_str_t                          name;
    ngx_uint_t                         i;
    ngx_http_handler_pt               *h;
    ngx_http_core_main_conf_t         *cmcf;
    ngx_http_hoody_ai_main_conf_t     *hmcf;
    ngx_http_hoody_ai_named_secret_t  *ns;

    hmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_hoody_ai_module);

    /* the vault does not move any more */

    ngx_http_hoody_ai_redis_passwords(hmcf);

    ns = hmcf->secrets.elts;

    for (i = 0; i < hmcf->secrets.nelts; i++) {

        if (hai_mask_add(&hmcf->mask,
                         hmcf->vault->start + ns[i].secret->key,
                         ns[i].secret->key_len)
            != 0)
        {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "too many secrets for \"hoody_ai_secret\"");
            return NGX_ERROR;
        }
    }

    if ((hmcf->used || hmcf->status_used)
        && ngx_http_hoody_ai_default_zone(cf, hmcf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (!hmcf->used) {
        return NGX_OK;
    }

    if (ngx_http_hoody_ai_check_proxy(cf, hmcf) != NGX_OK
        || ngx_http_hoody_ai_check_listeners(cf, hmcf) != NGX_OK
        || ngx_http_hoody_ai_check_rules(cf, hmcf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_http_hoody_ai_find_module(cf, "ngx_http_realip_module")) {

        ngx_str_set(&name, "realip_remote_addr");

        hmcf->realip_index = ngx_http_get_variable_index(cf, &name);
        if (hmcf->realip_index == NGX_ERROR) {
            return NGX_ERROR;
        }
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_ACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_hoody_ai_timed_access;

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PRECONTENT_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_hoody_ai_timed_precontent;

    ngx_http_hoody_ai_next_request_body_filter =
                                               ngx_http_top_request_body_filter;
    ngx_http_top_request_body_filter = ngx_http_hoody_ai_request_body_filter;

    if (ngx_http_hoody_ai_turn_init(cf) != NGX_OK
        || ngx_http_hoody_ai_log_init(cf) != NGX_OK
        || ngx_http_hoody_ai_filter_init(cf) != NGX_OK
        || ngx_http_hoody_ai_capture_init(cf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_hoody_ai_upstream_init(cf);
}


static ngx_int_t
ngx_http_hoody_ai_init_process(ngx_cycle_t *cycle)
{
    ngx_http_hoody_ai_main_conf_t  *hmcf;

    /* cache manager and cache loader come here too */

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    hmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_hoody_ai_module);

    if (hmcf == NULL || !hmcf->used) {
        return NGX_OK;
    }

    /* neither is inherited over fork(), or undone by nginx after it */

    if (ngx_http_hoody_ai_vault_lock(hmcf->vault) != NGX_OK) {
        ngx_log_error(NGX_LOG_CRIT, cycle->log, ngx_errno,
                      "hoody_ai: mlock() of %uz bytes for secrets failed, "
                      "keys may be swapped out", hmcf->vault->size);
    }

#if (NGX_LINUX)
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == -1) {
        ngx_log_error(NGX_LOG_CRIT, cycle->log, ngx_errno,
                      "hoody_ai: prctl(PR_SET_DUMPABLE) failed");
    }
#endif

#if defined __GLIBC__

    /*
     * Bodies come and go as blocks of up to 256 KB.  With its defaults glibc
     * returns them to the kernel at the end of each request and faults them
     * in again for the next: 2 to 6 page faults for a body of 32 KB.
     */

    (void) mallopt(M_MMAP_THRESHOLD, 4 * 1024 * 1024);
    (void) mallopt(M_TRIM_THRESHOLD, 16 * 1024 * 1024);
    (void) mallopt(M_TOP_PAD, 1024 * 1024);

#endif

    ngx_memzero(&ngx_http_hoody_ai_worker, sizeof(ngx_http_hoody_ai_worker_t));

    ngx_http_hoody_ai_worker.conf = hmcf;

    if (RAND_bytes((u_char *) ngx_http_hoody_ai_worker.random,
                   sizeof(ngx_http_hoody_ai_worker.random))
        != 1)
    {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "hoody_ai: RAND_bytes() failed");
        return NGX_ERROR;
    }

    ngx_http_hoody_ai_worker.scanner = hai_json_new();
    if (ngx_http_hoody_ai_worker.scanner == NULL) {
        return NGX_ERROR;
    }

    hai_edits_init(&ngx_http_hoody_ai_worker.edits,
                   NGX_HTTP_HOODY_AI_EDITS_TEXT);

    ngx_http_hoody_ai_turn_init_worker(cycle);
    ngx_http_hoody_ai_live_init();

    if (ngx_http_hoody_ai_plan_init() != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_http_hoody_ai_worker.endpoint = ngx_http_hoody_ai_endpoint_create(
                                             &hmcf->redis, &hmcf->server);

    if (ngx_http_hoody_ai_worker.endpoint == NULL) {
        return NGX_ERROR;
    }

    ngx_http_hoody_ai_worker.replica = ngx_http_hoody_ai_replica_start(cycle,
                                             &hmcf->redis,
                                             ngx_http_hoody_ai_worker.endpoint,
                                             &hmcf->server,
                                             &ngx_http_hoody_ai_live_events);

    if (ngx_http_hoody_ai_worker.replica == NULL) {
        return NGX_ERROR;
    }

    return ngx_http_hoody_ai_zone_start(cycle);
}


static void
ngx_http_hoody_ai_exit_process(ngx_cycle_t *cycle)
{
    ngx_http_hoody_ai_plan_done();
    ngx_http_hoody_ai_zone_stop(cycle);

    if (ngx_http_hoody_ai_worker.replica) {
        ngx_http_hoody_ai_replica_stop(ngx_http_hoody_ai_worker.replica);
        ngx_http_hoody_ai_worker.replica = NULL;
    }

    if (ngx_http_hoody_ai_worker.endpoint) {
        ngx_http_hoody_ai_endpoint_destroy(ngx_http_hoody_ai_worker.endpoint);
        ngx_http_hoody_ai_worker.endpoint = NULL;
    }

    ngx_http_hoody_ai_live_done();

    hai_edits_free(&ngx_http_hoody_ai_worker.edits);

    hai_json_free(ngx_http_hoody_ai_worker.scanner);
    ngx_http_hoody_ai_worker.scanner = NULL;
}
