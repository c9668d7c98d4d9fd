/*
 * Listeners and threads: one epoll loop each, listeners shared by
 * SO_REUSEPORT, so that a connection stays where it was accepted.
 */

#ifndef HAI_SP_SERVER_H
#define HAI_SP_SERVER_H

#include "options.h"

/*
 * Binds, prints "listening on ..." lines, serves until SIGTERM or SIGINT.
 * Returns the exit status.
 */
int hai_sp_server_run(const struct hai_sp_options *opt);

#endif
