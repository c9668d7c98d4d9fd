/* The call's side of fcgi_server.h: from what was read to what is written. */

#ifndef HAI_CONTROL_ANSWER_H
#define HAI_CONTROL_ANSWER_H

#include "control.h"

/* Takes calls on this listening socket.  NULL after a message. */
struct hai_fcgi_server *hai_answer_start(struct hai_control *control, int fd,
                                         unsigned threads);

#endif
