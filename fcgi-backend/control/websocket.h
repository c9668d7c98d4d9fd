/*
 * The reading half of a WebSocket (RFC 6455) on a unix socket: only that a
 * message came counts, not what it says.  Pings are answered.
 */

#ifndef HAI_CONTROL_WEBSOCKET_H
#define HAI_CONTROL_WEBSOCKET_H

#include <stdatomic.h>
#include <stddef.h>

struct hai_websocket;

/* NULL with a message in error.  Waits 5 s at most for the answer. */
struct hai_websocket *hai_websocket_open(const char *socket, const char *path,
                                         char *error, size_t size);
void hai_websocket_close(struct hai_websocket *ws);

/* 1: a message came; 0: none within timeout_ms, or *stop; -1: it has ended. */
int hai_websocket_wait(struct hai_websocket *ws, int timeout_ms,
                       const atomic_bool *stop);

#endif
