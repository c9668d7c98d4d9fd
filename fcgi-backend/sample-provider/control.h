/*
 * What a client asks of the sample by X-Sample-* request headers.
 */

#ifndef HAI_SP_CONTROL_H
#define HAI_SP_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "http.h"

enum hai_sp_echo {
    HAI_SP_ECHO_NONE,
    HAI_SP_ECHO_BODY,
    HAI_SP_ECHO_HEADERS,
    HAI_SP_ECHO_KEY
};

#define HAI_SP_NEVER INT64_MIN

struct hai_sp_control {
    /* the text */
    struct hai_sp_slice text; /* p is NULL: not given */
    enum hai_sp_echo echo;
    uint64_t size;       /* 0: not given */
    uint64_t chunks;     /* 0: not given */
    uint64_t chunk_size; /* 0: not given */
    bool clock;

    /* time, in nanoseconds */
    uint64_t delay;
    uint64_t first_delay;
    uint64_t header_delay;

    /* trouble: after so many chunks, -1 before the head, or never */
    int64_t abort_after;
    bool abort_reset;
    int64_t stall_after;
    int64_t error_after;

    /* the answer */
    int status; /* 0: as it comes */
    uint64_t usage_in;
    uint64_t usage_out;
    uint64_t usage_cached;
    bool usage_given;
    bool usage_none;
    struct hai_sp_slice tool;
    struct hai_sp_slice tool_arguments;

    /* the wire */
    bool close;
    bool no_length;
    bool trailer;
    bool early_hints;
    uint64_t split;       /* bytes a write, 0: as many as fit */
    uint64_t split_delay; /* nanoseconds between such writes */
    bool split_head;
    struct hai_sp_slice encoding;
};

/*
 * Reads the control headers of a request.  Returns NULL, or what is
 * wrong with them (static).
 */
const char *hai_sp_control_parse(struct hai_sp_control *c,
                                 const struct hai_sp_request *r);

/* Writes the lines that X-Sample-Header asked for. */
void hai_sp_control_headers(struct hai_sp_buf *out,
                            const struct hai_sp_request *r);

/* The list of headers for --help. */
extern const char hai_sp_control_help[];

#endif
