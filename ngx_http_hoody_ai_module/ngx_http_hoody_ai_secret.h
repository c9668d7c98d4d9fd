
/*
 * Key files and the memory that keeps their content: read and checked by the
 * master while it reads the configuration, locked in each worker, left out of
 * core dumps, wiped before it is given back.
 */


#ifndef _NGX_HTTP_HOODY_AI_SECRET_H_INCLUDED_
#define _NGX_HTTP_HOODY_AI_SECRET_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* one page-aligned region per configuration */

typedef struct {
    u_char      *start;
    size_t       size;
    size_t       used;
} ngx_http_hoody_ai_vault_t;


/*
 * Offsets into the vault: the region moves while it grows.  The line is what
 * goes out: "Authorization: Bearer <key>" CRLF CRLF, ready for the chain.
 */

typedef struct {
    size_t       line;
    size_t       line_len;
    size_t       name_len;             /* of the header, in front of ":" */
    size_t       key;
    size_t       key_len;
} ngx_http_hoody_ai_secret_t;


/* an empty region that pool's cleanup wipes and unmaps; NULL without memory */
ngx_http_hoody_ai_vault_t *ngx_http_hoody_ai_vault_create(ngx_pool_t *pool);

/*
 * Reads the file into the vault, behind "prefix" and before "suffix".  Logs
 * an "emerg" line that names file and cause and returns NGX_ERROR when
 * anything about the file, or a folder above it, is not as it must be.
 */
ngx_int_t ngx_http_hoody_ai_secret_read(ngx_conf_t *cf,
    ngx_http_hoody_ai_vault_t *vault, ngx_str_t *file, ngx_str_t *prefix,
    ngx_str_t *suffix, ngx_http_hoody_ai_secret_t *secret);

/* locks the region in this process; NGX_ERROR with errno set */
ngx_int_t ngx_http_hoody_ai_vault_lock(ngx_http_hoody_ai_vault_t *vault);


#endif /* _NGX_HTTP_HOODY_AI_SECRET_H_INCLUDED_ */
