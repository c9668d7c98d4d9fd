/*
 * One call: what was asked, by whom, and what is answered.  Made and ended by
 * the thread that took it; handlers fill in the answer.
 */

#ifndef HAI_CONTROL_CALL_H
#define HAI_CONTROL_CALL_H

#include "control.h"

#include <fcgiapp.h>
#include <jansson.h>
#include <stdint.h>

#define HAI_CALL_BODY_MAX (1024UL * 1024)
#define HAI_CALL_SEGMENTS 8

struct hai_connection;

/* Who calls. */
struct hai_caller {
    char who[80];             /* "token:<id>" or "uid:<n>" */
    struct hai_rights rights; /* the call's own copy */
};

struct hai_call {
    struct hai_control *control;
    struct hai_connection *connection;
    struct hai_registry_writer *writer; /* of it; NULL: no registry now */
    bool waits;                         /* is one of control->waiting */
    FCGX_Request *fcgi;

    const char *method;
    char *path; /* decoded, cut into the segments */
    const char *segment[HAI_CALL_SEGMENTS];
    size_t n_segments;
    const char *query; /* as it came */
    json_t *body;      /* an object, or NULL: none came */
    char request_id[64];
    int64_t now_ms;
    struct hai_caller caller;

    /* the answer */
    int status;
    char message[512];
    char error[64];  /* "": the reason phrase of the status */
    json_t *data;    /* owned; NULL: null, or none where it failed */
    int retry_after; /* seconds; 0: not said */
    const char *allow;
    uint64_t version; /* of the container, as ETag; 0: none */

    /* for the audit: owned */
    const char *action; /* the operation; NULL: not to be audited */
    char container[101];
    char container_id[25];
    char project_id[25];
    json_t *before;
    json_t *after;
};

/*
 * Reads request and body.  0; or -1: the call is answered already (bad
 * request), or the connection is broken.
 */
int hai_call_read(struct hai_call *call);

/* What the peer has sent besides.  0; or -1, answered: it does not end, or the
 * connection is broken. */
int hai_call_skip(struct hai_call *call);

void hai_call_free(struct hai_call *call);

/* Writes the answer.  0, or -1: the connection is broken. */
int hai_call_write(struct hai_call *call);

/* A parameter of FastCGI; "" where there is none. */
const char *hai_call_param(const struct hai_call *call, const char *name);

/*
 * A value of the query, decoded; NULL: not there.  The caller frees it.
 * *bad is set where it is there twice or is not well formed.
 */
char *hai_call_query(const struct hai_call *call, const char *name, bool *bad);

/* The answers.  Each sets the status and returns 0, or -1 for a failure, so
 * that a handler can end with it.  data is taken over, also when NULL. */
int hai_ok(struct hai_call *call, int status, const char *message,
           json_t *data);
int hai_fail(struct hai_call *call, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with a machine's code instead of the reason phrase, and data. */
int hai_fail_code(struct hai_call *call, int status, const char *code,
                  json_t *data, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* What a failed write of the registry means to the caller. */
int hai_fail_write(struct hai_call *call,
                   const struct hai_write_result *result);

int hai_fail_memory(struct hai_call *call);

/*
 * Before a call waits for the runtime, or for another call that may do so: a
 * runtime that hangs must not hold all threads.  0; or -1, answered with 503
 * RUNTIME_BUSY, and nothing was done.  Without a runtime, and the second time,
 * there is nothing to ask.  The end is not the handlers'.
 */
int hai_wait_begin(struct hai_call *call);
void hai_wait_end(struct hai_call *call);

#endif
