/* The threads that take calls over FastCGI. */

#ifndef HAI_CONTROL_SERVER_H
#define HAI_CONTROL_SERVER_H

#include "control.h"

struct hai_control_server;

/* fd: the listening socket.  NULL after a message. */
struct hai_control_server *hai_control_server_start(struct hai_control *control,
                                                    int fd, unsigned threads);

/* control->stopping is set: takes no more calls and waits for those that are
 * under way, at most timeout_ms.  false: one does not end. */
bool hai_control_server_stop(struct hai_control_server *server, int timeout_ms);

#endif
