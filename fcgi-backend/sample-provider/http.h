/*
 * HTTP/1.x requests: bytes in, request out; no sockets here.
 *
 * The head is parsed once it is complete.  A request keeps offsets, not
 * pointers, because the buffer moves while the body grows.
 */

#ifndef HAI_SP_HTTP_H
#define HAI_SP_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HAI_SP_MAX_HEAD (64 * 1024)
#define HAI_SP_MAX_HEADERS 100
#define HAI_SP_MAX_BODY (64 * 1024 * 1024)

struct hai_sp_slice {
    const char *p;
    size_t n;
};

struct hai_sp_span {
    uint32_t off;
    uint32_t len;
};

struct hai_sp_header {
    struct hai_sp_span name;
    struct hai_sp_span value;
};

struct hai_sp_request {
    const char *base; /* first byte of the request line, set by the owner */
    struct hai_sp_span method;
    struct hai_sp_span uri;
    size_t head_len;
    unsigned nheaders;
    int minor; /* HTTP/1.<minor> */
    bool keep_alive;
    bool expect_continue;
    bool chunked;
    bool sample_headers; /* at least one X-Sample-* header */

    /* the body: offsets from base; decoded in place when chunked */
    uint64_t remaining; /* of the body, or of the chunk */
    size_t raw;         /* next byte to look at; the request's end when done */
    size_t body_end;    /* the body is head_len .. body_end */
    unsigned chunk_state;
    size_t trailer_line; /* bytes in the trailer line being read */
    size_t trailer_len;

    struct hai_sp_header headers[HAI_SP_MAX_HEADERS];
};

static inline struct hai_sp_slice hai_sp_slice(const struct hai_sp_request *r,
                                               struct hai_sp_span s) {
    return (struct hai_sp_slice){r->base + s.off, s.len};
}

static inline struct hai_sp_slice
hai_sp_request_body(const struct hai_sp_request *r) {
    return (struct hai_sp_slice){r->base + r->head_len,
                                 r->body_end - r->head_len};
}

/* s equals the literal, without case. */
bool hai_sp_slice_is(struct hai_sp_slice s, const char *literal);

/*
 * Parses the head of len bytes, the blank line included.  Returns 0, or the
 * HTTP status to refuse with.
 */
int hai_sp_http_parse_head(struct hai_sp_request *r, const char *data,
                           size_t len);

/* Bytes of a complete head in data[0 .. n), looking from "from" on; else 0. */
size_t hai_sp_http_head_end(const char *data, size_t n, size_t from);

/*
 * Takes body bytes that arrived behind the head: data[0 .. *len) is the whole
 * request so far.  A chunked body is decoded in place and *len falls when
 * framing could be dropped.  Returns 1 when the body is complete (r->raw is
 * the end of the request), 0 for more, or minus the HTTP status to refuse
 * with.
 */
int hai_sp_http_body(struct hai_sp_request *r, char *data, size_t *len);

/* The first header of that name; p is NULL when there is none. */
struct hai_sp_slice hai_sp_http_header(const struct hai_sp_request *r,
                                       const char *name);

/* A reason phrase for the status line. */
const char *hai_sp_http_reason(int status);

#endif
