/* A thread's connection to the registry, made when it is needed. */

#ifndef HAI_CONTROL_CONNECTION_H
#define HAI_CONTROL_CONNECTION_H

#include "control.h"

struct hai_connection {
    redisContext *c; /* NULL: none now */
    struct hai_registry_writer writer;
};

/* Asks whether it still works and leads to the master, and makes it anew where
 * not.  NULL after a message. */
struct hai_registry_writer *hai_connection_open(struct hai_connection *one,
                                                struct hai_control *control);
void hai_connection_close(struct hai_connection *one);

#endif
