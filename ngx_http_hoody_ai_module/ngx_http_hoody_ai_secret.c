
/*
 * Runs in the master, usually as root, while the configuration is read; only
 * ngx_http_hoody_ai_vault_lock() runs in a worker.  The content of a file goes
 * straight into the vault and nowhere else: not to the stack, not to a pool,
 * not to a log line.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_http_hoody_ai_secret.h"

#include <hai_secret.h>

#include <sys/mman.h>


static ngx_int_t ngx_http_hoody_ai_vault_reserve(
    ngx_http_hoody_ai_vault_t *vault, size_t size);
static void ngx_http_hoody_ai_vault_cleanup(void *data);
static void ngx_http_hoody_ai_secret_complain(ngx_conf_t *cf, ngx_str_t *file,
    struct hai_secret_fault *fault);


ngx_http_hoody_ai_vault_t *
ngx_http_hoody_ai_vault_create(ngx_pool_t *pool)
{
    ngx_pool_cleanup_t         *cln;
    ngx_http_hoody_ai_vault_t  *vault;

    cln = ngx_pool_cleanup_add(pool, sizeof(ngx_http_hoody_ai_vault_t));
    if (cln == NULL) {
        return NULL;
    }

    vault = cln->data;
    ngx_memzero(vault, sizeof(ngx_http_hoody_ai_vault_t));

    cln->handler = ngx_http_hoody_ai_vault_cleanup;

    return vault;
}


static void
ngx_http_hoody_ai_vault_cleanup(void *data)
{
    ngx_http_hoody_ai_vault_t  *vault = data;

    if (vault->start) {
        ngx_explicit_memzero(vault->start, vault->size);
        (void) munmap(vault->start, vault->size);
        vault->start = NULL;
    }
}


static ngx_int_t
ngx_http_hoody_ai_vault_reserve(ngx_http_hoody_ai_vault_t *vault, size_t size)
{
    u_char  *p;
    size_t   need;

    if (size <= vault->size - vault->used) {
        return NGX_OK;
    }

    need = ngx_align(vault->used + size, ngx_pagesize);

    p = mmap(NULL, need, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANON, -1, 0);
    if (p == MAP_FAILED) {
        return NGX_ERROR;
    }

#if defined MADV_DONTDUMP
    if (madvise(p, need, MADV_DONTDUMP) == -1) {
        (void) munmap(p, need);
        return NGX_ERROR;
    }
#elif defined MADV_NOCORE
    if (madvise(p, need, MADV_NOCORE) == -1) {
        (void) munmap(p, need);
        return NGX_ERROR;
    }
#endif

    if (vault->start) {
        ngx_memcpy(p, vault->start, vault->used);
        ngx_explicit_memzero(vault->start, vault->size);
        (void) munmap(vault->start, vault->size);
    }

    vault->start = p;
    vault->size = need;

    return NGX_OK;
}


ngx_int_t
ngx_http_hoody_ai_vault_lock(ngx_http_hoody_ai_vault_t *vault)
{
    if (vault->start == NULL) {
        return NGX_OK;
    }

    return mlock(vault->start, vault->size) == 0 ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_http_hoody_ai_secret_read(ngx_conf_t *cf, ngx_http_hoody_ai_vault_t *vault,
    ngx_str_t *file, ngx_str_t *prefix, ngx_str_t *suffix,
    ngx_http_hoody_ai_secret_t *secret)
{
    size_t                    len;
    u_char                   *p;
    ssize_t                   n;
    ngx_fd_t                  fd;
    ngx_int_t                 rc;
    struct hai_secret_fault   fault;

    if (ngx_conf_full_name(cf->cycle, file, 1) != NGX_OK) {
        return NGX_ERROR;
    }

    len = HAI_SECRET_LINE_MAX;

    if (ngx_http_hoody_ai_vault_reserve(vault, prefix->len + len + 1
                                               + suffix->len)
        != NGX_OK)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "no memory for the secret in \"%V\"", file);
        return NGX_ERROR;
    }

    fd = hai_secret_open((char *) file->data, &fault);
    if (fd == NGX_INVALID_FILE) {
        ngx_http_hoody_ai_secret_complain(cf, file, &fault);
        return NGX_ERROR;
    }

    p = vault->start + vault->used;

    secret->line = vault->used;
    p = ngx_cpymem(p, prefix->data, prefix->len);
    secret->key = p - vault->start;

    /* one byte more than may be there tells a file that is too long */

    for (n = 1, secret->key_len = 0;
         secret->key_len <= len && n > 0;
         secret->key_len += n)
    {
        n = ngx_read_fd(fd, p + secret->key_len, len + 1 - secret->key_len);

        if (n == -1) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                               ngx_read_fd_n " \"%V\" failed", file);
            break;
        }
    }

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_ALERT, cf, ngx_errno,
                           ngx_close_file_n " \"%V\" failed", file);
    }

    rc = NGX_ERROR;

    if (n != -1) {
        if (hai_secret_check(p, &secret->key_len, &fault) == 0) {
            rc = NGX_OK;

        } else {
            ngx_http_hoody_ai_secret_complain(cf, file, &fault);
        }
    }

    if (rc != NGX_OK) {
        ngx_explicit_memzero(vault->start + vault->used,
                             vault->size - vault->used);
        return NGX_ERROR;
    }

    p = ngx_cpymem(p + secret->key_len, suffix->data, suffix->len);

    secret->line_len = p - vault->start - secret->line;
    vault->used = p - vault->start;

    return NGX_OK;
}


/* the words for what common/hai_secret.c has found */

static void
ngx_http_hoody_ai_secret_complain(ngx_conf_t *cf, ngx_str_t *file,
    struct hai_secret_fault *fault)
{
    u_char      mode[5];
    ngx_err_t   err;
    ngx_uint_t  i;

    err = fault->error;

    /* as chmod takes it; nginx's formats have no octal numbers */

    for (i = 0; i < 4; i++) {
        mode[i] = '0' + ((fault->mode >> (3 * (3 - i))) & 7);
    }

    mode[4] = '\0';

    switch (fault->what) {

    case HAI_SECRET_FINE:
        break;

    case HAI_SECRET_LONG_PATH:
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "path of secret file \"%V\" is too long", file);
        break;

    case HAI_SECRET_NO_NAME:
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" does not name a secret file", file);
        break;

    case HAI_SECRET_STAT:
        ngx_conf_log_error(NGX_LOG_EMERG, cf, err,
                           "stat() \"%s\" of secret file \"%V\" failed",
                           fault->name, file);
        break;

    case HAI_SECRET_OPEN_FOLDER:
        ngx_conf_log_error(NGX_LOG_EMERG, cf, err,
                           "open() folder \"%s\" of secret file \"%V\" "
                           "failed", fault->name, file);
        break;

    case HAI_SECRET_READ_LINK:
        ngx_conf_log_error(NGX_LOG_EMERG, cf, err,
                           "readlink() \"%s\" of secret file \"%V\" failed",
                           fault->name, file);
        break;

    case HAI_SECRET_LINKS:
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "too many or too long symbolic links on the path "
                           "of secret file \"%V\"", file);
        break;

    case HAI_SECRET_LINK_OWNER:
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "symbolic link \"%s\" on the path of secret file "
                           "\"%V\" belongs to user %ui, not to root",
                           fault->name, file, (ngx_uint_t) fault->owner);
        break;

    case HAI_SECRET_FOLDER_OWNER:
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "a folder on the path of secret file \"%V\" "
                           "belongs to user %ui, not to root: \"%s\"",
                           file, (ngx_uint_t) fault->owner, fault->at);
        break;

    case HAI_SECRET_FOLDER_MODE:
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "a folder on the path of secret file \"%V\" has "
                           "mode %s, others than its owner may write to it: "
                           "\"%s\"", file, mode, fault->at);
        break;

    case HAI_SECRET_OPEN:
        ngx_conf_log_error(NGX_LOG_EMERG, cf, err,
                           "open() secret file \"%V\" failed", file);
        break;

    case HAI_SECRET_KIND:
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "secret file \"%V\" is not a regular file", file);
        break;

    case HAI_SECRET_OWNER:
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "secret file \"%V\" belongs to user %ui, not to "
                           "root", file, (ngx_uint_t) fault->owner);
        break;

    case HAI_SECRET_MODE:
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "secret file \"%V\" has mode %s, group and "
                           "others must have no access (chmod 600)",
                           file, mode);
        break;

    case HAI_SECRET_EMPTY:
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "secret file \"%V\" is empty", file);
        break;

    case HAI_SECRET_LONG:
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "secret file \"%V\" is larger than %d bytes",
                           file, HAI_SECRET_MAX);
        break;

    case HAI_SECRET_LINES:
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "secret file \"%V\" has more than one line", file);
        break;

    case HAI_SECRET_BYTE:
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "secret file \"%V\" has a byte at offset %uz "
                           "that is not printable ASCII",
                           file, fault->offset);
        break;

    case HAI_SECRET_SPACE:
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "secret file \"%V\" begins or ends with a space",
                           file);
        break;
    }
}
