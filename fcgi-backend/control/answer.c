/*
 * Answers one call after the other, see answer.h.  The peer has its time to
 * send a call and to take the answer; what is between them has the time-outs
 * of Redis and of the runtime.
 */

#include "answer.h"

#include "audit.h"
#include "call.h"
#include "connection.h"
#include "refused.h"
#include "route.h"

#include "lib/clock.h"
#include "lib/fcgi_server.h"
#include "lib/log.h"

#include <stdlib.h>

#define CALL_MS 10000 /* to send one, and again to take the answer */
#define HURRY_MS 1000 /* while others wait */

static void write_down(struct hai_call *call) {
    if (call->status == 401) {
        hai_refused_count(call->control->refused, call);

    } else if (call->writer != NULL) {
        hai_audit_call(call->control->audit, call);
    }
}

static int answer(void *data, void *scratch, struct hai_fcgi_thread *thread,
                  FCGX_Request *request) {
    struct hai_call call = {
        .control = data,
        .connection = scratch,
        .fcgi = request,
        .now_ms = (int64_t) hai_wall_ms(),
    };
    bool readable = hai_call_read(&call) == 0;
    int rc = hai_call_skip(&call);

    if (rc == 0) {
        hai_fcgi_pause(thread);

        if (readable) {
            hai_route(&call);
        }

        /* before the answer: what was done is written down when it is heard
         * of */
        hai_wait_end(&call);
        write_down(&call);
        hai_fcgi_resume(thread);
    }

    /* a body that goes on for ever is answered as well */
    if (hai_call_write(&call) != 0) {
        hai_log(HAI_LOG_INFO, "the caller has gone");
        rc = -1;
    }

    hai_call_free(&call);

    return rc;
}

static void *connection_new(void *data) {
    (void) data;

    return calloc(1, sizeof(struct hai_connection));
}

static void connection_free(void *scratch) {
    hai_connection_close(scratch);
    free(scratch);
}

struct hai_fcgi_server *hai_answer_start(struct hai_control *control, int fd,
                                         unsigned threads) {
    const struct hai_fcgi_owner owner = {
        .data = control,
        .counters = &control->counters,
        .threads = threads,
        .limit_ms = CALL_MS,
        .hurry_ms = HURRY_MS,
        .scratch_new = connection_new,
        .scratch_free = connection_free,
        .answer = answer,
    };

    return hai_fcgi_server_start(&owner, fd);
}
