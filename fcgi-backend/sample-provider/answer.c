/* Answers, see answer.h: which event comes next, and its bytes. */

#include "answer.h"

#include <string.h>

#include "json.h"

#define KEEP (16 * 1024)
#define EVENT_MAX ((size_t) 512 * 1024 * 1024)
#define TEXT_SLICE 4096
#define TEXT_MAX ((size_t) HAI_SP_MAX_BODY * 3 + 1024)
#define BYTES_A_CHUNK 16
#define DEFAULT_CHUNKS 8

static const char default_text[] =
    "Hello! I am the sample provider, and this is my answer.";

static char filler[4096];

void hai_sp_answer_setup(void) {
    static const char words[] = "the quick brown fox jumps over a lazy dog, ";
    size_t i;

    for (i = 0; i < sizeof(filler); i++) {
        filler[i] = words[i % (sizeof(words) - 1)];
    }
}

void hai_sp_answer_init(struct hai_sp_answer *a) {
    memset(a, 0, sizeof(*a));
    hai_sp_buf_init(&a->model, EVENT_MAX);
    hai_sp_buf_init(&a->tool_name, EVENT_MAX);
    hai_sp_buf_init(&a->text_own, TEXT_MAX);
    hai_sp_buf_init(&a->pre, EVENT_MAX);
    hai_sp_buf_init(&a->post, EVENT_MAX);
}

void hai_sp_answer_free(struct hai_sp_answer *a) {
    hai_sp_buf_free(&a->model);
    hai_sp_buf_free(&a->tool_name);
    hai_sp_buf_free(&a->text_own);
    hai_sp_buf_free(&a->pre);
    hai_sp_buf_free(&a->post);
}

void hai_sp_answer_reset(struct hai_sp_answer *a) {
    hai_sp_buf_shrink(&a->model, KEEP);
    hai_sp_buf_shrink(&a->tool_name, KEEP);
    hai_sp_buf_shrink(&a->text_own, KEEP);
    hai_sp_buf_shrink(&a->pre, KEEP);
    hai_sp_buf_shrink(&a->post, KEEP);
    a->format = NULL;
    a->anthropic = false;
    a->stream = false;
    a->status = 200;
    a->content_type = "application/json";
    memset(&a->text, 0, sizeof(a->text));
    a->tool = false;
    a->usage = true;
    a->usage_event = false;
    a->usage_in = 0;
    a->usage_out = 0;
    a->usage_cached = 0;
    a->step = HAI_SP_STEP_OPEN;
    a->closing = 0;
    a->seq = 0;
    a->pos = 0;
    a->chunk_size = 0;
    a->deltas = 0;
    a->clock = false;
    a->event = false;
    a->raw = false;
    a->from = 0;
    a->to = 0;
    a->pre_sent = 0;
    a->post_sent = 0;
}

/* Copies text, with U+FFFD where it is not UTF-8. */
static void put_utf8(struct hai_sp_buf *b, struct hai_sp_slice s) {
    size_t i = 0;
    size_t run = 0;

    while (i < s.n) {
        size_t len = hai_sp_utf8(s.p + i, s.n - i);

        if (len > 0) {
            i += len;
            continue;
        }
        hai_sp_buf_put(b, s.p + run, i - run);
        HAI_SP_PUT(b, "\xEF\xBF\xBD");
        run = ++i;
    }
    hai_sp_buf_put(b, s.p + run, i - run);
}

static void put_headers(struct hai_sp_buf *b, const struct hai_sp_request *r) {
    unsigned i;

    for (i = 0; i < r->nheaders; i++) {
        put_utf8(b, hai_sp_slice(r, r->headers[i].name));
        HAI_SP_PUT(b, ": ");
        put_utf8(b, hai_sp_slice(r, r->headers[i].value));
        HAI_SP_PUT(b, "\n");
    }
}

static void use_own(struct hai_sp_answer *a) {
    a->text.pattern = a->text_own.data;
    a->text.period = a->text_own.len;
    a->text.len = a->text_own.len;
    a->text.plain = false;
}

static void use_filler(struct hai_sp_answer *a, uint64_t len) {
    a->text.pattern = filler;
    a->text.period = sizeof(filler);
    a->text.len = len;
    a->text.plain = true;
}

/* Cuts what there is into so many pieces of even size. */
static void cut(struct hai_sp_answer *a, uint64_t chunks) {
    a->chunk_size = (a->text.len + chunks - 1) / chunks;
}

static void choose_text(struct hai_sp_answer *a, const struct hai_sp_control *c,
                        const struct hai_sp_request *r,
                        struct hai_sp_slice key) {
    switch (c->echo) {
    case HAI_SP_ECHO_BODY:
        put_utf8(&a->text_own, hai_sp_request_body(r));
        use_own(a);
        cut(a, c->chunks > 0 ? c->chunks : 1);
        return;

    case HAI_SP_ECHO_HEADERS:
        put_headers(&a->text_own, r);
        use_own(a);
        cut(a, c->chunks > 0 ? c->chunks : 1);
        return;

    case HAI_SP_ECHO_KEY:
        /* every delta says the whole of it */
        HAI_SP_PUT(&a->text_own, "The key is ");
        put_utf8(&a->text_own, key);
        HAI_SP_PUT(&a->text_own, ". ");
        use_own(a);
        a->chunk_size = a->text.period;
        a->text.len *= c->chunks > 0 ? c->chunks : 1;
        return;

    case HAI_SP_ECHO_NONE:
        break;
    }

    if (c->text.p != NULL) {
        put_utf8(&a->text_own, c->text);
        use_own(a);
        cut(a, c->chunks > 0 ? c->chunks : 1);
    } else if (c->size > 0) {
        use_filler(a, c->size);
        cut(a, c->chunks > 0 ? c->chunks : DEFAULT_CHUNKS);
    } else if (c->chunks > 0 || c->chunk_size > 0) {
        uint64_t chunks = c->chunks > 0 ? c->chunks : DEFAULT_CHUNKS;
        uint64_t size = c->chunk_size > 0 ? c->chunk_size : BYTES_A_CHUNK;

        use_filler(a, chunks * size);
        a->chunk_size = size;
    } else {
        a->text.pattern = default_text;
        a->text.period = sizeof(default_text) - 1;
        a->text.len = sizeof(default_text) - 1;
        a->text.plain = true;
        cut(a, DEFAULT_CHUNKS);
    }
}

int hai_sp_answer_text(struct hai_sp_answer *a, const struct hai_sp_control *c,
                       const struct hai_sp_request *r,
                       struct hai_sp_slice key) {
    if (a->tool) {
        /* the arguments are in text_own already */
        use_own(a);
        cut(a, c->chunks > 0 ? c->chunks : 2);
    } else {
        choose_text(a, c, r, key);
    }
    if (c->chunk_size > 0) {
        a->chunk_size = c->chunk_size;
    }
    if (a->chunk_size == 0) {
        a->chunk_size = 1;
    }
    if (!a->stream && c->chunks == 0 && c->chunk_size == 0) {
        a->chunk_size = a->text.len > 0 ? a->text.len : 1;
    }
    a->clock = c->clock && a->stream && !a->tool;

    /* four bytes a token is what people estimate with */
    a->usage = !c->usage_none;
    if (c->usage_given) {
        a->usage_in = c->usage_in;
        a->usage_out = c->usage_out;
        a->usage_cached = c->usage_cached;
    } else {
        a->usage_in = (hai_sp_request_body(r).n + 3) / 4;
        a->usage_out = (a->text.len + 3) / 4;
    }
    return a->text_own.failed || a->model.failed || a->tool_name.failed ? -1
                                                                        : 0;
}

static bool raw_text(const struct hai_sp_answer *a) {
    return a->raw || a->text.plain;
}

static uint64_t text_length(const struct hai_sp_answer *a) {
    const struct hai_sp_text *t = &a->text;
    uint64_t whole, rest;

    if (raw_text(a) || t->len == 0) {
        return t->len;
    }
    whole = t->len / t->period;
    rest = t->len % t->period;
    return whole * hai_sp_json_escaped_len(t->pattern, t->period)
           + hai_sp_json_escaped_len(t->pattern, rest);
}

uint64_t hai_sp_answer_length(const struct hai_sp_answer *a) {
    return a->pre.len + text_length(a) + a->post.len;
}

/* The first place at or behind "at" that is not inside a character. */
static uint64_t align(const struct hai_sp_answer *a, uint64_t at) {
    const struct hai_sp_text *t = &a->text;

    while (at < t->len && !t->plain
           && ((unsigned char) t->pattern[at % t->period] & 0xC0) == 0x80)
    {
        at++;
    }
    return at < t->len ? at : t->len;
}

static void next_delta(struct hai_sp_answer *a) {
    a->from = a->pos;
    a->to = align(a, a->pos + a->chunk_size);
    a->pos = a->to;
    a->deltas++;
    if (a->stream) {
        a->format->delta(a);
    }
    if (a->pos == a->text.len) {
        a->step = HAI_SP_STEP_CLOSE;
    }
}

/*
 * "whole" left the bytes before the text in pre and those behind it in post;
 * they are written as an event of their own each, so that a body can come in
 * pieces.
 */
static void next_whole(struct hai_sp_answer *a) {
    switch (a->step) {
    case HAI_SP_STEP_OPEN:
        a->post_sent = a->post.len;
        a->step = a->text.len > 0 ? HAI_SP_STEP_DELTA : HAI_SP_STEP_CLOSE;
        break;

    case HAI_SP_STEP_DELTA:
        next_delta(a);
        break;

    default:
        a->post_sent = 0;
        a->step = HAI_SP_STEP_DONE;
        break;
    }
}

void hai_sp_answer_next(struct hai_sp_answer *a) {
    a->event = true;
    a->from = 0;
    a->to = 0;
    if (a->format == NULL) {
        a->step = HAI_SP_STEP_DONE;
        return;
    }
    if (!a->stream) {
        next_whole(a);
        return;
    }
    hai_sp_buf_clear(&a->pre);
    hai_sp_buf_clear(&a->post);
    a->pre_sent = 0;
    a->post_sent = 0;
    a->raw = false;
    switch (a->step) {
    case HAI_SP_STEP_OPEN:
        a->format->open(a);
        a->step = a->text.len > 0 ? HAI_SP_STEP_DELTA : HAI_SP_STEP_CLOSE;
        break;

    case HAI_SP_STEP_DELTA:
        next_delta(a);
        break;

    default:
        a->format->close(a);
        break;
    }
}

void hai_sp_answer_fail(struct hai_sp_answer *a) {
    a->event = true;
    a->from = 0;
    a->to = 0;
    hai_sp_buf_clear(&a->pre);
    hai_sp_buf_clear(&a->post);
    a->pre_sent = 0;
    a->post_sent = 0;
    a->format->error(a);
    a->step = HAI_SP_STEP_DONE;
}

static void emit_text(struct hai_sp_answer *a, struct hai_sp_buf *out) {
    const struct hai_sp_text *t = &a->text;
    size_t at = (size_t) (a->from % t->period);
    uint64_t stop = a->from + TEXT_SLICE;
    size_t n;

    if (stop < a->to) {
        stop = align(a, stop);
    }
    if (stop > a->to) {
        stop = a->to;
    }
    n = (size_t) (stop - a->from);
    if (n > t->period - at) {
        n = t->period - at;
    }
    if (raw_text(a)) {
        hai_sp_buf_put(out, t->pattern + at, n);
    } else {
        hai_sp_json_escape(out, t->pattern + at, n);
    }
    a->from += n;
}

static size_t emit_part(const struct hai_sp_buf *part, size_t sent, size_t room,
                        struct hai_sp_buf *out) {
    size_t n = part->len - sent;

    if (n > room) {
        n = room;
    }
    if (n > 0) {
        hai_sp_buf_put(out, part->data + sent, n);
    }
    return sent + n;
}

void hai_sp_answer_emit(struct hai_sp_answer *a, struct hai_sp_buf *out) {
    const size_t limit = 32 * 1024;
    size_t start = hai_sp_buf_pending(out);

    /* nothing to send without memory: the owner sees it in out */
    if (a->pre.failed || a->post.failed) {
        out->failed = true;
        return;
    }
    a->pre_sent = emit_part(&a->pre, a->pre_sent, limit, out);
    while (a->pre_sent == a->pre.len && a->from < a->to) {
        size_t written = hai_sp_buf_pending(out) - start;

        /* a slice grows sixfold at most */
        if (written > limit || out->failed) {
            return;
        }
        emit_text(a, out);
    }
    if (a->from == a->to && a->pre_sent == a->pre.len) {
        size_t written = hai_sp_buf_pending(out) - start;

        if (written > limit) {
            return;
        }
        a->post_sent = emit_part(&a->post, a->post_sent, limit - written, out);
        a->event = a->post_sent < a->post.len;
    }
}
