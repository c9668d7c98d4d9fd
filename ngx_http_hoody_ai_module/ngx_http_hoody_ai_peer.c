
/*
 * Kernel identity: which cgroup does the process at the other end of a unix
 * socket live in?  (design, sections 4 and 14.2, 14.3; man 7 unix)
 *
 * SO_PEERPIDFD names the process that called connect(), by its struct pid: it
 * cannot turn into another process when the pid number is used again.  Its
 * cgroup is read from /proc, which goes by number, so the answer counts only
 * if the process is still alive after the reading.  The pidfd stays open with
 * the connection, and a process that has ended since is refused.
 */


#include "ngx_http_hoody_ai_module.h"
#include "../common/hai_cgroup.h"

#if (NGX_LINUX)
#include <poll.h>
#endif


typedef struct {
    int                           pidfd;
    ngx_int_t                     rc;
    ngx_str_t                     cgroup;
} ngx_http_hoody_ai_pid_t;


#if (NGX_LINUX)

static void ngx_http_hoody_ai_pid_cleanup(void *data);
static ngx_int_t ngx_http_hoody_ai_pid_read(ngx_connection_t *c,
    ngx_http_hoody_ai_pid_t *pid);
static ngx_int_t ngx_http_hoody_ai_pid_number(int pidfd);
static ngx_int_t ngx_http_hoody_ai_pid_alive(int pidfd);
static ssize_t ngx_http_hoody_ai_read_proc(char *name, u_char *buf,
    size_t size);


/*
 * Sets *cgroup to the path of the peer's "0::" line; it lives as long as the
 * connection.  NGX_DECLINED: the process is gone or nobody we can look up;
 * NGX_ERROR: this kernel has no SO_PEERPIDFD.
 */

ngx_int_t
ngx_http_hoody_ai_peer_cgroup(ngx_connection_t *c, ngx_str_t *cgroup)
{
    ngx_pool_cleanup_t       *cln;
    ngx_http_hoody_ai_pid_t  *pid;

    for (cln = c->pool->cleanup; cln; cln = cln->next) {

        if (cln->handler == ngx_http_hoody_ai_pid_cleanup) {
            pid = cln->data;
            goto found;
        }
    }

    cln = ngx_pool_cleanup_add(c->pool, sizeof(ngx_http_hoody_ai_pid_t));
    if (cln == NULL) {
        return NGX_DECLINED;
    }

    pid = cln->data;
    ngx_memzero(pid, sizeof(ngx_http_hoody_ai_pid_t));
    pid->pidfd = -1;

    cln->handler = ngx_http_hoody_ai_pid_cleanup;

    pid->rc = ngx_http_hoody_ai_pid_read(c, pid);

found:

    if (pid->rc != NGX_OK) {
        return pid->rc;
    }

    if (ngx_http_hoody_ai_pid_alive(pid->pidfd) != NGX_OK) {
        return NGX_DECLINED;
    }

    *cgroup = pid->cgroup;

    return NGX_OK;
}


static void
ngx_http_hoody_ai_pid_cleanup(void *data)
{
    ngx_http_hoody_ai_pid_t  *pid = data;

    if (pid->pidfd != -1) {
        (void) close(pid->pidfd);
        pid->pidfd = -1;
    }
}


static ngx_int_t
ngx_http_hoody_ai_pid_read(ngx_connection_t *c, ngx_http_hoody_ai_pid_t *pid)
{
    u_char      *p, *line, *end, buf[8192];
    ssize_t      n;
    socklen_t    len;
    ngx_int_t    rc, number;
    char         name[sizeof("/proc//cgroup") + NGX_INT_T_LEN];

    len = sizeof(int);

    if (getsockopt(c->fd, SOL_SOCKET, SO_PEERPIDFD, &pid->pidfd, &len) == -1) {
        rc = (ngx_socket_errno == NGX_ENOPROTOOPT) ? NGX_ERROR : NGX_DECLINED;

        ngx_log_error(NGX_LOG_INFO, c->log, ngx_socket_errno,
                      "hoody_ai: getsockopt(SO_PEERPIDFD) failed");
        pid->pidfd = -1;
        return rc;
    }

    if (pid->pidfd < 0) {
        pid->pidfd = -1;
        return NGX_DECLINED;
    }

    number = ngx_http_hoody_ai_pid_number(pid->pidfd);
    if (number <= 0) {
        return NGX_DECLINED;
    }

    p = ngx_sprintf((u_char *) name, "/proc/%i/cgroup", number);
    *p = '\0';

    n = ngx_http_hoody_ai_read_proc(name, buf, sizeof(buf));

    /* a file that fills the buffer may have been cut */

    if (n <= 0 || n == sizeof(buf)
        || ngx_http_hoody_ai_pid_alive(pid->pidfd) != NGX_OK)
    {
        return NGX_DECLINED;
    }

    end = buf + n;

    for (line = buf; line < end; line = p + 1) {

        p = ngx_strlchr(line, end, LF);
        if (p == NULL) {
            return NGX_DECLINED;
        }

        if (p - line > 3 && ngx_memcmp(line, "0::", 3) == 0) {

            pid->cgroup.len = p - line - 3;
            pid->cgroup.data = ngx_pnalloc(c->pool, pid->cgroup.len);
            if (pid->cgroup.data == NULL) {
                return NGX_DECLINED;
            }

            ngx_memcpy(pid->cgroup.data, line + 3, pid->cgroup.len);

            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


/* the pid as this pid namespace sees it; 0 and -1 are nobody we can look up */

static ngx_int_t
ngx_http_hoody_ai_pid_number(int pidfd)
{
    u_char   *p, *end, *last, buf[1024];
    ssize_t   n;
    char      name[sizeof("/proc/self/fdinfo/") + NGX_INT_T_LEN];

    p = ngx_sprintf((u_char *) name, "/proc/self/fdinfo/%d", pidfd);
    *p = '\0';

    n = ngx_http_hoody_ai_read_proc(name, buf, sizeof(buf));
    if (n <= 0 || n == sizeof(buf)) {
        return NGX_ERROR;
    }

    end = buf + n;

    p = ngx_strlcasestrn(buf, end, (u_char *) "\nPid:\t",
                         sizeof("\nPid:\t") - 2);
    if (p == NULL) {
        return NGX_ERROR;
    }

    p += sizeof("\nPid:\t") - 1;

    last = ngx_strlchr(p, end, LF);
    if (last == NULL) {
        return NGX_ERROR;
    }

    return ngx_atoi(p, last - p);
}


static ngx_int_t
ngx_http_hoody_ai_pid_alive(int pidfd)
{
    struct pollfd  pfd;

    /* a pidfd becomes readable when its process has ended */

    pfd.fd = pidfd;
    pfd.events = POLLIN;
    pfd.revents = 0;

    return poll(&pfd, 1, 0) == 0 ? NGX_OK : NGX_DECLINED;
}


/* does this kernel have SO_PEERPIDFD?  For the check of the configuration */

ngx_uint_t
ngx_http_hoody_ai_peer_supported(void)
{
    int        fds[2], pidfd;
    socklen_t  len;

    if (socketpair(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0, fds) == -1) {
        return 0;
    }

    len = sizeof(int);
    pidfd = -1;

    (void) getsockopt(fds[0], SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len);

    (void) close(fds[0]);
    (void) close(fds[1]);

    if (pidfd == -1) {
        return 0;
    }

    (void) close(pidfd);

    return 1;
}


ngx_int_t
ngx_http_hoody_ai_peer_bare_safe(ngx_str_t *cgroup, size_t at)
{
    return hai_cgroup_bare_safe((char *) cgroup->data, cgroup->len, at)
           ? NGX_OK : NGX_DECLINED;
}


static ssize_t
ngx_http_hoody_ai_read_proc(char *name, u_char *buf, size_t size)
{
    int      fd;
    size_t   len;
    ssize_t  n;

    fd = open(name, O_RDONLY|O_CLOEXEC);
    if (fd == -1) {
        return -1;
    }

    len = 0;

    do {
        n = read(fd, buf + len, size - len);

        if (n > 0) {
            len += n;
        }

    } while (n > 0 && len < size);

    (void) close(fd);

    return n == -1 ? -1 : (ssize_t) len;
}


#else


ngx_int_t
ngx_http_hoody_ai_peer_cgroup(ngx_connection_t *c, ngx_str_t *cgroup)
{
    return NGX_ERROR;
}


ngx_uint_t
ngx_http_hoody_ai_peer_supported(void)
{
    return 0;
}


ngx_int_t
ngx_http_hoody_ai_peer_bare_safe(ngx_str_t *cgroup, size_t at)
{
    return NGX_DECLINED;
}

#endif
