/*
 * hoody-ai-control: what its parts share.  docs/internals/control.md tells how
 * they hang together.
 */

#ifndef HAI_CONTROL_H
#define HAI_CONTROL_H

#include "lib/fcgi_server.h"
#include "lib/redis.h"
#include "lib/registry_writer.h"
#include "lib/tokens.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct hai_audit_log;
struct hai_lock_table;
struct hai_refused;
struct hai_runtime;
struct hai_sync;

/* One process; what is not atomic is set before the first thread starts. */
struct hai_control {
    struct hai_redis_conf redis;
    const char *server;
    const char *tokens_path;     /* NULL: none, only the socket's uids */
    const char *models_path;     /* NULL: no catalogue */
    struct hai_runtime *runtime; /* NULL: creating registers only */
    struct hai_sync *sync;       /* NULL without a runtime */
    struct hai_audit_log *audit;
    struct hai_refused *refused;
    struct hai_lock_table *locks; /* one change of a container at a time; with
                                     a runtime in all processes that serve it */
    struct hai_auth *auth;
    struct hai_fcgi_counters counters;
    unsigned waiting_max; /* calls that wait for the runtime: there are more
                             threads */
    atomic_uint waiting;  /* such calls, see hai_wait_begin() */
    atomic_bool stopping;
};

#endif
