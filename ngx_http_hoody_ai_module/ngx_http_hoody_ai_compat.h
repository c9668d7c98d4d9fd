
/*
 * Differences between the versions of nginx and of the system's headers that
 * the module is built with, and nowhere else.
 */


#ifndef _NGX_HTTP_HOODY_AI_COMPAT_H_INCLUDED_
#define _NGX_HTTP_HOODY_AI_COMPAT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* Linux 6.5; the headers of older distributions lack the name */

#if (NGX_LINUX && !defined SO_PEERPIDFD)
#define SO_PEERPIDFD  77
#endif


/* 1.23.0: header elements of one name are linked */

#if (nginx_version >= 1023000)
#define ngx_http_hoody_ai_elt_init(h)  (h)->next = NULL
#else
#define ngx_http_hoody_ai_elt_init(h)
#endif


/*
 * hiredis 1.0: array sizes became size_t, and RESP3 types came; without a
 * function for one of them its reply would be a bad pointer, so refuse it.
 * For the one file that includes hiredis before.
 */

#ifdef HIREDIS_MAJOR
#if (HIREDIS_MAJOR >= 1)

typedef size_t  ngx_http_hoody_ai_hiredis_count_t;

static ngx_inline void *
ngx_http_hoody_ai_hiredis_double(const redisReadTask *task, double value,
    char *str, size_t len)
{
    (void) task;
    (void) value;
    (void) str;
    (void) len;

    return NULL;
}


static ngx_inline void *
ngx_http_hoody_ai_hiredis_bool(const redisReadTask *task, int value)
{
    (void) task;
    (void) value;

    return NULL;
}

#define NGX_HTTP_HOODY_AI_HIREDIS_RESP3                                       \
    .createDouble = ngx_http_hoody_ai_hiredis_double,                         \
    .createBool = ngx_http_hoody_ai_hiredis_bool,

#else

typedef int  ngx_http_hoody_ai_hiredis_count_t;

#define NGX_HTTP_HOODY_AI_HIREDIS_RESP3

#endif
#endif


#endif /* _NGX_HTTP_HOODY_AI_COMPAT_H_INCLUDED_ */
