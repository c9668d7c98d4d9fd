/*
 * One connection: reads requests, writes answers.
 *
 * Everything happens in hai_sp_conn_run(), which goes on until it must wait
 * for bytes, for room or for a timer.  Sockets are registered edge-triggered
 * for both directions once, so a connection costs no epoll_ctl() afterwards.
 */

#ifndef HAI_SP_CONN_H
#define HAI_SP_CONN_H

#include <openssl/ssl.h>

#include "answer.h"
#include "api.h"
#include "control.h"
#include "http.h"
#include "timer.h"

enum hai_sp_state {
    HAI_SP_READ_HEAD,
    HAI_SP_READ_BODY,
    HAI_SP_ANSWER, /* the answer's head is still to come, or its body */
    HAI_SP_FLUSH,  /* all of it is in "out" */
    HAI_SP_LINGER  /* ours is sent; what still comes is thrown away */
};

/* What all connections of a thread share. */
struct hai_sp_loop {
    int epfd;
    uint64_t now; /* CLOCK_MONOTONIC in nanoseconds, set at each wake */
    struct hai_sp_timers timers;
    struct hai_sp_ids ids;
    const struct hai_sp_keys *keys;
    struct hai_sp_conn *conns; /* all of them */
    char date[40];
    time_t date_of;
};

struct hai_sp_conn {
    struct hai_sp_timer timer; /* first: a timer is cast back to its owner */
    struct hai_sp_loop *loop;
    struct hai_sp_conn *prev;
    struct hai_sp_conn *next;
    int fd;
    SSL *ssl; /* NULL: plain */
    enum hai_sp_state state;
    bool readable;
    bool peer_closed; /* nothing more will come */
    bool waiting;     /* for the timer; nothing is written before */

    struct hai_sp_buf in;
    size_t scanned; /* bytes of the head that hold no end */
    struct hai_sp_request request;
    struct hai_sp_control control;

    struct hai_sp_buf out;
    size_t head_left; /* bytes of "out" that belong to a head */
    struct hai_sp_answer answer;
    bool head_made;
    bool chunked;
    bool keep_alive;
    bool counted; /* in the number of streams */
    bool first_waited;
    bool header_waited;
    bool cut; /* X-Sample-Abort: close once "out" is sent */
    uint64_t last_delta;
};

/* Takes the socket (and the SSL object).  NULL without memory. */
struct hai_sp_conn *hai_sp_conn_new(struct hai_sp_loop *loop, int fd, SSL *ssl);

/* The only end of a connection. */
void hai_sp_conn_close(struct hai_sp_conn *c);

/* After an event; the connection may be gone afterwards. */
void hai_sp_conn_event(struct hai_sp_conn *c, uint32_t events);

/* Its timer fired; the connection may be gone afterwards. */
void hai_sp_conn_timeout(struct hai_sp_conn *c);

#endif
