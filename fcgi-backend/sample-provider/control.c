/* The X-Sample-* headers, see control.h: a table of names and ranges. */

#include "control.h"

#include <string.h>
#include <strings.h>

#define MS UINT64_C(1000000)
#define MAX_MS UINT64_C(86400000)
#define MAX_SIZE (UINT64_C(1) << 32)
#define MAX_CHUNKS UINT64_C(100000000)

const char hai_sp_control_help[] =
    "The answer's text\n"
    "  X-Sample-Text: TEXT         say this\n"
    "  X-Sample-Size: N            N bytes of filler text\n"
    "  X-Sample-Echo: body|headers|key\n"
    "                              say what arrived; \"key\" also sets the\n"
    "                              response header x-echo-key\n"
    "  X-Sample-Chunks: N          deltas of a stream, or pieces\n"
    "  X-Sample-Chunk-Size: N      bytes of text in each of them\n"
    "  X-Sample-Clock: 1           each delta starts with \"@T@\", T being\n"
    "                              CLOCK_MONOTONIC in nanoseconds\n"
    "  X-Sample-Tool: NAME         call this tool\n"
    "  X-Sample-Tool-Arguments: JSON\n"
    "  X-Sample-Usage: IN,OUT[,CACHED] | none\n"
    "Time, in milliseconds\n"
    "  X-Sample-First-Delay: MS    before the head\n"
    "  X-Sample-Header-Delay: MS   between head and body\n"
    "  X-Sample-Delay: MS          between chunks\n"
    "Trouble\n"
    "  X-Sample-Status: N          answer this error\n"
    "  X-Sample-Abort: N[,reset]   close without an end after N chunks;\n"
    "                              -1: before the head\n"
    "  X-Sample-Stall: N           send nothing any more after N chunks;\n"
    "                              -1: not even the head\n"
    "  X-Sample-Stream-Error: N    an error event after N chunks\n"
    "The wire\n"
    "  X-Sample-Close: 1           close the connection afterwards\n"
    "  X-Sample-Length: 0          chunked instead of Content-Length\n"
    "  X-Sample-Trailer: 1         send a trailer field\n"
    "  X-Sample-Encoding: NAME     claim this Content-Encoding\n"
    "  X-Sample-Header: NAME: VALUE\n"
    "                              add a response header (may repeat)\n"
    "  X-Sample-Early-Hints: 1     send 103 first\n"
    "  X-Sample-Split: N           write the body N bytes at a time\n"
    "  X-Sample-Split-Delay: MS    pause between such writes (1)\n"
    "  X-Sample-Split-Head: 1      the head as well\n";

static int take_u64(struct hai_sp_slice v, uint64_t max, uint64_t *out) {
    uint64_t n = 0;
    size_t i;

    if (v.n == 0 || v.n > 15) {
        return -1;
    }
    for (i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9') {
            return -1;
        }
        n = n * 10 + (uint64_t) (v.p[i] - '0');
    }
    if (n > max) {
        return -1;
    }
    *out = n;
    return 0;
}

static int take_ms(struct hai_sp_slice v, uint64_t *out) {
    if (take_u64(v, MAX_MS, out) != 0) {
        return -1;
    }
    *out *= MS;
    return 0;
}

static int take_bool(struct hai_sp_slice v, bool *out) {
    if (v.n != 1 || (v.p[0] != '0' && v.p[0] != '1')) {
        return -1;
    }
    *out = v.p[0] == '1';
    return 0;
}

/* a count of chunks, or -1 */
static int take_after(struct hai_sp_slice v, int64_t *out) {
    uint64_t n;

    if (hai_sp_slice_is(v, "-1")) {
        *out = -1;
        return 0;
    }
    if (take_u64(v, MAX_CHUNKS, &n) != 0) {
        return -1;
    }
    *out = (int64_t) n;
    return 0;
}

/* Cuts the part before the next comma off v. */
static struct hai_sp_slice next_item(struct hai_sp_slice *v) {
    const char *comma = v->n > 0 ? memchr(v->p, ',', v->n) : NULL;
    struct hai_sp_slice item = *v;

    if (comma == NULL) {
        v->p += v->n;
        v->n = 0;
        return item;
    }
    item.n = (size_t) (comma - v->p);
    v->n -= item.n + 1;
    v->p = comma + 1;
    while (v->n > 0 && *v->p == ' ') {
        v->p++;
        v->n--;
    }
    return item;
}

static int set_size(struct hai_sp_control *c, struct hai_sp_slice v) {
    return take_u64(v, MAX_SIZE, &c->size);
}

static int set_chunks(struct hai_sp_control *c, struct hai_sp_slice v) {
    return take_u64(v, MAX_CHUNKS, &c->chunks);
}

static int set_chunk_size(struct hai_sp_control *c, struct hai_sp_slice v) {
    return take_u64(v, MAX_SIZE, &c->chunk_size);
}

static int set_text(struct hai_sp_control *c, struct hai_sp_slice v) {
    c->text = v;
    return 0;
}

static int set_echo(struct hai_sp_control *c, struct hai_sp_slice v) {
    if (hai_sp_slice_is(v, "body")) {
        c->echo = HAI_SP_ECHO_BODY;
    } else if (hai_sp_slice_is(v, "headers")) {
        c->echo = HAI_SP_ECHO_HEADERS;
    } else if (hai_sp_slice_is(v, "key")) {
        c->echo = HAI_SP_ECHO_KEY;
    } else {
        return -1;
    }
    return 0;
}

static int set_clock(struct hai_sp_control *c, struct hai_sp_slice v) {
    return take_bool(v, &c->clock);
}

static int set_tool(struct hai_sp_control *c, struct hai_sp_slice v) {
    c->tool = v;
    return v.n > 0 ? 0 : -1;
}

static int set_arguments(struct hai_sp_control *c, struct hai_sp_slice v) {
    c->tool_arguments = v;
    return v.n > 0 ? 0 : -1;
}

static int set_usage(struct hai_sp_control *c, struct hai_sp_slice v) {
    if (hai_sp_slice_is(v, "none")) {
        c->usage_none = true;
        return 0;
    }
    if (take_u64(next_item(&v), MAX_SIZE, &c->usage_in) != 0
        || take_u64(next_item(&v), MAX_SIZE, &c->usage_out) != 0)
    {
        return -1;
    }
    c->usage_given = true;
    return v.n == 0 ? 0 : take_u64(v, MAX_SIZE, &c->usage_cached);
}

static int set_first_delay(struct hai_sp_control *c, struct hai_sp_slice v) {
    return take_ms(v, &c->first_delay);
}

static int set_header_delay(struct hai_sp_control *c, struct hai_sp_slice v) {
    return take_ms(v, &c->header_delay);
}

static int set_delay(struct hai_sp_control *c, struct hai_sp_slice v) {
    return take_ms(v, &c->delay);
}

static int set_status(struct hai_sp_control *c, struct hai_sp_slice v) {
    uint64_t n;

    if (take_u64(v, 599, &n) != 0 || n < 300) {
        return -1;
    }
    c->status = (int) n;
    return 0;
}

static int set_abort(struct hai_sp_control *c, struct hai_sp_slice v) {
    struct hai_sp_slice count = next_item(&v);

    if (v.n > 0) {
        if (!hai_sp_slice_is(v, "reset")) {
            return -1;
        }
        c->abort_reset = true;
    }
    return take_after(count, &c->abort_after);
}

static int set_stall(struct hai_sp_control *c, struct hai_sp_slice v) {
    return take_after(v, &c->stall_after);
}

static int set_error(struct hai_sp_control *c, struct hai_sp_slice v) {
    return take_after(v, &c->error_after) == 0 && c->error_after >= 0 ? 0 : -1;
}

static int set_close(struct hai_sp_control *c, struct hai_sp_slice v) {
    return take_bool(v, &c->close);
}

static int set_length(struct hai_sp_control *c, struct hai_sp_slice v) {
    bool on;

    if (take_bool(v, &on) != 0) {
        return -1;
    }
    c->no_length = !on;
    return 0;
}

static int set_trailer(struct hai_sp_control *c, struct hai_sp_slice v) {
    return take_bool(v, &c->trailer);
}

static int set_encoding(struct hai_sp_control *c, struct hai_sp_slice v) {
    c->encoding = v;
    return v.n > 0 ? 0 : -1;
}

static int set_header(struct hai_sp_control *c, struct hai_sp_slice v) {
    (void) c;
    return memchr(v.p, ':', v.n) != NULL ? 0 : -1;
}

static int set_hints(struct hai_sp_control *c, struct hai_sp_slice v) {
    return take_bool(v, &c->early_hints);
}

static int set_split(struct hai_sp_control *c, struct hai_sp_slice v) {
    return take_u64(v, MAX_SIZE, &c->split);
}

static int set_split_delay(struct hai_sp_control *c, struct hai_sp_slice v) {
    return take_ms(v, &c->split_delay);
}

static int set_split_head(struct hai_sp_control *c, struct hai_sp_slice v) {
    return take_bool(v, &c->split_head);
}

#define SETTING(name, set)                                                     \
    {                                                                          \
        "X-Sample-" name, "Bad value in the header X-Sample-" name ".", set    \
    }

static const struct {
    const char *name;
    const char *bad;
    int (*set)(struct hai_sp_control *c, struct hai_sp_slice v);
} settings[] = {
    SETTING("Abort", set_abort),
    SETTING("Chunk-Size", set_chunk_size),
    SETTING("Chunks", set_chunks),
    SETTING("Clock", set_clock),
    SETTING("Close", set_close),
    SETTING("Delay", set_delay),
    SETTING("Early-Hints", set_hints),
    SETTING("Echo", set_echo),
    SETTING("Encoding", set_encoding),
    SETTING("First-Delay", set_first_delay),
    SETTING("Header", set_header),
    SETTING("Header-Delay", set_header_delay),
    SETTING("Length", set_length),
    SETTING("Size", set_size),
    SETTING("Split", set_split),
    SETTING("Split-Delay", set_split_delay),
    SETTING("Split-Head", set_split_head),
    SETTING("Stall", set_stall),
    SETTING("Status", set_status),
    SETTING("Stream-Error", set_error),
    SETTING("Text", set_text),
    SETTING("Tool", set_tool),
    SETTING("Tool-Arguments", set_arguments),
    SETTING("Trailer", set_trailer),
    SETTING("Usage", set_usage),
};

static const char *parse_one(struct hai_sp_control *c, struct hai_sp_slice name,
                             struct hai_sp_slice value) {
    size_t i;

    for (i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        if (hai_sp_slice_is(name, settings[i].name)) {
            return settings[i].set(c, value) == 0 ? NULL : settings[i].bad;
        }
    }
    return "There is no control header of this name.";
}

const char *hai_sp_control_parse(struct hai_sp_control *c,
                                 const struct hai_sp_request *r) {
    unsigned i;

    memset(c, 0, sizeof(*c));
    c->abort_after = HAI_SP_NEVER;
    c->stall_after = HAI_SP_NEVER;
    c->error_after = HAI_SP_NEVER;
    c->split_delay = MS;
    if (!r->sample_headers) {
        return NULL;
    }
    for (i = 0; i < r->nheaders; i++) {
        struct hai_sp_slice name = hai_sp_slice(r, r->headers[i].name);
        const char *bad;

        if (name.n <= 9 || strncasecmp(name.p, "x-sample-", 9) != 0) {
            continue;
        }
        bad = parse_one(c, name, hai_sp_slice(r, r->headers[i].value));
        if (bad != NULL) {
            return bad;
        }
    }
    return NULL;
}

void hai_sp_control_headers(struct hai_sp_buf *out,
                            const struct hai_sp_request *r) {
    unsigned i;

    if (!r->sample_headers) {
        return;
    }
    for (i = 0; i < r->nheaders; i++) {
        struct hai_sp_slice value = hai_sp_slice(r, r->headers[i].value);

        if (hai_sp_slice_is(hai_sp_slice(r, r->headers[i].name),
                            "X-Sample-Header")) {
            hai_sp_buf_put(out, value.p, value.n);
            HAI_SP_PUT(out, "\r\n");
        }
    }
}
