/*
 * What every long-running program here does: signals, privileges, the
 * listening socket.
 */

#ifndef HAI_SERVICE_H
#define HAI_SERVICE_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Blocks SIGTERM, SIGINT and SIGHUP in all threads (call it before any is
 * made) and ignores SIGPIPE.  hai_service_wait() then returns the next of
 * them, SIGINT as SIGTERM; 0 after timeout_ms, -1 waits for ever.
 */
int hai_service_signals(void);
int hai_service_wait(int timeout_ms);

/* The longest name of a server, and whether hoody_ai_server takes this one. */
#define HAI_SERVER_MAX 255
bool hai_service_server_valid(const char *name);

/*
 * What --log-level and --server say, of the program of this name; *server is
 * the host's name where it is NULL.  0; or -1 after a message.
 */
int hai_service_log(const char *program, const char *level);
int hai_service_server(const char *program, const char **server);

/* Becomes this user and its groups; 0, or -1 with a message in error. */
int hai_service_user(const char *user, char *error, size_t size);

/*
 * The listening socket: the one passed by systemd (LISTEN_FDS, exactly one),
 * the one on descriptor 0 (spawn-fcgi), or a new one of `spec`: a unix path or
 * host:port.  A unix socket is made with its mode and group before anybody
 * can connect; a stale one is replaced, one that answers is an error.  The
 * descriptor, or -1 with a message in error.  *own: a path to be unlinked at
 * the end.
 */
int hai_service_listen(const char *spec, const char *mode, const char *group,
                       bool *own, char *error, size_t size);

/* Of a spec that is a path, also as "unix:/path". */
const char *hai_service_path(const char *spec);

#endif
