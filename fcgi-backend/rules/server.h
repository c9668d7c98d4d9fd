/*
 * The FastCGI server: threads that wait together for connections with
 * something to read.  A kept connection costs no thread while it is idle.
 */

#ifndef HAI_RULES_SERVER_H
#define HAI_RULES_SERVER_H

#include "engine.h"

struct hai_server;

/* Starts the workers on this listening socket.  NULL with a message in the
 * log. */
struct hai_server *hai_server_start(struct hai_engine *engine, int fd);

/* Every TICK: ends questions that take too long, accepts again where there
 * were too many connections. */
#define HAI_SERVER_TICK_MS 250
void hai_server_tick(struct hai_server *server);

/*
 * No more connections; questions that have arrived are answered, for five
 * seconds at most.  The engine is `stopping` already.  True: all threads have
 * ended and everything is freed.
 */
bool hai_server_stop(struct hai_server *server);

#endif
