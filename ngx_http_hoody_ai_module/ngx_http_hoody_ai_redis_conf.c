
/*
 * "hoody_ai_redis": addresses, in whatever order with the parameters, which
 * are told apart by their "name=".
 */


#include "ngx_http_hoody_ai_module.h"


#define NGX_HTTP_HOODY_AI_REDIS_PORT     6379
#define NGX_HTTP_HOODY_AI_SENTINEL_PORT  26379


static ngx_int_t ngx_http_hoody_ai_redis_word(ngx_conf_t *cf,
    ngx_http_hoody_ai_main_conf_t *hmcf, ngx_str_t *word);
static ngx_int_t ngx_http_hoody_ai_redis_secret(ngx_conf_t *cf,
    ngx_http_hoody_ai_main_conf_t *hmcf, ngx_str_t *file,
    ngx_http_hoody_ai_secret_t *secret);
static char *ngx_http_hoody_ai_redis_check(
    ngx_http_hoody_ai_main_conf_t *hmcf, ngx_uint_t words);
static ngx_uint_t ngx_http_hoody_ai_redis_is_address(ngx_str_t *word);
static ngx_int_t ngx_http_hoody_ai_redis_addresses(ngx_conf_t *cf,
    ngx_http_hoody_ai_redis_conf_t *conf);


char *
ngx_http_hoody_ai_set_redis(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_hoody_ai_main_conf_t *hmcf = conf;

    char        *rv;
    ngx_int_t    rc;
    ngx_str_t   *value;
    ngx_uint_t   i, words;

    if (hmcf->redis_set) {
        return "is duplicate";
    }

    hmcf->redis_set = 1;

    value = cf->args->elts;
    words = 0;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_http_hoody_ai_redis_is_address(&value[i])) {

            if (hmcf->redis.name.len == 0) {
                hmcf->redis.name = value[i];
            }

            words++;
            continue;
        }

        rc = ngx_http_hoody_ai_redis_word(cf, hmcf, &value[i]);

        if (rc == NGX_DECLINED) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\"", &value[i]);
        }

        if (rc != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    rv = ngx_http_hoody_ai_redis_check(hmcf, words);

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (ngx_http_hoody_ai_redis_addresses(cf, &hmcf->redis) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* an address has no "=" but in the path of a unix socket */

static ngx_uint_t
ngx_http_hoody_ai_redis_is_address(ngx_str_t *word)
{
    return ngx_strncmp(word->data, "unix:", 5) == 0
           || ngx_strchr(word->data, '=') == NULL;
}


/* NGX_DECLINED: no such parameter, or not this value */

static ngx_int_t
ngx_http_hoody_ai_redis_word(ngx_conf_t *cf,
    ngx_http_hoody_ai_main_conf_t *hmcf, ngx_str_t *word)
{
    u_char                          *p;
    ngx_int_t                        n;
    ngx_str_t                        key, s;
    ngx_http_hoody_ai_redis_conf_t  *conf;

    conf = &hmcf->redis;

    p = (u_char *) ngx_strchr(word->data, '=');

    key.data = word->data;
    key.len = p - word->data;

    s.data = p + 1;
    s.len = word->data + word->len - s.data;

#define ngx_http_hoody_ai_redis_key(name)                                     \
    (key.len == sizeof(name) - 1                                              \
     && ngx_strncmp(key.data, name, sizeof(name) - 1) == 0)

    if (ngx_http_hoody_ai_redis_key("sentinel")) {

        if (s.len == 0 || conf->mode != NGX_HTTP_HOODY_AI_FIXED) {
            return NGX_DECLINED;
        }

        conf->mode = NGX_HTTP_HOODY_AI_SENTINEL;
        conf->master = s;
        conf->name = *word;
        return NGX_OK;
    }

    if (ngx_http_hoody_ai_redis_key("cluster")) {

        if (s.len != 2
            || ngx_strncmp(s.data, "on", 2) != 0
            || conf->mode != NGX_HTTP_HOODY_AI_FIXED)
        {
            return NGX_DECLINED;
        }

        conf->mode = NGX_HTTP_HOODY_AI_CLUSTER;
        return NGX_OK;
    }

    if (ngx_http_hoody_ai_redis_key("db")) {
        n = ngx_atoi(s.data, s.len);

        if (n == NGX_ERROR) {
            return NGX_DECLINED;
        }

        conf->db = n;
        return NGX_OK;
    }

    if (ngx_http_hoody_ai_redis_key("user")) {
        conf->user = s;
        return NGX_OK;
    }

    if (ngx_http_hoody_ai_redis_key("password_file")) {
        return ngx_http_hoody_ai_redis_secret(cf, hmcf, &s,
                                              &hmcf->redis_password);
    }

    if (ngx_http_hoody_ai_redis_key("sentinel_user")) {
        conf->sentinel_user = s;
        return NGX_OK;
    }

    if (ngx_http_hoody_ai_redis_key("sentinel_password_file")) {
        return ngx_http_hoody_ai_redis_secret(cf, hmcf, &s,
                                              &hmcf->sentinel_password);
    }

    if (ngx_http_hoody_ai_redis_key("connect_timeout")
        || ngx_http_hoody_ai_redis_key("max_stale"))
    {
        n = ngx_parse_time(&s, 0);

        if (n == NGX_ERROR || n == 0) {
            return NGX_DECLINED;
        }

        if (key.data[0] == 'c') {
            conf->connect_timeout = n;

        } else {
            conf->max_stale = n;
        }

        return NGX_OK;
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_hoody_ai_redis_secret(ngx_conf_t *cf,
    ngx_http_hoody_ai_main_conf_t *hmcf, ngx_str_t *file,
    ngx_http_hoody_ai_secret_t *secret)
{
    ngx_str_t  none;

    ngx_str_set(&none, "");

    if (ngx_http_hoody_ai_secret_read(cf, hmcf->vault, file, &none, &none,
                                      secret)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* "words": how many addresses there are */

static char *
ngx_http_hoody_ai_redis_check(ngx_http_hoody_ai_main_conf_t *hmcf,
    ngx_uint_t words)
{
    ngx_http_hoody_ai_redis_conf_t  *conf;

    conf = &hmcf->redis;

    switch (conf->mode) {

    case NGX_HTTP_HOODY_AI_SENTINEL:

        if (words == 0) {
            return "needs the address of a sentinel with \"sentinel=\"";
        }

        break;

    case NGX_HTTP_HOODY_AI_CLUSTER:

        if (words == 0) {
            return "needs the address of a node with \"cluster=on\"";
        }

        if (conf->db) {
            return "cannot have \"db=\" with \"cluster=on\": a cluster has no "
                   "databases";
        }

        break;

    default: /* NGX_HTTP_HOODY_AI_FIXED */

        if (words == 0) {
            return "needs an address";
        }

        if (words > 1) {
            return "has several addresses, which need \"sentinel=\" or "
                   "\"cluster=on\"";
        }
    }

    if (conf->user.len && hmcf->redis_password.key_len == 0) {
        return "needs \"password_file=\" with \"user=\"";
    }

    if (conf->sentinel_user.len && hmcf->sentinel_password.key_len == 0) {
        return "needs \"sentinel_password_file=\" with \"sentinel_user=\"";
    }

    if (hmcf->sentinel_password.key_len
        && conf->mode != NGX_HTTP_HOODY_AI_SENTINEL)
    {
        return "needs \"sentinel=\" with \"sentinel_password_file=\"";
    }

    return NGX_CONF_OK;
}


/* all that a name stands for, except with a fixed address */

static ngx_int_t
ngx_http_hoody_ai_redis_addresses(ngx_conf_t *cf,
    ngx_http_hoody_ai_redis_conf_t *conf)
{
    ngx_str_t    *value;
    ngx_url_t     u;
    ngx_uint_t    i, k, n;
    ngx_addr_t   *addr;
    ngx_array_t   addrs;

    if (ngx_array_init(&addrs, cf->pool, 4, sizeof(ngx_addr_t)) != NGX_OK) {
        return NGX_ERROR;
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (!ngx_http_hoody_ai_redis_is_address(&value[i])) {
            continue;
        }

        ngx_memzero(&u, sizeof(ngx_url_t));

        u.url = value[i];
        u.default_port = (conf->mode == NGX_HTTP_HOODY_AI_SENTINEL)
                             ? NGX_HTTP_HOODY_AI_SENTINEL_PORT
                             : NGX_HTTP_HOODY_AI_REDIS_PORT;

        if (ngx_parse_url(cf->pool, &u) != NGX_OK || u.naddrs == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "%s in Redis address \"%V\"",
                               u.err ? u.err : "no address", &value[i]);
            return NGX_ERROR;
        }

        n = (conf->mode == NGX_HTTP_HOODY_AI_FIXED) ? 1 : u.naddrs;

        for (k = 0; k < n; k++) {
            addr = ngx_array_push(&addrs);
            if (addr == NULL) {
                return NGX_ERROR;
            }

            *addr = u.addrs[k];
        }
    }

    conf->addrs = addrs.elts;
    conf->naddrs = addrs.nelts;

    return NGX_OK;
}


char *
ngx_http_hoody_ai_init_redis(ngx_conf_t *cf,
    ngx_http_hoody_ai_main_conf_t *hmcf)
{
    ngx_url_t                        u;
    ngx_http_hoody_ai_redis_conf_t  *conf;

    conf = &hmcf->redis;

    ngx_conf_init_msec_value(conf->connect_timeout, 1000);
    ngx_conf_init_msec_value(conf->max_stale, 5000);

    if (hmcf->redis_set) {
        return NGX_CONF_OK;
    }

    ngx_memzero(&u, sizeof(ngx_url_t));

    ngx_str_set(&u.url, "127.0.0.1");
    u.default_port = NGX_HTTP_HOODY_AI_REDIS_PORT;

    if (ngx_parse_url(cf->pool, &u) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    conf->addrs = u.addrs;
    conf->naddrs = 1;
    conf->name = u.addrs->name;

    return NGX_CONF_OK;
}


void
ngx_http_hoody_ai_redis_passwords(ngx_http_hoody_ai_main_conf_t *hmcf)
{
    if (hmcf->redis_password.key_len) {
        hmcf->redis.password.data = hmcf->vault->start
                                    + hmcf->redis_password.key;
        hmcf->redis.password.len = hmcf->redis_password.key_len;
    }

    if (hmcf->sentinel_password.key_len) {
        hmcf->redis.sentinel_password.data = hmcf->vault->start
                                             + hmcf->sentinel_password.key;
        hmcf->redis.sentinel_password.len = hmcf->sentinel_password.key_len;
    }
}
