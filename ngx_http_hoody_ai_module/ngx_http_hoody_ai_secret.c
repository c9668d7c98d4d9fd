
/*
 * Runs in the master, usually as root, while the configuration is read; only
 * ngx_http_hoody_ai_vault_lock() runs in a worker.  The content of a file goes
 * straight into the vault and nowhere else: not to the stack, not to a pool,
 * not to a log line.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_http_hoody_ai_secret.h"

#include <sys/mman.h>


#define NGX_HTTP_HOODY_AI_MAX_LINKS  16


/* a path that is walked component by component */

typedef struct {
    int          dir;
    ngx_uint_t   links;
    char         rest[PATH_MAX];
} ngx_http_hoody_ai_walk_t;


static ngx_int_t ngx_http_hoody_ai_vault_reserve(
    ngx_http_hoody_ai_vault_t *vault, size_t size);
static void ngx_http_hoody_ai_vault_cleanup(void *data);
static ngx_fd_t ngx_http_hoody_ai_secret_open(ngx_conf_t *cf, ngx_str_t *file);
static ngx_int_t ngx_http_hoody_ai_walk_next(ngx_conf_t *cf, ngx_str_t *file,
    ngx_http_hoody_ai_walk_t *walk, char *name, ngx_uint_t *last);
static ngx_int_t ngx_http_hoody_ai_walk_link(ngx_conf_t *cf, ngx_str_t *file,
    ngx_http_hoody_ai_walk_t *walk, char *name);
static ngx_int_t ngx_http_hoody_ai_check_folder(ngx_conf_t *cf,
    ngx_str_t *file, int fd);
static ngx_int_t ngx_http_hoody_ai_check_file(ngx_conf_t *cf, ngx_str_t *file,
    ngx_fd_t fd);
static u_char *ngx_http_hoody_ai_mode(u_char *buf, mode_t mode);
static ngx_int_t ngx_http_hoody_ai_check_key(ngx_conf_t *cf, ngx_str_t *file,
    u_char *key, size_t *len);


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
    size_t      len;
    u_char     *p;
    ssize_t     n;
    ngx_fd_t    fd;
    ngx_int_t   rc;

    if (ngx_conf_full_name(cf->cycle, file, 1) != NGX_OK) {
        return NGX_ERROR;
    }

    /* two bytes more: an end of line that does not belong to the key */

    len = NGX_HTTP_HOODY_AI_SECRET_MAX + 2;

    if (ngx_http_hoody_ai_vault_reserve(vault, prefix->len + len + 1
                                               + suffix->len)
        != NGX_OK)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "no memory for the secret in \"%V\"", file);
        return NGX_ERROR;
    }

    fd = ngx_http_hoody_ai_secret_open(cf, file);
    if (fd == NGX_INVALID_FILE) {
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
        rc = ngx_http_hoody_ai_check_key(cf, file, p, &secret->key_len);
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


static ngx_int_t
ngx_http_hoody_ai_check_key(ngx_conf_t *cf, ngx_str_t *file, u_char *key,
    size_t *len)
{
    size_t  i, n;

    n = *len;

    if (n > 0 && key[n - 1] == LF) {
        n--;

        if (n > 0 && key[n - 1] == CR) {
            n--;
        }
    }

    if (n == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "secret file \"%V\" is empty", file);
        return NGX_ERROR;
    }

    if (n > NGX_HTTP_HOODY_AI_SECRET_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "secret file \"%V\" is larger than %d bytes",
                           file, NGX_HTTP_HOODY_AI_SECRET_MAX);
        return NGX_ERROR;
    }

    for (i = 0; i < n; i++) {

        if (key[i] == LF || key[i] == CR) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "secret file \"%V\" has more than one line",
                               file);
            return NGX_ERROR;
        }

        if (key[i] < 0x20 || key[i] > 0x7e) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "secret file \"%V\" has a byte at offset %uz "
                               "that is not printable ASCII", file, i);
            return NGX_ERROR;
        }
    }

    if (key[0] == ' ' || key[n - 1] == ' ') {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "secret file \"%V\" begins or ends with a space",
                           file);
        return NGX_ERROR;
    }

    *len = n;

    return NGX_OK;
}


/*
 * Opens the file folder by folder, so that what was checked is what is read:
 * whoever can write to a folder on the way, or to one that a symbolic link
 * leads through, could put another key in place.
 */

static ngx_fd_t
ngx_http_hoody_ai_secret_open(ngx_conf_t *cf, ngx_str_t *file)
{
    int                        fd;
    char                       name[NAME_MAX + 1];
    ngx_int_t                  rc;
    ngx_uint_t                 last;
    ngx_http_hoody_ai_walk_t   walk;

    if (file->len >= PATH_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "path of secret file \"%V\" is too long", file);
        return NGX_INVALID_FILE;
    }

    (void) ngx_cpystrn((u_char *) walk.rest, file->data, file->len + 1);

    walk.links = 0;
    walk.dir = open("/", O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (walk.dir == -1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "open() \"/\" failed");
        return NGX_INVALID_FILE;
    }

    for ( ;; ) {

        if (ngx_http_hoody_ai_check_folder(cf, file, walk.dir) != NGX_OK) {
            goto failed;
        }

        rc = ngx_http_hoody_ai_walk_next(cf, file, &walk, name, &last);

        if (rc == NGX_ERROR) {
            goto failed;
        }

        if (rc == NGX_AGAIN) {
            /* a symbolic link was followed */
            continue;
        }

        if (last) {
            break;
        }

        fd = openat(walk.dir, name, O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC);

        if (fd == -1) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                               "open() folder \"%s\" of secret file \"%V\" "
                               "failed", name, file);
            goto failed;
        }

        (void) close(walk.dir);
        walk.dir = fd;
    }

    fd = openat(walk.dir, name, O_RDONLY|O_NOFOLLOW|O_NONBLOCK|O_CLOEXEC);

    if (fd == -1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "open() secret file \"%V\" failed", file);
        goto failed;
    }

    (void) close(walk.dir);

    if (ngx_http_hoody_ai_check_file(cf, file, fd) != NGX_OK) {
        (void) close(fd);
        return NGX_INVALID_FILE;
    }

    return fd;

failed:

    (void) close(walk.dir);

    return NGX_INVALID_FILE;
}


/*
 * Takes the next component off walk->rest.  NGX_AGAIN: it was a symbolic link
 * and walk now stands where the link leads.
 */

static ngx_int_t
ngx_http_hoody_ai_walk_next(ngx_conf_t *cf, ngx_str_t *file,
    ngx_http_hoody_ai_walk_t *walk, char *name, ngx_uint_t *last)
{
    char         *p, *end;
    size_t        len;
    struct stat   st;

    p = walk->rest;

    while (*p == '/') {
        p++;
    }

    len = strcspn(p, "/");

    if (len == 0 || len > NAME_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" does not name a secret file", file);
        return NGX_ERROR;
    }

    ngx_memcpy(name, p, len);
    name[len] = '\0';

    end = p + len;
    ngx_memmove(walk->rest, end, ngx_strlen(end) + 1);

    *last = (walk->rest[0] == '\0');

    if (fstatat(walk->dir, name, &st, AT_SYMLINK_NOFOLLOW) == -1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "stat() \"%s\" of secret file \"%V\" failed",
                           name, file);
        return NGX_ERROR;
    }

    if (!S_ISLNK(st.st_mode)) {
        return NGX_OK;
    }

    if (st.st_uid != 0 && st.st_uid != geteuid()) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "symbolic link \"%s\" on the path of secret file "
                           "\"%V\" belongs to user %d, not to root",
                           name, file, (int) st.st_uid);
        return NGX_ERROR;
    }

    if (ngx_http_hoody_ai_walk_link(cf, file, walk, name) != NGX_OK) {
        return NGX_ERROR;
    }

    return NGX_AGAIN;
}


static ngx_int_t
ngx_http_hoody_ai_walk_link(ngx_conf_t *cf, ngx_str_t *file,
    ngx_http_hoody_ai_walk_t *walk, char *name)
{
    int      fd;
    char     target[PATH_MAX];
    size_t   rest;
    ssize_t  n;

    n = readlinkat(walk->dir, name, target, sizeof(target));

    if (n == -1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "readlink() \"%s\" of secret file \"%V\" failed",
                           name, file);
        return NGX_ERROR;
    }

    rest = ngx_strlen(walk->rest);

    if (++walk->links > NGX_HTTP_HOODY_AI_MAX_LINKS
        || n + 1 + rest >= sizeof(walk->rest))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "too many or too long symbolic links on the path "
                           "of secret file \"%V\"", file);
        return NGX_ERROR;
    }

    ngx_memmove(walk->rest + n + (rest ? 1 : 0), walk->rest, rest + 1);
    ngx_memcpy(walk->rest, target, n);

    if (rest) {
        walk->rest[n] = '/';
    }

    if (target[0] == '/') {
        fd = open("/", O_RDONLY|O_DIRECTORY|O_CLOEXEC);

        if (fd == -1) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                               "open() \"/\" failed");
            return NGX_ERROR;
        }

        (void) close(walk->dir);
        walk->dir = fd;
    }

    return NGX_OK;
}


/*
 * Only root and the master's user may change what the folder holds.  In a
 * root-owned folder with the sticky bit others can add names but neither
 * rename nor remove ours, and the owner of each next step is checked.
 */

static ngx_int_t
ngx_http_hoody_ai_check_folder(ngx_conf_t *cf, ngx_str_t *file, int fd)
{
    u_char       mode[5];
    struct stat  st;

    if (fstat(fd, &st) == -1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "stat() a folder of secret file \"%V\" failed",
                           file);
        return NGX_ERROR;
    }

    if (st.st_uid != 0 && st.st_uid != geteuid()) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "a folder on the path of secret file \"%V\" "
                           "belongs to user %d, not to root",
                           file, (int) st.st_uid);
        return NGX_ERROR;
    }

    if ((st.st_mode & (S_IWGRP|S_IWOTH))
        && !((st.st_mode & S_ISVTX) && st.st_uid == 0))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "a folder on the path of secret file \"%V\" has "
                           "mode %s, others than its owner may write to it",
                           file,
                           ngx_http_hoody_ai_mode(mode, st.st_mode));
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* as chmod takes it; nginx's formats have no octal numbers */

static u_char *
ngx_http_hoody_ai_mode(u_char *buf, mode_t mode)
{
    ngx_uint_t  i;

    for (i = 0; i < 4; i++) {
        buf[i] = '0' + ((mode >> (3 * (3 - i))) & 7);
    }

    buf[4] = '\0';

    return buf;
}


static ngx_int_t
ngx_http_hoody_ai_check_file(ngx_conf_t *cf, ngx_str_t *file, ngx_fd_t fd)
{
    u_char       mode[5];
    struct stat  st;

    if (fstat(fd, &st) == -1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "stat() secret file \"%V\" failed", file);
        return NGX_ERROR;
    }

    if (!S_ISREG(st.st_mode)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "secret file \"%V\" is not a regular file", file);
        return NGX_ERROR;
    }

    if (st.st_uid != 0 && st.st_uid != geteuid()) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "secret file \"%V\" belongs to user %d, not to "
                           "root", file, (int) st.st_uid);
        return NGX_ERROR;
    }

    if (st.st_mode & (S_IRWXG|S_IRWXO)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "secret file \"%V\" has mode %s, group and "
                           "others must have no access (chmod 600)",
                           file,
                           ngx_http_hoody_ai_mode(mode, st.st_mode));
        return NGX_ERROR;
    }

    return NGX_OK;
}
