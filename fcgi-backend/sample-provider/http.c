/* The parser of request heads and of chunked bodies, see http.h. */

#include "http.h"

#include <string.h>
#include <strings.h>

#define TRAILER_MAX 8192

enum {
    CHUNK_SIZE, /* hex digits */
    CHUNK_EXT,  /* up to the line's end */
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    CHUNK_TRAILER
};

bool hai_sp_slice_is(struct hai_sp_slice s, const char *literal) {
    size_t n = strlen(literal);

    return s.n == n && strncasecmp(s.p, literal, n) == 0;
}

size_t hai_sp_http_head_end(const char *data, size_t n, size_t from) {
    const char *p = data + from;
    const char *end = data + n;

    while (p < end && (p = memchr(p, '\n', (size_t) (end - p))) != NULL) {
        p++;
        if (p < end && *p == '\n') {
            return (size_t) (p + 1 - data);
        }
        if (end - p >= 2 && p[0] == '\r' && p[1] == '\n') {
            return (size_t) (p + 2 - data);
        }
    }
    return 0;
}

static bool is_token(const char *p, size_t n) {
    static const char extra[] = "!#$%&'*+-.^_`|~";
    size_t i;

    if (n == 0) {
        return false;
    }
    for (i = 0; i < n; i++) {
        unsigned char c = (unsigned char) p[i];

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
            || (c >= '0' && c <= '9')) {
            continue;
        }
        if (c == '\0' || strchr(extra, c) == NULL) {
            return false;
        }
    }
    return true;
}

/* "GET /uri HTTP/1.1" */
static int parse_request_line(struct hai_sp_request *r, const char *data,
                              size_t n) {
    const char *sp1, *sp2;

    sp1 = memchr(data, ' ', n);
    if (sp1 == NULL || !is_token(data, (size_t) (sp1 - data))) {
        return 400;
    }
    sp2 = memchr(sp1 + 1, ' ', n - (size_t) (sp1 + 1 - data));
    if (sp2 == NULL || sp2 == sp1 + 1) {
        return 400;
    }
    if (n - (size_t) (sp2 - data) != sizeof(" HTTP/1.1") - 1
        || memcmp(sp2, " HTTP/", 6) != 0 || sp2[7] != '.')
    {
        return 400;
    }
    if (sp2[6] != '1' || (sp2[8] != '0' && sp2[8] != '1')) {
        return 505;
    }
    r->method = (struct hai_sp_span){0, (uint32_t) (sp1 - data)};
    r->uri = (struct hai_sp_span){(uint32_t) (sp1 + 1 - data),
                                  (uint32_t) (sp2 - sp1 - 1)};
    r->minor = sp2[8] - '0';
    r->keep_alive = r->minor == 1;
    return 0;
}

/* One item of a comma separated list equals word, without case. */
static bool list_has(struct hai_sp_slice list, const char *word) {
    const char *p = list.p;
    const char *end = list.p + list.n;

    while (p < end) {
        const char *comma = memchr(p, ',', (size_t) (end - p));
        const char *stop = comma != NULL ? comma : end;
        const char *last = stop;

        while (p < last && (*p == ' ' || *p == '\t')) {
            p++;
        }
        while (last > p && (last[-1] == ' ' || last[-1] == '\t')) {
            last--;
        }
        if (hai_sp_slice_is((struct hai_sp_slice){p, (size_t) (last - p)},
                            word)) {
            return true;
        }
        p = stop + 1;
    }
    return false;
}

static int parse_length(struct hai_sp_slice v, uint64_t *out) {
    uint64_t n = 0;
    size_t i;

    if (v.n == 0 || v.n > 18) {
        return -1;
    }
    for (i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9') {
            return -1;
        }
        n = n * 10 + (uint64_t) (v.p[i] - '0');
    }
    *out = n;
    return 0;
}

/* What a header means for the connection and for the body's framing. */
static int apply_header(struct hai_sp_request *r, struct hai_sp_slice name,
                        struct hai_sp_slice value, bool *has_length) {
    uint64_t length;

    switch (name.n) {
    case 6:
        if (hai_sp_slice_is(name, "expect")
            && hai_sp_slice_is(value, "100-continue")) {
            r->expect_continue = r->minor == 1;
        }
        break;

    case 10:
        if (hai_sp_slice_is(name, "connection")) {
            if (list_has(value, "close")) {
                r->keep_alive = false;
            } else if (list_has(value, "keep-alive")) {
                r->keep_alive = true;
            }
        }
        break;

    case 14:
        if (hai_sp_slice_is(name, "content-length")) {
            if (parse_length(value, &length) != 0
                || (*has_length && length != r->remaining))
            {
                return 400;
            }
            r->remaining = length;
            *has_length = true;
        }
        break;

    case 17:
        if (hai_sp_slice_is(name, "transfer-encoding")) {
            if (!hai_sp_slice_is(value, "chunked") || r->chunked) {
                return 501;
            }
            r->chunked = true;
        }
        break;

    default:
        break;
    }
    if (name.n > 9 && strncasecmp(name.p, "x-sample-", 9) == 0) {
        r->sample_headers = true;
    }
    return 0;
}

int hai_sp_http_parse_head(struct hai_sp_request *r, const char *data,
                           size_t len) {
    const char *p = data;
    const char *end = data + len;
    bool has_length = false;
    bool first = true;

    /* the header table is left as it is: nheaders says what counts */
    memset(r, 0, offsetof(struct hai_sp_request, headers));
    r->base = data;
    r->head_len = len;

    while (p < end) {
        const char *nl = memchr(p, '\n', (size_t) (end - p));
        const char *colon, *v, *stop;
        struct hai_sp_header *h;
        int rc;

        if (nl == NULL) {
            return 400;
        }
        stop = nl > p && nl[-1] == '\r' ? nl - 1 : nl;
        if (stop == p) {
            break;
        }
        if (first) {
            rc = parse_request_line(r, p, (size_t) (stop - p));
            if (rc != 0) {
                return rc;
            }
            first = false;
            p = nl + 1;
            continue;
        }
        colon = memchr(p, ':', (size_t) (stop - p));
        if (colon == NULL || !is_token(p, (size_t) (colon - p))) {
            return 400;
        }
        if (r->nheaders == HAI_SP_MAX_HEADERS) {
            return 431;
        }
        v = colon + 1;
        while (v < stop && (*v == ' ' || *v == '\t')) {
            v++;
        }
        while (stop > v && (stop[-1] == ' ' || stop[-1] == '\t')) {
            stop--;
        }
        h = &r->headers[r->nheaders++];
        h->name =
            (struct hai_sp_span){(uint32_t) (p - data), (uint32_t) (colon - p)};
        h->value =
            (struct hai_sp_span){(uint32_t) (v - data), (uint32_t) (stop - v)};
        rc = apply_header(r, hai_sp_slice(r, h->name),
                          hai_sp_slice(r, h->value), &has_length);
        if (rc != 0) {
            return rc;
        }
        p = nl + 1;
    }
    if (first || (r->chunked && (has_length || r->minor == 0))) {
        return 400;
    }
    if (r->remaining > HAI_SP_MAX_BODY) {
        return 413;
    }
    r->raw = len;
    r->body_end = len;
    return 0;
}

static int chunk_digit(struct hai_sp_request *r, char c) {
    unsigned digit;

    if (c >= '0' && c <= '9') {
        digit = (unsigned) (c - '0');
    } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
        digit = (unsigned) ((c | 0x20) - 'a' + 10);
    } else {
        return -1;
    }
    r->remaining = r->remaining * 16 + digit;
    return 0;
}

/* trailer_line doubles as the count of digits while a size is read */
static int chunk_size_end(struct hai_sp_request *r) {
    if (r->trailer_line == 0) {
        return -400;
    }
    r->trailer_line = 0;
    r->chunk_state = r->remaining > 0 ? CHUNK_DATA : CHUNK_TRAILER;
    return 0;
}

/* One byte of chunked framing.  Returns 1 at the end, 0, or -status. */
static int chunk_byte(struct hai_sp_request *r, char c) {
    switch (r->chunk_state) {
    case CHUNK_SIZE:
        if (c == '\n') {
            return chunk_size_end(r);
        }
        if (c == '\r' || c == ';' || c == ' ' || c == '\t') {
            r->chunk_state = CHUNK_EXT;
            return 0;
        }
        if (chunk_digit(r, c) != 0) {
            return -400;
        }
        r->trailer_line++;
        if (r->remaining > HAI_SP_MAX_BODY) {
            return -413;
        }
        return r->trailer_line > 16 ? -400 : 0;

    case CHUNK_EXT:
        if (++r->trailer_len > TRAILER_MAX) {
            return -431;
        }
        return c == '\n' ? chunk_size_end(r) : 0;

    case CHUNK_DATA_CR:
        if (c == '\r') {
            r->chunk_state = CHUNK_DATA_LF;
            return 0;
        }
        /* a lone LF ends it as well */
        /* fall through */

    case CHUNK_DATA_LF:
        r->chunk_state = CHUNK_SIZE;
        return c == '\n' ? 0 : -400;

    default: /* CHUNK_TRAILER */
        if (++r->trailer_len > TRAILER_MAX) {
            return -431;
        }
        if (c == '\n') {
            if (r->trailer_line == 0) {
                return 1;
            }
            r->trailer_line = 0;
        } else if (c != '\r') {
            r->trailer_line++;
        }
        return 0;
    }
}

static int chunked_body(struct hai_sp_request *r, char *data, size_t *len) {
    while (r->raw < *len) {
        int rc;

        if (r->chunk_state == CHUNK_DATA) {
            size_t n = *len - r->raw;

            if (n > r->remaining) {
                n = (size_t) r->remaining;
            }
            if (r->body_end - r->head_len + n > HAI_SP_MAX_BODY) {
                return -413;
            }
            memmove(data + r->body_end, data + r->raw, n);
            r->body_end += n;
            r->raw += n;
            r->remaining -= n;
            if (r->remaining == 0) {
                r->chunk_state = CHUNK_DATA_CR;
            }
            continue;
        }
        rc = chunk_byte(r, data[r->raw++]);
        if (rc != 0) {
            return rc;
        }
    }

    /* all raw bytes were looked at: what lies behind the body was framing */
    r->raw = r->body_end;
    *len = r->body_end;
    return 0;
}

int hai_sp_http_body(struct hai_sp_request *r, char *data, size_t *len) {
    size_t n;

    r->base = data;
    if (r->chunked) {
        return chunked_body(r, data, len);
    }
    n = *len - r->raw;
    if (n > r->remaining) {
        n = (size_t) r->remaining;
    }
    r->raw += n;
    r->body_end = r->raw;
    r->remaining -= n;
    return r->remaining == 0;
}

struct hai_sp_slice hai_sp_http_header(const struct hai_sp_request *r,
                                       const char *name) {
    unsigned i;

    for (i = 0; i < r->nheaders; i++) {
        if (hai_sp_slice_is(hai_sp_slice(r, r->headers[i].name), name)) {
            return hai_sp_slice(r, r->headers[i].value);
        }
    }
    return (struct hai_sp_slice){NULL, 0};
}

const char *hai_sp_http_reason(int status) {
    static const struct {
        int status;
        const char *text;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {413, "Content Too Large"},
        {415, "Unsupported Media Type"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {529, "Overloaded"},
    };
    size_t i;

    for (i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (reasons[i].status == status) {
            return reasons[i].text;
        }
    }
    return "Sample";
}
