/* A connection, see conn.h: reading, writing, TLS, waiting. */

#define _GNU_SOURCE 1

#include "conn.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "record.h"

#define READ_SIZE (16 * 1024)
#define READ_MAX (1024 * 1024)
#define IN_MAX ((size_t) HAI_SP_MAX_BODY + HAI_SP_MAX_HEAD + 2 * READ_MAX)
#define OUT_HIGH (64 * 1024)
#define OUT_MAX (1024 * 1024)
#define KEEP (64 * 1024)
#define TURN_MAX (1024 * 1024)
#define LINGER_NS UINT64_C(2000000000)

/* Results of reading and writing besides a count of bytes. */
enum { IO_AGAIN = -1, IO_ERROR = -2 };

struct hai_sp_conn *hai_sp_conn_new(struct hai_sp_loop *loop, int fd,
                                    SSL *ssl) {
    struct hai_sp_conn *c = malloc(sizeof(*c));

    if (c == NULL) {
        return NULL;
    }
    /* the header table of the request needs no clearing */
    memset(c, 0, offsetof(struct hai_sp_conn, request));
    memset(&c->control, 0, sizeof(*c) - offsetof(struct hai_sp_conn, control));
    c->loop = loop;
    c->fd = fd;
    c->ssl = ssl;
    hai_sp_buf_init(&c->in, IN_MAX);
    hai_sp_buf_init(&c->out, OUT_MAX);
    hai_sp_answer_init(&c->answer);
    hai_sp_answer_reset(&c->answer);
    c->next = loop->conns;
    if (c->next != NULL) {
        c->next->prev = c;
    }
    loop->conns = c;
    hai_sp_count(&hai_sp_stats.open, 1);
    return c;
}

static void uncount(struct hai_sp_conn *c) {
    if (c->counted) {
        hai_sp_count(&hai_sp_stats.streams, -1);
        c->counted = false;
    }
}

void hai_sp_conn_close(struct hai_sp_conn *c) {
    uncount(c);
    hai_sp_timer_cancel(&c->loop->timers, &c->timer);
    if (c->prev != NULL) {
        c->prev->next = c->next;
    } else {
        c->loop->conns = c->next;
    }
    if (c->next != NULL) {
        c->next->prev = c->prev;
    }
    if (c->ssl != NULL) {
        SSL_free(c->ssl);
    }
    close(c->fd);
    hai_sp_buf_free(&c->in);
    hai_sp_buf_free(&c->out);
    hai_sp_answer_free(&c->answer);
    free(c);
    hai_sp_count(&hai_sp_stats.open, -1);
}

/* The peer left: in the middle of a request or an answer, that counts. */
static void peer_left(struct hai_sp_conn *c) {
    bool idle =
        c->state == HAI_SP_LINGER
        || (c->state == HAI_SP_READ_HEAD && hai_sp_buf_pending(&c->in) == 0);

    if (!idle && !c->cut) {
        hai_sp_count(&hai_sp_stats.client_aborts, 1);
    }
    hai_sp_conn_close(c);
}

static int ssl_result(struct hai_sp_conn *c, int rc) {
    switch (SSL_get_error(c->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return IO_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        return IO_ERROR;
    }
}

/* Returns bytes read, 0 at the end, or IO_AGAIN, IO_ERROR. */
static ssize_t io_read(struct hai_sp_conn *c, char *p, size_t n) {
    ssize_t rc;

    if (c->ssl != NULL) {
        int got;

        ERR_clear_error();
        got = SSL_read(c->ssl, p, (int) n);
        return got > 0 ? got : ssl_result(c, got);
    }
    do {
        rc = recv(c->fd, p, n, 0);
    } while (rc < 0 && errno == EINTR);
    if (rc < 0) {
        return errno == EAGAIN || errno == EWOULDBLOCK ? IO_AGAIN : IO_ERROR;
    }
    /* a short read empties the socket; its next bytes bring an event */
    if ((size_t) rc < n && rc > 0 && !c->peer_closed) {
        c->readable = false;
    }
    return rc;
}

/* Returns bytes written, or IO_AGAIN, IO_ERROR. */
static ssize_t io_write(struct hai_sp_conn *c, const char *p, size_t n) {
    ssize_t rc;

    if (c->ssl != NULL) {
        int put;

        ERR_clear_error();
        put = SSL_write(c->ssl, p, (int) (n < TURN_MAX ? n : TURN_MAX));
        if (put > 0) {
            return put;
        }
        put = ssl_result(c, put);
        return put == 0 ? IO_ERROR : put;
    }
    do {
        rc = send(c->fd, p, n, MSG_NOSIGNAL);
    } while (rc < 0 && errno == EINTR);
    if (rc < 0) {
        return errno == EAGAIN || errno == EWOULDBLOCK ? IO_AGAIN : IO_ERROR;
    }
    return rc;
}

/* Makes the connection wait.  Returns IO_AGAIN, or IO_ERROR. */
static int wait_until(struct hai_sp_conn *c, uint64_t when) {
    if (hai_sp_timer_set(&c->loop->timers, &c->timer, when) != 0) {
        return IO_ERROR;
    }
    c->waiting = true;
    return IO_AGAIN;
}

/*
 * Writes what is in "out".  Returns 0 when all of it went, IO_AGAIN or
 * IO_ERROR.
 */
static int flush(struct hai_sp_conn *c) {
    while (hai_sp_buf_pending(&c->out) > 0) {
        size_t n = hai_sp_buf_pending(&c->out);
        bool split = c->control.split > 0
                     && (c->head_left == 0 || c->control.split_head);
        ssize_t rc;

        if (split && n > c->control.split) {
            n = (size_t) c->control.split;
        } else if (c->control.split > 0 && c->head_left > 0 && n > c->head_left)
        {
            n = c->head_left;
        }
        rc = io_write(c, c->out.data + c->out.pos, n);
        if (rc < 0) {
            return (int) rc;
        }
        c->head_left -= (size_t) rc < c->head_left ? (size_t) rc : c->head_left;
        hai_sp_buf_consume(&c->out, (size_t) rc);
        if (c->control.split > 0 && hai_sp_buf_pending(&c->out) > 0) {
            return wait_until(c, c->loop->now + c->control.split_delay);
        }
    }
    return 0;
}

static void set_date(struct hai_sp_loop *loop) {
    time_t now = time(NULL);
    struct tm tm;

    if (now != loop->date_of) {
        loop->date_of = now;
        gmtime_r(&now, &tm);
        strftime(loop->date, sizeof(loop->date), "%a, %d %b %Y %H:%M:%S GMT",
                 &tm);
    }
}

static void put_head(struct hai_sp_conn *c) {
    struct hai_sp_answer *a = &c->answer;
    struct hai_sp_buf *b = &c->out;
    bool echo_key = c->control.echo == HAI_SP_ECHO_KEY;

    if (c->control.early_hints && c->request.minor == 1) {
        HAI_SP_PUT(b, "HTTP/1.1 103 Early Hints\r\n"
                      "link: </sample>; rel=preload\r\n\r\n");
    }
    HAI_SP_PUT(b, "HTTP/1.1 ");
    hai_sp_buf_putu(b, (uint64_t) a->status);
    HAI_SP_PUT(b, " ");
    hai_sp_buf_puts(b, hai_sp_http_reason(a->status));
    HAI_SP_PUT(b, "\r\nserver: hoody-ai-sample-provider\r\ndate: ");
    set_date(c->loop);
    hai_sp_buf_puts(b, c->loop->date);
    HAI_SP_PUT(b, "\r\ncontent-type: ");
    hai_sp_buf_puts(b, a->content_type);
    hai_sp_buf_puts(b,
                    a->anthropic ? "\r\nrequest-id: " : "\r\nx-request-id: ");
    hai_sp_buf_puts(b, a->request_id);
    if (a->status == 429 || a->status == 529 || a->status == 503) {
        HAI_SP_PUT(b, "\r\nretry-after: 1");
    }
    if (a->stream) {
        HAI_SP_PUT(b, "\r\ncache-control: no-cache");
    } else if (!c->chunked && !c->control.no_length) {
        HAI_SP_PUT(b, "\r\ncontent-length: ");
        hai_sp_buf_putu(b, hai_sp_answer_length(a));
    }
    if (c->chunked) {
        HAI_SP_PUT(b, "\r\ntransfer-encoding: chunked");
        if (c->control.trailer) {
            HAI_SP_PUT(b, "\r\ntrailer: x-sample-trailer");
        }
    }
    if (!c->keep_alive) {
        HAI_SP_PUT(b, "\r\nconnection: close");
    } else if (c->request.minor == 0) {
        HAI_SP_PUT(b, "\r\nconnection: keep-alive");
    }
    if (c->control.encoding.n > 0) {
        HAI_SP_PUT(b, "\r\ncontent-encoding: ");
        hai_sp_buf_put(b, c->control.encoding.p, c->control.encoding.n);
    }
    if (echo_key) {
        struct hai_sp_slice key = hai_sp_api_key(&c->request);

        HAI_SP_PUT(b, "\r\nx-echo-key: ");
        hai_sp_buf_put(b, key.p, key.n);
    }
    HAI_SP_PUT(b, "\r\n");
    hai_sp_control_headers(b, &c->request);
    HAI_SP_PUT(b, "\r\n");
    c->head_left = hai_sp_buf_pending(b);
}

/* The end of a chunked body. */
static void put_last_chunk(struct hai_sp_conn *c) {
    struct hai_sp_buf *b = &c->out;

    if (!c->chunked) {
        return;
    }
    HAI_SP_PUT(b, "0\r\n");
    if (c->control.trailer) {
        HAI_SP_PUT(b, "x-sample-trailer: ");
        if (c->control.echo == HAI_SP_ECHO_KEY) {
            struct hai_sp_slice key = hai_sp_api_key(&c->request);

            hai_sp_buf_put(b, key.p, key.n);
        } else {
            HAI_SP_PUT(b, "done");
        }
        HAI_SP_PUT(b, "\r\n");
    }
    HAI_SP_PUT(b, "\r\n");
}

/* Writes a piece of the event; one piece is one chunk. */
static void put_piece(struct hai_sp_conn *c) {
    static const char hex[] = "0123456789abcdef";
    struct hai_sp_buf *b = &c->out;
    size_t mark, n;
    char *p;

    /* room first: then nothing moves and the size can be filled in */
    if (hai_sp_buf_reserve(b, HAI_SP_EMIT_MAX + 8) != 0) {
        return;
    }
    if (!c->chunked) {
        hai_sp_answer_emit(&c->answer, b);
        return;
    }
    mark = b->len;
    b->len += 6;
    hai_sp_answer_emit(&c->answer, b);
    n = b->len - mark - 6;
    if (n == 0) {
        b->len = mark;
        return;
    }
    p = b->data + mark;
    p[0] = hex[(n >> 12) & 15];
    p[1] = hex[(n >> 8) & 15];
    p[2] = hex[(n >> 4) & 15];
    p[3] = hex[n & 15];
    p[4] = '\r';
    p[5] = '\n';
    HAI_SP_PUT(b, "\r\n");
}

/*
 * Between two events: the pauses and the troubles that were asked for.
 * Returns 1 to go on, 0 when the answer ends here (c->cut), IO_AGAIN to wait,
 * IO_ERROR.
 */
static int between(struct hai_sp_conn *c) {
    struct hai_sp_answer *a = &c->answer;
    struct hai_sp_control *ctl = &c->control;
    int64_t deltas = (int64_t) a->deltas;

    if (a->step == HAI_SP_STEP_OPEN || a->format == NULL) {
        return 1;
    }
    if (ctl->abort_after >= 0 && deltas >= ctl->abort_after) {
        c->cut = true;
        return 0;
    }
    if (ctl->stall_after >= 0 && deltas >= ctl->stall_after) {
        return IO_AGAIN;
    }
    if (ctl->error_after >= 0 && deltas >= ctl->error_after && a->stream) {
        hai_sp_answer_fail(a);
        return 1;
    }
    if (a->step == HAI_SP_STEP_DELTA && ctl->delay > 0 && a->deltas > 0) {
        uint64_t when = c->last_delta + ctl->delay;

        if (when > c->loop->now) {
            return wait_until(c, when);
        }
        /* whoever is late by more than a pause does not catch up in a burst */
        c->last_delta = c->loop->now - when > ctl->delay ? c->loop->now : when;
    }
    return 1;
}

/* Before the head.  Returns 1, 0 (c->cut), IO_AGAIN or IO_ERROR. */
static int before_head(struct hai_sp_conn *c) {
    struct hai_sp_control *ctl = &c->control;

    if (ctl->first_delay > 0 && !c->first_waited) {
        c->first_waited = true;
        return wait_until(c, c->loop->now + ctl->first_delay);
    }
    if (ctl->abort_after == -1) {
        c->cut = true;
        return 0;
    }
    if (ctl->stall_after == -1) {
        return IO_AGAIN;
    }
    put_head(c);
    c->head_made = true;
    c->last_delta = c->loop->now;
    return 1;
}

/*
 * Writes the answer as far as it goes.  Returns 0 when all of it is in "out",
 * IO_AGAIN or IO_ERROR.
 */
static int pump(struct hai_sp_conn *c) {
    struct hai_sp_answer *a = &c->answer;
    size_t high = c->control.split > 0 ? 1 : OUT_HIGH;
    size_t turn = 0;
    int rc;

    if (!c->head_made) {
        rc = before_head(c);
        if (rc <= 0) {
            return rc;
        }
    }
    if (c->control.header_delay > 0 && !c->header_waited) {
        rc = flush(c);
        if (rc != 0) {
            return rc;
        }
        c->header_waited = true;
        c->last_delta = c->loop->now + c->control.header_delay;
        return wait_until(c, c->loop->now + c->control.header_delay);
    }
    while (a->event || a->step != HAI_SP_STEP_DONE) {
        size_t before;

        if (hai_sp_buf_pending(&c->out) >= high) {
            rc = flush(c);
            if (rc != 0) {
                return rc;
            }
        }
        if (turn > TURN_MAX) {
            return wait_until(c, c->loop->now); /* the others' turn */
        }
        if (!a->event) {
            rc = between(c);
            if (rc == IO_AGAIN) {
                int sent;

                /* what was said so far goes out before the pause */
                sent = flush(c);
                return sent == IO_ERROR ? IO_ERROR : rc;
            }
            if (rc <= 0) {
                return rc;
            }
            if (!a->event) {
                hai_sp_answer_next(a);
            }
        }
        before = hai_sp_buf_pending(&c->out);
        put_piece(c);
        if (c->out.failed) {
            return IO_ERROR;
        }
        turn += hai_sp_buf_pending(&c->out) - before;
    }
    put_last_chunk(c);
    return c->out.failed ? IO_ERROR : 0;
}

/* GET /_sample/..., which needs no key and leaves no trace. */
static bool sample_request(struct hai_sp_conn *c) {
    struct hai_sp_slice path = hai_sp_api_path(&c->request);
    struct hai_sp_slice method = hai_sp_slice(&c->request, c->request.method);
    struct hai_sp_buf *b = &c->answer.pre;

    if (path.n < 9 || memcmp(path.p, "/_sample/", 9) != 0) {
        return false;
    }
    if (hai_sp_slice_is(path, "/_sample/requests")) {
        if (hai_sp_slice_is(method, "DELETE")) {
            hai_sp_record_clear();
            HAI_SP_PUT(b, "{\"cleared\":true}\n");
        } else {
            hai_sp_record_dump(b);
        }
    } else if (hai_sp_slice_is(path, "/_sample/stats")) {
        hai_sp_stats_dump(b);
    } else if (hai_sp_slice_is(path, "/_sample/health")) {
        HAI_SP_PUT(b, "{\"status\":\"ok\"}\n");
    } else {
        c->answer.status = 404;
        HAI_SP_PUT(b, "{\"error\":\"not found\"}\n");
    }
    return true;
}

/* A request is complete, or refused with a status. */
static int begin_answer(struct hai_sp_conn *c, int refuse) {
    struct hai_sp_request *r = &c->request;
    struct hai_sp_answer *a = &c->answer;
    const char *bad;

    c->state = HAI_SP_ANSWER;
    if (refuse != 0) {
        /* the head may not have been understood: nothing of it counts */
        memset(r, 0, offsetof(struct hai_sp_request, headers));
        r->minor = 1;
    }
    c->keep_alive = r->keep_alive;
    bad = hai_sp_control_parse(&c->control, r);
    if (refuse != 0) {
        hai_sp_api_refuse(a, refuse, hai_sp_http_reason(refuse), &c->loop->ids);
        return a->pre.failed ? IO_ERROR : 0;
    }
    if (!sample_request(c)) {
        hai_sp_count(&hai_sp_stats.requests, 1);
        hai_sp_record(r);
        if (bad != NULL) {
            hai_sp_api_refuse(a, 400, bad, &c->loop->ids);
        } else if (hai_sp_api_answer(a, r, &c->control, c->loop->keys,
                                     &c->loop->ids)
                   != 0)
        {
            return IO_ERROR;
        }
    }
    if (a->pre.failed) {
        return IO_ERROR;
    }
    if (c->control.close) {
        c->keep_alive = false;
    }
    c->chunked = r->minor == 1
                 && (a->stream || c->control.no_length || c->control.trailer);
    if (r->minor == 0 && (a->stream || c->control.no_length)) {
        c->keep_alive = false; /* only the end of file ends such a body */
    }
    if (a->stream) {
        c->counted = true;
        hai_sp_count(&hai_sp_stats.streams, 1);
    }
    return 0;
}

/* After an answer: ready for the next request. */
static void next_request(struct hai_sp_conn *c) {
    uncount(c);
    hai_sp_buf_consume(&c->in, c->request.raw);
    if (hai_sp_buf_pending(&c->in) == 0) {
        hai_sp_buf_shrink(&c->in, KEEP);
    }
    hai_sp_buf_shrink(&c->out, 2 * KEEP);
    hai_sp_answer_reset(&c->answer);
    memset(&c->control, 0, sizeof(c->control));
    c->scanned = 0;
    c->head_made = false;
    c->chunked = false;
    c->first_waited = false;
    c->header_waited = false;
    c->state = HAI_SP_READ_HEAD;
}

/* Reads what there is.  Returns 0, IO_AGAIN, IO_ERROR, or 1 at the end. */
static int fill(struct hai_sp_conn *c) {
    size_t want = READ_SIZE;
    ssize_t rc;

    if (!c->readable && c->ssl == NULL) {
        return IO_AGAIN;
    }
    /* a long body is read in larger pieces once it has shown up */
    if (c->state == HAI_SP_READ_BODY) {
        size_t have = hai_sp_buf_pending(&c->in);

        want = have < READ_SIZE ? READ_SIZE : have < READ_MAX ? have : READ_MAX;
    }
    if (hai_sp_buf_reserve(&c->in, want) != 0) {
        return IO_ERROR;
    }
    rc = io_read(c, c->in.data + c->in.len, c->in.cap - c->in.len);
    if (rc == IO_AGAIN) {
        c->readable = false;
    }
    if (rc < 0) {
        return (int) rc;
    }
    if (rc == 0) {
        return 1;
    }
    c->in.len += (size_t) rc;
    return 0;
}

/* Empty lines before a request are not part of it (RFC 9112, 2.2). */
static void skip_empty_lines(struct hai_sp_conn *c) {
    while (c->scanned == 0 && hai_sp_buf_pending(&c->in) > 0
           && (c->in.data[c->in.pos] == '\r' || c->in.data[c->in.pos] == '\n'))
    {
        hai_sp_buf_consume(&c->in, 1);
    }
}

/* Returns 1 when a head was found, 0 for more bytes, or IO_ERROR. */
static int take_head(struct hai_sp_conn *c) {
    const char *data;
    size_t n, head;
    int status;

    skip_empty_lines(c);
    n = hai_sp_buf_pending(&c->in);
    if (n == 0) {
        return 0;
    }
    data = c->in.data + c->in.pos;
    head = hai_sp_http_head_end(data, n, c->scanned);
    if (head == 0 && n <= HAI_SP_MAX_HEAD) {
        /* the end may begin with the last three bytes */
        c->scanned = n > 3 ? n - 3 : 0;
        return 0;
    }
    status = head == 0 || head > HAI_SP_MAX_HEAD
                 ? 431
                 : hai_sp_http_parse_head(&c->request, data, head);
    if (status != 0) {
        return begin_answer(c, status) == 0 ? 1 : IO_ERROR;
    }
    c->state = HAI_SP_READ_BODY;
    if (c->request.expect_continue && n == head
        && (c->request.chunked || c->request.remaining > 0))
    {
        HAI_SP_PUT(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
    }
    return 1;
}

/* Returns 1 when the request is complete, 0 for more bytes, or IO_ERROR. */
static int take_body(struct hai_sp_conn *c) {
    size_t n = hai_sp_buf_pending(&c->in);
    int rc;

    rc = hai_sp_http_body(&c->request, c->in.data + c->in.pos, &n);
    c->in.len = c->in.pos + n;
    if (rc == 0) {
        return 0;
    }
    return begin_answer(c, rc < 0 ? -rc : 0) == 0 ? 1 : IO_ERROR;
}

/* What to do with the connection after the last byte of an answer. */
static int finish(struct hai_sp_conn *c) {
    if (c->cut) {
        struct linger hard = {1, 0};

        hai_sp_count(&hai_sp_stats.aborts, 1);
        if (c->control.abort_reset) {
            setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
        }
        return IO_ERROR;
    }
    if (c->keep_alive) {
        next_request(c);
        return 0;
    }
    uncount(c);
    if (c->ssl != NULL) {
        ERR_clear_error();
        SSL_shutdown(c->ssl);
    }
    shutdown(c->fd, SHUT_WR);
    c->state = HAI_SP_LINGER;
    if (hai_sp_timer_set(&c->loop->timers, &c->timer, c->loop->now + LINGER_NS)
        != 0)
    {
        return IO_ERROR;
    }
    return 0;
}

/* One step.  Returns 0 to go on, IO_AGAIN, IO_ERROR, or 1: the peer ended. */
static int step(struct hai_sp_conn *c) {
    int rc;

    switch (c->state) {
    case HAI_SP_READ_HEAD:
        rc = take_head(c);
        if (rc != 0) {
            return rc > 0 ? 0 : rc;
        }
        return fill(c);

    case HAI_SP_READ_BODY:
        rc = take_body(c);
        if (rc != 0) {
            return rc > 0 ? 0 : rc;
        }
        rc = flush(c);
        if (rc == IO_ERROR) {
            return rc;
        }
        return fill(c);

    case HAI_SP_ANSWER:
        rc = pump(c);
        if (rc == 0) {
            c->state = HAI_SP_FLUSH;
        }
        return rc;

    case HAI_SP_FLUSH:
        rc = flush(c);
        return rc == 0 ? finish(c) : rc;

    default: /* HAI_SP_LINGER */
        hai_sp_buf_clear(&c->in);
        return fill(c);
    }
}

static void run(struct hai_sp_conn *c) {
    int rc = 0;

    while (rc == 0 && !c->waiting) {
        rc = step(c);
    }
    if (rc == 1) {
        peer_left(c);
    } else if (rc == IO_ERROR) {
        if (c->cut) {
            hai_sp_conn_close(c);
        } else {
            peer_left(c);
        }
    } else if (c->peer_closed
               && (c->state == HAI_SP_ANSWER || c->state == HAI_SP_FLUSH))
    {
        /* it must wait, for a peer that is not there any more */
        peer_left(c);
    }
}

void hai_sp_conn_event(struct hai_sp_conn *c, uint32_t events) {
    if (events & EPOLLIN) {
        c->readable = true;
    }
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        c->peer_closed = true;
        c->readable = true;
    }
    if (c->waiting) {
        if (c->peer_closed) {
            peer_left(c);
        }
        return;
    }
    run(c);
}

void hai_sp_conn_timeout(struct hai_sp_conn *c) {
    if (c->state == HAI_SP_LINGER) {
        hai_sp_conn_close(c);
        return;
    }
    c->waiting = false;
    run(c);
}
