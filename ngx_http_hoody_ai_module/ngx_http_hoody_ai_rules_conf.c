
/*
 * "hoody_ai_rules": the directive, and the location that it names.
 */


#include "ngx_http_hoody_ai_rules.h"


static ngx_int_t ngx_http_hoody_ai_check_engine(ngx_conf_t *cf,
    ngx_http_core_loc_conf_t *clcf, ngx_str_t *uri);
static ngx_http_core_loc_conf_t *ngx_http_hoody_ai_find_location(
    ngx_http_core_loc_conf_t *clcf, ngx_str_t *uri);


char *
ngx_http_hoody_ai_set_rules(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_hoody_ai_loc_conf_t *hlcf = conf;

    ngx_int_t                        n;
    ngx_str_t                       *value, s;
    ngx_uint_t                       i;
    ngx_http_hoody_ai_rules_conf_t  *rules;

    if (hlcf->rules != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {

        if (cf->args->nelts > 2) {
            return "takes no parameters with \"off\"";
        }

        hlcf->rules = NULL;

        return NGX_CONF_OK;
    }

    if (value[1].data[0] != '/') {
        return "needs a URI that begins with a slash, or \"off\"";
    }

    rules = ngx_pcalloc(cf->pool, sizeof(ngx_http_hoody_ai_rules_conf_t));
    if (rules == NULL) {
        return NGX_CONF_ERROR;
    }

    rules->uri = value[1];
    rules->timeout = 1000;

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "on_error=refuse") == 0) {
            rules->pass = 0;
            continue;
        }

        if (ngx_strcmp(value[i].data, "on_error=pass") == 0) {
            rules->pass = 1;
            continue;
        }

        if (ngx_strncmp(value[i].data, "timeout=", 8) == 0) {
            s.data = value[i].data + 8;
            s.len = value[i].len - 8;

            n = ngx_parse_time(&s, 0);

            if (n != NGX_ERROR && n != 0) {
                rules->timeout = n;
                continue;
            }
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\"",
                           &value[i]);
        return NGX_CONF_ERROR;
    }

    hlcf->rules = rules;

    return NGX_CONF_OK;
}


/* the location that each "hoody_ai_rules" names, in its own server */

ngx_int_t
ngx_http_hoody_ai_check_rules(ngx_conf_t *cf,
    ngx_http_hoody_ai_main_conf_t *hmcf)
{
    ngx_uint_t                     i;
    ngx_http_conf_ctx_t           *ctx;
    ngx_http_core_loc_conf_t      *clcf;
    ngx_http_core_srv_conf_t      *cscf;
    ngx_http_hoody_ai_loc_conf_t  *hlcf;

    ctx = hmcf->locations.elts;

    for (i = 0; i < hmcf->locations.nelts; i++) {

        hlcf = ctx[i].loc_conf[ngx_http_hoody_ai_module.ctx_index];

        if (hlcf->rules == NULL) {
            continue;
        }

        cscf = ctx[i].srv_conf[ngx_http_core_module.ctx_index];
        clcf = cscf->ctx->loc_conf[ngx_http_core_module.ctx_index];

        clcf = ngx_http_hoody_ai_find_location(clcf, &hlcf->rules->uri);

        if (ngx_http_hoody_ai_check_engine(cf, clcf, &hlcf->rules->uri)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        hlcf->rules_location = clcf;
    }

    return NGX_OK;
}


/*
 * What the way to the rule engine needs is set here, whatever the
 * administrator wrote: no header of a caller, nothing in a file, and the
 * answer as it was given.
 */

static ngx_int_t
ngx_http_hoody_ai_check_engine(ngx_conf_t *cf, ngx_http_core_loc_conf_t *clcf,
    ngx_str_t *uri)
{
    ngx_module_t              *fastcgi;
    ngx_http_upstream_conf_t  *ucf;

    fastcgi = ngx_http_hoody_ai_find_module(cf, "ngx_http_fastcgi_module");

    if (clcf == NULL || fastcgi == NULL || !clcf->internal) {
        goto invalid;
    }

    /* it begins with its upstream part, as that of the proxy module does */

    ucf = clcf->loc_conf[fastcgi->ctx_index];

    if (ucf->upstream == NULL) {
        goto invalid;
    }

#if (NGX_HTTP_CACHE)
    if (ucf->cache == 1) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"fastcgi_cache\" in location \"%V\" would keep "
                      "answers, which \"hoody_ai_rules\" forbids", uri);
        return NGX_ERROR;
    }
#endif

    if (ucf->store > 0 || ucf->store_lengths) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"fastcgi_store\" in location \"%V\" would keep "
                      "answers, which \"hoody_ai_rules\" forbids", uri);
        return NGX_ERROR;
    }

    clcf->client_max_body_size = 0;

    ucf->pass_request_headers = 0;
    ucf->pass_request_body = 1;
    ucf->request_buffering = 1;
    ucf->buffering = 1;
    ucf->max_temp_file_size = 0;
    ucf->limit_rate = 0;
    ucf->intercept_errors = 0;
    ucf->ignore_client_abort = 0;
    ucf->ignore_headers |= NGX_HTTP_UPSTREAM_IGN_XA_REDIRECT
                           |NGX_HTTP_UPSTREAM_IGN_XA_EXPIRES
                           |NGX_HTTP_UPSTREAM_IGN_XA_LIMIT_RATE
                           |NGX_HTTP_UPSTREAM_IGN_XA_BUFFERING
                           |NGX_HTTP_UPSTREAM_IGN_XA_CHARSET;

    return NGX_OK;

invalid:

    ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                  "\"hoody_ai_rules\" names \"%V\": it needs a location of "
                  "exactly this name in the same server, with \"internal\" "
                  "and \"fastcgi_pass\"", uri);

    return NGX_ERROR;
}


/* searches a server's tree of exact and prefix locations as core does */

static ngx_http_core_loc_conf_t *
ngx_http_hoody_ai_find_location(ngx_http_core_loc_conf_t *clcf,
    ngx_str_t *uri)
{
    size_t                          len, n;
    u_char                         *p;
    ngx_int_t                       rc;
    ngx_http_location_tree_node_t  *node;

    node = clcf->static_locations;
    p = uri->data;
    len = uri->len;

    while (node) {

        n = ngx_min(len, (size_t) node->len);

        rc = ngx_filename_cmp(p, node->name, n);

        if (rc != 0) {
            node = (rc < 0) ? node->left : node->right;
            continue;
        }

        if (len > (size_t) node->len) {

            if (node->inclusive) {
                node = node->tree;
                p += n;
                len -= n;

            } else {
                node = node->right;
            }

            continue;
        }

        if (len == (size_t) node->len) {
            return node->exact ? node->exact : node->inclusive;
        }

        node = node->left;
    }

    return NULL;
}
