
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


#endif /* _NGX_HTTP_HOODY_AI_COMPAT_H_INCLUDED_ */
